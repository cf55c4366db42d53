"""Junction counts as leafcutter's ``perind_numers.counts.gz``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi._files import replacing
from leafletfa_scvi.data import atse_codes
from leafletfa_scvi.pp.write._outputs import check_targets, counts_and_introns, text_file

if TYPE_CHECKING:
    import os

    from anndata import AnnData

_STRANDS = ("NA", "+", "-")
"""Strands by their code, as leafcutter writes them."""


def write_leafcutter(
    adata: AnnData,
    path: str | os.PathLike[str],
    *,
    atse_key: str = ATSE_KEY,
    overwrite: bool = False,
) -> None:
    """Write junction counts as ``perind_numers.counts.gz``, the input of leafcutter's analyses.

    Fields are separated by spaces: a header of cells, then a row for each junction, named
    ``chrom:start:end:clu_number_strand`` with the last base of the exon before the intron and the
    first of the exon after it (1-based), and its reads in each cell. ATSEs are the clusters,
    numbered from 1 in order of their first junction.

    Parameters
    ----------
    adata
        Splicing data set, or junction counts with ``var[atse_key]``; ``var`` has ``chrom``,
        ``start``, ``end`` and ``strand``.
    path
        File to write; compressed if its name ends with ``.gz``. It is written whole or not at
        all.
    atse_key
        Column of ``adata.var`` with ATSE labels.
    overwrite
        If True, replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists, unless ``overwrite``.
    KeyError
        If ``var`` has no ATSE labels.
    ValueError
        If counts or coordinates are malformed; an intron begins at the first base of its contig;
        or the name of a cell or contig has white space, or that of a contig a colon.
    """
    (target,) = check_targets([path], overwrite)
    counts, place = counts_and_introns(adata)
    codes, _ = atse_codes(adata, atse_key)
    cells = adata.obs_names.astype(str).tolist()
    for name in (*cells, *place.chroms):
        if not name or name.split() != [name]:
            raise ValueError(
                f"The name {name!r} is empty or has white space, which separates the fields of "
                "leafcutter's files: rename it."
            )
    if ":" in "".join(place.chroms):
        name = next(name for name in place.chroms if ":" in name)
        raise ValueError(
            f"The contig {name!r} has a colon, which separates the parts of leafcutter's names of "
            "introns: rename it or leave its junctions out."
        )
    if (place.start < 2).any():
        name = adata.var_names[int(place.start.argmin())]
        raise ValueError(f"Expected an exon before each intron, found {name!r} at the first base.")
    order = np.unique(codes, return_index=True)[1].argsort()
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(1, len(order) + 1)
    by_junction = counts.tocsc()
    zeros = ["0"] * len(cells)
    with replacing(target) as (temporary,), text_file(temporary) as file:
        file.write(" ".join(cells).encode() + b"\n")
        for j, contig in enumerate(place.contig):
            row = zeros.copy()
            stored = slice(by_junction.indptr[j], by_junction.indptr[j + 1])
            found = (by_junction.indices[stored].tolist(), by_junction.data[stored].tolist())
            for cell, reads in zip(*found, strict=True):
                row[cell] = str(int(reads))
            cluster = f"clu_{number[codes[j]]}_{_STRANDS[place.strand[j]]}"
            name = f"{contig}:{place.start[j] - 1}:{place.end[j] + 1}:{cluster}"
            file.write(f"{name} {' '.join(row)}\n".encode())
