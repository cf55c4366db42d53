"""Time of a training step against its likelihood call, and of loading its data.

    python -m benchmarks.training.step [--device cpu|cuda] [--sizes 1M 4M] [--programs 20]
        [--batch-sizes 0 2048] [--steps 12]

Needs the whole package. A step is model, guide, ELBO, gradients and Adam through the training plan
that ``model.train`` uses. "data" is the time to load a batch and move it to the device, "between"
what passes between two steps: data and the loop of Lightning. Batch size 0 is the full batch. All
are the least of some, after one that is not counted.
"""

from __future__ import annotations

import argparse
import logging
import warnings

import torch
from benchmarks._entries import SIZES, random_entries
from benchmarks._machine import device_name, load, shortest, versions
from benchmarks._report import Table, now, write
from benchmarks.training._steps import anndata_of, batches, likelihood_call, train_steps

from leafletfa_scvi import LeafletFAModel

COLUMNS = {
    "size": 5,
    "K": 3,
    "cells in a batch": 16,
    "entries": 11,
    "likelihood ms": 13,
    "step ms": 8,
    "step / likelihood": 17,
    "data ms": 8,
    "between ms": 10,
    "data / step": 11,
}


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["1M", "4M"])
    parser.add_argument("--programs", type=int, nargs="+", default=[20])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[0, 1024])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--output", help="name of the results instead of the device's")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    device = torch.device(args.device)
    name = device_name(device)
    facts = {"device": name, **versions(device), "date": now(), "load before": load()}
    if device.type == "cpu":
        facts["threads"] = str(torch.get_num_threads())
    table = Table(COLUMNS)
    table.start()
    for size in args.sizes:
        adata = anndata_of(random_entries(*SIZES[size]))
        LeafletFAModel.setup_anndata(adata)
        for n_programs in args.programs:
            for batch_size in args.batch_sizes:
                add(table, LeafletFAModel(adata, n_programs), device, size, batch_size, args.steps)
    facts["load after"] = load()
    path = write(f"step {args.output or name}", f"Training step: {name}", facts, {"Steps": table})
    print(f"\nWritten to {path}")


def add(
    table: Table,
    model: LeafletFAModel,
    device: torch.device,
    size: str,
    batch_size: int,
    n_steps: int,
) -> None:
    """One row."""
    times = train_steps(model, device, batch_size or None, n_steps)
    model.module.to(device)
    data, batch = batches(model, device, batch_size or None, n_steps)
    likelihood, _ = shortest(likelihood_call(model, batch), device, n_steps)
    row = {
        "size": size,
        "K": model.n_programs,
        "cells in a batch": len(batch["cells"]),
        "entries": batch["entries"].n_entries,
        "likelihood ms": likelihood * 1e3,
        "step ms": times.step() * 1e3,
        "step / likelihood": times.step() / likelihood,
        "data ms": data * 1e3,
        "between ms": times.between() * 1e3,
        "data / step": data / times.step(),
    }
    table.add(**row)


if __name__ == "__main__":
    main()
