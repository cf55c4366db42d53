"""Guides compared: which posterior of activities and programs, started how.

    python -m benchmarks.studies.guides.guides [--cases small "small bb" simulation]
        [--guides NAME ...] [--seeds N] [--steps 300] [--lr 0.05] [--batch-size 256] [--quick]
        [--output NAME]

Every guide starts at one EM fit of the package's model with its defaults and is trained by the
same ELBO, optimizer and number of steps, on all cells and on minibatches. A tenth of the (cell,
ATSE) pairs is hidden, as in the quality benchmark. Takes about ten minutes on two cores, with
--quick less than one.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks._machine import device_name, load
from benchmarks._report import Table, now, write
from benchmarks.quality._cases import CASES
from benchmarks.quality.quality import machine
from benchmarks.studies.guides._fits import (
    KINDS,
    LEAST_DRAWS,
    LR,
    PACKAGE,
    START,
    UNTRAINED,
    Start,
    run,
)

SHARED = " by ATSE"
"""After the name of a case: fitted by the Dirichlet-multinomial, which counts each read once."""
SEEDS = {"small": 4, "small bb": 3, "small by ATSE": 4, "simulation": 1}
MINIBATCHES = [
    PACKAGE,
    "Beta, Dirichlet, rest unstarted",
    "logit-normal, softmax-normal",
    "Beta, softmax-normal",
    "Beta, encoder",
]
"""What is also trained on minibatches."""
BY_ATSE = [START, PACKAGE, "Beta, softmax-normal"]
"""What is tried where junctions share the reads of an ATSE; psi is Dirichlet there, not Beta."""
_DRAWS = 20
_SCORES = {
    "phi r": 6,
    "psi r": 6,
    "share": 6,
    "phi r - start": 13,
    "share - start": 13,
    "psi": 5,
    "phi mid": 7,
    "phi": 5,
    "psi, wide": 9,
    "phi mid, wide": 13,
    "phi, wide": 9,
    "ELBO - package's": 16,
    "ELBO error": 10,
    "last program": 12,
    "time": 5,
}
_RENAMED = {f"cover {n}{w}": f"{n}{w}" for n in ("psi", "phi mid", "phi") for w in ("", ", wide")}
LEGEND = """
Guides are named by their posteriors of psi and phi. All but "from tables" and the closed-form
one start with widths from the curvature of the likelihood. "Rest unstarted": all sites but phi and
psi begin at their defaults. "EM and its curvature" is the start, what `train(method="em")` gives.

- small: junctions of an ATSE share its reads but are scored as if they did not, the default; by
  ATSE: the same data with the Dirichlet-multinomial likelihood, where psi is Dirichlet within an
  ATSE instead of Beta; bb: reads of each junction drawn alone, as the default scores them.
- cells: of a minibatch; all where empty.
- phi r, psi r: correlation of matched activities and programs with the truth; share: of the
  held-out gain that the true parameters have over junction means; "- start": less that of the EM.
- psi, phi mid, phi: share of true values in the guide's own 90 % intervals, mid: activities
  between 0.05 and 0.95; wide: after the package's widening by Laplace variances, with ends at 0.
- ELBO - package's: in nats, of the same model and prior, less that of the package's guide trained
  on all cells; of guides that are not trained, after the other sites were (phi and psi held), but
  of the start as it is. ELBO error: standard error of the difference, of the draws.
- last program: its mean activity over that at the start.
- time: of start and training in seconds of the processor, over that of the package's guide on all
  cells. The EM before it is not in it.
""".strip()


def main() -> None:
    """Run what is asked for; print and write the tables."""
    args = arguments()
    began = time.perf_counter()
    device = torch.device("cpu")
    facts = {"device": device_name(device), **machine(device), "date": now()}
    facts["command"] = shlex.join(["nox", "-s", "benchmarks", "--", "guides", *sys.argv[1:]])
    facts["load before"] = load()
    facts["times"] = "ratios of processor time only: the machine had other work"
    table = Table({"case": 13, "seed": 4, "guide": 32, "cells": 5, **_SCORES})
    warm = CASES["tiny"].make(0)
    run(Start.of(warm, 0), warm, PACKAGE, None, 2, LEAST_DRAWS)  # compiles the kernels
    jobs = [(name, seed) for name in args.cases for seed in range(args.seeds or SEEDS[name])]
    for done, (name, seed) in enumerate(jobs, 1):
        case = CASES[name.removesuffix(SHARED)].make(seed)
        shared = {"likelihood": "dirichlet-multinomial"} if name.endswith(SHARED) else {}
        start = Start.of(case, seed, **shared)
        past = time.perf_counter() - began
        print(
            f"<!-- {done} of {len(jobs)}: {name}, seed {seed}, EM {start.seconds:.1f} s, "
            f"{past:.0f} s in all -->",
            flush=True,
        )
        if done == 1:
            table.start()
        for row in compared(start, case, args):
            table.add(case=name, seed=seed, **row)
    facts["load after"] = load()
    facts["seconds in all"] = round(time.perf_counter() - began)
    tables = {"Means over seeds": summary(table.rows), "Rows": table}
    stem = args.output or ("guides quick " if args.quick else "guides ") + device_name(device)
    path = write(stem, "Guides compared", facts, tables, Path(__file__).parent / "results")
    heading = "\n## Means over seeds"
    path.write_text(path.read_text().replace(heading, f"\n{LEGEND}\n{heading}", 1))
    print(f"\nWritten to {path}")


def arguments() -> argparse.Namespace:
    """Parse the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=[*CASES, *SEEDS], metavar="CASE")
    parser.add_argument("--guides", nargs="+", choices=list(KINDS), metavar="GUIDE")
    parser.add_argument("--seeds", type=int, help="how many of each case")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lr", type=float, default=LR, help="first rate, of all but encoders")
    parser.add_argument("--batch-size", type=int, default=256, help="0 for no minibatches")
    parser.add_argument("--quick", action="store_true", help="one tiny case, under a minute")
    parser.add_argument("--output", help="name of the results instead of the device's")
    args = parser.parse_args()
    if args.cases is None:
        args.cases = ["tiny"] if args.quick else list(SEEDS)
    if args.quick:
        args.seeds, args.batch_size = args.seeds or 1, min(args.batch_size, 64)
    args.seeds = args.seeds or (None if set(args.cases) <= set(SEEDS) else 1)
    # The first two are what the others are compared with.
    chosen = args.guides or list(KINDS)
    args.guides = [
        START,
        PACKAGE,
        *(k for k in KINDS if k in chosen and k not in (START, PACKAGE)),
    ]
    return args


def compared(start: Start, case: Any, args: argparse.Namespace) -> Any:
    """Rows of all guides from one start."""
    found: dict[tuple[str, int | None], Any] = {}
    chosen = [
        k
        for k in args.guides
        if k in BY_ATSE or not start.model.module.model.likelihood.shares_reads
    ]
    plans = [(kind, None) for kind in chosen]
    if args.batch_size:
        plans += [(k, args.batch_size) for k in chosen if k in MINIBATCHES]
    reference: dict[str, float] = {}
    for kind, size in [(PACKAGE, None), *(p for p in plans if p != (PACKAGE, None))]:
        fitted = run(start, case, kind, size, args.steps, _DRAWS, args.lr)
        row = {_RENAMED.get(n, n): v for n, v in fitted.scores.items()}
        found[kind, size] = row
        if not reference:
            reference = {"ELBO": row["ELBO"], "error": row["ELBO error"], "s": fitted.seconds}
        error = np.hypot(row["ELBO error"], reference["error"])
        row |= {"ELBO - package's": row["ELBO"] - reference["ELBO"], "ELBO error": float(error)}
        row |= {"seconds": fitted.elapsed, "CPU seconds": fitted.seconds}
        row |= {"time": fitted.seconds / reference["s"]}
        if (kind, size) == (PACKAGE, None):
            row["ELBO error"] = None
        if kind == START:
            row["time"] = 0.0
    first = found[START, None]
    for kind, size in plans:
        row = found[kind, size]
        for name in ("phi r", "share"):
            row[f"{name} - start"] = row[name] - first[name]
        yield {"guide": kind, "cells": size, **row, "trained": kind not in UNTRAINED}


def summary(rows: list[dict[str, Any]]) -> Table:
    """Means over seeds, and of the worst seed what must not fall."""
    worst = {"phi r - start, worst": 20, "share - start, worst": 20}
    paired = {"share - package's": 17, "its error": 9}
    table = Table({"case": 13, "guide": 32, "cells": 5, "seeds": 5} | _SCORES | worst | paired)
    share = {
        (r["case"], r["seed"]): r["share"]
        for r in rows
        if r["guide"] == PACKAGE and r["cells"] is None
    }
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["guide"], row["cells"]), []).append(row)
    for (case, guide, cells), some in groups.items():
        out: dict[str, Any] = {"case": case, "guide": guide, "cells": cells, "seeds": len(some)}
        for name in _SCORES:
            values = [r[name] for r in some if r.get(name) is not None]
            if values:
                out[name] = float(np.mean(values))
        if out.get("ELBO error") is not None:
            errors = [r["ELBO error"] for r in some]
            out["ELBO error"] = float(np.sqrt(np.sum(np.square(errors))) / len(errors))
        for name in ("phi r - start", "share - start"):
            out[f"{name}, worst"] = min(r[name] for r in some)
        gaps = [r["share"] - share[case, r["seed"]] for r in some]
        out["share - package's"] = float(np.mean(gaps))
        if len(gaps) > 1:
            out["its error"] = float(np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
        table.rows.append(out)
    return table


if __name__ == "__main__":
    main()
