"""Damaged files of every format that is read: refused with a clear message, or not.

    python -m benchmarks.robustness.damaged_files [--files 300] [--seed 0] [--reader GTF ...]
        [--show]

Of each reader a small whole file is damaged in every kind of ``_damage.py`` in turn, at random
places, and read. Outcomes:

- ``refused``: ValueError, or FileNotFoundError, that names the file (``with line``: and the line);
- ``the same``: read, and the result is that of the whole file;
- ``valid``: read as another file would be that is whole too, such as one with another digit in a
  count, or fewer lines: that it is damaged cannot be known from the file;
- ``accepted``: read, though a record is not valid;
- ``obscure``: another error, or one that does not name the file.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import multiprocessing
import os
import platform
import random
import re
import tempfile
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pysam
from benchmarks._report import Table, now, write
from benchmarks.robustness._readers import READERS, Reader

from leafletfa_scvi.cli._console import UserError

if TYPE_CHECKING:
    from benchmarks.robustness._damage import Damage

OUTCOMES = ("refused with line", "refused", "the same", "valid", "accepted", "obscure")
_PATIENCE = 60.0
COLUMNS = {"files": 5, **dict.fromkeys(OUTCOMES, 9)}


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one damaged file."""

    kind: str
    outcome: str
    message: str
    data: bytes


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=300, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", nargs="+", help="names of readers; all by default")
    parser.add_argument("--show", action="store_true", help="messages, and what was accepted")
    parser.add_argument("--output", default="damaged-files", help="name of the results")
    args = parser.parse_args()
    chosen = [one for one in READERS if args.reader is None or one.name in args.reader]
    summary = Table({"reader": 24, **COLUMNS})
    tables = {"All readers": summary}
    summary.start()
    for reader in chosen:
        results = try_reader(reader, args.files, args.seed)
        summary.add(reader=reader.name, **_numbers(results))
        tables[reader.name] = by_kind(results)
        if args.show:
            _show(results)
    if args.reader is None:
        facts = {
            "command": f"nox -s benchmarks -- damaged_files --files {args.files} "
            f"--seed {args.seed}",
            "python": platform.python_version(),
            "pandas": pd.__version__,
            "pysam": pysam.__version__,
            "anndata": version("anndata"),
            "date": now(),
        }
        print(write(args.output, "Damaged files", facts, tables))


def try_reader(reader: Reader, n_files: int, seed: int) -> list[Result]:
    """Read ``n_files`` damaged files, the kinds of damage in turn."""
    rng = random.Random(f"{seed} {reader.name}")
    with tempfile.TemporaryDirectory() as name:
        path = reader.write(Path(name))
        whole, expected = path.read_bytes(), reader.read(path)
        results: list[Result] = []
        for damage in itertools.cycle(reader.damages):
            if len(results) == n_files:
                break
            tries = (damage(rng, whole) for _ in range(20))
            data = next((one for one in tries if one != whole), None)
            if data is not None:  # a kind may not apply, as two columns swapped to a list
                path.write_bytes(data)
                results.append(_outcome(reader, path, expected, damage, data))
    return results


def _outcome(reader: Reader, path: Path, expected: Any, damage: Damage, data: bytes) -> Result:
    kind = (damage.__doc__ or "").strip(" .\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _in_child(reader, path) if reader.in_child else reader.read(path)
    except (ValueError, FileNotFoundError, UserError) as error:
        message = str(error)
        if str(path.parent) not in message or "\n" in message:
            return Result(kind, "obscure", f"{type(error).__name__}: {message}", data)
        has_line = re.search(r", lines? [0-9]+", message) is not None
        return Result(kind, "refused with line" if has_line else "refused", message, data)
    except Exception as error:  # noqa: BLE001  (to be found)
        return Result(kind, "obscure", f"{type(error).__name__}: {error}", data)
    if _is_same(found, expected):
        return Result(kind, "the same", "", data)
    return Result(kind, "valid" if reader.is_valid(data) else "accepted", "", data)


def _in_child(reader: Reader, path: Path) -> Any:
    """What a forked process reads; its error is raised here."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_send, args=(reader, path, sender))
    child.start()
    sender.close()
    try:
        if not receiver.poll(_PATIENCE):
            raise TimeoutError(f"reading did not end in {_PATIENCE} s")
        found, error = receiver.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"the process ended with code {child.exitcode}") from None
    finally:
        child.kill()
        child.join()
    if error is not None:
        raise error
    return found


def _send(reader: Reader, path: Path, sender: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        sender.send((reader.read(path), None))
    except Exception as error:  # noqa: BLE001  (raised by the parent)
        kind = type(error) if isinstance(error, (ValueError, UserError)) else RuntimeError
        sender.send((None, kind(f"{type(error).__name__}: {error}")))


def _is_same(found: Any, expected: Any) -> bool:
    return (
        repr(found) == repr(expected)
        if not isinstance(found, np.ndarray)
        else bool(np.array_equal(found, expected))
    )


def by_kind(results: list[Result]) -> Table:
    """The outcomes of each kind of damage."""
    table = Table({"damage": 62, **COLUMNS})
    for kind in dict.fromkeys(result.kind for result in results):
        row = _numbers([result for result in results if result.kind == kind])
        table.rows.append({"damage": kind, **row})
    return table


def _numbers(results: list[Result]) -> dict[str, int]:
    found = Counter(result.outcome for result in results)
    return {"files": len(results), **{name: found[name] for name in OUTCOMES}}


def _show(results: list[Result]) -> None:
    for result in results:
        if result.outcome in ("accepted", "obscure", "refused"):
            print(f"{result.outcome} ({result.kind}): {result.message[-300:]}")
            if result.outcome == "accepted":
                print("   ", result.data[:3000])


if __name__ == "__main__":
    main()
