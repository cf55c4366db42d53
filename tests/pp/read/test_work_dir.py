"""The folder for counts of single files is the user's: it stays, and errors name it."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from helpers.junction_files import SJ, write

import leafletfa_scvi as lfa


def test_an_empty_folder_of_the_user_stays_where_nothing_can_be_read(tmp_path):
    bad = write(tmp_path / "a.SJ.out.tab", b"not a table\n")
    (tmp_path / "mine").mkdir()
    for name in ("mine", "ours"):
        with pytest.raises(ValueError, match="a.SJ.out.tab, line 1"):
            lfa.pp.read_star(bad, work_dir=tmp_path / name)
    assert (tmp_path / "mine").is_dir()
    assert not (tmp_path / "ours").exists()


def test_a_file_is_no_folder_for_counts(tmp_path):
    good = write(tmp_path / "a.SJ.out.tab", SJ)
    with pytest.raises(ValueError, match=r"work_dir=.*a\.SJ\.out\.tab.* is a file"):
        lfa.pp.read_star(good, work_dir=good)
    assert good.read_bytes() == SJ


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    good = write(tmp_path / "a.SJ.out.tab", SJ)
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"No space left on device.*parts"):
        lfa.pp.read_star(good, work_dir=tmp_path / "parts")
