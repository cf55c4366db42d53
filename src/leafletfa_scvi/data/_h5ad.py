"""Writing .h5ad files so that a full disk is an error and not the end of the process."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h5py
from anndata.io import write_elem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData

_OPTIONS = ("compression", "compression_opts")


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
