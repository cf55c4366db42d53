"""Lifted bases against the alignment that the chain file was written from."""

from __future__ import annotations

import gzip
import sys

import numpy as np
import pytest
from benchmarks.query._genome_pair import alignment

from leafletfa_scvi.data import recognize_build
from leafletfa_scvi.pp.map._chain import Chain

HEADER = "chain 1 chr1 1000 + 0 500 chr2 2000 + 100 600 1"


@pytest.fixture
def write(tmp_path):
    def written(text, name="a.chain"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


@pytest.mark.parametrize("direction", [0, 1])
def test_every_base_is_lifted_to_that_of_the_same_identity(genomes, chains, direction):
    ends = (genomes.source, genomes.target)[:: 1 - 2 * direction]
    chain = Chain(chains[direction], "chain")
    for contig, truth in alignment(*ends).groupby("contig"):
        size = len(ends[0].base[contig])
        lifted = chain.lift(contig, np.arange(1, size + 1))
        expected = np.zeros(size, np.int64)
        expected[truth["position"]] = truth["position_to"] + 1
        np.testing.assert_array_equal(lifted.position, expected)
        np.testing.assert_array_equal(lifted.n_places, expected > 0)
        aligned = truth["position"].to_numpy()
        np.testing.assert_array_equal(lifted.orientation[aligned], truth["orientation"])
        assert [chain.to_contigs[i] for i in lifted.contig[aligned]] == truth["contig_to"].tolist()


def test_ends_of_blocks_and_of_contigs(write):
    # Blocks 1-10 and 21-30, and the last 10 bases, which are reversed.
    text = (
        "chain 1 chr1 100 + 0 30 chr2 50 + 5 28 1\n10\t10\t3\n10\n\n"
        "chain 1 chr1 100 + 90 100 chr3 40 - 0 10 2\n10\n"
    )
    chain = Chain(write(text), "chain")
    bases = [0, 1, 10, 11, 20, 21, 30, 31, 90, 91, 100, 101]
    lifted = chain.lift("chr1", np.array(bases))
    assert lifted.position.tolist() == [0, 6, 15, 0, 0, 19, 28, 0, 0, 40, 31, 0]
    assert lifted.orientation[-3:-1].tolist() == [-1, -1]
    assert lifted.n_places.tolist() == [int(x > 0) for x in lifted.position]
    assert (chain.from_sizes, chain.to_sizes) == ({"chr1": 100}, {"chr2": 50, "chr3": 40})


def test_a_base_with_several_places_has_none(write):
    chain = Chain(write(f"{HEADER}\n500\n\n{HEADER.replace('chr2', 'chr5')}\n500\n"), "chain")
    lifted = chain.lift("chr1", np.array([7]))
    assert (lifted.n_places, lifted.position, lifted.contig) == (2, 0, -1)


def test_compressed(write):
    plain = Chain(write(f"{HEADER}\n500\n"), "chain")
    packed = Chain(write(gzip.compress(f"{HEADER}\n500\n".encode()), "a.chain.gz"), "chain")
    for chain in (plain, packed):
        assert chain.lift("chr1", np.array([1, 500])).position.tolist() == [101, 600]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line that begins with 'chain'"),
        ("chr1\t0\t500\n", "no line that begins with 'chain'"),
        ("chain 1 chr1 1000\n500\n", "line 1: is no header of a chain"),
        (f"#x\n{HEADER.replace('2000', '2e3')}\n500\n", "line 2: is no header of a chain"),
        (f"{HEADER}\n500\n\n{HEADER.replace('1000', '999')}\n500\n", "line 4.*two builds"),
        (f"{HEADER}\n400\t0\t0\n", "truncated or damaged"),
        (f"{HEADER}\n400\t0\t0\n1", "truncated or damaged"),
        (f"{HEADER}\n400\t0\tx\n100\n", "truncated or damaged"),
        (gzip.compress(f"{HEADER}\n500\n".encode(), mtime=0)[:-9], "truncated or damaged"),
        (b"BZh91AY", "compressed by bzip2"),
    ],
)
def test_files_that_are_no_chain_files(write, text, message):
    path = write(text)
    with pytest.raises(ValueError, match=message) as error:
        Chain(path, "chain")
    assert str(path) in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.chain"):
        Chain(tmp_path / "none.chain", "chain")


def test_what_is_no_path():
    with pytest.raises(TypeError, match="chain to be the path of a chain file, found a No"):
        Chain(None, "chain")


def test_without_liftover(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "liftover", None)
    with pytest.raises(ImportError, match=r"leafletfa-scvi\[liftover\]"):
        Chain(write(f"{HEADER}\n500\n"), "chain")


@pytest.mark.parametrize(
    ("sizes", "build"),
    [
        ({"chr1": 248956422, "chr2": 242193529}, "hg38 (GRCh38)"),
        ({"1": 195471971}, "mm10 (GRCm38)"),
        ({"X": 155270560, "chr7_alt": 5}, "hg19 (GRCh37)"),
        ({"chr1": 248956422, "chr2": 5}, None),
        ({"chr9": 5}, None),
        ({}, None),
    ],
)
def test_builds_are_known_by_their_sizes(sizes, build):
    assert recognize_build(sizes) == build
