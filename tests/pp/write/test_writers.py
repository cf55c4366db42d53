"""Writers of other tools' formats: what is written is what their readers read."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from helpers.junction_files import quick
from hypothesis import given
from hypothesis import strategies as st

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def adata():
    var = pd.DataFrame(
        {
            "chrom": ["chr1", "chr1", "chr2", "chr2"],
            "start": [101, 101, 5, 5],
            "end": [250, 390, 90, 200],
            "strand": ["+", "+", "?", "?"],
            "atse_id": ["b", "b", "a", "a"],
        },
        index=["chr1:101-250:+", "chr1:101-390:+", "chr2:5-90:?", "chr2:5-200:?"],
    )
    counts = sp.csr_matrix(np.array([[5, 0, 0, 1], [0, 0, 12, 0], [0, 0, 0, 0]], np.int32))
    return AnnData(counts, obs=pd.DataFrame(index=["A", "B", "C"]), var=var)


def test_leafcutter_known_answer(adata, tmp_path: Path) -> None:
    assert lfa.pp.write_leafcutter(adata, tmp_path / "x_perind_numers.counts.gz") is None
    text = gzip.decompress((tmp_path / "x_perind_numers.counts.gz").read_bytes()).decode()
    assert text.splitlines() == [
        "A B C",
        "chr1:100:251:clu_1_+ 5 0 0",
        "chr1:100:391:clu_1_+ 0 0 0",
        "chr2:4:91:clu_2_NA 0 12 0",
        "chr2:4:201:clu_2_NA 1 0 0",
    ]


def test_regtools_known_answer(adata, tmp_path: Path) -> None:
    paths = lfa.pp.write_regtools(adata, tmp_path / "out", anchor=10)
    assert [path.name for path in paths] == ["A.bed", "B.bed", "C.bed"]
    assert paths[0].read_text().splitlines() == [
        "chr1\t90\t260\tJUNC00000001\t5\t+\t90\t260\t255,0,0\t2\t10,10\t0,160",
        "chr2\t0\t210\tJUNC00000004\t1\t?\t0\t210\t255,0,0\t2\t4,10\t0,200",
    ]
    assert paths[2].read_text() == ""


def test_existing_files_and_failures_change_nothing(adata, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.counts"
    path.write_text("mine")
    (tmp_path / "B.bed").write_text("mine")
    with pytest.raises(FileExistsError, match=r"x\.counts already exists"):
        lfa.pp.write_leafcutter(adata, path)
    with pytest.raises(FileExistsError, match=r"B\.bed already exists"):
        lfa.pp.write_regtools(adata, tmp_path)

    def full(*given):
        raise OSError(28, "No space left on device")

    for name in ("_leafcutter", "_regtools"):
        monkeypatch.setattr(f"leafletfa_scvi.pp.write.{name}.text_file", full)
    with pytest.raises(OSError, match="No space"):
        lfa.pp.write_leafcutter(adata, path, overwrite=True)
    with pytest.raises(OSError, match="No space"):
        lfa.pp.write_regtools(adata, tmp_path, overwrite=True)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["B.bed", "x.counts"]
    assert path.read_text() == (tmp_path / "B.bed").read_text() == "mine"
    monkeypatch.undo()
    lfa.pp.write_leafcutter(adata, path, overwrite=True)
    lfa.pp.write_regtools(adata, tmp_path, overwrite=True)
    assert "mine" not in path.read_text() + (tmp_path / "B.bed").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.obs.rename({"A": "a b"}), "'a b' is empty or has white space"),
        (lambda a: a.var.replace({"chr1": "HLA:1"}), "'HLA:1' has a colon"),
        (lambda a: a.var.replace({5: 1}), "'chr2:5-90:\\?' at the first base"),
        (lambda a: a.var.replace({250: 20}), "expected its first and last base"),
    ],
)
def test_what_cannot_be_written(adata, change, message, tmp_path: Path) -> None:
    changed = change(adata)
    obs, var = (changed, adata.var) if len(changed) == 3 else (adata.obs, changed)
    wrong = AnnData(adata.X, obs=obs, var=var)
    with pytest.raises(ValueError, match=message):
        lfa.pp.write_leafcutter(wrong, tmp_path / "x")
    assert not list(tmp_path.iterdir())
    wrong = AnnData(adata.X, obs=adata.obs.rename({"A": "a/b"}), var=adata.var)
    with pytest.raises(ValueError, match="'a/b' cannot be the name of a file"):
        lfa.pp.write_regtools(wrong, tmp_path)
    del wrong.var["atse_id"]
    with pytest.raises(KeyError, match="atse_id"):
        lfa.pp.write_leafcutter(wrong, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@st.composite
def counts_of_junctions(draw):
    place = st.tuples(
        st.sampled_from(["chr1", "KI270742.1", "2"]),
        st.integers(2, 10**6),
        st.integers(0, 10**5),
        st.sampled_from("+-?"),
    )
    rows = sorted(draw(st.lists(place, min_size=1, max_size=6, unique=True)))
    n_cells = draw(st.integers(1, 4))
    count = st.one_of(st.just(0), st.integers(0, 2**31 - 1))
    row = st.lists(count, min_size=len(rows), max_size=len(rows))
    counts = np.array(draw(st.lists(row, min_size=n_cells, max_size=n_cells)), np.int64)
    var = pd.DataFrame(
        [(contig, start, start + length, strand) for contig, start, length, strand in rows],
        columns=["chrom", "start", "end", "strand"],
    )
    var["atse_id"] = [f"x{i // 2}" for i in range(len(var))]
    var.index = [f"{c}:{s}-{e}:{d}" for c, s, e, d in var.iloc[:, :4].itertuples(index=False)]
    obs = pd.DataFrame(index=[f"c{i}" for i in range(n_cells)])
    return AnnData(sp.csr_matrix(counts), obs=obs, var=var)


def table(adata):
    """Counts above 0 by cell and junction."""
    found = sp.coo_matrix(adata.X)
    entries = zip(found.row, found.col, found.data, strict=True)
    return {(adata.obs_names[i], adata.var_names[j]): int(n) for i, j, n in entries if n}


@quick
@given(counts_of_junctions(), st.sampled_from(["", ".gz"]), st.integers(1, 20))
def test_what_is_written_is_read(tmp_path: Path, adata, gz: str, anchor: int) -> None:
    name = tmp_path / f"x_perind_numers.counts{gz}"
    lfa.pp.write_leafcutter(adata, name, overwrite=True)
    assert table(lfa.pp.read_leafcutter(name)) == table(adata)
    paths = lfa.pp.write_regtools(
        adata, tmp_path / "bed", ending=f".junc{gz}", anchor=anchor, overwrite=True
    )
    read = lfa.pp.read_regtools(paths)
    assert read.obs_names.tolist() == adata.obs_names.tolist()
    assert table(read) == table(adata)


def test_a_real_file_of_regtools_survives(data_dir, tmp_path: Path) -> None:
    first = lfa.pp.read_regtools(data_dir / "regtools" / "expected_stranded_rf_a8.bed")
    (path,) = lfa.pp.write_regtools(first, tmp_path)
    again = lfa.pp.read_regtools(path)
    pd.testing.assert_frame_equal(again.var, first.var)
    assert (again.X != first.X).nnz == 0


def test_a_data_set_is_written_with_its_atses(small, tmp_path: Path) -> None:
    small.var["chrom"], small.var["strand"] = "chr1", "+"
    small.var["start"] = np.arange(2, small.n_vars + 2)
    small.var["end"] = small.var["start"] + 100
    lfa.pp.write_leafcutter(small, tmp_path / "x")
    lines = (tmp_path / "x").read_text().splitlines()[1:]
    clusters = [line.split(" ")[0].split(":")[3] for line in lines]
    assert len(set(clusters)) == small.var["atse_id"].nunique()
    counts = np.array([line.split(" ")[1:] for line in lines], int).T
    np.testing.assert_array_equal(counts, small.layers["cell_by_junction_matrix"].toarray())
