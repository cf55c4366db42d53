"""Checks of arguments that functions of several parts share."""

from __future__ import annotations

import os
import stat
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_NO_FILE: Final = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


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
    """Check that ``adata.obs`` (or ``var``) has not several columns of this name.

    Raises
    ------
    ValueError
        There are several, so that the name does not tell which one is meant.
    """
    number = int((table.columns == column).sum())
    if number > 1:
        raise ValueError(
            f"adata.{slot} has {number} columns {column!r}: rename all but one, or drop them, as "
            f"adata.{slot} = adata.{slot}.loc[:, ~adata.{slot}.columns.duplicated()]."
        )


def check_whole(name: str, value: Any, least: int) -> int:
    """``value`` as an int of at least ``least``, else a ValueError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"Expected {name} to be a whole number from {least}, found {value!r}.")
    return int(value)


def check_inside(name: str, value: Any) -> float:
    """``value`` as a number in (0, 1), else a ValueError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 < float(value) < 1.0:
        raise ValueError(f"Expected {name} in (0, 1), found {value!r}.")
    return float(value)


def check_fraction(name: str, value: Any) -> float:
    """``value`` as a number in [0, 1), else a ValueError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) < 1.0:
        raise ValueError(f"Expected {name} in [0, 1), found {value!r}.")
    return float(value)


def check_positive(name: str, value: Any) -> float:
    """``value`` as a positive, possibly infinite number, else a ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) > 0:
        raise ValueError(f"Expected {name} to be a number above 0, found {value!r}.")
    return float(value)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise a ValueError that names the argument if ``value`` is not one of ``choices``."""
    if value not in choices:
        raise ValueError(f"Expected {name} to be one of {choices}, found {value!r}.")


def check_anndata(adata: Any, name: str | None = None) -> AnnData:
    """``adata`` itself, if it is an AnnData.

    Parameters
    ----------
    adata
        What the user gave.
    name
        The argument, where there are several.

    Raises
    ------
    TypeError
        It is something else; the message says how to make an AnnData of it.
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
            " Make one of junction counts and ATSE labels with "
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
