"""Export of results to an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import ACTIVITY_SLOT, PROGRAM_SLOT, RESULTS_SLOT
from leafletfa_scvi._version import package_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.model._posterior import PosteriorMixin


def export_posterior(
    model: PosteriorMixin, adata: AnnData | MuData | None, overwrite: bool
) -> None:
    """Write activities, programs and global parameters to an AnnData.

    Everything is computed before anything is written; arguments and errors are those of
    ``LeafletFAModel.export_posterior``.
    """
    model._require_trained()
    given = model.adata if adata is None else adata
    if given is None:
        raise ValueError("The model was loaded without data: pass adata.")
    target = model._modality(given)
    if not overwrite:
        check_free_names(target, model.program_names)
    activities = model.get_cell_activities(given)
    indexer = model._junction_indexer(target)
    programs = model.get_splicing_programs()
    programs = programs if indexer is None else programs.iloc[indexer]
    results = global_results(model, indexer)
    stale = [c for c in target.obs.columns if _is_program_column(c, target)]
    target.obs = target.obs.drop(columns=stale).assign(
        **{name: activities[name].to_numpy() for name in model.program_names}
    )
    target.obsm[ACTIVITY_SLOT] = activities.to_numpy()
    target.varm[PROGRAM_SLOT] = programs.to_numpy()
    target.uns[RESULTS_SLOT] = results


def global_results(model: PosteriorMixin, indexer: np.ndarray | None) -> dict[str, Any]:
    """Collect the results that go to ``uns``.

    Parameters
    ----------
    model
        Trained model.
    indexer
        Position in the model of each junction of the AnnData; None if the order is the same.
    """
    generative = model.module.model
    history = model.history_ or {}
    loss, objective = (history.get(x, pd.DataFrame()) for x in ("elbo_train", "em_objective"))
    results: dict[str, Any] = {
        "version": package_version(),
        "programs": np.array(model.program_names),
        "pi": model.get_program_prevalence().to_numpy(),
        "elbo_history": -loss.to_numpy(dtype=np.float64).ravel(),
        "em_objective": objective.to_numpy(dtype=np.float64).ravel(),
        "params": {
            "n_programs": model.n_programs,
            "likelihood": generative.likelihood.name,
            "dispersion": generative.dispersion,
            "junction_prior": generative.prior.name,
            "concentration_prior": generative.concentration_prior,
            **{key: str(value) for key, value in model._setup_args.items()},
        },
    }
    for name in ("kappa", "delta"):
        value = model.module.site_mean(name)
        results[name] = np.inf if value is None else float(value.mean())
    rows = np.arange(len(model.junction_names)) if indexer is None else indexer
    results["junctions"] = model.junction_names[rows]
    results["activity_weight"] = float(generative.activity_weight)
    if model.has_program_posterior_:
        inclusion, exclusion = model.module.guide.psi_marginal()
        results["psi_concentration"] = (inclusion + exclusion).cpu().numpy()[rows]
        results["psi_variance"] = model.module.guide.psi_variance.cpu().numpy()[rows]
    if model.module.guide.has_kappas:
        kappa = model.get_concentrations().to_numpy()
        results["kappa"] = kappa if indexer is None else kappa[indexer]
    return results


def check_free_names(
    adata: AnnData, programs: Sequence[str], alternative: str = "or export with overwrite=True"
) -> None:
    """Raise an error if an export would replace anything that no earlier export wrote.

    Parameters
    ----------
    adata
        AnnData to write to.
    programs
        Names of the programs, to be written as columns of ``obs``.
    alternative
        End of the message, after the remedy of renaming or removing.

    Raises
    ------
    ValueError
        One of the names is taken.
    """
    ours = {name for name in adata.obs if _is_program_column(name, adata)}
    taken = [f"obs[{name!r}]" for name in programs if name in adata.obs and name not in ours]
    earlier = adata.uns.get(RESULTS_SLOT)
    if not (isinstance(earlier, dict) and "programs" in earlier):
        slots = (("obsm", ACTIVITY_SLOT), ("varm", PROGRAM_SLOT), ("uns", RESULTS_SLOT))
        taken += [f"{slot}[{key!r}]" for slot, key in slots if key in getattr(adata, slot)]
    if taken:
        raise ValueError(
            f"The results would replace {', '.join(taken[:4])}, which no export of "
            f"leafletfa-scvi wrote: rename or remove it, {alternative}."
        )


def _is_program_column(column: object, adata: AnnData) -> bool:
    """Return True if a column of ``obs`` was written by an earlier export."""
    earlier = adata.uns.get(RESULTS_SLOT, {})
    return isinstance(earlier, dict) and column in set(earlier.get("programs", ()))
