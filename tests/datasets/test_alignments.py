from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pysam
import pytest

from leafletfa_scvi.datasets._alignments import SimulatedAlignments, simulate_alignments
from leafletfa_scvi.datasets._genome import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL: dict[str, Any] = {"n_cells": 3, "fragments_per_cell": 600}


def slow_counts(
    simulated: SimulatedAlignments, keep: Callable[[pysam.AlignedSegment], bool], anchor: int = 8
) -> np.ndarray:
    """Units of each cell that support each planted junction, one read after the other."""
    var = simulated.junctions.var
    strands = defaultdict(list)
    for name, row in var.iterrows():
        strands[row["chrom"], row["start"], row["end"]].append(name)
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for bam in simulated.bams:
        for read in pysam.AlignmentFile(str(bam)):
            if read.is_unmapped or read.is_secondary or read.is_supplementary or read.is_qcfail:
                continue
            if not keep(read):
                continue
            cell, unit = bam.stem, read.query_name
            if simulated.barcodes is not None:
                if not read.has_tag("CB"):
                    continue
                cell, unit = read.get_tag("CB"), read.get_tag("UB")
            position, blocks, introns = read.reference_start + 1, [0], []
            for operation, length in read.cigartuples:
                if operation == pysam.CREF_SKIP:
                    introns.append((read.reference_name, position, position + length - 1))
                    blocks.append(0)
                elif operation == pysam.CMATCH:
                    blocks[-1] += length
                if operation in (pysam.CREF_SKIP, pysam.CMATCH, pysam.CDEL):
                    position += length
            for i, intron in enumerate(introns):
                if blocks[i] >= anchor and blocks[i + 1] >= anchor:
                    (name,) = strands[intron]  # every intron is a planted one
                    found[cell, name].add(unit)
    counts = np.zeros(simulated.junctions.shape, int)
    for (cell, name), units in found.items():
        place = simulated.junctions.obs_names.get_loc(cell), var.index.get_loc(name)
        counts[place] = len(units)
    return counts


def reverse_complement(bases: str) -> str:
    return bases[::-1].translate(str.maketrans("ACGT", "TGCA"))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedAlignments:
    return simulate_alignments(tmp_path_factory.mktemp("simulated"), **SMALL)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"paired": False, "strandedness": "FR", "error_rate": 0.5},
        {"strandedness": "RF", "frac_flagged": 0.7, "min_anchor": 20, "read_length": 60},
        {"barcoded": True, "paired": False, "strandedness": "FR", "frac_flagged": 0.4},
        {"barcoded": True, "strandedness": "none", "frac_flagged": 0.4, "n_types": 3},
        {"fragment_length": (50.0, 0.0), "read_length": 150},
        {"n_genes": 1, "frac_unspliced": 0.9},
    ],
    ids=["default", "single", "RF", "10x", "barcoded pairs", "whole overlap", "one gene"],
)
def test_truth_equals_counts_of_the_reads(tmp_path: Path, options: dict[str, Any]) -> None:
    simulated = simulate_alignments(tmp_path, seed=3, **SMALL, **options)
    truth, anchor = simulated.junctions, options.get("min_anchor", 8)
    assert truth.X.dtype == np.int32
    np.testing.assert_array_equal(
        truth.X.toarray(), slow_counts(simulated, lambda _: True, anchor)
    )
    np.testing.assert_array_equal(
        truth.layers["without_duplicates"].toarray(),
        slow_counts(simulated, lambda read: not read.is_duplicate, anchor),
    )
    np.testing.assert_array_equal(
        truth.layers["unique"].toarray(),
        slow_counts(simulated, lambda read: read.mapping_quality > 1, anchor),
    )
    if options.get("frac_flagged") and not options.get("barcoded"):
        assert truth.layers["without_duplicates"].sum() < truth.X.sum()
        assert truth.layers["unique"].sum() < truth.X.sum()


def test_mates_and_flags_change_counts(simulated: SimulatedAlignments) -> None:
    flags: dict[int, int] = defaultdict(int)
    for bam in simulated.bams:
        with pysam.AlignmentFile(str(bam)) as file:
            assert file.check_index()
            assert file.header["HD"]["SO"] == "coordinate"
            for read in file:
                for bit in (4, 8, 256, 512, 1024, 2048):
                    flags[bit] += bool(read.flag & bit)
    assert set(flags) == {4, 8, 256, 512, 1024, 2048}
    assert min(flags.values()) > 5
    each = sum(
        slow_counts(simulated, lambda read, mate=mate: read.is_read2 == mate).sum()
        for mate in (False, True)
    )
    assert each > simulated.junctions.X.sum() + 30  # both mates of these have the junction


def test_reads_match_the_genome_and_their_mates(simulated: SimulatedAlignments) -> None:
    genome = pysam.FastaFile(str(simulated.fasta))
    strand = {
        (row.chrom, row.start, row.end): row.strand for row in simulated.junctions.var.itertuples()
    }
    bases = wrong = 0
    ends: dict[str, dict[bool, pysam.AlignedSegment]] = defaultdict(dict)
    for read in pysam.AlignmentFile(str(simulated.bams[0])):
        if read.is_unmapped:
            assert not read.mate_is_unmapped
            assert read.reference_start == read.next_reference_start
            continue
        assert read.infer_query_length() == len(read.query_sequence)
        assert read.reference_end <= genome.get_reference_length(read.reference_name)
        for at, position in read.get_aligned_pairs(matches_only=True):
            bases += 1
            wrong += read.query_sequence[at] != genome.fetch(
                read.reference_name, position, position + 1
            )
        spliced = "N" in read.cigarstring
        assert read.has_tag("XS") == spliced
        if spliced:
            blocks, introns = read.get_blocks(), []
            for left, right in zip(blocks, blocks[1:], strict=False):
                if right[0] - left[1] > 10:  # else a deletion or an insertion
                    introns.append((read.reference_name, left[1] + 1, right[0]))
            assert introns
            assert {strand[one] for one in introns} == {read.get_tag("XS")}
        if not read.is_secondary and not read.is_supplementary and not read.mate_is_unmapped:
            ends[read.query_name][read.is_read1] = read
    assert 0 < wrong / bases < 0.005
    assert len(ends) > 500
    for pair in ends.values():
        first, second = pair[True], pair[False]
        assert first.is_proper_pair
        assert first.is_read1
        assert second.is_read2
        for one, other in ((first, second), (second, first)):
            assert one.next_reference_start == other.reference_start
            assert one.mate_is_reverse == other.is_reverse != one.is_reverse
        assert first.template_length == -second.template_length
        span = max(first.reference_end, second.reference_end) - min(
            first.reference_start, second.reference_start
        )
        assert abs(first.template_length) == span


@pytest.mark.parametrize(("library", "like"), [("FR", True), ("RF", False)])
@pytest.mark.parametrize("paired", [True, False])
def test_library_type(tmp_path: Path, library: Any, like: bool, paired: bool) -> None:
    simulated = simulate_alignments(
        tmp_path, **SMALL, strandedness=library, paired=paired, n_overlapping=0
    )
    strand = {(row.chrom, row.start): row.strand for row in simulated.junctions.var.itertuples()}
    n_spliced = 0
    for read in pysam.AlignmentFile(str(simulated.bams[0])):
        cigar = read.cigartuples or []
        assert not read.has_tag("XS")
        for i, (operation, _) in enumerate(cigar):
            if operation == pysam.CREF_SKIP:
                before = sum(length for code, length in cigar[:i] if code in (0, 2, 3))
                junction = (read.reference_name, read.reference_start + before + 1)
                forward = (read.is_reverse == read.is_read2) == like
                assert ("+" if forward else "-") == strand[junction]
                n_spliced += 1
    assert n_spliced > 100


def test_every_intron_has_its_motif(simulated: SimulatedAlignments) -> None:
    genome = pysam.FastaFile(str(simulated.fasta))
    var = simulated.junctions.var
    for row in var.itertuples():
        intron = genome.fetch(row.chrom, row.start - 1, row.end)
        around = genome.fetch(row.chrom, row.start - 2, row.end + 1)
        assert around[0] != intron[-1]  # the intron cannot be moved
        assert around[-1] != intron[0]
        intron = reverse_complement(intron) if row.strand == "-" else intron
        assert f"{intron[:2]}-{intron[-2:]}" == row.motif
    motifs = var["motif"].value_counts()
    assert motifs["GT-AG"] > 0.9 * len(var)
    assert motifs["GC-AG"] >= 2
    assert motifs["AT-AC"] >= 2
    assert set(var["strand"]) == {"+", "-"}
    assert ((var["end"] - var["start"] + 1) >= 70).all()


def read_gtf(path: Path) -> tuple[dict[str, list[tuple[int, int]]], dict[str, tuple[str, ...]]]:
    exons, place = defaultdict(list), {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        chrom, _, feature, start, end, _, strand, _, text = line.split("\t")
        values = dict(item.strip().split(" ", 1) for item in text.strip(";").split(";"))
        if feature == "exon":
            name = values["transcript_id"].strip('"')
            exons[name].append((int(start), int(end)))
            place[name] = (chrom, strand, values["gene_id"].strip('"'))
    return exons, place


def test_gtf_contains_annotated_transcripts(simulated: SimulatedAlignments) -> None:
    exons, place = read_gtf(simulated.gtf)
    table = simulated.transcripts
    assert sorted(exons) == sorted(table.index[table["annotated"]])
    assert (~table["annotated"]).sum() == 2
    introns = set()
    for name, spans in exons.items():
        chrom, strand, gene = place[name]
        assert spans == sorted(spans, reverse=strand == "-")  # in the direction of transcription
        assert tuple(sorted(spans)) == table.loc[name, "exons"]
        for left, right in zip(sorted(spans), sorted(spans)[1:], strict=False):
            introns.add((chrom, left[1] + 1, right[0] - 1, strand, gene))
    var = simulated.junctions.var
    columns = ["chrom", "start", "end", "strand", "gene_id"]
    known = var.loc[var["known_junction"], columns]
    assert set(known.itertuples(index=False, name=None)) == introns
    assert 0 < (~var["known_junction"]).sum() < 5


def test_events(simulated: SimulatedAlignments) -> None:
    events, var = simulated.events, simulated.junctions.var
    seen = events.groupby("event_type")["strand"].agg(set)
    assert set(seen.index) == set(EVENT_TYPES)
    assert all(strands == {"+", "-"} for strands in seen)
    assert (~events["annotated"]).sum() == 2
    n_junctions = {
        "cassette_exon": {3},
        "mutually_exclusive_exons": {4},
        "multi_exon_skip": {4, 5},
        "complex": {5},
    }
    for name, event in events.iterrows():
        rows = var.loc[list(event["junctions"])]
        kind = event["event_type"]
        assert len(rows) in n_junctions.get(kind, {2})
        assert set(rows["event_type"]) == {kind}
        assert set(rows["event_id"]) == {name}
        donor = np.where(rows["strand"] == "+", rows["start"], rows["end"])
        acceptor = np.where(rows["strand"] == "+", rows["end"], rows["start"])
        if kind in ("alternative_5ss", "alternative_first_exon"):
            assert (len(set(donor)), len(set(acceptor))) == (2, 1)
        if kind in ("alternative_3ss", "alternative_last_exon"):
            assert (len(set(donor)), len(set(acceptor))) == (1, 2)
    # An ATSE: junctions reached from each other over shared splice sites.
    for atse, rows in var[var["atse"] != ""].groupby("atse"):
        assert atse.startswith(f"{rows['gene_id'].iloc[0]}:ATSE_")
        assert len(rows) > 1
        reached = {rows.index[0]}
        for _ in rows.index:
            inside = rows.loc[sorted(reached)]
            near = rows["start"].isin(inside["start"]) | rows["end"].isin(inside["end"])
            reached |= set(rows.index[near])
        assert reached == set(rows.index)
    alone = var[var["atse"] == ""]
    for side in ("start", "end"):
        sites = var.groupby(["gene_id", side]).size()
        assert all(sites[one] == 1 for one in zip(alone["gene_id"], alone[side], strict=True))
    names = [f"{r.chrom}:{r.start}-{r.end}:{r.strand}" for r in var.itertuples()]
    assert names == list(var.index)
    assert var.index.is_unique


def test_overlapping_genes_are_on_opposite_strands(simulated: SimulatedAlignments) -> None:
    table = simulated.transcripts
    spans = {
        gene: (
            rows["chrom"].iloc[0],
            min(exons[0][0] for exons in rows["exons"]),
            max(exons[-1][1] for exons in rows["exons"]),
            rows["strand"].iloc[0],
        )
        for gene, rows in table.groupby("gene_id")
    }
    genes = list(spans.values())
    pairs = [
        {a[3], b[3]}
        for i, a in enumerate(genes)
        for b in genes[i + 1 :]
        if a[0] == b[0] and a[1] <= b[2] and b[1] <= a[2]
    ]
    assert pairs == [{"+", "-"}] * 2


def test_cell_types_use_transcripts_as_planted(tmp_path: Path) -> None:
    simulated = simulate_alignments(
        tmp_path, n_cells=6, n_types=3, fragments_per_cell=4000, frac_flagged=0, frac_unspliced=0
    )
    usage, truth = simulated.usage, simulated.junctions
    gene = simulated.transcripts["gene_id"].to_numpy()
    np.testing.assert_allclose(usage.groupby(gene).sum(), 1)
    several = usage.groupby(gene).size() > 1
    assert (usage.groupby(gene).nunique().max(axis=1) > 1)[several].all()
    assert usage.groupby(gene).idxmax().nunique(axis=1)[several].min() >= 2
    # Where two junctions tell two transcripts apart, reads follow the usage of the cell's type.
    for event in simulated.events.itertuples():
        if event.event_type not in ("alternative_5ss", "alternative_3ss"):
            continue
        exons = simulated.transcripts["exons"][gene == event.gene_id]
        first = event.junctions[0]
        place = tuple(int(x) for x in first.split(":")[1].split("-"))
        has = exons.map(
            lambda one, place=place: (
                place in [(a[1] + 1, b[0] - 1) for a, b in zip(one, one[1:], strict=False)]
            )
        )
        expected = usage[gene == event.gene_id][has.to_numpy()].sum()
        for name, wanted in expected.items():
            cells = (truth.obs["cell_type"] == name).to_numpy()
            reads = truth[cells, list(event.junctions)].X.sum(0)
            total = np.asarray(reads).sum()
            assert total > 20
            error = abs(np.asarray(reads).flat[0] / total - wanted)
            assert error < 5 * np.sqrt(wanted * (1 - wanted) / total)


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("barcoded", [False, True])
def test_same_seed_same_files(tmp_path: Path, barcoded: bool) -> None:
    options = {**SMALL, "barcoded": barcoded, "write_fastq": True}
    first, again = (simulate_alignments(tmp_path / name, **options) for name in "ab")
    other = simulate_alignments(tmp_path / "c", **options, seed=1)
    files = digest(tmp_path / "a")
    assert files == digest(tmp_path / "b")
    assert files != digest(tmp_path / "c")
    assert (first.junctions.X != again.junctions.X).nnz == 0
    assert not first.junctions.var_names.equals(other.junctions.var_names)
    n_bams = 1 if barcoded else 3
    assert len(files) == 3 + 2 * n_bams + 6 + barcoded


def test_anchor_changes_only_the_truth(tmp_path: Path) -> None:
    first = simulate_alignments(tmp_path / "a", **SMALL)
    second = simulate_alignments(tmp_path / "b", **SMALL, min_anchor=1)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert (first.junctions.X > second.junctions.X).nnz == 0
    assert first.junctions.X.sum() < second.junctions.X.sum()


def test_barcodes(tmp_path: Path) -> None:
    simulated = simulate_alignments(tmp_path, **SMALL, barcoded=True, paired=False)
    assert len(simulated.bams) == 1
    names = simulated.barcodes.read_text().split()
    assert names == list(simulated.junctions.obs_names)
    reads = list(pysam.AlignmentFile(str(simulated.bams[0])))
    tagged = [read for read in reads if read.has_tag("CB")]
    assert len(tagged) < len(reads)
    assert {read.get_tag("CB") for read in tagged} == set(names)
    molecules = {(read.get_tag("CB"), read.get_tag("UB")) for read in tagged}
    assert len(molecules) < 0.8 * len(tagged)


@pytest.mark.parametrize("paired", [True, False])
def test_fastq(tmp_path: Path, paired: bool) -> None:
    simulated = simulate_alignments(tmp_path, **SMALL, paired=paired, write_fastq=True)
    assert len(simulated.fastqs) == 3
    wanted = [{}, {}]
    for read in pysam.AlignmentFile(str(simulated.bams[1])):
        if not read.is_secondary and not read.is_supplementary:
            wanted[read.is_read2][read.query_name] = read.get_forward_sequence()
    for path, reads in zip(simulated.fastqs[1], wanted[: 1 + paired], strict=True):
        found = {entry.name: entry.sequence for entry in pysam.FastxFile(str(path))}
        unmapped = [name for name, bases in reads.items() if bases != found[name]]
        assert found.keys() == reads.keys()
        assert len(found) == 600
        assert not [name for name in unmapped if found[name] != reverse_complement(reads[name])]
        assert len(unmapped) < 20  # reads that are not aligned are stored as if forward


def test_folder_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    simulate_alignments(folder, **SMALL, write_fastq=True)
    before = digest(folder)
    with pytest.raises(FileExistsError, match=r"Expected an empty folder.*overwrite=True"):
        simulate_alignments(folder, **SMALL)
    assert digest(folder) == before
    (folder / "notes.txt").write_text("mine")
    simulate_alignments(folder, n_cells=1, n_types=1, fragments_per_cell=10, overwrite=True)
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    names = {"genome.fa", "genome.fa.fai", "annotation.gtf", "notes.txt"}
    assert left == names | {"bam/cell_0.bam", "bam/cell_0.bam.bai"}
    with pytest.raises(FileExistsError, match="found the file"):
        simulate_alignments(folder / "notes.txt", **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_cells": 0}, "Expected n_cells to be a number from 1, found 0"),
        ({"n_genes": 0}, "n_genes to be a number from 1, found 0"),
        ({"n_types": 21}, "n_types to be at most n_cells=20, found 21"),
        ({"fragments_per_cell": 0}, "fragments_per_cell to be a number from 1, found 0"),
        ({"read_length": 20}, r"read_length in \[30, 200\], found 20"),
        ({"fragment_length": (0.0, 1.0)}, "fragment_length"),
        ({"strandedness": "XX"}, "strandedness to be 'XS', 'RF', 'FR' or 'none', found 'XX'"),
        ({"n_novel": -1}, "n_novel to be a number from 0, found -1"),
        ({"frac_unspliced": 1.0}, r"frac_unspliced in \[0, 1\), found 1.0"),
        ({"frac_flagged": float("nan")}, "frac_flagged in .*, found nan"),
        ({"min_anchor": 0}, "min_anchor to be a number from 1, found 0"),
    ],
)
def test_invalid_arguments_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        simulate_alignments(tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [("marked", "frac_flagged"), ("errors", "error_rate"), ("unspliced", "frac_unspliced")],
)
def test_old_arguments_warn(tmp_path, old, new):
    with (
        pytest.warns(FutureWarning, match=f"'{old}' of simulate_alignments .* use '{new}'"),
        pytest.raises(ValueError, match=new),
    ):
        simulate_alignments(tmp_path, **{old: 2.0})
