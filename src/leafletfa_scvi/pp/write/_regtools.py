"""Junction counts as BED12 files of ``regtools junctions extract``, one for each cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi._arguments import check_at_least
from leafletfa_scvi._files import replacing
from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp.write._blocks import intron_blocks
from leafletfa_scvi.pp.write._outputs import check_targets, counts_and_introns, text_file

if TYPE_CHECKING:
    import os

    from anndata import AnnData


def write_regtools(
    adata: AnnData,
    folder: str | os.PathLike[str],
    *,
    ending: str = ".bed",
    anchor: int = 8,
    overwrite: bool = False,
) -> list[Path]:
    """Write junction counts as BED12 files like those of regtools, one for each cell.

    Lines are in the order of the junctions; those without reads in a cell are left out. The
    intron lies between the two blocks, which stand for the aligned bases on both sides.

    Parameters
    ----------
    adata
        Junction counts or a splicing data set; ``var`` has ``chrom``, ``start``, ``end`` and
        ``strand``.
    folder
        Folder for the files, which are named after the cells; made if it is missing. All files
        are written, or none.
    ending
        Ending of the names, such as ``".junc"`` for leafcutter; compressed with ``.gz``.
    anchor
        Length of the blocks in bases; shorter at the beginning of a contig.
    overwrite
        If True, replace existing files.

    Returns
    -------
    list of Path
        The files, in the order of the cells.

    Raises
    ------
    FileExistsError
        If a file exists, unless ``overwrite``.
    ValueError
        If counts or coordinates are malformed; an intron begins at the first base of its contig;
        or the name of a cell cannot be that of a file.
    """
    check_at_least(1, anchor=anchor)
    cells = adata.obs_names.astype(str).tolist()
    for name in cells:
        if name in ("", ".", "..") or name != Path(name).name or "\0" in name:
            raise ValueError(f"The cell {name!r} cannot be the name of a file: rename it.")
    if len(set(cells)) < len(cells):
        raise ValueError("adata has a cell twice: names must be unique.")
    counts, place = counts_and_introns(adata)
    blocks = intron_blocks(place, adata.var_names, anchor)
    targets = check_targets([Path(folder) / f"{cell}{ending}" for cell in cells], overwrite)
    if not targets:
        return []
    contigs, strands = place.contig, np.array(STRANDS, object)[place.strand]
    with replacing(*targets) as paths:
        for i, path in enumerate(paths):
            stored = slice(counts.indptr[i], counts.indptr[i + 1])
            with text_file(path) as file:
                for j, reads in zip(counts.indices[stored], counts.data[stored], strict=True):
                    fields = (
                        *(contigs[j], blocks.begin[j], blocks.end[j], f"JUNC{j + 1:08}"),
                        *(int(reads), strands[j], blocks.begin[j], blocks.end[j]),
                        *("255,0,0", 2, blocks.sizes[j], blocks.starts[j]),
                    )
                    file.write(("\t".join(map(str, fields)) + "\n").encode())
    return targets
