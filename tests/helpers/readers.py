"""Readers for tests of parallel reading, importable by worker processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi.pp.read._file_counts import FileCounts, file_counts

if TYPE_CHECKING:
    from leafletfa_scvi.pp.read._sources import Source


def read(source: Source) -> FileCounts:
    """A part whose one count is the number in the file; notes that the file was read."""
    with open(f"{source.path}.log", "a") as log:
        log.write("read\n")
    text = Path(source.path).read_text()
    if not text.strip().isdigit():
        raise ValueError(f"{source.path}: {text!r} is no number.")
    one = np.array([1])
    return file_counts(["c"], one * 0, one, one + 99, one, [source.cell], one * 0, one * int(text))


def end_process(source: Source) -> FileCounts:
    """End the process, as the system does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
