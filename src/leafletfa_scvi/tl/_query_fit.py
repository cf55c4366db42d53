"""Whether query cells belong to the reference: the fit of their reads to its programs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import norm

from leafletfa_scvi._arguments import check_anndata, check_whole
from leafletfa_scvi._name_index import name_index
from leafletfa_scvi.model._cells import CellPosterior, cell_posterior, fit_new_cells
from leafletfa_scvi.tl._cell_fit import cell_fit
from leafletfa_scvi.tl._same_programs import check_n_programs, check_same_programs

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi import LeafletFAModel


def query_fit(
    query_model: LeafletFAModel,
    adata: AnnData | None = None,
    *,
    reference: LeafletFAModel | None = None,
    n_reference_cells: int = 5000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test for each query cell whether the programs of the reference explain its reads.

    The log-likelihood of the reads of a cell is compared with what the model expects of a cell
    with its activities, observed entries and ATSE totals, so that coverage does not decide. No
    model fits real cells perfectly: with the cells of the reference, a query cell is therefore
    compared with these, whose activities are fitted in the same way, and whose own reads are taken
    out of the programs: cells that a model was trained on fit it better than new ones.

    Parameters
    ----------
    query_model
        Model of :meth:`~leafletfa_scvi.LeafletFAModel.load_query_data`, or the reference itself.
    adata
        Cells to test. If None, the AnnData of ``query_model``.
    reference
        Reference model with its AnnData, for p values by comparison with its cells. If None,
        ``query_model`` if it was trained on cells of its own, otherwise p values are those of the
        posterior predictive distribution: too small where the model does not fit the cells of the
        reference either.
    n_reference_cells
        Maximum number of reference cells to compare with, drawn at random if there are more.
    seed
        Seed of that draw.

    Returns
    -------
    pandas.DataFrame
        One row per cell. Columns:

        - ``n_observed``: number of observed entries;
        - ``n_reads``: sum of junction counts;
        - ``log_likelihood``: of the reads under the reference, in nats; beta-binomial with the
          uncertainty of the programs, each entry weighted by the composite weight;
        - ``null_log_likelihood``: with the mean PSI of each junction, which is that of the
          programs weighted by their prevalence, instead of the cell's;
        - ``expected_log_likelihood``: mean of ``log_likelihood`` over reads drawn from the model;
        - ``z``: (``log_likelihood`` - ``expected_log_likelihood``) / standard deviation of such
          reads; negative if the cell fits worse than expected;
        - ``score``: outlier score, higher if the cell fits worse: -``z``, relative to median and
          spread of the reference cells at this standard deviation if they are compared with;
        - ``p_value``: probability that a cell that belongs to the reference has a score at least
          as high: (1 + number of reference cells with such a score) / (1 + number of reference
          cells), or the upper tail of the normal distribution.

        Cells without observed entries have NaN in ``z``, ``score`` and ``p_value``.
        ``attrs["calibration"]`` is ``"reference cells"`` or ``"posterior predictive"``, and
        ``attrs["n_reference_cells"]`` how many were compared with.

    Raises
    ------
    RuntimeError
        A model is not trained.
    TypeError
        ``query_model`` or ``reference`` is not a model, or ``adata`` not an AnnData.
    ValueError
        There is no AnnData, the junctions or programs differ, or ``reference`` has no cells.

    Notes
    -----
    P values of comparison are those of split conformal prediction, exact if scores of reference
    and query cells are exchangeable. A cell compared with itself, as of ``query_model`` being the
    reference, counts once.

    Examples
    --------
    >>> import leafletfa_scvi as lfa
    >>> query = lfa.LeafletFAModel.load_query_data(adata, model)  # doctest: +SKIP
    >>> query.train()  # doctest: +SKIP
    >>> fit = lfa.tl.query_fit(query, reference=model)  # doctest: +SKIP
    >>> query.adata.obs["belongs"] = fit["p_value"] > 0.05  # doctest: +SKIP
    """
    _check_model("query_model", query_model)
    n_reference_cells = check_whole("n_reference_cells", n_reference_cells, 20)
    seed = check_whole("seed", seed, 0)
    if adata is not None:
        check_anndata(adata, "adata")
    elif query_model.adata is None:
        raise ValueError(
            "Expected adata, as query_model was loaded without data, found None. Pass the cells."
        )
    compared = _reference_cells(query_model, reference, n_reference_cells, seed)
    table = cell_fit(query_model, _placed(query_model, adata, None))
    table.index = name_index(table.index.to_numpy())
    sd = table.pop("sd").to_numpy()
    z = _z(table, sd)
    if compared is None:
        score, p_value = -z, norm.sf(-z)
    else:
        other_sd = compared.pop("sd").to_numpy()
        score, p_value = _compare(z, sd, _z(compared, other_sd), other_sd)
    table["z"], table["score"], table["p_value"] = z, score, p_value
    table.attrs["calibration"] = "posterior predictive" if compared is None else "reference cells"
    table.attrs["n_reference_cells"] = 0 if compared is None else len(compared)
    return table


def _reference_cells(
    query_model: LeafletFAModel, reference: LeafletFAModel | None, n_cells: int, seed: int
) -> pd.DataFrame | None:
    """Fit of reference cells with observed entries; None if there are none to compare with."""
    if reference is None:
        if query_model.frozen_programs_ or query_model.adata is None:
            return None
        reference = query_model
    else:
        _check_model("reference", reference)
        if reference.adata is None:
            raise ValueError(
                "Expected reference with its AnnData, found a model that was loaded without. Load "
                "it with LeafletFAModel.load(path, adata=adata), or leave reference out."
            )
        check_n_programs(reference.n_programs, query_model.n_programs)
        check_same_programs(reference, query_model)
    rows = np.arange(reference.adata.n_obs)
    if len(rows) > n_cells:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), n_cells, replace=False))
    table = cell_fit(reference, _placed(reference, None, rows))
    return table[table["n_observed"] > 0]


def _placed(
    model: LeafletFAModel, adata: AnnData | None, indices: np.ndarray | None
) -> CellPosterior:
    """Activities of cells, those that were trained on fitted again as query cells are."""
    cells = cell_posterior(model, adata, indices)
    if model.frozen_programs_:
        return cells
    trained = torch.from_numpy(np.flatnonzero(cells.position >= 0))
    concentration = cells.concentration.clone()
    if len(trained):
        concentration[trained] = fit_new_cells(model, cells.observed().select(trained))
    return replace(cells, concentration=concentration)


def _z(table: pd.DataFrame, sd: np.ndarray) -> np.ndarray:
    """Difference from the expectation in standard deviations; NaN without observed entries."""
    difference = table["log_likelihood"] - table["expected_log_likelihood"]
    out = np.full(len(sd), np.nan)
    np.divide(difference.to_numpy(), sd, out=out, where=sd > 0)
    return out


def _compare(
    z: np.ndarray, sd: np.ndarray, other: np.ndarray, other_sd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and p values of cells by comparison with others.

    Where the model does not fit, z of all cells departs from 0, the more so the more reads they
    have: a misfit of delta nats per unit of variance shifts z by delta sd. A line in sd is fitted
    to z of the other cells, by medians, and another to the absolute residuals.
    """
    center = _median_line(other_sd, other)
    residual = np.abs(other - center(other_sd))
    spread = _median_line(other_sd, residual)
    least = max(float(np.median(residual)) / 4.0, 1e-12)

    def score(z: np.ndarray, sd: np.ndarray) -> np.ndarray:
        # 1.4826 median absolute deviations are one standard deviation of a normal distribution.
        value: np.ndarray = (center(sd) - z) / (1.4826 * np.maximum(spread(sd), least))
        return value

    own, others = score(z, sd), np.sort(score(other, other_sd))
    n_higher = len(others) - np.searchsorted(others, own, side="left")
    p_value = (1.0 + n_higher) / (1.0 + len(others))
    return own, np.where(np.isnan(own), np.nan, p_value)


def _median_line(x: np.ndarray, y: np.ndarray) -> Any:
    """Line through the medians of the thirds of x; constant with few or equal values of x.

    Beyond the range of x it is constant, so that it is not extrapolated.
    """
    order = np.argsort(x, kind="stable")
    low, *_, high = np.array_split(order, 3)
    if len(x) < 30 or not np.median(x[high]) > np.median(x[low]) * 1.05:
        middle = float(np.median(y))
        return lambda at: np.full(len(at), middle)
    ends = np.median(x[low]), np.median(x[high])
    values = np.median(y[low]), np.median(y[high])
    slope = (values[1] - values[0]) / (ends[1] - ends[0])
    return lambda at: values[0] + slope * (np.clip(at, x.min(), x.max()) - ends[0])


def _check_model(name: str, model: Any) -> None:
    """Check that an argument is a trained model."""
    if not hasattr(model, "get_splicing_programs"):
        raise TypeError(
            f"Expected {name} to be a LeafletFAModel, found a {type(model).__name__}. "
            "LeafletFAModel.load reads a saved one."
        )
    model._require_trained()
