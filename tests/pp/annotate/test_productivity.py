"""Reading frames and productivity of junctions against transcripts read base by base."""

from __future__ import annotations

import gzip
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from helpers.events import table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leafletfa_scvi import pp

DECAY = "nonsense_mediated_decay"


def gtf(transcripts, *, is_gff3=False, with_types=True):
    """Lines of transcripts: strand, exons, (first, last) base of the CDS or None, type."""
    lines = []
    for i, (strand, exons, cds, kind) in enumerate(transcripts):
        name, done = f"t{i}", 0
        if is_gff3:
            about = f"Parent={name}"
            own = f"ID={name};Parent=g" + (f";biotype={kind}" if with_types else "")
            lines.append(("mRNA", exons[0][0], exons[-1][1], strand, ".", own))
        else:
            about = f'gene_id "g"; transcript_id "{name}";'
            about += f' transcript_type "{kind}";' if with_types else ""
        lines += [("exon", *exon, strand, ".", about) for exon in exons]
        for start, end in exons[:: 1 if strand == "+" else -1]:
            if cds is None:
                continue
            part = (max(start, cds[0]), min(end, cds[1]))
            if part[0] <= part[1]:
                lines.append(("CDS", *part, strand, (3 - done % 3) % 3, about))
                done += part[1] - part[0] + 1
    return "".join(
        f"chr1\ttest\t{feature}\t{start}\t{end}\t.\t{strand}\t{phase}\t{about}\n"
        for feature, start, end, strand, phase, about in lines
    )


def annotated(folder, text, introns, strand="+", name="a.gtf"):
    """Annotate introns on chr1, and return the table of junctions."""
    path = folder / name
    path.write_text(text)
    var = table(introns, strand, "chr1")
    var.index = [f"j{i}" for i in range(len(var))]
    adata = AnnData(np.ones((1, len(var)), np.float32), var=var)
    pp.annotate_productivity(adata, path)
    return adata


def columns(adata, name):
    return adata.var[name].astype(object).where(adata.var[name].notna(), None).tolist()


A, B, C, D = (101, 150), (201, 251), (301, 360), (401, 500)  # 50, 51, 60 and 100 bases
SKIPPED, KEPT = (151, 300), (252, 400)


def test_rules_in_order(tmp_path):
    transcripts = [
        ("+", [A, B, C, D], (121, 420), "protein_coding"),
        ("+", [A, (201, 249), C, D], (121, 249), DECAY),
        ("+", [(11, 50), A, B], (121, 251), "protein_coding"),
    ]
    introns = {
        (151, 200): ("in_frame", "productive"),
        (252, 300): ("in_frame", "productive"),
        (51, 100): (None, "productive"),  # untranslated
        (250, 300): ("frame_shift", "unproductive"),  # of the degraded transcript
        (151, 300): ("in_frame", "productive"),  # novel: skips 51 bases
        (252, 400): ("in_frame", "productive"),  # novel: skips 60
        (252, 302): ("frame_shift", "unproductive"),  # novel: two bases less
        (252, 303): ("in_frame", "productive"),
        (151, 190): (None, None),  # 190 is in no exon
        (361, 450): (None, None),  # 451 is behind the stop
        (111, 200): (None, None),  # 110 is before the start
    }
    adata = annotated(tmp_path, gtf(transcripts), introns)
    assert columns(adata, "reading_frame") == [frame for frame, _ in introns.values()]
    assert columns(adata, "productivity") == [effect for _, effect in introns.values()]
    assert adata.uns["splicing"]["productivity"] == {
        "junctions": 11,
        "junctions_in_frame": 5,
        "junctions_frame_shift": 2,
        "junctions_productive": 6,
        "junctions_unproductive": 2,
    }
    # Without types, or if it is degraded in one transcript and not in another.
    no_types = annotated(tmp_path, gtf(transcripts, with_types=False), [(250, 300)])
    assert columns(no_types, "productivity") == ["productive"]
    # The other strand has no annotation; that of an unknown strand is not guessed.
    for strand in "-?":
        other = annotated(tmp_path, gtf(transcripts), [(151, 200)], strand)
        assert columns(other, "productivity") == columns(other, "reading_frame") == [None]


def test_intron_of_a_degraded_transcript_outside_of_coding_sequences(tmp_path):
    poison = ("+", [A, (171, 180), B], (121, 175), DECAY)
    whole = ("+", [A, B], (121, 251), "protein_coding")
    adata = annotated(tmp_path, gtf([whole, poison]), [(151, 170), (181, 200), (151, 200)])
    assert columns(adata, "productivity") == ["unproductive", "unproductive", "productive"]
    assert columns(adata, "reading_frame") == [None, None, "in_frame"]


def slow_frame(transcripts, strand, start, end):
    """Find the frame of an intron by numbering the bases of every coding sequence."""
    before, after = (start - 1, end + 1) if strand == "+" else (end + 1, start - 1)
    found = {before: set(), after: set()}
    for of_strand, exons, cds, kind in transcripts:
        if of_strand != strand or cds is None or kind == DECAY:
            continue
        bases = [x for a, b in exons for x in range(a, b + 1) if cds[0] <= x <= cds[1]]
        for i, base in enumerate(bases if strand == "+" else bases[::-1]):
            if base in found:
                found[base].add(i % 3)
    if not found[before] or not found[after]:
        return None
    follows = any((i + 1) % 3 in found[after] for i in found[before])
    return "in_frame" if follows else "frame_shift"


@st.composite
def random_transcripts(draw):
    transcripts = []
    for _ in range(draw(st.integers(1, 4))):
        ends = sorted(draw(st.sets(st.integers(5, 60), min_size=2, max_size=8)))
        exons = list(zip(ends[::2], ends[1::2], strict=False))
        exons = [e for i, e in enumerate(exons) if i == 0 or e[0] > exons[i - 1][1] + 1]
        first, last = sorted(draw(st.tuples(st.integers(5, 60), st.integers(5, 60))))
        kind = draw(st.sampled_from(["protein_coding", DECAY]))
        transcripts.append((draw(st.sampled_from("+-")), exons, (first, last), kind))
    return transcripts


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(transcripts=random_transcripts(), is_gff3=st.booleans(), seed=st.integers(0, 999))
def test_frames_are_those_of_codons(tmp_path, transcripts, is_gff3, seed):
    # One more transcript, so that there is a CDS.
    transcripts = [*transcripts, ("+", [(1, 2)], (1, 2), "protein_coding")]
    rng = np.random.default_rng(seed)
    pairs = np.sort(rng.integers(6, 60, (40, 2)), axis=1)
    introns = [(int(a), int(b)) for a, b in pairs]
    text = gtf(transcripts, is_gff3=is_gff3)
    for strand in "+-":
        adata = annotated(tmp_path, text, introns, strand)
        expected = [slow_frame(transcripts, strand, *intron) for intron in introns]
        assert columns(adata, "reading_frame") == expected


def test_introns_of_gtex_between_coding_exons_keep_the_frame(data_dir):
    path = data_dir / "gtex_chr10" / "chr10.gtf.gz"
    parts = {}
    with gzip.open(path, "rt") as file:
        for line in file:
            fields = line.split("\t")
            if len(fields) == 9 and fields[2] == "CDS":
                name = re.search(r'transcript_id "([^"]+)"', fields[8])[1]
                degraded = "_decay" in fields[8].split("transcript_type")[1][:35]
                key = (name, fields[6], degraded)
                parts.setdefault(key, []).append((int(fields[3]), int(fields[4])))
    coding = {
        ("chr10", a + 1, b - 1, strand)
        for (_, strand, degraded), spans in parts.items()
        if not degraded
        for (_, a), (b, _) in itertools.pairwise(sorted(spans))
    }
    var = pd.DataFrame(sorted(coding), columns=["chrom", "start", "end", "strand"])
    var.index = var.index.astype(str)
    adata = AnnData(np.ones((1, len(var)), np.float32), var=var)
    pp.annotate_productivity(adata, path)
    assert len(var) > 5000
    assert (adata.var["reading_frame"] == "in_frame").all()
    assert (adata.var["productivity"] == "productive").all()
    shifted = adata.copy()
    shifted.var["end"] += 1
    pp.annotate_productivity(shifted, path)
    assert (shifted.var["productivity"] == "unproductive").mean() > 0.8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("CDS", "UTR", "a.gtf has no line of feature 'CDS'"),
        ("\t0\tgene", "\t.\tgene", r"line 3: Expected the frame of a CDS .*found '\.'"),
        ("\t0\tgene", "\tgene", "line 3: 8 columns, expected the 9"),
        ("CDS\t121", "CDS\t1x1", r"line 3: start '1x1' and end '150' .* no interval"),
        ("transcript_id", "name", "line 1: the line names no transcript"),
    ],
)
def test_errors(tmp_path, old, new, message):
    text = gtf([("+", [A, B], (121, 251), "protein_coding")])
    assert old in text
    with pytest.raises(ValueError, match=message):
        annotated(tmp_path, text.replace(old, new), [(151, 200)])


def test_comments_sequences_and_contigs(tmp_path):
    text = gtf([("+", [A, B], (121, 251), "protein_coding")], is_gff3=True)
    text = f"##gff-version 3\n\n{text.replace('chr1', '1')}##FASTA\n>1\nACGT\n"
    adata = annotated(tmp_path, text, [(151, 200)], name="a.gff3")
    assert columns(adata, "productivity") == ["productive"]
    with pytest.raises(ValueError, match="annotation"):
        annotated(tmp_path, text.replace("1\ttest", "7\ttest"), [(151, 200)], name="b.gff3")
    with pytest.raises(FileNotFoundError):
        pp.annotate_productivity(adata, tmp_path / "none.gtf")
