"""Time and memory of a fit with ``batch_key``, as multiples of the same fit without.

    python -m benchmarks.training.batches [--cases small large] [--coverage 0.1]

Needs the whole package and Linux. Each fit runs in a process of its own, on the same simulated
cells; a tenth of the ATSEs is shifted between batches. "peak" is the resident memory of the
process at its peak during the fit, "rise" is how much of it the fit added to data and libraries.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks._machine import device_name, load, peak_beyond_inputs, process_memory, versions
from benchmarks._report import Table, now, write


@dataclass(frozen=True)
class Case:
    """Data and options of a fit."""

    n_batches: int
    n_cells: int
    n_atses: int
    n_programs: int
    train: dict[str, Any]


CASES = {
    "small": Case(3, 2_000, 1_430, 10, {"method": "em", "em_iterations": 20}),
    "small SVI": Case(3, 2_000, 1_430, 10, {"max_epochs": 20, "em_iterations": 6}),
    "large": Case(20, 2_000, 14_290, 20, {"method": "em", "em_iterations": 20}),
    "more cells": Case(20, 10_000, 14_290, 20, {"method": "em", "em_iterations": 8}),
}
COLUMNS = {"case": 10, "batches": 7, "cells": 6, "junctions": 9, "K": 3, "fit": 9}
COLUMNS |= {"s": 6, "CPU s": 6, "peak MB": 8, "rise MB": 8}
RATIOS = ("s", "CPU s", "peak MB", "rise MB")


def run(name: str, with_batches: bool, coverage: float) -> dict[str, Any]:
    """Fit in this process; time and memory."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    import torch

    import leafletfa_scvi as lfa

    case = CASES[name]

    def simulate(n_cells: int, n_atses: int) -> Any:
        return lfa.datasets.simulate_splicing(
            n_cells,
            n_atses,
            case.n_programs,
            coverage=coverage,
            n_batches=case.n_batches,
            frac_batch=0.1,
            seed=0,
        )

    def fit(adata: Any) -> None:
        batch_key = "batch" if with_batches else None
        lfa.LeafletFAModel.setup_anndata(adata, batch_key=batch_key)
        model = lfa.LeafletFAModel(adata, case.n_programs)
        model.train(accelerator="cpu", enable_progress_bar=False, **case.train)

    fit(simulate(200, 60))  # compiles the kernels
    adata = simulate(case.n_cells, case.n_atses)
    seconds = processor = 0.0

    def timed() -> None:
        nonlocal seconds, processor
        start, used = time.perf_counter(), time.process_time()
        fit(adata)
        seconds, processor = time.perf_counter() - start, time.process_time() - used

    rise = peak_beyond_inputs(timed, torch.device("cpu"), 0)
    measured = {"s": seconds, "CPU s": processor}
    measured |= {"peak MB": process_memory("VmHWM") / 1e6, "rise MB": rise / 1e6}
    return {"junctions": adata.n_vars, **measured}


def main() -> None:
    """Run each fit in a separate process; print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", choices=list(CASES), nargs="+", default=list(CASES))
    parser.add_argument("--coverage", type=float, default=0.1)
    parser.add_argument("--output", help="name of the results instead of the device's")
    parser.add_argument("--child", choices=("with", "without"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        print(json.dumps(run(args.cases[0], args.child == "with", args.coverage)))
        return
    import torch

    device = torch.device("cpu")
    facts = {"device": device_name(device), **versions(device), "date": now()}
    facts |= {"threads": str(torch.get_num_threads()), "coverage": str(args.coverage)}
    facts |= {"options": "; ".join(f"{c}: {CASES[c].train}" for c in args.cases)}
    facts |= {"load before": load()}
    table = Table(COLUMNS)
    table.start()
    for name in args.cases:
        case = asdict(CASES[name])
        row = {"case": name, "batches": case["n_batches"], "cells": case["n_cells"]}
        row |= {"K": case["n_programs"]}
        found = {}
        for fit in ("without", "with"):
            command = [sys.executable, "-m", "benchmarks.training.batches", "--cases", name]
            command += ["--coverage", str(args.coverage), "--child", fit]
            child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[fit] = json.loads(child.stdout.splitlines()[-1])
            table.add(**row, fit=fit, **found[fit])
        ratios = {key: found["with"][key] / found["without"][key] for key in RATIOS}
        table.add(**row, fit="ratio", junctions=found["with"]["junctions"], **ratios)
    facts["load after"] = load()
    name = args.output or f"batches {facts['device']}"
    path = write(name, "Time and memory of batches", facts, {"Fits": table})
    print(f"\nWritten to {path}")


if __name__ == "__main__":
    main()
