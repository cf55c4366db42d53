"""Programs that a reference lacks: a cell type that it has not seen.

    nox -s benchmarks -- extra_programs [--seeds 3] [--no-results]

A reference of the cells of ``chen_mesc.h5ad`` without Motor neurons is given one more program by
all cells (``n_extra_programs=1``). ``LEAFLETFA_TEST_DATA`` names the folder of the data.
"""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write
from benchmarks.query.extend import extended, trained
from sklearn.metrics import roc_auc_score

RARE, N_PROGRAMS = "Motor neuron", 5
LEGEND = f"""
- A reference of {N_PROGRAMS} programs, and all cells on it with one more. Mean activity of the
  additional program in {RARE}s and in all other cells, and how well it tells them apart (AUROC);
  whether the programs of the reference are bitwise the same.
""".strip()


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device("cpu")
    facts = {"command": "nox -s benchmarks -- extra_programs", "device": device_name(device)}
    facts |= versions(device) | {"date": now(), "load before": load()}
    table = extra_program(args.seeds)
    print(f"\n{LEGEND}")
    facts["load after"] = load()
    if not args.no_results:
        path = write("extra-programs", "Programs that a reference lacks", facts, {RARE: table})
        path.write_text(path.read_text().replace(f"\n## {RARE}", f"\n{LEGEND}\n\n## {RARE}", 1))
        print(f"\nWritten to {path}")


def extra_program(n_seeds: int) -> Table:
    """Add a program to a reference that has not seen one cell type."""
    adata = ad.read_h5ad(Path(os.environ["LEAFLETFA_TEST_DATA"]) / "chen_mesc.h5ad")
    is_rare = (adata.obs["cell_type"].astype(str) == RARE).to_numpy()
    table = Table(
        {"seed": 4, "activity of Motor neurons": 9, "of others": 9, "AUROC": 6, "unchanged": 9}
    )
    table.start()
    for seed in range(n_seeds):
        reference = trained(adata[~is_rare].copy(), seed, N_PROGRAMS)
        model = extended(adata.copy(), reference, seed, n_extra_programs=1)
        activity = model.get_cell_activities().iloc[:, -1].to_numpy()
        programs = model.get_splicing_programs().iloc[:, :N_PROGRAMS]
        same = np.array_equal(programs, reference.get_splicing_programs())
        table.add(
            seed=seed,
            **{
                "activity of Motor neurons": float(activity[is_rare].mean()),
                "of others": float(activity[~is_rare].mean()),
            },
            AUROC=float(roc_auc_score(is_rare, activity)),
            unchanged="yes" if same else "no",
        )
    return table


if __name__ == "__main__":
    main()
