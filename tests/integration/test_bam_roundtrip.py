from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from leafletfa_scvi.datasets._alignments import SimulatedAlignments, simulate_alignments
from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp.read._barcodes import read_barcodes
from leafletfa_scvi.pp.read.bam._count import count_bam
from leafletfa_scvi.pp.read.bam._options import BamOptions

if TYPE_CHECKING:
    from pathlib import Path

    from leafletfa_scvi.pp.read._file_counts import FileCounts

SMALL: dict[str, Any] = {"n_cells": 4, "fragments_per_cell": 1500, "frac_flagged": 0.3}


def table(part: FileCounts, *, stranded: bool = True) -> dict[tuple[str, str], int]:
    """Counts by cell and name of the junction."""
    return {
        (
            part.cells[cell],
            f"{part.contigs[part.contig[j]]}:{part.start[j]}-{part.end[j]}:"
            f"{STRANDS[part.strand[j]] if stranded else ''}",
        ): int(count)
        for cell, j, count in zip(part.cell, part.junction, part.count, strict=True)
    }


def truth(
    simulated: SimulatedAlignments, layer: str | None = "unique", *, stranded: bool = True
) -> dict[tuple[str, str], int]:
    counts = simulated.junctions.layers[layer] if layer else simulated.junctions.X
    names = [name if stranded else name[:-1] for name in simulated.junctions.var_names]
    found = counts.tocoo()
    return {
        (simulated.junctions.obs_names[cell], names[j]): int(count)
        for cell, j, count in zip(found.row, found.col, found.data, strict=True)
        if count
    }


def counted(
    simulated: SimulatedAlignments, options: BamOptions, *, stranded: bool = True
) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for bam in simulated.bams:
        found |= table(count_bam(bam, bam.stem, options), stranded=stranded)
    return found


@pytest.mark.parametrize("paired", [True, False], ids=["paired", "single"])
@pytest.mark.parametrize(
    ("library", "strand"), [("XS", "auto"), ("XS", "tag"), ("RF", "RF"), ("FR", "FR")]
)
def test_counts_are_the_planted_ones(
    tmp_path: Path, library: Any, strand: Any, paired: bool
) -> None:
    simulated = simulate_alignments(tmp_path, **SMALL, strandedness=library, paired=paired)
    assert counted(simulated, BamOptions(strand=strand)) == truth(simulated, "unique")
    options = {"strand": strand, "multimapped": "keep"}
    assert counted(simulated, BamOptions(**options)) == truth(simulated, None)
    some = BamOptions(**options, skip_duplicates=True)
    assert counted(simulated, some) == truth(simulated, "without_duplicates")
    some = BamOptions(**options, min_mapq=10)
    assert counted(simulated, some) == truth(simulated, "unique")


def test_wrong_library_type_gives_the_other_strand(tmp_path: Path) -> None:
    simulated = simulate_alignments(tmp_path, **SMALL, strandedness="RF")
    turned = {
        (cell, name[:-1] + {"+": "-", "-": "+"}[name[-1]]): count
        for (cell, name), count in truth(simulated).items()
    }
    assert counted(simulated, BamOptions(strand="FR")) == turned


@pytest.mark.parametrize("anchor", [1, 20])
def test_anchor(tmp_path: Path, anchor: int) -> None:
    simulated = simulate_alignments(tmp_path, **SMALL, min_anchor=anchor, error_rate=0.3)
    assert counted(simulated, BamOptions(min_anchor=anchor)) == truth(simulated)


def test_without_strand(tmp_path: Path) -> None:
    simulated = simulate_alignments(tmp_path, **SMALL, strandedness="none")
    found = counted(simulated, BamOptions())
    assert {name[-1] for _, name in found} == {"?"}
    assert counted(simulated, BamOptions(), stranded=False) == truth(simulated, stranded=False)


@pytest.mark.parametrize("paired", [True, False], ids=["paired", "single"])
@pytest.mark.parametrize(("library", "strand"), [("FR", "FR"), ("RF", "RF"), ("XS", "auto")])
def test_molecules_of_barcoded_cells(
    tmp_path: Path, library: Any, strand: Any, paired: bool
) -> None:
    simulated = simulate_alignments(
        tmp_path, **SMALL, strandedness=library, paired=paired, barcoded=True
    )
    options = {"strand": strand, "cell_tag": "CB", "umi_tag": "UB"}
    assert counted(simulated, BamOptions(**options)) == truth(simulated)
    assert simulated.barcodes is not None
    barcodes = read_barcodes(simulated.barcodes)
    assert counted(simulated, BamOptions(**options, barcodes=barcodes)) == truth(simulated)
    everywhere = BamOptions(**options, skip_duplicates=True, multimapped="keep")
    assert counted(simulated, everywhere) == truth(simulated, "without_duplicates")
    some = BamOptions(**options, barcodes=tuple(barcodes[1:3]))
    assert counted(simulated, some) == {
        place: count for place, count in truth(simulated).items() if place[0] in barcodes[1:3]
    }


def test_fragments_count_for_more_than_molecules(tmp_path: Path) -> None:
    simulated = simulate_alignments(tmp_path, **SMALL, barcoded=True)
    found, molecules = counted(simulated, BamOptions(cell_tag="CB")), truth(simulated)
    assert found.keys() == molecules.keys()
    assert all(found[place] >= molecules[place] for place in found)
    assert sum(found.values()) > sum(molecules.values())


def test_report(tmp_path: Path) -> None:
    simulated = simulate_alignments(tmp_path, n_cells=1, n_types=1, frac_flagged=0.5)
    report = count_bam(simulated.bams[0], "a", BamOptions()).report
    for name in ("unmapped", "secondary", "supplementary", "qc_fail", "duplicate"):
        assert report[f"reads_{name}"] > 20
    assert report["introns_short_anchor"] > 20
    assert report["mates_of_one_fragment"] > 20
    assert report["reads_multimapped"] > 20
    assert report["introns_counted"] == np.sum(simulated.junctions.layers["unique"])
    assert report["introns_without_strand"] == 0
