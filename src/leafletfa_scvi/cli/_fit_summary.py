"""What ``leafletfa fit`` says of a fit: convergence, what is in the files, what to do next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from leafletfa_scvi._constants import ACTIVITY_SLOT, EM_ITERATIONS, PROGRAM_SLOT, RESULTS_SLOT
from leafletfa_scvi.cli._json import rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData

    import leafletfa_scvi as lfa
    from leafletfa_scvi._choices import TrainingMethod
    from leafletfa_scvi.model import Identifiability

_MAX_GROUPS = 50
_LONGER = "pass a larger --max-epochs, or leave it out"


class Convergence(NamedTuple):
    """How training ended.

    Attributes
    ----------
    converged
        Whether the objective had stopped improving.
    steps
        How many steps were taken.
    text
        Why the fit has not converged, and what to do; empty if it has.
    """

    converged: bool
    steps: str
    text: str


def convergence(
    model: lfa.LeafletFAModel, method: TrainingMethod, max_epochs: int | None
) -> Convergence:
    """Say how the training of a model ended, and what to do if it had not converged."""
    if method == "em":
        steps = "EM alone"
        text = (
            f"the objective was still increasing after {EM_ITERATIONS} iterations of EM; use "
            "--method svi"
        )
    else:
        n_epochs = len(model.history["elbo_train"])
        steps = f"{n_epochs:,} epochs after EM"
        text = f"the loss was still decreasing after {n_epochs:,} epochs; " + (
            f"pass --max-epochs {2 * n_epochs}" if max_epochs is None else _LONGER
        )
    converged = bool(model._has_converged)
    return Convergence(converged, steps, "" if converged else text)


def content_lines(adata: AnnData, output: Path, save_model: Path | None) -> list[str]:
    """Say what is in the files, one line each."""
    names = [str(name) for name in adata.uns[RESULTS_SLOT]["programs"]]
    n_programs = len(names)
    listed = f"obs[{names[0]!r}]" + (f" to obs[{names[-1]!r}]" if n_programs > 1 else "")
    slots = {
        f"obsm[{ACTIVITY_SLOT!r}]": f"activities, {adata.n_obs:,} cells x {n_programs}",
        listed: "the same, by name",
        f"varm[{PROGRAM_SLOT!r}]": f"PSI of {adata.n_vars:,} junctions x {n_programs} programs",
        f"uns[{RESULTS_SLOT!r}]": "prevalence, concentration, options, history",
    }
    width = max(map(len, slots))
    lines = [f"Results are in {output}:"]
    lines += [f"  {slot:<{width}}  {what}" for slot, what in slots.items()]
    if save_model is not None:
        lines.append(f"The model is in {save_model}.")
    return lines


def next_lines(adata: AnnData, output: Path, save_model: Path | None) -> list[str]:
    """Suggest what to do with the fit, one line each."""
    group = _grouping(adata)
    where = shlex.quote(str(output))
    lines = []
    by = "COLUMN" if group is None else shlex.quote(group)
    if save_model is None:
        lines.append(f"leafletfa report {where} --groupby {by}")
    else:
        model = shlex.quote(str(save_model))
        lines.append(f"leafletfa report {where} --model {model} --groupby {by}")
        lines.append(f"leafletfa differential {where} --model {model} --groupby {by}")
        lines.append(f"leafletfa query OTHER.h5ad --reference {model} --output PLACED.h5ad")
    lines.append(f"python: adata = scanpy.read_h5ad({str(output)!r})")
    by = "groupby=..." if group is None else f"groupby={group!r}"
    lines.append(f"        leafletfa_scvi.pl.structure(adata, {by})")
    lines.append(f"        scanpy.pp.neighbors(adata, use_rep={ACTIVITY_SLOT!r})")
    if save_model is None:
        lines.append(
            "For leafletfa differential, query, and all of report, fit with --save-model DIR as "
            "well."
        )
    return lines


def _grouping(adata: AnnData) -> str | None:
    """Return the first column of ``obs`` with a few named groups; None without one."""
    for name in adata.obs:
        values = adata.obs[name]
        if values.dtype.name in ("category", "object", "string", "str") and (
            2 <= values.nunique() <= min(_MAX_GROUPS, len(values) - 1)
        ):
            return str(name)
    return None


def facts(
    adata: AnnData,
    model: lfa.LeafletFAModel,
    identified: Identifiability,
    end: Convergence,
    files: Mapping[str, Path | list[Path] | None],
    sizes: Mapping[str, int | None],
) -> dict[str, Any]:
    """Return what the command prints, for ``--json``."""
    programs = identified.programs.rename_axis("program").reset_index()
    return {
        **files,
        **sizes,
        "n_programs": model.n_programs,
        "likelihood": model.module.model.likelihood.name,
        "converged": end.converged,
        "training": end.steps,
        "reliability": identified.reliability,
        "problems": identified.problems,
        "prior_share": float(identified.cells["prior_share"].mean()),
        "kappa_median": _median(adata.uns[RESULTS_SLOT]["kappa"]),
        "programs": rows(programs),
    }


def _median(kappa: Any) -> float:
    import numpy as np

    return float(np.median(kappa))
