"""Batches that shift PSI: activities and programs with ``batch_key``, and shifts that are found.

Simulated cells in three batches of the same mix; a share of the ATSEs is shifted. Fits with and
without ``batch_key`` are compared with a fit of the same cells without batch effects: correlation
with true activities (phi) and programs (psi), and the accuracy of batches predicted from
activities (logistic regression, five folds; chance is a third). A tenth of the (cell, ATSE) pairs
is hidden; gain is their log-likelihood above that of junction means. Shifts are called at an FDR
of 5 %: a junction if it is in any batch. Times are those of training.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import scvi
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write, written_rows
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score

import leafletfa_scvi as lfa

N_CELLS, N_ATSES, N_PROGRAMS, COVERAGE, N_BATCHES = 1500, 600, 6, 0.2, 3
FDR = 0.05


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="simulations of each case")
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.1, 0.3])
    parser.add_argument("--extra", nargs="+", type=int, default=[0, 2], help="K beyond the truth")
    parser.add_argument("--method", choices=("svi", "em"), default="em", help="fit")
    parser.add_argument("--resume", action="store_true", help="go on with the rows written before")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scvi.settings.verbosity = 40
    shares, extra = (" ".join(map(str, x)) for x in (args.shares, args.extra))
    facts = {
        "command": f"nox -s benchmarks -- batch --seeds {args.seeds} --shares {shares} --extra "
        f"{extra} --method {args.method}",
        "targets": "phi and psi within 0.01 (0.02 at 30 %) of those without batch effects; batch "
        "accuracy at most 0.03 above chance; AUROC >= 0.95, FDP <= 0.07; time <= 1.4",
        "device": device_name(torch.device("cpu")),
    }
    facts |= versions(torch.device("cpu")) | {"date": now(), "load before": load()}
    columns = {"shifted": 7, "K": 2, "seed": 4, "fit": 14, "phi": 6, "psi": 6, "batch": 6}
    table = Table({**columns, "gain": 6, "AUROC": 6, "power": 6, "FDP": 6, "s": 6})
    table.start()
    method = f"--method {args.method}"
    for row in written_rows("batch", "Fits", method) if args.resume else ():
        table.add(**row)
    done = {(row["shifted"], row["K"], row["seed"]) for row in table.rows}
    for seed in range(args.seeds):
        for share in args.shares:
            for extra_programs in args.extra:
                if (f"{share:.0%}", N_PROGRAMS + extra_programs, seed) in done:
                    continue
                add(table, share, N_PROGRAMS + extra_programs, seed, args.method)
                if not args.no_results:
                    write("batch", "Batches that shift PSI", facts, {"Fits": table})


def add(table: Table, share: float, n_programs: int, seed: int, method: str) -> None:
    """Add rows of the fits of one simulation."""
    fits = {"no effects": (0.0, None), "without": (share, None), "batch_key": (share, "batch")}
    if share == 0.0:
        del fits["without"]
    for name, (frac, key) in fits.items():
        adata = lfa.datasets.simulate_splicing(
            N_CELLS,
            N_ATSES,
            N_PROGRAMS,
            coverage=COVERAGE,
            n_batches=N_BATCHES,
            frac_batch=frac,
            seed=seed,
        )
        split = lfa.tl.holdout_splicing(adata, seed=seed)
        scvi.settings.seed = seed
        lfa.LeafletFAModel.setup_anndata(split.training, batch_key=key)
        model = lfa.LeafletFAModel(split.training, n_programs)
        started = time.perf_counter()
        model.train(method=method, accelerator="cpu", enable_progress_bar=False)
        seconds = time.perf_counter() - started
        phi = model.get_latent_representation()
        psi = model.get_splicing_programs().to_numpy()
        match = lfa.tl.match_programs(adata.varm["psi_true"], psi)
        pairs = list(zip(match["learned"], match["reference"], strict=True))
        batch = adata.obs["batch"]
        found = shifts_found(model, adata) if key is not None else {}
        table.add(
            **{"shifted": f"{share:.0%}", "K": n_programs, "seed": seed, "fit": name},
            **{"phi": correlation(phi, adata.obsm["phi_true"], pairs)},
            **{"psi": correlation(psi, adata.varm["psi_true"], pairs)},
            **{"batch": float(cross_val_score(LogisticRegression(), phi, batch, cv=5).mean())},
            **{"gain": gain(model, split), "s": seconds, **found},
        )


def correlation(found: np.ndarray, true: np.ndarray, pairs: list[tuple[int, int]]) -> float:
    """Mean correlation of matched programs."""
    return float(np.mean([np.corrcoef(found[:, a], true[:, b])[0, 1] for a, b in pairs]))


def gain(model: lfa.LeafletFAModel, split: lfa.tl.SplicingHoldout) -> float:
    """Log-likelihood per hidden entry above that of junction means."""
    scores = lfa.tl.evaluate_holdout(model, split.hidden, bins=None)
    return float(scores.filter(like="gain").loc["all"].iloc[0])


def shifts_found(model: lfa.LeafletFAModel, adata: object) -> dict[str, float]:
    """How well shifted junctions are told from others."""
    effects = model.get_batch_effects(fdr_target=FDR)
    by_junction = effects.groupby(level=0, sort=False)
    called = by_junction[f"is_shifted_fdr_{FDR}"].any().to_numpy()
    chance = 1.0 - by_junction["proba_zero"].min().to_numpy()
    true = adata.var["shifts"].to_numpy()
    found = {"FDP": float((~true[called]).mean()) if called.any() else 0.0}
    if true.any():
        found |= {"AUROC": float(roc_auc_score(true, chance)), "power": called[true].mean()}
    return found


if __name__ == "__main__":
    main()
