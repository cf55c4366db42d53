"""Whether shared starts and early stops choose the same K as complete fits, and in what time.

    nox -s benchmarks -- choose_k [--seeds 2] [--only simulations | chen] [--no-results]

Programs are chosen twice on the same data, first with each fit from a start of its own and
completed (``share_starts=False``), then with starts shared over K and fits stopped that would not
change the choice, the default. Real cells, 488 with 12,374 junctions, take half an hour on one
core; complete fits of them are made for the first seed alone, unless ``--complete-chen`` is given.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from typing import TYPE_CHECKING, Any

import anndata
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write
from benchmarks.quality._cases import chen_path

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.tl import ProgramSelection

N_CELLS, N_ATSES = 600, 300
TRUE_NUMBERS, COVERAGES = (3, 5, 8), (0.2, 0.07)
NUMBERS = (2, 3, 4, 5, 6, 8, 10, 12)
CHEN_NUMBERS = tuple(range(2, 17, 2))
COLUMNS = ("complete", "shared", "time", "shared time", "ratio", "first", "completed", "gain")
LEGEND = f"""
- Simulations: {N_CELLS} cells, {N_ATSES} ATSEs; K from {", ".join(map(str, NUMBERS))}; 3 splits.
- complete, shared: K chosen by complete fits, and with shared starts and early stops. time, shared
  time: seconds; ratio: of processor time, which other programs on the machine change less. first:
  seconds until gains of all K on the first split are known. completed: share of the fits that were
  not stopped. gain: held-out gain of the chosen K, complete / shared.
""".strip()


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", choices=["simulations", "chen"])
    parser.add_argument("--complete-chen", action="store_true", help="complete all three splits")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    device = torch.device("cpu")
    command = "nox -s benchmarks -- choose_k" + (f" --only {args.only}" if args.only else "")
    facts = {"command": command, "device": device_name(device), "threads": torch.get_num_threads()}
    facts |= versions(device) | {"date": now(), "load before": load()}
    warm_up()
    tables = {}
    if args.only != "chen":
        tables["Simulations"] = simulations(args.seeds)
    if args.only != "simulations":
        tables["Real cells"] = real_cells(3 if args.complete_chen else 1)
    print(f"\n{LEGEND}")
    facts["load after"] = load()
    if not args.no_results:
        name = "choose-k-chen" if args.only == "chen" else "choose-k"
        path = write(name, "Choice of the number of programs", facts, tables)
        first = next(iter(tables))
        path.write_text(path.read_text().replace(f"\n## {first}", f"\n{LEGEND}\n\n## {first}", 1))
        print(f"\nWritten to {path}")


def simulations(n_seeds: int) -> Table:
    """Compare both ways on simulated cells."""
    table = Table({"K": 3, "coverage": 8, "seed": 4} | dict.fromkeys(COLUMNS, 11))
    table.start()
    for seed in range(1, 1 + n_seeds):
        for coverage in COVERAGES:
            for k in TRUE_NUMBERS:
                adata = lfa.datasets.simulate_splicing(
                    N_CELLS, N_ATSES, k, coverage=coverage, seed=seed
                )
                row = compared(choose(adata, NUMBERS, 3, False), choose(adata, NUMBERS, 3, True))
                table.add(K=k, coverage=f"{coverage:.0%}", seed=seed, **row)
    return table


def real_cells(n_complete: int) -> Table:
    """Compare both ways on real cells, and choose with three splits."""
    adata = anndata.read_h5ad(chen_path())
    table = Table({"splits": 6} | dict.fromkeys(COLUMNS, 11))
    table.start()
    both = (choose(adata, CHEN_NUMBERS, n_complete, share) for share in (False, True))
    table.add(splits=n_complete, **compared(*both))
    if n_complete < 3:
        table.add(splits=3, **compared(None, choose(adata, CHEN_NUMBERS, 3, True)))
    return table


def compared(complete: Choice | None, shared: Choice) -> dict[str, Any]:
    """Columns of a row."""
    gain = [f"{c.gain:.4f}" for c in (complete, shared) if c is not None]
    return {
        "complete": None if complete is None else complete.result.n_programs,
        "shared": shared.result.n_programs,
        "time": None if complete is None else complete.seconds,
        "shared time": shared.seconds,
        "ratio": None if complete is None else shared.cpu / complete.cpu,
        "first": shared.first,
        "completed": f"{(~shared.result.scores['stopped']).mean():.0%}",
        "gain": " / ".join(gain),
    }


class Choice:
    """A choice, its seconds, those of the processor, and those until the first figures."""

    def __init__(self, result: ProgramSelection, seconds: float, cpu: float, first: float) -> None:
        self.result, self.seconds, self.cpu, self.first = result, seconds, cpu, first

    @property
    def gain(self) -> float:
        """Held-out gain of the chosen K."""
        return float(self.result.summary["log_likelihood_gain"].loc[self.result.n_programs])


def choose(adata: AnnData, numbers: tuple[int, ...], n_seeds: int, share: bool) -> Choice:
    """Choose K on ``n_seeds`` splits."""
    started, started_cpu = time.perf_counter(), time.process_time()
    first: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = lfa.tl.select_n_programs(
            adata,
            numbers,
            n_seeds=n_seeds,
            train_kwargs={"accelerator": "cpu"},
            progress=False,
            share_starts=share,
            callback=lambda _: first.append(time.perf_counter() - started),
        )
    cpu = time.process_time() - started_cpu
    return Choice(result, time.perf_counter() - started, cpu, first[0])


def warm_up() -> None:
    """Compile the kernels."""
    adata = lfa.datasets.simulate_splicing(60, 30, 2, coverage=0.5, seed=0)
    for share in (False, True):
        choose(adata, (2, 3), 1, share)


if __name__ == "__main__":
    main()
