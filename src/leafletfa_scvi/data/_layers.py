"""Layers of a splicing AnnData in any layout, and their conversion to observed entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from leafletfa_scvi._constants import CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data._blocks import row_blocks
from leafletfa_scvi.ops import ObservedEntries, smallest_int_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData

MAX_COUNT = 1 << 24
"""Largest integer up to which float32 represents all integers."""


@dataclass(frozen=True)
class LayerValues:
    """Nonzero values of one layer in consecutive cells.

    Attributes
    ----------
    key
        ``(m,)`` int64, strictly ascending: ``row * n_junctions + junction``, both 0-based and
        ``row`` relative to the first cell.
    value
        ``(m,)`` float64.
    """

    key: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class LayerBlock:
    """Values of both layers in the cells ``first_cell:first_cell + n_cells``."""

    first_cell: int
    n_cells: int
    n_junctions: int
    junction: LayerValues
    cluster: LayerValues

    def aligned_count(self) -> tuple[np.ndarray, np.ndarray]:
        """Return junction counts at the entries of the cluster layer, 0 if not stored.

        Returns
        -------
        count
            ``(m,)`` float64, for each entry of ``cluster``.
        stray
            Positions of values in ``junction`` without an entry in ``cluster``, ascending.
        """
        return lookup(self.junction, self.cluster.key)


def lookup(values: LayerValues, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values at ascending keys, 0 if absent, and positions of values at no such key."""
    if np.array_equal(values.key, keys):
        return values.value, np.empty(0, np.int64)
    out = np.zeros(len(keys))
    if not len(keys):
        return out, np.arange(len(values.key))
    position = np.searchsorted(keys, values.key)
    position[position == len(keys)] = 0
    is_key = keys[position] == values.key
    out[position[is_key]] = values.value[is_key]
    return out, np.flatnonzero(~is_key)


def named_layers(adata: AnnData) -> dict[str, Any]:
    """Return layers by name, without ``X``, which anndata 0.13 lists under the key None."""
    return {name: adata.layers[name] for name in adata.layers if name is not None}


def get_layer(adata: AnnData, name: str) -> Any:
    """Return a layer as CSR or dense (row-sliceable), without modifying ``adata``.

    Raises
    ------
    KeyError
        The layer is missing.
    ValueError
        The layer is not a numeric matrix of shape cells x junctions, is a masked array, or is a
        sparse matrix with inconsistent arrays.
    """
    layers = named_layers(adata)
    if name not in list(layers):  # list, because an unhashable name would fail in a dict
        raise KeyError(
            f"Layer {name!r} is missing: adata.layers holds {sorted(layers)}. "
            "Store the counts in it, or name the layer that contains them."
        )
    layer = layers[name]
    if hasattr(layer, "to_memory"):  # a sparse matrix that anndata keeps on disk
        layer = layer.to_memory()
    on_disk = type(layer).__module__.partition(".")[0] in ("h5py", "zarr")
    if not (on_disk or is_sparse(layer) or isinstance(layer, np.ndarray)):
        raise ValueError(
            f"Layer {name!r} is a {type(layer).__name__}: expected a scipy sparse matrix or "
            "a numpy array in memory. Convert it first."
        )
    if isinstance(layer, np.ma.MaskedArray):
        raise ValueError(
            f"Layer {name!r} is a masked array, with {int(np.ma.count_masked(layer))} values "
            "masked, which has no meaning here. Store plain counts, with 0 for no reads: "
            "layer.filled(0)."
        )
    if tuple(layer.shape) != tuple(adata.shape):
        raise ValueError(
            f"Layer {name!r} has shape {tuple(layer.shape)}: expected {tuple(adata.shape)}, "
            "cells x junctions. Store one value per cell and junction."
        )
    if np.dtype(layer.dtype).kind not in "buif":
        raise ValueError(
            f"Layer {name!r} has dtype {layer.dtype}: expected counts, integer or float. "
            "Convert it with .astype('int32')."
        )
    if is_sparse(layer):
        check_sparse(layer, name, adata)
        return layer if layer.format == "csr" else layer.tocsr()
    return layer if on_disk else np.asarray(layer)


def check_sparse(layer: Any, name: str, adata: AnnData) -> None:
    """Check that the arrays of a CSR or CSC layer are consistent.

    scipy does not, and would read past their ends. Duplicate entries are allowed and summed.

    Raises
    ------
    ValueError
        ``indptr`` does not have one value more than rows (columns), does not begin at 0,
        decreases, or ends beyond the stored values; or an index is negative or beyond the last
        column (row).
    """
    if layer.format not in ("csr", "csc"):
        return
    is_csr = layer.format == "csr"
    n_major, n_minor = layer.shape if is_csr else layer.shape[::-1]
    minor_axis = "junctions" if is_csr else "cells"

    def describe(i: int) -> str:
        return f"cell {adata.obs_names[i]!r}" if is_csr else f"junction {adata.var_names[i]!r}"

    indptr, indices = layer.indptr, layer.indices
    problem = f"Layer {name!r} is not a valid {layer.format.upper()} matrix"
    remedy = "Rebuild the matrix: scipy.sparse.csr_matrix((values, (cells, junctions)))."
    if len(indptr) != n_major + 1:
        raise ValueError(
            f"{problem}: its indptr has {len(indptr)} values, expected {n_major + 1}, one more "
            f"than {'cells' if is_csr else 'junctions'}. {remedy}"
        )
    steps = np.diff(indptr)
    decrease = (steps < 0).argmax() if len(steps) and steps.min() < 0 else None
    if decrease is not None or indptr[0] != 0:
        i = 0 if decrease is None else int(decrease)
        problem_of_indptr = f"begins at {indptr[0]}" if decrease is None else "decreases"
        raise ValueError(f"{problem}: its indptr {problem_of_indptr} at {describe(i)}. {remedy}")
    n_values = int(indptr[-1])
    n_stored = min(len(indices), len(layer.data))
    if n_values > n_stored:
        i = int(np.searchsorted(indptr, n_stored, side="right")) - 1
        raise ValueError(
            f"{problem}: its indptr counts {n_values} values, but {n_stored} are stored, which "
            f"end in {describe(i)}. {remedy}"
        )
    indices = indices[:n_values]
    if n_values and (indices.min() < 0 or indices.max() >= n_minor):
        first = int(((indices < 0) | (indices >= n_minor)).argmax())
        i = int(np.searchsorted(indptr, first, side="right")) - 1
        raise ValueError(
            f"{problem}: {describe(i)} has a value at index {indices[first]}, expected 0 to "
            f"{n_minor - 1} for {n_minor} {minor_axis}. {remedy}"
        )


def read_rows(layer: Any, start: int, stop: int) -> LayerValues:
    """Read the nonzero values in rows ``start:stop``, sorted, with duplicates of a CSR summed."""
    n_columns = layer.shape[1]
    if not is_sparse(layer):
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
    nonzero = value != 0
    return LayerValues(key, value) if nonzero.all() else LayerValues(key[nonzero], value[nonzero])


def read_blocks(junction: Any, cluster: Any) -> Iterator[LayerBlock]:
    """Read both layers, from :func:`get_layer`, in blocks of cells of bounded size."""
    n_cells, n_junctions = junction.shape
    running = np.zeros(n_cells + 1, np.int64)
    for layer in (junction, cluster):
        dense = not is_sparse(layer)
        running += np.arange(n_cells + 1) * n_junctions if dense else layer.indptr
    for start, stop in row_blocks(running):
        values = (read_rows(layer, start, stop) for layer in (junction, cluster))
        yield LayerBlock(start, stop - start, n_junctions, *values)


def count_stored(layer: Any) -> int:
    """Count the stored values of a sparse layer, or the nonzero values of a dense one."""
    if is_sparse(layer):
        return int(layer.nnz)
    running = np.arange(layer.shape[0] + 1) * layer.shape[1]
    return sum(int(np.count_nonzero(layer[i:j])) for i, j in row_blocks(running))


def collect_entries(
    blocks: Iterable[LayerBlock],
    shape: tuple[int, int],
    capacity: int,
    cluster_layer: str = CLUSTER_LAYER,
) -> ObservedEntries:
    """Join consecutive blocks into observed entries.

    Entries are written directly to the final arrays, in the smallest integer type that holds the
    totals: 6 bytes per entry if no total exceeds 255.

    Parameters
    ----------
    blocks
        Blocks of cells, in order and complete.
    shape
        Numbers of cells and junctions.
    capacity
        Upper bound of the number of observed entries.
    cluster_layer
        Name of the layer of totals, for messages.

    Raises
    ------
    ValueError
        A total is above 16,777,216, beyond which float32 cannot represent all integers.
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
            count, total = (_widened(x, end, smallest_int_dtype(largest)) for x in (count, total))
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
    """Convert the first ``n_filled`` values to ``dtype``, in an array of the same length."""
    out = values.new_empty(len(values), dtype=dtype)
    out[:n_filled] = values[:n_filled]
    return out


def observed_entries(
    adata: AnnData, junction_layer: str = JUNCTION_LAYER, cluster_layer: str = CLUSTER_LAYER
) -> ObservedEntries:
    """Return the observed entries of a data set, (cell, junction) pairs with ATSE total above 0.

    Whether the junction layer stores a zero has no meaning. Values are not checked, see
    :func:`splicing_data`. CSR layers are read without a copy; no layer is modified.

    Parameters
    ----------
    adata
        Cells x junctions.
    junction_layer
        Layer of junction counts y, in reads: CSR, CSC (matrix or array) or dense, of any integer
        or float type.
    cluster_layer
        Layer of ATSE totals n, likewise.

    Returns
    -------
    ObservedEntries
        ``indptr`` int64, ``column`` int32 (0-based, ascending in a cell), ``count`` and ``total``
        in the smallest of uint8, int16 and int32 that holds every total, on the CPU.

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
