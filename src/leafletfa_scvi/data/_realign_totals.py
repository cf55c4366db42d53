"""ATSE totals of a data set on the junctions and ATSEs of another."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from leafletfa_scvi.data._blocks import row_blocks, stored_rows


def realign_totals(
    count: sp.csr_matrix,
    total: sp.csr_matrix,
    column: np.ndarray,
    own_atse: np.ndarray | None,
    atse: np.ndarray,
) -> sp.csr_matrix:
    """Compute totals of the ATSEs of a reference from counts of a data set.

    The total of an ATSE is the sum of the counts over its junctions in the reference, so that
    reads of junctions that the reference lacks are in no total. Where it is above 0, all junctions
    of the ATSE are observed, also those that the data set lacks: their count is 0.

    A total of the data set may exceed the sum of its counts, if junctions were removed after
    totals were summed. Such reads may be those of a junction that the data set lacks: that
    junction is then not observed in the cell. They stay in the total if the junctions that the
    data set has of an ATSE are in one ATSE of its own, which has none of another ATSE.

    Parameters
    ----------
    count, total
        ``(C, Q)`` counts y and totals n of the data set, in canonical order.
    column
        ``(Q,)`` position of each junction in the reference, -1 if it lacks it.
    own_atse
        ``(Q,)`` 0-based ATSE of each junction in the data set itself. If None, they are unknown:
        totals above the sum of counts are then kept only if the reference has all junctions of
        the data set.
    atse
        ``(P,)`` 0-based ATSE of each junction in the reference.

    Returns
    -------
    scipy.sparse.csr_matrix
        ``(C, P)`` float64 totals, without stored zeros.
    """
    known = np.flatnonzero(column >= 0)
    n_atses = int(atse.max(initial=-1)) + 1
    is_whole = own_atse is not None or len(known) == len(column)
    if own_atse is None:  # those of the reference, and one for each junction that it lacks
        own = n_atses + np.arange(len(column))
        own[known] = atse[column[known]]
    else:
        own = own_atse.astype(np.int64)
    n_own = int(own.max(initial=-1)) + 1

    to_own = _ones(np.arange(len(own)), own, (len(own), n_own))
    to_atse = _ones(known, atse[column[known]], (len(own), n_atses))
    pairs = pd.DataFrame({"own": own[known], "atse": atse[column[known]]}).drop_duplicates()
    links = _ones(pairs["own"].to_numpy(), pairs["atse"].to_numpy(), (n_own, n_atses))
    single = np.bincount(pairs["own"], minlength=n_own)[pairs["own"]] == 1
    keeps = np.bincount(pairs["atse"], single, n_atses) == 1
    keeps &= np.bincount(pairs["atse"], minlength=n_atses) == 1
    to_kept = sp.diags((keeps & is_whole).astype(np.float64), format="csr")

    present = np.zeros(len(atse), bool)
    present[column[known]] = True
    to_present, to_missing = (
        _ones(atse[some], some, (n_atses, len(atse)))
        for some in (np.flatnonzero(present), np.flatnonzero(~present))
    )
    parts = []
    for start, stop in row_blocks(total.indptr):
        y = sp.csr_matrix(count[start:stop], dtype=np.float64)
        unexplained = _maxima(total[start:stop], own, n_own) - y @ to_own
        unexplained.data = np.maximum(unexplained.data, 0)
        unexplained.eliminate_zeros()
        beyond = sp.csr_matrix(unexplained @ links)
        sums = sp.csr_matrix(y @ to_atse + beyond @ to_kept)
        complete = sp.csr_matrix(sums - sums.multiply(beyond > 0))
        part = sp.csr_matrix(sums @ to_present + complete @ to_missing)
        part.eliminate_zeros()
        part.sort_indices()
        parts.append(part)
    if not parts:
        return sp.csr_matrix((count.shape[0], len(atse)))
    return sp.csr_matrix(sp.vstack(parts, format="csr"))


def sum_totals(count: sp.csr_matrix, column: np.ndarray, atse: np.ndarray) -> sp.csr_matrix:
    """Sum the counts of a data set over the junctions that it has of each ATSE of a reference.

    Parameters
    ----------
    count
        ``(C, Q)`` counts y of the data set, in canonical order.
    column
        ``(Q,)`` position of each junction in the reference, -1 for those not to be summed.
    atse
        ``(P,)`` 0-based ATSE of each junction in the reference.

    Returns
    -------
    scipy.sparse.csr_matrix
        ``(C, P)`` float64 totals, without stored zeros; 0 at junctions that are in no sum.
    """
    known = np.flatnonzero(column >= 0)
    n_atses = int(atse.max(initial=-1)) + 1
    to_atse = _ones(known, atse[column[known]], (len(column), n_atses))
    to_summed = _ones(atse[column[known]], column[known], (n_atses, len(atse)))
    parts = []
    for start, stop in row_blocks(count.indptr):
        y = sp.csr_matrix(count[start:stop], dtype=np.float64)
        part = sp.csr_matrix(sp.csr_matrix(y @ to_atse) @ to_summed)
        part.eliminate_zeros()
        part.sort_indices()
        parts.append(part)
    if not parts:
        return sp.csr_matrix((count.shape[0], len(atse)))
    return sp.csr_matrix(sp.vstack(parts, format="csr"))


def keep_unobserved(
    sums: sp.csr_matrix, total: sp.csr_matrix, column: np.ndarray, own_atse: np.ndarray
) -> sp.csr_matrix:
    """Leave out entries that a data set does not observe while it observes others of the ATSE.

    Junctions that an earlier alignment has added are such entries: their count is unknown, not 0.

    Parameters
    ----------
    sums
        ``(C, P)`` totals of the ATSEs of a reference.
    total, column, own_atse
        As in :func:`realign_totals`.
    """
    n_own = int(own_atse.max(initial=-1)) + 1
    to_junction = _ones(own_atse, np.arange(len(own_atse)), (n_own, len(own_atse)))
    known = np.flatnonzero(column >= 0)
    to_column = _ones(known, column[known], (len(column), sums.shape[1]))
    parts = []
    for start, stop in row_blocks(total.indptr):
        part = sums[start:stop]
        observed = total[start:stop] > 0
        hidden = sp.csr_matrix(_maxima(total[start:stop], own_atse, n_own) > 0) @ to_junction
        hidden = sp.csr_matrix((hidden - observed) @ to_column)
        hidden.eliminate_zeros()
        if hidden.nnz:
            part = sp.csr_matrix(part - part.multiply(hidden > 0))
            part.eliminate_zeros()
            part.sort_indices()
        parts.append(part)
    return sp.csr_matrix(sp.vstack(parts, format="csr")) if parts else sums


def _ones(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def _maxima(total: sp.csr_matrix, own: np.ndarray, n_own: int) -> sp.csr_matrix:
    """Return the total of each ATSE, which its junctions share; the largest if they do not."""
    key = stored_rows(total) * n_own + own[total.indices]
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    values = np.maximum.reduceat(total.data[order], first) if len(first) else np.zeros(0)
    row, column = np.divmod(key[order][first], n_own)
    return sp.csr_matrix((values.astype(np.float64), (row, column)), (total.shape[0], n_own))
