"""Reading .h5ad files that may be damaged, and writing them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from leafletfa_scvi._arguments import check_file
from leafletfa_scvi.cli._console import UserError, one_line

if TYPE_CHECKING:
    from anndata import AnnData

_WALKER: Final = Path(__file__).with_name("_walk_h5ad.py")
_CRASHES: Final = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV")


def read_data(path: Path) -> AnnData:
    """Read a data set.

    Raises
    ------
    UserError
        The file cannot be read; the message names it and says why.
    """
    from leafletfa_scvi.data import read_h5ad

    try:
        check_file(path)
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot read {path} as an .h5ad file: {one_line(error)}") from error
    check_ends(path)
    try:
        return read_h5ad(path)
    except Exception as error:
        raise UserError(f"Cannot read {path} as an .h5ad file: {one_line(error)}") from error


def write_data(adata: AnnData, path: Path, **options: Any) -> None:
    """Write a data set; options are those of :meth:`anndata.AnnData.write_h5ad`."""
    from leafletfa_scvi.data import write_h5ad

    write_h5ad(adata, path, **options)


def check_ends(path: Path) -> None:
    """Refuse a file whose damage would hang or crash the HDF5 library.

    Another process walks through the structure of the file first, all but the numbers, which
    costs a small part of the time of reading. Other damage is left to the reader. Platforms
    without timers of processor time, such as Windows, skip the check.

    Parameters
    ----------
    path
        An HDF5 file.

    Raises
    ------
    UserError
        The file is damaged; the message names it and the object in it.
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
    steps = done.stdout.decode().splitlines()
    reading = f"reading {steps[-1]} in it" if steps else "opening it"
    if name == "SIGPROF":
        damage = f"{reading} did not end"
    elif name in _CRASHES:
        damage = f"{reading} ended the process ({name})"
    else:  # killed by another process
        return
    raise UserError(f"{path} is damaged: {damage}. Copy it again or regenerate it.")
