"""Safe reading and writing of .h5mu files, as of .h5ad files."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import h5py
from anndata import AnnData
from anndata.io import write_elem

from leafletfa_scvi.data._h5ad import Target, check_options, check_parts, with_categories
from leafletfa_scvi.data._mudata import without_pulling

if TYPE_CHECKING:
    from pathlib import Path

    from mudata import MuData

_USER_BLOCK = 512
"""Size in bytes of the text that an .h5mu file begins with."""
_AXES = ("obsm", "varm", "obsp", "varp", "uns", "obsmap", "varmap")


def read_h5mu(path: Path) -> MuData:
    """Read an .h5mu file with :func:`mudata.read_h5mu` if it is self-contained.

    Parameters
    ----------
    path
        File to read.

    Raises
    ------
    ValueError
        As :func:`read_h5ad`.
    Exception
        Errors of mudata and h5py for damaged files.
    """
    import mudata

    check_parts(path)
    with without_pulling():
        return mudata.read_h5mu(path)


def write_h5mu(mdata: MuData, path: Path, **options: Any) -> None:
    """Write an .h5mu file like :func:`mudata.write_h5mu`, without modifying ``mdata``.

    The layout is that of https://mudata.readthedocs.io/en/latest/io/spec.html. :mod:`mudata`
    itself converts columns of ``mdata``, and the process dies if the disk is full.

    Parameters
    ----------
    mdata
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
        An unknown option is given, or a modality is not an AnnData.
    """
    import mudata

    given = check_options(options)
    version = str(getattr(mudata, "__mudataversion__", "0.1.0"))
    header = f"MuData (format-version={version};creator=leafletfa-scvi)".encode()
    for name, adata in mdata.mod.items():
        if not isinstance(adata, AnnData):
            raise TypeError(
                f"Expected each modality to be an AnnData, found a {type(adata).__name__} in "
                f"mdata.mod[{name!r}]. Save the model without save_anndata=True."
            )
    parts = {k: a.to_memory() if a.isbacked else a for k, a in mdata.mod.items()}
    with Target(path) as target, ExitStack() as stack:
        for adata in parts.values():
            stack.enter_context(with_categories(adata))
        try:
            with h5py.File(target, "w", userblock_size=_USER_BLOCK) as file:
                for axis in ("obs", "var"):
                    table = getattr(mdata, axis).copy()
                    text = [c for c in table if table[c].dtype == object]
                    write_elem(
                        file,
                        axis,
                        table.astype(dict.fromkeys(text, "category")),
                        dataset_kwargs=given,
                    )
                for name in _AXES:
                    write_elem(file, name, dict(getattr(mdata, name)), dataset_kwargs=given)
                modalities = file.create_group("mod")
                for name, adata in parts.items():
                    write_elem(modalities, name, adata, dataset_kwargs=given)
                    if adata.raw is None and "raw" in modalities[name]:
                        del modalities[name]["raw"]
                modalities.attrs["mod-order"] = list(parts)
                file.attrs["axis"] = getattr(mdata, "axis", 0)
                file.attrs["encoding-type"] = "MuData"
                file.attrs["encoding-version"] = version
                file.attrs["encoder"] = "leafletfa-scvi"
        except Exception as error:
            target.check(error)
            raise
        target.seek(0)
        target.write(header.ljust(_USER_BLOCK, b"\0"))
        target.check(None)
