from __future__ import annotations

import pytest
from helpers.junction_files import SJ, write

import leafletfa_scvi as lfa


def test_samples_that_no_table_names(tmp_path):
    """The message speaks of what a user of files can do: there is no ``sample_key`` there."""
    star = write(tmp_path / "a.SJ.out.tab", SJ)
    with pytest.raises(KeyError, match=r"table of files with a column sample"):
        lfa.pp.make_splicing_dataset(star, min_samples=2)
