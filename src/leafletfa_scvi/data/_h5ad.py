"""Safe reading of .h5ad files, and writing that raises an error on a full disk."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import pandas as pd
from anndata.io import read_elem, write_elem

from leafletfa_scvi._constants import DATASET_SLOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData

_LARGE, _DENSEST = 1 << 28, 5000
"""Size in bytes from which arrays are checked, and maximum compression (gzip reaches 1,032)."""
_OPTIONS = ("compression", "compression_opts")


def read_h5ad(path: Path) -> AnnData:
    """Read an .h5ad file with :func:`anndata.read_h5ad` if it is self-contained.

    Otherwise a file from another source could expose other files of the user, or fill the memory.

    Parameters
    ----------
    path
        File to read.

    Raises
    ------
    ValueError
        A part is a link, is in another file, or is much larger than its stored data.
    Exception
        Errors of anndata and h5py for damaged files.
    """
    check_parts(path)
    return anndata.read_h5ad(path)


def check_parts(path: Path) -> None:
    """Check that an HDF5 file is self-contained; errors are those of :func:`read_h5ad`."""
    with h5py.File(path, "r") as file:
        _check_group(file, {_address(file)})


def read_h5ad_tables(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read ``var`` and ``uns["splicing"]`` of an .h5ad file, and no matrix.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    var
        Annotation of the junctions.
    uns
        ``{"splicing": ...}``; empty if the file has no such record.

    Raises
    ------
    ValueError
        As :func:`read_h5ad`, or if the file holds no AnnData or is damaged.
    """
    tables = {}
    try:
        with h5py.File(path, "r") as file:
            seen = {_address(file)}
            for name in ("var", f"uns/{DATASET_SLOT}"):
                if name in file:
                    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                        raise ValueError(f"/{name} is a link. {_WHOLE}")
                    if isinstance(file[name], h5py.Group):
                        _check_group(file[name], seen)
                    tables[name] = read_elem(file[name])
    except Exception as error:  # anndata and h5py raise many kinds
        raise ValueError(f"Cannot read {path} as an .h5ad file: {error}") from error
    if not isinstance(tables.get("var"), pd.DataFrame):
        raise ValueError(f"Cannot read {path} as an .h5ad file: it has no table 'var'.")
    record = tables.get(f"uns/{DATASET_SLOT}")
    return tables["var"], {} if record is None else {DATASET_SLOT: record}


def _check_group(group: h5py.Group, seen: set[tuple[int, int]]) -> None:
    for name in group:
        name_in_file = f"{group.name.rstrip('/')}/{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            target = f"{getattr(link, 'filename', '')} {getattr(link, 'path', '')}".strip()
            raise ValueError(f"{name_in_file} is a link to {target}. {_WHOLE}")
        part = group[name]
        if isinstance(part, h5py.Datatype):
            continue
        if _address(part) in seen:
            raise ValueError(
                f"{name_in_file} is a second link to another part of the file. {_WHOLE}"
            )
        seen.add(_address(part))
        if isinstance(part, h5py.Group):
            _check_group(part, seen)
        elif part.is_virtual or part.external:
            raise ValueError(f"the values of {name_in_file} are in other files. {_WHOLE}")
        elif part.nbytes > max(_LARGE, _DENSEST * part.id.get_storage_size()):
            raise ValueError(
                f"{name_in_file} claims {part.nbytes:,} bytes, of which few are stored"
            )


def _address(part: h5py.HLObject) -> tuple[int, int]:
    """Return the address of a part, which is the same for all links to it."""
    info = h5py.h5o.get_info(part.id)
    return info.fileno, info.addr


_WHOLE = (
    "If you trust the source of the file, read it with anndata.read_h5ad and write a "
    "self-contained copy with write_h5ad"
)


def write_h5ad(adata: AnnData, path: Path, **options: Any) -> None:
    """Write an .h5ad file like :meth:`anndata.AnnData.write_h5ad`, without modifying ``adata``.

    Parameters
    ----------
    adata
        Data to write.
    path
        File to write.
    **options
        ``compression`` and ``compression_opts``, as in :meth:`h5py.Group.create_dataset`.

    Raises
    ------
    OSError
        The file cannot be written, for example on a full disk.
    TypeError
        An unknown option is given.
    """
    options = check_options(options)
    if adata.isbacked:
        adata = adata.to_memory()
    with Target(path) as target, with_categories(adata):
        try:
            with h5py.File(target, "w") as file:
                write_elem(file, "/", adata, dataset_kwargs=options)
                if adata.raw is None and "raw" in file:
                    # In backed mode, anndata 0.12 would take the empty group for raw data.
                    del file["raw"]
        except Exception as error:
            target.check(error)
            raise
        target.check(None)


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of writing that are not None, or raise a TypeError for an unknown one."""
    unknown = set(options) - set(_OPTIONS)
    if unknown:
        raise TypeError(f"Expected the options {', '.join(_OPTIONS)}, found {min(unknown)!r}.")
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def with_categories(adata: AnnData) -> Iterator[None]:
    """Convert columns of text to categories while writing, as anndata does."""
    obs, var = adata.obs, adata.var
    try:
        adata.obs, adata.var = obs.copy(), var.copy()
        adata.strings_to_categoricals()
        yield
    finally:
        adata.obs, adata.var = obs, var


class Target(io.RawIOBase):
    """A file for HDF5 that records the first error instead of raising it.

    If HDF5 cannot write to a file, closing it ends the process with a segmentation fault. Writes
    after an error are therefore ignored, and :meth:`check` raises the error.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "w+b", buffering=0)
        self._error: OSError | None = None
        self._size = 0

    def check(self, cause: Exception | None) -> None:
        """Raise the first error, if any."""
        if self._error is not None:
            number = self._error.errno
            raise OSError(number, os.strerror(number or 0), str(self._path)) from cause

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset, whence = self._size + offset, os.SEEK_SET
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def write(self, data: Any) -> int:
        view, start = memoryview(data).cast("B"), self.tell()
        try:
            while self._error is None and view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._error = error
        end = self._file.seek(start + memoryview(data).nbytes)
        self._size = max(self._size, end)
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None) -> int:
        self._size = self.tell() if size is None else size
        try:
            if self._error is None:
                self._file.truncate(self._size)
        except OSError as error:
            self._error = error
        return self._size
