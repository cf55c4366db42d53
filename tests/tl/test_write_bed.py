"""BED12 files of results: what genome browsers draw, and our own reader reads again."""

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

NAMES = ["chr2:5-90:?", "chr10:101-250:+", "chr2:101-390:-"]


@pytest.fixture
def table():
    """One comparison, as ``differential_splicing`` returns it; the last row was not tested."""
    return pd.DataFrame(
        {
            "comparison": "b vs rest",
            "effect_size": [0.25, -0.5, -0.8, np.nan],
            "is_ds_fdr_0.05": [False, True, True, False],
            "est_psi1": [0.75, 0.25, 0.1, np.nan],
            "emp_effect": [0.5, np.nan, -1.0, np.nan],
            "bayes_factor": [-1.0, 2.0, 30.0, np.nan],
            "gene_name": ["Ncam 1", None, "", "Myl6"],
        },
        index=pd.Index([*NAMES, "chr2:7-70:+"], name="junction"),
    )


def write(table: pd.DataFrame, path: Path, **options) -> list[str]:
    """Lines of the file."""
    assert lfa.tl.write_bed(table, path, overwrite=True, **options) is None
    return path.read_text(encoding="utf-8").splitlines()


def test_known_answer(table, tmp_path: Path) -> None:
    # 0.25 is half of the way from the light red to the dark one, -0.5 and -0.8 are dark blue.
    assert write(table, tmp_path / "x.bed") == [
        'track name="b vs rest" description="b vs rest: score is effect_size, red more, blue '
        'less" visibility=3 itemRgb="On"',
        "chr2\t0\t98\tNcam_1:chr2:5-90:?\t250\t.\t0\t98\t211,94,86\t2\t4,8\t0,90",
        "chr2\t92\t398\tchr2:101-390:-\t800\t-\t92\t398\t33,102,172\t2\t8,8\t0,298",
        "chr10\t92\t258\tchr10:101-250:+\t500\t+\t92\t258\t33,102,172\t2\t8,8\t0,158",
    ]


def test_score_rows_names_and_anchors(table, tmp_path: Path) -> None:
    path = tmp_path / "x.bed"

    def scores(**options) -> dict[str, int]:
        fields = [line.split("\t") for line in write(table, path, **options)[1:]]
        return {row[3].removeprefix("Ncam_1:"): int(row[4]) for row in fields}

    assert scores(score="psi") == dict(zip(NAMES, [750, 250, 100], strict=True))
    assert scores(score="est_psi1") == scores(score="psi")
    assert scores(score="emp_effect") == {NAMES[0]: 500, NAMES[2]: 1000}
    assert scores(only_significant=True) == {NAMES[1]: 500, NAMES[2]: 800}
    first = write(table, path, track_name='my "track"\n1', anchor=2)
    assert first[0].startswith("track name=\"my 'track' 1\" description=")
    assert first[1].split("\t")[1:3] == ["2", "92"]
    assert first[1].endswith("2,2\t0,88")
    markers = table.drop(columns="est_psi1").assign(psi_program=[0.5, 0.25, 1.0, 0.0])
    lines = write(markers.rename(columns={"comparison": "program"}), path, score="psi")
    assert [line.split("\t")[4] for line in lines[1:]] == ["500", "1000", "250"]
    none = table.assign(**{"is_ds_fdr_0.05": False})
    assert len(write(none, path, only_significant=True)) == 1
    assert lfa.pp.read_regtools(path).n_vars == 0


def test_colors_are_light_for_small_effects_and_red_for_positive_ones(table, tmp_path) -> None:
    effects = [1e-9, -1e-9, 1.0, -1.0]
    lines = write(table.assign(effect_size=effects), tmp_path / "x.bed")
    found = {line.split("\t")[3].split(":", 1)[-1]: line.split("\t")[8] for line in lines[1:]}
    assert list(found.values()) == ["244,165,130", "33,102,172", "178,24,43", "146,197,222"]


def test_each_comparison_is_a_track(table, tmp_path: Path) -> None:
    other = table.assign(comparison="a vs rest", effect_size=-table["effect_size"])
    both = pd.concat([table, other])
    path = tmp_path / "x.bed.gz"
    lfa.tl.write_bed(both, path)
    text = gzip.decompress(path.read_bytes()).decode().splitlines()
    starts = [i for i, line in enumerate(text) if line.startswith("track ")]
    assert starts == [0, 4]
    assert text[:4] == write(table, tmp_path / "b.bed")
    assert text[4:] == write(other, tmp_path / "a.bed")
    assert 'name="run 1 a vs rest"' in write(both, tmp_path / "c.bed", track_name="run 1")[4]


def test_coordinates_of_the_data_set(table, tmp_path: Path) -> None:
    expected = write(table, tmp_path / "x.bed")
    var = pd.DataFrame(
        {
            "chrom": pd.Categorical(["chr2", "chr1", "chr2", "chr10", "chr2"]),
            "start": [5.0, np.nan, 101.0, 101.0, 7.0],
            "end": [90.0, 7.0, 390.0, 250.0, 70.0],
            "strand": ["?", "+", "-", "+", "+"],
        },
        index=["G_1:inclusion", "unused", "G_2:inclusion", "G_1:exclusion", "G_3:inclusion"],
    )
    adata = AnnData(var=var, shape=(0, 5))
    named = table.set_axis(pd.Index(var.index[[0, 3, 2, 4]], name="junction"))
    for junctions in (adata, var):
        found = write(named, tmp_path / "y.bed", junctions=junctions)
        assert [line.split("\t")[:3] for line in found] == [
            line.split("\t")[:3] for line in expected
        ]
        assert found[1].split("\t")[3] == "Ncam_1:G_1:inclusion"
    without = write(named, tmp_path / "y.bed", junctions=var.drop(columns="strand"))
    assert [line.split("\t")[5] for line in without[1:]] == [".", ".", "."]
    missing = named.rename({"G_1:exclusion": "unused"})
    with pytest.raises(ValueError, match="'unused' has start nan"):
        lfa.tl.write_bed(missing, tmp_path / "z.bed", junctions=adata)
    with pytest.raises(KeyError, match="no 'G_9'.*data set that the table is of"):
        lfa.tl.write_bed(
            named.rename({"G_1:exclusion": "G_9"}), tmp_path / "z.bed", junctions=adata
        )
    repeated = pd.concat([var, var.iloc[:1]])
    with pytest.raises(ValueError, match="unique, found 'G_1:inclusion' twice"):
        lfa.tl.write_bed(named, tmp_path / "z.bed", junctions=repeated)
    assert not (tmp_path / "z.bed").exists()


def test_an_atse_is_drawn_by_its_largest_change(table, tmp_path: Path) -> None:
    atses = table.reset_index().set_index(pd.Index(["A1", "A2", "A3", "A4"], name="atse_id"))
    assert write(atses, tmp_path / "x.bed") == write(table, tmp_path / "y.bed")


def test_tables_that_cannot_be_written(table, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.bed"

    def refused(error, message, table=table, **options) -> None:
        with pytest.raises(error, match=message):
            lfa.tl.write_bed(table, path, **options)

    refused(TypeError, "found str", table="table.csv")
    refused(KeyError, "'effect_size' in the table", table=table.drop(columns="effect_size"))
    refused(KeyError, "'fold' in the table", score="fold")
    refused(KeyError, "est_psi1", table=table.drop(columns="est_psi1"), score="psi")
    refused(ValueError, "numbers in the column 'gene_name'", score="gene_name")
    refused(ValueError, "from -1 to 1, .* found 2 of junction 'chr10:101", score="bayes_factor")
    refused(ValueError, "'chr2:5-90:\\?' twice", table=pd.concat([table, table.iloc[:1]]))
    refused(ValueError, "anchor", anchor=0)
    none = table.drop(columns="is_ds_fdr_0.05")
    refused(ValueError, r"found \[\]", table=none, only_significant=True)
    two = table.assign(**{"is_ds_fdr_0.1": True})
    refused(ValueError, "is_ds_fdr_0.1", table=two, only_significant=True)
    odd = table.assign(**{"is_ds_fdr_0.05": "yes"})
    refused(ValueError, "found 'yes'", table=odd, only_significant=True)
    gene = table.rename({NAMES[1]: "Ncam1_2:inclusion", NAMES[2]: "Gnas_4"})
    refused(ValueError, "'Ncam1_2:inclusion', 2 such in all.*junctions=adata", table=gene)
    refused(ValueError, "at the first base", table=table.rename({NAMES[0]: "c:1-9:+"}))
    refused(ValueError, "9-5", table=table.rename({NAMES[0]: "c:9-5:+"}))
    refused(ValueError, "'a b'", table=table.rename({NAMES[0]: "a b:5-9:+"}))
    path.write_text("mine")
    refused(FileExistsError, "already exists")

    def full(*_):
        raise OSError("full")

    with monkeypatch.context() as patch:
        patch.setattr("leafletfa_scvi.tl._write_bed.text_file", full)
        refused(OSError, "full", overwrite=True)
    assert path.read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["x.bed"]


@st.composite
def tables_of_results(draw):
    place = st.tuples(
        st.sampled_from(["chr1", "KI270742.1", "2", "HLA:1"]),
        st.integers(2, 10**6),
        st.integers(0, 10**5),
        st.sampled_from("+-?"),
    )
    rows = draw(st.lists(place, min_size=1, max_size=8, unique=True))
    names = [f"{chrom}:{start}-{start + n}:{strand}" for chrom, start, n, strand in rows]
    effect = st.one_of(st.floats(-1, 1), st.just(float("nan")))
    size = {"min_size": len(rows), "max_size": len(rows)}
    gene = st.one_of(st.none(), st.text(min_size=0, max_size=5))
    return pd.DataFrame(
        {
            "program": "SP_1",
            "effect_size": draw(st.lists(effect, **size)),
            "gene_name": draw(st.lists(gene, **size)),
        },
        index=pd.Index(names, name="junction"),
    )


@quick
@given(tables_of_results(), st.sampled_from(["", ".gz"]), st.integers(1, 20))
def test_what_is_written_is_read(tmp_path: Path, table, gz: str, anchor: int) -> None:
    path = tmp_path / f"x.bed{gz}"
    lfa.tl.write_bed(table, path, anchor=anchor, overwrite=True)
    read = lfa.pp.read_regtools(path)
    found = dict(zip(read.var_names, sp.csr_matrix(read.X).toarray()[0], strict=True))
    effects = table["effect_size"].dropna().abs()
    assert found == {name: round(v * 1000) for name, v in effects.items() if round(v * 1000)}


def test_markers_of_a_model_with_coordinates_in_the_names(small, fit, tmp_path: Path) -> None:
    model = fit(small)
    markers = model.program_markers(n_samples=20)
    one = markers[markers["program"] == "SP_2"]
    lines = write(one, tmp_path / "x.bed")
    assert len(lines) == small.n_vars + 1
    assert write(one, tmp_path / "x.bed", junctions=small) == lines
    read = lfa.pp.read_regtools(tmp_path / "x.bed")
    found = pd.Series(sp.csr_matrix(read.X).toarray()[0], read.var_names)
    expected = (one["effect_size"].abs() * 1000).round().astype(int)
    assert found.to_dict() == expected[expected > 0].to_dict()
    assert len(write(markers, tmp_path / "x.bed", score="psi")) == 3 * (small.n_vars + 1)


def test_real_junctions_named_without_coordinates(chen, tmp_path: Path) -> None:
    rows = chen.var_names[chen.var["gene_name"] == "Gnas"]
    table = pd.DataFrame({"effect_size": 0.4, "gene_name": "Gnas"}, index=rows)
    with pytest.raises(ValueError, match=f"{rows[0]!r}.*junctions=adata"):
        lfa.tl.write_bed(table, tmp_path / "x.bed")
    lfa.tl.write_bed(table, tmp_path / "x.bed", junctions=chen)
    read = lfa.pp.read_regtools(tmp_path / "x.bed").var
    var = chen.var.loc[rows]
    assert set(zip(read["chrom"], read["start"], read["end"], strict=True)) == set(
        zip(var["chrom"], var["start"].astype(int), var["end"].astype(int), strict=True)
    )
    assert set(read["strand"]) == {"?"}
