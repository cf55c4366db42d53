"""From what coverage on programs are found, what the model says of it, and what pooling gains.

    nox -s benchmarks -- limits [--seeds 3] [--only coverage | pooling] [--no-results]

Cells of known activities are simulated at the coverage of full-length and of droplet protocols.
The first table compares the correlation of activities with the true ones with that which
``model.identifiability()`` expects, and counts fits of which ``train`` warns. The second pools
sparse cells into metacells by an expression representation (``lfa.pp.metacells``), fits these,
and places the single cells on their programs.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scvi
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi._warnings import IdentifiabilityWarning

if TYPE_CHECKING:
    from anndata import AnnData

N_ATSES, N_PROGRAMS = 400, 5
CASES = [
    *((n, coverage, 15) for n in (1000, 4000) for coverage in (0.01, 0.02, 0.03, 0.05, 0.1, 0.2)),
    *((4000, coverage, 2) for coverage in (0.02, 0.05, 0.1)),
]
"""Cells, share of observed (cell, ATSE) pairs, and mean reads of an observed pair."""
POOLED_CELLS, POOLED_COVERAGE, POOLED_DEPTH = 5000, 0.02, 2
AGREEMENT = (0.9, 0.5, 0.0)
SIZES = (20, 50)
QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}
LEGEND = f"""
- {N_ATSES} ATSEs, {N_PROGRAMS} programs, a quarter of the ATSEs differ; fitted with
  train(method="em"); means over seeds.
- reads: of a cell. found: programs whose activities correlate with the true ones by more than 0.5.
  psi r, phi r: correlation of programs (deviations from the junction's mean) and activities with
  the true ones, matched. expected: square root of the reliability of model.identifiability().
  warned: fits of which train says that they cannot be trusted.
- Pooling: {POOLED_CELLS:,} cells at {POOLED_COVERAGE:.0%}, {POOLED_DEPTH} reads of an observed
  pair. agreement: share of the variance of the expression coordinates that follows the activities
  (0: expression has nothing to do with splicing). phi r is that of single cells, placed on the
  programs with load_query_data; in "phi r pooled" they have the activities of their metacell.
""".strip()


class Recovery(NamedTuple):
    """Correlations with the truth, each a mean over programs."""

    psi: float
    phi: float
    found: int


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=["coverage", "pooling"])
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    device = torch.device("cpu")
    command = "nox -s benchmarks -- limits" + (f" --only {args.only}" if args.only else "")
    facts = {"command": command, "device": device_name(device)}
    facts |= versions(device) | {"date": now(), "load before": load()}
    tables = {}
    if args.only != "pooling":
        tables["Coverage"] = by_coverage(args.seeds)
    if args.only != "coverage":
        tables["Pooling"] = by_pooling(args.seeds)
    print(f"\n{LEGEND}")
    facts["load after"] = load()
    if not args.no_results:
        path = write("limits", "How sparse data may be", facts, tables)
        first = next(iter(tables))
        path.write_text(path.read_text().replace(f"\n## {first}", f"\n{LEGEND}\n\n## {first}", 1))
        print(f"\nWritten to {path}")


def by_coverage(n_seeds: int) -> Table:
    """Fit cells of several coverages."""
    columns = ("cells", "coverage", "depth", "reads", "found", "psi r", "phi r", "expected")
    table = Table(dict.fromkeys(columns, 8) | {"warned": 8})
    table.start()
    for n_cells, coverage, depth in CASES:
        rows, warned = [], 0
        for seed in range(n_seeds):
            adata = simulated(n_cells, coverage, depth, seed)
            model, has_warned = fitted(adata, seed)
            warned += has_warned
            result = model.identifiability()
            reads = result.cells["n_reads"].mean()
            phi = model.get_cell_activities().to_numpy()
            rows.append((reads, *recovery(adata, model, phi), float(np.sqrt(result.reliability))))
        reads, psi, phi_r, found, expected = np.mean(rows, axis=0).tolist()
        table.add(
            cells=n_cells,
            coverage=f"{coverage:.0%}",
            depth=depth,
            reads=round(reads),
            found=found,
            **{"psi r": psi, "phi r": phi_r, "expected": expected},
            warned=f"{warned} of {n_seeds}",
        )
    return table


def by_pooling(n_seeds: int) -> Table:
    """Compare fits of single cells with fits of metacells on which the cells are placed."""
    columns = ("agreement", "fit of", "coverage", "found", "psi r", "phi r", "phi r pooled")
    table = Table(dict.fromkeys(columns, 10) | {"fit of": 24, "expected": 8, "warned": 8})
    table.start()
    rows: dict[tuple[Any, str], list[tuple[float, ...]]] = {}
    for seed in range(n_seeds):
        cells = simulated(POOLED_CELLS, POOLED_COVERAGE, POOLED_DEPTH, seed)
        model, warned = fitted(cells, seed)
        own = model.get_cell_activities().to_numpy()
        expected = float(np.sqrt(model.identifiability().reliability))
        rows.setdefault(("", "single cells"), []).append(
            (observed(cells), *recovery(cells, model, own), np.nan, expected, warned)
        )
        for agreement in AGREEMENT:
            cells.obsm["X_pca"] = expression(cells.obsm["phi_true"], agreement, seed)
            for size in SIZES:
                row = pooled(cells, size, seed)
                rows.setdefault((agreement, f"metacells of {size} cells"), []).append(row)
    for (share, name), values in rows.items():
        coverage, psi, phi, found, by_metacell, expected, warned = np.mean(values, axis=0).tolist()
        table.add(
            agreement=share,
            coverage=f"{coverage:.0%}",
            found=found,
            **{"fit of": name, "psi r": psi, "phi r": phi, "phi r pooled": by_metacell},
            expected=expected,
            warned=f"{round(warned * n_seeds)} of {n_seeds}",
        )
    return table


def pooled(cells: AnnData, size: int, seed: int) -> tuple[float, ...]:
    """Fit metacells, place the single cells on their programs, and compare with the truth."""
    metacells = lfa.pp.metacells(cells, size, use_rep="X_pca", seed=seed)
    model, warned = fitted(metacells, seed)
    scvi.settings.seed = seed
    query = LeafletFAModel.load_query_data(cells, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        query.train(**QUIET)
    placed = query.get_cell_activities().to_numpy()
    members = metacells.uns["splicing"]["metacells"]["cells"]["metacell"]
    of_metacell = model.get_cell_activities().loc[members].to_numpy()
    expected = float(np.sqrt(query.identifiability().reliability))
    found = recovery(cells, model, placed)
    by_metacell = recovery(cells, model, of_metacell).phi
    return observed(metacells), *found, by_metacell, expected, float(warned)


def simulated(n_cells: int, coverage: float, depth: float, seed: int) -> AnnData:
    """Simulate cells of known programs."""
    return lfa.datasets.simulate_splicing(
        n_cells, N_ATSES, N_PROGRAMS, coverage=coverage, mean_depth=depth, seed=seed
    )


def expression(phi: np.ndarray, agreement: float, seed: int) -> np.ndarray:
    """Draw ten coordinates of expression, of whose variance a share follows the activities."""
    rng = np.random.default_rng(seed)
    signal = np.sqrt(phi) @ rng.normal(size=(phi.shape[1], 10))
    signal = (signal - signal.mean(0)) / signal.std(0)
    noise = rng.normal(size=signal.shape)
    return np.sqrt(agreement) * signal + np.sqrt(1.0 - agreement) * noise


def fitted(adata: AnnData, seed: int) -> tuple[LeafletFAModel, bool]:
    """Fit by EM; return also whether ``train`` says that the fit cannot be trusted."""
    scvi.settings.seed = seed
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LeafletFAModel.setup_anndata(adata)
        model = LeafletFAModel(adata, n_programs=N_PROGRAMS)
        model.train(method="em", **QUIET)
    return model, any(issubclass(w.category, IdentifiabilityWarning) for w in caught)


def recovery(adata: AnnData, model: LeafletFAModel, phi: np.ndarray) -> Recovery:
    """Correlate programs and activities with the true ones."""
    psi = lfa.tl.match_programs(adata.varm["psi_true"], model.get_splicing_programs())
    activities = lfa.tl.match_programs(adata.obsm["phi_true"], phi)["correlation"]
    r = float(psi["correlation"].mean())
    return Recovery(r, float(activities.mean()), int((activities > 0.5).sum()))


def observed(adata: AnnData) -> float:
    """Share of the entries with an ATSE total above 0."""
    return adata.layers["cell_by_cluster_matrix"].count_nonzero() / (adata.n_obs * adata.n_vars)


if __name__ == "__main__":
    main()
