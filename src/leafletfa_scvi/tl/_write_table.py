"""Tables of results as text or Parquet files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from leafletfa_scvi._files import replacing
from leafletfa_scvi.pp.write._outputs import check_targets

if TYPE_CHECKING:
    import os

TABLE_SUFFIXES: Final = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


def write_table(
    table: pd.DataFrame, path: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write a table of results, such as that of ``differential_splicing``, to a file.

    The index becomes the first column, unless it is a plain numbering of the rows. Numbers are
    written with all their digits, and missing values as empty fields. A Parquet file also keeps
    the types of the columns, such as categories.

    Parameters
    ----------
    table
        The table.
    path
        File to write. Its ending names the format: ``.csv`` or ``.tsv``, compressed with ``.gz``,
        or ``.parquet``, which needs pyarrow (``pip install 'leafletfa-scvi[parquet]'``). It is
        written whole or not at all.
    overwrite
        If True, replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists, unless ``overwrite``.
    ImportError
        If ``path`` ends with ``.parquet`` and pyarrow is not installed.
    TypeError
        If ``table`` is not a data frame.
    ValueError
        If the name ends otherwise, or names of columns are not texts or not distinct.

    Examples
    --------
    >>> import pandas as pd
    >>> import leafletfa_scvi as lfa
    >>> table = pd.DataFrame({"effect_size": [0.5]}, index=pd.Index(["a"], name="junction"))
    >>> lfa.tl.write_table(table, "table.csv")  # doctest: +SKIP
    """
    suffix = table_suffix(path)
    frame = _flat(table)
    (target,) = check_targets([path], overwrite)
    with replacing(target) as (staged,):
        if suffix == ".parquet":
            frame.to_parquet(staged, engine="pyarrow", index=False)
            return
        sep = "\t" if suffix.startswith(".tsv") else ","
        # The bytes depend on the content alone, not on the time.
        gzip = {"method": "gzip", "compresslevel": 6, "mtime": 0}
        compression = gzip if suffix.endswith(".gz") else None
        frame.to_csv(staged, sep=sep, index=False, compression=compression)


def table_suffix(path: str | os.PathLike[str]) -> str:
    """Return the ending of a file name that is one of those of tables and can be written.

    Raises
    ------
    ImportError
        It is ``.parquet``, and pyarrow is not installed.
    ValueError
        It is none of them.
    """
    name = Path(path).name.lower()
    found = [suffix for suffix in TABLE_SUFFIXES if name.endswith(suffix)]
    if not found:
        *others, last = TABLE_SUFFIXES
        raise ValueError(
            f"Expected path to end with {', '.join(others)} or {last}, found {str(path)!r}. "
            "Choose one of these formats."
        )
    if found[0] == ".parquet" and find_spec("pyarrow") is None:
        raise ImportError(
            "Expected pyarrow, which writes .parquet files, found it not installed. "
            "pip install 'leafletfa-scvi[parquet]', or write .csv.gz."
        )
    return found[0]


def _flat(table: Any) -> pd.DataFrame:
    """Return the table with its index as columns, checked."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"Expected table to be a pandas.DataFrame, found {type(table).__name__}.")
    is_numbering = isinstance(table.index, pd.RangeIndex) and table.index.name is None
    index = [] if is_numbering else [name or "index" for name in table.index.names]
    names = [*index, *table.columns]
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(
            f"Expected names of columns to be texts, found {wrong[0]!r}. Rename it, "
            "table.rename(columns=str)."
        )
    if len(set(names)) < len(names):
        name = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(
            f"Expected names of columns, and of the index, to be distinct, found {name!r} twice. "
            "Rename one of them."
        )
    return table if is_numbering else table.rename_axis(index).reset_index()
