"""What the tables of differential splicing and of markers have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_inside, check_once, check_whole
from leafletfa_scvi.stats import false_discovery_set, log_odds

_MAX_SEED = 2**63 - 1
_ANNOTATION = ("atse_id", "gene_id", "gene_name", "event_type")


def check_numbers(delta: Any, fdr_target: Any, n_samples: Any, seed: Any) -> None:
    """Check the numbers that both tests take."""
    check_inside("delta", delta, "[0, 1)")
    check_inside("fdr_target", fdr_target)
    check_whole("n_samples", n_samples, 1)
    check_whole("seed", seed, 0, _MAX_SEED)


def comparison_table(
    names: np.ndarray, moments: tuple[np.ndarray, np.ndarray], delta: float, fdr_target: float
) -> pd.DataFrame:
    """Table of one comparison, one row for each junction."""
    probability, effect = (m.astype(np.float64) for m in moments)
    selected = false_discovery_set(probability, fdr_target) & (np.abs(effect) > delta)
    columns: dict[str, Any] = {
        "proba_ds": probability,
        "proba_not_ds": 1.0 - probability,
        "bayes_factor": log_odds(probability),
        "effect_size": effect,
        f"is_ds_fdr_{fdr_target}": selected,
    }
    return pd.DataFrame(columns, index=pd.Index(names, name="junction"))


def add_annotation(frame: pd.DataFrame, var: pd.DataFrame | None) -> pd.DataFrame:
    """Add the annotation of the junctions to a table."""
    if var is None:
        return frame
    columns = [c for c in _ANNOTATION if c in var]
    for column in columns:
        check_once(var, column, "var")
    return frame.assign(**{c: var[c].reindex(frame.index).to_numpy() for c in columns})
