"""Columns of ``obs`` that explain activities, tested by permutation of samples."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_column, check_names, check_whole
from leafletfa_scvi.stats import adjust_pvalues, permute_samples, permute_within_samples
from leafletfa_scvi.tl._activities import CellActivities, cell_activities
from leafletfa_scvi.tl._labels import (
    check_columns,
    find_infinite,
    labeled_cells,
    log_cells_as_replicates,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from leafletfa_scvi.model import LeafletFAModel

log = logging.getLogger(__name__)

_MAX_SEED = 2**63 - 1


def associate(
    data: AnnData | LeafletFAModel,
    columns: Sequence[str] | str | None = None,
    *,
    sample_key: str | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Find the columns of ``obs`` that explain the activities of programs.

    Cells of one sample (donor, animal, plate) resemble each other, so that a column of the samples
    explains more of the variance of cells than chance if cells were independent. Columns that are
    constant within samples are therefore permuted over samples, and columns that vary within them
    over the cells of each sample.

    Parameters
    ----------
    data
        Trained model with its AnnData, or an AnnData with activities in ``obsm["X_PHI"]``.
    columns
        Columns of ``obs``, numeric or labels. If None, all that have at least two values, except
        the samples, activities, and labels that differ between all cells or all samples.
    sample_key
        Column of ``obs`` with the samples. If None, cells are permuted: results then say something
        of these cells only.
    n_permutations
        Number of permutations; the smallest p value is 1 / (n_permutations + 1).
    seed
        Seed of the permutations, the same for all columns.

    Returns
    -------
    One row per column and program, those with the smallest p value first, then those with the
    largest effect. Columns:

    - ``column``, ``kind`` (``"labels"`` or ``"numbers"``), ``program``.
    - ``effect``: share of the variance of activities over cells that the column explains: eta
      squared of labels, R squared of a line for numbers. For columns that vary within samples, of
      the variance within samples.
    - ``expected_effect``: its mean over permutations, what chance explains.
    - ``pvalue`` and ``padj`` (Benjamini and Hochberg over all rows of the call); NaN for a program
      without variation.
    - ``permuted``: ``"samples"``, ``"cells within samples"`` or ``"cells"``.
    - ``n_cells``, ``n_samples``: numbers with a value.

    Raises
    ------
    KeyError
        A column does not exist.
    ValueError
        A column that was named has a single value, or labels that differ between all samples (or
        cells), a number is out of range, or the activities of ``data`` are missing.

    Notes
    -----
    With S samples in two groups of S / 2, the smallest possible p value is 2 divided by the number
    of ways to choose S / 2 of S, 0.1 for six samples. Cells within a sample are taken as
    exchangeable: name the plate or library, if there are several per donor, as the sample.

    Examples
    --------
    >>> import leafletfa_scvi as lfa
    >>> adata = lfa.datasets.simulate_cohort((5, 5), n_cells=400, n_atses=60, seed=1)
    >>> adata.obsm["X_PHI"] = adata.obsm["phi_true"]
    >>> table = lfa.tl.associate(adata, "group", sample_key="donor", n_permutations=99)
    >>> table["permuted"].unique().tolist()
    ['samples']
    """
    n_permutations = check_whole("n_permutations", n_permutations, 1)
    seed = check_whole("seed", seed, 0, _MAX_SEED)
    cells = cell_activities(data)
    obs = cells.adata.obs
    if sample_key is None:
        log_cells_as_replicates()
    else:
        check_columns(obs, [check_column("sample_key", sample_key)], "sample_key")
    if columns is None:
        skipped = {sample_key, *cells.programs}
        named = [str(c) for c in obs if c not in skipped and not str(c).startswith("_")]
    else:
        named = check_names("columns", [columns] if isinstance(columns, str) else columns)
        if sample_key in named:
            raise ValueError(
                f"Expected columns other than sample_key, found {sample_key!r}. Samples differ "
                "from each other: what explains that is another column."
            )
    check_columns(obs, named, "columns")
    frames = []
    for column in named:
        tested = _Column(cells, column, sample_key)
        if tested.problem:
            if columns is not None:
                raise ValueError(f"Expected column {column!r} {tested.problem}.")
            log.info("Column %r is left out: expected it %s.", column, tested.problem)
            continue
        frames.append(tested.test(n_permutations, np.random.default_rng(seed)))
    if not frames:
        raise ValueError(
            f"Expected columns of adata.obs with at least two values, found none in {named}."
        )
    table = pd.concat(frames, ignore_index=True)
    table.insert(6, "padj", adjust_pvalues(table["pvalue"].to_numpy()))
    by, ascending = ["pvalue", "effect"], [True, False]
    return table.sort_values(by, ascending=ascending, kind="stable", ignore_index=True)


class _Column:
    """A column of ``obs`` without its missing values, and the samples of its cells."""

    def __init__(self, cells: CellActivities, column: str, sample_key: str | None) -> None:
        self.name, self.programs, self.sample_key = column, cells.programs, sample_key
        self.problem = ""
        obs = cells.adata.obs
        if obs[column].isna().all():
            self.problem = "to have values, found none"
            return
        if find_infinite(obs[column]).any():
            self.problem = "to have finite numbers, found infinite ones"
            return
        keep = labeled_cells(obs, [column] if sample_key is None else [column, sample_key])
        self.activities = cells.mean[keep]
        values = obs[column][keep]
        self.is_numeric = pd.api.types.is_numeric_dtype(values.dtype)
        self.is_numeric &= not pd.api.types.is_bool_dtype(values.dtype)
        codes = pd.factorize(values)[0]
        self.values = values.to_numpy(np.float64) if self.is_numeric else codes
        self.n_cells, n_levels = len(values), int(codes.max()) + 1
        if sample_key is None:
            self.sample = np.zeros(self.n_cells, dtype=np.int64)
            n_units, self.permuted = self.n_cells, "cells"
        else:
            self.sample = pd.factorize(obs[sample_key][keep])[0]
            n_pairs = len(np.unique(codes * np.int64(self.n_cells) + self.sample))
            is_constant = n_pairs == self.sample.max() + 1
            self.permuted = "samples" if is_constant else "cells within samples"
            n_units = n_pairs if is_constant else self.n_cells
        if n_levels < 2:
            self.problem = "to have at least two values, found one"
        elif not self.is_numeric and n_levels == n_units:
            what = "samples" if self.permuted == "samples" else "cells"
            self.problem = f"to have labels that some {what} share, found a label for each"

    def test(self, n_permutations: int, rng: np.random.Generator) -> pd.DataFrame:
        """Table of the programs."""
        permute = permute_samples if self.permuted == "samples" else permute_within_samples
        found = permute(self.activities, self.values, self.sample, n_permutations, rng)
        n_samples: Any = self.n_cells if self.sample_key is None else int(self.sample.max()) + 1
        return pd.DataFrame(
            {
                "column": self.name,
                "kind": "numbers" if self.is_numeric else "labels",
                "program": self.programs,
                "effect": found.share,
                "expected_effect": found.expected,
                "pvalue": found.pvalue,
                "permuted": self.permuted,
                "n_cells": self.n_cells,
                "n_samples": n_samples,
            }
        )
