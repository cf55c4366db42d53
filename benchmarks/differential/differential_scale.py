"""Time and memory of differential splicing: many junctions, programs, groups and samples.

    nox -s benchmarks -- differential_scale [--cells 16000] [--atses 14300] [--programs 20]
        [--groups 20] [--samples 40] [--no-results]

Simulated cells are fitted with two EM iterations from the truth, as time does not depend on the
fit. Every sample has cells of every group.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings

import numpy as np
import scvi
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write

import leafletfa_scvi as lfa


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=16_000)
    parser.add_argument("--atses", type=int, default=14_300)
    parser.add_argument("--programs", type=int, default=20)
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--coverage", type=float, default=0.05)
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device("cpu")
    facts = {"command": "nox -s benchmarks -- differential_scale", "device": device_name(device)}
    facts |= versions(device) | {"date": now(), "load before": load()}
    adata = lfa.datasets.simulate_splicing(
        args.cells, args.atses, args.programs, coverage=args.coverage, mean_depth=5.0
    )
    cells = np.arange(args.cells)
    adata.obs["group"] = [f"group_{i}" for i in cells % args.groups]
    adata.obs["donor"] = [f"donor_{i}" for i in cells // args.groups % args.samples]
    scvi.settings.seed = 0
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=args.programs)
    truth = adata.obsm["phi_true"], adata.varm["psi_true"]
    model.train(method="em", init=truth, em_iterations=2, enable_progress_bar=False)
    facts["data"] = (
        f"{adata.n_obs:,} cells x {adata.n_vars:,} junctions, "
        f"{adata.layers['cell_by_cluster_matrix'].nnz:,} observed entries, {args.programs} "
        f"programs, {args.groups} groups, {args.samples} samples"
    )
    table = Table({"call": 44, "rows": 10, "s": 6, "CPU s": 6, "peak GB before": 14, "peak GB": 8})
    table.start()
    calls = {
        "each group against the rest, samples": {"sample_key": "donor"},
        "each group against the rest, cells": {},
        "one pair of groups, samples": {
            "sample_key": "donor",
            "group1": "group_0",
            "group2": "group_1",
        },
    }
    for name, options in calls.items():
        before = _peak()
        wall, cpu = time.perf_counter(), time.process_time()
        rows = model.differential_splicing(groupby="group", silent=True, **options)
        table.add(
            **{
                "call": name,
                "rows": len(rows),
                "s": time.perf_counter() - wall,
                "CPU s": time.process_time() - cpu,
                "peak GB before": before,
                "peak GB": _peak(),
            }
        )
    facts["load after"] = load()
    if not args.no_results:
        tables = {"Calls": table}
        path = write("differential-scale", "Differential splicing at scale", facts, tables)
        print(f"\nWritten to {path}")


def _peak() -> float:
    """Peak memory of the process in gigabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
