from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafletfa_scvi._contigs import match_contigs


@pytest.mark.parametrize(
    ("data", "reference", "wanted"),
    [
        (["chr1", "chrX"], ["chr1", "chr2", "chrX"], {"chr1": "chr1", "chrX": "chrX"}),
        (["1", "X"], ["chr1", "chrX"], {"1": "chr1", "X": "chrX"}),
        (["chr1", "chrX"], ["1", "X"], {"chr1": "1", "chrX": "X"}),
        (["MT", "1"], ["chrM", "chr1"], {"MT": "chrM", "1": "chr1"}),
        (["chrM"], ["MT"], {"chrM": "MT"}),
        (["chrM"], ["chrMT"], {"chrM": "chrMT"}),
        (["M"], ["MT"], {"M": "MT"}),
        (["Mt", "1"], ["ChrM", "Chr1"], {"Mt": "ChrM", "1": "Chr1"}),
        (["chr1", "2"], ["1", "chr2"], {"chr1": "1", "2": "chr2"}),
        (["1", "ERCC-00002", "KI270728.1"], ["chr1"], {"1": "chr1"}),
        (["chrM", "chrMT"], ["chrM", "chrMT"], {"chrM": "chrM", "chrMT": "chrMT"}),
        (["chr", "1"], ["", "chr1"], {"1": "chr1"}),
        ([], ["chr1"], {}),
        ([], [], {}),
    ],
)
def test_names_that_match(data, reference, wanted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert match_contigs(data, reference, "the reads", "the GTF") == wanted


def test_the_same_name_comes_before_any_other():
    assert match_contigs(["chrM"], ["MT", "M", "chrM"]) == {"chrM": "chrM"}
    assert match_contigs(["chrM"], ["MT", "M"]) == {"chrM": "M"}


def test_no_match_shows_both_and_a_remedy():
    with pytest.raises(ValueError, match="rename") as error:
        match_contigs([f"NC_00000{i}.11" for i in range(1, 9)], ["chr1"], "my.bam", "my.gtf")
    for part in ("my.bam", "my.gtf", "'NC_000001.11'", "'chr1'", "8 in all"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="it has none"):
        match_contigs(["chr1"], [])


def test_two_contigs_are_never_one():
    with pytest.raises(ValueError, match="'1' and 'chr1' of the reads both match 'chr1'"):
        match_contigs(["1", "chr1"], ["chr1"], "the reads")
    with pytest.raises(ValueError, match="both match 'MT'"):
        match_contigs(["M", "chrM"], ["MT"])
    with pytest.raises(ValueError, match="both match 'chrM'"):
        match_contigs(["M", "chrM"], ["chrM"])


def test_the_second_mitochondrion_of_hg19_is_left():
    with pytest.warns(UserWarning, match="'chrMT' is left unmatched"):
        assert match_contigs(["chrM", "chrMT"], ["chrM"]) == {"chrM": "chrM"}


NAMES = st.lists(
    st.sampled_from(["1", "2", "X", "M", "MT", "chr1", "chr2", "chrX", "chrM", "chrMT", "ERCC"])
)


@given(NAMES, NAMES, st.randoms(use_true_random=False))
def test_a_match_is_one_to_one_whatever_the_order(data, reference, random):
    def outcome():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return match_contigs(data, reference)
            except ValueError as error:
                return str(error)

    found = outcome()
    if isinstance(found, dict):
        assert set(found) <= set(data)
        assert set(found.values()) <= set(reference)
        assert len(set(found.values())) == len(found)
        assert all(found[name] == name for name in set(data) & set(reference))
    random.shuffle(data)
    random.shuffle(reference)
    assert outcome() == found
