"""Means over seeds of what was measured, beside the targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks._report import Table
from benchmarks.differential._alternatives import ALTERNATIVES
from benchmarks.differential._cases import (
    CASES,
    DELTA,
    FDR_TARGET,
    PAIRED,
    TIMES_UNPAIRED,
    UNPAIRED,
    Target,
)
from benchmarks.differential._runs import SAMPLES

MEANS = {
    "calls": 6,
    "runs with calls": 15,
    "FDP": 7,
    "s.e. of FDP": 11,
    "power": 7,
    "power, ATSEs": 12,
    "power at 5 % FDP": 16,
    "covered": 7,
    "covered, differ": 15,
    "s": 6,
}
_ALLOWED = 0.07
"""Mean FDP up to which the power of another method is a target."""
LEGEND = f"""
- Means over runs, each a simulated data set. A junction truly differs if the PSI of the two
  populations differ by more than delta = {DELTA}; a call of another junction is false. FDR target
  {FDR_TARGET}.
- LeafletFA, samples: `differential_splicing` with `sample_key`; ATSEs: with `level="atse"`, where
  hypotheses are ATSEs; LeafletFA alone: without `sample_key`. One fit for all methods.
- Other methods: adjusted p value (Benjamini and Hochberg over tested junctions) <= {FDR_TARGET},
  and effect > delta. Ranks: Mann-Whitney, or Wilcoxon's signed ranks of differences within
  donors. Moderated t: limma on logit PSI of donors' summed counts, donors as blocks if paired.
  Beta-binomial: likelihood ratio; of cells without donors, of donors with donors as fixed effects
  if paired.
- FDP: share of calls that are false, 0 without calls; s.e.: standard error of its mean. Power:
  share of truly differing junctions that are called; ATSEs: of ATSEs with such junctions, those
  of which one is called.
- power at 5 % FDP: of the first of the ranking, as many as have at most that share of false ones
  by the truth; compares rankings, whatever is called.
- covered: share of true differences within the 90 % intervals; differ: of the junctions whose
  populations differ by more than 0.05.
- Target: of LeafletFA with samples, and whether it is met. Of the other methods, the most
  powerful counts whose mean FDP is at most {_ALLOWED}.
""".strip()


def means_table(rows: list[dict[str, Any]]) -> Table:
    """One row for each case and method."""
    table = Table({"case": 34, "method": 25, "runs": 4, **MEANS, "target": 60})
    means = {key: _means(some) for key, some in _grouped(rows).items()}
    for (case, method), row in means.items():
        shown = {"case": case, "method": method, **row}
        if method == SAMPLES:
            targets = _targets(case, means)
            shown["target"] = "; ".join(t.check(row.get(t.column, np.nan)) for t in targets)
        table.rows.append(shown)
    return table


def _targets(case: str, means: dict[tuple[str, str], dict[str, float]]) -> list[Target]:
    """Targets of the case, and those that follow from other rows."""
    targets = list(CASES[case].targets)
    if case == PAIRED and (UNPAIRED, SAMPLES) in means:
        unpaired = means[UNPAIRED, SAMPLES]["power"]
        targets.append(Target("power", TIMES_UNPAIRED * unpaired, 1, "not paired"))
    fair = {
        name: means[case, name].get("power", 0)
        for name in ALTERNATIVES
        if (case, name) in means and means[case, name]["FDP"] <= _ALLOWED
    }
    best = max(fair, key=lambda name: fair[name], default="")
    if fair.get(best, 0) > 0:
        targets.append(Target("power", fair[best], 1, best))
    return targets


def _grouped(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["method"]), []).append(row)
    return groups


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means of the runs in which a score has a meaning."""
    found: dict[str, float] = {"runs": len(rows)}
    if len(rows) > 1:
        false = [row["FDP"] for row in rows]
        found["s.e. of FDP"] = float(np.std(false, ddof=1) / np.sqrt(len(false)))
    for name in MEANS.keys() - found.keys():
        column = "any call" if name == "runs with calls" else name
        values = [row[column] for row in rows if not np.isnan(row.get(column, np.nan))]
        if values:
            found[name] = float(np.mean(values))
    return found
