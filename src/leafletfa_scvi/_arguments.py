"""Checks of arguments that functions of several parts share."""

from __future__ import annotations

from numbers import Real
from typing import Any


def check_numbers(**values: Any) -> None:
    """Refuse values that are no numbers, given by the names of their arguments; None may stand.

    Raises
    ------
    TypeError
        One is a text, such as ``"5"``, a list or the like.
    """
    for name, value in values.items():
        is_scalar = getattr(value, "ndim", None) == 0 and value.dtype.kind in "buif"
        if not (value is None or isinstance(value, Real) or is_scalar):
            raise TypeError(f"Expected {name} to be a number, found {value!r}.")


def check_column(name: str, column: Any, slot: str = "obs") -> str:
    """Name of one column of ``adata.obs`` (or ``var``), given for the argument ``name``.

    Raises
    ------
    TypeError
        It is not a text, such as a list of columns.
    """
    if isinstance(column, str):
        return column
    several = isinstance(column, list | tuple | set) or hasattr(column, "__array__")
    remedy = (
        f"Join several columns into one first, as adata.{slot}['both'] = "
        f"adata.{slot}['a'].astype(str) + '_' + adata.{slot}['b'].astype(str)."
        if several and len(column) != 1
        else "Pass the name of the column alone, as a string."
    )
    raise TypeError(
        f"Expected {name} to be the name of one column of adata.{slot}, found {column!r}. {remedy}"
    )
