"""Whether activities of two sets of cells are of the same programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import PROGRAM_SLOT


def check_same_programs(reference: Any, query: Any) -> None:
    """Check that program k of a query is program k of its reference.

    Programs that have been trained further are the same: each program of the query must differ
    less from the reference's program of its position than from any other, in mean absolute PSI.
    Programs of an AnnData are in ``varm["psi_learned"]``; without them, only their number is
    compared.

    Raises
    ------
    ValueError
        The programs differ.
    """
    first, second = _programs(reference), _programs(query)
    if first is None or second is None:
        return
    check_n_programs(first.shape[1], second.shape[1])
    shared = first.index.intersection(second.index)
    if len(shared) == 0:
        raise ValueError(
            "Expected reference and query with the same programs, found no junction that both "
            "have. Make the query with LeafletFAModel.load_query_data(adata, reference)."
        )
    a, b = first.loc[shared].to_numpy(), second.loc[shared].to_numpy()
    own = np.abs(b - a).mean(0)
    for k in range(a.shape[1]):
        nearest = np.abs(b[:, [k]] - a).mean(0)
        if nearest.min() < own[k]:
            raise ValueError(
                f"Expected reference and query with the same programs, found that program {k + 1} "
                f"of the query is closest to program {int(nearest.argmin()) + 1} of the "
                "reference. Make the query with "
                "LeafletFAModel.load_query_data(adata, reference)."
            )


def check_n_programs(reference: int, query: int) -> None:
    """Check that there are as many programs in the query as in its reference.

    Raises
    ------
    ValueError
        The numbers differ.
    """
    if reference != query:
        raise ValueError(
            f"Expected reference and query with the same programs, found {reference} and {query} "
            "of them. Make the query with LeafletFAModel.load_query_data(adata, reference)."
        )


def n_further_programs(reference: Any, query: Any) -> int:
    """Count the programs that a query has in addition to those of its reference; 0 for AnnData."""
    is_known = hasattr(reference, "n_programs") and hasattr(query, "n_extra_programs")
    if not is_known or reference.n_programs != query.n_programs - query.n_extra_programs:
        return 0
    return int(query.n_extra_programs)


def _programs(data: Any) -> pd.DataFrame | None:
    """Programs of a model or an AnnData; None if they are not known."""
    if hasattr(data, "get_splicing_programs"):
        table: pd.DataFrame = data.get_splicing_programs()
        return table
    if PROGRAM_SLOT not in getattr(data, "varm", {}):
        return None
    return pd.DataFrame(np.asarray(data.varm[PROGRAM_SLOT]), data.var_names)
