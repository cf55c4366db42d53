"""Input files of folders and patterns, without what STAR and IsoQuant write beside results."""

from __future__ import annotations

import glob
import os
import re
import warnings
from pathlib import Path
from typing import Final

from natsort import natsorted

from leafletfa_scvi.pp.read._detect import cell_name
from leafletfa_scvi.pp.read._formats import FORMATS, endings_of
from leafletfa_scvi.pp.read._solo_folder import find_solo

_ALIGNMENTS: Final = tuple(
    ending for row in FORMATS.values() if row.is_alignment for ending in row.endings
)
_SOLO: Final = "Solo.out"
_FOLDERS: Final = {
    "_STARpass1": "STAR's first pass",
    "_STARgenome": "STAR's index of junctions",
    "_STARtmp": "STAR's temporary files",
}
_NAMES: Final = (
    (re.compile(r"toTranscriptome\b.*\.(bam|cram|sam)$"), "alignments to transcripts"),
    (re.compile(r"Chimeric\.out\.(junction|sam|bam)(\.gz)?$"), "chimeric reads"),
    (re.compile(r"ReadsPerGene\.out\.tab(\.gz)?$"), "counts of genes"),
    (re.compile(r"Signal\.[^/]*\.out\.(bg|wig)$"), "coverage"),
    (re.compile(r"Unmapped\.out\.mate\d"), "unaligned reads"),
    (re.compile(r"Log(\.\w+)?\.out$"), "a log"),
    (
        re.compile(r"\.exclude\.matrix\.mtx(\.gz)?$"),
        "IsoQuant's reads that span introns without splicing them; include.matrix.mtx beside it "
        "has those that do",
    ),
    (re.compile(r"exon\w*\.include\.matrix\.mtx(\.gz)?$"), "IsoQuant's counts of exons"),
    (
        re.compile(r"intron_retention\w*\.include\.matrix\.mtx(\.gz)?$"),
        "IsoQuant's counts of retained introns",
    ),
    (re.compile(r"\.corrected_reads\.bed(\.gz)?$"), "reads that IsoQuant corrected"),
)
_BESIDE: Final = tuple(
    ".bai .csi .crai .tbi .fai .gzi .md5 .md5sum .sha256 .log .md .out .mate1 .mate2".split()
)
"""Endings of files that are expected beside inputs: indexes, checksums, logs, notes."""
_OF_MATRIX: Final = re.compile(r"_grouped_[^/]*\.(features|barcodes)\.tsv(\.gz)?$")
"""Files beside the matrices of IsoQuant, which are read with them."""
_RATIOS: Final = ("perind.counts", "perind.counts.gz")
_SORTED, _UNSORTED = "Aligned.sortedByCoord.out", "Aligned.out"


def by_product(path: str | os.PathLike[str]) -> str | None:
    """Describe a path that STAR or IsoQuant writes beside its results; None for anything else.

    Of STAR, alignments to transcripts, chimeric reads, counts of genes, coverage, unaligned
    reads, logs, all in folders that end with ``_STARpass1``, ``_STARgenome`` or ``_STARtmp``, and
    parts of ``Solo.out`` other than its folder ``SJ``; of IsoQuant, matrices of what is no
    junction, and corrected reads.
    """
    parts = Path(os.path.abspath(path)).parts
    for part in parts:
        for ending, what in _FOLDERS.items():
            if part.endswith(ending):
                return what
    for pattern, what in _NAMES:
        if pattern.search(parts[-1]):
            return what
    solo = next((i for i, part in enumerate(parts) if part.endswith(_SOLO)), None)
    if solo is not None and solo + 1 < len(parts):
        if parts[solo + 1] != "SJ":
            return "of STARsolo, but not its junctions, which are in Solo.out/SJ/raw"
        if os.path.isfile(path):
            return "part of a folder of STARsolo: name the folder"
    return None


def refuse_by_product(path: str | os.PathLike[str]) -> None:
    """Refuse a path that the user named, if STAR or IsoQuant writes it beside its results."""
    what = by_product(path)
    if what is None:
        return
    expected = "STAR's SJ.out.tab, its alignments to the genome, or Solo.out/SJ/raw"
    if "IsoQuant" in what:
        expected = "IsoQuant's splice_junction_grouped_*_counts.include.matrix.mtx"
    raise ValueError(
        f"{os.fspath(path)} is not an input ({what}). Leave it out: expected {expected}."
    )


def expand_folder(folder: Path, format: str) -> list[str]:
    """List the input files of a folder, in natural order, or its STARsolo folders.

    A folder without inputs may hold folders of STARsolo runs, one for each. With a format only
    files that may be of it. By-products of STAR are left out with a warning, and so are files of
    unknown endings, files beside a STARsolo folder with junctions, and STARsolo folders without.

    Raises
    ------
    FileNotFoundError
        If the folder has no input.
    ValueError
        If both alignments and junction files are present, or STARsolo folders but none with
        junctions; a format selects what to read.
    """
    files = _files_in(folder, format)
    if format in ("auto", "starsolo"):
        solo, whole = _solo_folders(folder)
        beside = files
        if not (whole or solo or files):
            runs = [Path(name) for name in natsorted(map(str, folder.iterdir()))]
            for run in runs:
                if run.is_dir() and by_product(run) is None:
                    found_solo, found_whole = _solo_folders(run)
                    solo, whole = solo + found_solo, whole + found_whole
                    beside = [*beside, *(_files_in(run, format) if found_whole else ())]
        if whole:
            lacking = [(name, "a folder of STARsolo without SJ/raw") for name in solo]
            _warn_of_skipped(
                [*lacking, *((name, "beside a folder of STARsolo") for name in beside)]
            )
            return whole
        if format == "starsolo":
            return [str(folder)]  # its reader says what is missing
        if solo:
            bulk = f" Files beside it, such as {files[0]}, are of all its cells:" if files else ""
            raise ValueError(
                f"{solo[0]} has no SJ/raw: run STARsolo with --soloFeatures SJ for junctions by "
                f"barcode.{bulk} format='bam' (--format bam) with cell_tag counts alignments by "
                "barcode."
            )
    found = choose(files, format, str(folder))
    unknown = [] if format == "starsolo" else _unknown_in(folder)
    if not found:
        ends = ", ".join(end for end in endings_of(format) if not end.endswith(".gz"))
        others = f" It has {unknown[0]}: name a file to read it by its content." if unknown else ""
        raise FileNotFoundError(
            f"The folder {folder} holds no file that ends with any of {ends}"
            + (" and no STARsolo folder." if format == "auto" else f" for format={format!r}.")
            + others
        )
    _warn_of_skipped([(name, "unknown ending: name it to read it") for name in unknown])
    return found


def _files_in(folder: Path, format: str) -> list[str]:
    """List the files of a folder with endings of a format, in natural order."""
    wanted = endings_of(format)
    entries = natsorted(str(entry) for entry in folder.iterdir())
    return [name for name in entries if name.endswith(wanted) and os.path.isfile(name)]


def _unknown_in(folder: Path) -> list[str]:
    """List the files of a folder whose endings are of no format, nor of files beside inputs."""
    entries = natsorted(str(entry) for entry in folder.iterdir() if not entry.name.startswith("."))
    return [
        name
        for name in entries
        if os.path.splitext(name)[1]
        and not name.lower().endswith(_BESIDE)
        and not _OF_MATRIX.search(name)
        and not name.endswith(endings_of("auto"))
        and os.path.isfile(name)
        and by_product(name) is None
    ]


def _solo_folders(folder: Path) -> tuple[list[str], list[str]]:
    """List the STARsolo folders of one folder: those without junctions, and those with."""
    entries = natsorted(str(entry) for entry in folder.iterdir())
    solo = [name for name in entries if name.endswith(_SOLO) and os.path.isdir(name)]
    whole = [name for name in solo if find_solo(name) is not None]
    lacking = [name for name in solo if name not in whole]
    if find_solo(folder) is not None and whole in ([], [str(folder / _SOLO)]):
        whole = [str(folder)]
    return lacking, whole


def expand_pattern(pattern: str, format: str) -> list[str]:
    """List the input files that a pattern matches, in natural order, and those of matched folders.

    Files are chosen as those of a folder are; names of unknown endings are kept.
    """
    matched = natsorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []
    files: list[str] = []
    for name in matched:
        if os.path.isdir(name) and by_product(name) is None and find_solo(name) is None:
            if "**" not in pattern:  # else the files in it are matched by themselves
                files += expand_folder(Path(name), format)
        else:
            files.append(name)
    others = tuple(end for end in endings_of("auto") if end not in endings_of(format))
    files = [name for name in files if not (others and name.endswith(others))]
    found = choose(files, format, pattern)
    if not found:
        if files:
            raise FileNotFoundError(f"The pattern {pattern} matches only files that are no input.")
        raise FileNotFoundError(f"There is no file or folder {pattern}.")
    return found


def choose(files: list[str], format: str, where: str) -> list[str]:
    """Select inputs among files; by-products are left out with a warning.

    If a sample has alignments in both orders, those sorted by position are taken; of leafcutter's
    files with and without totals, those without.

    Raises
    ------
    ValueError
        If both alignments and junction files are present, or leafcutter's counts and others, and
        no format is given; or IsoQuant's counts of the same reads in several groups.
    """
    skipped = [(name, what) for name in files if (what := by_product(name)) is not None]
    left_out = {name for name, _ in skipped}
    ordered = {cell_name(name) for name in files if _SORTED in os.path.basename(name)}
    for name in files:
        is_unsorted = _UNSORTED in os.path.basename(name) and name.endswith(_ALIGNMENTS)
        if name not in left_out and is_unsorted and cell_name(name) in ordered:
            skipped.append((name, "the same alignments as those sorted by position"))
            left_out.add(name)
    numers = {os.path.realpath(name) for name in files if name not in left_out}
    for name in files:
        if name.endswith(_RATIOS) and os.path.realpath(_numers_of(name)) in numers:
            skipped.append((name, "the same counts as its numerators"))
            left_out.add(name)
    found = [name for name in files if name not in left_out]
    _refuse_other_groups(found, where)
    if format == "auto":
        tables = [name for name in found if name.endswith(FORMATS["leafcutter"].endings)]
        if tables and len(tables) < len(found):
            other = next(name for name in found if name not in tables)
            raise ValueError(
                f"{where} has leafcutter's counts, such as {tables[0]}, and other files, such as "
                f"{other}, which may be what these were made of: reads would be counted twice. "
                "Choose with format='leafcutter' (--format leafcutter) or another format."
            )
        alignments = [name for name in found if name.endswith(_ALIGNMENTS)]
        others = tuple(end for end in endings_of("auto") if end not in _ALIGNMENTS)
        junctions = [name for name in found if name.endswith(others)]
        if alignments and junctions:
            kind = next(f for f, row in FORMATS.items() if junctions[0].endswith(row.endings))
            raise ValueError(
                f"{where} has alignments, such as {alignments[0]}, and junction files, such as "
                f"{junctions[0]}: reads would be counted twice. Choose with format='bam' "
                f"(--format bam) or format={kind!r} (--format {kind})."
            )
    _warn_of_skipped(skipped)
    return found


def _refuse_other_groups(files: list[str], where: str) -> None:
    """Refuse matrices of IsoQuant that have the same reads in other groups."""
    run: dict[str, str] = {}
    for name in files:
        start, mark, _ = name.rpartition("_grouped_")
        if not mark or not name.endswith(FORMATS["isoquant"].endings):
            continue
        earlier = run.setdefault(start, name)
        if earlier is not name:
            raise ValueError(
                f"{where} has IsoQuant's counts of the same reads in other groups, {earlier} and "
                f"{name}: reads would be counted twice. Name one of them."
            )


def _numers_of(name: str) -> str:
    """Return the name of the numerators that leafcutter writes beside a file of ratios."""
    start, _, end = name.rpartition("perind.counts")
    return f"{start}perind_numers.counts{end}"


def _warn_of_skipped(skipped: list[tuple[str, str]], n_shown: int = 3) -> None:
    """Warn about files that are left out, and what they are."""
    if not skipped:
        return
    shown = "; ".join(f"{name} ({what})" for name, what in skipped[:n_shown])
    more = f"; and {len(skipped) - n_shown} more" if len(skipped) > n_shown else ""
    warnings.warn(f"Skipped: {shown}{more}.", UserWarning, stacklevel=6)
