"""Tables of benchmark results, on the screen and in ``benchmarks/results``."""

from __future__ import annotations

import datetime
import json
import math
import os
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def cell(value: Any) -> str:
    """A value as it stands in a table; empty where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 10 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def line(values: list[Any], widths: list[int]) -> str:
    """One row of a table in Markdown, filled up to ``widths``."""
    return "| " + " | ".join(cell(v).rjust(w) for v, w in zip(values, widths, strict=True)) + " |"


class Table:
    """Prints rows as they come, and keeps them."""

    def __init__(self, columns: dict[str, int]) -> None:
        self.names, self.widths = list(columns), list(columns.values())
        self.rows: list[dict[str, Any]] = []

    def header(self) -> list[str]:
        """Names and rule."""
        return [line(self.names, self.widths), "|" + "|".join("-" * (w + 2) for w in self.widths)]

    def start(self) -> None:
        """Print the header."""
        print("\n" + "\n".join(self.header()) + "|", flush=True)

    def add(self, **row: Any) -> None:
        """Print a row and keep it; missing columns stay empty."""
        self.rows.append(row)
        print(line([row.get(n) for n in self.names], self.widths), flush=True)

    def markdown(self) -> str:
        """The whole table."""
        rows = [line([row.get(n) for n in self.names], self.widths) for row in self.rows]
        names, rule = self.header()
        return "\n".join([names, rule + "|", *rows])


def write(
    name: str,
    title: str,
    facts: dict[str, Any],
    tables: dict[str, Table],
    folder: Path | None = None,
) -> Path:
    """Write ``<name>.md`` and ``<name>.json``, each through a temporary file.

    Parameters
    ----------
    name
        Of the device; anything but letters and digits becomes a hyphen.
    title
        Heading of the page.
    facts
        Named values: machine, versions, date, speeds.
    tables
        Tables by their heading.
    folder
        Folder for the two files. If None, ``benchmarks/results``.
    """
    folder = folder or FOLDER
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    folder.mkdir(exist_ok=True)
    lines = [f"# {title}", ""]
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    for heading, table in tables.items():
        lines += ["", f"## {heading}", "", table.markdown()]
    rows = {heading: table.rows for heading, table in tables.items()}
    _replace(folder / f"{stem}.md", "\n".join(lines) + "\n")
    _replace(folder / f"{stem}.json", json.dumps({"facts": facts, **rows}, indent=1) + "\n")
    return folder / f"{stem}.md"


def now() -> str:
    """Date and time in UTC, to the minute."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + f".{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)


def written_rows(
    name: str, heading: str, option: str, folder: Path | None = None
) -> list[dict[str, Any]]:
    """Return the rows of a table that :func:`write` wrote, for a run that goes on with it.

    Raises
    ------
    SystemExit
        They were not written with ``option``, such as ``--method em``.
    """
    path = (folder or FOLDER) / f"{name}.json"
    written = json.loads(path.read_text())
    if option not in written["facts"]["command"]:
        raise SystemExit(f"{path} was not written with {option}: leave out --resume.")
    rows: list[dict[str, Any]] = written[heading]
    return rows
