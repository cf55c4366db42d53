"""Table of the programs of a fit: on how many cells each rests, and how far they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi.model._intervals import widened_programs

if TYPE_CHECKING:
    from leafletfa_scvi.model._base import SplicingModelBase


def program_table(model: SplicingModelBase, phi: np.ndarray, variance: np.ndarray) -> pd.DataFrame:
    """Return the table ``programs`` of :class:`~leafletfa_scvi.model.Identifiability`."""
    n_programs = model.n_programs
    square = phi**2
    spread = phi.var(0) if len(phi) else np.zeros(n_programs)
    noise = variance.mean(0) if len(phi) else np.zeros(n_programs)
    table = pd.DataFrame(
        {
            "prevalence": model.module.guide.pi().mean.cpu().double().numpy(),
            "n_cells": np.bincount(phi.argmax(1), minlength=n_programs),
            "effective_cells": square.sum(0) ** 2 / np.maximum((square**2).sum(0), 1e-300),
            "reliability": spread / np.maximum(spread + noise, 1e-300),
        },
        index=pd.Index(model.program_names, name="program"),
    )
    return pd.concat([table, _differences(model)], axis=1)


def _differences(model: SplicingModelBase) -> pd.DataFrame:
    """Difference of each program from the nearest other one, which has the smallest mean."""
    psi = model.module.programs().cpu().double().numpy()
    n_programs, names = psi.shape[1], model.program_names
    variance = np.full_like(psi, np.nan)
    if model.has_program_posterior_:
        variance = np.maximum(program_variance(model), 1e-300)
    rows: list[tuple[str | float | None, ...]] = []
    for k in range(n_programs):
        difference = np.abs(psi - psi[:, [k]])
        mean = difference.mean(0)
        mean[k] = np.inf
        nearest = int(mean.argmin())
        if n_programs == 1:
            rows.append((None, *[np.nan] * 4))
            continue
        difference = difference[:, nearest]
        z = difference / np.sqrt(variance[:, k] + variance[:, nearest])
        rows.append((names[nearest], difference.mean(), difference.max(), z.mean(), z.max()))
    columns = ["nearest", "mean_difference", "max_difference", "mean_z", "max_z"]
    return pd.DataFrame(rows, index=pd.Index(names, name="program"), columns=columns)


def program_variance(model: SplicingModelBase) -> np.ndarray:
    """Posterior variances ``(P, K)`` of the programs, as in their credible intervals."""
    n_junctions = len(model.junction_names)
    a, b = (x[:n_junctions].numpy() for x in widened_programs(model))
    total = a + b
    variance: np.ndarray = a * b / (total**2 * (total + 1.0))
    return variance
