"""Section on the fit: convergence, stability, and what makes it unreliable."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from leafletfa_scvi import pl
from leafletfa_scvi._report._blocks import (
    Block,
    Facts,
    Heading,
    Missing,
    Notice,
    Section,
    Table,
    Text,
    count,
    number_column,
    share,
    text_column,
)
from leafletfa_scvi._report._figures import drawing, encoded
from leafletfa_scvi._report._inputs import attempted
from leafletfa_scvi.tl._concentration_range import concentration_range

if TYPE_CHECKING:
    from leafletfa_scvi._report._inputs import Inputs
    from leafletfa_scvi.model import Identifiability, LeafletFAModel


class FitFindings(NamedTuple):
    """What other parts of the page take from the fit.

    Attributes
    ----------
    identified
        Result of ``model.identifiability``; None without a model.
    converged
        Whether training had converged; None if that is not known.
    notices
        What makes the fit unreliable.
    """

    identified: Identifiability | None
    converged: bool | None
    notices: list[str]


def fit_section(inputs: Inputs) -> tuple[Section, FitFindings]:
    """Say how the fit was made, and how far it can be trusted."""
    model = inputs.model
    identified = None if model is None else model.identifiability(inputs.adata)
    # Models of programs alone, and queries, were not trained to these programs.
    converged = None if model is None or not model.history else bool(model._has_converged)
    notices = list(identified.problems) if identified is not None else []
    if converged is False:
        notices.insert(0, "Training had not converged: train longer before using the results.")
    blocks: list[Block] = [Facts("Model and training", _facts(inputs, identified, converged))]
    if identified is None:
        blocks.append(
            Missing(
                "Convergence, how much of the activities is data, and problems of the fit",
                "These need the model: pass model (--model DIR, the folder that leafletfa fit "
                "--save-model wrote).",
            )
        )
    elif identified.problems:
        blocks += [Notice(problem) for problem in identified.problems]
    else:
        blocks.append(
            Text(
                "Nothing was found that makes the fit unreliable. In numbers: "
                f"{identified.describe()}."
            )
        )
    blocks.append(Heading("Training"))
    blocks += attempted("History of training", lambda: _history(inputs))
    blocks += _selection(inputs)
    blocks += _stability(inputs)
    if model is not None and model.batch_names:
        blocks += attempted("Effects of batches", lambda: _batches(model, inputs.fdr_target))
    elif model is None and str(inputs.results.get("params", {}).get("batch_key")) != "None":
        blocks.append(Missing("Effects of batches", "They need the model: pass model (--model)."))
    return Section("fit", "Fit", blocks), FitFindings(identified, converged, notices)


def _facts(
    inputs: Inputs, identified: Identifiability | None, converged: bool | None
) -> dict[str, str]:
    """Return what is known of the fit by name."""
    params = inputs.results.get("params", {})
    rows = {"Programs K": f"{len(inputs.programs)}"}
    names = {
        "likelihood": "Likelihood",
        "dispersion": "Dispersion, one concentration for each",
        "junction_prior": "Prior of programs",
        "batch_key": "Batches",
    }
    for key, name in names.items():
        value = str(params.get(key, "None"))
        if value != "None":
            rows[name] = value
    rows["Training"] = training(inputs)
    rows["Converged"] = {True: "yes", False: "no", None: "not known"}[converged]
    if "kappa" in inputs.results:
        rows["Concentration kappa"] = concentration_range(inputs.results["kappa"])
    if identified is not None and len(identified.programs) > 1:
        prior = float(identified.cells["prior_share"].mean())
        rows["Activities"] = f"{1.0 - prior:.0%} data, {prior:.0%} prior"
        rows["Expected correlation with the true activities"] = (
            f"about {identified.reliability**0.5:.2f}"
        )
    return rows


def training(inputs: Inputs) -> str:
    """Say by what the programs were fitted."""
    n_epochs = len(np.ravel(inputs.results.get("elbo_history", ())))
    n_cycles = len(np.ravel(inputs.results.get("em_objective", ())))
    if n_epochs:
        return f"EM, then variational inference ({n_epochs:,} epochs)"
    return f"EM alone ({n_cycles:,} cycles)" if n_cycles else "not recorded"


def _history(inputs: Inputs) -> list[Block]:
    """Draw the loss, or the objective of EM."""
    source = inputs.model if inputs.model is not None and inputs.model.history else inputs.adata
    with drawing():
        figure = pl.history(source, return_fig=True)
        (line, *_) = figure.axes[0].lines
        values = np.asarray(line.get_ydata(), float)
        what = " ".join(figure.axes[0].get_ylabel().split())
        alt = (
            f"{what}, {len(values):,} steps: {values[0]:.6g} at the beginning, {values[-1]:.6g} "
            "at the end."
        )
        caption = "Training has converged where the curve is level."
        return [encoded(figure, alt, caption)]


def _selection(inputs: Inputs) -> list[Block]:
    """Show how the number of programs was chosen."""
    result, what = inputs.selection, "Choice of the number of programs"
    if result is None:
        why = "Pass the result of lfa.tl.select_n_programs as selection= (leafletfa choose-k)."
        return [Missing(what, why)]
    blocks: list[Block] = [Heading(what), Text(result.note)]
    blocks += [Notice(problem) for problem in result.problems]
    summary = result.summary
    with drawing():
        figure = pl.program_selection(result, return_fig=True)
        gains = ", ".join(f"{k}: {gain:.4g}" for k, gain in summary["log_likelihood_gain"].items())
        blocks.append(encoded(figure, f"Held-out log-likelihood gain by K: {gains}.", ""))
    return blocks


def _stability(inputs: Inputs) -> list[Block]:
    """Show which programs are reproduced."""
    result, what = inputs.stability, "Stability over seeds"
    if result is None:
        why = "Pass the result of lfa.tl.program_stability as stability=."
        return [Missing(what, why)]
    table = result.programs
    columns = [
        text_column("Program", table.index),
        number_column("Matched correlation, mean", table["mean"], share),
        number_column("Lowest", table["min"], share),
        text_column("Reproducible", table["reproducible"].map({True: "yes", False: "no"})),
    ]
    text = (
        f"{result.n_reproducible} of {len(table)} programs are reproduced by other fits "
        f"(matched correlation of {result.threshold:g} or more)."
    )
    return [Heading(what), Text(text), Table("Programs over fits", columns)]


def _batches(model: LeafletFAModel, fdr_target: float) -> list[Block]:
    """Show what batches shift."""
    effects = model.get_batch_effects(fdr_target=fdr_target)
    shifted = effects[f"is_shifted_fdr_{fdr_target}"]
    by_batch = shifted.groupby(effects["batch"], observed=False).sum()
    largest = effects["shift"].abs().groupby(effects["batch"], observed=False).max()
    n = int(shifted.groupby(level=0).any().sum())
    of = effects.index.nunique()
    text = f"Batches shift {n:,} of {of:,} junctions at an FDR of {fdr_target:.0%}."
    columns = [
        text_column("Batch", pd.Index(by_batch.index)),
        number_column("Junctions that it shifts", by_batch, count),
        number_column("Largest shift (log odds)", largest, share),
    ]
    with drawing():
        figure = pl.batch_effects(effects, return_fig=True)
        image = encoded(figure, text, "Shifts of PSI in batches, on the logit scale.")
    return [Heading("Batches"), Text(text), Table("Batches", columns), image]
