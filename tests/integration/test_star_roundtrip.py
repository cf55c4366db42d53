"""Simulated reads aligned by STAR, where the program can be found (Debian: rna-star)."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from leafletfa_scvi.datasets._alignments import SimulatedAlignments, simulate_alignments
from leafletfa_scvi.pp._codes import MOTIFS, STRANDS
from leafletfa_scvi.pp._dataset import make_splicing_dataset
from leafletfa_scvi.pp.atse._events import EVENT_TYPES
from leafletfa_scvi.pp.read._star import read_sj
from leafletfa_scvi.pp.read.bam._count import count_bam
from leafletfa_scvi.pp.read.bam._options import BamOptions

if TYPE_CHECKING:
    from pathlib import Path

    from leafletfa_scvi.pp.read._file_counts import FileCounts

STAR = shutil.which("STAR")
pytestmark = pytest.mark.skipif(STAR is None, reason="the aligner STAR is not installed")

KNOWN_OVERHANG, NOVEL_OVERHANG = 3, 5
"""Fewest bases on either side of a junction in the annotation, and of one that is not, that STAR
asks for by default (alignSJDBoverhangMin, alignSJoverhangMin); the planted counts are taken with
these as anchors. STAR, too, counts a fragment once where both mates have the junction."""

STRAY = 0.002


@dataclass
class Aligned:
    """Files of STAR for each cell, and the simulation with several anchors."""

    planted: dict[int, SimulatedAlignments]
    junctions: list[Path]
    bams: list[Path]


def star(*arguments: object) -> None:
    assert STAR is not None
    done = subprocess.run(
        [STAR, "--runThreadN", "1", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module", params=["paired", "single"])
def aligned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    folder = tmp_path_factory.mktemp(request.param)
    # Marks are the aligner's to give.
    options: dict[str, Any] = {"n_cells": 2, "fragments_per_cell": 10_000, "frac_flagged": 0}
    planted = {
        anchor: simulate_alignments(
            folder / f"anchor_{anchor}",
            **options,
            paired=request.param == "paired",
            min_anchor=anchor,
            write_fastq=anchor == 8,
        )
        for anchor in (KNOWN_OVERHANG, NOVEL_OVERHANG, 8)
    }
    simulated = planted[8]
    index = folder / "index"
    star(
        *("--runMode", "genomeGenerate", "--genomeDir", index),
        *("--genomeFastaFiles", simulated.fasta, "--sjdbGTFfile", simulated.gtf),
        *("--genomeSAindexNbases", 7, "--sjdbOverhang", 99),
        *("--outFileNamePrefix", folder / "index_"),
    )
    result = Aligned(planted, [], [])
    for cell, reads in zip(simulated.junctions.obs_names, simulated.fastqs, strict=True):
        prefix = folder / f"{cell}_"
        star(
            *("--genomeDir", index, "--readFilesIn", *reads, "--outFileNamePrefix", prefix),
            *("--outSAMtype", "BAM", "SortedByCoordinate", "--outSAMstrandField", "intronMotif"),
        )
        result.junctions.append(folder / f"{cell}_SJ.out.tab")
        result.bams.append(folder / f"{cell}_Aligned.sortedByCoord.out.bam")
    return result


def series(part: FileCounts) -> pd.Series:
    """Counts by name of the junction, of the one cell."""
    names = [
        f"{part.contigs[part.contig[j]]}:{part.start[j]}-{part.end[j]}:{STRANDS[part.strand[j]]}"
        for j in part.junction
    ]
    return pd.Series(part.count, names)


def planted_counts(aligned: Aligned, cell: int, anchor: int) -> pd.Series:
    truth = aligned.planted[anchor].junctions
    return pd.Series(truth.X[cell].toarray()[0], truth.var_names)


def assert_close(found: pd.Series, planted: pd.Series, share: float) -> None:
    """Counts differ by a small share, or by 3 reads.

    The aligner cannot place all reads as they were drawn: a short overhang may fit the intron
    as well, a mismatch or clip may end it, an insertion may be taken for something else.
    """
    difference = (found - planted).abs()
    wrong = difference > (share * planted).clip(lower=3)
    assert not wrong.any(), pd.DataFrame({"found": found, "planted": planted})[wrong]


def test_junctions_of_star_are_the_planted_ones(aligned: Aligned) -> None:
    var = aligned.planted[8].junctions.var
    known = var["known_junction"]
    for i, path in enumerate(aligned.junctions):
        part = read_sj(path, f"cell_{i}")
        found = series(part)
        assert found.index.is_unique
        # Names hold the strand. A few reads with errors are joined where nothing is planted.
        assert found[~found.index.isin(var.index)].sum() <= STRAY * found.sum()
        motif = pd.Series([MOTIFS[code] for code in part.motif], found.index)
        motif = motif[motif.index.isin(var.index)]
        assert list(motif) == list(var.loc[motif.index, "motif"])
        assert set(motif) == {"GT-AG", "GC-AG", "AT-AC"}

        found = found.reindex(var.index, fill_value=0)
        for names, anchor, share in (
            (var.index[known], KNOWN_OVERHANG, 0.05),
            (var.index[~known], NOVEL_OVERHANG, 0.2),
        ):
            planted = planted_counts(aligned, i, anchor)[names]
            assert (planted >= 10).any()
            assert (found[names][planted >= 10] > 0).all()
            assert_close(found[names], planted, share)
        planted = planted_counts(aligned, i, KNOWN_OVERHANG)[known]
        assert abs(found[known].sum() / planted.sum() - 1) < 0.01


def test_alignments_of_star_are_counted_as_planted(aligned: Aligned) -> None:
    var = aligned.planted[8].junctions.var
    for i, (path, junctions) in enumerate(zip(aligned.bams, aligned.junctions, strict=True)):
        unique = {"min_mapq": 255, "min_intron": 21}  # of STAR
        part = count_bam(path, f"cell_{i}", BamOptions(**unique))
        assert part.report["introns_without_strand"] == 0
        found = series(part)
        assert found[~found.index.isin(var.index)].sum() <= STRAY * found.sum()
        found, planted = found.reindex(var.index, fill_value=0), planted_counts(aligned, i, 8)
        assert_close(found, planted, 0.05)
        assert abs(found.sum() / planted.sum() - 1) < 0.01
        # With any anchor, reads are those that STAR itself counts.
        found = series(count_bam(path, f"cell_{i}", BamOptions(min_anchor=1, **unique)))
        itself = series(read_sj(junctions, f"cell_{i}"))
        known = var.index[var["known_junction"]].intersection(itself.index)
        assert found[known].to_dict() == itself[known].to_dict()


def test_events_of_star_are_the_planted_ones(aligned: Aligned) -> None:
    simulated = aligned.planted[8]
    adata = make_splicing_dataset(
        aligned.junctions, gtf=simulated.gtf, min_reads=2, min_cells=1, annotation_status="either"
    )
    truth = simulated.junctions.var.assign(reads=np.ravel(simulated.junctions.X.sum(axis=0)))
    planted = truth[truth["atse"] != ""]
    # Of other events a junction may not be seen, which makes them other ones or none.
    seen = planted["reads"].groupby(planted["atse"]).transform("min") >= 5
    assert seen.mean() > 0.8
    assert adata.var_names.isin(planted.index).all()
    names = planted.index[seen]
    assert list(adata.var.loc[names, "atse_label"]) == list(planted.loc[names, "atse"])
    assert list(adata.var.loc[names, "event_type"]) == list(planted.loc[names, "event_type"])
    assert set(planted.loc[names, "event_type"]) == set(EVENT_TYPES)
