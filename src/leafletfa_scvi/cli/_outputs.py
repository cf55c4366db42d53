"""Checks of inputs and outputs before the work begins, and writing of outputs all at once."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from leafletfa_scvi._files import UnfinishedMovesError, replacing
from leafletfa_scvi.cli._console import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MODEL_FILE, DATA_FILE = "model.pt", "adata.h5ad"


def check_input(path: Path) -> None:
    """Raise an error if the input cannot be an .h5ad file."""
    import h5py

    check_reach(path, "The input")
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
    """Raise an error for an output file that cannot, or must not, be written."""
    check_reach(path, what)
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
    """Raise an error for a model folder that cannot, or must not, be written.

    A folder must be new, empty, or hold an earlier model.
    """
    check_reach(path, "--save-model")
    target = _real(path)
    for other in others:
        if _is_same(path, other) or target in _real(other).parents:
            raise UserError(f"--save-model {path} would replace {other}; choose another folder.")
    if path.exists() and not path.is_dir():
        raise UserError(f"--save-model {path} is a file; expected a folder.")
    if path.is_dir() and any(path.iterdir()):
        if not overwrite:
            raise UserError(f"The folder {path} exists; pass --overwrite to replace it.")
        if not (path / MODEL_FILE).is_file():
            raise UserError(
                f"The folder {path} holds no saved model and is not overwritten; choose another."
            )
    _check_parent(path)


def check_reach(path: Path, what: str) -> None:
    """Raise an error for a path that the system cannot follow: links in a circle, long names."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UserError(f"{what} {path}: {error.strerror}.") from error


def check_distinct(outputs: Mapping[str, Path | None]) -> None:
    """Raise an error if two outputs, by the names of their options, are one file."""
    given = [(name, path) for name, path in outputs.items() if path is not None]
    for (name, path), (other_name, other) in itertools.combinations(given, 2):
        if _is_same(path, other):
            raise UserError(
                f"{name} {path} and {other_name} {other} are the same file; choose another name "
                "for one of them."
            )


def _real(path: Path) -> Path:
    """Return the path behind all links."""
    return Path(os.path.realpath(path))


def _is_same(path: Path, other: Path) -> bool:
    """Return True if two paths are one file, which need not exist yet."""
    if _real(path) == _real(other):
        return True
    return path.exists() and other.exists() and path.samefile(other)


def _check_parent(path: Path) -> None:
    parent = _real(path).parent
    if not parent.is_dir():
        raise UserError(
            f"There is no directory {parent} to write {path.name} to; create it first."
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(
            f"The directory {parent} is not writable; choose another, or change its permissions."
        )


@contextmanager
def staged(*targets: Path, remove: Iterable[Path] = ()) -> Iterator[list[Path]]:
    """Write as :func:`leafletfa_scvi._files.replacing`, with errors of the command line."""
    try:
        with replacing(*targets, remove=remove) as paths:
            yield paths
    except (OSError, UnfinishedMovesError) as error:
        raise UserError(f"Cannot write the output: {error}.") from error
