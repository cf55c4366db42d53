"""PSI of local events in each cell, from the counts of their junctions."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi._arguments import check_anndata, check_at_least
from leafletfa_scvi.data import row_blocks
from leafletfa_scvi.pp.qc._matrices import junction_counts

_FORMS: Final = {"inclusion": "inclusion_junctions", "exclusion": "exclusion_junctions"}
"""Layers, and the columns with their junctions."""


def event_psi(
    adata: AnnData, events: pd.DataFrame, *, min_reads: int = 1, sparse: bool = False
) -> AnnData:
    """Compute the PSI of local events in each cell, as rMATS and MARVEL define it.

    With I the mean count of the junctions of the inclusion form and E that of the exclusion form,
    PSI = I / (I + E): a form counts once, whether one junction supports it (skipping an exon) or
    two do (including it).

    Parameters
    ----------
    adata
        Junction counts or a splicing data set; not changed.
    events
        Events, from :func:`find_local_events` or of your own: text columns
        ``inclusion_junctions`` and ``exclusion_junctions``, names in ``adata.var_names`` joined
        by ``,``; index with unique names.
    min_reads
        Minimum number of reads of a cell on all junctions of the event, at least 1. PSI is NaN
        below.
    sparse
        If True, PSI is a CSR matrix that stores the cells with enough reads, including PSI of 0.
        What it does not store is not known, rather than 0. Use it where cells x events do not
        fit into memory.

    Returns
    -------
    AnnData
        Cells x events, ``obs`` as in ``adata``, ``var`` as in ``events``. ``X`` holds PSI from 0
        to 1, float32, NaN below ``min_reads``. The layers ``inclusion`` and ``exclusion`` hold I
        and E, float32 CSR, also below ``min_reads``.

    Raises
    ------
    KeyError
        If ``events`` lacks a column or names a junction that ``adata`` does not have.
    ValueError
        If counts are missing or not whole, a form has no junction, names are not unique, or
        ``min_reads`` is below 1.

    See Also
    --------
    find_local_events : The table of events.

    Notes
    -----
    Time and memory grow with the observed (cell, event) pairs. With ``sparse=True`` nothing of
    size cells x events is formed.

    rMATS takes a smaller length for exons that are shorter than its reads, as one read may
    support both junctions; MARVEL, like this function, does not.

    References
    ----------
    Shen et al., *PNAS* 111, E5593 (2014): rMATS with junction counts, where the length of a form
    is its number of junctions. Wen et al., *Nucleic Acids Research* 51, e29 (2023): MARVEL.

    Examples
    --------
    >>> events = find_local_events(adata, annotation)  # doctest: +SKIP
    >>> psi = event_psi(adata, events, min_reads=10)  # doctest: +SKIP
    """
    check_anndata(adata)
    check_at_least(1, min_reads=min_reads)
    for what, names in (("adata.var_names", adata.var_names), ("events.index", events.index)):
        if not names.is_unique:
            repeated = names[names.duplicated()][0]
            raise ValueError(f"Expected unique names in {what}, found {repeated!r} twice.")
    weights, size = _weights(events, adata.var_names)
    counts = junction_counts(adata)
    shape = (adata.n_obs, len(events))
    dense = None if sparse else np.full(shape, np.nan, np.float32)

    # At most so many pairs as each count has events.
    n_pairs = np.diff(weights.indptr)[counts.indices]
    running = np.concatenate([[0], np.cumsum(n_pairs)])[counts.indptr]
    parts: list[tuple[np.ndarray, ...]] = []
    for start, stop in list(row_blocks(running)) or [(0, 0)]:
        means = counts[start:stop].astype(np.complex128) @ weights
        means.sort_indices()
        inclusion, exclusion = means.data.real, means.data.imag
        reads = np.rint(inclusion * size[0][means.indices] + exclusion * size[1][means.indices])
        is_enough = reads >= min_reads
        value = (inclusion / (inclusion + exclusion)).astype(np.float32)
        per_cell = np.diff(means.indptr)
        if dense is not None:
            cell = np.repeat(np.arange(start, stop), per_cell)[is_enough]
            dense[cell, means.indices[is_enough]] = value[is_enough]
            value = value[:0]
        parts.append(
            (
                per_cell,
                means.indices.astype(np.int32),
                inclusion.astype(np.float32),
                exclusion.astype(np.float32),
                is_enough,
                value,
            )
        )
    per_cell, indices, inclusion, exclusion, is_enough, value = (
        np.concatenate(arrays) for arrays in zip(*parts, strict=True)
    )
    del parts
    indptr = np.concatenate([[0], np.cumsum(per_cell)])
    layers = {
        "inclusion": sp.csr_matrix((inclusion, indices, indptr), shape),
        "exclusion": sp.csr_matrix((exclusion, indices, indptr), shape),
    }
    psi: np.ndarray | sp.csr_matrix | None = dense
    if psi is None:
        kept = np.concatenate([[0], np.cumsum(is_enough)])[indptr]
        psi = sp.csr_matrix((value[is_enough], indices[is_enough], kept), shape)
    return AnnData(psi, adata.obs.copy(), events.copy(), layers=layers)


def _weights(events: pd.DataFrame, junctions: pd.Index) -> tuple[sp.csr_matrix, list[np.ndarray]]:
    """Return the weight of each junction in each event, and the numbers of junctions.

    Returns
    -------
    weights
        ``(P, E)`` complex: 1 / number of junctions of the form, real for the inclusion form and
        imaginary for the exclusion form. One product then gives both means on one pattern,
        that of the observed pairs.
    size
        ``(E,)`` number of junctions of the inclusion form, and of the exclusion form.
    """
    rows, columns, values, sizes = [], [], [], []
    for column, unit in zip(_FORMS.values(), (1, 1j), strict=True):
        if column not in events:
            raise KeyError(
                f"Expected a column {column!r} in events, found {list(events.columns)}. Make "
                "the table with find_local_events."
            )
        names = events[column].astype(object).map(lambda text: str(text).split(","))
        size = names.map(len).to_numpy(np.int64)
        row = junctions.get_indexer(pd.Index(names.explode().to_numpy(object)))
        event = np.repeat(np.arange(len(events)), size)
        if (row < 0).any():
            i = int((row < 0).argmax())
            missing = names.iloc[event[i]]
            raise KeyError(
                f"Event {events.index[event[i]]!r} has junctions {missing} in {column!r}, which "
                f"are not all in adata.var_names ({(row < 0).sum():,} in all). Pass the counts "
                "that the events were found in, or drop such events."
            )
        rows.append(row)
        columns.append(event)
        values.append(unit / size[event])
        sizes.append(size)
    triplets = (np.concatenate(part) for part in (values, rows, columns))
    data, row, event = triplets
    weights = sp.csr_matrix((data, (row, event)), shape=(len(junctions), len(events)))
    return weights, sizes
