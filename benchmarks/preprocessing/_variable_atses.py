"""Ranks of exons that differ between cell types, or were made to, by ``select_variable_atses``.

The ranking sees no labels. Exons that differ between motor neurons and the other cells are those
whose mean PSI, over cells with at least two reads, differs by more than 0.3, of the exons with
such reads in half of the motor neurons.
"""

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi.datasets import simulate_splicing
from leafletfa_scvi.pp import make_splicing_dataset, select_variable_atses

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"
TOP = 300


def rows() -> list[tuple[str, str, str]]:
    """Return (case, measured, target) of the cases on real and simulated data."""
    folder = Path(os.environ["LEAFLETFA_TEST_DATA"])
    adata = anndata.read_h5ad(folder / "chen_mesc.h5ad")
    y, n = (adata.layers[name].toarray()[:, ::2] for name in (JUNCTION, CLUSTER))
    differs = _differ_in_neurons(adata, y, n)
    planted = _swap(adata, y, n)

    select_variable_atses(adata)
    table = adata.var.iloc[::2]
    rank = _rank(table["atse_score"])[differs]
    by_variability = _rank(table["atse_variability"])[differs]
    marked = table["variable_atse"].to_numpy()
    swapped, truth = planted
    select_variable_atses(swapped)
    area = {
        name: _auc(swapped.var[name].to_numpy()[::2], truth)
        for name in ("atse_score", "atse_variability")
    }
    n_differ = int(differs.sum())
    return [
        (
            f"exons that differ in motor neurons among the {TOP} highest scores of {len(table):,}",
            f"{(rank <= TOP).sum()} of {n_differ}",
            f">= {n_differ // 2}",
        ),
        (
            "median rank of these exons, by atse_score (by atse_variability)",
            f"{np.median(rank):.0f} ({np.median(by_variability):.0f})",
            f"<= {TOP}",
        ),
        (
            "ATSEs marked by default, and exons that differ among them",
            f"{marked.sum():,} of {len(table):,}, {marked[differs].sum()} of {n_differ}",
            "fewer than half, at least half",
        ),
        (
            "150 exons swapped in a seventh of the cells, AUC by atse_score (by atse_variability)",
            f"{area['atse_score']:.3f} ({area['atse_variability']:.3f})",
            ">= 0.9",
        ),
        *_simulated(),
        _known_exons(folder),
    ]


def _differ_in_neurons(adata: AnnData, y: np.ndarray, n: np.ndarray) -> np.ndarray:
    """``(A,)`` bool: exons whose mean PSI differs by more than 0.3."""
    neuron = (adata.obs["cell_type"] == "Motor neuron").to_numpy()
    covered = n >= 2
    psi = np.where(covered, y / np.maximum(n, 1), 0)
    inside, outside = (
        psi[of].sum(0) / np.maximum(covered[of].sum(0), 1) for of in (neuron, ~neuron)
    )
    differs: np.ndarray = (np.abs(inside - outside) > 0.3) & (
        covered[neuron].sum(0) >= neuron.sum() / 2
    )
    return differs


def _swap(adata: AnnData, y: np.ndarray, n: np.ndarray) -> tuple[AnnData, np.ndarray]:
    """Exchange inclusion and exclusion of 150 exons in some cells; coverage and noise remain."""
    rng = np.random.default_rng(0)
    mean = y.sum(0) / n.sum(0)
    minor = np.minimum(mean, 1 - mean)
    chosen = rng.choice(np.flatnonzero((minor > 0.05) & (minor < 0.3)), 150, replace=False)
    where = np.ix_(rng.random(len(y)) < 0.15, chosen)
    changed = y.copy()
    changed[where] = (n - y)[where]
    counts = np.stack([changed, n - changed], axis=2).reshape(adata.shape)
    layers = {JUNCTION: sp.csr_matrix(counts), CLUSTER: adata.layers[CLUSTER]}
    truth = np.zeros(n.shape[1], bool)
    truth[chosen] = True
    return AnnData(obs=adata.obs, var=adata.var, layers=layers), truth


def _simulated() -> list[tuple[str, str, str]]:
    """AUC of planted differences, and those among the marked, at three depths."""
    found = []
    for case, least, options in (
        ("defaults", 0.95, {}),
        ("4 reads on average", 0.86, {"mean_depth": 4.0}),
        ("5 % coverage", 0.9, {"coverage": 0.05}),
    ):
        adata = simulate_splicing(400, 400, **options, seed=1)
        select_variable_atses(adata)
        table = adata.var.drop_duplicates("atse_id").dropna(subset="atse_score")
        differs, marked = (table[name].to_numpy(bool) for name in ("differs", "variable_atse"))
        measured = f"{_auc(table['atse_score'].to_numpy(), differs):.3f}"
        found.append(
            (
                f"simulated, {case}: AUC of planted differences; those among the marked",
                f"{measured}; {(marked & differs).sum()} of {marked.sum()}",
                f">= {least}; 95 %",
            )
        )
    return found


def _known_exons(folder: Path) -> tuple[str, str, str]:
    """Ranks of exons known to differ between neurons and other cells of mouse cortex."""
    files = folder / "tasic2016"
    adata = make_splicing_dataset(
        files / "sj", gtf=files / "gencode.vM10.annotation.subset.gtf", n_jobs=1
    )
    select_variable_atses(adata)
    table = adata.var.drop_duplicates("atse_id")
    table = table.assign(rank=table["atse_score"].rank(ascending=False))
    best = table.groupby("gene_name", observed=True)["rank"].min()
    n = int(table["atse_score"].notna().sum())
    return (
        "tasic2016: best rank of Myl6 (exon 6) and Snap25 (exons 5a and 5b)",
        f"{best['Myl6']:.0f} and {best['Snap25']:.0f} of {n}",
        f"<= {n // 2}",
    )


def _rank(score: pd.Series) -> np.ndarray:
    rank: np.ndarray = score.rank(ascending=False).to_numpy()
    return rank


def _auc(score: np.ndarray, truth: np.ndarray) -> float:
    rank = pd.Series(score).rank().to_numpy()
    n = truth.sum()
    return float((rank[truth].sum() - n * (n + 1) / 2) / (n * (~truth).sum()))
