"""Coordinates and names of simulated junctions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from leafletfa_scvi.pp._junctions import junction_names

_CHROMOSOMES = 19
_ATSES_PER_GENE = 2
_SPACING = 20_000
"""Distance in bases between the starts of consecutive ATSEs on a chromosome."""


def draw_coordinates(atse: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Draw coordinates of introns such that the junctions of an ATSE share one splice site.

    Parameters
    ----------
    atse
        ``(P,)`` 0-based ATSE of each junction, ascending.
    rng
        Random number generator.

    Returns
    -------
    pandas.DataFrame
        P rows named ``chrom:start-end:strand``, with columns ``chrom``, ``start``, ``end``
        (1-based, inclusive introns), ``strand``, ``gene_id``, ``gene_name`` and ``atse_id``.
    """
    n_atses = int(atse[-1]) + 1
    gene = np.arange(n_atses) // _ATSES_PER_GENE
    n_genes = int(gene[-1]) + 1
    chromosome = gene * min(_CHROMOSOMES, n_genes) // n_genes
    order = np.arange(n_atses) - np.searchsorted(chromosome, chromosome)
    shared_site = 1_000_001 + order * _SPACING + _SPACING // 2
    shares_start = rng.random(n_atses) < 0.5
    strand = np.where(rng.random(n_genes) < 0.5, "+", "-")

    rank = np.arange(len(atse)) - np.searchsorted(atse, atse)
    step = _SPACING // 2 // (int(rank.max()) + 2)
    length = (rank + 1) * step - rng.integers(0, max(step // 2, 1), len(atse))
    left = np.where(shares_start[atse], shared_site[atse], shared_site[atse] - length + 1)
    table = pd.DataFrame(
        {
            "chrom": "chr" + pd.Series(chromosome[atse] + 1).astype(str),
            "start": left,
            "end": left + length - 1,
            "strand": strand[gene[atse]],
            "gene_id": [f"SIMG{g + 1:08d}" for g in gene[atse]],
            "gene_name": [f"GENE_{g + 1}" for g in gene[atse]],
            "atse_id": [f"ATSE_{a + 1}" for a in atse],
        }
    )
    table.index = junction_names(table)
    for name in ("chrom", "strand", "gene_id", "gene_name", "atse_id"):
        table[name] = pd.Categorical(table[name])
    return table
