"""Names that a caller chooses: programs, comparisons, batches, junctions."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

_LISTED = 5


def choose(argument: str, wanted: str | Iterable[Any] | None, known: Iterable[Any]) -> list[str]:
    """Return the names that are wanted, in their order, or all names if None.

    Parameters
    ----------
    argument
        Name of the argument, for messages.
    wanted
        A name or names.
    known
        All names, as text or numbers.

    Raises
    ------
    KeyError
        A name is not known; the message offers the nearest.
    ValueError
        None is wanted, or one is wanted twice.
    """
    names = [str(name) for name in known]
    if wanted is None:
        return names
    chosen = [wanted] if isinstance(wanted, str) else [str(name) for name in wanted]
    if not chosen:
        raise ValueError(
            f"Expected {argument} to have at least one name, found an empty list. Leave it out "
            "to draw all."
        )
    position = set(names)
    unknown = [name for name in chosen if name not in position]
    if unknown:
        near = get_close_matches(unknown[0], names, 3)
        offer = f"There are {_listed(names)}."
        if near:
            offer = f"The nearest {'are' if near[1:] else 'is'} {', '.join(map(repr, near))}."
        raise KeyError(f"Expected {argument} to name what there is, found {unknown[0]!r}. {offer}")
    repeated = pd.Index(chosen)[pd.Index(chosen).duplicated()]
    if len(repeated):
        raise ValueError(f"Expected {argument} to be different, found {repeated[0]!r} twice.")
    return chosen


def check_table(argument: str, table: Any, columns: Iterable[str], source: str) -> pd.DataFrame:
    """Return a table if it has some columns and rows.

    Parameters
    ----------
    argument
        Name of the argument.
    table
        Value given for it.
    columns
        Names of the columns that it must have.
    source
        What returns such tables, for messages.

    Raises
    ------
    TypeError
        It is not a DataFrame.
    ValueError
        It has no rows.
    KeyError
        A column is missing.
    """
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            f"Expected {argument} to be the table of {source}, found a {type(table).__name__}."
        )
    missing = [column for column in columns if column not in table]
    if missing:
        raise KeyError(
            f"Expected {argument} to be the table of {source}, with a column {missing[0]!r}, "
            f"found {_listed(list(map(str, table.columns)))}."
        )
    if not len(table):
        raise ValueError(
            f"Expected {argument} to have rows, found none. Pass the table of {source} before "
            "rows are selected."
        )
    return table


def called_rows(table: pd.DataFrame, prefix: str) -> tuple[pd.Series, str]:
    """Return which rows a test calls, and the bound on false discoveries, as ``"FDR 0.05"``.

    Parameters
    ----------
    table
        Table with a column such as ``is_ds_fdr_0.05``; without one, no row is called.
    prefix
        Beginning of the name of the column.
    """
    columns = [c for c in table.columns if str(c).startswith(prefix)]
    if not columns:
        return pd.Series(False, index=table.index), ""
    return table[columns[0]].eq(True), f"FDR {str(columns[0]).removeprefix(prefix)}"


def label_texts(table: pd.DataFrame, junctions: list[str], label: str) -> list[str]:
    """Return labels of junctions: what a column says, such as genes, else the junction.

    Where several junctions have the same label, they are named, too.

    Raises
    ------
    KeyError
        The table has no such column, other than ``"gene_name"``, the default.
    """
    if label not in table:
        if label == "gene_name":
            return junctions
        raise KeyError(
            f"Expected label to be a column of the table, {_listed(list(map(str, table)))}, found "
            f"{label!r}."
        )
    given = table[label].set_axis(table.index.astype(str))
    names = given[~given.index.duplicated()].reindex(junctions)
    repeated = names.duplicated(keep=False)
    texts = []
    for junction, name, twice in zip(junctions, names, repeated, strict=True):
        if pd.isna(name) or str(name) == "" or (twice and junction.startswith(str(name))):
            texts.append(junction)
        else:
            texts.append(f"{name} {junction}" if twice else str(name))
    return texts


def _listed(names: list[str]) -> str:
    text = ", ".join(map(repr, names[:_LISTED]))
    return f"{text} and {len(names) - _LISTED:,} more" if len(names) > _LISTED else text
