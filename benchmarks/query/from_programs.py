"""Compare references made of programs with the model that they are from, and measure an atlas.

Activities of query cells under ``LeafletFAModel.from_programs`` are compared with those under the
model itself, and with those of the model after its programs were moved by one rounding error,
which shows what the draws of the fit make of rounding. The atlas has the size of the mouse atlas
of LeafletFA in cells and programs; its counts are drawn from its programs, with kappa 10.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
import torch
from benchmarks._machine import device_name, load, process_memory, versions
from benchmarks._report import Table, now, write

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

CELLS, QUERY, ATSES, N_PROGRAMS = 500, 200, 150, 4
ATLAS_CELLS, ATLAS_PROGRAMS, OBSERVED, KAPPA = 142_315, 20, 0.043, 10.0
LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--junctions", type=int, default=5000, help="junctions of the atlas")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scvi.settings.verbosity = 40
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    same = Table({"reference": 40, "mean difference": 15, "largest": 8, "r with truth": 12})
    same.start()
    compare(same)
    atlas = Table({"layers": 12, "entries": 12, "s": 6, "MB more": 8, "kappa": 6, "model MB": 8})
    atlas.start()
    for with_layers in (False, True):
        atlas.add(**measure(args.junctions, with_layers=with_layers))
    facts = {
        "command": "nox -s benchmarks -- from_programs",
        "cells, query cells, ATSEs, programs": f"{CELLS}, {QUERY}, {ATSES}, {N_PROGRAMS}",
        "atlas": f"{ATLAS_CELLS:,} cells, {args.junctions:,} junctions, {ATLAS_PROGRAMS} programs",
        "machine": device_name(torch.device("cpu")),
        "load": load(),
        **versions(torch.device("cpu")),
        "date": now(),
    }
    if not args.no_results:
        tables = {"Activities of query cells": same, "An atlas": atlas}
        write("from-programs", "References made of programs", facts, tables)


def compare(table: Table) -> None:
    """Add a row for each way to describe a model by its programs."""
    adata = lfa.datasets.simulate_splicing(CELLS + QUERY, ATSES, N_PROGRAMS, seed=0)
    cells, query = adata[:CELLS].copy(), adata[CELLS:].copy()
    scvi.settings.seed = 0
    LeafletFAModel.setup_anndata(cells)
    model = LeafletFAModel(cells, N_PROGRAMS)
    model.train(accelerator="cpu", enable_progress_bar=False, logger=False)
    exported = cells.copy()
    model.export_posterior(exported)
    results = exported.uns["leafletfa"]
    arguments = {
        "prevalence": model.get_program_prevalence(),
        "concentration": model.get_concentrations(),
        "activity_concentration": results["delta"],
        "atse_id": cells.var["atse_id"],
    }
    psi = model.get_splicing_programs()
    # Pseudo-counts of the larger of the two variances, whose intervals the model returns.
    one_read = psi * (1.0 - psi)
    variance = np.maximum(one_read / (results["psi_concentration"] + 1.0), results["psi_variance"])
    size = (one_read / variance - 1.0).clip(0.1)
    bare = exported.copy()
    del bare.uns["leafletfa"]
    references = {
        "the model": model,
        "its export": LeafletFAModel.from_programs(exported),
        "table, with pseudo-counts": LeafletFAModel.from_programs(
            psi, program_concentration=size, **arguments
        ),
        "table, taken as known": LeafletFAModel.from_programs(psi, **arguments),
        "programs, activities and counts": LeafletFAModel.from_programs(bare),
    }
    want = model.get_latent_representation(query)
    truth = query.obsm["phi_true"]
    match = lfa.tl.match_programs(cells.varm["psi_true"], psi.to_numpy())
    order, planted = match["learned"].to_numpy(), match["reference"].to_numpy()

    def add(name: str, phi: np.ndarray) -> None:
        difference = np.abs(phi - want)
        r = np.corrcoef(phi[:, order].ravel(), truth[:, planted].ravel())[0, 1]
        row = {"mean difference": float(difference.mean()), "largest": float(difference.max())}
        table.add(**{"reference": name, **row, "r with truth": float(r)})

    for name, reference in references.items():
        add(name, reference.get_latent_representation(query))
    with torch.no_grad():
        model.module.guide.psi_log_inclusion.mul_(1.0 + 1e-7)
    add("the model, programs moved by 1e-7", model.get_latent_representation(query))


def measure(n_junctions: int, *, with_layers: bool) -> dict[str, Any]:
    """Make a reference of an atlas and save it."""
    adata = simulated_atlas(n_junctions, with_layers=with_layers)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is in use
    before, started = process_memory("VmRSS"), time.perf_counter()
    model = LeafletFAModel.from_programs(adata)
    seconds = time.perf_counter() - started
    size = sum(x.numel() * x.element_size() for x in model.module.state_dict().values())
    return {
        "layers": "with" if with_layers else "without",
        "entries": adata.layers[LAYERS[1]].nnz if with_layers else 0,
        "s": seconds,
        "MB more": (process_memory("VmHWM") - before) / 1e6,
        "kappa": float(model.get_concentrations().median()),
        "model MB": size / 1e6,
    }


def simulated_atlas(n_junctions: int, *, with_layers: bool) -> anndata.AnnData:
    """Cells with activities, programs of ATSEs of two junctions, and perhaps counts."""
    rng, n_atses = np.random.default_rng(0), n_junctions // 2
    phi = rng.dirichlet([0.1] * ATLAS_PROGRAMS, ATLAS_CELLS).astype(np.float32)
    half = rng.beta(0.5, 0.5, (n_atses, ATLAS_PROGRAMS)).clip(1e-3, 1.0 - 1e-3)
    adata = anndata.AnnData(
        obs=pd.DataFrame(index=[f"cell_{i}" for i in range(ATLAS_CELLS)]),
        var=pd.DataFrame(
            {"atse_id": [f"ATSE_{j // 2}" for j in range(2 * n_atses)]},
            [f"chr1:{100 * j + 1}-{100 * j + 90}:+" for j in range(2 * n_atses)],
        ),
        obsm={"X_PHI": phi},
        varm={"psi_learned": np.stack([half, 1.0 - half], 1).reshape(-1, ATLAS_PROGRAMS)},
    )
    if with_layers:
        blocks = [_counts(phi[i : i + 10_000], half, rng) for i in range(0, ATLAS_CELLS, 10_000)]
        for name, parts in zip(LAYERS, zip(*blocks, strict=True), strict=True):
            adata.layers[name] = sp.vstack(parts, format="csr")
    return adata


def _counts(
    phi: np.ndarray, half: np.ndarray, rng: np.random.Generator
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Draw counts and totals of a block of cells."""
    total = sp.random(len(phi), len(half), OBSERVED, "csr", np.float32, rng)
    total.data[:] = rng.poisson(8, total.nnz) + 1
    row = np.repeat(np.arange(len(phi)), np.diff(total.indptr))
    p = np.einsum("ek,ek->e", phi[row], half[total.indices]).clip(1e-6, 1.0 - 1e-6)
    p = rng.beta(KAPPA * p, KAPPA * (1.0 - p))
    count = rng.binomial(total.data.astype(int), p).astype(np.float32)
    both = np.stack([count, total.data - count], 1).ravel()
    column = np.stack([2 * total.indices, 2 * total.indices + 1], 1).ravel()
    shape = len(phi), 2 * len(half)
    return tuple(
        sp.csr_matrix((values, column, 2 * total.indptr), shape)
        for values in (both, np.repeat(total.data, 2))
    )


if __name__ == "__main__":
    main()
