"""Ids of ATSEs that are the same in every data set with the same junctions."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.pp._codes import STRANDS, UNSTRANDED
from leafletfa_scvi.pp._junctions import junction_names

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNKNOWN: Final = STRANDS[UNSTRANDED]
_DIGEST_BYTES: Final = 6
"""48 bits: with 1,000 different ATSEs in each of 20,000 genes, some two of one gene share an id
with a probability of 4 in 100,000."""


def atse_ids(junctions: pd.DataFrame, labels: Iterable[object]) -> pd.Series:
    """Derive the id of each ATSE from its junctions.

    An id is ``{gene}:{digest}``, or ``{chrom}:{start}-{end}:{strand}:{digest}`` without genes,
    where the range reaches from the first to the last base of its introns. The digest, 12
    hexadecimal digits, depends on the names ``chrom:start-end:strand`` of the junctions alone:
    not on their order, on the other junctions of the data set, or on the annotation. The gene is
    the name (or else the id) of the genes of these junctions, several joined by ``+``. Junctions
    of unknown strand say nothing of gene, range and strand, unless there are no others.

    Parameters
    ----------
    junctions
        J rows in any order: ``chrom``; ``start`` and ``end``, the first and last base of the
        intron, 1-based; ``strand``; optionally ``gene_name`` and ``gene_id``. Repeated rows count
        once.
    labels
        ``(J,)`` any labels that tell the ATSEs apart, missing for junctions in none.

    Returns
    -------
    pandas.Series
        ``(J,)`` ids as text, None for junctions without a label; index of ``junctions``.

    Examples
    --------
    >>> table = pd.DataFrame({"chrom": "chr1", "start": [11, 11], "end": [20, 40], "strand": "+"})
    >>> atse_ids(table, ["a", "a"]).tolist()
    ['chr1:11-40:+:b3d67399f57a', 'chr1:11-40:+:b3d67399f57a']
    """
    codes, distinct = pd.factorize(pd.Series(list(labels), dtype=object))
    names = junction_names(junctions).to_numpy(object)
    genes = _genes(junctions)
    chrom, strand = (junctions[name].astype(str).to_numpy(object) for name in ("chrom", "strand"))
    start, end = (junctions[name].to_numpy(np.int64) for name in ("start", "end"))
    order = np.argsort(codes, kind="stable")
    first = np.searchsorted(codes[order], np.arange(len(distinct) + 1))
    ids = np.full(len(distinct) + 1, None, object)  # the last one is that of code -1
    for i in range(len(distinct)):
        rows = order[first[i] : first[i + 1]]
        digest = blake2b("\n".join(sorted(set(names[rows]))).encode(), digest_size=_DIGEST_BYTES)
        rows = rows[strand[rows] != _UNKNOWN] if (strand[rows] != _UNKNOWN).any() else rows
        of_genes = sorted({gene for text in set(genes[rows]) for gene in text.split(",") if gene})
        prefix = "+".join(of_genes)
        if not prefix:
            strands = "".join(sorted(set(strand[rows])))
            prefix = f"{chrom[rows[0]]}:{start[rows].min()}-{end[rows].max()}:{strands}"
        ids[i] = f"{prefix}:{digest.hexdigest()}"
    return pd.Series(ids[codes], junctions.index, dtype=object, name=ATSE_KEY)


def _genes(junctions: pd.DataFrame) -> np.ndarray:
    """Return the genes of each junction by name, or else by id; empty without any."""
    genes = np.full(len(junctions), "", object)
    for column in ("gene_id", "gene_name"):
        if column in junctions:
            given = junctions[column].astype(object).fillna("").astype(str).to_numpy(object)
            genes = np.where(given == "", genes, given)
    return genes
