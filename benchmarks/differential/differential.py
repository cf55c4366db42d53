"""Calls, power and intervals of differential splicing on simulated cohorts, against other tests.

    nox -s benchmarks -- differential [--cases NAME ...] [--methods NAME ...] [--seeds 20]
        [--cache FOLDER] [--jobs 2] [--no-results] [--list]

A name of a case or method may be its beginning. With --cache, fits are kept in a folder, so that
another run repeats the statistics only, and an interrupted one continues; remove the folder when
training has changed. A job uses its share of the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import now, write
from benchmarks.differential._cases import CASES
from benchmarks.differential._runs import METHODS, run
from benchmarks.differential._tables import LEGEND, means_table

_THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main() -> None:
    """Run what is asked for; print and write the table."""
    args = arguments()
    if args.list:
        print("\n".join(["Cases:", *CASES, "", "Methods:", *METHODS]))
        return
    if args.cache is not None:
        args.cache.mkdir(parents=True, exist_ok=True)
    device = torch.device("cpu")
    facts = {"command": "nox -s benchmarks -- differential", "device": device_name(device)}
    facts |= versions(device) | {"date": now(), "load before": load()}
    started = time.perf_counter()
    rows = run_all(args)
    minutes = (time.perf_counter() - started) / 60
    fits = [row["fit"] for row in rows if row["fit"]]
    facts["time"] = f"{minutes:.0f} min in {args.jobs} processes"
    if fits:
        facts["time"] += f", {np.mean(fits):.0f} s for a fit"
    facts["load after"] = load()
    table = means_table(rows)
    print(f"\n{table.markdown()}\n\n{LEGEND}\n\n{facts['time']}")
    if not args.no_results:
        path = write("differential", "Differential splicing", facts, {"Cases": table})
        path.write_text(path.read_text().replace("\n## Cases", f"\n{LEGEND}\n\n## Cases", 1))
        print(f"\nWritten to {path}")


def arguments() -> argparse.Namespace:
    """Parse the command line, with names completed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", help="names or beginnings; all without it")
    parser.add_argument("--methods", nargs="+", help="names or beginnings; all without it")
    parser.add_argument("--seeds", type=int, default=20, help="number of data sets of each case")
    parser.add_argument("--cache", type=Path, help="folder for fits; created if missing")
    parser.add_argument("--jobs", type=int, default=2, help="number of processes")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    parser.add_argument("--list", action="store_true", help="print cases and methods")
    args = parser.parse_args()
    args.cases, args.methods = (
        _complete(parser, option, given or known, known)
        for option, given, known in (
            ("--cases", args.cases, list(CASES)),
            ("--methods", args.methods, list(METHODS)),
        )
    )
    return args


def _complete(
    parser: argparse.ArgumentParser, option: str, given: list[str], known: list[str]
) -> list[str]:
    """Known names that were given, or that begin with what was given and is no name itself."""
    begins = tuple(g for g in given if g not in known)
    for beginning in begins:
        if not any(name.startswith(beginning) for name in known):
            parser.error(f"{option}: there is no {beginning!r}; see --list.")
    return [name for name in known if name in given or name.startswith(begins)]


def run_all(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of all cases, methods and seeds, in their order."""
    by_simulation: dict[str, list[str]] = {}
    for name in args.cases:
        by_simulation.setdefault(json.dumps(CASES[name].simulation), []).append(name)
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    os.environ |= {name: str(threads) for name in _THREADS}  # for the processes
    rows = []
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        jobs = {
            pool.submit(run, names, seed, args.cache, args.methods): (names[0], seed)
            for names in by_simulation.values()  # those with equal counts not at the same time
            for seed in range(args.seeds)
        }
        for i, job in enumerate(as_completed(jobs), 1):
            name, seed = jobs[job]
            try:
                rows += job.result()
            except Exception:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            print(f"{i} of {len(jobs)}: {name}, seed {seed}", flush=True)
    place = {name: i for i, name in enumerate([*args.cases, *METHODS])}
    return sorted(rows, key=lambda row: (place[row["case"]], place[row["method"]], row["seed"]))


if __name__ == "__main__":
    main()
