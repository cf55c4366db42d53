"""Reads aligned across positions, against a slow count of bases."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from helpers.bam import make_read, write
from helpers.parts import counts
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp.read.bam import _crossings
from leafletfa_scvi.pp.read.bam._crossings import Positions, count_crossings
from leafletfa_scvi.pp.read.bam._options import BamOptions


def count(tmp_path, reads, positions, **options):
    path = write(tmp_path / "reads.bam", reads)
    positions = Positions({"chr1": np.array(positions)})
    part = count_crossings(path, "c", BamOptions(**options), positions)
    assert (part.end - part.start == 1).all()
    return {(cell, start, strand): n for (cell, _, start, _, strand), n in counts(part).items()}


def bases(read) -> list[list[int]]:
    """Bases (1-based) of each block between introns, deletions included."""
    at, blocks = read.reference_start + 1, [[]]
    for n, operation in re.findall(r"(\d+)(.)", read.cigarstring):
        if operation in "MD=X":
            blocks[-1] += range(at, at + int(n))
        if operation == "N":
            blocks.append([])
        if operation in "MDN=X":
            at += int(n)
    return blocks


@settings(max_examples=60, deadline=None)
@given(
    reads=st.lists(
        st.tuples(
            st.integers(0, 40),
            st.sampled_from(["20M", "5S12M3I9M", "6M4D10M", "10M10N12M", "4M15N3M5N20M2S"]),
        ),
        min_size=1,
        max_size=12,
    ),
    positions=st.lists(st.integers(1, 100), min_size=1, max_size=20),
    anchor=st.integers(1, 9),
)
def test_crossings_are_those_of_a_count_of_bases(tmp_path_factory, reads, positions, anchor):
    made = [make_read(position=position, cigar=cigar) for position, cigar in reads]
    expected = Counter()
    for read in made:
        for block in bases(read):
            for place in set(positions):
                before = sum(base <= place for base in block)
                if min(before, len(block) - before) >= anchor:
                    expected["c", place, "?"] += 1
    found = count(tmp_path_factory.mktemp("a"), made, positions, min_anchor=anchor)
    assert found == dict(expected)


def test_flags_and_quality_leave_out_the_same_reads_as_for_junctions(tmp_path):
    reads = [make_read(cigar="40M", flag=flag) for flag in (4, 256, 512, 2048, 1024)]
    reads += [make_read(cigar="40M", mapq=1), make_read(cigar="40M")]
    assert count(tmp_path, reads, [120]) == {("c", 120, "?"): 3}
    assert count(tmp_path, reads, [120], min_mapq=2, skip_duplicates=True) == {("c", 120, "?"): 1}
    reads += [make_read(cigar="40M", tags=[("NH", hits)]) for hits in (1, 2, 9)]
    assert count(tmp_path, reads, [120]) == {("c", 120, "?"): 4}
    assert count(tmp_path, reads, [120], multimapped="keep") == {("c", 120, "?"): 6}


@pytest.mark.parametrize("n_reads", [1, 3, 1 << 17])
def test_mates_count_once_in_any_order(tmp_path, monkeypatch, n_reads):
    monkeypatch.setattr(_crossings, "_N_READS", n_reads)
    reads = [
        make_read(f"q{i}", flag, position=50 * i + shift, cigar="40M")
        for i in range(20)
        for flag, shift in ((99, 0), (147, 5))
    ]
    expected = {("c", 50 * i + 20, "?"): 1 for i in range(20)}
    for order in (reads, reads[::-1], reads[::2] + reads[1::2]):
        assert count(tmp_path, order, [50 * i + 20 for i in range(20)]) == expected


@pytest.mark.parametrize(("how", "n"), [("auto", (2, 1)), ("drop", (1, 1)), ("keep", (3, 1))])
def test_umis_count_once_and_reads_without_one_as_for_junctions(tmp_path, how, n):
    def read(cell, umi):
        return make_read(cigar="40M", tags=[("CB", cell), *([("UB", umi)] if umi != "no" else [])])

    reads = [read("A", "T"), read("A", "T"), read("B", "T"), read("A", ""), read("A", "no")]
    found = count(tmp_path, reads, [120], cell_tag="CB", umi_tag="UB", umi_missing=how)
    assert found == {("A", 120, "?"): n[0], ("B", 120, "?"): n[1]}


def test_strand_of_a_stranded_library(tmp_path):
    reads = [make_read(cigar="40M", flag=16), make_read(cigar="40M", tags=[("XS", "-", "A")])]
    assert count(tmp_path, reads, [120], strand="FR") == {("c", 120, "-"): 1, ("c", 120, "+"): 1}
    assert count(tmp_path, reads, [120]) == {("c", 120, "?"): 2}


def test_positions_are_known_by_what_they_are():
    one, same = ({"chr1": np.array(x)} for x in ([5, 3, 5], [3, 5]))
    assert Positions(one).digest == Positions(same).digest
    assert Positions(one).digest != Positions({"chr2": np.array([3, 5])}).digest
    assert Positions(one).digest != Positions({"chr1": np.array([3, 6])}).digest
