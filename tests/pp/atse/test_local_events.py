"""Local events of planted exons, by their definition, among noise, and on real junctions."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from benchmarks.preprocessing import _local_events as planted
from helpers.events import introns_of, mirrored
from helpers.local_events import (
    by_definition,
    counts_of,
    forms,
    transcripts_counts,
    whole_annotation,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi import pp

E = {name: (1000 * i, 1000 * i + 100) for i, name in enumerate("ABCDEFG", start=1)}
LONG_A, LONG_B = (1000, 1150), (1950, 2100)


def exons(names):
    return [E[name] for name in names]


# Transcripts on +; ids on +, and on - of the same transcripts mirrored in 10,000 bases. They are
# written out from the figure of SUPPA2's README.
SKIP = ["SE:1:1100-2000:2100-3000:+"], ["SE:1:7000-7900:8000-8900:-"]
PLANTED = {
    "cassette": ([exons("ABC"), exons("AC")], *SKIP),
    "exclusive": (
        [exons("ABD"), exons("ACD")],
        ["MX:1:1100-2000:2100-4000:1100-3000:3100-4000:+"],
        ["MX:1:6000-6900:7000-8900:6000-7900:8000-8900:-"],
    ),
    "donors": (
        [[E["A"], E["B"]], [LONG_A, E["B"]]],
        ["A5:1:1150-2000:1100-2000:+"],
        ["A5:1:8000-8850:8000-8900:-"],
    ),
    "acceptors": (
        [[E["A"], E["B"]], [E["A"], LONG_B]],
        ["A3:1:1100-1950:1100-2000:+"],
        ["A3:1:8050-8900:8000-8900:-"],
    ),
    "first exons": (
        [exons("ACD"), exons("BCD")],
        ["AF:1:1000:1100-3000:2000:2100-3000:+"],
        ["AF:1:7000-7900:8000:7000-8900:9000:-"],
    ),
    "last exons": (
        [exons("ABC"), exons("ABD")],
        ["AL:1:2100-3000:3100:2100-4000:4100:+"],
        ["AL:1:5900:6000-7900:6900:7000-7900:-"],
    ),
    "two exons": (
        [exons("ABCD"), exons("AD")],
        ["MES:1:1100-2000:2100-3000:3100-4000:+"],
        ["MES:1:6000-6900:7000-7900:8000-8900:-"],
    ),
    "constitutive": ([exons("ABCDE")], [], []),
}
FORMS = {  # on +, inclusion before exclusion
    "cassette": ("A-B,B-C", "A-C"),
    "exclusive": ("A-B,B-D", "A-C,C-D"),
    "first exons": ("A-C", "B-C"),
    "last exons": ("B-D", "B-C"),
    "two exons": ("A-B,B-C,C-D", "A-D"),
}


def names_between(text, strand="+"):
    return ",".join(
        f"1:{E[left][1] + 1}-{E[right][0] - 1}:{strand}"
        for left, right in (pair.split("-") for pair in text.split(","))
    )


@pytest.mark.parametrize("name", PLANTED)
def test_planted_exons(name):
    transcripts, *expected = PLANTED[name]
    for strand, ids in zip("+-", expected, strict=True):
        turned = transcripts if strand == "+" else mirrored(transcripts)
        annotation = whole_annotation(turned, strand)
        adata = transcripts_counts(turned, strand)
        events = pp.find_local_events(adata, annotation)
        assert list(events.index) == ids
        assert (events["strand"] == strand).all()
        bare = pp.find_local_events(adata)
        told_by_annotation = name in ("first exons", "last exons")
        assert bare.index.equals(events.index) != told_by_annotation
        assert len(bare) == len(events)
        if strand == "+" and name in FORMS:
            inclusion, exclusion = map(names_between, FORMS[name])
            assert events["inclusion_junctions"].item() == inclusion
            assert events["exclusion_junctions"].item() == exclusion


def test_columns():
    adata = transcripts_counts([exons("ABC"), exons("AC")], gene_id="g", atse_id="g:ATSE_1")
    before = adata.var.copy()
    events = pp.find_local_events(adata, whole_annotation([exons("ABC"), exons("AC")]))
    assert events.iloc[0].to_dict() == {
        "event_type": "cassette_exon",
        "gene_id": "g",
        "gene_name": "G",
        "atse_id": "g:ATSE_1",
        "chrom": "1",
        "strand": "+",
        "start": 1101,
        "end": 2999,
        "exons": "2000-2100",
        "inclusion_junctions": names_between("A-B,B-C"),
        "exclusion_junctions": names_between("A-C"),
    }
    pd.testing.assert_frame_equal(adata.var, before)
    first = pp.find_local_events(adata, atse_key="other")
    assert "atse_id" not in first


@pytest.mark.parametrize(
    ("transcripts", "expected"),
    [
        (["ABCD", "AD", "ACD"], ["SE B in A-C", "SE C in A-D", "MES B C in A-D"]),
        (["ABD", "ACD", "AD"], ["SE B in A-D", "SE C in A-D", "MX B C in A-D"]),
        (["ABD", "ACD", "ABCD"], ["SE B in A-C", "SE C in B-D"]),  # not exclusive: both exist
        (["ABE", "ACE", "ADE"], ["MX B C in A-E", "MX B D in A-E", "MX C D in A-E"]),
        (["ABCDE", "ACDE", "ABCE"], ["SE B in A-C", "SE D in C-E"]),
    ],
)
def test_several_events_in_one_gene(transcripts, expected):
    texts = [exons(text) for text in transcripts]
    where = {f"{first}-{last}": name for name, (first, last) in E.items()}
    sides = {end + 1: name for name, (_, end) in E.items()}
    ends = {start - 1: name for name, (start, _) in E.items()}
    for annotation in (None, whole_annotation(texts)):
        events = pp.find_local_events(transcripts_counts(texts), annotation)
        found = [
            f"{event_id.split(':')[0]} {' '.join(where[x] for x in row.exons.split(','))} in "
            f"{sides[row.start]}-{ends[row.end]}"
            for event_id, row in events.iterrows()
        ]
        assert sorted(found) == sorted(expected)


@settings(max_examples=150, deadline=None)
@given(
    introns=st.sets(
        st.tuples(st.integers(1, 24), st.integers(0, 12)).map(lambda x: (x[0], x[0] + x[1])),
        max_size=9,
    ),
    strand=st.sampled_from("+-?"),
    seed=st.integers(0, 1000),
)
def test_all_choices_of_junctions(introns, strand, seed):
    introns = sorted(introns)
    reads = np.random.default_rng(seed).permutation(len(introns)) + 50
    events = pp.find_local_events(counts_of(introns, strand, reads=reads), min_usage=0)
    expected = by_definition(introns, dict(zip(introns, reads, strict=True)), strand)
    found = forms(events)
    rows = {one for one in found if one[0] == "multi_exon_skip"}
    expected_rows = {one for one in expected if one[0] == "multi_exon_skip"}
    assert found - rows == expected - expected_rows
    # Of rows of equal width and length, any may be given.
    assert len(rows) == len(expected_rows)
    for _, inclusion, (skip,) in rows:
        assert any(inclusion in best and skip == ends for _, best, ends in expected_rows)
    assert events.index.is_unique


def test_rare_junctions_neither_hide_nor_make_events():
    transcripts = [exons("ABC"), exons("AC")]
    introns = introns_of(transcripts)
    noise = [(1101, 2500), (1500, 1999), (2050, 2999), (2030, 2070)]
    adata = counts_of([*introns, *noise], reads=[100, 100, 100, 3, 3, 3, 3])
    annotation = whole_annotation(transcripts)
    del noise[-1]  # it lies within an exon: no junction to compare it with
    adata = adata[:, :-1].copy()
    for genes in (None, annotation):
        assert list(pp.find_local_events(adata, genes).index) == SKIP[0]
        assert len(pp.find_local_events(adata, genes, min_usage=0.01)) > 1
    atses = adata.copy()
    pp.find_atses(atses, use_genes=False)
    pp.classify_events(atses, annotation=annotation)
    assert set(atses.var["event_type"].dropna()) == {"complex"}
    # The threshold is at the site where the junction is used less.
    half = counts_of(introns, reads=[100, 10, 100])  # skipped by 1/11 of the reads
    assert len(pp.find_local_events(half, min_usage=1 / 11)) == 1
    assert len(pp.find_local_events(half, min_usage=0.1)) == 0


def test_lone_junctions_are_compared_with_those_that_overlap_them():
    # The junction between the two exons of a multi-exon skip, which shares no site.
    introns = introns_of([exons("ABCD"), exons("AD")])
    assert introns == [(1101, 1999), (1101, 3999), (2101, 2999), (3101, 3999)]
    for reads, kind in ((5, "multi_exon_skip"), (4, "cassette_exon")):
        adata = counts_of(introns, reads=[10, 100, reads, 10])
        assert list(pp.find_local_events(adata)["event_type"]) == [kind]
    # Those of the other strand, or that do not overlap it, do not matter.
    adata = counts_of([*introns, (1102, 3998), (9000, 9100)], reads=[10, 100, 5, 10, 900, 900])
    adata.var.loc[adata.var_names[-2], "strand"] = "-"
    assert list(pp.find_local_events(adata)["event_type"]) == ["multi_exon_skip"]


def test_junctions_between_skipped_exons_are_taken_from_the_annotation():
    transcripts = [exons("ABCD"), exons("AD")]
    adata = transcripts_counts(transcripts)
    data_set = adata[:, adata.var["start"] != 2101].copy()  # shares no site: in no ATSE
    events = pp.find_local_events(data_set, whole_annotation(transcripts))
    assert list(events.index) == PLANTED["two exons"][1]
    assert events["inclusion_junctions"].item() == names_between("A-B,C-D")
    assert events["exons"].item() == "2000-2100,3000-3100"
    assert list(pp.find_local_events(data_set)["event_type"]) == ["cassette_exon"]


def test_exons_that_the_annotation_tells_apart():
    # A last exon L lies before the cassette exon B: the space from L to the end of B is no exon.
    last = (1400, 1500)
    transcripts = [exons("ABC"), exons("AC"), [E["A"], last]]
    adata = transcripts_counts(transcripts)
    events = pp.find_local_events(adata, whole_annotation(transcripts))
    assert list(events[events["event_type"] == "cassette_exon"].index) == SKIP[0]
    # Two donors whose exons are apart, one of an internal exon whose acceptor is not in the data.
    transcripts = [exons("AD"), exons("BCD")]
    adata = transcripts_counts(transcripts)[:, [0, 2]].copy()
    assert list(pp.find_local_events(adata)["event_type"]) == ["alternative_5ss"]
    assert len(pp.find_local_events(adata, whole_annotation(transcripts))) == 0


def test_first_exons_that_are_also_internal_are_cassette_exons():
    transcripts = [exons("ABC"), exons("AC"), exons("BC")]
    for turned, strand in ((transcripts, "+"), (mirrored(transcripts), "-")):
        adata = transcripts_counts(turned, strand)
        events = pp.find_local_events(adata, whole_annotation(turned, strand))
        assert list(events["event_type"]) == ["cassette_exon"]
    # An internal exon between two first exons does not join them.
    transcripts = [exons("AD"), exons("ABD"), exons("CD")]
    events = pp.find_local_events(transcripts_counts(transcripts), whole_annotation(transcripts))
    assert (
        list(events.index)
        == [
            "SE:1:1100-2000:2100-4000:+",
            "AF:1:1000:1100-4000:3000:3100-4000:+",
        ][::-1]
    )


def test_exclusive_exons_have_an_intron_between():
    for gap, n_events in ((0, 0), (1, 1)):
        second = (2101 + gap, 2200)
        transcripts = [[E["A"], E["B"], E["D"]], [E["A"], second, E["D"]]]
        events = pp.find_local_events(transcripts_counts(transcripts))
        assert (events["event_type"] == "mutually_exclusive_exons").sum() == n_events


def test_events_stay_within_genes():
    introns = introns_of([exons("ABC"), exons("AC")])
    apart = counts_of(introns, gene_id=["g", "g", "h"])
    assert len(pp.find_local_events(apart)) == 0
    shared = counts_of(introns, gene_id=["g", "g,h", "h,g"], gene_name=["G", "G,H", "H,G"])
    events = pp.find_local_events(shared)
    assert (events["gene_id"].item(), events["gene_name"].item()) == ("g", "G")
    twice = counts_of(introns, gene_id="g,h", gene_name="G,H")
    event = pp.find_local_events(twice).iloc[0]
    assert (event["gene_id"], event["gene_name"]) == ("g,h", "G,H")
    single = counts_of(introns, gene_id="g,h", gene_name="G", n_genes=1)
    assert pp.find_local_events(single)["gene_id"].item() == "g,h"
    joining = counts_of(introns, gene_id="g,h", joins_genes=[False, True, False])
    assert len(pp.find_local_events(joining)) == 0
    missing = counts_of(introns, gene_id=None)
    assert pp.find_local_events(missing)["gene_id"].item() == ""


def test_contigs_match_the_annotation_and_sort_naturally():
    transcripts = [exons("ACD"), exons("BCD")]
    parts = [transcripts_counts(transcripts, chrom=chrom) for chrom in ("chr10", "chr2")]
    var = pd.concat([part.var for part in parts])
    adata = AnnData(np.full((1, len(var)), 9, np.float32), var=var)
    events = pp.find_local_events(adata, whole_annotation(transcripts, chrom="2"))
    assert list(events["chrom"]) == ["chr2", "chr10"]
    assert list(events["event_type"]) == ["alternative_first_exon", "alternative_5ss"]


def test_nothing_to_find():
    for adata in (counts_of([(1, 2)]), counts_of([]), counts_of([(1, 9)], reads=[0])):
        for annotation in (None, whole_annotation([exons("AB")])):
            events = pp.find_local_events(adata, annotation)
            assert events.shape == (0, 10)
            assert events.index.name == "event_id"


@pytest.mark.parametrize("min_usage", [-0.1, 1.1])
def test_usage_outside_0_to_1_is_refused(min_usage):
    with pytest.raises(ValueError, match=r"Expected min_usage in \[0, 1\]"):
        pp.find_local_events(counts_of([(1, 9)]), min_usage=min_usage)


@pytest.mark.parametrize("as_data_set", [False, True])
def test_planted_genes_among_noise(as_data_set):
    adata, annotation, truth = planted.simulate(135, 20, seed=7)
    pp.annotate_junctions(adata, annotation)
    if as_data_set:
        adata = pp.make_splicing_dataset(
            adata, gtf=annotation, min_reads=1, min_cells=1, min_usage=0
        )
    events = pp.find_local_events(adata, annotation)
    found, expected = planted.rows_of(events), planted.as_rows(truth, adata.var_names)
    assert len(expected) == 15 * (7 + 4)  # a complex gene has four
    assert len(found & expected) >= 0.98 * max(len(found), len(expected))
    assert {row[1] for row in expected} == set(planted.KINDS.values())


def test_known_events_of_mouse_cortex(data_dir):
    folder = data_dir / "tasic2016"
    annotation = pp.read_annotation(folder / "gencode.vM10.annotation.subset.gtf")
    adata = pp.make_splicing_dataset(folder / "sj", gtf=annotation)
    events = pp.find_local_events(adata, annotation).set_index("gene_name")
    assert events.loc["Snap25", "event_type"] == "mutually_exclusive_exons"
    assert events.loc["Snap25", "exons"] == "136769743-136769860,136770057-136770174"
    assert len(events.loc["Snap25", "atse_id"].split(",")) == 2
    assert events.loc["Myl6", "event_type"] == "cassette_exon"
    assert events.loc["Myl6", "exons"] == "128491720-128491764"


def suppa_exons(path):
    """Cassette exons and mutually exclusive exons of a GTF by SUPPA2's definition, as ids."""
    transcripts = {}
    with gzip.open(path, "rt") as file:
        for line in file:
            fields = line.split("\t")
            if len(fields) == 9 and fields[2] == "exon":
                gene, name = re.findall(r'(?:gene_id|transcript_id) "([^"]+)"', fields[8])[:2]
                key = (gene, name, fields[0], fields[6])
                transcripts.setdefault(key, []).append((int(fields[3]), int(fields[4])))
    introns, ways = {}, {}
    for (gene, _, chrom, strand), parts in transcripts.items():
        parts.sort()
        key = (gene, chrom, strand)
        for (_, e1), (s2, e2), (s3, _) in zip(parts, parts[1:], parts[2:], strict=False):
            ways.setdefault(key, {}).setdefault((e1, s3), set()).add((s2, e2))
        pairs = zip(parts, parts[1:], strict=False)
        introns.setdefault(key, set()).update((e1, s2) for (_, e1), (s2, _) in pairs)
    found = {}
    for key, between in ways.items():
        gene, chrom, strand = key
        for (e1, s4), middle in between.items():
            for s2, e2 in middle:
                if (e1, s4) in introns[key]:
                    event = f"SE:{chrom}:{e1}-{s2}:{e2}-{s4}:{strand}"
                    found[event, gene] = [(e1, s2), (e2, s4), (e1, s4)]
                for s3, e3 in middle:
                    if e2 < s3:
                        event = f"MX:{chrom}:{e1}-{s2}:{e2}-{s4}:{e1}-{s3}:{e3}-{s4}:{strand}"
                        found[event, gene] = [(e1, s2), (e2, s4), (e1, s3), (e3, s4)]
    return found


def test_cassette_exons_of_gtex_are_those_of_suppa(data_dir):
    folder = data_dir / "gtex_chr10"
    annotation = pp.read_annotation(folder / "chr10.gtf.gz")
    adata = pp.make_splicing_dataset(folder / "*.bed.gz", gtf=annotation, min_usage=0.05)
    events = pp.find_local_events(adata, annotation, min_usage=0)
    gene_of = adata.var.set_index(["start", "end"])["gene_id"].to_dict()
    possible = {
        event: pairs
        for (event, gene), pairs in suppa_exons(folder / "chr10.gtf.gz").items()
        if all(gene_of.get((a + 1, b - 1)) == gene for a, b in pairs)
    }
    known = adata.var["known_junction"]
    names = events["inclusion_junctions"] + "," + events["exclusion_junctions"]
    ours = set(events.index[[known.loc[text.split(",")].all() for text in names]])
    for code, least in (("SE:", 200), ("MX:", 5)):
        mine = {event for event in ours if event.startswith(code)}
        theirs = {event for event in possible if event.startswith(code)}
        assert len(mine & theirs) >= max(least, 0.98 * len(mine))
        if code == "SE:":
            assert len(mine & theirs) >= 0.98 * len(theirs)
        for event in theirs - mine:
            if code == "MX:":  # a junction joins the two exons: they are not exclusive
                (_, _), (e2, _), (_, s3), _ = possible[event]
                assert (e2 + 1, s3 - 1) in gene_of
