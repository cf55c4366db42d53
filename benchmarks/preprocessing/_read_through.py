"""Genes of junctions where the annotation has read-through genes: GTEx chromosome 10."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from anndata import AnnData


def rows() -> list[tuple[str, str, str]]:
    """Return case, measured, target."""
    folder = Path(os.environ["LEAFLETFA_TEST_DATA"]) / "gtex_chr10"
    gtf = folder / "chr10.gtf.gz"
    junctions = lfa.pp.read_junc(f"{folder}/*.bed.gz")
    stated = lfa.pp.read_annotation(gtf)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.gtf"
        with gzip.open(gtf, "rt") as lines:
            path.write_text("".join(line.replace("readthrough", "") for line in lines))
        unstated = lfa.pp.read_annotation(path)
    same = (stated.genes["is_read_through"] & unstated.genes["is_read_through"]).sum()
    n_stated, n_found = (
        int(annotation.genes["is_read_through"].sum()) for annotation in (stated, unstated)
    )
    table = [
        (
            "read-through genes, tags removed",
            f"{same} of {n_stated} found by their sites, {n_found - same} others",
            "",
        )
    ]
    for name, annotation, target in (
        ("", stated, ">= 725"),
        (", tags removed", unstated, "693 if read-through genes are as others"),
    ):
        data = lfa.pp.make_splicing_dataset(junctions, gtf=annotation)
        none_left, half_lost = coding_genes_without_junctions(junctions, annotation)
        table += [
            (f"GTEx chr10 with GTF{name}", f"{data.var['atse_id'].nunique()} ATSEs", target),
            (
                f"protein-coding genes{name}",
                f"{none_left} with no junction left, {half_lost} with less than half",
                "none lost to a read-through gene",
            ),
        ]
    return [*table, joined_genes(junctions, stated)]


def coding_genes_without_junctions(
    junctions: AnnData, annotation: lfa.pp.Annotation
) -> tuple[int, int]:
    """Count the protein-coding genes that have none, or less than half, of their introns.

    Of introns with at least 10 reads that are those of the gene in the annotation, and of genes
    that are no read-through genes.
    """
    junctions = junctions.copy()
    lfa.pp.annotate_junctions(junctions, annotation)
    reads = np.asarray(junctions.X.sum(axis=0)).ravel()
    given = junctions.var[reads >= 10]
    genes = annotation.genes
    coding = genes.index[(genes["gene_type"] == "protein_coding") & ~genes["is_read_through"]]
    places = ["chrom", "start", "end", "strand"]
    introns = annotation.introns[annotation.introns["gene_id"].isin(coding)]
    as_text = {"chrom": str, "strand": str}
    both = given.astype(as_text).merge(introns.astype(as_text), on=places, suffixes=("", "_own"))
    own = both["gene_id_own"]
    kept = Counter(own[both["gene_id"] == own])
    # Introns of two genes of another kind, such as those that share exons, are lost to neither.
    is_shared = (both["n_genes"] > 1).to_numpy()
    of_all = Counter(own[~is_shared])
    lost = [kept[gene] / number for gene, number in of_all.items()]
    return sum(share == 0 for share in lost), sum(share < 0.5 for share in lost)


def joined_genes(junctions: AnnData, annotation: lfa.pp.Annotation) -> tuple[str, str, str]:
    """Add novel junctions that join neighboring genes, and compare the ATSEs of all others."""
    before = lfa.pp.make_splicing_dataset(junctions, gtf=annotation)
    of_genes = before.var.groupby(["strand", "gene_id"], observed=True)[["start", "end"]]
    bounds = of_genes.agg(["min", "max"]).reset_index()
    bounds.columns = ["strand", "gene", "first_start", "last_start", "first_end", "last_end"]
    added = []
    for _, genes in bounds.sort_values("first_start").groupby("strand", observed=True):
        pairs = zip(genes.itertuples(), list(genes.itertuples())[1:], strict=False)
        added += [
            ("chr10", a.last_start, b.first_end, a.strand)
            for a, b in pairs
            if a.last_end < b.first_start
        ]
    new = pd.DataFrame(added, columns=["chrom", "start", "end", "strand"])
    new.index = [f"{c}:{s}-{e}:{t}" for c, s, e, t in added]
    new = new[~new.index.isin(junctions.var_names)]
    reads = sp.csr_matrix(np.full((junctions.n_obs, len(new)), 5, junctions.X.dtype))
    var = pd.concat([junctions.var[list(new)].astype({"chrom": str, "strand": str}), new])
    more = anndata.AnnData(
        sp.hstack([junctions.X, reads]).tocsr(), obs=junctions.obs.copy(), var=var
    )
    # Usage is measured with the added reads: without the filter, nothing else changes.
    options = {"gtf": annotation, "min_usage": 0.0, "max_intron": 10**9}
    plain = lfa.pp.make_splicing_dataset(junctions, **options)
    data = lfa.pp.make_splicing_dataset(more, **options)
    atses = data.uns["splicing"]["atses"]
    shared = plain.var.index.intersection(data.var.index)
    columns = ["atse_id", "event_type"]
    is_same = (
        data.var.loc[shared, columns].astype(str) == plain.var.loc[shared, columns].astype(str)
    ).all(axis=1)
    n_changed = int((~is_same).sum()) + plain.n_vars - len(shared)
    return (
        f"{len(new)} novel junctions between genes",
        f"{atses['junctions_joining_genes']} of two genes, others of a read-through gene; "
        f"{n_changed} other junctions changed",
        "0 other junctions changed",
    )
