"""Outputs are checked before the long work, and appear whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from leafletfa_scvi._files import UnfinishedMovesError, replacing
from leafletfa_scvi.cli._console import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MODEL_FILE, DATA_FILE = "model.pt", "adata.h5ad"


def check_input(path: Path) -> None:
    """Refuse what cannot be an .h5ad file."""
    import h5py

    if not path.exists():
        raise UserError(f"There is no file {path}.")
    if path.is_dir():
        raise UserError(f"{path} is a directory; expected an .h5ad file.")
    if not path.is_file():
        raise UserError(f"{path} is not a regular file; expected an .h5ad file.")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    if not h5py.is_hdf5(path):
        raise UserError(f"{path} is not an .h5ad (HDF5) file.")


def check_output(
    path: Path, sources: Iterable[Path], overwrite: bool, what: str = "The output"
) -> None:
    """Refuse an output file that cannot, or should not, be written."""
    if path.exists() and any(source.exists() and path.samefile(source) for source in sources):
        raise UserError(f"{what} {path} is the input; choose another name.")
    if path.is_dir():
        raise UserError(f"{what} {path} is a directory; expected a file name.")
    if path.exists() and not path.is_file():
        raise UserError(f"{what} {path} is not a regular file; choose another name.")
    if path.exists() and not overwrite:
        raise UserError(f"{what} {path} exists; pass --overwrite to replace it.")
    _check_parent(path)


def check_model_dir(path: Path, others: tuple[Path, ...], overwrite: bool) -> None:
    """Refuse a model folder that cannot, or should not, be written.

    Only an earlier model, or an empty folder, is written into.
    """
    target = path.resolve()
    for other in others:
        if target == other.resolve() or target in other.resolve().parents:
            raise UserError(f"--save-model {path} would replace {other}; choose another folder.")
    if path.exists() and not path.is_dir():
        raise UserError(f"--save-model {path} is a file; expected a folder.")
    if path.is_dir() and any(path.iterdir()):
        if not overwrite:
            raise UserError(f"The folder {path} exists; pass --overwrite to replace it.")
        if not (path / MODEL_FILE).is_file():
            raise UserError(f"The folder {path} holds no saved model; it is not overwritten.")
    _check_parent(path)


def _check_parent(path: Path) -> None:
    parent = path.resolve().parent
    if not parent.is_dir():
        raise UserError(f"There is no directory {parent} to write {path.name} to.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"The directory {parent} is not writable.")


@contextmanager
def staged(*targets: Path, remove: Iterable[Path] = ()) -> Iterator[list[Path]]:
    """As :func:`leafletfa_scvi._files.replacing`, with errors for the command line."""
    try:
        with replacing(*targets, remove=remove) as places:
            yield places
    except (OSError, UnfinishedMovesError) as error:
        raise UserError(f"Cannot write the output: {error}.") from error
