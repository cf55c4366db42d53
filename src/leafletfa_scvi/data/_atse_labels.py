"""ATSE labels of junctions."""

from __future__ import annotations

from datetime import datetime
from numbers import Number
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_column, check_once
from leafletfa_scvi._constants import ATSE_KEY

if TYPE_CHECKING:
    from anndata import AnnData

_NO_LABEL = {"", "nan", "none", "na", "n/a", "<na>", "nat", "null"}
"""Lowercase texts that stand for missing labels after a table was read or converted."""


def resolve_atse_key(adata: AnnData, atse_key: str | None = ATSE_KEY) -> str | None:
    """Resolve the column of ``adata.var`` with ATSE labels; None if no labels are used.

    Parameters
    ----------
    adata
        Cells x junctions.
    atse_key
        Name of the column. The default, ``"atse_id"``, is optional: if it is missing, None is
        returned. Any other column must exist. If None, no labels are used.

    Raises
    ------
    KeyError
        A column other than the default is missing.
    TypeError
        ``atse_key`` is not the name of one column.
    """
    if atse_key is None or check_column("atse_key", atse_key, "var") in adata.var:
        return atse_key
    if atse_key == ATSE_KEY:
        return None
    raise KeyError(
        f"Column {atse_key!r} is missing: adata.var holds {list(adata.var.columns)}. "
        "Name the column of ATSE labels."
    )


def own_atses(var: pd.DataFrame, atse_key: str | None) -> np.ndarray | None:
    """Number the ATSEs of a data set, ``(Q,)``; None unless all junctions have a label."""
    if atse_key is None or atse_key not in var:
        return None
    check_once(var, atse_key, "var")
    codes = pd.factorize(var[atse_key].astype(object))[0]
    return None if (codes < 0).any() else codes


def atse_codes(adata: AnnData, atse_key: str = ATSE_KEY) -> tuple[np.ndarray, int]:
    """Encode the ATSE of each junction as an integer.

    Parameters
    ----------
    adata
        Cells x junctions.
    atse_key
        Column of ``adata.var`` with the labels.

    Returns
    -------
    codes
        ``(P,)`` int64, 0-based, numbered by first appearance.
    n_atse
        Number of ATSEs.

    Raises
    ------
    KeyError
        The column is missing.
    TypeError
        ``atse_key`` is not the name of one column.
    ValueError
        A junction has no label: a missing value, a blank, or a text such as ``"nan"`` or
        ``"None"`` from a conversion. Or a label is neither text nor a number, labels mix text and
        numbers, or several columns have this name.
    """
    if check_column("atse_key", atse_key, "var") not in adata.var:
        raise KeyError(
            f"Column {atse_key!r} is missing: adata.var holds {list(adata.var.columns)}. "
            "Store the ATSE label of every junction in this column."
        )
    check_once(adata.var, atse_key, "var")
    column = adata.var[atse_key]
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if column.dtype == object:
        _check_types(column, atse_key)
    codes, labels = pd.factorize(column)
    blank = [i for i, text in enumerate(labels) if str(text).strip().lower() in _NO_LABEL]
    missing = np.flatnonzero((codes < 0) | np.isin(codes, blank))
    if len(missing):
        first = missing[0]
        problem = (
            "no label" if codes[first] < 0 else f"{labels[codes[first]]!r}, which is no label,"
        )
        raise ValueError(
            f"adata.var[{atse_key!r}] has {problem} for junction {adata.var_names[first]!r}, in "
            f"total for {len(missing)} of {len(codes)}. Label every junction, or drop those "
            "without a label."
        )
    return codes.astype(np.int64), len(labels)


def atse_labels(adata: AnnData, atse_key: str | None = ATSE_KEY) -> np.ndarray | None:
    """Return the ATSE label of each junction, ``(P,)``, as text; None if no labels are used.

    Parameters
    ----------
    adata, atse_key
        See :func:`resolve_atse_key`.
    """
    key = resolve_atse_key(adata, atse_key)
    return None if key is None else adata.var[key].astype(object).map(str).to_numpy(object)


def _check_types(column: pd.Series, atse_key: str) -> None:
    """Check that labels are all text, or all numbers or times, except missing ones."""
    junctions: dict[bool, object] = {}
    labels: dict[bool, object] = {}
    for junction, label in zip(column.index, column, strict=True):
        if label is None or label is pd.NA or label is pd.NaT:
            continue
        if not isinstance(label, str | Number | np.bool_ | datetime | np.datetime64):
            raise ValueError(
                f"adata.var[{atse_key!r}] has the label {label!r}, a {type(label).__name__}, for "
                f"junction {junction!r}: expected text or a number. Convert labels to text: "
                f"adata.var[{atse_key!r}].astype(str)."
            )
        if label == label:  # not NaN
            junctions.setdefault(isinstance(label, str), junction)
            labels.setdefault(isinstance(label, str), label)
    if len(labels) > 1:
        raise ValueError(
            f"adata.var[{atse_key!r}] mixes text and other labels, such as {labels[True]!r} for "
            f"junction {junctions[True]!r} and {labels[False]!r} for {junctions[False]!r}. "
            f"Convert all to text: adata.var[{atse_key!r}].astype(str)."
        )
