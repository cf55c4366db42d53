"""Read-through genes: those of transcripts that run from one gene into another."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import pandas as pd

_STATED: Final = re.compile(
    rb'(?:^|;)\s*(?:tag(?:\s+"?|=(?:[^;]*,)?)readthrough_(?:gene|transcript)\b'
    rb"|description[\s=][^;]*?\bread-?through\b)",
    re.IGNORECASE,
)
"""Tags of GENCODE, of which a line may have several, and descriptions of NCBI and Ensembl."""


def states_read_through(text: bytes) -> bool:
    """Return whether attributes of GTF or GFF3 name a read-through gene or transcript."""
    return b"hrough" in text and _STATED.search(text) is not None


def read_through_by_sites(
    introns: pd.DataFrame, genes: pd.DataFrame, chrom: np.ndarray, strand: np.ndarray
) -> np.ndarray:
    """Find genes that share splice sites with at least two genes that do not overlap each other.

    Parameters
    ----------
    introns
        Rows of ``gene`` (position in ``genes``), ``start`` and ``end``, 1-based and inclusive.
    genes
        G rows of ``start`` and ``end``.
    chrom, strand
        ``(G,)`` contig and strand of each gene.

    Returns
    -------
    ndarray
        ``(G,)`` bool.
    """
    locus = pd.factorize(pd.Series(chrom).astype(str) + strand)[0]
    gene = introns["gene"].to_numpy()
    partners = []
    for side in ("start", "end"):
        sites = pd.DataFrame(
            {"locus": locus[gene], "position": introns[side].to_numpy(), "gene": gene}
        ).drop_duplicates()
        is_shared = sites.duplicated(["locus", "position"], keep=False)
        sites = sites[is_shared]
        partners.append(sites.merge(sites, on=["locus", "position"])[["gene_x", "gene_y"]])
    pairs = pd.concat(partners).drop_duplicates()
    pairs = pairs[pairs["gene_x"] != pairs["gene_y"]]
    other = pairs["gene_y"].to_numpy()
    # Two intervals of a set are disjoint if and only if the last start is beyond the first end.
    bounds = pd.DataFrame(
        {
            "gene": pairs["gene_x"].to_numpy(),
            "last_start": genes["start"].to_numpy()[other],
            "first_end": genes["end"].to_numpy()[other],
        }
    )
    extremes = bounds.groupby("gene").agg({"last_start": "max", "first_end": "min"})
    is_found = extremes["last_start"] > extremes["first_end"]
    result = np.zeros(len(genes), bool)
    result[is_found.index[is_found]] = True
    return result
