"""Scores of scib-metrics with and without ``batch_key``: real protocols, runs and halves of cells.

Data (see ``LEAFLETFA_TEST_DATA``):

- "protocols": 130 Smart-seq2 cells of mouse embryos at E6.5 and E7.75, and a 10x 3' v3 library of
  1,301 cells of the mouse brain at E18, reads around the same 50 exons. Cells with reads of at
  least three ATSEs of the Smart-seq2 data. Each tissue has one protocol, so that what integrates
  the protocols also mixes the tissues: labels are the stages.
- "runs": 488 Smart-seq2 mouse cells of four types in two sequencing runs of one laboratory, the
  second with 41 epiblast cells only.
- "halves": the cells of the first run, a random half of each type. Counts of one half are thinned
  as by a second protocol; the other half and the cells are real. A read of an inclusion or
  exclusion junction is kept with a probability that exons draw from Beta(0.5, 2) (a fifth on
  average, most exons lose nearly all reads), lower for one of the two outcomes in 30 % of the
  exons, so that their PSI is shifted by a logit of N(0, 1.5).
- "halves, unshifted": the same, no PSI shifted.
- "halves, real": the same, no reads removed: what scores are without a batch effect.

Embeddings are ``X_PHI`` of fits by EM, and PCA of PSI (minus the mean of the junction, 0 where
missing) with as many components. Neighbors are exact. PCR compares with PCA. The 10x data leave
some scores without value: a label in one batch has none of BRAS and kBET.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write
from benchmarks.quality._cases import chen_path
from scib_metrics.benchmark import BatchCorrection, Benchmarker, BioConservation
from scib_metrics.nearest_neighbors import NeighborsResults
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

import leafletfa_scvi as lfa

COUNTS, TOTALS = "cell_by_junction_matrix", "cell_by_cluster_matrix"
BATCH, LABEL = "technology", "label"
SHIFTED, SCALE = 0.3, 1.5
"""Share of the exons of "halves" that are shifted, and standard deviation of the shifts."""
KEPT = (0.5, 2.0)
"""Beta parameters of the share of reads of an exon that the second protocol keeps."""
MIN_ATSES = 3
"""ATSEs with reads that cells of "protocols" need."""
N_PROGRAMS = {"protocols": 3}
"""Of each case, 8 where it has none."""
SCORES = {
    "ilisi_knn": "iLISI",
    "kbet_per_label": "kBET",
    "graph_connectivity": "graph",
    "bras": "BRAS",
    "pcr_comparison": "PCR",
    "Batch correction": "batch",
    "clisi_knn": "cLISI",
    "isolated_labels": "isolated",
    "silhouette_label": "silhouette",
    "nmi_ari_cluster_labels_kmeans_nmi": "NMI",
    "nmi_ari_cluster_labels_kmeans_ari": "ARI",
    "Bio conservation": "bio",
    "Total": "total",
}
"""Columns by the names of scib-metrics: integration, their mean, conservation, theirs, both."""


def protocols(seed: int) -> anndata.AnnData:
    """Count Smart-seq2 and 10x alignments of the same exons; the seed has no effect."""
    folder = chen_path().parent / "brie_ss2"
    gtf = folder / "mouse_SE.lenient_50events.gff3"  # of the 50 exons only
    options = {"gtf": gtf, "no_gene": "keep", "min_usage": 0.0}
    files = sorted((folder / "bams_SS2").glob("*.bam"))
    drops = folder / "10xData" / "neuron_1k_v3_possorted_genome_bam.50events.bam"
    plates = lfa.pp.make_splicing_dataset(files, **options)
    droplets = lfa.pp.make_splicing_dataset(
        drops, cell_tag="CB", barcodes=folder / "10xData" / "barcodes.tsv.gz", reference=plates
    )
    plates.obs[LABEL] = [name.split("_")[0] for name in plates.obs_names]
    droplets.obs[LABEL] = "E18 brain"
    adata = lfa.pp.concat_splicing(
        {"Smart-seq2": plates, "10x": droplets}, label=BATCH, no_gene="keep"
    )
    print(f"{describe(droplets)} 10x, {describe(plates)} Smart-seq2")
    return adata[n_atses(adata) >= MIN_ATSES].copy()


def runs(seed: int) -> anndata.AnnData:
    """Read the cells of both runs; the seed has no effect."""
    adata = anndata.read_h5ad(chen_path())
    adata.obs[LABEL] = adata.obs["cell_type"]
    adata.obs[BATCH] = adata.obs["batch"].astype(str).astype("category")
    return adata


def halves(
    seed: int, share: float = SHIFTED, kept: tuple[float, float] | None = KEPT
) -> anndata.AnnData:
    """Thin the counts of a half of the cells of each type."""
    adata = runs(seed)
    adata = adata[adata.obs["batch"] == "2015-10-19"].copy()
    rng = np.random.default_rng(seed)
    second = np.zeros(adata.n_obs, bool)
    for cells in adata.obs.groupby(LABEL, observed=True).indices.values():
        second[rng.permutation(cells)[: len(cells) // 2]] = True
    adata.obs[BATCH] = np.where(second, "second", "first")
    atse = adata.var["atse_id"].astype("category").cat.codes.to_numpy()
    n_exons = atse.max() + 1
    keep = np.ones(n_exons) if kept is None else rng.beta(*kept, n_exons)
    shift = rng.normal(0.0, SCALE, n_exons) * (rng.random(n_exons) < share)
    sign = np.where(adata.var["role"] == "inclusion", 1.0, -1.0)
    probability = keep[atse] * np.exp(np.minimum(sign * shift[atse], 0.0))
    counts = sp.csr_matrix(adata.layers[COUNTS]).tocoo()
    thinned = counts.data.astype(np.int64)
    half = second[counts.row]
    thinned[half] = rng.binomial(thinned[half], probability[counts.col[half]])
    adata.layers[COUNTS] = sp.csr_matrix((thinned, (counts.row, counts.col)), counts.shape)
    of_exon = sp.csr_matrix((np.ones(len(atse)), (np.arange(len(atse)), atse)))
    adata.layers[TOTALS] = ((adata.layers[COUNTS] @ of_exon) @ of_exon.T).astype(np.int64)
    for name in (COUNTS, TOTALS):
        adata.layers[name].eliminate_zeros()
    del adata.X
    return adata


CASES = {
    "protocols": protocols,
    "runs": runs,
    "halves": halves,
    "halves, unshifted": lambda seed: halves(seed, 0.0),
    "halves, real": lambda seed: halves(seed, 0.0, None),
}


def n_atses(adata: anndata.AnnData) -> np.ndarray:
    """Count the observed ATSEs of each cell."""
    first = ~adata.var["atse_id"].duplicated().to_numpy()
    return np.asarray((adata.layers[TOTALS][:, first] > 0).sum(axis=1)).ravel()


def describe(adata: anndata.AnnData) -> str:
    """Cells, ATSEs per cell and reads."""
    n = n_atses(adata)
    reads = int(adata.layers[COUNTS].sum())
    return (
        f"{np.sum(n > 0)} of {len(n)} cells with reads of {np.median(n):g} ATSEs, {reads} reads,"
    )


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="halves of the cells")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    parser.add_argument("--figures", type=Path, help="folder for figures of the first seed")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scvi.settings.verbosity = 40
    cases = " ".join(f"'{name}'" if " " in name else name for name in args.cases)
    facts = {
        "command": f"nox -s benchmarks -- protocols --seeds {args.seeds} --cases {cases}",
        "device": device_name(torch.device("cpu")),
    }
    facts |= versions(torch.device("cpu")) | {"date": now(), "load before": load()}
    columns = {"case": 17, "cells": 5, "entries": 9, "seed": 4, "embedding": 16}
    table = Table(columns | {name: max(6, len(name)) for name in SCORES.values()} | {"s": 6})
    table.start()
    for name in args.cases:
        for seed in range(args.seeds if name.startswith("halves") else 1):
            add(table, name, seed, args.figures if seed == 0 else None)
            if not args.no_results:
                write("protocols", "Protocols, runs and batch_key", facts, {"Scores": table})


def add(table: Table, case: str, seed: int, figures: Path | None) -> None:
    """Add a row for each embedding of the cells of a case."""
    adata = CASES[case](seed)
    n_programs = N_PROGRAMS.get(case, 8)
    adata.obsm["PCA"] = pca(adata, n_programs)
    seconds = {"PCA": float("nan")}
    for name, key in (("X_PHI", None), ("X_PHI, batch_key", BATCH)):
        scvi.settings.seed = seed
        lfa.LeafletFAModel.setup_anndata(adata, batch_key=key)
        model = lfa.LeafletFAModel(adata, n_programs)
        started = time.perf_counter()
        model.train(method="em", accelerator="cpu", enable_progress_bar=False)
        seconds[name] = time.perf_counter() - started
        adata.obsm[name] = model.get_latent_representation()
    found = scores(adata, list(seconds))
    for name, time_taken in seconds.items():
        row = {"case": case, "cells": adata.n_obs, "entries": adata.layers[TOTALS].nnz}
        row |= {"seed": seed, "embedding": name, **found[name], "s": time_taken}
        table.add(**row)
    if figures is not None:
        draw(adata, list(seconds), figures / f"{case.replace(', ', '-')}.png")


def pca(adata: anndata.AnnData, n_components: int) -> np.ndarray:
    """Components of PSI minus the mean of the junction, 0 where missing."""
    total = adata.layers[TOTALS].toarray()
    seen = total > 0
    psi = np.divide(adata.layers[COUNTS].toarray(), total, out=np.zeros(seen.shape), where=seen)
    mean = psi.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return PCA(n_components, random_state=0).fit_transform(np.where(seen, psi - mean, 0.0))


def scores(adata: anndata.AnnData, embeddings: list[str]) -> dict[str, dict[str, float]]:
    """Scores of scib-metrics by embedding; 1 is best of each."""
    reduced = anndata.AnnData(obs=adata.obs[[BATCH, LABEL]].astype("category"))
    for name in embeddings:
        reduced.obsm[name] = np.asarray(adata.obsm[name], np.float32)
    # scib-metrics stops with an error where no label is in several batches.
    shared = bool((pd.crosstab(reduced.obs[LABEL], reduced.obs[BATCH]) > 0).sum(axis=1).max() > 1)
    benchmark = Benchmarker(
        reduced,
        BATCH,
        LABEL,
        embeddings,
        BioConservation(),
        BatchCorrection(bras=shared, kbet_per_label=shared),
        pre_integrated_embedding_obsm_key="PCA",
        progress_bar=False,
    )
    benchmark.prepare(neighbors)
    benchmark.benchmark()
    table = benchmark.get_results(clean_names=False).drop(index="Metric Type")
    return {
        name: {
            short: float(table.loc[name, long]) for long, short in SCORES.items() if long in table
        }
        for name in embeddings
    }


def neighbors(x: np.ndarray, k: int) -> NeighborsResults:
    """Exact nearest neighbors, a cell itself first."""
    distances, indices = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(x)
    return NeighborsResults(indices=indices, distances=distances)


def draw(adata: anndata.AnnData, embeddings: list[str], path: Path) -> None:
    """Draw two components of each embedding, by batch and by label."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(embeddings), figsize=(5 * len(embeddings), 9))
    for column, name in enumerate(embeddings):
        xy = PCA(2).fit_transform(adata.obsm[name])
        for row, key in enumerate((BATCH, LABEL)):
            for value in sorted(adata.obs[key].unique()):
                of = (adata.obs[key] == value).to_numpy()
                axes[row, column].scatter(*xy[of].T, s=6, label=value, alpha=0.6)
            axes[row, column].set_title(name)
            axes[row, column].legend(fontsize=7)
    os.makedirs(path.parent, exist_ok=True)
    figure.savefig(path, dpi=70, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main()
