"""Reading the two layers of a splicing AnnData, in any layout, as observed entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch

from leafletfa_scvi._constants import CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi.data._blocks import row_blocks
from leafletfa_scvi.ops import ObservedEntries, narrowest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData

MAX_COUNT = 1 << 24
"""Largest whole number up to which float32 holds every one."""


@dataclass(frozen=True)
class LayerValues:
    """Values other than zero of one layer in a run of cells.

    Attributes
    ----------
    key
        ``(m,)`` int64, strictly ascending: ``row * n_junctions + junction``, both 0-based and
        ``row`` counted from the first cell of the run.
    value
        ``(m,)`` float64.
    """

    key: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class LayerBlock:
    """Both layers in the cells ``first_cell:first_cell + n_cells``."""

    first_cell: int
    n_cells: int
    n_junctions: int
    junction: LayerValues
    cluster: LayerValues

    def aligned_count(self) -> tuple[np.ndarray, np.ndarray]:
        """Junction counts at the entries of the cluster layer, zero where none is stored.

        Returns
        -------
        count
            ``(m,)`` float64, for each entry of ``cluster``.
        stray
            Positions in ``junction`` without an entry in ``cluster``, ascending.
        """
        return lookup(self.junction, self.cluster.key)


def lookup(values: LayerValues, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values at the ascending keys ``wanted``, zero where absent; and positions not wanted."""
    if np.array_equal(values.key, wanted):
        return values.value, np.empty(0, np.int64)
    out = np.zeros(len(wanted))
    if not len(wanted):
        return out, np.arange(len(values.key))
    at = np.searchsorted(wanted, values.key)
    at[at == len(wanted)] = 0
    found = wanted[at] == values.key
    out[at[found]] = values.value[found]
    return out, np.flatnonzero(~found)


def named_layers(adata: AnnData) -> dict[str, Any]:
    """Layers of ``adata`` by name, without ``X``, which anndata 0.13 lists under the key None."""
    return {name: adata.layers[name] for name in adata.layers if name is not None}


def get_layer(adata: AnnData, name: str) -> Any:
    """The layer as something with cheap row slices; the one of ``adata`` is left as it is.

    Raises
    ------
    KeyError
        The layer is missing.
    ValueError
        It is not a numeric matrix of shape cells x junctions, has masked values, or is a sparse
        matrix whose arrays do not fit together.
    """
    layers = named_layers(adata)
    if name not in list(layers):  # of any type, such as a list of names
        raise KeyError(
            f"Layer {name!r} is missing: adata.layers holds {sorted(layers)}. "
            "Store the counts there, or name the layer that has them."
        )
    layer = layers[name]
    if hasattr(layer, "to_memory"):  # a sparse matrix that anndata keeps on disk
        layer = layer.to_memory()
    on_disk = type(layer).__module__.partition(".")[0] in ("h5py", "zarr")
    if not (on_disk or sp.issparse(layer) or isinstance(layer, np.ndarray)):
        raise ValueError(
            f"Layer {name!r} is a {type(layer).__name__}: expected a scipy sparse matrix or "
            "a numpy array in memory. Convert it first."
        )
    if isinstance(layer, np.ma.MaskedArray):
        raise ValueError(
            f"Layer {name!r} is a masked array, with {int(np.ma.count_masked(layer))} values "
            "masked, which mean nothing here. Store plain counts, with 0 where nothing was read: "
            "layer.filled(0)."
        )
    if tuple(layer.shape) != tuple(adata.shape):
        raise ValueError(
            f"Layer {name!r} has shape {tuple(layer.shape)}: expected {tuple(adata.shape)}, "
            "cells x junctions. Store one value for each cell and junction."
        )
    if np.dtype(layer.dtype).kind not in "buif":
        raise ValueError(
            f"Layer {name!r} has dtype {layer.dtype}: expected whole numbers, integer or float. "
            "Convert it with .astype('int32')."
        )
    if sp.issparse(layer):
        check_sparse(layer, name, adata)
        return layer if layer.format == "csr" else layer.tocsr()
    return layer if on_disk else np.asarray(layer)


def check_sparse(layer: Any, name: str, adata: AnnData) -> None:
    """Check that the arrays of a CSR or CSC layer fit together; scipy reads past their ends.

    Values stored twice are fine: they are summed, as scipy does.

    Raises
    ------
    ValueError
        ``indptr`` has another length than rows (columns) and one, does not begin at 0, falls, or
        ends beyond the stored values; or an index is negative or beyond the last column (row).
    """
    if layer.format not in ("csr", "csc"):
        return
    of_rows = layer.format == "csr"
    n_major, n_minor = layer.shape if of_rows else layer.shape[::-1]
    across = "junctions" if of_rows else "cells"

    def where(at: int) -> str:
        return f"cell {adata.obs_names[at]!r}" if of_rows else f"junction {adata.var_names[at]!r}"

    indptr, indices = layer.indptr, layer.indices
    wrong = f"Layer {name!r} is no valid {layer.format.upper()} matrix"
    remedy = "Build the matrix anew, as scipy.sparse.csr_matrix((values, (cells, junctions)))."
    if len(indptr) != n_major + 1:
        raise ValueError(
            f"{wrong}: its indptr has {len(indptr)} values, expected {n_major + 1}, one for each "
            f"{'cell' if of_rows else 'junction'} and one. {remedy}"
        )
    steps = np.diff(indptr)
    falls = (steps < 0).argmax() if len(steps) and steps.min() < 0 else None
    if falls is not None or indptr[0] != 0:
        at = 0 if falls is None else int(falls)
        found = f"begins at {indptr[0]}" if falls is None else "falls"
        raise ValueError(f"{wrong}: its indptr {found} at {where(at)}. {remedy}")
    stored = int(indptr[-1])
    held = min(len(indices), len(layer.data))
    if stored > held:
        at = int(np.searchsorted(indptr, held, side="right")) - 1
        raise ValueError(
            f"{wrong}: its indptr counts {stored} values where {held} are stored, from "
            f"{where(at)} on. {remedy}"
        )
    indices = indices[:stored]
    if stored and (indices.min() < 0 or indices.max() >= n_minor):
        first = int(((indices < 0) | (indices >= n_minor)).argmax())
        at = int(np.searchsorted(indptr, first, side="right")) - 1
        raise ValueError(
            f"{wrong}: {where(at)} has a value at index {indices[first]}, expected 0 to "
            f"{n_minor - 1} for {n_minor} {across}. {remedy}"
        )


def read_rows(layer: Any, start: int, stop: int) -> LayerValues:
    """Values other than zero in rows ``start:stop``, sorted, duplicates of a CSR summed."""
    n_columns = layer.shape[1]
    if not sp.issparse(layer):
        dense = np.asarray(layer[start:stop])
        row, column = np.nonzero(dense)
        return LayerValues(row * n_columns + column, dense[row, column].astype(np.float64))
    indptr = layer.indptr[start : stop + 1].astype(np.int64)
    stored = slice(indptr[0], indptr[-1])
    key = np.repeat(np.arange(stop - start, dtype=np.int64) * n_columns, np.diff(indptr))
    key += layer.indices[stored]
    value = layer.data[stored].astype(np.float64)
    if not (key[1:] > key[:-1]).all():
        order = np.argsort(key, kind="stable")
        key, value = key[order], value[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        key, value = key[first], np.add.reduceat(value, first)
    stays = value != 0
    return LayerValues(key, value) if stays.all() else LayerValues(key[stays], value[stays])


def read_blocks(junction: Any, cluster: Any) -> Iterator[LayerBlock]:
    """Both layers, as :func:`get_layer` gives them, in runs of cells of bounded size."""
    n_cells, n_junctions = junction.shape
    running = np.zeros(n_cells + 1, np.int64)
    for layer in (junction, cluster):
        dense = not sp.issparse(layer)
        running += np.arange(n_cells + 1) * n_junctions if dense else layer.indptr
    for start, stop in row_blocks(running):
        values = (read_rows(layer, start, stop) for layer in (junction, cluster))
        yield LayerBlock(start, stop - start, n_junctions, *values)


def count_stored(layer: Any) -> int:
    """Stored values of a sparse layer, values other than zero of a dense one."""
    if sp.issparse(layer):
        return int(layer.nnz)
    running = np.arange(layer.shape[0] + 1) * layer.shape[1]
    return sum(int(np.count_nonzero(layer[i:j])) for i, j in row_blocks(running))


def collect_entries(
    blocks: Iterable[LayerBlock],
    shape: tuple[int, int],
    capacity: int,
    cluster_layer: str = CLUSTER_LAYER,
) -> ObservedEntries:
    """Join blocks, given in order from the first cell on, into observed entries.

    They are written straight to their place, as the narrowest whole numbers that hold the totals:
    6 bytes for an entry where no total exceeds 255.

    Parameters
    ----------
    blocks
        Both layers in runs of cells.
    shape
        Cells and junctions.
    capacity
        At least the number of observed entries.
    cluster_layer
        Name of the layer of totals, for messages.

    Raises
    ------
    ValueError
        A total is above 16,777,216, beyond which float32 skips whole numbers.
    """
    n_cells, n_junctions = shape
    indptr = torch.zeros(n_cells + 1, dtype=torch.int64, device="cpu")
    column = torch.empty(capacity, dtype=torch.int32, device="cpu")
    count, total = torch.empty(2, capacity, dtype=torch.uint8, device="cpu")
    end = 0
    for block in blocks:
        y, _ = block.aligned_count()
        key, n = block.cluster.key, block.cluster.value
        observed = n > 0
        if not observed.all():
            key, y, n = key[observed], y[observed], n[observed]
        largest = int(n.max(initial=0))
        if largest > MAX_COUNT:
            raise ValueError(
                f"Layer {cluster_layer!r} holds {largest}: totals beyond {MAX_COUNT:,} "
                "cannot be represented. These are not reads of single cells; check the units."
            )
        if largest > torch.iinfo(total.dtype).max:
            count, total = (_widened(x, end, narrowest(largest)) for x in (count, total))
        row, junction = np.divmod(key, n_junctions)
        cells = slice(block.first_cell + 1, block.first_cell + block.n_cells + 1)
        indptr[cells] = torch.from_numpy(np.bincount(row, minlength=block.n_cells))
        new = slice(end, end + len(n))
        for into, values in ((column, junction), (count, y), (total, n)):
            into[new] = torch.from_numpy(values)
        end = new.stop
    indptr = indptr.cumsum(0)
    return ObservedEntries(indptr, column[:end], count[:end], total[:end], n_junctions)


def _widened(values: torch.Tensor, n_filled: int, dtype: torch.dtype) -> torch.Tensor:
    """Room for as many values of ``dtype``, with those filled so far."""
    out = values.new_empty(len(values), dtype=dtype)
    out[:n_filled] = values[:n_filled]
    return out


def observed_entries(
    adata: AnnData, junction_layer: str = JUNCTION_LAYER, cluster_layer: str = CLUSTER_LAYER
) -> ObservedEntries:
    """Observed entries of a data set: every (cell, junction) with an ATSE total above zero.

    What the junction layer stores decides nothing: a stored zero and none are the same. Values
    are taken as they are; :func:`splicing_data` also checks them. Only sparse layers in CSR are
    read without a copy of the layer; none is changed.

    Parameters
    ----------
    adata
        Cells x junctions.
    junction_layer
        Layer of junction counts y, in reads: CSR, CSC (matrix or array) or dense, whole numbers
        of any dtype.
    cluster_layer
        Layer of ATSE totals n, likewise.

    Returns
    -------
    ObservedEntries
        ``indptr`` int64, ``column`` int32 (0-based, ascending in a cell), ``count`` and ``total``
        in the narrowest of uint8, int16 and int32 that holds every total, on the CPU.

    Raises
    ------
    KeyError
        A layer is missing.
    ValueError
        A layer is not a numeric matrix of the shape of ``adata``, or a total is above 16,777,216.
    """
    junction, cluster = get_layer(adata, junction_layer), get_layer(adata, cluster_layer)
    blocks, capacity = read_blocks(junction, cluster), count_stored(cluster)
    return collect_entries(blocks, adata.shape, capacity, cluster_layer)
