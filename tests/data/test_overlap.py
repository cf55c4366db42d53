"""Overlap of the junctions of a data set with those of a reference, against a count by hand."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from helpers.splicing_data import JUNCTION
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.data import align_junctions, compare_junctions
from leafletfa_scvi.data._overlap import lost_psi


def data_set(names, labels=None, counts=None) -> ad.AnnData:
    """Counts of two cells; without any, those of junction i are i + 1 in each."""
    if counts is None:
        counts = np.tile(np.arange(len(names)) + 1, (2, 1))
    adata = ad.AnnData(obs=pd.DataFrame(index=["a", "b"]), var=pd.DataFrame(index=list(names)))
    adata.layers[JUNCTION] = sp.csr_matrix(np.asarray(counts))
    if labels is not None:
        adata.var["atse_id"] = list(labels)
    return adata


@st.composite
def both(draw):
    pool = [f"chr{i % 3}:{i + 1}0-{i + 1}9:+" for i in range(10)]
    sets = []
    for _ in "xy":
        names = draw(st.lists(st.sampled_from(pool), min_size=1, unique=True))
        labels = draw(st.lists(st.sampled_from("abcd"), min_size=len(names), max_size=len(names)))
        sets.append((names, labels))
    return sets


@settings(deadline=None, max_examples=80)
@given(both(), st.booleans())
def test_numbers_are_those_of_a_count_by_hand(sets, has_labels):
    (names, labels), (own, own_labels) = sets
    adata = data_set(own, own_labels if has_labels else None)
    codes = pd.factorize(np.array(labels))[0]
    found = compare_junctions(
        adata, pd.Index(names), codes, labels=np.array(labels), junction_layer=JUNCTION
    )
    reads = {name: 2 * (i + 1) for i, name in enumerate(own)}
    shared = [name for name in names if name in own]
    assert found.n_shared == len(shared)
    assert found.n_lost == len(names) - len(shared)
    assert found.n_extra == len(own) - len(shared)
    assert found.share_of_junctions == len(shared) / len(names)
    kept = sum(reads[name] for name in shared)
    assert found.share_of_reads == pytest.approx(kept / sum(reads.values()))
    np.testing.assert_array_equal(found.is_shared, [name in own for name in names])
    table = found.to_frame()
    assert list(table.index) == names + [name for name in own if name not in names]
    mine, theirs = dict(zip(own, own_labels, strict=True)), dict(zip(names, labels, strict=True))
    for name, row in table.iterrows():
        status = "extra" if name not in names else "shared" if name in own else "lost"
        assert row["status"] == status
        wanted = [name if name in own else None, theirs.get(name)]
        wanted.append(mine.get(name) if has_labels else None)
        for column, value in zip(("query_name", "atse", "query_atse"), wanted, strict=True):
            assert row[column] == value or (value is None and pd.isna(row[column]))
        np.testing.assert_equal(row["reads"], reads.get(name, np.nan))

    assert list(found.atses.index) == list(dict.fromkeys(labels))
    for label, row in found.atses.iterrows():
        members = [name for name in names if theirs[name] == label]
        here = [name for name in members if name in own]
        status = "complete" if here == members else "partial" if here else "absent"
        assert (row["status"], row["n_junctions"], row["n_shared"]) == (
            status,
            len(members),
            len(here),
        )
        assert row["reads"] == sum(reads[name] for name in here)
        others = {mine[name] for name in here} if has_labels else set()
        extra = [name for name in own if mine[name] in others and name not in names]
        assert (row["n_extra"], row["extra_reads"]) == (
            len(extra),
            sum(reads[name] for name in extra),
        )
        assert row["is_split"] == (len(others) > 1)
        foreign = {theirs[n] for n in own if mine[n] in others and n in names} - {label}
        assert row["is_merged"] == bool(foreign)
        assert np.isnan(row["lost_psi"])


def test_the_report_shows_numbers_and_can_be_written(tmp_path):
    names = ["chr1:1-9:+", "chr1:1-19:+", "chr2:5-9:-", "chr2:5-19:-", "chr3:1-2:+", "chr3:1-5:+"]
    adata = data_set([*names[:3], "chr1:1-29:+"], ["A", "A", "B", "A"])
    found = compare_junctions(
        adata, pd.Index(names), np.array([0, 0, 1, 1, 2, 2]), junction_layer=JUNCTION
    )
    text = repr(found)
    assert "3 of the reference's 6 junctions (50.0%) are in the data, with 60.0% of their" in text
    assert "1 others are not in the reference" in text
    assert "1 complete, 1 partial, 1 absent; 0 split and 0 merged" in text
    adata.uns["overlap"] = found.summary()
    adata.write_h5ad(tmp_path / "x.h5ad")
    assert ad.read_h5ad(tmp_path / "x.h5ad").uns["overlap"] == found.summary()
    assert found.summary()["n_atses_absent"] == 1
    found.to_frame()["status"] = "?"
    assert found.n_shared == 3


def test_unknown_reads_and_atses():
    found = compare_junctions(data_set(["chr1:1-9:+"]), pd.Index(["chr1:1-9:+", "chr1:1-5:+"]))
    assert np.isnan(found.share_of_reads)
    assert "reads" not in repr(found)
    assert found.atses.empty
    assert found.summary()["n_atses_split"] == 0
    empty = compare_junctions(data_set([]), pd.Index(["chr1:1-9:+"]), np.array([0]))
    assert (empty.n_shared, empty.n_lost, empty.n_extra) == (0, 1, 0)


class TestContigs:
    REFERENCE = pd.Index(["chr1:10-20:+", "chr1:10-30:+", "chrM:1-5:+", "chrX:7-9:-"])

    @pytest.mark.parametrize(
        ("own", "renamed"),
        [
            (["1", "1", "MT", "X"], {"1": "chr1", "MT": "chrM", "X": "chrX"}),
            (["chr1", "chr1", "chrMT", "chrX"], {"chrMT": "chrM"}),
            (["chr1", "chr1", "chrM", "chrX"], {}),
        ],
    )
    def test_prefix_and_mitochondrion(self, own, renamed):
        parts = [name.split(":", 1)[1] for name in self.REFERENCE]
        names = [f"{contig}:{part}" for contig, part in zip(own, parts, strict=True)]
        found = compare_junctions(data_set([*names, "GL1.1:3-5:+"]), self.REFERENCE)
        assert found.n_shared == 4
        assert found.renamed_contigs == renamed
        assert list(found.junctions["query_name"]) == [*names, "GL1.1:3-5:+"]
        assert ("1 is chr1, MT is chrM" in repr(found)) == (own[0] == "1")

    def test_two_names_of_one_contig_are_refused(self):
        adata = data_set(["1:10-20:+", "chr1:10-30:+"])
        with pytest.raises(ValueError, match="'1' and 'chr1' of adata both match 'chr1'"):
            compare_junctions(adata, self.REFERENCE)

    def test_names_of_another_form_are_matched_as_they_are(self):
        names = ["Gene_1:inclusion", "Gene_1:exclusion"]
        found = compare_junctions(data_set(names[::-1]), pd.Index(names))
        assert (found.n_shared, found.n_extra) == (2, 0)


class TestSharedTotals:
    """The worked example of the documentation."""

    NAMES = ("j1", "j2", "j3", "i1", "i2")
    CODES = np.array([0, 0, 0, 1, 1])
    PROGRAMS = np.array([[0.2, 0.4], [0.3, 0.6], [0.5, 0.0], [0.9, 0.1], [0.1, 0.9]])

    def test_lost_psi(self):
        for present, wanted in (
            ([1, 1, 1, 1, 1], [0, 0]),
            ([1, 1, 0, 1, 1], [0.5, 0]),  # program 1 has half of its PSI at j3, program 2 none
            ([0, 1, 1, 0, 0], [0.4, 1]),
            ([0, 0, 0, 1, 0], [1, 0.9]),
        ):
            found = lost_psi(np.array(present, bool), self.CODES, self.PROGRAMS)
            np.testing.assert_allclose(found, wanted, atol=1e-12)
        scaled = lost_psi(np.array([1, 1, 0, 1, 1], bool), self.CODES, self.PROGRAMS * 0.8)
        np.testing.assert_allclose(scaled, [0.5, 0], atol=1e-12)

    @pytest.mark.parametrize("layout", [sp.csr_matrix, np.asarray])
    def test_sums_over_observed_junctions_only(self, layout):
        counts = np.array([[4, 6, 3, 2, 0], [0, 0, 5, 0, 0]])
        adata = data_set(["j1", "j2", "x", "i1", "i2"], "AAABB", counts)
        adata.layers[JUNCTION] = layout(counts)
        totals = np.array([[15, 15, 15, 2, 2], [5, 5, 5, 0, 0]])  # with hidden reads, and x
        adata.layers["cell_by_cluster_matrix"] = layout(totals)
        for observed, y, n in (
            ([1, 1, 0, 1, 1], [4, 6, 0, 2, 0], [10, 10, 0, 2, 2]),
            ([0, 0, 0, 1, 1], [0, 0, 0, 2, 0], [0, 0, 0, 2, 2]),
            ([1, 0, 0, 0, 0], [4, 0, 0, 0, 0], [4, 0, 0, 0, 0]),
        ):
            out = align_junctions(adata, self.NAMES, self.CODES, observed=np.array(observed, bool))
            values = [out.to_df(name).to_numpy() for name in (JUNCTION, "cell_by_cluster_matrix")]
            np.testing.assert_array_equal(values, [[y, [0] * 5], [n, [0] * 5]])
