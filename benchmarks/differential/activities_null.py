"""Measure type I error of differential activity on the null cohorts of ``differential``.

Populations of group A and B are equal, so that 5 % of p values should be below 0.05. Fits are
those of ``nox -s benchmarks -- differential``, if both have the same ``--cache``.
"""

from __future__ import annotations

import argparse
import logging
import platform
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import scvi
from benchmarks._report import Table, now, write
from benchmarks.differential._cases import CASES, GROUP1, GROUP2, Cohort
from benchmarks.differential._fits import fit

import leafletfa_scvi as lfa

TRANSFORMS = ("clr", "logit")


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="number of data sets of each case")
    parser.add_argument("--cache", type=Path, help="folder for fits; created if missing")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scvi.settings.verbosity = 40
    logging.disable(logging.WARNING)
    table = Table({"case": 42, "transform": 9, "runs": 5, "p < 0.05": 8, "s.e.": 6, "target": 12})
    table.start()
    shares: dict[tuple[str, str], list[float]] = {}
    for case in [name for name in CASES if "null" in name]:
        for seed in range(args.seeds):
            cohort = Cohort.simulate(CASES[case].simulation, seed)
            model, _ = fit(cohort.adata, seed, args.cache)
            for transform in TRANSFORMS:
                found = lfa.tl.differential_activity(
                    model, "group", GROUP1, GROUP2, sample_key="donor", transform=transform
                )
                shares.setdefault((case, transform), []).append(
                    float((found["pvalue"] < 0.05).mean())
                )
        for transform in TRANSFORMS:
            _add(table, case, transform, shares[case, transform])
    for transform in TRANSFORMS:
        runs = [x for (_, kind), values in shares.items() if kind == transform for x in values]
        _add(table, "all", transform, runs)
    facts = {
        "command": "nox -s benchmarks -- activities_null",
        "python": platform.python_version(),
        "torch": version("torch"),
        "date": now(),
    }
    if not args.no_results:
        title = "Type I error of differential activity"
        write("activities-null", title, facts, {"Null cohorts": table})


def _add(table: Table, case: str, transform: str, shares: list[float]) -> None:
    error = float(np.std(shares, ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else np.nan
    table.add(
        **{"case": case, "transform": transform, "runs": len(shares)},
        **{"p < 0.05": float(np.mean(shares)), "s.e.": error, "target": "0.03 to 0.07"},
    )


if __name__ == "__main__":
    main()
