"""Tables of differential splicing, by junction and by ATSE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from leafletfa_scvi.stats import difference_posterior, false_discovery_set, log_odds

if TYPE_CHECKING:
    from leafletfa_scvi.model._group_differences import GroupDifference
    from leafletfa_scvi.model._groups import Comparison
    from leafletfa_scvi.model._sample_sums import SampleSums

_LEVEL = 0.9
"""Probability of the intervals of effects."""


def junction_rows(
    names: np.ndarray,
    comparison: Comparison,
    found: GroupDifference,
    sums: SampleSums,
    *,
    delta: float,
    mode: str,
    replicates: str,
) -> pd.DataFrame:
    """Table of one comparison, one row for each junction in their order, without selection."""
    tested = np.isfinite(found.difference)
    above, positive = (np.full(len(names), np.nan) for _ in range(2))
    if tested.any():
        posterior = difference_posterior(
            found.difference[tested],
            found.se[tested],
            found.df[tested],
            delta,
            found.scale[tested],
        )
        above[tested], positive[tested] = posterior
    half = stdtrit(found.df, (1.0 + _LEVEL) / 2.0) * found.se
    lower = np.clip(found.difference - half, -1.0, 1.0)
    upper = np.clip(found.difference + half, -1.0, 1.0)
    columns: dict[str, Any] = {
        "comparison": f"{comparison.name1} vs {comparison.name2}",
        "group1": comparison.name1,
        "group2": comparison.name2,
    }
    if mode == "vanilla":
        columns["proba_m1"], columns["proba_m2"] = positive, 1.0 - positive
        columns["bayes_factor"] = log_odds(positive)
    else:
        columns["proba_ds"], columns["proba_not_ds"] = above, 1.0 - above
        columns["bayes_factor"] = log_odds(above)
    columns |= {
        "effect_size": found.difference,
        "effect_lower": lower,
        "effect_upper": upper,
        "df": found.df,
    }
    n_samples = (found.n_samples1, found.n_samples2)
    sides = (comparison.codes1, found.psi1), (comparison.codes2, found.psi2)
    for i, (codes, psi) in enumerate(sides):
        chosen = list(codes)
        total = sums.total[chosen].sum(0)
        with np.errstate(invalid="ignore"):
            pooled = sums.count[chosen].sum(0) / np.where(total > 0, total, np.nan)
        columns[f"est_psi{i + 1}"] = np.where(tested, psi, np.nan)
        columns[f"emp_psi{i + 1}"] = pooled
        columns[f"n_obs_group{i + 1}"] = sums.n_observed[chosen].sum(0)
    columns["emp_effect"] = columns["emp_psi1"] - columns["emp_psi2"]
    if replicates == "samples":
        columns["n_samples_group1"], columns["n_samples_group2"] = n_samples
        columns["n_paired"] = found.n_paired
    empirical = columns["emp_effect"]
    with np.errstate(invalid="ignore"):
        outside = (empirical < lower) | (empirical > upper)
        columns["reads_disagree"] = outside & (np.abs(empirical - found.difference) > delta)
    columns["is_tested"] = tested
    columns["replicates"] = replicates
    return pd.DataFrame(columns, index=pd.Index(names, name="junction"))


def atse_rows(rows: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    """Table of one comparison, one row for each ATSE in order of appearance.

    An ATSE has the values of its junction with the largest probability, and with the largest
    effect among equals: the probability that this junction differs is at most that any does.

    Parameters
    ----------
    rows
        Result of :func:`junction_rows`.
    labels
        ``(P,)`` ATSE of each junction.
    """
    names = rows.index.to_numpy()
    order = best_first(rows)
    ranked = rows.iloc[order]
    top = ranked.assign(junction=ranked.index).groupby(labels[order], sort=False).head(1)
    top.index = pd.Index(labels[rows.index.get_indexer(pd.Index(top["junction"]))], name="atse_id")
    members = pd.Series(names).groupby(labels, sort=False)
    appearance = pd.unique(labels)
    top = top.drop(columns="atse_id", errors="ignore").loc[appearance]
    top.insert(3, "junction", top.pop("junction"))
    top.insert(4, "junctions", members.agg(",".join).loc[appearance].to_numpy())
    top.insert(5, "n_junctions", members.size().loc[appearance].to_numpy())
    return top


def select(frames: list[pd.DataFrame], delta: float, fdr_target: float) -> list[pd.DataFrame]:
    """Add the selection with a bound on false discoveries over all comparisons of a call."""
    column = f"is_ds_fdr_{fdr_target}"
    probability = np.concatenate([frame["proba_ds"].to_numpy() for frame in frames])
    effect = np.concatenate([frame["effect_size"].to_numpy() for frame in frames])
    tested = np.isfinite(probability)
    selected = np.zeros(len(probability), dtype=bool)
    selected[tested] = false_discovery_set(probability[tested], fdr_target)
    with np.errstate(invalid="ignore"):
        selected &= np.abs(effect) > delta
    parts = np.split(selected, np.cumsum([len(frame) for frame in frames])[:-1])
    for frame, part in zip(frames, parts, strict=True):
        frame.insert(list(frame.columns).index("effect_upper") + 1, column, part)
    return frames


def best_first(rows: pd.DataFrame) -> np.ndarray:
    """Order by probability, then by size of the effect, stably; rows not tested come last."""
    if "proba_ds" in rows:
        probability = rows["proba_ds"].to_numpy()
    else:
        probability = np.abs(rows["bayes_factor"].to_numpy())
    size = np.abs(rows["effect_size"].to_numpy())
    keys = (np.where(np.isnan(x), np.inf, -x) for x in (size, probability))
    return np.lexsort(tuple(keys))
