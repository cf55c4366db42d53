"""Batches with different mixes of cell types, one of which is in one batch only.

Simulated cells of mostly one of six programs, whose largest is their type, in three batches with
unequal shares of the types. Type SP4 is in the first batch only: beside the others ("beside") or
as its only type ("alone"), where no method can tell the type from the batch. A share of the ATSEs
is shifted. Accuracy is that of types predicted from activities (logistic regression, five folds);
phi and psi are correlations with the truth, psi of deviations from the mean of programs; "own" is
of the program of SP4: its psi, and its mean activity in cells of SP4 and in others. Shifts are
called at an FDR of 5 %.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
import scvi
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write, written_rows
from benchmarks.quality._scores import cell_type_scores
from benchmarks.quality.batch import COVERAGE, N_ATSES, N_BATCHES, N_PROGRAMS, shifts_found

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from anndata import AnnData

N_CELLS = 3000
"""Simulated, of which about half are kept."""
PURE = 0.3
"""Sum of the Dirichlet parameters of activities: most cells have one program."""
OWN = 3
"""The type (its program, from 0) that is in the first batch only."""
KEPT = np.array(
    [
        [0.2, 1.0, 0.5, 1.0, 0.2, 1.0],
        [1.0, 0.2, 0.5, 0.0, 1.0, 0.5],
        [0.5, 0.5, 1.0, 0.0, 0.5, 0.2],
    ]
)
"""Share of the cells that is kept, by batch and type."""


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="simulations of each case")
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.1, 0.3])
    parser.add_argument("--mixes", nargs="+", default=["beside", "alone"], help="of SP4")
    parser.add_argument("--method", choices=("svi", "em"), default="em", help="fit")
    parser.add_argument("--resume", action="store_true", help="go on with the rows written before")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scvi.settings.verbosity = 40
    shares, mixes = " ".join(map(str, args.shares)), " ".join(args.mixes)
    facts = {
        "command": f"nox -s benchmarks -- mixes --seeds {args.seeds} --shares {shares} --mixes "
        f"{mixes} --method {args.method}",
        "target": "beside: accuracy with batch_key not lower than without; SP4 keeps its program",
        "device": device_name(torch.device("cpu")),
    }
    facts |= versions(torch.device("cpu")) | {"date": now(), "load before": load()}
    columns = {"SP4": 6, "shifted": 7, "seed": 4, "fit": 9, "accuracy": 8, "phi": 6, "psi": 6}
    own = {"own psi": 7, "own phi": 7, "in others": 9}
    found = {"AUROC": 6, "power": 6, "FDP": 6, "s": 6}
    table = Table(columns | own | found)
    table.start()
    method = f"--method {args.method}"
    for row in written_rows("mixes", "Fits", method) if args.resume else ():
        table.add(**row)
    done = {(row["SP4"], row["shifted"], row["seed"]) for row in table.rows}
    for seed in range(args.seeds):
        for mix in args.mixes:
            for share in args.shares:
                if (mix, f"{share:.0%}", seed) in done:
                    continue
                add(table, mix, share, seed, args.method)
                if not args.no_results:
                    tables = {"Means": means(table), "Fits": table}
                    write("mixes", "Batches with different mixes of cell types", facts, tables)


def simulate(mix: str, share: float, seed: int) -> AnnData:
    """Simulate cells; the same ones for all shares of shifted ATSEs."""
    adata = lfa.datasets.simulate_splicing(
        N_CELLS,
        N_ATSES,
        N_PROGRAMS,
        coverage=COVERAGE,
        activity_concentration=PURE,
        n_batches=N_BATCHES,
        frac_batch=share,
        seed=seed,
    )
    kept = KEPT.copy()
    if mix == "alone":
        kept[0, np.arange(N_PROGRAMS) != OWN] = 0.0
    of_cell = kept[adata.obs["batch"].cat.codes, adata.obs["program_true"].cat.codes]
    chosen = np.random.default_rng([seed, 2]).random(N_CELLS) < of_cell
    return adata[chosen].copy()


def add(table: Table, mix: str, share: float, seed: int, method: str) -> None:
    """Add rows of the fits of one simulation."""
    adata = simulate(mix, share, seed)
    is_own = (adata.obs["program_true"].cat.codes == OWN).to_numpy()
    for name, key in (("without", None), ("batch_key", "batch")):
        scvi.settings.seed = seed
        lfa.LeafletFAModel.setup_anndata(adata, batch_key=key)
        model = lfa.LeafletFAModel(adata, N_PROGRAMS)
        started = time.perf_counter()
        model.train(method=method, accelerator="cpu", enable_progress_bar=False)
        seconds = time.perf_counter() - started
        phi = model.get_latent_representation()
        psi = model.get_splicing_programs().to_numpy()
        match = lfa.tl.match_programs(adata.varm["psi_true"], psi).set_index("reference")
        learned = match["learned"]
        true = adata.obsm["phi_true"]
        own = phi[:, learned[OWN]]
        scores = {
            "accuracy": cell_type_scores(phi, adata.obs["program_true"].to_numpy())["accuracy"],
            "phi": np.mean(
                [np.corrcoef(phi[:, learned[k]], true[:, k])[0, 1] for k in learned.index]
            ),
            "psi": match["correlation"].mean(),
            "own psi": match["correlation"][OWN],
            "own phi": own[is_own].mean(),
            "in others": own[~is_own].mean(),
            "s": seconds,
        }
        if key is not None:
            scores |= shifts_found(model, adata)
        row = {"SP4": mix, "shifted": f"{share:.0%}", "seed": seed, "fit": name}
        table.add(**row, **{name: float(value) for name, value in scores.items()})


def means(table: Table) -> Table:
    """Means over seeds."""
    result = Table(dict(zip(table.names, table.widths, strict=True)) | {"seed": 5})
    groups: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for row in table.rows:
        groups.setdefault((row["SP4"], row["shifted"], row["fit"]), []).append(row)
    for (mix, share, fit), rows in groups.items():
        mean = {"SP4": mix, "shifted": share, "fit": fit, "seed": f"{len(rows)} all"}
        for name in table.names:
            values = [row[name] for row in rows if name in row]
            if name not in mean and values:
                mean[name] = float(np.mean(values))
        result.rows.append(mean)
    return result


if __name__ == "__main__":
    main()
