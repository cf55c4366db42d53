"""Columns of long tables of junction counts: which is which, and their contents block by block."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from leafletfa_scvi.pp._codes import FORWARD, REVERSE, UNSTRANDED
from leafletfa_scvi.pp._text import line_error, read_blocks, require_line_end, shown
from leafletfa_scvi.pp.read._tables import MAX_INTEGER, Column, parse_block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leafletfa_scvi.pp._text import Block

PARQUET: Final = b"PAR1"
"""First bytes of a Parquet file."""
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "cell": ("cell", "barcode", "cell_barcode", "cell_id"),
    "chrom": ("chrom", "chr", "chromosome", "contig", "seqname", "seqnames"),
    "start": ("start",),
    "end": ("end",),
    "strand": ("strand",),
    "count": ("count", "counts", "reads", "n_reads", "umis", "n_umis"),
}
"""Names of columns in files by which each is recognized."""
_STRANDS: Final = {
    **{"+": FORWARD, "-": REVERSE},
    **dict.fromkeys(("?", ".", "*", "NA"), UNSTRANDED),
}
_QUOTED: Final = {
    sep: re.compile(rf'(?<![^{sep}\n])"([^"{sep}\n]*)"(?![^{sep}\n])'.encode()) for sep in "\t,"
}
"""Whole fields in quotes, by separator."""
_EXPECTED: Final = "a long table of junction counts"
_BATCH: Final = 1 << 18


@dataclass(frozen=True)
class TableColumns:
    """How to read a long table.

    Attributes
    ----------
    names
        Pairs of ``cell``, ``chrom``, ``start``, ``end``, ``strand`` or ``count`` and the name of
        the column in the file; others go by ``NAMES``.
    zero_based
        If True, the first base of an intron is ``start + 1`` and the last ``end``, as in BED.
    """

    names: tuple[tuple[str, str], ...] = ()
    zero_based: bool = False


@dataclass(frozen=True)
class Part:
    """Rows of a long table, checked.

    Attributes
    ----------
    words
        Distinct names of ``cell`` and ``chrom``.
    codes
        ``(n,)`` position in ``words`` of each row.
    start, end
        ``(n,)`` first and last base of the intron, 1-based and inclusive.
    strand
        ``(n,)`` position in ``STRANDS``.
    count
        ``(n,)`` non-negative whole numbers.
    lines
        ``(n,)`` 1-based numbers of the lines, or of the rows of a Parquet file.
    """

    words: dict[str, list[str]]
    codes: dict[str, np.ndarray]
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    count: np.ndarray
    lines: np.ndarray


def table_columns_of(names: Mapping[str, str] | None, zero_based: bool = False) -> TableColumns:
    """Check the names of columns.

    Raises
    ------
    TypeError
        If they are no mapping.
    ValueError
        If one is of none of the fields, no text, or given twice.
    """
    if names is not None and not isinstance(names, Mapping):
        raise TypeError(
            f"Expected the names of columns as a dict such as {{'cell': 'barcode'}}, found a "
            f"{type(names).__name__}."
        )
    taken: dict[str, str] = {}
    for key, name in (names or {}).items():
        if key not in NAMES:
            raise ValueError(
                f"Expected columns of a long table to be any of {', '.join(NAMES)}, found {key!r}."
            )
        if not isinstance(name, str) or not name:
            raise ValueError(f"Expected the name of the column of {key!r}, found {name!r}.")
        if name in taken:
            raise ValueError(f"The column {name!r} is given for both {taken[name]!r} and {key!r}.")
        taken[name] = key
    return TableColumns(tuple((names or {}).items()), bool(zero_based))


def is_header(fields: Sequence[str]) -> bool:
    """Return whether fields of a line, split at tabs, name the columns of a long table."""
    names = set(_header(fields if len(fields) > 1 else fields[0].split(",")))
    return all(names & {*known} for field, known in NAMES.items() if field != "strand")


def read_parts(path: str, columns: TableColumns) -> Iterator[Part]:
    """Yield the rows of a long table, in bounded memory.

    Raises
    ------
    ValueError
        If a column is missing or a value is not as expected; names the line or row. Or if the
        file is Parquet and pyarrow is not installed.
    """
    with open(path, "rb") as file:
        is_parquet = file.read(len(PARQUET)) == PARQUET
    yield from (_parquet_parts if is_parquet else _text_parts)(path, columns)


def _header(fields: Sequence[str]) -> list[str]:
    """Return names of columns without quotes, and without the mark of a comment."""
    names = [name.strip().strip('"') for name in fields]
    names[0] = names[0].removeprefix("#").strip()
    return names


def _positions(where: str, header: Sequence[str], columns: TableColumns) -> dict[str, int]:
    """Return the position of each field in the header."""
    repeated = [name for i, name in enumerate(header) if name and name in header[:i]]
    if repeated:
        raise ValueError(f"{where} has the column {repeated[0]!r} twice: rename or drop one.")
    given, positions = dict(columns.names), {}
    for field, known in NAMES.items():
        wanted = (given[field],) if field in given else known
        found = [name for name in wanted if name in header]
        if len(found) > 1:
            raise ValueError(
                f"{where} has the columns {found[0]!r} and {found[1]!r}, either of which may be "
                f"the {field}: {_remedy(field)}."
            )
        if found:
            positions[field] = header.index(found[0])
        elif field != "strand" or field in given:
            raise ValueError(
                f"{where} has the columns {list(header)}: expected {wanted[0]!r} for the {field}. "
                f"Otherwise, {_remedy(field)}."
            )
    return positions


def _remedy(field: str) -> str:
    return f"name it, as columns={{{field!r}: NAME}} (--table-column {field}=NAME) does"


def _text_parts(path: str, columns: TableColumns) -> Iterator[Part]:
    """Yield the rows of a text file with a header, divided by tabs or else by commas."""
    header: list[str] = []
    positions: dict[str, int] = {}
    sep, layout = "\t", list[Column]()
    for block in read_blocks(path):
        rest = block
        if not header:
            number, line, rest = _first_line(block)
            if not number:
                continue
            try:
                text = line.decode()
            except UnicodeDecodeError:
                raise line_error(path, number, f"is not UTF-8: expected {_EXPECTED}.") from None
            sep = "\t" if "\t" in text else ","
            header = _header(text.split(sep))
            positions = _positions(f"{path}, line {number}", header, columns)
            layout = _layout(header, positions, columns.zero_based)
        require_line_end(block)
        if rest.data:
            yield _text_part(rest, layout, positions, sep, columns.zero_based)
    if not header:
        raise ValueError(f"{path} is empty: expected {_EXPECTED} with a header.")


def _first_line(block: Block) -> tuple[int, bytes, Block]:
    """Return number and bytes of the first line that is not blank, and the rest; 0 if none is."""
    position = 0
    for number, line in block.lines():
        position += len(line) + 1
        if line.strip():
            rest = dataclasses.replace(block, first=number + 1, data=block.data[position:])
            return number, line, rest
    return 0, b"", block


def _layout(header: Sequence[str], positions: dict[str, int], zero_based: bool) -> list[Column]:
    """Return the expected contents of all columns."""
    field_at = {position: field for field, position in positions.items()}
    kinds: dict[str, Any] = {
        "cell": {"kind": "text"},
        "chrom": {"kind": "text"},
        "strand": {"kind": "text", "values": _STRANDS},
        "start": {"low": int(not zero_based)},
    }
    return [
        Column(name, **kinds.get(field_at[i], {})) if i in field_at else Column(name, "skip")
        for i, name in enumerate(header)
    ]


def _text_part(
    block: Block, layout: Sequence[Column], positions: dict[str, int], sep: str, zero_based: bool
) -> Part:
    """Return the rows of a block."""
    if b'"' in block.data:  # of R's write.table; a name with a separator has a wrong width then
        block = dataclasses.replace(block, data=_QUOTED[sep].sub(rb"\1", block.data))
    _check_width(block, len(layout), sep)
    rows = parse_block(block, layout, _EXPECTED, sep=sep)
    name = {field: layout[position].name for field, position in positions.items()}
    start, end = rows[name["start"]] + int(zero_based), rows[name["end"]]
    what = (
        "an end after the start" if zero_based else "an intron that ends where it begins or later"
    )
    rows.require(start <= end, what, name["start"], name["end"])
    strand = name.get("strand")
    return Part(
        words={field: rows.words[name[field]] for field in ("cell", "chrom")},
        codes={field: rows[name[field]] for field in ("cell", "chrom")},
        start=start,
        end=end,
        strand=np.full(rows.n, UNSTRANDED, np.int8) if strand is None else rows[strand],
        count=rows[name["count"]],
        lines=rows.lines,
    )


def _check_width(block: Block, width: int, sep: str) -> None:
    """Refuse a line of another width: columns that are not read would hide it."""
    text = np.frombuffer(block.data, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    n = np.diff(np.searchsorted(np.flatnonzero(text == ord(sep)), ends), prepend=0) + 1
    for i in np.flatnonzero(n != width).tolist():
        line = block.data[0 if i == 0 else ends[i - 1] + 1 : ends[i]]
        if line.strip() and not line.startswith(b"#"):
            more = " Write it without row names." if n[i] == width + 1 else ""
            raise line_error(
                block.path,
                block.first + i,
                f"has {n[i]} columns, and the header {width}: expected {_EXPECTED}.{more}",
            )


def _parquet_parts(path: str, columns: TableColumns) -> Iterator[Part]:
    """Yield the rows of a Parquet file."""
    if find_spec("pyarrow") is None:
        raise ValueError(
            f"{path} is a Parquet file: expected pyarrow, which reads it, found it not installed. "
            "pip install 'leafletfa-scvi[parquet]', or write the table as .csv.gz."
        )
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            header = list(file.schema_arrow.names)
            positions = _positions(path, header, columns)
            used = {field: header[i] for field, i in positions.items()}
            first = 1
            for batch in file.iter_batches(_BATCH, columns=list(used.values())):
                values = {field: batch.column(name) for field, name in used.items()}
                yield _parquet_part(path, first, values, used, columns.zero_based)
                first += len(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{path} is damaged or no Parquet file: {str(error).strip()} Copy it again or "
            "regenerate it."
        ) from error


def _parquet_part(
    path: str, first: int, values: dict[str, Any], used: dict[str, str], zero_based: bool
) -> Part:
    """Return the rows of a batch; ``values`` are Arrow arrays by field."""
    import pyarrow as pa

    def require(good: np.ndarray, field: str, expected: str) -> None:
        if not good.all():
            i = int(good.argmin())
            raise ValueError(
                f"{path}, row {first + i}: {used[field]} is {shown(str(values[field][i]))}: "
                f"expected {expected}."
            )

    words: dict[str, list[str]] = {}
    codes: dict[str, np.ndarray] = {}
    numbers: dict[str, np.ndarray] = {}
    for field, array in values.items():
        require(~np.asarray(array.is_null()), field, "no missing value")
        if field in ("cell", "chrom", "strand"):
            text = array.cast(pa.string()).dictionary_encode()
            words[field] = text.dictionary.to_pylist()
            codes[field] = text.indices.to_numpy(zero_copy_only=False)
            empty = np.array([not word for word in words[field]], bool)
            require(~empty[codes[field]], field, "some text")
            continue
        low = int(field == "start" and not zero_based)
        expected = f"a whole number from {low:,} to {MAX_INTEGER:,}"
        number = np.asarray(array)
        if number.dtype.kind not in "iuf":
            require(np.zeros(len(number), bool), field, expected)
        require((number >= low) & (number <= MAX_INTEGER) & (number % 1 == 0), field, expected)
        numbers[field] = number.astype(np.int64)
    strand = np.full(len(numbers["start"]), UNSTRANDED, np.int8)
    if "strand" in words:
        known = np.array([word in _STRANDS for word in words["strand"]], bool)
        require(known[codes["strand"]], "strand", " or ".join(map(repr, _STRANDS)))
        code = np.array([_STRANDS[word] for word in words["strand"]], np.int8)
        strand = code[codes["strand"]]
    start, end = numbers["start"] + int(zero_based), numbers["end"]
    require(start <= end, "end", f"no end before the start, {used['start']}")
    return Part(
        words={field: words[field] for field in ("cell", "chrom")},
        codes={field: codes[field] for field in ("cell", "chrom")},
        start=start,
        end=end,
        strand=strand,
        count=numbers["count"],
        lines=first + np.arange(len(start)),
    )
