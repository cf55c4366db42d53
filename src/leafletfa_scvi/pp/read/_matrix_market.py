"""Entries of matrices of counts in the Matrix Market format."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from leafletfa_scvi.pp._text import (
    line_error,
    read_blocks,
    require_line_end,
    shown,
    whole_number,
)
from leafletfa_scvi.pp.read._tables import Column, parse_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leafletfa_scvi.pp._text import Block

_KINDS: Final = ("integer", "real")


@dataclass
class Matrix:
    """Entries of a Matrix Market file, 0-based, and its number of rows."""

    n_rows: int
    row: np.ndarray
    column: np.ndarray
    count: np.ndarray


def read_matrix(path: str, n_columns: int, names: str, expected: str) -> Matrix:
    """Read the entries of a matrix whose columns are the cells; check its size line.

    Parameters
    ----------
    path
        The file, gzip or not; entries are whole numbers, of 1-based rows and columns.
    n_columns
        Number of lines of the file that names the columns.
    names
        Name of that file, for messages.
    expected
        The format, as messages call it.

    Raises
    ------
    ValueError
        If the file is damaged, of another format, or of another number of columns; names the
        line.
    """
    blocks = read_blocks(path)
    size: tuple[int, int, int] | None = None
    columns: Sequence[Column] = ()
    sep, n_read = " ", 0
    found: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.int32),) * 3]
    for block in blocks:
        rest = block
        if size is None:
            size, sep, rest = _read_size(block)
            if size is None:
                continue
            if size[1] != n_columns:
                raise ValueError(
                    f"{path} has {size[1]:,} columns, and {names} beside it {n_columns:,} "
                    "lines: the files are of different runs, or one is truncated."
                )
            columns = (Column("row", low=1, high=size[0]), Column("column", low=1, high=size[1]))
            columns = (*columns, Column("count"))
        if rest.data:
            rows = parse_block(rest, columns, expected, sep=sep, comment="%")
            entry = (rows["row"] - 1, rows["column"] - 1, rows["count"])
            found.append(tuple(values.astype(np.int32) for values in entry))
            n_read += rows.n
            require_line_end(rest)
    if size is None:
        raise ValueError(f"{path} has no line of rows, columns and entries: expected {expected}.")
    if n_read != size[2]:
        raise ValueError(
            f"{path} has {n_read:,} entries: expected {size[2]:,}, as its size line says. The "
            "file is truncated or damaged."
        )
    row, column, count = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Matrix(size[0], row, column, count)


def _read_size(block: Block) -> tuple[tuple[int, int, int] | None, str, Block]:
    """Read the size line: rows, columns and entries, the separator, and the rest of the block."""
    position = 0
    for number, line in block.lines():
        position += len(line) + 1
        text = line.strip().decode(errors="replace")
        if text.startswith("%%MatrixMarket"):
            words = text.lower().split()
            if words[1:] not in (["matrix", "coordinate", kind, "general"] for kind in _KINDS):
                raise line_error(
                    block.path,
                    number,
                    f"is {shown(text)}: expected a matrix in coordinates, of integers, general.",
                )
        if not text or text.startswith("%"):
            continue
        words = text.split()
        numbers = [n for word in words if (n := whole_number(word)) is not None]
        if len(words) != 3 or len(numbers) != 3:
            raise line_error(
                block.path,
                number,
                f"is {shown(text)}: expected the number of rows, of columns and of entries.",
            )
        n_rows, n_columns, n_entries = numbers
        rest = dataclasses.replace(block, first=number + 1, data=block.data[position:])
        return (n_rows, n_columns, n_entries), "\t" if "\t" in text else " ", rest
    return None, " ", dataclasses.replace(block, data=b"")
