"""Groups of cells to compare, from labels, positions or masks."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_once
from leafletfa_scvi.model._cells import Indices, positions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anndata import AnnData


def comparisons(
    adata: AnnData | None,
    names: np.ndarray,
    groupby: str | None,
    group1: str | float | Iterable[str | float] | None,
    group2: str | float | None,
    idx1: Indices,
    idx2: Indices,
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield the names and masks of the two groups of each comparison."""
    if (groupby is None) == (idx1 is None):
        raise ValueError(
            "Expected either groupby or idx1, found both or neither. Pass one of them."
        )
    if (groupby is None and (group1 is not None or group2 is not None)) or (
        idx1 is None and idx2 is not None
    ):
        raise ValueError(
            "Expected group1 and group2 with groupby, and idx2 with idx1, found "
            + ("group1 or group2 without groupby." if groupby is None else "idx2 without idx1.")
            + " Name groups of a column of obs, or select cells, but not both."
        )
    if groupby is None:
        first = np.zeros(len(names), dtype=bool)
        first[positions(idx1, names)] = True
        second = ~first
        if idx2 is not None:
            second = np.zeros(len(names), dtype=bool)
            second[positions(idx2, names)] = True
        yield _checked("idx1", "rest" if idx2 is None else "idx2", first, second)
        return
    if adata is None or groupby not in adata.obs:
        columns = [] if adata is None else list(adata.obs.columns)
        raise KeyError(
            f"Expected groupby to be a column of adata.obs, {columns}, found {groupby!r}."
        )
    check_once(adata.obs, groupby)
    labels = adata.obs[groupby]
    groups = {str(v): v for v in pd.unique(labels.dropna())}
    values = labels.astype(object).map(lambda v: None if pd.isna(v) else str(v)).to_numpy()
    others = None if group2 is None else _group_names("group2", group2, groups, groupby, labels)
    if others is not None and len(others) != 1:
        raise ValueError(
            f"Expected group2 to be one group, found {others}. To compare with several at once, "
            "pass the cells as idx1 and idx2."
        )
    if group1 is None:
        compared = [name for name in sorted(groups) if others is None or name != others[0]]
    else:
        compared = _group_names("group1", group1, groups, groupby, labels)
    if not compared:
        raise ValueError(
            f"Expected a group of adata.obs[{groupby!r}] to compare, found none in "
            f"{list(groups)} (except group2). Choose another column."
        )
    for name in compared:
        first = values == name
        second = ~first if others is None else values == others[0]
        yield _checked(name, "rest" if others is None else others[0], first, second)


def _group_names(
    argument: str, given: Any, groups: Mapping[str, Any], groupby: str, labels: pd.Series
) -> list[str]:
    """Resolve one or several groups, passed by name or as numbers, to distinct names."""
    is_single = isinstance(given, str | bytes) or not isinstance(given, Iterable)
    requested = [given] if is_single else list(given)
    is_bool = [isinstance(group, bool | np.bool_) for group in requested]
    if len(requested) == len(labels) and all(is_bool) and labels.dtype != bool:
        raise ValueError(
            f"Expected {argument} to name groups of adata.obs[{groupby!r}], found a mask of "
            f"cells: pass it as idx{argument[-1]}, without groupby."
        )
    if isinstance(given, set | frozenset):
        requested.sort(key=str)
    names = []
    for group in requested:
        name = str(group)
        if name not in groups and _is_number(group):  # such as 1 for the label 1.0
            same = [text for text, value in groups.items() if _is_number(value) and value == group]
            name = same[0] if same else name
        if name not in groups:
            raise KeyError(
                f"Expected {argument} to name groups of adata.obs[{groupby!r}], {sorted(groups)}, "
                f"found {name!r}."
            )
        names.append(name)
    return list(dict.fromkeys(names))


def _is_number(value: Any) -> bool:
    """Return True for a real number that is not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _checked(
    name1: str, name2: str, first: np.ndarray, second: np.ndarray
) -> tuple[str, str, np.ndarray, np.ndarray]:
    """Check that neither group is empty and that they share no cells."""
    for name, mask in ((name1, first), (name2, second)):
        if not mask.any():
            raise ValueError(f"Expected cells in each group, found none in {name!r}.")
    n_common = int((first & second).sum())
    if n_common:
        raise ValueError(
            f"Expected groups without common cells, found {n_common} in both {name1!r} and "
            f"{name2!r}. Remove them from one of the groups."
        )
    return name1, name2, first, second
