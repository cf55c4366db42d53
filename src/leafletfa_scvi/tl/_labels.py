"""Columns of ``obs``: whether they exist, and which cells lack a value."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_column, check_once
from leafletfa_scvi._constants import CELLS_AS_REPLICATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

log = logging.getLogger(__name__)


def check_columns(obs: pd.DataFrame, columns: Iterable[str], argument: str) -> None:
    """Check that columns exist, once each.

    Raises
    ------
    KeyError
        One is not a column of ``adata.obs``.
    """
    for column in columns:
        check_column(argument, column)
        if column not in obs:
            raise KeyError(
                f"Expected {argument} to name columns of adata.obs, {list(obs.columns)}, found "
                f"{column!r}."
            )
        check_once(obs, column)


def labeled_cells(obs: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Find the cells ``(C,)`` with values in all columns, and log how many have none.

    Raises
    ------
    ValueError
        No cell is left, or a number is infinite.
    """
    columns = list(dict.fromkeys(columns))
    for column in columns:
        infinite = find_infinite(obs[column])
        if infinite.any():
            cell = str(obs.index[int(infinite.argmax())])
            raise ValueError(
                f"Expected finite numbers in adata.obs[{column!r}], found an infinite one for "
                f"cell {cell!r}. Set it to NaN to leave the cell out."
            )
    missing = obs[columns].isna()
    keep: np.ndarray = ~missing.any(axis=1).to_numpy()
    if not keep.any():
        raise ValueError(f"Expected cells with values of {columns}, found none.")
    for column in columns:
        n = int(missing[column].sum())
        if n:
            log.info("%d cells have no value in adata.obs[%r] and are left out.", n, column)
    return keep


def find_infinite(column: pd.Series) -> np.ndarray:
    """Find the cells ``(C,)`` with infinite numbers."""
    if not pd.api.types.is_float_dtype(column.dtype):
        return np.zeros(len(column), dtype=bool)
    infinite: np.ndarray = np.isinf(column.to_numpy(np.float64, na_value=np.nan))
    return infinite


def log_cells_as_replicates() -> None:
    """Log that results hold for these cells only."""
    log.info(CELLS_AS_REPLICATES)
