"""Placement of the cells of a query: their activities, and optionally their prevalence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi import inference
from leafletfa_scvi.data import cell_fingerprints
from leafletfa_scvi.model._cells import fit_new_cells

if TYPE_CHECKING:
    from leafletfa_scvi.model._base import SplicingModelBase
    from leafletfa_scvi.ops import ObservedEntries
    from leafletfa_scvi.train import Progress

_FIRST_STEPS, _LAST_STEPS = 3, 4
_FIRST_KAPPA = 10.0
_PREVALENCE_CELLS = 2000
"""Maximum number of cells that the prevalence of a query is learned from."""


@torch.no_grad()
def place_cells(
    model: SplicingModelBase,
    training: ObservedEntries,
    hidden: ObservedEntries | None,
    n_steps: int | None,
    batch_size: int | None,
    progress: Progress,
) -> None:
    """Fit the activities of the cells of a query, each on its own, as those of any new cells.

    Parameters
    ----------
    model
        Query, whose activities, history and, if it has its own, prevalence are set.
    training
        Observed entries of its cells.
    hidden
        Entries to score afterwards; None for none.
    n_steps
        Number of gradient steps of each cell. If None, as many as for new cells elsewhere.
    batch_size
        Maximum number of cells fitted at a time, which changes no result. If None, as many as fit
        in a block of entries.
    progress
        Function to tell how many steps have been taken, over all blocks of cells.
    """
    guide = model.module.guide
    fit_new_batches(model, training)
    if model.query_prevalence_ == "query":
        learned = learn_prevalence(model, training)
        guide.pi_log.copy_(learned.log().to(guide.pi_log))
    losses: dict[int, float] = {}
    n_calls = 0
    progress("activities", 0, None)

    def add(step: int, loss: float) -> None:
        losses[step] = losses.get(step, 0.0) + loss
        nonlocal n_calls
        n_calls += 1
        progress("activities", n_calls, None)

    options: dict[str, Any] = {} if n_steps is None else {"n_steps": n_steps}
    fitted = fit_new_cells(model, training, max_cells=batch_size, callback=add, **options)
    guide.phi_log.copy_(fitted.log())
    history = {"elbo_train": pd.Series(losses, dtype=float)}
    if hidden is not None and hidden.n_entries:
        factors = model.module.factors(guide.phi().mean).to("cpu")
        score = factors.log_likelihood(model._likelihood_entries(hidden)).sum(dtype=torch.float64)
        history["reconstruction_loss_validation"] = pd.Series(
            {max(len(losses) - 1, 0): -float(score) / hidden.n_entries}
        )
    model.history_ = {
        name: values.rename_axis("epoch").to_frame(name) for name, values in history.items()
    }
    model.module.eval()
    model.is_trained_, model.train_indices = True, np.arange(training.n_cells)


@torch.no_grad()
def fit_new_batches(model: SplicingModelBase, entries: ObservedEntries) -> None:
    """Fit the shifts of batches that the reference lacks, to all their cells.

    Parameters
    ----------
    model
        Query, whose shifts of these batches are set.
    entries
        Observed entries of its cells.
    """
    names = model.batch_names
    known = names if model.reference_batches_ is None else list(model.reference_batches_)
    new = [i for i, name in enumerate(names) if name not in known]
    if not new:
        return
    assert entries.batch is not None
    cells = torch.isin(entries.batch, torch.tensor(new)).nonzero()[:, 0]
    part, generative = entries.select(cells), model.module.model
    rows = torch.tensor(new, device=model.module.device)
    for name in ("batch_shift", "batch_shift_variance"):
        getattr(generative, name)[rows] = 0.0
    fitted = model._likelihood_entries(part)
    # Before there are activities, all cells have those of the prior, about which they vary more.
    phi = model.module.activity_prior().cpu()
    phi = (phi / phi.sum()).expand(len(cells), -1)
    for step in range(_FIRST_STEPS + _LAST_STEPS):
        factors = model.module.factors(phi.to(model.module.device)).to("cpu")
        if step < _FIRST_STEPS and factors.kappa is not None:
            factors = replace(factors, kappa=factors.kappa.clamp(max=_FIRST_KAPPA))
        effects = inference.fit_batch_effects(
            fitted, factors, center=False, program_variance=_logit_variance(model)
        )
        generative.batch_shift[rows] = effects.shift.values[new].to(rows.device)
        generative.batch_shift_variance[rows] = effects.variance[new].to(rows.device)
        generative.batch_probability_zero[rows] = effects.probability_zero[new].to(rows.device)
        if step >= _FIRST_STEPS - 1:
            concentration = fit_new_cells(model, part, n_steps=0)
            phi = concentration / concentration.sum(1, keepdim=True)


def _logit_variance(model: SplicingModelBase) -> torch.Tensor:
    """Variance ``(P',)`` of the logits of programs, averaged by their prevalence, on the CPU."""
    psi, (inclusion, exclusion) = model.module.guide.psi().mean, model.module.guide.psi_marginal()
    spread = psi * (1.0 - psi)
    variance = torch.maximum(
        spread / (inclusion + exclusion + 1.0), model.module.guide.psi_variance
    )
    prevalence = model.module.guide.pi().mean
    by_program = variance / spread.clamp(min=1e-4).square()
    return (by_program * prevalence.square()).sum(1).cpu()


def learn_prevalence(model: SplicingModelBase, entries: ObservedEntries) -> torch.Tensor:
    """Learn the posterior of the prevalence in a query from its own cells.

    The prior of prevalence is that of the reference before it saw data, Dirichlet(alpha_pi / K).
    A large query is represented by the cells with the smallest fingerprints, which do not depend
    on their order.

    Returns
    -------
    ``(K,)`` Dirichlet concentrations, on the CPU.
    """
    module = model.module
    observed = (entries.indptr.diff() > 0).nonzero()[:, 0].cpu()
    prints = cell_fingerprints(entries)[observed.numpy()]
    first = np.argsort(prints, kind="stable")[:_PREVALENCE_CELLS]
    delta, alpha_pi = module.site_mean("delta"), module.site_mean("alpha_pi")
    assert delta is not None
    assert alpha_pi is not None
    even = alpha_pi.new_full((model.n_programs,), 1.0 / model.n_programs)
    factors = module.predictive_factors(even[None], even * delta).by_column()
    return inference.fit_prevalence(
        model._likelihood_entries(entries.select(observed[torch.from_numpy(first)])),
        factors.psi,
        factors.kappa,
        even * alpha_pi,
        float(delta),
        streams=prints[first],
        weight=float(module.model.activity_weight),
    )
