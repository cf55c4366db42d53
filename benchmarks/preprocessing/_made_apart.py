"""Two data sets made apart: the second counted on the first, aligned to it, combined with it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import leafletfa_scvi as lfa
from leafletfa_scvi._constants import ATSE_KEY, ATSE_LABEL_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi.data import align_junctions

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_N_FIRST = 6
"""Number of files of the first data set, which are of brain; the others are LCLs."""


def rows() -> list[tuple[str, str, str]]:
    """Return what is measured, the result, and its target.

    The files are GTEx samples of chromosome 10 in the folder ``LEAFLETFA_TEST_DATA``.
    """
    folder = Path(os.environ["LEAFLETFA_TEST_DATA"]) / "gtex_chr10"
    files = sorted(folder.glob("*.bed.gz"))
    annotation = lfa.pp.read_annotation(folder / "chr10.gtf.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        first, apart, together = (
            lfa.pp.make_splicing_dataset(some, gtf=annotation)
            for some in (files[:_N_FIRST], files[_N_FIRST:], files)
        )
        second = lfa.pp.make_splicing_dataset(files[_N_FIRST:], gtf=annotation, reference=first)
        joined = lfa.pp.concat_splicing({"first": first, "apart": apart})
        joined_exact = lfa.pp.concat_splicing({"first": first, "second": second})
    counts = lfa.pp.read_junc(files).to_df()
    return [
        _on_reference(first, second, counts),
        _in_shared_atses(first, second, together),
        *_aligned(first, apart, counts),
        _ids(first, apart, ATSE_KEY, "0"),
        _ids(first, apart, ATSE_LABEL_KEY, "(labels, for comparison)"),
        ("concat_splicing of both made apart: reads lost", _lost(joined, counts), "(warned of)"),
        ("... of the second on the first: reads lost", _lost(joined_exact, counts), "0.0 %"),
    ]


def _truth(counts: pd.DataFrame, reference: AnnData, cells: pd.Index) -> tuple[np.ndarray, ...]:
    """Return y and n of all reads at the junctions of a reference."""
    y = counts.loc[cells].reindex(columns=reference.var_names, fill_value=0)
    labels = reference.var[ATSE_KEY].astype(str).to_numpy()
    return y.to_numpy(), y.T.groupby(labels).transform("sum").T.to_numpy()


def _layers(adata: AnnData) -> tuple[np.ndarray, np.ndarray]:
    return tuple(adata.to_df(name).to_numpy() for name in (JUNCTION_LAYER, CLUSTER_LAYER))


def _on_reference(first: AnnData, second: AnnData, counts: pd.DataFrame) -> tuple[str, str, str]:
    y, n = _layers(second)
    true_y, true_n = _truth(counts, first, second.obs_names)
    wrong = int((y != true_y).sum()), int((n != true_n).sum())
    return (
        "second on the first: entries whose y, n are not those of all reads",
        f"{wrong[0]}, {wrong[1]} of {y.size:,} ({int((true_n > 0).sum()):,} observed)",
        "0, 0",
    )


def _in_shared_atses(first: AnnData, second: AnnData, together: AnnData) -> tuple[str, str, str]:
    shared = first.var_names[first.var[ATSE_KEY].isin(together.var[ATSE_KEY].cat.categories)]
    both = [adata[second.obs_names, shared] for adata in (second, together)]
    wrong = [int((a != b).sum()) for a, b in zip(*map(_layers, both), strict=True)]
    n_atses = first.var.loc[shared, ATSE_KEY].nunique()
    return (
        f"... in the {n_atses} ATSEs shared with the data set of all files",
        f"{wrong[0]}, {wrong[1]} of {second.n_obs * len(shared):,}",
        "0, 0",
    )


def _aligned(first: AnnData, apart: AnnData, counts: pd.DataFrame) -> list[tuple[str, str, str]]:
    codes = first.var[ATSE_KEY].cat.codes.to_numpy(np.int64)
    true_y, true_n = _truth(counts, first, apart.obs_names)
    result = []
    for name, atse, target in (("moved", None, "(before)"), ("summed again", codes, "0 larger")):
        y, n = _layers(align_junctions(apart, first.var_names, atse))
        both = (n > 0) & (true_n > 0)
        off = np.abs(y[both] / n[both] - true_y[both] / true_n[both]) > 0.2
        found = (
            f"{int((n > 0).sum()):,} of {int((true_n > 0).sum()):,} observed, "
            f"{int((n > true_n).sum())} totals larger, {int((n < true_n)[both].sum())} smaller; "
            f"PSI off by > 0.2 in {int(off.sum())}"
        )
        result.append((f"filtered second aligned to the first, totals {name}", found, target))
    return result


def _ids(first: AnnData, apart: AnnData, column: str, target: str) -> tuple[str, str, str]:
    groups = [a.var.groupby(column, observed=True).groups for a in (first, apart)]
    shared = groups[0].keys() & groups[1].keys()
    other = [name for name in shared if set(groups[0][name]) != set(groups[1][name])]
    return (
        f"{column} in both that are of other junctions",
        f"{len(other)} of {len(shared)}",
        target,
    )


def _lost(joined: AnnData, counts: pd.DataFrame) -> str:
    truth = counts.loc[joined.obs_names, joined.var_names].to_numpy().sum()
    return f"{100 * (1 - joined.X.sum() / truth):.1f} %"
