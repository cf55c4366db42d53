"""Share of the variance of observed PSI that a model and each of its programs explain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from leafletfa_scvi.stats import SumsOfSquares, sums_of_squares

if TYPE_CHECKING:
    from leafletfa_scvi.model import LeafletFAModel


@dataclass(frozen=True)
class VarianceExplained:
    """Result of :func:`variance_explained`.

    Attributes
    ----------
    total
        Series of the whole data set, with the entries of the columns of ``junctions``.
    programs
        Part of each program in ``total["explained"]``, by name; sums to it.
    atses
        One row for each ATSE, with the columns of ``junctions`` and ``n_junctions``; None without
        ATSE labels.
    junctions
        One row for each junction. Columns: ``n_entries`` and ``n_reads`` (observed entries, and
        their reads), ``variance`` (of observed PSI around the mean of the junction, weighted by
        reads), ``explained`` (share of it that the model explains), one for each program, which
        sum to ``explained``, ``noise`` (share of the variance of entries of at least two reads
        that the counting of reads alone makes) and ``explained_of_rest`` (share of the rest that
        the model explains).
    """

    total: pd.Series
    programs: pd.Series
    atses: pd.DataFrame | None = field(repr=False)
    junctions: pd.DataFrame = field(repr=False)


def variance_explained(model: LeafletFAModel) -> VarianceExplained:
    """Compute the share of the variance of observed PSI that programs explain.

    The variance of a junction is that of y / n over cells with n > 0, around its mean
    sum y / sum n and weighted by reads n. The model explains
    1 - sum n (y / n - p)^2 / sum n (y / n - mean)^2 with its expectation p = phi psi. Of an ATSE,
    or of the whole data set, both sums are over all its junctions. Junctions that cannot be
    predicted better than by their mean have values near, or below, 0.

    The part of program k is its Shapley value, the mean over all orders of the programs of what
    adding phi_k (psi_k - mean) to the expectation explains. Parts sum to what the model explains;
    a part is negative if a program makes the expectation worse.

    Parameters
    ----------
    model
        Trained model with the counts of its cells.

    Returns
    -------
    VarianceExplained
        Values are NaN for junctions whose observed PSI does not vary.

    Raises
    ------
    RuntimeError
        The model is not trained.
    ValueError
        The model was loaded without data.

    Notes
    -----
    Few reads vary by chance, so that even the true PSI explain much less than all of the variance.
    The noise of the counting of reads is binomial: y (n - y) / (n (n - 1)) estimates its part
    p (1 - p) in the square of an entry with n of at least 2, without bias and whatever the PSI of
    the cell. ``explained_of_rest`` is (total - residual) / (total - noise) over these entries, NaN
    where the noise is all of the variance. It is useful for the whole data set and for ATSEs with
    many reads; of single junctions with few reads it is a ratio of two small numbers. The rest
    also contains over-dispersion (concentration kappa), which no program
    explains.

    The activities and programs were fitted to the same reads, so that shares are higher than for
    held-out reads (:func:`evaluate_holdout`), most so for cells with few reads. Where a fit has
    followed the noise of its reads, ``explained_of_rest`` exceeds 1.

    Examples
    --------
    >>> import leafletfa_scvi as lfa
    >>> adata = lfa.datasets.simulate_splicing(n_cells=200, n_atses=80, n_programs=3)
    >>> lfa.LeafletFAModel.setup_anndata(adata)
    >>> model = lfa.LeafletFAModel(adata, n_programs=3)
    >>> model.train(method="em")
    >>> result = lfa.tl.variance_explained(model)
    >>> abs(result.programs.sum() - result.total["explained"]) < 1e-9
    True
    """
    from leafletfa_scvi.model._cells import cell_posterior
    from leafletfa_scvi.model._expected import expected_observed, in_own_batch

    cells = cell_posterior(model, None, None)
    entries = cells.observed()
    psi = model.module.programs().detach().cpu()
    expected = expected_observed(*in_own_batch(model, cells), None).data
    layout = (entries.count.numpy(), entries.column.numpy(), entries.indptr.numpy())
    sums = sums_of_squares(
        sp.csr_matrix(layout, shape=(entries.n_cells, entries.n_junctions)),
        entries.total.numpy(),
        expected,
        cells.mean.double().numpy(),
        psi.double().numpy(),
    )
    everything = _table(_added(sums, np.zeros(len(psi), dtype=np.int64)), model.program_names)
    total = everything.iloc[0].rename(None)
    junctions = _table(sums, model.program_names)
    junctions.index = pd.Index(model.junction_names, name="junction")
    atses = None
    if model.atse_codes_ is not None:
        codes, labels = pd.factorize(model._atse_names())
        atses = _table(_added(sums, codes), model.program_names)
        atses.insert(0, "n_junctions", np.bincount(codes))
        atses.index = pd.Index(labels, name="atse_id")
    parts = total[model.program_names].rename("explained")
    return VarianceExplained(total, parts, atses, junctions)


def _added(sums: SumsOfSquares, group: np.ndarray) -> SumsOfSquares:
    """Add up the sums of the junctions of each group."""
    n_groups = int(group.max()) + 1
    ones = np.ones(len(group))
    members = sp.csr_matrix((ones, (group, np.arange(len(group)))), shape=(n_groups, len(group)))
    return SumsOfSquares(*(members @ values for values in sums))


def _table(sums: SumsOfSquares, programs: list[str]) -> pd.DataFrame:
    """Shares of the variance, one row for each junction or group of junctions."""
    total = np.where(sums.total > 1e-12 * np.maximum(sums.reads, 1.0), sums.total, np.nan)
    rest = sums.total_repeated - sums.noise
    gain = sums.total_repeated - sums.residual_repeated
    repeated = np.where(sums.total_repeated > 0, sums.total_repeated, np.nan)
    table = {
        "n_entries": sums.entries.astype(np.int64),
        "n_reads": sums.reads.astype(np.int64),
        "variance": sums.total / np.where(sums.reads > 0, sums.reads, np.nan),
        "explained": (sums.total - sums.residual) / total,
        **{name: part / total for name, part in zip(programs, sums.parts.T, strict=True)},
        "noise": sums.noise / repeated,
        "explained_of_rest": gain / np.where(rest > 1e-9 * repeated, rest, np.nan),
    }
    return pd.DataFrame(table)
