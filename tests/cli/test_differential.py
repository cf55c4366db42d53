"""``leafletfa differential``: what it compares, writes, prints and refuses."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def options(folder) -> tuple:
    return ("--model", folder / "model", "--groupby", "group")


@pytest.fixture
def refused(run, tmp_path):
    """Run the command, which must refuse with one line, and write nothing; that line."""

    def refused(*args) -> str:
        before = sorted(path.name for path in tmp_path.iterdir())
        code, out, err = run("differential", *args, "--quiet")
        assert (code, out) == (2, "")
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        return err

    return refused


def expected_table(folder: Path, data: Path, **options) -> pd.DataFrame:
    """The table of the library."""
    model = lfa.LeafletFAModel.load(folder / "model", adata=False)
    return model.differential_splicing(ad.read_h5ad(data), **options)


def read(path: Path, expected: pd.DataFrame) -> pd.DataFrame:
    """The table in a file, with the types of the one expected."""
    table = pd.read_csv(path, index_col=expected.index.name)
    return table.astype({name: kind for name, kind in expected.dtypes.items() if kind.kind != "O"})


def test_the_table_the_tracks_and_the_output(folder, data, options, run, tmp_path):
    table, bed = tmp_path / "table.csv", tmp_path / "calls.bed"
    before = data.read_bytes()
    outputs = ("-o", table, "--bed", bed)
    code, out, err = run("differential", data, *options, "--sample", "donor", *outputs)
    assert code == 0, err
    expected = expected_table(folder, data, groupby="group", sample_key="donor")
    pd.testing.assert_frame_equal(read(table, expected), expected, check_dtype=False)
    assert data.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["calls.bed", "data.h5ad", "table.csv"]

    calls = expected[expected["is_ds_fdr_0.05"]]
    assert len(calls) > 10
    lines = bed.read_text().splitlines()
    tracks = [line for line in lines if line.startswith("track ")]
    assert ['name="A vs rest"' in tracks[0], 'name="B vs rest"' in tracks[1]] == [True, True]
    names = [line.split("\t")[3].split(":", 1)[1] for line in lines if line not in tracks]
    assert sorted(names) == sorted(calls.index)

    for name, rows in calls.groupby("comparison"):
        tested = (expected["is_tested"] & (expected["comparison"] == name)).sum()
        assert f"{name}: {len(rows)} of {tested} tested junctions differ; the leading 5" in out
        for row in rows.iloc[:5].itertuples():
            line = (
                f"{row.gene_name} {row.Index} {row.effect_size:+.2f} {row.effect_lower:+.2f} to "
                f"{row.effect_upper:+.2f} {row.proba_ds:.3f}"
            )
            assert line.split() in [text.split() for text in out.splitlines()]
        assert len(rows) > 5
        assert rows.index[5] not in out.split(name)[1].split(" vs ")[0]
    assert f"{len(calls)} calls in " in out
    assert "0.05 of which is expected to be false" in out
    assert "Replicates: 6 samples, by obs['donor']. The result holds for the populations" in out
    assert f"The table is in {table}, the calls are in {bed}." in out
    assert "Comparing groups of 150 cells" in err
    assert "\r" not in out + err


def test_without_samples_it_says_that_cells_are_the_replicates(data, options, run, tmp_path):
    code, out, err = run("differential", data, *options, "--group1", "A")
    assert code == 0, err
    assert "Replicates: cells. The result holds for these cells only" in out
    assert "--sample" in out
    written = pd.read_csv(tmp_path / "data.differential.csv")
    assert set(written["replicates"]) == {"cells"}
    assert set(written["comparison"]) == {"A vs rest"}


def test_atses_in_parquet_and_no_calls(folder, data, options, run, tmp_path):
    path = tmp_path / "t.parquet"
    atses = ("--level", "atse", "--sample", "donor", "--group1", "A", "-o", path)
    code, out, err = run("differential", data, *options, *atses, "--bed", tmp_path / "x.bed.gz")
    assert code == 0, err
    chosen = {"groupby": "group", "sample_key": "donor", "group1": "A", "level": "atse"}
    expected = expected_table(folder, data, **chosen)
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected.reset_index())
    first = expected.iloc[0]
    assert "of 60 tested ATSEs differ" in out
    assert f"{first['junction']} {first['effect_size']:+.2f}" in " ".join(out.split())
    found = lfa.pp.read_regtools(tmp_path / "x.bed.gz")
    assert set(found.var_names) == set(expected["junction"][expected["is_ds_fdr_0.05"]])

    none = ("--delta", 0.99, "-o", tmp_path / "n.csv", "--bed", tmp_path / "n.bed")
    code, out, err = run("differential", data, *options, "--sample", "donor", *none)
    assert code == 0, err
    assert "A vs rest: 0 of" in out
    assert "0 calls in " in out
    assert [line[:5] for line in (tmp_path / "n.bed").read_text().splitlines()] == ["track"] * 2


def test_many_comparisons_are_printed_as_numbers_of_calls(data, folder, run, monkeypatch):
    def compare(self, adata, **_):
        names = [f"{i} vs rest" for i in range(7)]
        rows = {"comparison": np.repeat(names, 4), "is_tested": [True, True, True, False] * 7}
        effects = [0.5, -0.5, 0.4, np.nan] * 7
        calls = [True, True, True, False] + [False] * 24
        return pd.DataFrame({**rows, "effect_size": effects, "is_ds_fdr_0.05": calls})

    monkeypatch.setattr(lfa.LeafletFAModel, "differential_splicing", compare)
    code, out, err = run("differential", data, "--model", folder / "model", "--groupby", "part")
    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert ["0", "vs", "rest", "3", "2", "1", "3"] in lines
    assert ["6", "vs", "rest", "0", "0", "0", "3"] in lines
    assert "3 calls in " in out


def test_options_reach_the_test(data, folder, refused, monkeypatch):
    seen = {}

    def compare(self, adata, **kwargs):
        seen.update(kwargs, shape=adata.shape)
        raise ValueError("enough")

    monkeypatch.setattr(lfa.LeafletFAModel, "differential_splicing", compare)
    base = (data, "--model", folder / "model", "--groupby", "part")
    assert refused(*base) == "Error: enough\n"
    shape = seen.pop("shape")
    assert shape[0] == 150
    common = {"groupby": "part", "delta": 0.1, "fdr_target": 0.05, "silent": True}
    assert seen == {**common, "all_pairs": False, "level": "junction"}
    seen.clear()
    chosen = ("--group1", 1, "--group1", 2, "--sample", "donor", "--all-pairs")
    numbers = ("--delta", 0.2, "--fdr", 0.1, "--level", "atse")
    assert refused(*base, *chosen, *numbers) == "Error: enough\n"
    assert seen == {
        "shape": shape,
        "groupby": "part",
        "group1": ["1", "2"],
        "sample_key": "donor",
        "all_pairs": True,
        "delta": 0.2,
        "fdr_target": 0.1,
        "level": "atse",
        "silent": True,
    }
    seen.clear()
    assert refused(*base, "--group2", "3") == "Error: enough\n"
    assert seen["group2"] == "3"


def test_quiet_prints_nothing_and_files_are_replaced_only_if_asked(data, options, run, tmp_path):
    args = ("differential", data, *options, "--quiet", "--bed", tmp_path / "x.bed")
    (tmp_path / "x.bed").write_text("mine")
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert "The BED file" in err
    assert "x.bed exists; pass --overwrite" in err
    assert (tmp_path / "x.bed").read_text() == "mine"
    assert run(*args, "--overwrite") == (0, "", "")
    assert (tmp_path / "x.bed").read_text() != "mine"
    code, out, err = run(*args, "--overwrite", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["bed"] == str(tmp_path / "x.bed")
    assert found["replicates"] == "cells"
    table = pd.read_csv(found["output"], index_col=0)
    for comparison in found["comparisons"]:
        rows = table[table["comparison"] == comparison["comparison"]]
        assert comparison["n_tested"] == rows["is_tested"].sum()
        assert comparison["n_calls"] == rows["is_ds_fdr_0.05"].sum() > 0
    assert len(found["comparisons"]) == table["comparison"].nunique()
    code, _, err = run("differential", data, *options)
    assert code == 2
    assert "data.differential.csv exists; pass --overwrite" in err


def test_arguments_refused_before_the_data_are_read(data, options, refused, tmp_path, monkeypatch):
    def start(*_, **__):
        raise AssertionError("the data are read")

    monkeypatch.setattr("leafletfa_scvi.cli.differential.read_data", start)
    assert "There is no file" in refused(tmp_path / "no.h5ad", *options)
    empty = tmp_path / "empty"
    empty.mkdir()
    model = ("--groupby", "group", "--model")
    for wrong in (tmp_path / "no", empty, data):
        assert f"There is no model in --model {wrong}" in refused(data, *model, wrong)
    assert "leave --group2 out" in refused(data, *options, "--all-pairs", "--group2", "A")
    assert "--output: Expected path to end with .csv" in refused(data, *options, "-o", "x.xlsx")
    assert ".bed or .bed.gz" in refused(data, *options, "--bed", tmp_path / "x.txt")
    same = tmp_path / "x.bed"
    for table, bed, words in (
        (tmp_path / "no" / "t.csv", same, "There is no directory"),
        (empty, same, "is a directory"),
        (tmp_path / "t.csv", tmp_path / "no" / "t.bed", "There is no directory"),
    ):
        assert words in refused(data, *options, "-o", table, "--bed", bed)
    linked = tmp_path / "link.csv"
    linked.symlink_to(data)
    assert "is the input" in refused(data, *options, "-o", linked, "--overwrite")
    assert "--fdr" in refused(data, *options, "--fdr", 0)
    assert "--delta" in refused(data, *options, "--delta", 1)
    assert "--level" in refused(data, *options, "--level", "gene")
    assert "--groupby" in refused(data, *options[:2])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "pyarrow" in refused(data, *options, "-o", tmp_path / "x.parquet")


def test_columns_groups_and_samples_that_are_not_there(data, options, refused):
    assert "--groupby nope: expected a column of obs, which has group, donor" in refused(
        data, *options[:3], "nope"
    )
    assert "--sample nope: expected" in refused(data, *options, "--sample", "nope")
    message = refused(data, *options, "--group1", "C")
    assert "group1" in message
    assert "['A', 'B']" in message
    assert "'C'" in message
    adata = ad.read_h5ad(data)
    adata.obs["own"] = np.where(adata.obs["group"] == "A", "one", adata.obs["donor"].astype(str))
    adata.write_h5ad(data)
    message = refused(data, *options, "--sample", "own")
    assert "found 1 in 'A' and 3 in 'rest'" in message
    assert "Without --sample cells are the replicates" in message


def test_other_data_and_damaged_models_are_refused(data, options, folder, refused, tmp_path):
    other = lfa.datasets.simulate_splicing(40, 20, 2, seed=5)
    other.obs["group"] = ["A", "B"] * 20
    other.write_h5ad(tmp_path / "other.h5ad")
    message = refused(tmp_path / "other.h5ad", *options)
    assert f"DATA does not fit --model {options[1]}: adata lacks" in message
    adata = ad.read_h5ad(data)
    del adata.layers["cell_by_cluster_matrix"]
    adata.write_h5ad(tmp_path / "other.h5ad")
    assert "cell_by_cluster_matrix" in refused(tmp_path / "other.h5ad", *options)
    broken = tmp_path / "broken"
    shutil.copytree(folder / "model", broken)
    file = broken / "model.pt"
    file.write_bytes(file.read_bytes()[:-100])
    assert "model.pt is damaged" in refused(data, "--model", broken, *options[2:])


def test_new_cells_and_cells_without_labels_are_counted(data, options, run, tmp_path):
    adata = ad.read_h5ad(data)
    changed = adata[:120].copy()
    changed.obs_names = [f"c{i}" for i in range(120)]
    layer = changed.layers["cell_by_junction_matrix"].toarray()
    total = changed.layers["cell_by_cluster_matrix"].toarray()
    layer[:7], total[:7] = layer[:7] * 2, total[:7] * 2
    changed.layers["cell_by_junction_matrix"] = layer
    changed.layers["cell_by_cluster_matrix"] = total
    changed.obs["group"] = changed.obs["group"].astype(object)
    changed.obs.iloc[10:14, changed.obs.columns.get_loc("group")] = None
    changed.write_h5ad(tmp_path / "some.h5ad")
    code, _, err = run("differential", tmp_path / "some.h5ad", *options)
    assert code == 0, err
    assert "  7 of 120 cells are not among those that the model was trained on" in err
    assert "  4 cells without group are left out" in err
    assert "Comparing groups of 116 cells" in err


def test_tracks_take_coordinates_from_var(folder, data, options, run, refused, tmp_path):
    path, table = tmp_path / "x.bed", ("-o", tmp_path / "t.csv", "--overwrite")
    base = (*options, "--sample", "donor", "--bed", path, *table)
    assert run("differential", data, *base)[0] == 0
    lines = path.read_text().splitlines()
    adata = ad.read_h5ad(data)
    called = [line.split("\t")[3].split(":", 1)[1] for line in lines if line[:5] != "track"]
    adata.var.loc[called[0], "start"] = np.nan
    adata.write_h5ad(tmp_path / "gap.h5ad")
    code, _, err = run("differential", tmp_path / "gap.h5ad", *base)
    assert code == 0, err
    assert "1 junctions have no coordinates: --bed leaves them out" in err
    found = path.read_text().splitlines()
    assert found == [line for line in lines if called[0] not in line]

    adata.var["start"] = -adata.var["start"]
    adata.write_h5ad(tmp_path / "gap.h5ad")
    assert "--bed: Junction " in refused(tmp_path / "gap.h5ad", *base)


def test_a_failure_while_writing_changes_nothing(data, options, refused, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    (tmp_path / "t.csv").write_text("mine")
    monkeypatch.setattr("leafletfa_scvi.tl._write_bed.text_file", full)
    outputs = ("-o", tmp_path / "t.csv", "--bed", tmp_path / "x.bed", "--overwrite")
    assert "Cannot write the output: [Errno 28] No space" in refused(data, *options, *outputs)
    assert (tmp_path / "t.csv").read_text() == "mine"

    def exhausted(self, *_, **__):
        raise MemoryError

    monkeypatch.setattr(lfa.LeafletFAModel, "differential_splicing", exhausted)
    assert "Out of memory; compare fewer groups" in refused(data, *options, *outputs)
