"""Only the junctions of a region are read, whatever the format."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pysam
import pytest
from helpers.bam import make_read, write

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.read._region import Region, parse_region

if TYPE_CHECKING:
    from pathlib import Path

STAR = "".join(
    f"{contig}\t{start}\t{end}\t1\t1\t1\t{reads}\t0\t30\n"
    for contig, start, end, reads in (
        ("chr1", 101, 250, 5),
        ("chr1", 101, 390, 3),
        ("chr1", 301, 390, 2),
        ("chr10", 101, 250, 7),
    )
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chr10:1-1000000", Region("chr10", 1, 1_000_000)),
        ("chr10:1-1,000,000", Region("chr10", 1, 1_000_000)),
        ("chr10", Region("chr10")),
        ("HLA:A*01:01:5-9", Region("HLA:A*01:01", 5, 9)),
    ],
)
def test_regions_are_those_of_samtools(text, expected):
    assert parse_region(text) == expected


@pytest.mark.parametrize(
    "text", ["", " ", "chr1:", "chr1:5", "chr1:9-5", "chr1:0-5", "chr1:5-", "chr1:-5", "chr1:1-9 "]
)
def test_what_is_no_region(text):
    with pytest.raises(ValueError, match="Expected region to be a contig"):
        parse_region(text)


def test_junctions_lie_in_the_region(tmp_path: Path) -> None:
    (tmp_path / "a.SJ.out.tab").write_text(STAR)
    (tmp_path / "b.SJ.out.tab").write_text(STAR.splitlines(keepends=True)[3])

    def read(region):
        return lfa.pp.read_junctions(tmp_path, region=region)

    adata = read("chr1:101-390")
    assert adata.var_names.tolist() == ["chr1:101-250:+", "chr1:101-390:+", "chr1:301-390:+"]
    assert adata.X.toarray().tolist() == [[5, 3, 2], [0, 0, 0]]
    assert read("chr1:102-390").var_names.tolist() == ["chr1:301-390:+"]
    assert read("chr1:1-389").var_names.tolist() == ["chr1:101-250:+"]
    assert read("chr10").X.toarray().tolist() == [[7], [7]]
    assert read("chr10").uns["splicing"]["reading"]["reads_outside_region"] == 10
    with pytest.raises(ValueError, match=r"reads_outside_region 24.*Is region \(--region\) named"):
        lfa.pp.make_splicing_dataset(tmp_path, region="10")


@pytest.mark.parametrize("tagged", [False, True])
def test_an_index_gives_the_same_counts_from_fewer_reads(tmp_path, tagged):
    rng = np.random.default_rng(0)
    reads = []
    for i, position in enumerate(np.sort(rng.integers(0, 5000, 400))):
        cigar = f"{rng.integers(5, 30)}M{100 + 50 * (i % 3)}N{rng.integers(5, 30)}M"
        tags = [("CB", f"{'ACG'[i % 3]}A"), ("UB", f"T{i % 50}")]
        flag = int(rng.choice([0, 99, 147]))
        reads.append(make_read(f"r{i // 2}", flag, 0, int(position) // 20 * 20, cigar, tags=tags))
    reads.sort(key=lambda read: read.reference_start)
    path = write(tmp_path / "c.bam", reads)
    options = {"cell_tag": "CB"} if tagged else {}
    for place in ("chr1:1001-1600", "chr1:900-1000000", "chr1", "chr2"):

        def count(place=place, **more):
            adata = lfa.pp.read_junctions(path, region=place, **options, **more)
            return adata.to_df(), adata.uns["splicing"]["reading"].get("reads", 0)

        for more in ({}, {"regtools": True, "umi_tag": None}):
            expected, n_all = count(**more)
            pysam.index(str(path))
            found, n_reads = count(**more)
            assert found.equals(expected)
            assert n_all == 400
            assert n_reads == {"chr1": 400, "chr2": 0}.get(place, n_reads)
            assert n_reads < 400 or place == "chr1"
            os.utime(f"{path}.bai", (1, 1))  # an index of an earlier file
            assert count(**more)[1] == 400
            os.remove(f"{path}.bai")
