from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.events import (
    A3,
    A5,
    CASSETTE,
    COMPLEX,
    EXCLUSIVE,
    FIRST,
    FLIPPED,
    LAST,
    MULTI,
    annotation_of,
    introns_of,
    mirrored,
    table,
    types_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp.atse._events import EVENT_TYPES, event_types
from leafletfa_scvi.pp.atse._graph import label_atses

E = {name: (1000 * i, 1000 * i + 100) for i, name in enumerate("ABCDEFG", start=1)}


def exons(names):
    return [E[name] for name in names]


# Transcripts by their exons on +; the same types on -, with all mirrored.
PLANTED = {
    "cassette": (["ABC", "AC"], [CASSETTE]),
    "two cassettes apart": (["ABCDE", "ACDE", "ABCE"], [CASSETTE, CASSETTE]),
    "two skipped": (["ABCD", "AD"], [MULTI]),
    "three skipped": (["ABCDE", "AE"], [MULTI]),
    "two skipped and one of them": (["ABCD", "AD", "ACD"], [MULTI]),
    "two skipped, the second alone too": (["ABCD", "AD", "ABD"], [MULTI]),
    "two skipped, each alone too": (["ABCD", "AD", "ABD", "ACD"], [MULTI]),
    "two of three skipped, one within": (["ABCDE", "AE", "BD"], [MULTI, CASSETTE]),
    "three skipped, also first two": (["ABCDE", "AE", "ADE"], [MULTI]),
    "neighbors skipped, never both": (["ABCD", "ACD", "ABD"], [COMPLEX]),
    "neighbors, one of them two exons": (["ABXCD", "ACD", "ABXD"], [MULTI]),
    "exclusive": (["ABD", "ACD"], [EXCLUSIVE, EXCLUSIVE]),
    "exclusive of two rows of exons": (["ABXDF", "AEF"], [A3, A5]),
    "exclusive or none": (["ABD", "ACD", "AD"], [COMPLEX]),
    "one of three": (["ABE", "ACE", "ADE"], [EXCLUSIVE, EXCLUSIVE]),
    "one of three or another and a fourth": (["ABE", "ACE", "ADE", "ADF"], [A3, COMPLEX]),
    "exclusive and a cassette before": (
        ["ABCEF", "ACDF", "ABCDF"],
        [CASSETTE, EXCLUSIVE, EXCLUSIVE],
    ),
    "constitutive": (["ABCDE"], []),
}
E["X"] = (2500, 2600)


@pytest.mark.parametrize("strand", ["+", "-", "?"])
@pytest.mark.parametrize("name", PLANTED)
def test_planted_exons(name, strand):
    texts, expected = PLANTED[name]
    transcripts = [exons(text) for text in texts]
    if strand == "-":
        transcripts = mirrored(transcripts)
    if strand == "?":  # nobody knows which site is which
        expected = [COMPLEX if kind in (A3, A5) else kind for kind in expected]
    assert sorted(types_of(transcripts, strand)) == sorted(expected)
    assert sorted(types_of(transcripts, strand, transcripts)) == sorted(expected)


# First and last exons carry the name; sites of an exon move by its end or its start.
LONG_A = (1000, 1150)
LATE_A = (1130, 1150)
LONG_C = (2950, 3100)
SITES = {
    # name: transcripts on +, type without and with their annotation
    "donor": ([[E["A"], E["C"]], [LONG_A, E["C"]]], A5, A5),
    "acceptor": ([[E["A"], E["C"]], [E["A"], LONG_C]], A3, A3),
    "first exon": ([[E["A"], E["C"]], [E["B"], E["C"]]], A5, FIRST),
    "last exon": ([[E["A"], E["B"]], [E["A"], E["C"]]], A3, LAST),
    "three first exons": ([exons("AD"), exons("BD"), exons("CD")], A5, FIRST),
    "three last exons": ([exons("AB"), exons("AC"), exons("AD")], A3, LAST),
    "two donors of a first exon, and another first exon": (
        [[E["A"], E["C"]], [LONG_A, E["C"]], [E["B"], E["C"]]],
        A5,
        A5,
    ),
    "a first exon at the donor of an internal one": (
        [[E["A"], E["D"]], [E["B"], E["C"], E["D"]]],
        A5,
        A5,
    ),
    "a last exon and an internal one": ([exons("AB"), exons("ACD")], A3, A3),
    "first exons, one reading on into the other": (
        [[E["A"], E["C"]], [E["B"], E["C"]], [(1000, 2100), E["C"]]],
        A5,
        FIRST,
    ),
    "a first exon that begins after the other donor": (
        [[E["A"], E["C"]], [LATE_A, E["C"]]],
        A5,
        FIRST,
    ),
    "cassette with first exons": ([exons("ABC"), exons("AC"), exons("BC")], CASSETTE, CASSETTE),
    "cassette with last exons": ([exons("ABC"), exons("AC"), exons("AB")], CASSETTE, CASSETTE),
}


@pytest.mark.parametrize("name", SITES)
def test_planted_sites(name):
    transcripts, bare, annotated = SITES[name]
    turned = mirrored(transcripts)
    assert types_of(transcripts) == [bare]
    assert types_of(turned, "-") == [bare]
    assert types_of(transcripts, "+", transcripts) == [annotated]
    assert types_of(turned, "-", turned) == [annotated]
    # Mirrored alone, or on the other strand alone, donors are acceptors.
    assert types_of(turned, "+", turned) == [FLIPPED.get(annotated, annotated)]
    assert types_of(transcripts, "-", transcripts) == [FLIPPED.get(annotated, annotated)]
    # Without a strand nobody knows.
    assert types_of(transcripts, "?", transcripts) == [bare if bare == CASSETTE else COMPLEX]
    # An annotation of the other strand or of another chromosome tells nothing.
    junctions = table(introns_of(transcripts))
    labels, _ = label_atses(junctions, use_genes=False)
    for elsewhere in (annotation_of(turned, "-"), annotation_of(transcripts, "+", "2")):
        assert event_types(junctions, labels, annotation=elsewhere).tolist() == [bare]


@pytest.mark.parametrize("source", ["junctions", "all_junctions", "annotation"])
def test_where_a_skipped_intron_is_known_from(source):
    junctions = table([(11, 20), (91, 99), (11, 99)])
    labels = ["a"] * 3

    def type_with(intron, strand="+", chrom="1"):
        more = table([intron], strand, chrom)
        if source == "junctions":
            return event_types(pd.concat([junctions, more]), [*labels, None]).item()
        if source == "all_junctions":
            return event_types(junctions, labels, all_junctions=more).item()
        annotation = SimpleNamespace(introns=more, exons=table([]).assign(first=[], last=[]))
        return event_types(junctions, labels, annotation=annotation).item()

    # The exon is 21 to 90.
    assert type_with((22, 89)) == MULTI
    assert type_with((40, 50)) == MULTI
    for intron in [(21, 80), (30, 90), (20, 89), (5, 50), (50, 95), (100, 110), (12, 98)]:
        assert type_with(intron) == CASSETTE
    assert type_with((40, 50), "-") == CASSETTE
    assert type_with((40, 50), "?") == CASSETTE
    assert type_with((40, 50), "+", "2") == CASSETTE


def test_an_exon_has_a_base():
    def type_of(*introns):
        return event_types(table(introns), ["a"] * len(introns)).item()

    assert type_of((10, 20), (22, 30), (10, 30)) == CASSETTE
    assert type_of((10, 20), (21, 30), (10, 30)) == COMPLEX  # a site used again, not an exon
    assert type_of((10, 20), (30, 90), (10, 50), (60, 90)) == EXCLUSIVE
    assert type_of((10, 20), (22, 90), (10, 22), (24, 90)) == EXCLUSIVE
    assert type_of((10, 20), (21, 90), (10, 50), (60, 90)) == COMPLEX
    assert type_of((10, 20), (30, 90), (10, 59), (60, 90)) == COMPLEX
    assert type_of((10, 20), (30, 90), (10, 29), (60, 90)) == COMPLEX  # one exon or the next bases
    assert type_of((10, 10), (12, 12), (10, 12)) == CASSETTE


# All small splice graphs, against types from exon-level templates of isoforms.


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(2, 5))
def test_mirrors_and_orders_of_random_genes(seed, n_exons, n_transcripts):
    rng = np.random.default_rng(seed)
    transcripts = []
    for _ in range(n_transcripts):
        take = np.flatnonzero(rng.random(n_exons) < 0.7)
        shift = rng.choice([0, 0, 0, 7], (n_exons, 2))
        transcripts.append([(100 * i + shift[i, 0], 100 * i + 50 + shift[i, 1]) for i in take])
    introns = introns_of(transcripts)
    turned = mirrored(transcripts)

    def typed(transcripts, strand, order):
        junctions = table(introns_of(transcripts), strand).iloc[order]
        labels, _ = label_atses(junctions, use_genes=False)
        kinds = event_types(junctions, labels, annotation=annotation_of(transcripts, strand))
        # None without an ATSE.
        return dict(
            zip(
                zip(junctions["start"], junctions["end"], strict=True),
                labels.map(kinds),
                strict=True,
            )
        )

    plain = typed(transcripts, "+", np.arange(len(introns)))
    order = rng.permutation(len(introns))
    assert (
        pd.Series(typed(transcripts, "+", order))
        .sort_index()
        .equals(pd.Series(plain).sort_index())
    )
    reverse = typed(turned, "-", order)
    other = typed(transcripts, "-", order)
    for (start, end), kind in plain.items():
        same = reverse[10_000 - end, 10_000 - start]
        flipped = other[start, end]
        if pd.isna(kind):
            assert pd.isna(same)
            assert pd.isna(flipped)
        else:
            assert kind in EVENT_TYPES
            assert same == kind
            assert flipped == FLIPPED.get(kind, kind)


def test_labels_of_any_kind_and_any_order():
    junctions = table([(11, 20), (31, 40), (11, 40), (51, 60), (51, 70), (81, 90)])
    junctions.index = list("uvwxyz")
    junctions = pd.concat([junctions, junctions.iloc[:1].rename({"u": "again"})])
    labels = ["b", "b", "b", "a", "a", np.nan, "b"]
    for given_ in (
        labels,
        np.array(labels, object),
        pd.Categorical(labels),
        pd.Series(labels, junctions.index),
        pd.Series(labels, junctions.index, dtype="string"),
        pd.Series(labels, junctions.index).sample(frac=1, random_state=1),
    ):
        types = event_types(junctions, given_)
        assert types.to_dict() == {"a": A3, "b": CASSETTE}
        assert types.index.tolist() == ["a", "b"]
    assert types.name == "event_type"
    assert types.index.name == "atse_id"
    categories = junctions.astype({"chrom": "category", "strand": "category"})
    more = categories.assign(chrom=pd.Categorical(["2"] * 7))
    assert event_types(categories, labels, all_junctions=more).equals(types)


def test_labels_that_are_no_atses():
    several = pd.concat([table([(11, 20)]), table([(11, 30)], "-"), table([(11, 30)], "+", "2")])
    assert event_types(several.iloc[[0, 1]], ["a", "a"]).tolist() == [COMPLEX]
    assert event_types(several.iloc[[0, 2]], ["a", "a"]).tolist() == [COMPLEX]
    assert event_types(several.iloc[:1], ["a"]).tolist() == [COMPLEX]
    assert event_types(table([(11, 20), (31, 40)]), ["a", "a"]).tolist() == [COMPLEX]
    assert event_types(several, [None] * 3).empty
    assert event_types(several.iloc[:0], []).empty


def test_errors():
    junctions = table([(11, 20), (11, 30)])
    with pytest.raises(ValueError, match=r"shape \(1,\) for 2 junctions"):
        event_types(junctions, ["a"])
    with pytest.raises(ValueError, match="no entry for junction 1, 1 in all"):
        event_types(junctions, pd.Series("a", [0, 5]))
    with pytest.raises(ValueError, match="atse_id has 0 in its index more than once"):
        event_types(junctions, pd.Series("a", [0, 0]))
    with pytest.raises(ValueError, match="no column 'strand'"):
        event_types(junctions.drop(columns="strand"), ["a", "a"])
    with pytest.raises(ValueError, match="no column 'strand'"):
        event_types(junctions, ["a", "a"], all_junctions=junctions[["chrom", "start", "end"]])
