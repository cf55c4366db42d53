"""Registration checks: what a splicing data set must hold, and clear words where it does not."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi.data._atse import atse_codes, resolve_atse_key
from leafletfa_scvi.data._layers import (
    collect_entries,
    count_stored,
    get_layer,
    read_blocks,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi.data._layers import LayerBlock, LayerValues
    from leafletfa_scvi.ops import ObservedEntries

LOW_COVERAGE = 0.05
"""Share of observed entries below which data may come from a droplet protocol ..."""
LOW_TOTAL = 2
"""... if the median ATSE total of observed entries is not above this many reads."""

_FINITE = "Replace missing values: where nothing was read, the count is 0."
_RAW = "Store raw read counts, not normalised, scaled or log-transformed values."
_RECOMPUTE = (
    "A total is the sum of reads over all junctions of the ATSE: recompute it, or check that the "
    "two layers are not swapped."
)
_SAME = (
    "All junctions of an ATSE have the same total in a cell: recompute the totals after "
    "filtering junctions or relabelling ATSEs."
)
_SHARED = (
    "Junctions of an ATSE share its reads: recompute the totals, or pass atse_key=None where the "
    "labels mean something else."
)
_SAME_AS_MODEL = (
    "All junctions of an ATSE that have reads have the same total in a cell: compute the totals "
    "by the ATSEs that the model was built on."
)
_SHARED_AS_MODEL = (
    "Junctions of an ATSE share its reads: compute the totals by the ATSEs that the model was "
    "built on."
)


def splicing_data(
    adata: AnnData,
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
    atse_key: str | None = ATSE_KEY,
    *,
    fixed_junctions: bool = False,
    fixed_atses: np.ndarray | None = None,
) -> ObservedEntries:
    """Check a data set and return its observed entries, in one pass over the layers.

    Nothing is written to ``adata``. Warns, once each, about cells and junctions without any
    observed entry, about labels that give each junction an ATSE of its own, about counts equal to
    the totals throughout, and about data as sparse as droplet protocols give.

    Parameters
    ----------
    adata
        Cells x junctions.
    junction_layer
        Layer of junction counts y, in reads; see :func:`observed_entries` for the layouts.
    cluster_layer
        Layer of ATSE totals n, in reads.
    atse_key
        Column of ``adata.var`` with ATSE labels, used by the checks within ATSEs. The default is
        used if it is there; any other name must be there; None skips these checks.
    fixed_junctions
        The junctions are those of a model, whatever these cells show of them: no warning of
        junctions without any observed entry or of their labels.
    fixed_atses
        ``(P,)`` ATSE of each junction by a model, 0-based, instead of ``atse_key``. Junctions with
        total 0 in a cell are then left out of the checks within its ATSEs: these cells may have
        been counted at some of the junctions only.

    Returns
    -------
    ObservedEntries
        As of :func:`observed_entries`.

    Raises
    ------
    TypeError
        ``adata`` is not an AnnData.
    KeyError
        A layer, or the column named by ``atse_key``, is missing.
    ValueError
        Cells or junctions are none or have repeated names; a layer is not a numeric matrix of the
        shape of ``adata``; a value is not finite, negative or fractional; y > n, or y > 0 where
        n = 0; a junction has no ATSE label; totals differ within an ATSE of a cell, or its
        junction counts exceed them in sum; nothing is observed; or a total is above 16,777,216.
        The message names the layer, the first such cell and junction, and the remedy.
    """
    codes, key = fixed_atses, None
    check_anndata(adata)
    if codes is None:
        key = resolve_atse_key(adata, atse_key)
        codes = None if key is None else atse_codes(adata, key)[0]
    entries = checked_entries(
        adata, junction_layer, cluster_layer, codes, incomplete=fixed_atses is not None
    )
    _warn(entries, key if not fixed_junctions else None, codes, fixed_junctions)
    return entries


def checked_entries(
    adata: AnnData,
    junction_layer: str,
    cluster_layer: str,
    codes: np.ndarray | None,
    *,
    incomplete: bool,
) -> ObservedEntries:
    """Checked entries of any cells, without the warnings of :func:`splicing_data`.

    Parameters
    ----------
    adata, junction_layer, cluster_layer
        As there.
    codes
        ``(P,)`` 0-based ATSE of each junction; None for no checks within ATSEs.
    incomplete
        Junctions with total 0 in a cell are left out of the checks within its ATSEs.
    """
    check_axes(adata)
    check = _BlockChecks(adata, junction_layer, cluster_layer, codes, incomplete)
    junction, cluster = get_layer(adata, junction_layer), get_layer(adata, cluster_layer)
    checked = map(check, read_blocks(junction, cluster))
    entries = collect_entries(checked, adata.shape, count_stored(cluster), cluster_layer)
    if entries.n_entries == 0:
        raise ValueError(
            f"Layer {cluster_layer!r} holds zeros only: nothing is observed in any cell. "
            "Store the ATSE totals there, the sum of reads over the junctions of each ATSE."
        )
    return entries


def check_splicing(
    adata: AnnData,
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
    atse_key: str | None = ATSE_KEY,
) -> None:
    """Check a data set; parameters, errors and warnings are those of :func:`splicing_data`."""
    splicing_data(adata, junction_layer, cluster_layer, atse_key)


def check_axes(adata: AnnData) -> None:
    """Check that cells and junctions exist and have names of their own.

    Raises
    ------
    TypeError
        ``adata`` is not an AnnData.
    ValueError
        There are no cells or junctions, or two have the same name.
    """
    check_anndata(adata)
    axes = (
        ("cell", "obs_names", adata.obs_names),
        ("junction", "var_names", adata.var_names),
    )
    for what, slot, names in axes:
        if len(names) == 0:
            raise ValueError(f"adata has no {what}s: its shape is {adata.shape}. Check filters.")
        texts = names.astype(str)  # 1 and "1" are one name where names are saved
        repeated = texts[texts.duplicated()]  # is_unique goes stale in slices of an index
        if len(repeated):
            raise ValueError(
                f"adata.{slot} holds {repeated[0]!r} more than once. Names of {what}s must be "
                f"unique: call adata.{slot}_make_unique()."
            )


class _BlockChecks:
    """The checks that need the values, one block of cells at a time."""

    def __init__(
        self,
        adata: AnnData,
        junction_layer: str,
        cluster_layer: str,
        codes: np.ndarray | None,
        incomplete: bool,
    ) -> None:
        """``incomplete``: an ATSE is the junctions of it that have a total in the cell."""
        self.cells: pd.Index = adata.obs_names
        self.junctions: pd.Index = adata.var_names
        self.junction_layer = junction_layer
        self.cluster_layer = cluster_layer
        self.incomplete = incomplete
        self.has_atses = codes is not None
        if codes is not None:
            self.codes = codes
            self.size = np.bincount(codes)
            self.order = np.argsort(self.codes, kind="stable")
            self.rank = np.empty_like(self.order)
            self.rank[self.order] = np.arange(len(self.order))

    def __call__(self, block: LayerBlock) -> LayerBlock:
        """The block itself, if nothing is wrong with it."""
        self._check_values(block, self.junction_layer, block.junction)
        self._check_values(block, self.cluster_layer, block.cluster)
        count = self._check_nested(block)
        if self.has_atses and len(count):
            self._check_within_atse(block, count)
        return block

    def _fail(
        self, block: LayerBlock, layer: str, key: int, found: str, remedy: str
    ) -> ValueError:
        row, junction = divmod(int(key), block.n_junctions)
        cell = self.cells[block.first_cell + row]
        return ValueError(
            f"Layer {layer!r} {found} for cell {cell!r} and junction "
            f"{self.junctions[junction]!r}. {remedy}"
        )

    def _check_values(self, block: LayerBlock, layer: str, values: LayerValues) -> None:
        value = values.value
        for kind, wrong, remedy in (
            ("non-finite", ~np.isfinite(value), _FINITE),
            ("negative", value < 0, _RAW),
            ("fractional", value != np.rint(value), _RAW),
        ):
            if wrong.any():
                i = wrong.argmax()
                found = f"holds the {kind} value {value[i]:g}"
                raise self._fail(block, layer, values.key[i], found, remedy)

    def _check_nested(self, block: LayerBlock) -> np.ndarray:
        """Junction counts lie within their totals; returned at the entries of the totals."""
        y, n = block.junction, block.cluster
        count, stray = block.aligned_count()
        total = f"where the total in layer {self.cluster_layer!r} is"
        if len(stray):
            i = stray[0]
            found = f"holds {y.value[i]:.0f} {total} 0"
            raise self._fail(block, self.junction_layer, y.key[i], found, _RECOMPUTE)
        above = count > n.value
        if above.any():
            i = above.argmax()
            found = f"holds {count[i]:.0f} {total} {n.value[i]:.0f}"
            raise self._fail(block, self.junction_layer, n.key[i], found, _RECOMPUTE)
        return count

    def _check_within_atse(self, block: LayerBlock, count: np.ndarray) -> None:
        """One total for each (cell, ATSE) pair, at all its junctions, not below their reads."""
        row, junction = np.divmod(block.cluster.key, block.n_junctions)
        ranked = row * block.n_junctions + self.rank[junction]
        total, code = block.cluster.value, self.codes[junction]
        if not (ranked[1:] > ranked[:-1]).all():  # junctions of an ATSE are not side by side
            order = np.argsort(ranked)
            row, junction, code = row[order], junction[order], code[order]
            total, count = total[order], count[order]
        new_pair = (np.diff(row, prepend=-1) != 0) | (np.diff(code, prepend=-1) != 0)
        first = np.flatnonzero(new_pair)
        length = np.diff(first, append=len(row))

        uneven = np.minimum.reduceat(total, first) != np.maximum.reduceat(total, first)
        if not self.incomplete:
            uneven |= length != self.size[code[first]]
        if uneven.any():
            pair = first[uneven.argmax()]
            self._fail_uneven(block, row[pair], code[pair], total[pair])
        reads = np.add.reduceat(count, first)
        above = reads > total[first]
        if above.any():
            i = first[above.argmax()]
            found = (
                f"holds {reads[above][0]:.0f} reads over all junctions of one ATSE, more than "
                f"its total of {total[i]:.0f} in layer {self.cluster_layer!r},"
            )
            key = row[i] * block.n_junctions + junction[i]
            remedy = _SHARED_AS_MODEL if self.incomplete else _SHARED
            raise self._fail(block, self.junction_layer, key, found, remedy)

    def _fail_uneven(self, block: LayerBlock, row: int, code: int, total: float) -> None:
        """Name a junction of the ATSE whose total is not that of the first observed one."""
        members = self.order[np.searchsorted(self.codes, code, sorter=self.order) :]
        members = members[: self.size[code]]
        wanted = row * block.n_junctions + members
        at = np.searchsorted(block.cluster.key, wanted)
        at[at == len(block.cluster.key)] = 0
        here = block.cluster.key[at] == wanted
        value = np.where(here, block.cluster.value[at], 0.0)
        odd = int(((value != total) & (here | (not self.incomplete))).argmax())
        other = self.junctions[members[int((value == total).argmax())]]
        found = f"holds {value[odd]:.0f}, but {total:.0f} at junction {other!r} of the same ATSE,"
        remedy = _SAME_AS_MODEL if self.incomplete else _SAME
        raise self._fail(block, self.cluster_layer, wanted[odd], found, remedy)


def _warn(
    entries: ObservedEntries,
    atse_key: str | None,
    codes: np.ndarray | None,
    fixed_junctions: bool,
) -> None:
    """Warn of what is allowed but seldom meant."""
    total = entries.total.numpy()
    n_cells, n_junctions = entries.n_cells, entries.n_junctions
    empty_cells = int((entries.indptr.diff() == 0).sum())
    empty_junctions = n_junctions - int(entries.seen_junctions().sum())
    messages = []
    if empty_cells:
        messages.append(
            f"{empty_cells} of {n_cells} cells have no observed entry (no ATSE total above 0); "
            "they are given the prior mean. Consider removing them."
        )
    if empty_junctions and not fixed_junctions:
        messages.append(
            f"{empty_junctions} of {n_junctions} junctions have no observed entry in any cell; "
            "they are given the prior mean. Consider removing them."
        )
    if atse_key is not None and codes is not None and len(np.unique(codes)) == n_junctions:
        messages.append(
            f"Each of the {n_junctions} junctions has an ATSE of its own in "
            f"adata.var[{atse_key!r}]. Give junctions that share splice sites one label, or pass "
            "atse_key=None where the column holds something else."
        )
    if not fixed_junctions and all(
        bool((block.count == block.total).all()) for _, block in entries.blocks()
    ):
        messages.append(
            f"The count y is the total n at each of {entries.n_entries} observed entries, so that "
            "no junction has an alternative. Store the ATSE totals in the cluster layer, the sum "
            "of reads over the junctions of each ATSE."
        )
    coverage = len(total) / (n_cells * n_junctions)
    median = float(np.median(total[:: 1 + len(total) // 1_000_000]))
    if coverage < LOW_COVERAGE and median <= LOW_TOTAL:
        messages.append(
            f"Only {coverage:.1%} of all (cell, junction) entries are observed, with a median "
            f"ATSE total of {median:g} (below {LOW_COVERAGE:.0%} and at most {LOW_TOTAL}), as in "
            "droplet data. The model is meant for full-length protocols such as Smart-seq2; "
            "pool cells or keep well covered ATSEs only."
        )
    for message in messages:
        warnings.warn(message, UserWarning, stacklevel=3)
