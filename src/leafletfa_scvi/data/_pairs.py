"""Tables of pairs of names: junctions or genes of two species."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_file

Pairs: TypeAlias = pd.DataFrame | Mapping[str, str | list[str]] | str | os.PathLike[str]
"""A table of pairs, or the file that holds it."""
PAIR_COLUMNS: Final = ("source", "target")


def read_pairs(pairs: Pairs, name: str) -> pd.DataFrame:
    """Read a table of pairs.

    Parameters
    ----------
    pairs
        A DataFrame with columns ``source`` and ``target``; a dict of one target, or a list of
        them, for each source; or a file with these columns: ``.csv``, ``.tsv`` or ``.txt`` (tabs),
        also with ``.gz``, or ``.parquet``. Rows in which one of the two is missing are left out.
    name
        Name of the argument, for messages.

    Returns
    -------
    pandas.DataFrame
        Columns ``source`` and ``target``, text. The index is the position of the row, 0-based.

    Raises
    ------
    FileNotFoundError, KeyError, TypeError, ValueError
        There is no such file, a column is missing, ``pairs`` is of another class, or it has no
        pairs.
    """
    if isinstance(pairs, str | os.PathLike):
        table, where = _read_file(os.fspath(pairs), name), f"{name} ({os.fspath(pairs)})"
    elif isinstance(pairs, pd.DataFrame):
        table, where = pairs, name
    elif isinstance(pairs, Mapping):
        series = pd.Series(dict(pairs), dtype=object)
        columns = {"source": series.index, "target": series.to_numpy()}
        table, where = pd.DataFrame(columns).explode("target"), name
    else:
        raise TypeError(
            f"Expected {name} to be a DataFrame, a dict or the path of a file, found a "
            f"{type(pairs).__name__}."
        )
    for column in PAIR_COLUMNS:
        if column not in table:
            raise KeyError(
                f"Expected a column {column!r} in {where}, found {list(table.columns)}. Rename "
                "the two columns to 'source' and 'target', .rename(columns={...: ...})."
            )
        if table.columns.tolist().count(column) > 1:
            raise ValueError(f"Expected one column {column!r} in {where}, found several.")
    values = {column: table[column].to_numpy(object) for column in PAIR_COLUMNS}
    result = pd.DataFrame(values).replace("", np.nan).dropna()
    if result.empty:
        raise ValueError(f"Expected {where} to have pairs, found none in {len(table)} rows.")
    return result.astype(str)


def _read_file(path: str, name: str) -> Any:
    """Read a table from a file whose ending names its format."""
    check_file(path, f"file of {name}")
    stem = Path(path).name.lower().removesuffix(".gz")
    separators = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
    is_parquet = stem.endswith(".parquet")
    separator = separators.get(Path(stem).suffix)
    if separator is None and not is_parquet:
        raise ValueError(
            f"Expected the file of {name} to end with .csv, .tsv, .txt (also with .gz) or "
            f".parquet, found {path!r}."
        )
    try:
        if is_parquet:
            return pd.read_parquet(path)
        return pd.read_csv(path, sep=separator, dtype=str)
    except (EOFError, OSError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as a table: {error}. Expected a table with the columns source "
            f"and target{'' if is_parquet else ' in its first line'}."
        ) from error
