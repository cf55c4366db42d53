"""Reads without UMI beside reads with one, and UMIs of cells whose reads are in several files."""

from __future__ import annotations

import warnings

import pandas as pd
import pysam
import pytest
from helpers.bam import CONTIGS, HEADER, make_read, write

import leafletfa_scvi as lfa

JUNCTION = "chr1:121-220:?"


def reads(cell, umis, start=0):
    """One single-end read for each UMI; None for a read without the tag."""
    return [
        make_read(
            f"{cell}{start + i}", tags=[("CB", cell), *([("UB", u)] if u is not None else [])]
        )
        for i, u in enumerate(umis)
    ]


@pytest.fixture
def smart_seq3(tmp_path):
    """Two molecules in four reads, and eight internal reads, as zUMIs writes them."""
    return write(tmp_path / "cells.bam", reads("A", ["AC", "GT", "AC", "GT", *[""] * 8]))


def read(path, **options):
    """Count of the one junction, what was read, and what was warned of."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        adata = lfa.pp.read_bam(path, cell_tag="CB", **options)
    count = int(adata.X.sum())
    return count, adata.uns["splicing"]["reading"], [str(one.message) for one in seen]


def test_internal_reads_count_as_fragments_beside_umis(smart_seq3):
    count, reading, said = read(smart_seq3)
    assert count == 2 + 8
    assert reading["reads_without_umi_counted"] == 8
    assert reading["introns_counted_by_umi"] == 2
    assert reading["introns_counted_by_fragment"] == 8
    assert reading["reads_without_umi"] == 0
    assert len(said) == 1
    assert said[0].startswith("8 spliced reads have no UMI and count as fragments beside")


def test_reads_without_umi_are_skipped_on_request(smart_seq3):
    count, reading, said = read(smart_seq3, umi_missing="drop")
    assert count == 2
    assert reading["reads_without_umi"] == 8
    assert "8 of 12 spliced reads of cells have no UMI" in said[0]


@pytest.mark.parametrize("missing", ["-", None])
def test_reads_with_an_undetermined_umi_are_no_molecules(tmp_path, missing):
    few = write(tmp_path / "few.bam", reads("A", [*(f"U{i}" for i in range(19)), missing]))
    assert read(few)[::2] == (19, [])  # as usual for droplets: nothing to say
    many = write(tmp_path / "many.bam", reads("A", ["AC", "AC", *[missing] * 4]))
    count, _, said = read(many)
    assert count == 1
    assert "4 of 6 spliced reads of cells have no UMI" in said[0]
    assert "umi_missing='keep'" in said[0]
    count, reading, _ = read(many, umi_missing="keep")
    assert count == 1 + 4
    assert reading["introns_counted_by_umi"] == 1
    assert reading["introns_counted_by_fragment"] == 4


def test_mates_of_an_internal_fragment_count_once(tmp_path):
    tags = [("CB", "A"), ("UB", "")]
    mates = [make_read("r", flag, tags=tags) for flag in (99, 147)]
    named_as_a_umi = [make_read("s", tags=[("CB", "A"), ("UB", "r")])]
    path = write(tmp_path / "cells.bam", mates + named_as_a_umi)
    assert read(path)[0] == 2


def test_the_option_concerns_umis_only(smart_seq3):
    for options in ({"cell_tag": "CB", "umi_tag": None}, {}):
        with pytest.raises(ValueError, match="concerns counts of UMIs"):
            lfa.pp.read_bam(smart_seq3, umi_missing="drop", **options)
    with pytest.raises(
        ValueError, match="umi_missing to be 'auto', 'keep' or 'drop', found 'skip'"
    ):
        lfa.pp.read_bam(smart_seq3, cell_tag="CB", umi_missing="skip")


@pytest.fixture
def lanes(tmp_path):
    """One sample on two lanes, whose files list contigs in another order, and another sample."""
    write(tmp_path / "lane1.bam", reads("A", ["AC", "GT"]) + reads("B", ["AC"]))
    turned = pysam.AlignmentHeader.from_dict(
        {"SQ": [{"SN": name, "LN": CONTIGS[name]} for name in ("chr2", "chr1")]}
    )
    with pysam.AlignmentFile(tmp_path / "lane2.bam", "wb", header=turned) as file:
        for one in reads("A", ["AC", "TT", ""], start=9):
            one = pysam.AlignedSegment.from_dict(one.to_dict(), turned)
            file.write(one)
    write(tmp_path / "other.bam", reads("A", ["AC"]))
    assert HEADER.references == ("chr1", "chr2")
    return pd.DataFrame(
        {
            "path": [str(tmp_path / f"{name}.bam") for name in ("lane1", "other", "lane2")],
            "sample": ["one", "two", "one"],
            "age": [3, 4, 3],
        }
    )


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_umi_on_two_lanes_of_a_cell_counts_once(lanes, n_jobs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = lfa.pp.read_bam(lanes, cell_tag="CB", n_jobs=n_jobs)
    assert adata.var_names.tolist() == [JUNCTION]
    found = dict(zip(adata.obs_names, adata.X.toarray().ravel().tolist(), strict=True))
    assert found == {"one_A": 4, "one_B": 1, "two_A": 1}  # AC, GT, TT and a fragment
    assert adata.obs["age"].tolist() == [3, 3, 4]
    assert adata.uns["splicing"]["reading"]["umi_copies"] == 1
    assert adata.uns["splicing"]["reading"]["files"] == 3


def test_names_of_cells_do_not_depend_on_the_number_of_lanes(lanes):
    alone = lfa.pp.read_bam(lanes.iloc[[0, 2]], cell_tag="CB", umi_missing="drop")
    assert alone.obs_names.tolist() == ["one_A", "one_B"]


def test_counts_of_lanes_are_made_again_if_any_lane_changed(lanes, tmp_path):
    def total():
        adata = lfa.pp.read_bam(
            lanes, cell_tag="CB", umi_missing="drop", work_dir=tmp_path / "parts"
        )
        return adata.X.sum()

    assert total() == 3 + 1 + 1
    write(tmp_path / "lane2.bam", reads("A", ["AC", "TT", "GG", "CC"]))
    assert total() == 5 + 1 + 1


def test_a_damaged_lane_takes_its_sample_along(lanes, tmp_path):
    (tmp_path / "lane2.bam").write_bytes(b"no BAM")
    with pytest.warns(UserWarning, match=r"2 of 3 files .* lanes of a sample .*lane2\.bam"):
        adata = lfa.pp.read_bam(lanes, cell_tag="CB", on_error="skip")
    assert adata.X.sum() == 1
    failed = adata.uns["splicing"]["failed_files"]
    assert [path.rsplit("/")[-1] for path in failed] == ["lane1.bam", "lane2.bam"]


def test_fragments_of_two_files_of_a_cell_are_summed(lanes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = lfa.pp.read_bam(lanes, cell_tag="CB", umi_tag=None)
    assert adata[["one_A"]].X.sum() == 5


def test_the_old_name_and_values_warn(smart_seq3):
    for old, new, n in (("skip", "drop", 2), ("fragments", "keep", 10), ("auto", "auto", 10)):
        with pytest.warns(FutureWarning, match=f"{old}.* is deprecated; use umi_missing='{new}'"):
            count, *_ = read_old(smart_seq3, old)
        assert count == n
    with pytest.raises(TypeError, match="got both 'umi_missing' and its deprecated name"):
        lfa.pp.read_bam(smart_seq3, cell_tag="CB", umi_missing="keep", reads_without_umi="skip")


def read_old(path, value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        adata = lfa.pp.read_junctions(path, cell_tag="CB", reads_without_umi=value)
    return int(adata.X.sum()), adata


def test_a_file_of_one_cell_may_have_umis(tmp_path):
    """As of FLASH-seq with a file for each well: UMIs of 5' reads beside internal pairs."""
    tags = [("UB", "AC")]
    molecule = [make_read(f"m{i}", flag, tags=tags) for i in range(3) for flag in (99, 147)]
    internal = [make_read(f"i{i}", flag) for i in range(2) for flag in (99, 147)]
    for name in ("lane1", "lane2", "other"):
        write(tmp_path / f"{name}.bam", molecule + internal)
    path = tmp_path / "lane1.bam"
    assert lfa.pp.read_bam(path).X.sum() == 5  # fragments, unless a tag is named
    with pytest.warns(UserWarning, match="4 spliced reads have no UMI and count as fragments"):
        adata = lfa.pp.read_bam(path, umi_tag="UB", umi_missing="keep")
    assert adata.obs_names.tolist() == ["lane1"]
    assert adata.X.sum() == 1 + 2
    reading = adata.uns["splicing"]["reading"]
    assert (reading["introns_counted_by_umi"], reading["introns_counted_by_fragment"]) == (1, 2)
    with pytest.warns(UserWarning, match="4 of 10 spliced reads of cells have no UMI"):
        assert lfa.pp.read_bam(path, umi_tag="UB", umi_missing="drop").X.sum() == 1
    files = pd.DataFrame(
        {
            "path": [str(tmp_path / f"{name}.bam") for name in ("lane1", "lane2", "other")],
            "cell": ["A", "A", "B"],
            "sample": ["s", "s", "s"],
        }
    )
    with pytest.warns(UserWarning, match="count as fragments"):
        adata = lfa.pp.read_bam(files, umi_tag="UB", umi_missing="keep")
    assert adata.obs_names.tolist() == ["A", "B"]  # the UMI and the names of A are on two lanes
    assert adata.X.toarray().tolist() == [[3], [3]]
