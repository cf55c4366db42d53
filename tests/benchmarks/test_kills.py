"""A few kills of the benchmark that kills processes while they write."""

from __future__ import annotations

import pytest
from benchmarks.robustness import kills


@pytest.mark.slow
def test_a_model_that_is_saved_again_is_old_or_new():
    counts, n_operations = kills.try_kind(kills.Save, 2, seed=0)
    assert counts["old"] + counts["new"] == counts.total() == 2
    assert n_operations > 10
