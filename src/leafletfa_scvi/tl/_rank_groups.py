"""Differential splicing in the form of scanpy's ``rank_genes_groups``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_whole
from leafletfa_scvi.stats import expected_false_discovery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi import LeafletFAModel

_COLUMNS = ("names", "scores", "logfoldchanges", "pvals", "pvals_adj")


def rank_splicing_groups(
    model: LeafletFAModel,
    groupby: str,
    groups: str | Sequence[str] = "all",
    reference: str = "rest",
    *,
    adata: AnnData | MuData | None = None,
    sample_key: str | None = None,
    delta: float = 0.1,
    n_junctions: int | None = None,
    rankby_abs: bool = False,
    key_added: str = "rank_genes_groups",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Rank junctions for characterizing groups of cells, as :func:`scanpy.tl.rank_genes_groups`.

    Runs :meth:`.LeafletFAModel.differential_splicing` and writes the result to ``adata.uns``,
    where :func:`scanpy.get.rank_genes_groups_df` and ``scanpy.pl.rank_genes_groups*`` find it.

    Parameters
    ----------
    model
        Trained model.
    groupby
        Column of ``obs`` with the groups.
    groups
        Groups to rank junctions for, or ``"all"``. The reference among several is left out.
    reference
        Group to compare with; ``"rest"`` for the cells of all other groups.
    adata
        Cells; that of the model if None.
    sample_key
        Column of ``obs`` with the samples, which are the replicates. If None, cells are.
    delta
        Difference in PSI that must be exceeded, in [0, 1).
    n_junctions
        Number of junctions to keep of each group; all if None, as some of scanpy's
        figures need.
    rankby_abs
        Whether to rank by the absolute value of the score. Otherwise junctions with higher PSI
        in the group come first and those with lower PSI last.
    key_added
        Key of ``uns``.
    copy
        Whether to return a copy of ``adata`` with the result instead of writing to it.

    Returns
    -------
    None, or a copy. ``uns[key_added]`` (of the modality with the junctions) has, for each group,

    - ``names`` of junctions
    - ``scores``: natural log of the odds of a difference above ``delta``, at least 0, with the
      sign of the difference; 0 where this is not tested
    - ``logfoldchanges``: the difference in PSI, group minus reference (scanpy's name)
    - ``pvals``: posterior probability of no difference above ``delta``
    - ``pvals_adj``: expected proportion of false discoveries among this junction and all more
      probable ones of all groups

    Raises
    ------
    ValueError
        There is no AnnData to write to, or as in ``differential_splicing``.
    """
    if n_junctions is not None:
        check_whole("n_junctions", n_junctions, 1)
    data: Any = model.adata if adata is None else adata
    if data is None:
        raise ValueError(
            "Expected an AnnData to write to, but the model was loaded without data: pass adata."
        )
    group1: str | list[str] | None
    if isinstance(groups, str):
        group1 = None if groups == "all" else groups
    else:
        group1 = [group for group in groups if group != reference]
    table = model.differential_splicing(
        data,
        groupby=groupby,
        group1=group1,
        group2=reference,
        sample_key=sample_key,
        delta=delta,
        silent=True,
    )
    result = _ranked(table, n_junctions, rankby_abs)
    result["params"] = {
        "groupby": groupby,
        "reference": reference,
        "method": "leafletfa_scvi",
        "use_raw": False,
        "layer": None,
        "corr_method": "expected_fdr",
        "delta": delta,
        "sample_key": sample_key,
    }
    target = data.copy() if copy else data
    model._modality(target).uns[key_added] = result
    return target if copy else None


def _ranked(table: pd.DataFrame, n_junctions: int | None, rankby_abs: bool) -> dict[str, Any]:
    """Columns as record arrays with one field for each group."""
    probability = table["proba_not_ds"].fillna(1.0).to_numpy()
    effect = table["effect_size"].fillna(0.0).to_numpy()
    score = np.sign(effect) * np.maximum(table["bayes_factor"].fillna(0.0).to_numpy(), 0.0)
    ranked = pd.DataFrame(
        {
            "group": table["group1"].to_numpy(),
            "names": table.index.to_numpy(),
            "scores": score.astype(np.float32),
            "logfoldchanges": effect.astype(np.float32),
            "pvals": probability,
            "pvals_adj": expected_false_discovery(1.0 - probability),
        }
    )
    by_group = {}
    for name, part in ranked.groupby("group", sort=False):
        # Ties in the score, such as 0, by the probability and then by the effect.
        keys = part["logfoldchanges"].to_numpy(), (1.0 - part["pvals"]) * np.sign(part["scores"])
        main = part["scores"].to_numpy()
        if rankby_abs:
            keys, main = tuple(np.abs(key) for key in keys), np.abs(main)
        order = np.lexsort((-keys[0], -keys[1], -main))
        by_group[str(name)] = part.iloc[order[:n_junctions]]
    return {
        column: _records({name: part[column].to_numpy() for name, part in by_group.items()})
        for column in _COLUMNS
    }


def _records(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Record array with a field for each group, as scanpy stores its results."""
    kinds = [(name, "O" if x.dtype == object else x.dtype) for name, x in columns.items()]
    length = len(next(iter(columns.values())))
    records = np.recarray(length, dtype=kinds)
    for name, values in columns.items():
        records[name] = values
    return records
