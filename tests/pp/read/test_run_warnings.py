"""What the library that runs processes would say about work it stops is no news to the user."""

from __future__ import annotations

import gc
import warnings

import pytest
from helpers.junction_files import SJ, write

import leafletfa_scvi as lfa


def test_an_error_among_many_files_comes_without_warnings(tmp_path):
    for i in range(30):
        write(tmp_path / f"c{i}.SJ.out.tab", b"bad\n" if i == 0 else SJ)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match=r"c0\.SJ\.out\.tab, line 1"):
            lfa.pp.read_star(tmp_path, n_jobs=2)
        gc.collect()
    assert [str(one.message) for one in seen if "tasks" in str(one.message)] == []
