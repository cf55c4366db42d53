"""Measure false discoveries and power of marker junctions and ATSEs on planted programs.

Programs are matched to the planted ones. A marker is false if its true difference, PSI under the
planted program minus that under the others weighted by their prevalence, is not above delta; that
of an ATSE is the largest of its junctions. The table also has the median true difference of the
false markers.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import pandas as pd
import scvi
from benchmarks._report import Table, now, write

import leafletfa_scvi as lfa

DELTA = 0.1
FDR_TARGET = 0.05
N_PROGRAMS = 5
MAX_FDP = 0.07


class Case(NamedTuple):
    """Cells and ATSEs of a simulation, and the likelihood of the fit."""

    cells: int
    atses: int
    likelihood: str = "betabinomial"


CASES = (Case(600, 400), Case(1100, 500), Case(600, 400, "dirichlet-multinomial"))


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="simulations of each case")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scvi.settings.verbosity = 40
    widths = {"cells": 5, "ATSEs": 5, "likelihood": 21, "level": 8, "markers": 7}
    widths |= {"mean FDP": 8, "target": 7, "runs above 0.1": 14, "true difference of false": 24}
    widths |= {"power": 6, "psi correlation": 15}
    table = Table({**widths, "s": 5})
    table.start()
    facts = {
        "command": f"nox -s benchmarks -- markers --seeds {args.seeds}",
        "delta": DELTA,
        "FDR target": FDR_TARGET,
        "programs": N_PROGRAMS,
        "seeds": args.seeds,
        "python": platform.python_version(),
        "torch": version("torch"),
        "date": now(),
    }
    for case in CASES:
        started = time.perf_counter()
        runs = pd.concat([one_run(case, seed) for seed in range(args.seeds)])
        seconds = (time.perf_counter() - started) / args.seeds
        for level, run in runs.groupby("level", sort=False):
            table.add(
                **{"cells": case.cells, "ATSEs": case.atses, "likelihood": case.likelihood},
                **{"level": level, "markers": float(run["markers"].mean())},
                **{"mean FDP": float(run["fdp"].mean()), "target": f"<= {MAX_FDP}"},
                **{"runs above 0.1": float((run["fdp"] > 0.1).mean())},
                **{"true difference of false": float(run["difference"].mean())},
                **{"power": float(run["power"].mean()), "s": seconds},
                **{"psi correlation": float(run["correlation"].mean())},
            )
        if not args.no_results:
            write("markers", "Markers of programs", facts, {"Cases": table})


def one_run(case: Case, seed: int) -> pd.DataFrame:
    """Simulate and fit once; a row for junctions and one for ATSEs.

    False discovery proportion and power are means over programs; power is the share of true
    differences above delta that are called.
    """
    adata = lfa.datasets.simulate_splicing(case.cells, case.atses, N_PROGRAMS, seed=seed)
    lfa.LeafletFAModel.setup_anndata(adata)
    scvi.settings.seed = seed
    model = lfa.LeafletFAModel(adata, N_PROGRAMS, likelihood=case.likelihood)
    model.train(accelerator="cpu", enable_progress_bar=False, logger=False)
    effect, correlation = true_effects(adata, model.get_splicing_programs())
    rows = []
    for level in ("junction", "atse"):
        found = model.program_markers(delta=DELTA, fdr_target=FDR_TARGET, level=level)
        found = found.set_index("program", append=True)[f"is_ds_fdr_{FDR_TARGET}"]
        truth = effect
        if level == "atse":
            truth = effect.groupby(adata.var["atse_id"].to_numpy()).max()
        called = found.unstack().loc[truth.index, truth.columns].astype(bool)
        is_true = truth > DELTA
        fdp = (called & ~is_true).sum() / called.sum().clip(lower=1)
        power = (called & is_true).sum() / is_true.sum()
        false = truth.to_numpy()[(called & ~is_true).to_numpy()]
        rows.append(
            {
                "level": level,
                "markers": int(called.to_numpy().sum()),
                "fdp": fdp.mean(),
                "power": power.mean(),
                "difference": np.median(false) if len(false) else np.nan,
                "correlation": correlation,
            }
        )
    return pd.DataFrame(rows)


def true_effects(adata, psi: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Absolute true differences of each junction, by learned program; mean correlation of psi."""
    planted = adata.varm["psi_true"]
    match = lfa.tl.match_programs(planted, psi.to_numpy())
    effects = {}
    for row in match.itertuples():
        others = adata.uns["truth"]["prevalence"].copy()
        others[row.reference] = 0.0
        difference = planted[:, row.reference] - planted @ (others / others.sum())
        effects[psi.columns[row.learned]] = np.abs(difference)
    return pd.DataFrame(effects, index=adata.var_names), float(match["correlation"].mean())


if __name__ == "__main__":
    main()
