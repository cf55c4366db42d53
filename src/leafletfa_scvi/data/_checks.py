"""Checks of the data contract at registration."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi.data._atse_labels import atse_codes, resolve_atse_key
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
"""Share of observed entries below which data are taken for droplet data ..."""
LOW_TOTAL = 2
"""... if the median ATSE total of observed entries is at most this."""

_FINITE = "Replace missing values by 0: without reads, the count is 0."
_RAW = "Store raw read counts, not normalized, scaled or log-transformed values."
_RECOMPUTE = (
    "A total is the sum of reads over all junctions of the ATSE. Recompute it, or check that the "
    "two layers are not swapped."
)
_SAME = (
    "All junctions of an ATSE must have the same total in a cell. Recompute the totals after "
    "filtering junctions or relabeling ATSEs."
)
_SHARED = (
    "Junctions of an ATSE share its reads. Recompute the totals, or pass atse_key=None if the "
    "labels are not ATSEs."
)
_SAME_AS_MODEL = (
    "All junctions of an ATSE with reads must have the same total in a cell. Compute the totals "
    "with the ATSEs that the model was built on."
)
_SHARED_AS_MODEL = (
    "Junctions of an ATSE share its reads. Compute the totals with the ATSEs that the model was "
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

    ``adata`` is not modified. Warns about cells and junctions without observed entries, about a
    different ATSE label for every junction, about counts identical to the totals, and about data
    as sparse as those of droplet protocols.

    Parameters
    ----------
    adata
        Cells x junctions.
    junction_layer
        Layer of junction counts y, in reads; see :func:`observed_entries` for the layouts.
    cluster_layer
        Layer of ATSE totals n, in reads.
    atse_key
        Column of ``adata.var`` with ATSE labels, for checks within ATSEs. The default column is
        used if present; any other column must exist. If None, these checks are skipped.
    fixed_junctions
        Whether the junctions are those of a model. If True, warnings about junctions without
        observed entries and about labels are omitted.
    fixed_atses
        ``(P,)`` 0-based ATSE of each junction in a model, used instead of ``atse_key``. Checks
        within ATSEs then ignore junctions with total 0 in a cell, because new cells may have been
        counted at a subset of the junctions.

    Returns
    -------
    ObservedEntries
        See :func:`observed_entries`.

    Raises
    ------
    TypeError
        ``adata`` is not an AnnData.
    KeyError
        A layer, or the column named by ``atse_key``, is missing.
    ValueError
        ``adata`` has no cells or junctions, or duplicate names; a layer is not a numeric matrix of
        the shape of ``adata``; a value is non-finite, negative or fractional; y > n, or y > 0 and
        n = 0; a junction has no ATSE label; totals differ within an ATSE of a cell, or the sum of
        its junction counts exceeds them; no entry is observed; or a total is above 16,777,216.
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
    """Check any cells and return their entries, without the warnings of :func:`splicing_data`.

    Parameters
    ----------
    adata, junction_layer, cluster_layer
        See :func:`splicing_data`.
    codes
        ``(P,)`` 0-based ATSE of each junction. If None, checks within ATSEs are skipped.
    incomplete
        Whether checks within ATSEs ignore junctions with total 0 in a cell.
    """
    check_axes(adata)
    check = _BlockChecks(adata, junction_layer, cluster_layer, codes, incomplete)
    junction, cluster = get_layer(adata, junction_layer), get_layer(adata, cluster_layer)
    checked = map(check, read_blocks(junction, cluster))
    entries = collect_entries(checked, adata.shape, count_stored(cluster), cluster_layer)
    if entries.n_entries == 0:
        raise ValueError(
            f"Layer {cluster_layer!r} holds only zeros: nothing is observed in any cell. "
            "Store the ATSE totals in it, the sum of reads over the junctions of each ATSE."
        )
    return entries


def check_splicing(
    adata: AnnData,
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
    atse_key: str | None = ATSE_KEY,
) -> None:
    """Check a data set, with the parameters, errors and warnings of :func:`splicing_data`."""
    splicing_data(adata, junction_layer, cluster_layer, atse_key)


def check_counts_and_totals(adata: AnnData, junction_layer: str, cluster_layer: str) -> None:
    """Check the values of both layers, and that no count is above its total.

    Raises
    ------
    KeyError, ValueError
        As :func:`splicing_data`, without what concerns ATSEs.
    """
    check = _BlockChecks(adata, junction_layer, cluster_layer, None, incomplete=True)
    for block in read_blocks(get_layer(adata, junction_layer), get_layer(adata, cluster_layer)):
        check(block)


def check_axes(adata: AnnData) -> None:
    """Check that both axes are non-empty and have unique names.

    Raises
    ------
    TypeError
        ``adata`` is not an AnnData.
    ValueError
        ``adata`` has no cells or junctions, or two have the same name.
    """
    check_anndata(adata)
    axes = (
        ("cell", "obs_names", adata.obs_names),
        ("junction", "var_names", adata.var_names),
    )
    for axis, slot, names in axes:
        if len(names) == 0:
            raise ValueError(f"adata has no {axis}s: its shape is {adata.shape}. Check filters.")
        texts = names.astype(str)  # saved files do not distinguish 1 and "1"
        repeated = texts[texts.duplicated()]  # is_unique may be outdated in slices of an index
        if len(repeated):
            raise ValueError(
                f"adata.{slot} holds {repeated[0]!r} more than once. Names of {axis}s must be "
                f"unique. Call adata.{slot}_make_unique()."
            )


class _BlockChecks:
    """Checks of values, applied to one block of cells at a time."""

    def __init__(
        self,
        adata: AnnData,
        junction_layer: str,
        cluster_layer: str,
        codes: np.ndarray | None,
        incomplete: bool,
    ) -> None:
        """Prepare the order in which the junctions of an ATSE are adjacent."""
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
        """Return the block if it passes all checks."""
        self._check_values(block, self.junction_layer, block.junction)
        self._check_values(block, self.cluster_layer, block.cluster)
        count = self._check_nested(block)
        if self.has_atses and len(count):
            self._check_within_atse(block, count)
        return block

    def _fail(
        self, block: LayerBlock, layer: str, key: int, problem: str, remedy: str
    ) -> ValueError:
        row, junction = divmod(int(key), block.n_junctions)
        cell = self.cells[block.first_cell + row]
        return ValueError(
            f"Layer {layer!r} {problem} for cell {cell!r} and junction "
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
                problem = f"holds the {kind} value {value[i]:g}"
                raise self._fail(block, layer, values.key[i], problem, remedy)

    def _check_nested(self, block: LayerBlock) -> np.ndarray:
        """Check that junction counts do not exceed totals; return counts at entries of totals."""
        y, n = block.junction, block.cluster
        count, stray = block.aligned_count()
        total = f"but the total in layer {self.cluster_layer!r} is"
        if len(stray):
            i = stray[0]
            problem = f"holds {y.value[i]:.0f}, {total} 0,"
            raise self._fail(block, self.junction_layer, y.key[i], problem, _RECOMPUTE)
        above = count > n.value
        if above.any():
            i = above.argmax()
            problem = f"holds {count[i]:.0f}, {total} {n.value[i]:.0f},"
            raise self._fail(block, self.junction_layer, n.key[i], problem, _RECOMPUTE)
        return count

    def _check_within_atse(self, block: LayerBlock, count: np.ndarray) -> None:
        """Check that each (cell, ATSE) pair has one total, not below the sum of its counts."""
        row, junction = np.divmod(block.cluster.key, block.n_junctions)
        ranked = row * block.n_junctions + self.rank[junction]
        total, code = block.cluster.value, self.codes[junction]
        # Sort so that junctions of an ATSE are adjacent, which reduceat needs.
        if not (ranked[1:] > ranked[:-1]).all():
            order = np.argsort(ranked)
            row, junction, code = row[order], junction[order], code[order]
            total, count = total[order], count[order]
        new_pair = (np.diff(row, prepend=-1) != 0) | (np.diff(code, prepend=-1) != 0)
        first = np.flatnonzero(new_pair)
        length = np.diff(first, append=len(row))

        uneven = np.minimum.reduceat(total, first) != np.maximum.reduceat(total, first)
        if not self.incomplete:
            # A junction that is not stored has total 0, which differs from the others.
            uneven |= length != self.size[code[first]]
        if uneven.any():
            pair = first[uneven.argmax()]
            self._fail_uneven(block, row[pair], code[pair], total[pair])
        reads = np.add.reduceat(count, first)
        above = reads > total[first]
        if above.any():
            i = first[above.argmax()]
            problem = (
                f"holds {reads[above][0]:.0f} reads over all junctions of one ATSE, more than "
                f"its total of {total[i]:.0f} in layer {self.cluster_layer!r},"
            )
            key = row[i] * block.n_junctions + junction[i]
            remedy = _SHARED_AS_MODEL if self.incomplete else _SHARED
            raise self._fail(block, self.junction_layer, key, problem, remedy)

    def _fail_uneven(self, block: LayerBlock, row: int, code: int, total: float) -> None:
        """Raise an error that names two junctions of the ATSE with different totals."""
        members = self.order[np.searchsorted(self.codes, code, sorter=self.order) :]
        members = members[: self.size[code]]
        key = row * block.n_junctions + members
        position = np.searchsorted(block.cluster.key, key)
        position[position == len(block.cluster.key)] = 0
        is_stored = block.cluster.key[position] == key
        value = np.where(is_stored, block.cluster.value[position], 0.0)
        odd = int(((value != total) & (is_stored | (not self.incomplete))).argmax())
        other = self.junctions[members[int((value == total).argmax())]]
        problem = (
            f"holds {value[odd]:.0f}, but {total:.0f} at junction {other!r} of the same ATSE,"
        )
        remedy = _SAME_AS_MODEL if self.incomplete else _SAME
        raise self._fail(block, self.cluster_layer, key[odd], problem, remedy)


def _warn(
    entries: ObservedEntries,
    atse_key: str | None,
    codes: np.ndarray | None,
    fixed_junctions: bool,
) -> None:
    """Warn about valid but unusual data."""
    total = entries.total.numpy()
    n_cells, n_junctions = entries.n_cells, entries.n_junctions
    empty_cells = int((entries.indptr.diff() == 0).sum())
    empty_junctions = n_junctions - int(entries.seen_junctions().sum())
    messages = []
    if empty_cells:
        messages.append(
            f"{empty_cells} of {n_cells} cells have no observed entry (no ATSE total above 0); "
            "their estimates are prior means. Consider removing them."
        )
    if empty_junctions and not fixed_junctions:
        messages.append(
            f"{empty_junctions} of {n_junctions} junctions have no observed entry in any cell; "
            "their estimates are prior means. Consider removing them."
        )
    if atse_key is not None and codes is not None and len(np.unique(codes)) == n_junctions:
        messages.append(
            f"Each of the {n_junctions} junctions has a different ATSE label in "
            f"adata.var[{atse_key!r}]. Use one label for junctions that share splice sites, or "
            "pass atse_key=None if the column does not contain ATSEs."
        )
    if not fixed_junctions and all(
        bool((block.count == block.total).all()) for _, block in entries.blocks()
    ):
        messages.append(
            f"The count y equals the total n at all {entries.n_entries} observed entries, so that "
            "no junction has an alternative. Store the ATSE totals in the cluster layer, the sum "
            "of reads over the junctions of each ATSE."
        )
    coverage = len(total) / (n_cells * n_junctions)
    median = float(np.median(total[:: 1 + len(total) // 1_000_000]))
    if coverage < LOW_COVERAGE and median <= LOW_TOTAL:
        messages.append(
            f"Only {coverage:.1%} of all (cell, junction) entries are observed, with a median "
            f"ATSE total of {median:g} (below {LOW_COVERAGE:.0%} and at most {LOW_TOTAL}), as in "
            "droplet data. The model is designed for full-length protocols such as Smart-seq2. "
            "Pool cells, or keep only ATSEs with high coverage."
        )
    for message in messages:
        warnings.warn(message, UserWarning, stacklevel=3)
