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
"""Texts, in lower case, that stand for a missing label where a table was read or converted."""


def resolve_atse_key(adata: AnnData, atse_key: str | None = ATSE_KEY) -> str | None:
    """Column of ``adata.var`` that labels ATSEs, or None where there is none to use.

    Parameters
    ----------
    adata
        Cells x junctions.
    atse_key
        The default, ``"atse_id"``, is optional: where the column is missing, the answer is None.
        Any other name must be there. None asks for no labels.

    Raises
    ------
    KeyError
        A column other than the default one is named and missing.
    TypeError
        It is not the name of one column.
    """
    if atse_key is None or check_column("atse_key", atse_key, "var") in adata.var:
        return atse_key
    if atse_key == ATSE_KEY:
        return None
    raise KeyError(
        f"Column {atse_key!r} is missing: adata.var holds {list(adata.var.columns)}. "
        "Name the column of ATSE labels."
    )


def atse_codes(adata: AnnData, atse_key: str = ATSE_KEY) -> tuple[np.ndarray, int]:
    """ATSE of each junction as a number.

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
        ``"None"`` that one was turned into. Or a label is neither text nor a number, labels are
        partly text and partly numbers, or there are several such columns.
    """
    if check_column("atse_key", atse_key, "var") not in adata.var:
        raise KeyError(
            f"Column {atse_key!r} is missing: adata.var holds {list(adata.var.columns)}. "
            "Store the ATSE label of every junction there."
        )
    check_once(adata.var, atse_key, "var")
    column = adata.var[atse_key]
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)  # of any kind
    if column.dtype == object:
        _check_kinds(column, atse_key)
    codes, labels = pd.factorize(column)
    empty = [i for i, text in enumerate(labels) if str(text).strip().lower() in _NO_LABEL]
    missing = np.flatnonzero((codes < 0) | np.isin(codes, empty))
    if len(missing):
        first = missing[0]
        found = "no label" if codes[first] < 0 else f"{labels[codes[first]]!r}, which is no label,"
        raise ValueError(
            f"adata.var[{atse_key!r}] has {found} for junction {adata.var_names[first]!r}, "
            f"{len(missing)} of {len(codes)} in all. Label every junction, or drop those without."
        )
    return codes.astype(np.int64), len(labels)


def _check_kinds(column: pd.Series, atse_key: str) -> None:
    """Labels are all text, or all numbers or times, but for missing ones."""
    junctions: dict[bool, object] = {}
    labels: dict[bool, object] = {}
    for junction, label in zip(column.index, column, strict=True):
        if label is None or label is pd.NA or label is pd.NaT:
            continue
        if not isinstance(label, str | Number | np.bool_ | datetime | np.datetime64):
            raise ValueError(
                f"adata.var[{atse_key!r}] has the label {label!r}, a {type(label).__name__}, for "
                f"junction {junction!r}: expected text or a number. Make text of labels, as "
                f"adata.var[{atse_key!r}].astype(str)."
            )
        if label == label:  # not NaN
            junctions.setdefault(isinstance(label, str), junction)
            labels.setdefault(isinstance(label, str), label)
    if len(labels) > 1:
        raise ValueError(
            f"adata.var[{atse_key!r}] has text and other labels, such as {labels[True]!r} for "
            f"junction {junctions[True]!r} and {labels[False]!r} for {junctions[False]!r}. Make "
            f"text of all, as adata.var[{atse_key!r}].astype(str)."
        )
