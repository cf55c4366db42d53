"""How well programs, activities and hidden entries are found, against other methods.

    python -m benchmarks.quality.quality [--cases simulation small chen ...]
        [--methods default PCA ...] [--seeds 0 1 ...] [--quick] [--resume] [--output NAME]

Needs the whole package; mofapy2 for MOFA+, and LEAFLETFA_TEST_DATA for "chen". A tenth of the
(cell, ATSE) pairs is hidden from every method. The seed of a simulation is that of its hold-out
and of the fits too; on real data each seed of a fit meets each seed of a hold-out. Each finished
row goes to a file beside the results, from which --resume continues if interrupted; the file
is removed once the tables are written, unless --keep-rows asks to keep it: then a further run with
the same --output and --resume adds its rows to the tables. Cases may be groups (--list). Times are
of the threads that the environment allows: OMP_NUM_THREADS, NUMBA_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import shlex
import sys
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import FOLDER, now, write
from benchmarks.quality._baselines import BASELINES, SEEDLESS, NotRunError
from benchmarks.quality._cases import CASES, GROUPS, Case, chen_path
from benchmarks.quality._models import VARIANTS, known, run
from benchmarks.quality._scores import score
from benchmarks.quality._tables import KEYS, LEGEND, against_pca, rows_table, summary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK_CASES = ["tiny"]
QUICK_METHODS = ["truth", "junction mean", "PCA", "NMF", "ADMIXTURE", "default", "em"]
MAIN = {"default", "em"}
"""Variants that run everywhere unless told; the others do on few seeds, and not on the series."""
SLOW = {"MOFA+"}
"""Not on the series."""
_FEW = 3


def main() -> None:
    """Run what is asked for; print and write the tables."""
    args = arguments()
    if args.list:
        print(listing())
        return
    device = torch.device("cpu")
    name = f"quality {args.output or ('quick ' if args.quick else '') + device_name(device)}"
    partial = FOLDER / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".partial.jsonl")
    done = finished(partial, args.resume)
    facts = {"device": device_name(device), **machine(device), "date": now()}
    facts["command"] = shlex.join(["nox", "-s", "benchmarks", "--", "quality", *sys.argv[1:]])
    facts["load before"] = load()
    table = rows_table()
    table.start()
    for row in done.values():
        table.add(**row)
    failed = []
    case: Case | None = None
    jobs = list(planned(args))
    for i, job in enumerate(jobs, 1):
        key = tuple(job)
        if key in done:
            continue
        case_name, method, data_seed, seed = job
        if case is None or (case.name, case.data_seed) != (case_name, data_seed):
            case = CASES[case_name].make(data_seed)
        began = time.perf_counter()
        print(f"<!-- {i} of {len(jobs)}: {case_name}, {method} -->", flush=True)
        try:
            row = dict(zip(KEYS, key, strict=True)) | one(case, method, seed)
        except NotRunError as reason:
            print(f"<!-- {case_name}: no {method}, {reason} -->", flush=True)
            continue
        except Exception:  # noqa: BLE001 one method must not cost the results of hours
            traceback.print_exc()
            failed.append(f"{method} on {case_name}")
            continue
        row["s in all"] = time.perf_counter() - began
        keep(partial, row)
        done[key] = row
        table.add(**row)
    if failed:
        facts["failed"] = "; ".join(sorted(set(failed)))
    facts["load after"] = load()
    rows = list(done.values())
    tables = {"Summary": summary(rows), "Against PCA": against_pca(rows), "Rows": table}
    tables = {heading: t for heading, t in tables.items() if t.rows}
    path = write(name, "Quality of programs, activities and predictions", facts, tables)
    path.write_text(path.read_text().replace("\n## Summary", f"\n{LEGEND}\n\n## Summary", 1))
    if not failed and not args.keep_rows:
        partial.unlink(missing_ok=True)
    print(f"\nWritten to {path}")


def arguments() -> argparse.Namespace:
    """Parse the command line, with groups of cases spelled out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", help="names or groups; all without it")
    parser.add_argument("--methods", nargs="+", help="names, or baselines, variants; see --list")
    parser.add_argument("--seeds", type=int, nargs="+", help="of data and fit; else by case")
    parser.add_argument("--splits", type=int, nargs="+", help="seeds of hold-outs of real data")
    parser.add_argument("--quick", action="store_true", help="one tiny case, under a minute")
    parser.add_argument("--resume", action="store_true", help="continue after an interruption")
    parser.add_argument(
        "--keep-rows", action="store_true", help="keep the file of rows for other runs to add to"
    )
    parser.add_argument("--output", help="name of the results instead of the device's")
    parser.add_argument("--list", action="store_true", help="print cases and methods")
    args = parser.parse_args()
    cases = args.cases or (QUICK_CASES if args.quick else ["all"])
    args.cases = list(dict.fromkeys(n for c in cases for n in GROUPS.get(c, [c])))
    groups = {"baselines": list(BASELINES), "variants": list(VARIANTS)}
    methods = args.methods or (QUICK_METHODS if args.quick else None)
    if methods is not None:
        methods = list(dict.fromkeys(n for m in methods for n in groups.get(m, [m])))
    args.methods = methods
    unknown = [c for c in args.cases if c not in CASES]
    unknown += [m for m in methods or [] if m not in BASELINES and not known(m)]
    if unknown:
        parser.error(f"There is no {unknown[0]!r}.\n{listing()}")
    if "chen" in args.cases and not chen_path().exists():
        parser.error(f"There is no {chen_path()}: set LEAFLETFA_TEST_DATA, or leave out chen.")
    return args


def listing() -> str:
    """Names of cases, groups of them, and methods."""
    groups = "; ".join(f"{group} = {', '.join(names)}" for group, names in GROUPS.items())
    return (
        f"Cases: {', '.join(CASES)}\nGroups: {groups}\nBaselines: {', '.join(BASELINES)}\n"
        f"Variants: {', '.join(VARIANTS)}; each with 'em ' before it is its point estimate"
    )


def planned(args: argparse.Namespace) -> Iterator[tuple[str, str, int, int]]:
    """Case, method, data seed and seed of each row, so that each data set is made once."""
    series = {name for group, names in GROUPS.items() if group != "all" for name in names}
    for name in args.cases:
        family = CASES[name]
        seeds = args.seeds or list(range(family.seeds))
        data_seeds = (args.splits or seeds) if family.crossed else seeds
        for place, data_seed in enumerate(data_seeds):
            for method in args.methods or [*BASELINES, *VARIANTS]:
                minor = args.methods is None and method in VARIANTS and method not in MAIN
                if args.methods is None and name in series and (minor or method in SLOW):
                    continue
                if minor and place >= _FEW:
                    continue
                chosen = seeds if family.crossed else [data_seed]
                if method in SEEDLESS:
                    chosen = [0]
                for seed in chosen[:1] if minor else chosen:
                    yield name, method, data_seed, seed


def one(case: Case, method: str, seed: int) -> dict[str, Any]:
    """Scores of a method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = BASELINES[method](case, seed) if method in BASELINES else run(case, method, seed)
        return score(case, found)


def finished(partial: Path, resume: bool) -> dict[tuple, dict[str, Any]]:
    """Rows of an interrupted run by their keys."""
    if not partial.exists():
        return {}
    if not resume:
        raise SystemExit(
            f"{partial} holds the rows of an interrupted run: use --resume, or remove it."
        )
    rows = [json.loads(text) for text in partial.read_text().splitlines() if text.endswith("}")]
    return {tuple(row[k] for k in KEYS): row for row in rows}


def keep(partial: Path, row: dict[str, Any]) -> None:
    """Append a row for good."""
    FOLDER.mkdir(exist_ok=True)
    with partial.open("a") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def machine(device: torch.device) -> dict[str, str]:
    """Versions, and threads in use."""
    found = versions(device)
    for name in ("scipy", "scikit-learn", "mofapy2", "leafletfa-scvi"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found | {"threads": str(torch.get_num_threads())}


if __name__ == "__main__":
    main()
