"""Tables of cells, with columns for ``obs``."""

from __future__ import annotations

import csv
import io
import os
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import CELL_METRICS
from leafletfa_scvi.pp._text import read_blocks
from leafletfa_scvi.pp.read._sources import check_columns, check_rows

if TYPE_CHECKING:
    from anndata import AnnData

_CELL = "cell"


def annotate_cells(
    adata: AnnData,
    table: pd.DataFrame | str | os.PathLike[str],
    *,
    cell_column: str | None = None,
) -> None:
    """Add the columns of a table of cells, such as cell types and donors, to ``obs``.

    Parameters
    ----------
    adata
        Junction counts or a splicing data set.
    table
        One row for each cell: a DataFrame, or a ``.csv`` file with commas or any other one with
        tabs, and a header. Cells that are not in ``adata`` are ignored.
    cell_column
        Column with the names of cells, such as ``"sample.id"`` in the tables of MARVEL. If None,
        ``"cell"``, or, if a DataFrame has no such column, its index.

    Returns
    -------
    None
        Columns are added to ``adata.obs``; text becomes categories.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is malformed; there is no such column; a cell has no name or is listed twice;
        none of the cells is in the table; or ``obs`` already has one of the columns.

    Warns
    -----
    UserWarning
        If cells are not in the table: their values are missing.
    """
    check_anndata(adata)
    add_cell_columns(adata, read_cell_table(table, cell_column))


def read_cell_table(
    table: pd.DataFrame | str | os.PathLike[str], cell_column: str | None = None
) -> pd.DataFrame:
    """Return a table of cells whose index are their names, checked; see :func:`annotate_cells`."""
    if isinstance(table, pd.DataFrame):
        what, frame = "The table of cells", table
    else:
        what = os.fspath(table)
        frame = _read_file(what, cell_column or _CELL)
    check_columns(frame.columns, what)
    by_index = cell_column is None and isinstance(table, pd.DataFrame) and _CELL not in frame
    if by_index:
        names, column = frame.index, "its index"
    else:
        column = _CELL if cell_column is None else cell_column
        if column not in frame:
            raise ValueError(
                f"{what} has the columns {list(frame.columns)}: expected {column!r} with the "
                "names of cells. Name another one with cell_column (--cell-column)."
            )
        names = pd.Index(frame[column])
        frame = frame.drop(columns=column)
    unnamed = names.isna() | (names.astype(str).str.strip() == "")
    if unnamed.any():
        raise ValueError(f"{what} has no name of a cell in row {int(unnamed.argmax()) + 1}.")
    index = names.astype(str)
    if index.has_duplicates:
        raise ValueError(
            f"{what} lists the cell {index[index.duplicated()][0]!r} twice in {column}: expected "
            "each cell once."
        )
    taken = [name for name in frame if name in CELL_METRICS]
    if taken:
        raise ValueError(
            f"{what} has a column {taken[0]!r}, the name of a measure that is written to obs for "
            f"each cell, as are {', '.join(CELL_METRICS)}: rename the column."
        )
    return frame.set_axis(index)


def _read_file(path: str, cell_column: str) -> pd.DataFrame:
    """Read a file, every row of which has as many fields as its header; names remain text."""
    separator = "," if path.endswith((".csv", ".csv.gz")) else "\t"
    blocks = list(read_blocks(path))
    try:
        text = b"".join(block.data for block in blocks).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text: expected a table of cells.") from None
    rows = csv.reader(io.StringIO(text), delimiter=separator)
    check_rows(path, rows, "a table of cells")
    header: list[str] = next(csv.reader(io.StringIO(text), delimiter=separator), [])
    if not header:
        raise ValueError(f"{path} is empty: expected a table of cells with a header.")
    check_columns(header, path)
    options: dict[str, Any] = {"sep": separator, "index_col": False, "dtype": {cell_column: str}}
    try:
        table: pd.DataFrame = pd.read_csv(io.StringIO(text), usecols=range(len(header)), **options)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read as a table of cells: {str(error).strip()}"
        ) from error
    return table


def add_cell_columns(adata: AnnData, table: pd.DataFrame) -> None:
    """Add the columns of a checked table of cells to ``adata.obs``."""
    taken = [name for name in table if name in adata.obs]
    if taken:
        raise ValueError(
            f"adata.obs already has the column {taken[0]!r}: rename that of the table of cells."
        )
    position = table.index.get_indexer(adata.obs_names.astype(str))
    n_missing = int((position < 0).sum())
    if n_missing == adata.n_obs:
        cell, listed = ([*names[:1], None][0] for names in (adata.obs_names, table.index))
        raise ValueError(
            f"None of the {adata.n_obs:,} cells, such as {cell!r}, is in the table of cells, "
            f"which has {listed!r}: expected the names of adata.obs."
        )
    if n_missing:
        example = adata.obs_names[int((position < 0).argmax())]
        warnings.warn(
            f"{n_missing:,} of {adata.n_obs:,} cells, such as {example!r}, are not in the table "
            "of cells: their values are missing.",
            UserWarning,
            stacklevel=3,
        )
    for name in table:
        values = table[name].reset_index(drop=True)
        is_text = pd.api.types.infer_dtype(values, skipna=True) == "string"
        if n_missing and values.dtype == bool:
            values = values.astype("boolean")
        values = values.reindex(position).set_axis(adata.obs_names)
        adata.obs[name] = values.astype("category") if is_text else values
