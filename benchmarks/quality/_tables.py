"""Tables of the quality benchmark: every row, mean and spread over seeds, and against PCA."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks._report import Table

KEYS = ("case", "method", "data seed", "seed")
SCORES = {
    "s": 6,
    "log-lik.": 8,
    "gain": 9,
    "share": 7,
    "r dev.": 7,
    "r dev. 5+": 9,
    "r PSI": 6,
    "psi r": 6,
    "psi r min": 9,
    "psi r plain": 11,
    "phi r": 6,
    "phi r min": 9,
    "found": 5,
    "kappa": 6,
    "cover psi": 9,
    "cover phi mid": 13,
    "cover phi": 9,
    "accuracy": 8,
    "ARI": 7,
}
_METHOD = 24
_AGAINST = ("accuracy", "ARI", "r dev.", "r dev. 5+", "r dev. pooled", "log-lik.")
LEGEND = """
- s: seconds of the fit. log-lik.: held-out log-likelihood of an entry; gain: over junction means;
  share: of the gain that the true parameters have. Baselines have the concentration that is best
  on the hidden entries, the model its own.
- r dev.: Pearson of predicted and hidden deviations from junction means, 5+: where the ATSE has at
  least 5 reads, pooled: from the share of all reads; r PSI: of PSI.
- psi r, phi r: correlation of matched programs and activities with the truth, mean and min over
  programs; psi r of deviations from a junction's mean over programs, "plain" without that.
  found: activities with a correlation above 0.5.
- kappa: learned (median over junctions where each has its own).
- cover: share of true values in 90 % intervals; mid: activities between 0.05 and 0.95.
- accuracy: of cell types, 5-fold logistic regression on activities; ARI: of their k-means groups.
  NMF of PSI with zeros, and of the mask alone, tell types apart by which genes are expressed.
""".strip()


def rows_table(case_width: int = 16) -> Table:
    """For rows as they come."""
    return Table({"case": case_width, "method": _METHOD, "data seed": 9, "seed": 4, **SCORES})


def summary(rows: list[dict[str, Any]]) -> Table:
    """Mean, standard deviation and least of each score over the seeds of a case and method."""
    columns = {"case": 16, "method": _METHOD, "runs": 4, "of runs": 7, **SCORES}
    table = Table(columns)
    for (case, method), some in _grouped(rows).items():
        statistics: dict[str, Any] = {"mean": np.mean, "sd": _spread, "min": np.min}
        for name, statistic in list(statistics.items())[: 1 if len(some) == 1 else 3]:
            row = {"case": case, "method": method, "runs": len(some), "of runs": name}
            for column in SCORES:
                values = [r[column] for r in some if r.get(column) is not None]
                if values:
                    row[column] = float(statistic(values))
            table.rows.append(row)
    return table


def against_pca(rows: list[dict[str, Any]]) -> Table:
    """Mean difference from PCA on the same hidden entries, where cell types are known."""
    names = {f"{name} - PCA": len(name) + 6 for name in _AGAINST}
    columns = {"case": 16, "method": _METHOD, "runs": 4, **names}
    table = Table(columns)
    pca = {(r["case"], r["data seed"]): r for r in rows if r["method"] == "PCA"}
    for (case, method), some in _grouped(rows).items():
        found = [r for r in some if (case, r["data seed"]) in pca and "accuracy" in r]
        pairs = [(r, pca[case, r["data seed"]]) for r in found]
        if method == "PCA" or not pairs:
            continue
        row = {"case": case, "method": method, "runs": len(pairs)}
        for name in _AGAINST:
            both = [r[name] - p[name] for r, p in pairs if name in r and name in p]
            if both:  # what predicts no deviation has no correlation of them
                row[f"{name} - PCA"] = float(np.mean(both))
        table.rows.append(row)
    return table


def _grouped(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["method"]), []).append(row)
    return groups


def _spread(values: list[float]) -> float:
    return float(np.std(values, ddof=1))
