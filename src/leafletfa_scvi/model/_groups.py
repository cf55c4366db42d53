"""Groups of cells to compare, from labels, positions or masks, and the samples they come from."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_column, check_once
from leafletfa_scvi.model._cells import Indices, positions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

log = logging.getLogger(__name__)

REST = "rest"


@dataclass(frozen=True)
class Comparison:
    """Two sides, each of one or several groups of cells, given by their codes."""

    name1: str
    name2: str
    codes1: tuple[int, ...]
    codes2: tuple[int, ...]


@dataclass(frozen=True)
class ComparedCells:
    """Groups of cells and the comparisons between them.

    Attributes
    ----------
    codes
        ``(n,)`` group of each cell, -1 for cells that are not used.
    comparisons
        Comparisons in the order of the result.
    """

    codes: np.ndarray
    comparisons: list[Comparison]


def compared_cells(
    adata: AnnData | None,
    names: np.ndarray,
    groupby: str | None,
    group1: str | float | Iterable[str | float] | None,
    group2: str | float | None,
    idx1: Indices | str,
    idx2: Indices | str,
    *,
    subset_idx: Indices | str = None,
    all_pairs: bool = False,
) -> ComparedCells:
    """Resolve the arguments of a test to groups of cells and comparisons.

    Cells outside of ``subset_idx``, and those without a label, are not used; the latter are
    counted in the log.
    """
    _check_ways(groupby, group1, group2, idx1, idx2, all_pairs)
    used = np.zeros(len(names), dtype=bool)
    used[_selected("subset_idx", subset_idx, adata, names)] = True
    if groupby is None:
        first = np.zeros(len(names), dtype=bool)
        first[_selected("idx1", idx1, adata, names)] = True
        second = ~first
        if idx2 is not None:
            second = np.zeros(len(names), dtype=bool)
            second[_selected("idx2", idx2, adata, names)] = True
        first, second = first & used, second & used
        name2 = REST if idx2 is None else "idx2"
        _check_masks("idx1", name2, first, second)
        codes = np.where(first, 0, np.where(second, 1, -1))
        return ComparedCells(codes, [Comparison("idx1", name2, (0,), (1,))])
    labels = _column(adata, groupby, "groupby")
    groups = {str(v): v for v in pd.unique(labels.dropna())}
    values = labels.astype(object).map(lambda v: None if pd.isna(v) else str(v)).to_numpy()
    missing = int((pd.isna(values) & used).sum())
    if missing:
        log.info("%d cells have no value in adata.obs[%r] and are left out.", missing, groupby)
    ordered = sorted(set(values[used & ~pd.isna(values)]))  # others have no code
    codes = pd.Index(ordered, dtype=object).get_indexer(pd.Index(values, dtype=object))
    codes = np.where(used, codes, -1)
    if all_pairs:
        pairs = _all_pairs(group1, groups, ordered, groupby, labels)
    else:
        pairs = _listed_pairs(group1, group2, groups, ordered, groupby, labels)
    sizes = np.bincount(codes[codes >= 0], minlength=len(ordered))
    result = []
    for name1, other in pairs:
        for name in (name1, other):
            if name is not None and name not in ordered:
                raise ValueError(f"Expected cells in each group, found none in {name!r}.")
        codes1 = (ordered.index(name1),)
        if other is None:
            codes2 = tuple(i for i in range(len(ordered)) if i != codes1[0])
        else:
            codes2 = (ordered.index(other),)
        label2 = REST if other is None else other
        if codes1 == codes2:
            n = int(sizes[codes1[0]])
            raise ValueError(_common_cells(n, name1, label2))
        if not codes2:
            raise ValueError(f"Expected cells in each group, found none in {label2!r}.")
        result.append(Comparison(name1, label2, codes1, codes2))
    return ComparedCells(codes, result)


def sample_codes(adata: AnnData | None, sample_key: str, used: np.ndarray) -> np.ndarray:
    """Sample of each cell, -1 without a label (counted in the log)."""
    check_column("sample_key", sample_key)
    labels = _column(adata, sample_key, "sample_key")
    codes, _ = pd.factorize(labels, sort=False)
    missing = int(((codes < 0) & used).sum())
    if missing:
        log.info("%d cells have no value in adata.obs[%r] and are left out.", missing, sample_key)
    if not ((codes >= 0) & used).any():
        raise ValueError(
            f"Expected samples in adata.obs[{sample_key!r}], found no value for any of the cells "
            "compared."
        )
    return np.asarray(codes)


def check_samples(compared: ComparedCells, samples: np.ndarray, sample_key: str) -> None:
    """Check that both sides of each comparison have two samples.

    Parameters
    ----------
    compared
        Groups of the n cells, and comparisons.
    samples
        ``(n,)`` sample of each cell, -1 for cells that are not used.
    sample_key
        Column of the samples.
    """
    used = (compared.codes >= 0) & (samples >= 0)
    present = np.zeros((samples.max() + 1, compared.codes.max() + 1), dtype=bool)
    present[samples[used], compared.codes[used]] = True
    for comparison in compared.comparisons:
        n1 = int(present[:, list(comparison.codes1)].any(1).sum())
        n2 = int(present[:, list(comparison.codes2)].any(1).sum())
        if min(n1, n2) >= 2:
            continue
        raise ValueError(
            f"Expected at least two samples of adata.obs[{sample_key!r}] in each group, found "
            f"{n1} in {comparison.name1!r} and {n2} in {comparison.name2!r}: how much samples of "
            "a population differ cannot be estimated. With sample_key=None cells are the "
            "replicates, and the result holds for the cells of these samples only."
        )


def _selected(
    argument: str, given: Indices | str, adata: AnnData | None, names: np.ndarray
) -> np.ndarray:
    """Resolve positions, a mask or a query of ``obs`` to positions of cells."""
    if not isinstance(given, str):
        return positions(given, names)
    if adata is None:
        raise ValueError(
            f"Expected an AnnData for the query {argument}={given!r}, but the model was loaded "
            "without data: pass adata."
        )
    try:
        mask = adata.obs.eval(given)
    except Exception as error:
        raise ValueError(
            f"Expected {argument} to be a query of adata.obs, such as \"group == 'A'\", found "
            f"{given!r}: {error}."
        ) from error
    if not (isinstance(mask, pd.Series) and pd.api.types.is_bool_dtype(mask.dtype)):
        raise ValueError(
            f"Expected {argument} to be a query of adata.obs that is true or false for each cell, "
            f"found {given!r}."
        )
    return np.flatnonzero(mask.fillna(False).to_numpy(bool))


def _check_ways(
    groupby: str | None, group1: Any, group2: Any, idx1: Any, idx2: Any, all_pairs: bool
) -> None:
    """Check that the cells are selected in one way."""
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
    if all_pairs and (groupby is None or group2 is not None):
        raise ValueError(
            "Expected all_pairs=True with groupby and without group2 or idx1, found "
            + ("idx1." if groupby is None else f"group2={group2!r}.")
        )


def _column(adata: AnnData | None, name: str, argument: str) -> pd.Series:
    if adata is None:
        raise KeyError(
            f"Expected {argument} to be a column of adata.obs, found {name!r} and no AnnData: the "
            "model was loaded without data. Pass adata."
        )
    if name not in adata.obs:
        raise KeyError(
            f"Expected {argument} to be a column of adata.obs, {list(adata.obs.columns)}, found "
            f"{name!r}."
        )
    check_once(adata.obs, name)
    labels: pd.Series = adata.obs[name]
    return labels


def _listed_pairs(
    group1: Any,
    group2: Any,
    groups: Mapping[str, Any],
    present: list[str],
    groupby: str,
    labels: pd.Series,
) -> list[tuple[str, str | None]]:
    """List each group to compare (of those present) and the other, None for the rest."""
    if isinstance(group2, str) and group2 == REST and REST not in groups:
        group2 = None
    others = None if group2 is None else _group_names("group2", group2, groups, groupby, labels)
    if others is not None and len(others) != 1:
        raise ValueError(
            f"Expected group2 to be one group, found {others}. To compare with several at once, "
            "pass the cells as idx1 and idx2."
        )
    if group1 is None:
        compared = [name for name in present if others is None or name != others[0]]
    else:
        compared = _group_names("group1", group1, groups, groupby, labels)
    if not compared:
        raise ValueError(
            f"Expected a group of adata.obs[{groupby!r}] to compare, found none in "
            f"{present} (except group2). Choose another column."
        )
    return [(name, None if others is None else others[0]) for name in compared]


def _all_pairs(
    group1: Any,
    groups: Mapping[str, Any],
    present: Sequence[str],
    groupby: str,
    labels: pd.Series,
) -> list[tuple[str, str | None]]:
    """List all pairs of the groups that are present, or of those in ``group1``."""
    named = present
    if group1 is not None:
        named = _group_names("group1", group1, groups, groupby, labels)
    if len(named) < 2:
        raise ValueError(
            f"Expected at least two groups of adata.obs[{groupby!r}] for all_pairs=True, found "
            f"{list(named)}."
        )
    return list(combinations(named, 2))


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


def _check_masks(name1: str, name2: str, first: np.ndarray, second: np.ndarray) -> None:
    """Check that neither group is empty and that they share no cells."""
    for name, mask in ((name1, first), (name2, second)):
        if not mask.any():
            raise ValueError(f"Expected cells in each group, found none in {name!r}.")
    n_common = int((first & second).sum())
    if n_common:
        raise ValueError(_common_cells(n_common, name1, name2))


def _common_cells(n: int, name1: str, name2: str) -> str:
    return (
        f"Expected groups without common cells, found {n} in both {name1!r} and "
        f"{name2!r}. Remove them from one of the groups."
    )
