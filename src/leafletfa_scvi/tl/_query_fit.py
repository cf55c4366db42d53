"""Whether query cells belong to the reference: the fit of their reads to its programs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import norm

from leafletfa_scvi._arguments import check_anndata, check_whole
from leafletfa_scvi._name_index import name_index
from leafletfa_scvi.data import is_mudata
from leafletfa_scvi.model._cells import CellPosterior, cell_posterior, fit_new_cells
from leafletfa_scvi.tl._cell_fit import cell_fit
from leafletfa_scvi.tl._same_programs import check_same_programs, n_further_programs

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi import LeafletFAModel


def query_fit(
    query_model: LeafletFAModel,
    adata: AnnData | MuData | None = None,
    *,
    reference: LeafletFAModel | None = None,
    n_reference_cells: int = 5000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test for each query cell whether the programs of the reference explain its reads.

    Squared residuals of the PSI of a cell are compared with what the model expects of a cell with
    its activities, observed entries and ATSE totals, so that coverage does not decide. No
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
        - ``z``: sum of squared residuals minus its expectation, in standard deviations of reads
          drawn from the model: an outlier score, positive if the cell fits worse than expected;
        - ``p_value``: probability that a cell that belongs to the reference has ``z`` at least as
          high: (1 + number of reference cells with such ``z``) / (1 + number of reference cells),
          or the upper tail of the normal distribution.

        Cells without observed entries have NaN in ``z`` and ``p_value``.
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
    A residual is (y / n - p) over its standard deviation, which includes the uncertainty of the
    programs. Its square has the variance v, the kurtosis minus 1, and the weight
    w / (1 + v / 200), w the composite weight. Reads of a missing program raise squared residuals
    of few junctions, which the log-likelihood shows less clearly.

    P values of comparison are those of conformal prediction, exact if ``z`` of reference and query
    cells are exchangeable. Where the model does not fit, ``z`` moves away from 0 with the number
    of entries: query cells with many more reads than those of the reference are then rejected
    more often.

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
        if not is_mudata(adata):
            check_anndata(adata, "adata")
        query_model._modality(adata)
    elif query_model.adata is None:
        raise ValueError(
            "Expected adata, as query_model was loaded without data, found None. Pass the cells."
        )
    compared = _reference_cells(query_model, reference, n_reference_cells, seed)
    table = cell_fit(query_model, _placed(query_model, adata, None))
    table.index = name_index(table.index.to_numpy())
    sd = table.pop("sd").to_numpy()
    z = _z(table, sd)
    table["z"] = z
    if compared is None:
        table["p_value"] = norm.sf(z)
    else:
        table["p_value"] = _share_at_least(z, _z(compared, compared.pop("sd").to_numpy()))
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
        if reference.module.model.n_obs == 0:
            raise ValueError(
                "Expected reference with cells, found a model that was made from programs and has "
                "none. Leave reference out: p values are then those of the posterior predictive "
                "distribution."
            )
        if reference.adata is None:
            raise ValueError(
                "Expected reference with its AnnData, found a model that was loaded without. Load "
                "it with LeafletFAModel.load(path, adata=adata), or leave reference out."
            )
        if extra := n_further_programs(reference, query_model):
            raise ValueError(
                "Expected reference and query_model with the same programs, found that "
                f"query_model has {extra} more, which were learned from its cells. Test these "
                "with a query without extra programs, or leave reference out."
            )
        check_same_programs(reference, query_model)
    rows = np.arange(len(reference.cell_names_))
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
    """Excess in standard deviations; NaN without observed entries."""
    out = np.full(len(sd), np.nan)
    np.divide(table.pop("excess").to_numpy(), sd, out=out, where=sd > 0)
    return out


def _share_at_least(z: np.ndarray, others: np.ndarray) -> np.ndarray:
    """P values by the rank among others; NaN for NaN."""
    n_below = np.searchsorted(np.sort(others), z, side="left")
    p_value = (1.0 + len(others) - n_below) / (1.0 + len(others))
    return np.where(np.isnan(z), np.nan, p_value)


def _check_model(name: str, model: Any) -> None:
    """Check that an argument is a trained model."""
    if not hasattr(model, "get_splicing_programs"):
        raise TypeError(
            f"Expected {name} to be a LeafletFAModel, found a {type(model).__name__}. "
            "LeafletFAModel.load reads a saved one."
        )
    model._require_trained()
