"""Genes whose expression follows the activity of a program beyond cell types."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from leafletfa_scvi._arguments import (
    check_column,
    check_inside,
    check_names,
    check_one_of,
    check_whole,
)
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.stats import PartialRegressions, adjust_pvalues
from leafletfa_scvi.tl._expression_cells import ExpressionCells, choose_genes, expression_cells
from leafletfa_scvi.tl._labels import check_columns, labeled_cells, log_cells_as_replicates
from leafletfa_scvi.tl._units import Transform, score_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.model import LeafletFAModel

log = logging.getLogger(__name__)

_BLOCK = 1 << 24
"""Number of expression values of units that are held at a time."""
_SCOPE = {
    True: "samples: the result holds for the populations that the samples come from",
    False: "cells: the result holds for the cells of these samples only",
}


def expression_association(
    data: MuData | AnnData | LeafletFAModel,
    expression: AnnData | str = "rna",
    *,
    genes: Iterable[str] | None = None,
    groupby: str | None = None,
    sample_key: str | None = None,
    covariates: Sequence[str] = (),
    layer: str | None = None,
    transform: Transform = "logit",
    min_cells: int = 5,
    min_fraction: float = 0.05,
    min_activity: float = 0.001,
    fdr_target: float = 0.05,
) -> pd.DataFrame:
    """Find genes whose expression follows the activity of a program, beyond cell types.

    With ``sample_key``, units are the cells of a sample in a group (``groupby``): their mean log
    expression is regressed on their mean activity, beside a mean of each group and covariates.
    Samples are the replicates. Without it, units are cells, and the result holds for these cells
    only. RNA-binding proteins that regulate a program are among the genes that follow it, but so
    are genes with the same regulators: an association is no cause.

    Parameters
    ----------
    data
        MuData with expression and activities (``model.export_posterior(mdata)``), AnnData with
        activities in ``obsm["X_PHI"]``, or trained model with its data.
    expression
        AnnData with expression of the same cells, matched by names, or the modality that has it.
    genes
        Genes to test, such as RNA-binding proteins. If None, all. Fewer genes lose less to the
        adjustment of p values.
    groupby
        Column with the groups, such as cell types, whose differences are taken out. Columns are
        those of the cells with activities (of any modality of a MuData, ``"rna:cell_type"``), or,
        if they lack it, of ``expression``. If None, a unit is all cells of a sample.
    sample_key
        Column with the samples (donor, animal, plate). If None, cells are the replicates.
    covariates
        Further columns that are taken out, such as batches, sex, or the logarithm of the number
        of reads: numbers, or labels. They are averaged over the cells of a unit; of labels, the
        shares.
    layer
        Layer of ``expression``; None for ``X``. Values are logarithms of normalized expression,
        as of :func:`scanpy.pp.log1p`.
    transform
        Scale of activities: ``"logit"``, on which a program does not depend on how the others
        share the rest; or ``"clr"``, as in :func:`differential_activity`.
    min_cells
        Minimum number of cells of a unit, with ``sample_key``; others are left out.
    min_fraction
        Minimum share of cells that express a gene; other genes are left out. In [0, 1).
    min_activity
        Minimum mean activity of a program to be tested. In [0, 1).
    fdr_target
        Bound on the adjusted p value of ``is_associated_fdr_<target>``.

    Returns
    -------
    pandas.DataFrame
        One row per gene and program, those with the smallest p value first. Columns:

        - ``gene``, ``program``.
        - ``partial_correlation`` of expression and activity over units, both without what groups
          and covariates explain.
        - ``effect``: difference in log expression for a difference of 1 in the transformed
          activity; ``se``, its standard error.
        - ``statistic``, ``pvalue``, ``padj`` (Benjamini and Hochberg over all rows of the call),
          ``is_associated_fdr_<target>``. NaN and False where expression or activity do not vary
          beyond groups and covariates, or the program is below ``min_activity``.
        - ``mean_expression``, ``fraction``: mean log expression over units, and share of cells
          that express the gene.
        - ``n_units``, ``n_samples``; ``replicates``: ``"samples"`` or ``"cells"``.

        ``attrs["replicates"]`` says what the result holds for.

    Raises
    ------
    KeyError
        A column, layer or modality does not exist.
    TypeError
        ``data`` or ``expression`` is of another kind.
    ValueError
        Expression is counts, cells or genes have other names, there are fewer than three samples,
        or as many groups and covariates as samples.

    Notes
    -----
    Units of one sample are correlated. Differences between samples and within samples are
    therefore two independent estimates, each with its own variance, moderated over genes as in
    limma. They are averaged with weights common to all genes. P values are those of Cochran and
    Cox for such averages, and tend to be too large if there are fewer than eight samples; with one
    unit per sample the test is that of limma.

    Activities of cells with few reads are close to their prior mean, whatever the cell does: where
    cells are the units, name the logarithm of their number of reads among the covariates.

    Examples
    --------
    >>> model.export_posterior(mdata)  # doctest: +SKIP
    >>> table = lfa.tl.expression_association(
    ...     mdata, genes=rna_binding_proteins, groupby="rna:cell_type", sample_key="donor"
    ... )  # doctest: +SKIP
    """
    check_one_of("transform", transform, Transform)
    min_cells = check_whole("min_cells", min_cells, 1)
    check_inside("min_fraction", min_fraction, "[0, 1)")
    check_inside("min_activity", min_activity, "[0, 1)")
    check_inside("fdr_target", fdr_target)
    columns = check_names("covariates", covariates)
    for argument, column in (("groupby", groupby), ("sample_key", sample_key)):
        if column is not None:
            columns.append(check_column(argument, column))
    cells = expression_cells(data, expression, layer)
    for argument, names in (
        ("groupby", [groupby]),
        ("sample_key", [sample_key]),
        ("covariates", check_names("covariates", covariates)),
    ):
        check_columns(cells.obs, [name for name in names if name is not None], argument)
    if len(cells.programs) < 2:
        raise ValueError(
            "Expected at least 2 programs, found 1. Its activity is 1 in all cells: there is "
            "nothing to test."
        )
    if columns:
        cells = cells.select(labeled_cells(cells.obs, columns))
    cells = choose_genes(cells, genes)
    if sample_key is None:
        log_cells_as_replicates()
    cells, fraction = _expressed(cells, min_fraction)
    cells, unit, sample = _units(cells, groupby, sample_key, min_cells)
    table = _table(
        cells,
        unit,
        sample,
        _others(cells.obs, unit, groupby, check_names("covariates", covariates)),
        transform,
        min_activity,
    )
    table["padj"] = adjust_pvalues(table["pvalue"].to_numpy())
    called = f"is_associated_fdr_{fdr_target}"
    table[called] = table["padj"] <= fdr_target
    table["fraction"] = np.tile(fraction, len(cells.programs))
    table["n_units"], table["n_samples"] = len(sample), int(sample.max()) + 1
    table["replicates"] = "cells" if sample_key is None else "samples"
    order = ["gene", "program", "partial_correlation", "effect", "se", "statistic", "pvalue"]
    order += ["padj", called, "mean_expression", "fraction", "n_units", "n_samples", "replicates"]
    table = table[order].sort_values("pvalue", kind="stable", ignore_index=True)
    table.attrs = {
        "effect": "log expression for a difference of 1 in the transformed activity",
        "replicates": _SCOPE[sample_key is not None],
    }
    return table


def _expressed(cells: ExpressionCells, min_fraction: float) -> tuple[ExpressionCells, np.ndarray]:
    """Keep genes that enough cells express, and return the share of cells."""
    is_expressed = cells.values != 0
    fraction = np.asarray(is_expressed.mean(axis=0), np.float64).ravel()
    keep = fraction >= max(min_fraction, 1e-300)
    if not keep.any():
        raise ValueError(
            f"Expected genes that at least {min_fraction:.0%} of the cells express, found none "
            f"of {len(keep):,}. Lower min_fraction."
        )
    if not keep.all():
        log.info(
            "%d of %d genes are expressed in fewer than %g of the cells and are left out.",
            (~keep).sum(),
            len(keep),
            min_fraction,
        )
    chosen = cells._replace(genes=cells.genes[keep], values=cells.values[:, np.flatnonzero(keep)])
    return chosen, fraction[keep]


def _units(
    cells: ExpressionCells, groupby: str | None, sample_key: str | None, min_cells: int
) -> tuple[ExpressionCells, np.ndarray, np.ndarray]:
    """Find the unit of each cell ``(C,)``, and the sample of each unit ``(U,)``."""
    if sample_key is None:
        n = len(cells.obs)
        return cells, np.arange(n), np.arange(n)
    group = np.zeros(len(cells.obs), np.int64)
    if groupby is not None:
        group = pd.factorize(cells.obs[groupby])[0]
    samples = pd.factorize(cells.obs[sample_key])[0]
    pair, unit, size = np.unique(
        samples * (group.max() + 1) + group, return_inverse=True, return_counts=True
    )
    keep = size >= min_cells
    if not keep.all():
        log.info(
            "%d of %d units have fewer than %d cells and are left out.",
            (~keep).sum(),
            len(keep),
            min_cells,
        )
    if not keep.any():
        raise ValueError(
            f"Expected samples with at least min_cells={min_cells} cells of a group, found none."
        )
    used = keep[unit]
    unit = np.unique(unit[used], return_inverse=True)[1]
    sample = np.unique(pair[keep] // (group.max() + 1), return_inverse=True)[1]
    return cells.select(used), unit, sample


def _others(
    obs: pd.DataFrame, unit: np.ndarray, groupby: str | None, covariates: list[str]
) -> np.ndarray:
    """Columns ``(U, p)`` to take out: a constant, groups, and the means of covariates."""
    n_units = int(unit.max()) + 1
    parts = [np.ones((len(obs), 1))]
    for column in [*([] if groupby is None else [groupby]), *covariates]:
        values = obs[column]
        is_label = pd.api.types.is_bool_dtype(values.dtype) or column == groupby
        if is_label or not pd.api.types.is_numeric_dtype(values.dtype):
            codes = pd.factorize(values)[0]
            parts.append((codes[:, None] == np.arange(codes.max() + 1)).astype(np.float64))
        else:
            numbers = values.to_numpy(np.float64)
            parts.append((numbers - numbers.mean())[:, None])
    columns = np.hstack(parts)
    means: np.ndarray = _members(unit, n_units) @ columns
    return means


def _table(
    cells: ExpressionCells,
    unit: np.ndarray,
    sample: np.ndarray,
    others: np.ndarray,
    transform: Transform,
    min_activity: float,
) -> pd.DataFrame:
    """Table of all genes and programs, the genes of each program together."""
    scores = score_units(cells.phi, cells.variance, unit, transform)
    tested = scores.activity.mean(0) >= min_activity
    n_units, n_genes, n_programs = len(sample), len(cells.genes), len(cells.programs)
    names = ("partial_correlation", "effect", "se", "statistic", "pvalue")
    found = {name: np.full((n_programs, n_genes), np.nan) for name in names}
    level = np.empty(n_genes)
    # Cells are many units, whose variances are not moderated: genes can be tested in blocks.
    step = n_genes if n_units < len(cells.obs) else max(_BLOCK // n_units, 1)
    means = _members(unit, n_units)
    for start in range(0, n_genes, step):
        block = slice(start, min(start + step, n_genes))
        values: Any = means @ cells.values[:, block]
        values = values.toarray() if is_sparse(values) else values
        values = np.asarray(values, np.float64)
        level[block] = values.mean(0)
        regressions = PartialRegressions(values, others, sample)
        for k in np.flatnonzero(tested):
            fit = regressions.test(scores.value[:, k])
            se = np.sqrt(fit.variance)
            with np.errstate(divide="ignore", invalid="ignore"):
                t = fit.coefficient / se
            of_block = (fit.correlation, fit.coefficient, se, t, fit.pvalue)
            for name, value in zip(names, of_block, strict=True):
                found[name][k, block] = value
    columns: dict[str, Any] = {
        "gene": np.tile(cells.genes.to_numpy(), n_programs),
        "program": np.repeat(cells.programs, n_genes),
        **{name: value.ravel() for name, value in found.items()},
        "mean_expression": np.tile(level, n_programs),
    }
    return pd.DataFrame(columns)


def _members(unit: np.ndarray, n_units: int) -> sp.csr_matrix:
    """Matrix ``(U, C)`` that averages over the cells of units."""
    n_cells = len(unit)
    weight = 1.0 / np.bincount(unit, minlength=n_units)[unit]
    return sp.csr_matrix((weight, (unit, np.arange(n_cells))), shape=(n_units, n_cells))
