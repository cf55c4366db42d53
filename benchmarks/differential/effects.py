"""Effects on real cells: those of one half of the cells against reads of the other half.

    nox -s benchmarks -- effects [--splits 10] [--programs 8] [--cache FOLDER] [--no-results]

Each cell type of ``chen_mesc.h5ad`` is split in halves. A model of one half gives effects of each
type against the rest, without samples; junctions are chosen by the reads of the same half, and the
effects are compared with the difference in the reads of the other half. ``LEAFLETFA_TEST_DATA``
names the folder of the data.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections import defaultdict
from pathlib import Path

import anndata as ad
import numpy as np
import scvi
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write

import leafletfa_scvi as lfa

LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")
DELTA, CHOSEN, MIN_CELLS = 0.2, 0.2, 10
KNOWN = ("Ncam1_2", "Cadm1_6", "Apbb1_2", "Gnas_4")
LEGEND = f"""
- Junctions observed in at least {MIN_CELLS} cells of the type and of the rest in both halves,
  whose difference in the first half is larger than {CHOSEN}; the difference is that of the mean of
  y / n over cells ("cells") or of pooled reads, sum(y) / sum(n) ("pooled"). "calls": junctions
  that are called in the first half instead, with the difference of the mean over cells.
- Result, reads: sum of the effects (of the differences in the first half itself), divided by the
  sum of the differences in the second half, each with the sign of the first half; mean over splits
  and standard error. 1 is unbiased; reads are above 1 because junctions were chosen by them.
""".strip()


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--programs", type=int, default=8)
    parser.add_argument("--cache", type=Path, help="folder for models; created if missing")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device("cpu")
    facts = {"command": "nox -s benchmarks -- effects", "device": device_name(device)}
    facts |= versions(device) | {"date": now(), "load before": load()}
    adata = ad.read_h5ad(Path(os.environ["LEAFLETFA_TEST_DATA"]) / "chen_mesc.h5ad")
    cell_type = adata.obs["cell_type"].astype(str).to_numpy()
    ratios = defaultdict(list)
    for split in range(args.splits):
        for key, value in one_split(adata, cell_type, split, args).items():
            ratios[key].append(value)
        print(f"{split + 1} of {args.splits} splits", flush=True)
    held_out = Table(
        {"type": 14, "difference": 10, "splits": 6, "junctions": 9, "result": 14, "reads": 14}
    )
    for (kind, name), values in ratios.items():
        n, result, reads = np.array(values).T
        held_out.rows.append(
            {
                "type": name,
                "difference": kind,
                "splits": len(n),
                "junctions": f"{n.mean():.0f}",
                "result": _with_error(result),
                "reads": _with_error(reads),
            }
        )
    known, calls = all_cells(adata, cell_type, args)
    print(f"\n{held_out.markdown()}\n\n{known.markdown()}\n\n{calls.markdown()}\n\n{LEGEND}")
    facts["load after"] = load()
    if not args.no_results:
        tables = {"Halves": held_out, "Motor neurons": known, "Calls": calls}
        path = write("effects", "Effects on real cells", facts, tables)
        path.write_text(path.read_text().replace("\n## Halves", f"\n{LEGEND}\n\n## Halves", 1))
        print(f"\nWritten to {path}")


def one_split(
    adata: ad.AnnData, cell_type: np.ndarray, split: int, args: argparse.Namespace
) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Numbers of junctions and ratios of result and reads, by kind of difference and type."""
    rng = np.random.default_rng(split)
    in_first = np.zeros(adata.n_obs, bool)
    for name in np.unique(cell_type):
        rows = rng.permutation(np.flatnonzero(cell_type == name))
        in_first[rows[: len(rows) // 2]] = True
    first, second = adata[in_first].copy(), adata[~in_first]
    model = fitted(first, split, args, f"half_{split}")
    table = model.differential_splicing(groupby="cell_type", delta=DELTA, silent=True)
    found = {}
    for name in np.unique(cell_type):
        rows = table[table["group1"] == name].loc[first.var_names]
        effect, called = rows["effect_size"].to_numpy(), rows["is_ds_fdr_0.05"].to_numpy()
        sides = [
            differences(data, types == name)
            for data, types in ((first, cell_type[in_first]), (second, cell_type[~in_first]))
        ]
        covered = np.minimum(sides[0][2], sides[1][2]) >= MIN_CELLS
        for kind, i in (("cells", 0), ("pooled", 1), ("calls", 0)):
            own, other = sides[0][i], sides[1][i]
            chosen = covered & (called if kind == "calls" else np.abs(own) > CHOSEN)
            if not chosen.any():
                continue
            sign = np.sign(own[chosen])
            total = (sign * other[chosen]).sum()
            found[kind, name] = (
                chosen.sum(),
                (sign * effect[chosen]).sum() / total,
                (sign * own[chosen]).sum() / total,
            )
    return found


def differences(data: ad.AnnData, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference of the mean of y / n over cells, of pooled reads, and fewest observed cells."""
    means, pooled, observed = [], [], []
    for rows in (group, ~group):
        y, n = (data.layers[layer][rows].toarray().astype(float) for layer in LAYERS)
        with np.errstate(invalid="ignore"):
            means.append(np.nansum(y / n, 0) / (n > 0).sum(0))
            pooled.append(y.sum(0) / n.sum(0))
        observed.append((n > 0).sum(0))
    return means[0] - means[1], pooled[0] - pooled[1], np.minimum(*observed)


def all_cells(
    adata: ad.AnnData, cell_type: np.ndarray, args: argparse.Namespace
) -> tuple[Table, Table]:
    """Known exons of motor neurons, and numbers of calls, in a model of all cells."""
    adata = adata.copy()
    model = fitted(adata, 0, args, "all")
    found = model.differential_splicing(
        groupby="cell_type", group1="Motor neuron", delta=DELTA, silent=True
    )
    by_cell, by_read, _ = differences(adata, cell_type == "Motor neuron")
    known = Table({"junction": 22, "P": 7, "effect": 22, "cells": 7, "pooled": 7, "call": 5})
    for name in (f"{gene}:inclusion" for gene in KNOWN):
        row, i = found.loc[name], adata.var_names.get_loc(name)
        interval = f"({row['effect_lower']:.2f}, {row['effect_upper']:.2f})"
        known.rows.append(
            {
                "junction": name,
                "P": f"{row['proba_ds']:.4f}",
                "effect": f"{row['effect_size']:.2f} {interval}",
                "cells": f"{by_cell[i]:.2f}",
                "pooled": f"{by_read[i]:.2f}",
                "call": "yes" if row[f"is_ds_fdr_{0.05}"] else "no",
            }
        )
    calls = Table({"groups": 40, "calls": 6})
    calls.rows.append(
        {"groups": "Motor neuron against the rest", "calls": int(found["is_ds_fdr_0.05"].sum())}
    )
    rng = np.random.default_rng(0)
    for name in np.unique(cell_type):
        rows = rng.permutation(np.flatnonzero(cell_type == name))
        halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        null = model.differential_splicing(idx1=halves[0], idx2=halves[1], delta=DELTA)
        calls.rows.append(
            {"groups": f"halves of {name}", "calls": int(null["is_ds_fdr_0.05"].sum())}
        )
    return known, calls


def fitted(
    adata: ad.AnnData, seed: int, args: argparse.Namespace, name: str
) -> lfa.LeafletFAModel:
    """Fit a model, or load it from the cache."""
    folder = None if args.cache is None else args.cache / f"{name}_{args.programs}"
    if folder is not None and folder.exists():
        return lfa.LeafletFAModel.load(folder, adata=adata)
    scvi.settings.seed = seed
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=args.programs)
    model.train(enable_progress_bar=False)
    if folder is not None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        model.save(folder)
    return model


def _with_error(values: np.ndarray) -> str:
    if len(values) < 2:
        return f"{values.mean():.2f}"
    return f"{values.mean():.2f} +- {values.std(ddof=1) / np.sqrt(len(values)):.2f}"


if __name__ == "__main__":
    main()
