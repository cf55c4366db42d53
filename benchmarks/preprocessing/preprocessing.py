"""Measure preprocessing against targets, on real junctions and on simulated ones with known truth.

Each module beside this one is a case; its ``rows()`` returns what was measured and the target.
``LEAFLETFA_TEST_DATA`` names the folder of the real data.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import time
import warnings
from importlib.metadata import version
from pathlib import Path

from benchmarks._report import Table, now, write

CASES = sorted(path.stem.strip("_") for path in Path(__file__).parent.glob("_[!_]*.py"))


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    table = Table({"case": 34, "measured": 60, "target": 40, "s": 5})
    table.start()
    for name in args.cases:
        case = importlib.import_module(f"{__package__}._{name}")
        started = time.perf_counter()
        rows = case.rows()
        seconds = time.perf_counter() - started
        for i, (what, measured, target) in enumerate(rows):
            time_of_case = {} if i else {"s": seconds}
            table.add(case=what, measured=measured, target=target, **time_of_case)
    facts = {
        "command": "nox -s benchmarks -- preprocessing",
        "python": platform.python_version(),
        "anndata": version("anndata"),
        "date": now(),
    }
    if not args.no_results:
        print(f"\nWritten to {write('preprocessing', 'Preprocessing', facts, {'Cases': table})}")


if __name__ == "__main__":
    main()
