"""Measure type I error and power of differential activity on simulated cohorts.

"true" tests the activities of the cells as they were drawn, without counts and fits, on many
seeds; "fitted" those of a model. Programs of a model are matched to the planted ones. Without a
shift all populations are equal: the shares of p values below 0.05 and 0.1 should be these numbers.
With one, program 2 gains and program 1 loses activity in group B; both should be called.
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
import warnings
from importlib.metadata import version
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scvi
from benchmarks._report import Table, now, write

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from collections.abc import Callable

FDR_TARGET = 0.05
N_PROGRAMS = 5
CELLS, ATSES = 800, 300
SHIFT = 0.2

CASES: dict[str, dict[str, Any]] = {
    "null, donors alike": {"donor_concentration": inf},
    "null, donors differ at 8": {"donor_concentration": 8.0},
    "null, donors differ at 2": {"donor_concentration": 2.0},
    "null, differ at 8, unequal": {"donor_concentration": 8.0, "unequal": True},
    "null, pairs, differ at 2": {"n_donors": (6, 6), "paired": True, "donor_concentration": 2.0},
    "shift, donors alike": {"donor_concentration": inf, "shift": SHIFT},
    "shift, donors differ at 8": {"donor_concentration": 8.0, "shift": SHIFT},
    "shift, pairs, differ at 2": {
        "n_donors": (6, 6),
        "paired": True,
        "donor_concentration": 2.0,
        "shift": SHIFT,
    },
}
"""Arguments of ``simulate_cohort``; 5 + 5 donors without ``n_donors``."""


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="fits of each case")
    parser.add_argument("--draws", type=int, default=400, help="draws of true activities")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scvi.settings.verbosity = 40
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    widths = {"case": 26, "activities": 10, "transform": 9, "replicates": 10, "runs": 5}
    widths |= {"p < 0.05": 8, "target": 12, "p < 0.1": 7, "runs with calls": 15, "power": 6}
    table = Table({**widths, "effect of truth": 15, "s": 6})
    table.start()
    for case in args.cases:
        for kind, runs, simulate in (("true", args.draws, drawn), ("fitted", args.seeds, fitted)):
            started = time.perf_counter()
            found = pd.concat([rows(case, simulate, seed) for seed in range(runs)])
            seconds = (time.perf_counter() - started) / runs
            for (transform, unit), run in found.groupby(["transform", "replicates"], sort=False):
                is_null = case.startswith("null")
                table.add(
                    **{"case": case, "activities": kind, "transform": transform},
                    **{"replicates": unit, "runs": runs, "s": seconds},
                    **(_null(run, unit) if is_null else _shift(run)),
                )
    facts = {
        "command": "nox -s benchmarks -- activities",
        "cells, ATSEs, programs": f"{CELLS}, {ATSES}, {N_PROGRAMS}",
        "FDR target": FDR_TARGET,
        "shift": SHIFT,
        "python": platform.python_version(),
        "torch": version("torch"),
        "date": now(),
    }
    if not args.no_results:
        write("activities", "Differential activity", facts, {"Cases": table})


def rows(case: str, simulate: Callable[..., pd.DataFrame], seed: int) -> pd.DataFrame:
    """Tests of all programs of one data set, by transformation and unit of replication."""
    return simulate(CASES[case], seed).assign(case=case, seed=seed)


def drawn(arguments: dict[str, Any], seed: int) -> pd.DataFrame:
    """Test true activities."""
    adata = lfa.datasets.simulate_cohort(
        n_cells=CELLS, n_atses=2, n_programs=N_PROGRAMS, seed=seed, **arguments
    )
    adata.obsm["X_PHI"] = adata.obsm["phi_true"]
    planted = pd.Series(np.arange(N_PROGRAMS), [f"SP_{k + 1}" for k in range(N_PROGRAMS)])
    return tests(adata, adata, planted)


def fitted(arguments: dict[str, Any], seed: int) -> pd.DataFrame:
    """Test the activities of a model."""
    adata = lfa.datasets.simulate_cohort(
        n_cells=CELLS, n_atses=ATSES, n_programs=N_PROGRAMS, seed=seed, **arguments
    )
    lfa.LeafletFAModel.setup_anndata(adata)
    scvi.settings.seed = seed
    model = lfa.LeafletFAModel(adata, N_PROGRAMS)
    model.train(accelerator="cpu", enable_progress_bar=False, logger=False)
    match = lfa.tl.match_programs(adata.obsm["phi_true"], model.get_latent_representation())
    names = np.array(model.program_names)[match["learned"].to_numpy()]
    return tests(model, adata, pd.Series(match["reference"].to_numpy(), names))


def tests(data: Any, adata: Any, planted: pd.Series) -> pd.DataFrame:
    """Differential activity of group A against B, with the true differences."""
    truth = adata.uns["truth"]["activity"]
    difference = (truth.loc["A"] - truth.loc["B"]).to_numpy()
    found = []
    for transform, sample_key in (("clr", "donor"), ("logit", "donor"), ("clr", None)):
        table = lfa.tl.differential_activity(
            data, "group", "A", "B", sample_key=sample_key, transform=transform,
            fdr_target=FDR_TARGET,
        )  # fmt: skip
        program = planted[table["program"]].to_numpy()
        found.append(table.assign(transform=transform, planted=program, truth=difference[program]))
    return pd.concat(found)


def _null(run: pd.DataFrame, unit: str) -> dict[str, Any]:
    calls = run.groupby("seed")[f"is_da_fdr_{FDR_TARGET}"].any()
    return {
        "p < 0.05": float((run["pvalue"] < 0.05).mean()),
        "target": "0.03 to 0.07" if unit == "samples" else "",
        "p < 0.1": float((run["pvalue"] < 0.1).mean()),
        "runs with calls": float(calls.mean()),
    }


def _shift(run: pd.DataFrame) -> dict[str, Any]:
    moved = run[run["planted"] < 2]
    sign = np.sign(moved["truth"])
    called = moved[f"is_da_fdr_{FDR_TARGET}"] & (np.sign(moved["effect"]) == sign)
    return {
        "power": float(called.mean()),
        "effect of truth": float((moved["activity_effect"] / moved["truth"]).mean()),
    }


if __name__ == "__main__":
    main()
