"""Input files and their cells, from paths, folders, lists and tables of files."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import stat
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import pandas as pd

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi._constants import CELL_METRICS
from leafletfa_scvi.pp._text import line_error, read_blocks
from leafletfa_scvi.pp.read._detect import cell_name, detect_format
from leafletfa_scvi.pp.read._folders import expand_folder, expand_pattern, refuse_by_product
from leafletfa_scvi.pp.read._formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leafletfa_scvi.pp.read._formats import InputFormat

Inputs: TypeAlias = str | os.PathLike[str] | pd.DataFrame | Iterable[str | os.PathLike[str]]

_TABLES: Final = (".tsv", ".csv", ".txt")


@dataclass(frozen=True)
class Source:
    """One input file.

    Attributes
    ----------
    path
        Absolute path of a file, or of a STARsolo folder.
    format
        One of ``FORMATS``.
    cell
        Name of the cell, if the file holds one cell.
    sample
        Name of the sample, if given.
    lanes
        Absolute paths of further files of the same sample, read together with this one.
    """

    path: str
    format: InputFormat
    cell: str
    sample: str | None = None
    lanes: tuple[str, ...] = ()


def find_sources(inputs: Inputs, format: InputFormat | Literal["auto"] = "auto") -> SourceList:
    """List the input files.

    Parameters
    ----------
    inputs
        A file; a folder (its files of known endings, or STARsolo folders); a pattern such as
        ``"cells/*.bam"``; a table of files: a DataFrame, or a ``.tsv``, ``.csv`` or ``.txt`` file,
        with the columns ``path`` and, if wanted, ``cell``, ``sample``, ``format`` and further
        columns for ``obs``, or without a header the path and, if wanted, the cell; or a list of
        any of these but DataFrames. Paths in a table file are relative to its folder.
    format
        InputFormat of all files, but those with one in a table; of a folder or pattern it chooses
        the files. Found out from name and content by default.

    Raises
    ------
    FileNotFoundError
        A path or pattern matches nothing.
    ValueError
        A format is unknown; a file is named twice; a file that was named is a by-product of
        STAR; or a folder or pattern has alignments and junction files and no format is given.

    Warns
    -----
    UserWarning
        By-products of STAR in a folder or pattern are skipped.
    """
    numbers = getattr(getattr(inputs, "dtype", None), "kind", "O") in "biufc"
    if numbers or hasattr(inputs, "obs_names"):
        raise TypeError(
            f"Expected the names of files, or a table of them, found a {type(inputs).__name__}."
        )
    check_one_of("format", format, ("auto", *FORMATS))
    if isinstance(inputs, pd.DataFrame):
        table = _from_table(inputs, Path.cwd(), "the table of files")
    else:
        many = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
        tables = [_expand(os.fspath(one), format) for one in many]
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"path": []})
    if table.empty:
        raise FileNotFoundError("There is no input file: name files, folders or a table of files.")
    table["path"] = [os.path.abspath(path) for path in table["path"]]
    _check_distinct(table)
    return SourceList.of(table, format)


@dataclass(frozen=True)
class SourceList:
    """Input files in their order, with the further columns of a table of files.

    Attributes
    ----------
    sources
        The files.
    annotation
        One row for each file: further columns of the table of files.
    """

    sources: tuple[Source, ...]
    annotation: pd.DataFrame

    @classmethod
    def of(cls, table: pd.DataFrame, format: InputFormat | Literal["auto"]) -> SourceList:
        """List the files of a table with absolute paths."""
        sources = []
        for row in table.to_dict("records"):
            path = row["path"]
            if not os.path.exists(path):
                raise FileNotFoundError(f"There is no file {path}.")
            given = {
                key: str(row[key])
                for key in ("cell", "sample", "format")
                if key in row and not pd.isna(row[key])
            }
            said: Any = given.get("format", format)
            if said not in ("auto", *FORMATS):
                raise ValueError(
                    f"The table of files gives {path} the format {said!r}: expected 'auto' or "
                    f"one of {tuple(FORMATS)}. A column for obs needs another name than 'format'."
                )
            kind: InputFormat = detect_format(path) if said == "auto" else said
            cell = given.get("cell", cell_name(path, FORMATS[kind].name_endings))
            sources.append(Source(path, kind, cell, given.get("sample")))
        more = table.drop(columns=["path", "cell", "sample", "format"], errors="ignore")
        return cls(tuple(sources), more.reset_index(drop=True))


def _expand(name: str, format: str) -> pd.DataFrame:
    """Return the table of the files that one input names."""
    path = Path(name)
    if not path.exists():
        if path.is_symlink():
            raise FileNotFoundError(f"{name} is a link that leads to no file.")
        return pd.DataFrame({"path": expand_pattern(name, format)})
    refuse_by_product(path)
    if path.is_dir():
        return pd.DataFrame({"path": expand_folder(path, format)})
    if path.suffix in _TABLES and (table := _read_table(path)) is not None:
        return table
    return pd.DataFrame({"path": [name]})


def _read_table(path: Path) -> pd.DataFrame | None:
    """Read the table of files; None if the first field of the file names no file."""
    separator = "," if path.suffix == ".csv" else "\t"
    blocks = read_blocks(str(path))
    try:
        text = next((block.data.decode() for block in blocks), "")
    except ValueError:  # the reader of the format that it may be of says what is wrong
        return None
    first = next(csv.reader(filter(str.strip, text.splitlines()), delimiter=separator), [""])
    has_header = "path" in first
    if has_header:
        check_columns(first, str(path))
    if not has_header and not (first[0] and (path.parent / first[0]).exists()):
        return None
    header = 0 if has_header else None
    options: dict[str, Any] = {"dtype": str, "index_col": False, "skip_blank_lines": True}
    text += "".join(block.data.decode() for block in blocks)
    check_rows(str(path), csv.reader(io.StringIO(text), delimiter=separator), "a table of files")
    try:
        with warnings.catch_warnings():  # of a row that is longer than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(io.StringIO(text), sep=separator, header=header, **options)
    except (ValueError, pd.errors.ParserWarning) as error:
        raise ValueError(
            f"{path} cannot be read as a table of files: {str(error).strip()}"
        ) from error
    if table.empty:
        raise ValueError(f"{path} lists no file: expected a row for each.")
    if not has_header:
        names = ["path", "cell", *(f"column_{i + 1}" for i in range(2, table.shape[1]))]
        table.columns = names[: table.shape[1]]
    return _from_table(table, path.parent, str(path))


def check_rows(path: str, rows: Any, expected: str) -> None:
    """Check that rows have as many fields as the first, except for empty ones at their ends.

    Parameters
    ----------
    path
        The file, for messages.
    rows
        A reader of the module csv.
    expected
        What the file should be, for messages.
    """
    width, number = 0, 1
    for row in rows:
        first, number = number, rows.line_num + 1
        if not any(field.strip() for field in row):
            continue
        width = width or len(row)
        if len(row) < width or any(row[width:]):
            raise line_error(
                path,
                first,
                f"has {len(row)} fields, the first line {width}: expected {expected}, every "
                "row of as many fields as the first.",
            )


def check_columns(names: Iterable[Any], what: str) -> None:
    """Check that no column is repeated."""
    named = [name for name in names if name != ""]
    repeated = [name for i, name in enumerate(named) if name in named[:i]]
    if repeated:
        raise ValueError(f"{what} has the column {repeated[0]!r} twice: rename or drop one.")


def _from_table(table: pd.DataFrame, folder: Path, what: str) -> pd.DataFrame:
    """Copy a table of files, with paths that do not depend on its folder."""
    check_columns(table.columns, what)
    if "path" not in table:
        raise ValueError(f"{what} has the columns {list(table.columns)}: expected 'path'.")
    missing = table.index[table["path"].isna()]
    if len(missing):
        raise ValueError(f"{what} names no path in row {missing[0]}.")
    table = table.assign(path=[str(folder / os.fspath(path)) for path in table["path"]])
    for path in table["path"]:
        refuse_by_product(path)
    taken = [name for name in table if name in CELL_METRICS]
    if taken:
        raise ValueError(
            f"{what} has a column {taken[0]!r}, the name of a measure that is written to obs for "
            f"each cell, as are {', '.join(CELL_METRICS)}: rename the column."
        )
    return table


def _check_distinct(table: pd.DataFrame) -> None:
    """Check that no file is listed twice."""
    seen: dict[Any, str] = {}
    for path in table["path"]:
        earlier = seen.setdefault(os.path.realpath(path), path)
        if earlier is not path:
            raise ValueError(f"The file {path} is named more than once.")
        if (number := _file_number(path)) is not None:
            earlier = seen.setdefault(number, path)
            if earlier is not path:
                raise ValueError(f"{earlier} and {path} are hard links to one file: name one.")


def _file_number(path: str) -> tuple[int, int] | None:
    """Return what hard links to one file have in common; None if it has a single name."""
    try:
        found = os.stat(path)
    except OSError:  # reported by the reader
        return None
    is_linked = stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and found.st_ino
    return (found.st_dev, found.st_ino) if is_linked else None


def check_cells(sources: Sequence[Source]) -> None:
    """Check that no two files are the same cell, unless a table gives both the same sample.

    Raises
    ------
    ValueError
        If two files are; names both.
    """
    seen: dict[tuple[str, str | None], Source] = {}
    for source in sources:
        earlier = seen.setdefault((source.cell, source.sample), source)
        if earlier is source:
            continue
        both = f"{earlier.path} and {source.path} would both be the cell {source.cell!r}"
        if earlier.format != source.format:
            raise ValueError(
                f"{both}, of the formats {earlier.format!r} and {source.format!r}: reads would be "
                "counted twice. Name one of them, or a folder and format= (--format), which "
                "chooses its files."
            )
        if source.sample is None:
            raise ValueError(
                f"{both}. Name cells in a table of files with the columns path and cell; files of "
                "one cell that belong together need the same cell and sample in it."
            )


def list_files(inputs: Inputs, format: InputFormat | Literal["auto"] = "auto") -> pd.DataFrame:
    """List the input files, as a table of files that the readers take.

    Parameters
    ----------
    inputs, format
        As in :func:`read_junctions`.

    Returns
    -------
    DataFrame
        One row for each file: ``path`` (absolute), ``format``, ``cell`` (its name if the file
        holds one cell), ``sample`` if any was given, and further columns of a table of files.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`, before any file is read in full.

    Warns
    -----
    UserWarning
        If files that STAR or IsoQuant writes beside its results are skipped in a folder or
        pattern.
    """
    listed = find_sources(inputs, format)
    names = ["path", "format", "cell"]
    if any(source.sample is not None for source in listed.sources):
        names.append("sample")
    table = pd.DataFrame(
        {name: [getattr(source, name) for source in listed.sources] for name in names}
    )
    return pd.concat([table, listed.annotation], axis=1)


def join_lanes(listed: SourceList, *, by_cell: bool = False) -> SourceList:
    """Join the BAM files of each sample into one input, so that a UMI in several counts once.

    For files whose UMIs are counted, of many cells, or of one cell each (``by_cell``). Columns
    of a table of files are taken from the first file of a sample.
    """
    first: dict[tuple[str, str], int] = {}
    lanes: dict[int, list[str]] = {}
    for i, source in enumerate(listed.sources):
        if FORMATS[source.format].is_alignment:
            sample = source.sample or source.cell
            of_sample = first.setdefault((sample, source.cell if by_cell else ""), i)
            lanes.setdefault(of_sample, []).append(source.path)
        else:
            lanes[i] = [source.path]
    joined = tuple(
        dataclasses.replace(listed.sources[i], lanes=tuple(paths[1:]))
        for i, paths in lanes.items()
    )
    return SourceList(joined, listed.annotation.iloc[list(lanes)].reset_index(drop=True))
