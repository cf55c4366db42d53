"""Reading .h5ad files that may be damaged."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from leafletfa_scvi.cli._console import UserError, one_line
from leafletfa_scvi.data._h5ad import read_h5ad
from leafletfa_scvi.pp._text import check_file

if TYPE_CHECKING:
    from anndata import AnnData

_WALKER: Final = Path(__file__).with_name("_walk_h5ad.py")
_CRASHES: Final = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV")


def read(path: Path) -> AnnData:
    """The data set in a file, or a UserError saying why there is none."""
    try:
        check_file(path)
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot read {path} as an .h5ad file: {one_line(error)}") from error
    check_ends(path)
    try:
        return read_h5ad(path)
    except Exception as error:
        raise UserError(f"Cannot read {path} as an .h5ad file: {one_line(error)}") from error


def check_ends(path: Path) -> None:
    """Refuse a file whose damage HDF5's library never returns from, or that ends the process.

    Another process goes through the structure of the file first: all but the numbers, which are a
    small part of the reading. Whatever else is wrong with the file is left to the reader. Nothing
    is checked where there are no timers of processor time, as on Windows.

    Parameters
    ----------
    path
        An HDF5 file.

    Raises
    ------
    UserError
        Names the file, and the place in it.
    """
    if not sys.executable or not hasattr(signal, "setitimer"):
        return
    command = [sys.executable, "-P", str(_WALKER), str(path)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return
    if done.returncode >= 0:
        return
    name = signal.Signals(-done.returncode).name
    place = (done.stdout.decode().splitlines() or ["it"])[-1]
    if name == "SIGPROF":
        what = f"reading {place} in it did not end"
    elif name in _CRASHES:
        what = f"reading {place} in it ended the process ({name})"
    else:  # ended by someone
        return
    raise UserError(f"{path} is damaged: {what}. Copy or make the file anew.")
