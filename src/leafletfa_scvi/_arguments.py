"""Checks of arguments, with messages of one form: "Expected x ..., found ... . Remedy.".

Each check takes the name of the argument, which its message begins with, and the value.
"""

from __future__ import annotations

import math
import os
import stat
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from anndata import AnnData

_NO_FILE: Final = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class WrongKindError(TypeError, ValueError):
    """An argument is of a wrong kind, such as a text in place of a number."""


def check_one_of(name: str, value: Any, choices: Any) -> str:
    """Return ``value`` if it is one of the choices.

    Parameters
    ----------
    name
        Name of the argument.
    value
        Value given for it.
    choices
        A ``Literal`` or a sequence of texts.

    Raises
    ------
    ValueError
        It is none of them; the message lists them.
    """
    allowed = get_args(choices) or tuple(choices)
    if isinstance(value, str) and value in allowed:
        return str(value)
    *others, last = map(repr, allowed)
    listed = f"{', '.join(others)} or {last}" if others else last
    raise ValueError(f"Expected {name} to be {listed}, found {value!r}.")


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return ``value`` as an int if it is a whole number from ``least`` to ``most``.

    Raises
    ------
    ValueError
        It is not; a :class:`WrongKindError` if it is not a number.
    """
    bounds = f"from {least}" if most is None else f"from {least} to {most}"
    expected = f"{name} to be a whole number {bounds}"
    number = _as_number(value, expected)
    is_whole = isinstance(number, Integral)
    if not is_whole or number < least or (most is not None and number > most):
        raise ValueError(f"Expected {expected}, found {value!r}.")
    return int(number)


def check_positive(name: str, value: Any, *, finite: bool = False) -> float:
    """Return ``value`` as a float if it is above 0, and finite if that is required.

    Raises
    ------
    ValueError
        It is not; a :class:`WrongKindError` if it is not a number.
    """
    expected = f"{name} to be a {'finite ' if finite else ''}number above 0"
    number = float(_as_number(value, expected))
    if not number > 0 or (finite and math.isinf(number)):
        raise ValueError(f"Expected {expected}, found {value!r}.")
    return number


def check_at_least(least: float, **values: Any) -> None:
    """Check that arguments, given by their names, are None or numbers from ``least``.

    Raises
    ------
    ValueError
        One is lower; a :class:`WrongKindError` if it is not a number.
    """
    for name, value in values.items():
        expected = f"{name} to be a number from {least}"
        if value is not None and not _as_number(value, expected) >= least:
            raise ValueError(f"Expected {expected}, found {value!r}.")


def check_inside(name: str, value: Any, interval: str = "(0, 1)") -> float:
    """Return ``value`` as a float if it is inside an interval.

    Parameters
    ----------
    name
        Name of the argument.
    value
        Value given for it.
    interval
        Bounds, such as ``"[0, 1)"``: brackets include a bound, parentheses exclude it.

    Raises
    ------
    ValueError
        It is outside; a :class:`WrongKindError` if it is not a number.
    """
    number = float(_as_number(value, f"{name} in {interval}"))
    low, high = map(float, interval[1:-1].split(","))
    above = number >= low if interval[0] == "[" else number > low
    below = number <= high if interval[-1] == "]" else number < high
    if not (above and below):
        raise ValueError(f"Expected {name} in {interval}, found {value!r}.")
    return number


def check_names(name: str, value: str | Iterable[Any]) -> list[str]:
    """Return a sequence of names as a list.

    Raises
    ------
    ValueError
        It is a single text, which would be read letter by letter.
    """
    if isinstance(value, str):
        raise ValueError(
            f"Expected {name} to be a sequence of names, found {value!r}. Pass ({value!r},)."
        )
    return [str(item) for item in value]


def _as_number(value: Any, expected: str) -> Any:
    """Return a number, also from a scalar or 0-d array of NumPy."""
    if hasattr(value, "__array_interface__") and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise WrongKindError(f"Expected {expected}, found {value!r}.")
    return value


def check_column(name: str, column: Any, slot: str = "obs") -> str:
    """Return the name of a column of ``adata.obs`` (or ``var``).

    Raises
    ------
    TypeError
        It is not a text but, for example, a list of columns.
    """
    if isinstance(column, str):
        return column
    several = isinstance(column, list | tuple | set) or hasattr(column, "__array__")
    if hasattr(column, "__array__") and len(column) > 4:
        found = f"a {type(column).__name__} of {len(column)} values"
    else:
        found = repr(column)
    remedy = (
        f"Join several columns into one first, as adata.{slot}['both'] = "
        f"adata.{slot}['a'].astype(str) + '_' + adata.{slot}['b'].astype(str)."
        if several and len(column) != 1
        else "Pass the name of the column alone, as a string."
    )
    raise TypeError(
        f"Expected {name} to be the name of one column of adata.{slot}, found {found}. {remedy}"
    )


def check_once(table: pd.DataFrame, column: str, slot: str = "obs") -> None:
    """Check that ``adata.obs`` (or ``var``) has only one column of this name.

    Raises
    ------
    ValueError
        Several columns have it, so that the name is ambiguous.
    """
    number = int((table.columns == column).sum())
    if number > 1:
        raise ValueError(
            f"adata.{slot} has {number} columns {column!r}, expected one. Rename or drop the "
            f"others, as adata.{slot} = adata.{slot}.loc[:, ~adata.{slot}.columns.duplicated()]."
        )


def check_anndata(adata: Any, name: str | None = None) -> AnnData:
    """Return ``adata`` if it is an AnnData.

    Parameters
    ----------
    adata
        Value of the argument.
    name
        Name of the argument. If None, the message does not name it.

    Raises
    ------
    TypeError
        It is of another class; the message says how to obtain an AnnData from it.
    """
    from anndata import AnnData

    if isinstance(adata, AnnData):
        return adata
    kind, remedy = type(adata).__name__, ""
    if isinstance(adata, str | bytes | os.PathLike):
        remedy = " Read the file first, as anndata.read_h5ad(path)."
    elif kind == "MuData":
        remedy = " Pass one modality, as mdata.mod['splicing']."
    elif hasattr(adata, "shape"):
        remedy = (
            " Make one from junction counts and ATSE labels with "
            "leafletfa_scvi.pp.splicing_from_counts."
        )
    elif kind == "SplicingHoldout":
        remedy = " Pass its .training or .hidden."
    wanted = "an AnnData" if name is None else f"{name} to be an AnnData"
    raise TypeError(f"Expected {wanted}, found a {kind}.{remedy}")


def check_file(path: str | os.PathLike[str], what: str = "file") -> None:
    """Check that a path is a file on disk, which can be read more than once.

    Raises
    ------
    FileNotFoundError
        If nothing is at the path.
    ValueError
        If it is a folder, named pipe, socket or device.
    """
    name = os.fspath(path)
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no {what} {name}.") from None
    if stat.S_ISDIR(mode):
        raise ValueError(f"{name} is a folder: expected a {what}.")
    for test, kind in _NO_FILE:
        if test(mode):
            raise ValueError(
                f"{name} is {kind}: expected a {what} on disk, as inputs are read more than once. "
                "Write its content to a file first."
            )
