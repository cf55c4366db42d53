"""Reading .h5ad files that hold all they show; writing them so that a full disk is an error."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anndata
import h5py
from anndata.io import write_elem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData

_LARGE, _DENSEST = 1 << 28, 5000
"""Bytes from which on an array is looked at, and how far it may be compressed (gzip: 1,032)."""
_OPTIONS = ("compression", "compression_opts")


def read_h5ad(path: Path) -> AnnData:
    """Read an .h5ad file as :func:`anndata.read_h5ad` does, if it holds all that it shows.

    Somebody else's file could otherwise show the content of other files of whoever opens it, or
    fill the memory.

    Parameters
    ----------
    path
        File to read.

    Raises
    ------
    ValueError
        A part of it is a link, lies in another file, or is much larger than what is stored of it.
    Exception
        As anndata and h5py raise where it is damaged.
    """
    with h5py.File(path, "r") as file:
        _check_group(file, {_address(file)})
    return anndata.read_h5ad(path)


def _check_group(group: h5py.Group, seen: set[tuple[int, int]]) -> None:
    for name in group:
        where = f"{group.name.rstrip('/')}/{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            target = f"{getattr(link, 'filename', '')} {getattr(link, 'path', '')}".strip()
            raise ValueError(f"{where} is a link to {target}. {_WHOLE}")
        part = group[name]
        if isinstance(part, h5py.Datatype):
            continue
        if _address(part) in seen:
            raise ValueError(f"{where} is a part that stands elsewhere in the file, too. {_WHOLE}")
        seen.add(_address(part))
        if isinstance(part, h5py.Group):
            _check_group(part, seen)
        elif part.is_virtual or part.external:
            raise ValueError(f"the values of {where} lie in other files. {_WHOLE}")
        elif part.nbytes > max(_LARGE, _DENSEST * part.id.get_storage_size()):
            raise ValueError(f"{where} claims {part.nbytes:,} bytes, of which few are stored")


def _address(part: h5py.HLObject) -> tuple[int, int]:
    """What is the same for two names of one part."""
    found = h5py.h5o.get_info(part.id)
    return found.fileno, found.addr


_WHOLE = (
    "If you trust whoever made the file, read it with anndata.read_h5ad and write it whole with "
    "write_h5ad"
)


def write_h5ad(adata: AnnData, path: Path, **options: Any) -> None:
    """Write an .h5ad file as :meth:`anndata.AnnData.write_h5ad` does; ``adata`` stays as it is.

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
        Another option is given.
    """
    unknown = set(options) - set(_OPTIONS)
    if unknown:
        raise TypeError(f"Expected the options {', '.join(_OPTIONS)}, found {min(unknown)!r}.")
    options = {name: value for name, value in options.items() if value is not None}
    if adata.isbacked:
        adata = adata.to_memory()
    with _Target(path) as target, _with_categories(adata):
        try:
            with h5py.File(target, "w") as file:
                write_elem(file, "/", adata, dataset_kwargs=options)
                if adata.raw is None and "raw" in file:
                    del file["raw"]  # anndata 0.12 takes it for there if backed
        except Exception as error:
            target.check(error)
            raise
        target.check(None)


@contextmanager
def _with_categories(adata: AnnData) -> Iterator[None]:
    """Columns of text as categories while writing, as anndata writes them."""
    obs, var = adata.obs, adata.var
    try:
        adata.obs, adata.var = obs.copy(), var.copy()
        adata.strings_to_categoricals()
        yield
    finally:
        adata.obs, adata.var = obs, var


class _Target(io.RawIOBase):
    """A file that HDF5 writes to, and that keeps the first error to itself until the end.

    HDF5 cannot close a file that it cannot write to: its library then ends the process with a
    segmentation fault. So what comes after an error is dropped, and :meth:`check` raises it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "w+b", buffering=0)
        self._error: OSError | None = None
        self._size = 0

    def check(self, cause: Exception | None) -> None:
        """Raise the first error there was."""
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
