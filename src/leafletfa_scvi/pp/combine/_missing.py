"""Junctions that data sets may have lost before they are combined."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from leafletfa_scvi._constants import DATASET_SLOT
from leafletfa_scvi.pp.qc._matrices import is_splicing

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    from anndata import AnnData

_N_NAMED: Final = 3
"""Number of data sets that a warning names."""


def missing_junctions(
    parts: Mapping[str, AnnData], junctions: pd.Index, reads: np.ndarray
) -> dict[str, tuple[int, int]]:
    """Return what each data set may have lost, of those that were filtered.

    Parameters
    ----------
    parts
        Data sets by name.
    junctions, reads
        ``(P,)`` names of the junctions of the result, and their reads in all data sets.

    Returns
    -------
    dict
        Number of junctions that a data set lacks, and reads of the others there, by its name.
    """
    found = {}
    for name, part in parts.items():
        dropped = part.uns.get(DATASET_SLOT, {}).get("junction_qc", {}).get("dropped", {})
        was_filtered = is_splicing(part) or any(int(lost["reads"]) for lost in dropped.values())
        lacks = ~junctions.isin(part.var_names)
        if was_filtered and lacks.any():
            found[name] = int(lacks.sum()), int(reads[lacks].sum())
    return found


def warn_of_missing(missing: dict[str, tuple[int, int]], n_junctions: int) -> None:
    """Warn of them, and name the ways that lose nothing.

    Parameters
    ----------
    missing
        From :func:`missing_junctions`.
    n_junctions
        Number of junctions of the result.
    """
    if not missing:
        return
    shown = [
        f"{name!r} lacks {number:,}, at which the others have {reads:,} reads"
        for name, (number, reads) in list(missing.items())[:_N_NAMED]
    ]
    more = f"; and {len(missing) - _N_NAMED} more" if len(missing) > _N_NAMED else ""
    warnings.warn(
        f"Of the {n_junctions:,} junctions of the result, data set {'; '.join(shown)}{more}. They "
        "count 0 in its cells, which is wrong where their reads were filtered out or were in no "
        "ATSE. Exact counts: combine the junction counts that the readers return, or make one "
        "data set and the others with make_splicing_dataset(files, reference=first).",
        UserWarning,
        stacklevel=3,
    )
