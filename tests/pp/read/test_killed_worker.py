"""A process that the system ends, as it does where memory runs out, is told in a sentence."""

from __future__ import annotations

import pytest
from helpers.readers import end_process

from leafletfa_scvi.pp.read._parallel import count_files
from leafletfa_scvi.pp.read._sources import Source


def test_a_process_that_is_ended(tmp_path):
    sources = [Source(str(tmp_path / f"file{i}"), "star", f"cell{i}") for i in range(4)]
    with pytest.raises(ChildProcessError, match=r"memory.*fewer n_jobs"):
        count_files(sources, end_process, {}, tmp_path, n_jobs=2)
