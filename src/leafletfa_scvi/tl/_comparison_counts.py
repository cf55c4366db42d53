"""How many rows of a table of differential splicing a test calls, by comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator


def comparison_counts(table: pd.DataFrame, fdr_target: float) -> pd.DataFrame:
    """Count the calls of each comparison of ``differential_splicing``.

    Parameters
    ----------
    table
        Its table, of junctions or ATSEs.
    fdr_target
        Bound on false discoveries that it was made with.

    Returns
    -------
    One row per comparison, in their order: ``comparison``, ``n_tested``, ``n_calls`` and
    ``n_more_in_first``, the calls with a positive effect.
    """
    return pd.DataFrame(list(_rows(table, fdr_target)))


def called(table: pd.DataFrame, fdr_target: float) -> pd.Series:
    """Return whether each row is called."""
    selected: pd.Series = table[f"is_ds_fdr_{fdr_target}"]
    return selected


def _rows(table: pd.DataFrame, fdr_target: float) -> Iterator[dict[str, object]]:
    for name, rows in table.groupby("comparison", sort=False):
        is_called = called(rows, fdr_target)
        yield {
            "comparison": name,
            "n_tested": int(rows["is_tested"].sum()),
            "n_calls": int(is_called.sum()),
            "n_more_in_first": int((rows["effect_size"][is_called] > 0).sum()),
        }
