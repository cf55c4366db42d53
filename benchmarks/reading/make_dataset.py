"""Time and memory from many SJ.out.tab files to one matrix, and to a splicing data set.

    python -m benchmarks.reading.make_dataset [--files 1000] [--junctions 5000] [--pool 200000]
        [--jobs 2] [--folder DIR] [--output NAME]

Files as in read_star.py. Each stage runs in a fresh process; its memory is the largest sum of the
resident memory of that process and its children, read every 50 ms. "pandas" reads the files one
after another and keeps nothing: the floor of a reader in Python.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch
from benchmarks._machine import device_name, load
from benchmarks._report import Table, now, write
from benchmarks.reading.read_star import make_files

COLUMNS = {
    "stage": 22,
    "files": 7,
    "jobs": 4,
    "s": 7,
    "ms per file": 11,
    "peak MB": 8,
    "result": 34,
}
STAGES = {
    "pandas.read_csv": """
import pandas
for path in paths:
    pandas.read_csv(path, sep="\\t", header=None)
print(len(paths), "files")
""",
    "read_star": """
import leafletfa_scvi as lfa
adata = lfa.pp.read_star(paths, n_jobs=jobs)
print(f"{adata.n_obs} x {adata.n_vars}, {adata.X.nnz / 1e6:.1f}M counts")
""",
    "make_splicing_dataset": """
import leafletfa_scvi as lfa
adata = lfa.pp.make_splicing_dataset(paths, n_jobs=jobs)
entries = adata.layers["cell_by_cluster_matrix"].nnz
print(f"{adata.n_obs} x {adata.n_vars}, {entries / 1e6:.1f}M entries")
""",
}
HEAD = """
import sys
from pathlib import Path
folder, n_files, jobs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
paths = [str(folder / f"cell_{i}.SJ.out.tab") for i in range(n_files)]
"""


def measure(code: str, *arguments: object) -> tuple[float, float, str]:
    """Seconds, peak MB and last line of output of a Python program."""
    started = time.perf_counter()
    command = [sys.executable, "-c", HEAD + code, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        peak = max(peak, resident(watched))
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"A stage ended with code {process.returncode}.")
    return seconds, peak / 1e6, output.strip().splitlines()[-1]


def resident(process: psutil.Process) -> int:
    """Bytes of a process and its children."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--junctions", type=int, default=5000)
    parser.add_argument("--pool", type=int, default=200_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the files here, and use them again")
    parser.add_argument("--output", help="name of the results; nothing is written without")
    args = parser.parse_args()
    facts = {
        "machine": device_name(torch.device("cpu")),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("numpy", "pandas", "scipy")},
        "date": now(),
        "load before": load(),
        "rows per file": f"{args.junctions:,}",
        "pool of introns": f"{args.pool:,}",
    }
    table = Table(COLUMNS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if args.folder is None else args.folder
        folder.mkdir(parents=True, exist_ok=True)
        make_files(folder, args.files, args.junctions, args.pool)
        table.start()
        for name, code in STAGES.items():
            jobs = 1 if name.startswith("pandas") else args.jobs
            seconds, peak, result = measure(code, folder, args.files, jobs)
            row = {"stage": name, "files": args.files, "jobs": jobs, "s": seconds}
            row |= {"ms per file": 1000 * seconds / args.files, "peak MB": peak, "result": result}
            table.add(**row)
    facts["load after"] = load()
    if args.output:
        path = write(args.output, "From SJ.out.tab files to a data set", facts, {"Stages": table})
        print(f"\nWritten to {path}")


if __name__ == "__main__":
    main()
