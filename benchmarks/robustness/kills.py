"""Processes killed while they write: what they wrote is old or new, and whole.

    python -m benchmarks.robustness.kills [--kills 40] [--seed 0]

``model.save(overwrite=True, save_anndata=True)``, ``leafletfa fit --overwrite --save-model`` and
``leafletfa make-dataset --overwrite`` replace earlier files and are killed (SIGKILL) before one of
their file operations, or at a random time of writing. Then the next process reads or writes there.
Outcomes:

- ``old`` or ``new``: all files are those of one of the two runs;
- ``mixed``: files of both runs, or not readable;
- ``left``: temporary files are there after the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
from benchmarks._report import Table, now, write

import leafletfa_scvi as lfa
from leafletfa_scvi import _files
from leafletfa_scvi.cli import main as command

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
OUTCOMES = ("old", "new", "mixed", "left")
OPERATIONS = ("replace", "rename", "unlink", "mkdir", "rmdir", "fsync")
QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


class Killer:
    """Counts operations on files from the first staging folder on, and kills its process."""

    def __init__(self, operation: int | None, seconds: float | None) -> None:
        self.operation, self.seconds = operation, seconds
        self.count, self.started = 0, 0.0
        self.originals = {name: getattr(os, name) for name in OPERATIONS}
        for name in OPERATIONS:
            setattr(os, name, self._counted(self.originals[name]))

    def _counted(self, original: Callable) -> Callable:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.started == 0 and _files.STAGING in str(args[0]):
                self.started = time.perf_counter()
                if self.seconds is not None:
                    threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
            if self.started:
                if self.count == self.operation:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.count += 1
            return original(*args, **kwargs)

        return counted

    def stop(self) -> tuple[int, float]:
        """Number of operations and seconds since the first; nothing is counted afterwards."""
        for name, original in self.originals.items():
            setattr(os, name, original)
        return self.count, time.perf_counter() - self.started


def data_set(seed: int) -> ad.AnnData:
    """A small data set."""
    return lfa.datasets.simulate_splicing(n_cells=60, n_atses=20, n_programs=2, seed=seed)


def trained(seed: int, n_programs: int) -> lfa.LeafletFAModel:
    """A model of a small data set."""
    adata = data_set(seed)
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs)
    model.train(max_epochs=1, **QUIET)
    return model


class Save:
    """``model.save`` of a model of 3 programs over one of 2, each with other data."""

    name = "save"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for seed, k in ((1, 2), (2, 3)):
            trained(seed, k).save(folder / f"given{k}", save_anndata=True)
        lfa.LeafletFAModel.load(folder / "given2").save(folder / "model", save_anndata=True)

    @staticmethod
    def run(folder: Path) -> None:
        """In the process that is killed."""
        model = lfa.LeafletFAModel.load(folder / "given3", accelerator="cpu")
        model.save(folder / "model", overwrite=True, save_anndata=True)

    def outcome(self) -> str:
        """Load what is there."""
        model = lfa.LeafletFAModel.load(self.folder / "model", accelerator="cpu")
        return {2: "old", 3: "new"}[model.n_programs]  # load refuses data of another model


class Fit:
    """``leafletfa fit`` with 3 programs over a fit with 2."""

    name = "fit"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        data_set(1).write_h5ad(folder / "data.h5ad")
        self.run(folder, 2)

    @staticmethod
    def run(folder: Path, n_programs: int = 3) -> None:
        """In the process that is killed."""
        options = ["--output", folder / "fitted.h5ad", "--save-model", folder / "model"]
        options += ["--n-programs", n_programs, "--max-epochs", 1, "--accelerator", "cpu"]
        _command("fit", folder / "data.h5ad", *options, "--overwrite", "--quiet")

    def outcome(self) -> str:
        """Load the model, then read the data."""
        found = {lfa.LeafletFAModel.load(self.folder / "model", adata=False).n_programs}
        found.add(ad.read_h5ad(self.folder / "fitted.h5ad").obsm["X_PHI"].shape[1])
        return {2: "old", 3: "new"}[found.pop()] if len(found) == 1 else "mixed"


class MakeDataset:
    """``leafletfa make-dataset`` from two files over a run with one."""

    name = "make-dataset"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lines = "chr1\t{}\t{}\t1\t1\t1\t{}\t0\t30\n"
        for cell in "ab":
            rows = (lines.format(101, 200, 9), lines.format(101, 300, 7))
            (folder / f"{cell}.SJ.out.tab").write_text("".join(rows))
        self.run(folder, "a")

    @staticmethod
    def run(folder: Path, cells: str = "ab") -> None:
        """In the process that is killed."""
        files = [folder / f"{cell}.SJ.out.tab" for cell in cells]
        options = ["--output", folder / "set.h5ad", "--min-reads", 0, "--min-cells", 0]
        _command("make-dataset", *files, *options, "--overwrite", "--quiet")

    def outcome(self) -> str:
        """Recover as the next run does, then read data and report."""
        _files.recover(self.folder)
        n_cells = ad.read_h5ad(self.folder / "set.h5ad").n_obs
        report = (self.folder / "set.qc.html").read_text()
        if "</html>" not in report:
            return "mixed"
        return {1: "old", 2: "new"}[n_cells]


KINDS = (Save, Fit, MakeDataset)


def _command(*args: Any) -> None:
    """Run the command line in this process; raise where it fails."""
    try:
        command([str(arg) for arg in args])
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"leafletfa {args[0]} ended with {end.code}") from end


def child(kind: str, folder: Path, operation: int | None, seconds: float | None) -> None:
    """Write, and be killed; or print how many operations on files there are, and seconds."""
    warnings.simplefilter("ignore")
    chosen = next(one for one in KINDS if one.name == kind)
    killer = Killer(operation, seconds)
    chosen.run(folder)
    print(json.dumps(killer.stop()))


def in_child(kind: str, folder: Path, operation: Any = "", seconds: Any = "") -> str | None:
    """Run :func:`child`; what it printed, or None where it was killed."""
    args = ["--child", kind, str(folder), str(operation), str(seconds)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.robustness.kills", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.splitlines()[-1]


def try_kind(kind: type, kills: int, seed: int) -> tuple[Counter[str], int]:
    """Outcomes of some kills of one kind, and how many operations on files it has."""
    counts: Counter[str] = Counter()
    random_ = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        kind(Path(name))
        n_operations, seconds = json.loads(in_child(kind.name, Path(name)) or "")
    steps = random_.sample(range(n_operations), min(n_operations, kills - kills // 4))
    moments = [("", round(random_.uniform(0, seconds), 4)) for _ in range(kills - len(steps))]
    for operation, delay in [*((step, "") for step in steps), *moments]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            now_there = kind(folder)
            kept = {path.name for path in folder.iterdir()}
            was_killed = in_child(kind.name, folder, operation, delay) is None
            try:
                found = now_there.outcome()
            except (OSError, ValueError, KeyError) as error:
                print(f"{kind.name}, operation {operation}, {delay} s: {error}")
                found = "mixed"
            counts[found if was_killed or found == "new" else "mixed"] += 1
            kind.run(folder)
            left = {path.name for path in folder.rglob(f"{_files.STAGING}*")}
            left |= {path.name for path in folder.iterdir()} - kept
            if left:
                print(f"{kind.name}, operation {operation}, {delay} s: left {left}")
                counts["left"] += 1
    return counts, n_operations


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=40, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        kind, folder, operation, seconds = args.child
        child(
            kind,
            Path(folder),
            int(operation) if operation else None,
            float(seconds) if seconds else None,
        )
        return
    warnings.simplefilter("ignore")
    table = Table({"written by": 14, "operations": 10, "kills": 5, **dict.fromkeys(OUTCOMES, 5)})
    table.start()
    for i, kind in enumerate(KINDS):
        kills = args.kills // len(KINDS) + (i < args.kills % len(KINDS))
        counts, n_operations = try_kind(kind, kills, args.seed + i)
        numbers = {name: counts[name] for name in OUTCOMES}
        table.add(**{"written by": kind.name}, operations=n_operations, kills=kills, **numbers)
    facts = {
        "command": f"nox -s benchmarks -- kills --kills {args.kills} --seed {args.seed}",
        "python": platform.python_version(),
        "anndata": version("anndata"),
        "date": now(),
    }
    print(f"\nWritten to {write('kills', 'Killed while writing', facts, {'Outcomes': table})}")


if __name__ == "__main__":
    main()
