"""Memory and time of each stage from an AnnData to a trained model, at the size of an atlas.

    python -m benchmarks.training.scale [--size 10M|100M] [--batch-sizes 0 8192]
        [--em-iterations 3] [--steps 3] [--programs 20]

Needs the whole package and Linux. Each batch size (0 is the full batch) runs in a process of its
own. The AnnData has both layers as CSR of 32-bit counts and indices, every observed entry stored,
which is 16 bytes per observed entry; "x layers" is the resident memory of the process at its peak
within a stage over these bytes: AnnData, libraries and all else included. EM and training stop
after a few iterations, whose number changes the time and not the memory.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import logging
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._entries import SIZES, random_entries
from benchmarks._machine import device_name, load, process_memory, versions
from benchmarks._report import Table, now, write

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = {
    "size": 5,
    "cells in a batch": 16,
    "stage": 34,
    "s": 7,
    "CPU s": 7,
    "resident MB": 11,
    "peak MB": 9,
    "x layers": 8,
}


class Stages:
    """Time and peak of stages; those within another one are listed before it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.layer_bytes = 0
        self.peaks = [0]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record what runs inside."""
        self._note_peak()
        self.peaks.append(0)
        start, used = time.perf_counter(), time.process_time()
        yield
        seconds, processor = time.perf_counter() - start, time.process_time() - used
        self._note_peak()
        peak = self.peaks.pop()
        self.peaks[-1] = max(self.peaks[-1], peak)
        row = {"stage": "- " * (len(self.peaks) - 1) + name, "s": seconds, "CPU s": processor}
        row |= {"resident MB": process_memory("VmRSS") / 1e6, "peak MB": peak / 1e6}
        if self.layer_bytes:
            row["x layers"] = peak / self.layer_bytes
        self.rows.append(row)
        print(json.dumps(row), flush=True)

    def wrap(self, owner: Any, name: str) -> None:
        """Make each call of a function a stage."""
        function = getattr(owner, name)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        setattr(owner, name, recorded)

    def forget(self) -> None:
        """Leave the stages so far out of the highest peak."""
        self._note_peak()
        self.peaks = [0]

    def _note_peak(self) -> None:
        self.peaks[-1] = max(self.peaks[-1], process_memory("VmHWM"))
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def run(args: argparse.Namespace, batch_size: int) -> None:
    """All stages in this process; a line of JSON for each."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    stages = Stages()
    with stages.stage("import"):
        import torch
        from benchmarks.training._steps import StepTimes, anndata_of

        from leafletfa_scvi import LeafletFAModel, inference, ops
        from leafletfa_scvi.module import LeafletFAModule
    tiny = anndata_of(random_entries(300, 400, 0.2))  # compiles the kernels
    fit(LeafletFAModel, tiny, args, None, [])
    with stages.stage("simulate"):
        entries = random_entries(*SIZES[args.size])
        adata = anndata_of(entries, store_zeros=not args.drop_zeros)
        stages.layer_bytes = 16 * entries.n_entries
        del entries
    gc.collect()
    stages.forget()
    for name in ("junction_mean_psi", "waypoints", "fit_em"):
        stages.wrap(inference, name)
    stages.wrap(LeafletFAModule, "initialize")
    with stages.stage("setup_anndata"):
        LeafletFAModel.setup_anndata(adata)
    with stages.stage("model"):
        model = LeafletFAModel(adata, args.programs)
    times = StepTimes(torch.device("cpu"))
    with stages.stage(f"train ({args.em_iterations} EM, {args.steps} steps)"):
        fit(LeafletFAModel, model, args, batch_size or None, [times])
    with stages.stage("get_cell_activities"):
        model.get_cell_activities()
    with stages.stage("one EM sweep"):
        guide = model.module.guide
        phi, psi = guide.phi().mean.detach(), guide.psi().mean.detach()
        ops.expected_counts(model._training_entries(), phi, psi, torch.tensor(5.0))
    print(json.dumps({"stage": "one step", "s": times.step()}))
    print(json.dumps({"stage": "between steps", "s": times.between()}))
    stages._note_peak()
    print(json.dumps({"stage": "highest", "x layers": stages.peaks[0] / stages.layer_bytes}))


def fit(cls: Any, data: Any, args: argparse.Namespace, batch_size: int | None, calls: list) -> Any:
    """Train a model with few iterations."""
    if not isinstance(data, cls):
        cls.setup_anndata(data)
        data = cls(data, args.programs)
    data.train(
        max_epochs=args.steps if batch_size is None else 1,
        limit_train_batches=args.steps,
        em_iterations=args.em_iterations,
        batch_size=batch_size,
        accelerator="cpu",
        callbacks=calls,
        validation_size=args.validation_size,
        enable_progress_bar=False,
    )
    return data


def main() -> None:
    """Run each batch size in a separate process; print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=list(SIZES), default="10M")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[0, 8192])
    parser.add_argument("--programs", type=int, default=20)
    parser.add_argument("--em-iterations", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--validation-size", type=float)
    parser.add_argument("--drop-zeros", action="store_true", help="of the junction layer")
    parser.add_argument("--output", help="name of the results instead of the device's")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        run(args, args.child)
        return
    import torch

    device = torch.device("cpu")
    facts = {"device": device_name(device), **versions(device), "date": now()}
    facts |= {"threads": str(torch.get_num_threads()), "load before": load()}
    table = Table(COLUMNS)
    table.start()
    for batch_size in args.batch_sizes:
        command = [
            sys.executable,
            "-m",
            "benchmarks.training.scale",
            *sys.argv[1:],
            "--child",
            str(batch_size),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for text in child.stdout:
                if text.startswith("{"):
                    cells = batch_size or SIZES[args.size].cells
                    table.add(**{"size": args.size, "cells in a batch": cells, **json.loads(text)})
        if child.returncode:
            raise SystemExit(f"The run with batch size {batch_size} ended with {child.returncode}")
    facts["load after"] = load()
    name = f"scale {args.size} {args.output or facts['device']}"
    path = write(name, f"From AnnData to a model, {args.size} entries", facts, {"Stages": table})
    print(f"\nWritten to {path}")


if __name__ == "__main__":
    main()
