"""PSI of junctions under each program, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata, check_inside, check_names
from leafletfa_scvi._constants import ATSE_KEY, PROGRAM_SLOT, RESULTS_SLOT, program_names
from leafletfa_scvi._similar import did_you_mean
from leafletfa_scvi.model._intervals import exported_program_intervals
from leafletfa_scvi.tl._psi_by_group import junction_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from leafletfa_scvi import LeafletFAModel


def psi_by_program(
    adata: AnnData,
    junctions: Sequence[str] | None = None,
    *,
    programs: Sequence[str] | None = None,
    model: LeafletFAModel | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return PSI of junctions under splicing programs, with credible intervals.

    Parameters
    ----------
    adata
        Cells x junctions. Without ``model``, programs are those that ``model.export_posterior``
        wrote: ``varm["psi_learned"]``, and for intervals ``uns["leafletfa"]``.
    junctions
        Names of junctions, in the order of the result; all if None.
    programs
        Names of programs, in the order of the result; all if None.
    model
        Trained model to take programs from instead.
    level
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row for each program and junction, in this order. Columns: ``program`` (categorical),
        ``junction``, ``atse_id`` where ``adata.var`` has it, ``psi``, ``lower`` and ``upper``, the
        credible interval of :meth:`~leafletfa_scvi.LeafletFAModel.get_credible_intervals`. It is
        NaN where the uncertainty of programs is not known.

    Raises
    ------
    KeyError
        A junction or program is unknown, or nothing was exported.

    Examples
    --------
    >>> table = lfa.tl.psi_by_program(adata, programs=["SP_1", "SP_2"])  # doctest: +SKIP
    """
    check_anndata(adata)
    check_inside("level", level)
    columns = junction_positions(adata, junctions)
    names = adata.var_names[columns]
    if model is None:
        known, (psi, lower, upper) = _exported(adata, columns, level)
    else:
        known, (psi, lower, upper) = _of_model(model, names, level)
    chosen = list(range(len(known)))
    if programs is not None:
        wanted = list(dict.fromkeys(check_names("programs", programs)))
        unknown = [name for name in wanted if name not in known]
        if unknown or not wanted:
            found = repr(unknown[0]) if unknown else "none"
            hint = did_you_mean(unknown[0], known) if unknown else ""
            raise KeyError(f"Expected programs among {known}, found {found}.{hint}")
        chosen = [known.index(name) for name in wanted]
    kept = [known[k] for k in chosen]
    table = pd.DataFrame(
        {
            "program": pd.Categorical(np.repeat(kept, len(columns)), kept),
            "junction": np.tile(names.to_numpy(), len(kept)),
        }
    )
    if ATSE_KEY in adata.var:
        table["atse_id"] = np.tile(
            adata.var[ATSE_KEY].astype(object).to_numpy()[columns], len(kept)
        )
    for name, values in (("psi", psi), ("lower", lower), ("upper", upper)):
        table[name] = values[:, chosen].T.ravel()
    return table


def _of_model(
    model: LeafletFAModel, names: pd.Index, level: float
) -> tuple[list[str], tuple[np.ndarray, ...]]:
    psi = model.get_splicing_programs()
    rows = psi.index.get_indexer(names)
    if (rows < 0).any():
        missing = names[int((rows < 0).argmax())]
        raise KeyError(f"Expected junctions of the model, found {missing!r}, which it lacks.")
    frames = [psi]
    if model.has_program_posterior_:
        frames += model.get_credible_intervals("psi", level)
    values = [frame.to_numpy(np.float64)[rows] for frame in frames]
    values += [np.full_like(values[0], np.nan)] * (3 - len(values))
    return list(psi.columns), tuple(values)


def _exported(
    adata: AnnData, columns: np.ndarray, level: float
) -> tuple[list[str], tuple[np.ndarray, ...]]:
    if PROGRAM_SLOT not in adata.varm:
        raise KeyError(
            f"Expected adata.varm to contain {PROGRAM_SLOT!r}, found "
            f"{', '.join(map(repr, adata.varm)) or 'no keys'}. Call model.export_posterior(adata) "
            "first, or pass model."
        )
    slot = adata.varm[PROGRAM_SLOT]
    psi = np.asarray(slot, np.float64)[columns]
    results = adata.uns.get(RESULTS_SLOT, {})
    n_programs = psi.shape[1]
    known = [str(name) for name in results.get("programs", program_names(n_programs))]
    if isinstance(slot, pd.DataFrame):
        known = [str(name) for name in slot.columns]
    missing = np.full_like(psi, np.nan)
    if not {"junctions", "psi_concentration", "psi_variance"} <= set(results):
        return known, (psi, missing, missing)
    # The export keeps its own names: junctions may have been dropped or reordered since.
    rows = pd.Index(results["junctions"]).get_indexer(adata.var_names[columns])
    given = [
        np.asarray(results[name], np.float64) for name in ("psi_concentration", "psi_variance")
    ]
    if (rows < 0).any() or any(values.shape[1] != n_programs for values in given):
        return known, (psi, missing, missing)
    concentration, variance = (values[rows] for values in given)
    return known, (psi, *exported_program_intervals(psi, concentration, variance, level))
