"""Tables in text files: blocks are read at once, and line by line only to locate an error."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp._junctions import junction_name
from leafletfa_scvi.pp._text import line_error, shown, whole_number
from leafletfa_scvi.pp.read._file_counts import file_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from leafletfa_scvi.pp._text import Block
    from leafletfa_scvi.pp.read._file_counts import FileCounts

MAX_INTEGER: Final = 2**31 - 1

_CONTIG_NAMES: Final = ("chrom", "chr", "chromosome", "contig", "seqname", "seqnames")


@dataclass(frozen=True)
class Column:
    """Expected content of a column.

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
        """Return what was expected instead of this value, or None if it is valid."""
        if self.kind == "integer":
            number = whole_number(value)
            if number is not None and self.low <= number <= self.high:
                return None
            return f"a whole number from {self.low:,} to {self.high:,}"
        if self.kind == "skip" or (value and (self.values is None or value in self.values)):
            return None
        return "some text" if self.values is None else " or ".join(map(repr, self.values))


@dataclass
class Rows:
    """Rows of a block: an array for each column that is read, and the words of text columns."""

    path: str
    first: int
    n: int
    values: dict[str, np.ndarray]
    words: dict[str, list[str]]
    numbers: np.ndarray | None = None
    skipped: int = 0

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    @property
    def lines(self) -> np.ndarray:
        """``(n,)`` 1-based numbers of the lines."""
        return self.first + np.arange(self.n) if self.numbers is None else self.numbers

    def require(self, good: np.ndarray, expected: str, *names: str) -> None:
        """Raise an error for the first row that is not ``good``, quoting its columns ``names``."""
        if good.all():
            return
        row = int(np.argmin(good))
        number = int(self.lines[row])
        found = ", ".join(f"{name} {self.values[name][row]}" for name in names)
        raise line_error(self.path, number, f"{found}: expected {expected}.")


def content_lines(block: Block, comment: bytes = b"#") -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of each line, except for blank lines, comments and headers."""
    seen = block.first > 1
    for number, line in block.lines():
        text = line.strip()
        if not text or text.startswith(comment) or text.split()[0] in (b"track", b"browser"):
            continue
        header = not seen and _is_header(line)
        seen = True
        if not header:
            yield number, line


def _is_header(line: bytes) -> bool:
    """Return whether the line names columns."""
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
        All columns of the file; the last one must be read.
    expected
        Format of the file, for messages.
    sep
        Character between columns.
    comment
        Start of lines to leave out.

    Raises
    ------
    ValueError
        If a value is not as expected; names the file, the line and the column.
    """
    parsed = parse_fields(block.data, columns, sep, comment)
    if parsed is not None:
        return Rows(block.path, block.first, len(next(iter(parsed[0].values()))), *parsed)
    # Slow path: leave out comments and headers, and find the line of an error.
    numbers, lines = [], []
    for number, line in content_lines(block, comment.encode()):
        numbers.append(number)
        lines.append(line)
    if not lines:
        empty = {c.name: np.empty(0, np.int64) for c in columns if c.kind != "skip"}
        parsed = empty, {c.name: [] for c in columns if c.kind == "text"}
    else:
        parsed = parse_fields(b"\n".join([*lines, b""]), columns, sep, comment)
    if parsed is None:
        raise _first_error(block.path, numbers, lines, columns, expected, sep)
    skipped = block.data.count(b"\n") - len(lines)
    return Rows(
        block.path, block.first, len(lines), parsed[0], parsed[1], np.array(numbers), skipped
    )


def parse_fields(
    data: bytes, columns: Sequence[Column], sep: str, comment: str
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]] | None:
    """Return values and words of the columns, or None if any line is not as expected."""
    mark, n = comment.encode(), data.count(b"\n")
    if data.startswith(mark) or b"\n" + mark in data:
        return None
    if data.count(sep.encode()) != n * (len(columns) - 1):
        return None
    # Numbers have no dtype here: with one, pandas would take 1e2 for a whole number.
    dtypes: dict[str, Any] = {"text": "category", "string": object}
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
    if len(table) != n or not _are_plain(data, used, sep):
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


def _are_plain(data: bytes, used: Mapping[int, Column], sep: str) -> bool:
    """Return whether integers are plain digits: pandas also accepts signs and white space."""
    mark = sep.encode()
    text = np.frombuffer(data, np.uint8)
    is_odd = np.zeros(256, bool)
    is_odd[[byte for byte in b"+- \v\f" if byte != mark[0]]] = True
    # Signs and white space may be part of text. They may be part of a number only if a sign begins
    # a field before a digit, or white space is at either end of a field: rare enough to look at
    # the fields of such blocks one by one.
    position = np.flatnonzero(is_odd[text])
    ends = np.frombuffer(mark + b"\n", np.uint8)
    after_end = (position == 0) | np.isin(text[position - 1], ends)
    following = text[position + 1]  # data end in a newline
    is_sign = np.isin(text[position], np.frombuffer(b"+-", np.uint8))
    before_digit = (following >= ord("0")) & (following <= ord("9"))
    if not np.where(is_sign, after_end & before_digit, after_end | np.isin(following, ends)).any():
        return True
    integers = [i for i, column in used.items() if column.kind == "integer"]
    lines = (line.split(mark) for line in data.split(b"\n")[:-1])
    return all(line[i].isdigit() for line in lines for i in integers)


def _first_error(
    path: str,
    numbers: Sequence[int],
    lines: Sequence[bytes],
    columns: Sequence[Column],
    expected: str,
    sep: str,
) -> ValueError:
    """Return the error of the first line that is not as expected."""
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
                return line_error(
                    path,
                    number,
                    f"column {i} ({column.name}) is {shown(value)}: expected {wanted}, of "
                    f"{expected}.",
                )
    return ValueError(f"{path}, lines {numbers[0]} to {numbers[-1]}: expected {expected}.")


@dataclass
class CountTable:
    """Junction counts collected from blocks of rows."""

    contigs: dict[str, int] = field(default_factory=dict)
    columns: dict[str, list[np.ndarray]] = field(default_factory=dict)
    report: Counter[str] = field(default_factory=Counter)

    def add(self, contigs: Sequence[str], contig: np.ndarray, **columns: np.ndarray) -> None:
        """Add rows; ``contig`` holds positions in ``contigs``."""
        code = [self.contigs.setdefault(name, len(self.contigs)) for name in contigs]
        columns["contig"] = np.array(code, np.int32)[contig] if len(contig) else contig
        for name, values in columns.items():
            self.columns.setdefault(name, []).append(values)

    def column(self, name: str) -> np.ndarray:
        """Return all values of a column."""
        parts = self.columns.get(name, [])
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def refuse_repeats(self, path: str, *more: str) -> None:
        """Fail if two rows have the same junction; needs the column ``line``.

        Parameters
        ----------
        path
            The file, for the message.
        more
            Further columns that must be the same.
        """
        names = ("contig", "start", "end", "strand", *more)
        keys = pd.DataFrame({name: self.column(name) for name in names})
        repeated = keys.duplicated().to_numpy()
        if not repeated.any():
            return
        i = int(repeated.argmax())
        key, lines = keys.iloc[i], self.column("line")
        first = int((keys == key).all(axis=1).to_numpy().argmax())
        contig = list(self.contigs)[key["contig"]]
        name = junction_name(contig, key["start"], key["end"], STRANDS[key["strand"]])
        raise line_error(
            path,
            int(lines[i]),
            f"repeats the junction {name} of line {lines[first]}: expected each once. Copy the "
            "file again or regenerate it.",
        )

    def file_counts(self, cells: Sequence[str]) -> FileCounts:
        """Return the counts in canonical order."""
        count = self.column("count")
        counts = file_counts(
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
            self.report["rows_summed"] = int(np.count_nonzero(count)) - counts.n_junctions
        return counts
