"""Tables in text files, block by block: read fast, and line by line only to say what is wrong."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd

from leafletfa_scvi.pp._part import junction_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

    from leafletfa_scvi.pp._part import JunctionPart

MAX_INTEGER: Final = 2**31 - 1
BLOCK: Final = 1 << 24
"""Bytes of text that are held at a time."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_COMPRESSED: Final = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_CONTIG_NAMES: Final = ("chrom", "chr", "chromosome", "contig", "seqname", "seqnames")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Column:
    """What a column must hold.

    Attributes
    ----------
    name
        Its name in messages and in :class:`Rows`.
    kind
        ``"integer"``: whole numbers from ``low`` to ``high``; ``"text"``: few distinct words, not
        empty; ``"string"``: any words, not empty; ``"skip"``: not read.
    values
        Words that ``"text"`` may be, and the code of each.
    """

    name: str
    kind: Literal["integer", "text", "string", "skip"] = "integer"
    low: int = 0
    high: int = MAX_INTEGER
    values: Mapping[str, int] | None = None

    def expected(self, value: str) -> str | None:
        """What was expected instead of this value, or None."""
        if self.kind == "integer":
            number = value.strip(" ")
            # Long digits are too large, and int() refuses thousands of them.
            good = _INTEGER.fullmatch(number) and len(number) < 30
            if good and self.low <= int(number) <= self.high:
                return None
            return f"a whole number from {self.low:,} to {self.high:,}"
        if self.kind == "skip" or (value and (self.values is None or value in self.values)):
            return None
        return "some text" if self.values is None else " or ".join(map(repr, self.values))


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, ending in newlines; ``first`` is the 1-based number of the first."""

    path: str
    first: int
    data: bytes


@dataclass
class Rows:
    """Rows of a block: one array for each column read, and for text the words behind its codes."""

    path: str
    first: int
    n: int
    values: dict[str, np.ndarray]
    words: dict[str, list[str]]
    numbers: np.ndarray | None = None
    skipped: int = 0

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    def require(self, good: np.ndarray, expected: str, *names: str) -> None:
        """Raise at the first row that is not ``good``, quoting its columns ``names``."""
        if good.all():
            return
        row = int(np.argmin(good))
        number = self.first + row if self.numbers is None else int(self.numbers[row])
        found = ", ".join(f"{name} {self.values[name][row]}" for name in names)
        raise line_error(self.path, number, f"{found}: expected {expected}.")


def line_error(path: str, number: int, message: str) -> ValueError:
    """The error of one line, with its 1-based number."""
    return ValueError(f"{path}, line {number}: {message}")


@contextmanager
def open_bytes(path: str) -> Iterator[BinaryIO]:
    """Open a file, gzip (also of several members, as bgzip writes) or plain, by its content."""
    with open(path, "rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        for start, name in _COMPRESSED.items():
            if magic.startswith(start):
                raise ValueError(f"{path} is compressed by {name}: expected plain text or gzip.")
        if not magic.startswith(b"\x1f\x8b"):
            yield raw
            return
        try:
            with gzip.open(raw) as file:
                yield file  # type: ignore[misc]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{path} is truncated or damaged: gzip says {str(error)!r}. Copy or make it anew."
            ) from error


def read_blocks(path: str, size: int = BLOCK) -> Iterator[Block]:
    """Whole lines of a text file, about ``size`` bytes at a time, with Unix line ends."""
    first, rest = 1, b""
    with open_bytes(path) as file:
        while True:
            data = file.read(size)
            if first == 1 and not rest and data.startswith(_BOM):
                data = data[len(_BOM) :]
            done = not data
            data = rest + data
            cut = len(data) if done else data.rfind(b"\n") + 1
            data, rest = data[:cut], data[cut:]
            if data:
                block = Block(path, first, _as_lines(path, first, data))
                first += block.data.count(b"\n")
                yield block
            if done:
                return


def _as_lines(path: str, first: int, data: bytes) -> bytes:
    """Text with Unix line ends, also at its end."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    if not data.endswith(b"\n"):
        data += b"\n"
    for byte, what in ((b"\0", "a zero byte"), (b"\r", "a carriage return within the line")):
        if (place := data.find(byte)) >= 0:
            number = first + data.count(b"\n", 0, place)
            raise line_error(path, number, f"holds {what}: expected a text file.")
    return data


def content_lines(block: Block, comment: bytes = b"#") -> Iterator[tuple[int, bytes]]:
    """Numbers and bytes of the lines that are not blank, comments, track lines or a header."""
    seen = block.first > 1
    for number, line in enumerate(block.data.split(b"\n")[:-1], block.first):
        text = line.strip()
        if not text or text.startswith(comment) or text.split()[0] in (b"track", b"browser"):
            continue
        header = not seen and _is_header(line)
        seen = True
        if not header:
            yield number, line


def _is_header(line: bytes) -> bool:
    """Whether the line names columns."""
    names = line.decode(errors="replace").lower().split("\t")
    return names[0] in _CONTIG_NAMES and len(names) > 1 and "start" in names[1]


def parse_block(
    block: Block, columns: Sequence[Column], expected: str, *, sep: str = "\t", comment: str = "#"
) -> Rows:
    """Read the rows of a block.

    Parameters
    ----------
    block
        Lines of the file.
    columns
        All columns of the file; the last one is not skipped.
    expected
        What the file should be, for messages.
    sep
        Character between columns.
    comment
        What lines to leave out start with.

    Raises
    ------
    ValueError
        Names the file, the line and the column of the first thing that is wrong.
    """
    found = parse_fields(block.data, columns, sep, comment)
    if found is not None:
        return Rows(block.path, block.first, len(next(iter(found[0].values()))), *found)
    numbers, lines = [], []
    for number, line in content_lines(block, comment.encode()):
        numbers.append(number)
        lines.append(line)
    if not lines:
        empty = {c.name: np.empty(0, np.int64) for c in columns if c.kind != "skip"}
        found = empty, {c.name: [] for c in columns if c.kind == "text"}
    else:
        found = parse_fields(b"\n".join([*lines, b""]), columns, sep, comment)
    if found is None:
        raise _first_error(block.path, numbers, lines, columns, expected, sep)
    skipped = block.data.count(b"\n") - len(lines)
    return Rows(
        block.path, block.first, len(lines), found[0], found[1], np.array(numbers), skipped
    )


def parse_fields(
    data: bytes, columns: Sequence[Column], sep: str, comment: str
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]] | None:
    """Values and words of the columns, or None where any line is not as it should be."""
    mark, n = comment.encode(), data.count(b"\n")
    if data.startswith(mark) or b"\n" + mark in data:
        return None
    if data.count(sep.encode()) != n * (len(columns) - 1):
        return None
    # Numbers have no dtype here: with one, pandas would take 1e2 for a whole number.
    dtypes = {"text": "category", "string": object}
    used = {i: column for i, column in enumerate(columns) if column.kind != "skip"}
    try:
        table = pd.read_csv(
            io.BytesIO(data),
            sep=sep,
            header=None,
            usecols=list(used),
            dtype={i: dtypes[c.kind] for i, c in used.items() if c.kind in dtypes},
            na_filter=False,
            quoting=3,
            skip_blank_lines=False,
            low_memory=False,
            engine="c",
        )
    except (ValueError, OverflowError):  # of pandas: line_error() says what is wrong
        return None
    if len(table) != n:
        return None
    values: dict[str, np.ndarray] = {}
    words: dict[str, list[str]] = {}
    for i, column in used.items():
        if column.kind == "integer":
            number = table[i].to_numpy()
            if number.dtype != np.int64 or number.min() < column.low or number.max() > column.high:
                return None
            values[column.name] = number
        elif column.kind == "text":
            category = table[i].cat
            names = [str(name) for name in category.categories]
            code = category.codes.to_numpy()
            if "" in names or (column.values is not None and not set(names) <= {*column.values}):
                return None
            if column.values is None:
                words[column.name] = names
            else:
                code = np.array([column.values[name] for name in names], np.int8)[code]
            values[column.name] = code
        else:
            values[column.name] = table[i].to_numpy()
            if (values[column.name] == "").any():
                return None
    return values, words


def _first_error(
    path: str,
    numbers: Sequence[int],
    lines: Sequence[bytes],
    columns: Sequence[Column],
    expected: str,
    sep: str,
) -> ValueError:
    """What is wrong with the first line that is not as it should be."""
    for number, line in zip(numbers, lines, strict=True):
        try:
            fields = line.decode().split(sep)
        except UnicodeDecodeError:
            return line_error(path, number, f"is not UTF-8 text: expected {expected}.")
        if len(fields) != len(columns):
            columns_found = f"{len(fields)} column" + "s" * (len(fields) != 1)
            return line_error(
                path, number, f"has {columns_found}: expected {len(columns)}, of {expected}."
            )
        for i, (column, value) in enumerate(zip(columns, fields, strict=True), 1):
            if (wanted := column.expected(value)) is not None:
                shown = value if len(value) < 60 else f"{value[:50]}..."
                return line_error(
                    path,
                    number,
                    f"column {i} ({column.name}) is {shown!r}: expected {wanted}, of {expected}.",
                )
    return ValueError(f"{path}, lines {numbers[0]} to {numbers[-1]}: expected {expected}.")


@dataclass
class Gathered:
    """Junction counts gathered from blocks of rows."""

    contigs: dict[str, int] = field(default_factory=dict)
    columns: dict[str, list[np.ndarray]] = field(default_factory=dict)
    report: Counter[str] = field(default_factory=Counter)

    def add(self, contigs: Sequence[str], contig: np.ndarray, **columns: np.ndarray) -> None:
        """Rows with contigs by their position in ``contigs``, and the other columns."""
        code = [self.contigs.setdefault(name, len(self.contigs)) for name in contigs]
        columns["contig"] = np.array(code, np.int32)[contig] if len(contig) else contig
        for name, values in columns.items():
            self.columns.setdefault(name, []).append(values)

    def column(self, name: str) -> np.ndarray:
        """All values of a column."""
        parts = self.columns.get(name, [])
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def part(self, cells: Sequence[str]) -> JunctionPart:
        """The counts in canonical order."""
        count = self.column("count")
        part = junction_part(
            list(self.contigs),
            self.column("contig"),
            self.column("start"),
            self.column("end"),
            self.column("strand"),
            cells,
            self.column("cell") if "cell" in self.columns else np.zeros(len(count), np.int8),
            count,
            motif=self.column("motif") if "motif" in self.columns else None,
            report=self.report,
        )
        if "cell" not in self.columns:
            self.report["rows_summed"] = int(np.count_nonzero(count)) - part.n_junctions
        return part
