"""Where the junctions of a data set are among those of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData


def junction_positions(adata: AnnData, junction_names: np.ndarray) -> np.ndarray | None:
    """Position in the model of each junction of ``adata``; None if the order is the same.

    Raises
    ------
    ValueError
        ``adata`` has other junctions than the model.
    """
    ours, theirs = pd.Index(junction_names), adata.var_names.astype(str)
    if len(ours) == len(theirs):
        indexer = ours.get_indexer(theirs)
        if np.array_equal(indexer, np.arange(len(ours))):
            return None
        if indexer.min() >= 0 and theirs.is_unique:
            return indexer
    missing = ours.difference(theirs, sort=False)
    if len(missing) == 0:
        others = theirs.difference(ours, sort=False)
        raise ValueError(
            f"adata holds {len(others)} junctions that the model lacks, the first of them "
            f"{others[0]!r}: LeafletFAModel.prepare_query_anndata(adata, model) drops them "
            "and sums the totals again."
        )
    raise ValueError(
        f"adata lacks {len(missing)} of the model's {len(ours)} junctions, the first of them "
        f"{missing[0]!r}: LeafletFAModel.prepare_query_anndata(adata, model) reorders them, "
        "adds missing ones and sums the totals again."
    )
