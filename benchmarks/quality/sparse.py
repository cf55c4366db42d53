"""Sparse cells of known type: the default start beside a start at the truth.

    python -m benchmarks.quality.sparse [--coverage 0.15 0.1 0.07 0.05 0.03] [--seeds 0 1 2]
        [--methods PCA em "em from truth" default "from truth"] [--output NAME]

Needs LEAFLETFA_TEST_DATA. Counts of 3,000 cells of eight groups at 625 exons are drawn around the
PSI of real cells; see ``_sorted_cells``. A fit from the truth remembers the types that it was
given: it shows what the objective prefers, not what can be found.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write
from benchmarks.quality._baselines import BASELINES
from benchmarks.quality._models import fit, predicted, variant
from benchmarks.quality._scores import score
from benchmarks.quality._sorted_cells import sorted_cells

if TYPE_CHECKING:
    from benchmarks.quality._cases import Case

_NAME = "benchmarks.quality.sparse"
COVERAGES = [0.15, 0.1, 0.07, 0.05, 0.03]
METHODS = ["psi of true phi", "PCA", "em", "em from truth", "default", "from truth"]
SCORES = {"s": 6, "objective": 10, "share": 7, "accuracy": 8, "ARI": 7, "phi r": 6, "psi r": 6}
_OWN_SHARE = 0.7
"""Of a cell's own program in a start at the truth, as at the waypoints."""


def main() -> None:
    """Run what is asked for; print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coverage", nargs="+", type=float, default=COVERAGES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--output", default="")
    args = parser.parse_args()
    device = torch.device("cpu")
    facts: dict[str, Any] = {"device": device_name(device), **versions(device), "date": now()}
    facts |= {"command": shlex.join(["python", "-m", _NAME, *sys.argv[1:]]), "load before": load()}
    rows = Table({"coverage": 8, "seed": 4, "method": 16, **SCORES})
    rows.start()
    for coverage in args.coverage:
        for seed in args.seeds:
            case = sorted_cells(seed, coverage)
            for method in args.methods:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    rows.add(coverage=coverage, seed=seed, method=method, **one(case, method))
    tables = {"Means over seeds": means(rows), "Rows": rows}
    facts["load after"] = load()
    path = write(f"sparse {args.output}", "Sparse cells of known type", facts, tables)
    print(f"\nWritten to {path}")


def one(case: Case, method: str) -> dict[str, Any]:
    """Scores of a method, with the objective of EM for the model's."""
    if method in BASELINES:
        return score(case, BASELINES[method](case, case.data_seed))
    chosen = variant("em" if method.startswith("em") else "default")
    options = {"init": at_truth(case)} if method.endswith("from truth") else {}
    model, seconds = fit(case, chosen, case.data_seed, **options)
    row = score(case, predicted(model, seconds, intervals=False))
    return {"objective": float(model.history["em_objective"].iloc[-1, 0]), **row}


def at_truth(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """True programs, and activities of mostly the true type."""
    assert case.truth is not None
    activities = case.truth.activities
    even = (1.0 - _OWN_SHARE) / case.n_programs
    return _OWN_SHARE * activities + even, case.truth.programs


def means(rows: Table) -> Table:
    """Mean of each score over the seeds of a coverage and method."""
    table = Table({"coverage": 8, "method": 16, "runs": 4, **SCORES})
    groups: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for row in rows.rows:
        groups.setdefault((row["coverage"], row["method"]), []).append(row)
    for (coverage, method), some in groups.items():
        values = {
            name: float(np.mean([row[name] for row in some]))
            for name in SCORES
            if all(name in row for row in some)
        }
        table.rows.append({"coverage": coverage, "method": method, "runs": len(some), **values})
    return table


if __name__ == "__main__":
    main()
