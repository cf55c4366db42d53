"""Tracks of junctions for genome browsers: PSI of groups of cells or of programs."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata, check_whole
from leafletfa_scvi._constants import CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi._files import replacing
from leafletfa_scvi.pp._junctions import coordinates_in_names
from leafletfa_scvi.pp.write._outputs import check_targets, text_file
from leafletfa_scvi.tl._bed_lines import genome_order
from leafletfa_scvi.tl._links import atse_links, links_page
from leafletfa_scvi.tl._psi_by_group import junction_positions
from leafletfa_scvi.tl._track_files import file_names, igv_session
from leafletfa_scvi.tl._track_values import (
    gene_labels,
    group_tracks,
    left_out,
    program_tracks,
    track_heading,
    track_lines,
)
from leafletfa_scvi.tl._write_bed import junction_coordinates

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData

    from leafletfa_scvi import LeafletFAModel
    from leafletfa_scvi._colors import Palette
    from leafletfa_scvi.pp._junctions import Introns

log = logging.getLogger(__name__)

_COORDINATES: Final = ("chrom", "start", "end")
_UCSC_FILE: Final = "ucsc_tracks.bed.gz"
_SESSION: Final = "igv_session.xml"
_LINKS: Final = ("links.tsv", "links.html")


def write_tracks(
    adata: AnnData,
    folder: str | os.PathLike[str],
    groupby: str | None = None,
    *,
    groups: Sequence[str] | None = None,
    programs: Sequence[str] | bool | None = None,
    junctions: Sequence[str] | None = None,
    model: LeafletFAModel | None = None,
    top: pd.DataFrame | None = None,
    n_top: int = 50,
    genome: str | None = None,
    min_reads: int = 1,
    palette: Palette | None = None,
    anchor: int = 8,
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Write a track of junctions with PSI for each group or program, for IGV and the UCSC browser.

    Files in the folder, all of which are written or none:

    - ``<group>.bed``, BED12: the intron lies between two blocks, as regtools writes junctions. The
      name is ``gene|PSI=0.43|12/28``: reads of the junction, of those of its ATSE. The score is
      PSI times 1,000; the color is that of the group, the paler the lower PSI. IGV draws arcs,
      IGV-Web and the UCSC browser blocks.
    - ``igv_session.xml``, which opens these files in IGV (*File > Open Session*). It names them
      relative to itself, so that the folder can be moved.
    - ``ucsc_tracks.bed.gz``, all tracks in one file, to upload as a custom track.
    - with ``top``, ``links.tsv`` and ``links.html``: the leading ATSEs with their loci, and links
      to them in IGV and in the UCSC browser.

    Junctions without PSI in a group, as their ATSE has no reads there, are left out of its track
    and counted in its description; a group without any has an empty track, which is logged.

    Parameters
    ----------
    adata
        Cells x junctions with both layers of counts. ``adata.var`` has the introns in ``chrom``,
        ``start``, ``end`` (1-based, inclusive) and optionally ``strand``, or names of junctions
        are ``chrom:start-end:strand``. Junctions without coordinates are left out, which is
        logged.
    folder
        Folder to write to, made if it is missing. Other files in it are left alone.
    groupby
        Column of ``adata.obs`` with groups of cells. If neither this nor ``programs`` is given,
        all cells are one group.
    groups
        Groups to write, in this order; if None, all that have cells.
    programs
        Programs to write instead of groups, in this order; all if True. They are those of
        ``model``, or of ``varm["psi_learned"]``. Programs have no reads.
    junctions
        Names of junctions to write; all if None.
    model
        Trained model. With groups, score and color are of its mean expected PSI, which is also in
        the name, as ``model=0.41``; ``PSI`` is observed.
    top
        Table of :meth:`~leafletfa_scvi.LeafletFAModel.differential_splicing` or
        :meth:`~leafletfa_scvi.LeafletFAModel.program_markers`, to list links from: ATSEs that are
        called, by its column ``is_ds_fdr_<target>`` (all if it has none, or several), the most
        probable first within each comparison or program. An ATSE is shown from end to end, with a
        tenth of its length, at least 100 bases, on either side.
    n_top
        Maximum number of ATSEs of a comparison or program to list.
    genome
        UCSC's name of the genome, such as ``"mm10"`` or ``"hg38"``, which IGV has as well. If
        None, there are no links to the UCSC browser, and both browsers keep their genome.
    min_reads
        Junctions with fewer reads in a group are left out of its track and counted in its
        description. 0 keeps those that are never used (PSI 0) where others of the ATSE are.
    palette
        Colors of groups or programs, as in scanpy. If None, those of
        ``adata.uns["{groupby}_colors"]``, or those of the figures.
    anchor
        Length of the blocks in bases; shorter at the beginning of a contig.
    junction_layer, cluster_layer
        Layers of junction counts and of ATSE totals, in reads.
    overwrite
        If True, replace existing files.

    Returns
    -------
    pandas.DataFrame
        One row for each track, indexed by ``track``: ``path``, and the numbers of junctions
        ``n_written``, ``n_not_observed`` and ``n_few_reads``.

    Raises
    ------
    FileExistsError
        If a file exists, unless ``overwrite``.
    KeyError
        If a column, layer, group, program or junction is unknown; the message offers the nearest.
    NotADirectoryError
        If ``folder`` is a file.
    ValueError
        If both ``groupby`` and ``programs`` are given, no junction has coordinates, a junction is
        beyond the end of its chromosome in ``genome``, or the name of a genome, color or number
        is none.

    See Also
    --------
    leafletfa_scvi.tl.write_bed : One comparison as a track, by its effects.
    leafletfa_scvi.tl.psi_by_group : The numbers written, for groups.
    leafletfa_scvi.tl.psi_by_program : The numbers written, for programs.

    Notes
    -----
    Positions in BED files are 0-based and half open: the intron of ``start`` and ``end`` lies from
    ``start - 1`` to ``end``. See UCSC's `format of BED
    <https://genome.ucsc.edu/FAQ/FAQformat.html#format1>`__. Names of files are those of groups,
    with ``_`` for characters that a system may refuse, and numbers where they are then the same.
    IGV draws arcs of full thickness from a score of 50 on; their shades show PSI. Betas of IGV 3
    give all arcs of a track one color. IGV-Web opens the tracks, but not the session, which names
    files beside it.

    Examples
    --------
    >>> table = model.differential_splicing(groupby="cell_type")  # doctest: +SKIP
    >>> lfa.tl.write_tracks(
    ...     adata, "tracks", "cell_type", top=table, genome="mm10"
    ... )  # doctest: +SKIP
    """
    check_anndata(adata)
    check_whole("anchor", anchor, 1)
    check_whole("min_reads", min_reads, 0)
    check_whole("n_top", n_top, 1)
    _check_genome_name(genome)
    if programs not in (None, False) and (groupby is not None or groups is not None):
        raise ValueError(
            "Expected groupby or programs, found both. Write them to two folders, one at a time."
        )
    home = Path(folder)
    if home.exists() and not home.is_dir():
        raise NotADirectoryError(f"Expected folder to be a folder, found the file {home}.")
    positions = pd.unique(junction_positions(adata, junctions))
    names, place = _places(adata, positions)
    if genome is not None:
        _check_lengths(genome, names, place)
    every, every_place = (names, place) if junctions is None else _places(adata)
    links = None if top is None else atse_links(top, adata, every, every_place, n_top, genome)
    if programs is None or programs is False:
        tracks = group_tracks(
            *(adata, groupby, list(names), groups, model, palette),
            *(junction_layer, cluster_layer),
        )
    else:
        chosen = None if programs is True else programs
        tracks = program_tracks(adata, list(names), chosen, model, palette)

    files = file_names([track.name for track in tracks], ".bed")
    others = [_UCSC_FILE, _SESSION, *(() if links is None else _LINKS)]
    targets = check_targets([home / name for name in (*files, *others)], overwrite)
    order, genes = genome_order(place), gene_labels(adata, names)
    suffix = "" if genome is None else f' db="{genome}"'
    written = []
    with replacing(*targets) as staged:
        with text_file(staged[len(files)]) as ucsc:
            for track, path in zip(tracks, staged, strict=False):
                unseen, few = left_out(track, min_reads)
                kept = order[~(unseen | few)[order]]
                text = "".join(track_lines(track, kept, names, place, genes, anchor)).encode()
                counts = len(kept), int(unseen.sum()), int(few.sum())
                head = track_heading(track, counts, min_reads)
                with text_file(path) as file:
                    file.write(f"{head} graphType=junctions\n".encode() + text)
                ucsc.write(f"{head}{suffix}\n".encode() + text)
                written.append(counts)
        loci = [] if links is None else links["locus"].dropna().tolist()
        session = igv_session(files, genome, loci[0] if loci else "All")
        staged[len(files) + 1].write_text(session, encoding="utf-8")
        if links is not None:
            links.to_csv(staged[-2], sep="\t", index=False)
            staged[-1].write_text(links_page(links), encoding="utf-8")
    empty = [track.name for track, counts in zip(tracks, written, strict=True) if not counts[0]]
    if empty:
        log.warning("Tracks without junctions: %s.", ", ".join(empty))
    result = pd.DataFrame(written, columns=["n_written", "n_not_observed", "n_few_reads"])
    result.insert(0, "path", [str(home / name) for name in files])
    result.index = pd.Index([track.name for track in tracks], name="track")
    return result


def _places(adata: AnnData, positions: np.ndarray | None = None) -> tuple[pd.Index, Introns]:
    """Return names and coordinates of the junctions at some positions that have coordinates."""
    var = adata.var if positions is None else adata.var.iloc[positions]
    is_listed = set(_COORDINATES) <= set(var)
    known = (
        var[list(_COORDINATES)].notna().all(axis=1).to_numpy()
        if is_listed
        else coordinates_in_names(var.index)["chrom"].notna().to_numpy()
    )
    if not known.any():
        raise ValueError(
            "Expected coordinates of junctions in adata.var, as chrom, start and end (1-based, "
            "inclusive), or names such as chr1:101-250:+, found neither. Add the columns."
        )
    if not known.all() and positions is not None:
        log.warning(
            "%s of %s junctions have no coordinates and are left out.",
            f"{int((~known).sum()):,}",
            f"{len(known):,}",
        )
    names = var.index[known]
    return names, junction_coordinates(names, var if is_listed else None)


def _check_genome_name(genome: str | None) -> None:
    if genome is not None and not (
        isinstance(genome, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*", genome)
    ):
        raise ValueError(
            f"Expected genome to be UCSC's name of one, such as 'mm10', found {genome!r}."
        )


def _check_lengths(genome: str, names: pd.Index, place: Introns) -> None:
    """Refuse junctions beyond the end of their chromosome, if the genome is a known one."""
    from leafletfa_scvi.data._genome_builds import BUILDS

    lengths = next((BUILDS[name] for name in BUILDS if name.split()[0] == genome), {})
    size = [lengths.get(chrom.removeprefix("chr"), np.inf) for chrom in place.chroms]
    beyond = place.end > np.array(size)[place.chrom]
    if beyond.any():
        i = int(beyond.argmax())
        chrom = place.chroms[place.chrom[i]]
        raise ValueError(
            f"Expected junctions within the chromosomes of {genome}, found {str(names[i])!r}, "
            f"which ends at {chrom}:{place.end[i]:,}, beyond {size[place.chrom[i]]:,.0f} bp. Pass "
            "the genome that reads were aligned to."
        )
