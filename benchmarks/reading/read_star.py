"""Time to read STAR's SJ.out.tab, against bare pandas.

    python -m benchmarks.reading.read_star [--files 200] [--junctions 5000] [--pool 200000]
        [--folder DIR]

Each file holds junctions drawn from a pool of introns, common ones more often, in the order of
the genome, as STAR writes them. A stage does one thing to every file, on one core; compare CPU
times where the machine is busy elsewhere.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from benchmarks._report import Table

from leafletfa_scvi.pp.read._detect import cell_name
from leafletfa_scvi.pp.read._star import read_sj

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = {"stage": 24, "files": 7, "s": 7, "ms per file": 12, "CPU ms per file": 16, "peak MB": 8}


def intron_pool(size: int, rng: np.random.Generator) -> pd.DataFrame:
    """Distinct introns in the order of the genome, in the columns of SJ.out.tab before counts.

    Nearly half of them are of cassette exons: both introns beside an exon, and the one around.
    """
    n_events = 3 * size // 20
    start = rng.choice(200_000_000, size - 2 * n_events, replace=False) + 1
    contig = rng.integers(1, 23, len(start))
    motif = rng.choice(7, len(start), p=[0.01, 0.485, 0.485, 0.005, 0.005, 0.005, 0.005])
    length = rng.geometric(1 / 5000, (3, len(start))) + 69
    left, exon, right = length[:, :n_events]
    first = start[:n_events]
    last = first + left + exon + right
    table = pd.DataFrame(
        {
            "contig": np.concatenate([contig[:n_events]] * 3 + [contig[n_events:]]),
            "start": np.concatenate([first, first + left + exon, first, start[n_events:]]),
            "end": np.concatenate(
                [first + left - 1, last, last, start[n_events:] + length[0, n_events:]]
            ),
            "motif": np.concatenate([motif[:n_events]] * 3 + [motif[n_events:]]),
            "annotated": rng.integers(0, 2, size),
        }
    )
    table.insert(3, "strand", np.where(table["motif"] == 0, 0, 2 - table["motif"] % 2))
    table = table.drop_duplicates(["contig", "start", "end"]).sort_values(["contig", "start"])
    table["contig"] = "chr" + table["contig"].astype(str)
    return table


def make_files(
    folder: Path, n_files: int, n_junctions: int, pool: int = 200_000, seed: int = 0
) -> list[Path]:
    """Write files of junctions drawn from a pool of introns.

    Parameters
    ----------
    folder
        Where files go; those of an earlier call with the same arguments are kept.
    n_files, n_junctions
        Number of files, and of junctions in each.
    pool
        Number of introns that they are drawn from.
    """
    rng = np.random.default_rng(seed)
    table = intron_pool(pool, rng)
    head = table.astype(str).agg("\t".join, axis=1).to_numpy()
    pool = len(head)
    weight = 1 / np.arange(20, 20 + pool) ** 0.7
    rng.shuffle(weight)
    paths = [folder / f"cell_{i}.SJ.out.tab" for i in range(n_files)]
    for i, path in enumerate(paths):
        if path.exists():
            continue
        rng = np.random.default_rng((seed, i))
        # The largest weights over exponential variates are a draw without replacement.
        key = weight / rng.standard_exponential(pool)
        rows = np.sort(np.argpartition(key, pool - n_junctions)[pool - n_junctions :])
        unique = rng.negative_binomial(1, 0.2, n_junctions)
        multiple = np.where(unique == 0, 1, rng.integers(0, 2, n_junctions))
        overhang = rng.integers(5, 60, n_junctions)
        with open(path, "w") as file:
            for row in zip(head[rows], unique, multiple, overhang, strict=True):
                file.write("{}\t{}\t{}\t{}\n".format(*row))
    return paths


def peak() -> float:
    """Resident memory of this process at its peak so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stages(folder: Path) -> dict[str, Callable[[Path], object]]:
    """What is timed, for one file each."""
    return {
        "pandas.read_csv": lambda path: pd.read_csv(path, sep="\t", header=None),
        "read_sj": lambda path: read_sj(path, cell_name(path)),
        "read_sj and save": lambda path: read_sj(path, cell_name(path)).save(
            folder / f"{path.name}.npz"
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--junctions", type=int, default=5000)
    parser.add_argument("--pool", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="keep the files here, and use them again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if args.folder is None else args.folder
        folder.mkdir(parents=True, exist_ok=True)
        paths = make_files(folder, args.files, args.junctions, args.pool)
        table = Table(COLUMNS)
        table.start()
        for name, stage in stages(Path(temporary)).items():
            stage(paths[0])
            begin, used = time.perf_counter(), time.process_time()
            for path in paths:
                stage(path)
            took, used = time.perf_counter() - begin, time.process_time() - used
            row = {"stage": name, "files": len(paths), "s": took, "peak MB": peak()}
            row |= {"ms per file": 1000 * took / len(paths)}
            table.add(**row, **{"CPU ms per file": 1000 * used / len(paths)})


if __name__ == "__main__":
    main()
