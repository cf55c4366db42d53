"""``leafletfa report``: what it writes, prints and refuses; from the demo to the page."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from helpers.pages import read_page

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._defaults import defaults_of
from leafletfa_scvi.cli.report import ContentOptions

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def refused(run, tmp_path):
    """Run the command, which must refuse with one line, and write nothing; that line."""

    def refused(*args) -> str:
        before = sorted(path.name for path in tmp_path.iterdir())
        code, out, err = run("report", *args, "--quiet")
        assert (code, out) == (2, "")
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        return err

    return refused


def test_the_page_and_what_is_printed(folder, data, run, tmp_path):
    before = data.read_bytes()
    options = ("--groupby", "group", "--sample", "donor", "--graphs", 1, "--title", "A <b> title")
    code, out, err = run("report", data, "--model", folder / "model", *options)
    assert code == 0, err
    path = tmp_path / "data.report.html"
    assert err.startswith(f"Results will be in {path}\n")
    page = read_page(path.read_text("utf-8"))
    assert page.headings[0] == (1, "A <b> title")
    model = lfa.LeafletFAModel.load(folder / "model", adata=False)
    table = model.differential_splicing(
        ad.read_h5ad(data), groupby="group", sample_key="donor", level="atse", silent=True
    )
    for name, rows in table.groupby("comparison"):
        calls, tested = rows["is_ds_fdr_0.05"].sum(), rows["is_tested"].sum()
        assert f"{name}: {calls} of {tested} differ\n" in out
    assert "Not shown, and why:\n" in out
    assert "Enrichment: Pass gene sets (columns source and target) as --gene-sets" in out
    assert f"The page is in {path} (" in out
    assert data.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.h5ad", "data.report.html"]


def test_the_numbers_as_json(folder, data, run, tmp_path):
    options = ("--groupby", "group", "--graphs", 0, "-o", tmp_path / "x.html")
    code, out, err = run("report", data, "--model", folder / "model", *options, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["command"], found["n_cells"], found["n_groups"]) == ("report", 150, 2)
    assert found["output"] == str(tmp_path / "x.html")
    assert found["bytes"] == (tmp_path / "x.html").stat().st_size
    assert [row["comparison"] for row in found["comparisons"]] == ["A vs rest", "B vs rest"]
    assert {row["what"] for row in found["not_shown"]} >= {"Enrichment", "Differential activity"}
    (warning,) = [text for text in found["warnings"] if "replicates" in text]
    assert "Name their column with --sample." in warning


def test_gene_sets_and_annotation_are_read(folder, data, run, tmp_path, monkeypatch):
    genes = ad.read_h5ad(data).var["gene_name"].unique()
    net = pd.DataFrame({"source": "a set", "target": genes[:8]})
    net.to_csv(tmp_path / "sets.tsv", sep="\t", index=False)
    monkeypatch.setattr(lfa.pp, "read_annotation", lambda path: read.append(path))
    read: list[Path] = []
    (tmp_path / "genes.gtf").touch()
    options = ("--gene-sets", tmp_path / "sets.tsv", "--gtf", tmp_path / "genes.gtf")
    code, _, err = run("report", data, *options, "--graphs", 0, "--quiet")
    assert (code, err) == (0, "")
    assert read == [tmp_path / "genes.gtf"]
    page = read_page((tmp_path / "data.report.html").read_text("utf-8"))
    (found,) = (table for table in page.tables if table.caption == "Gene sets by program")
    assert set(found.column("Gene set")) == {"a set"}


def test_bad_input_is_refused_before_the_work(folder, data, refused, tmp_path, monkeypatch):
    def stop(*_):
        raise AssertionError("the work began")

    monkeypatch.setattr("leafletfa_scvi._report._report.make_page", stop)
    model = ("--model", folder / "model")
    assert "There is no file" in refused(tmp_path / "none.h5ad")
    assert "There is no model in --model" in refused(data, "--model", tmp_path)
    message = refused(data, *model, "--groupby", "grup")
    assert "Expected --groupby grup to name a column of adata.obs" in message
    assert "Did you mean 'group'?" in message
    assert "pass --groupby as well" in refused(data, "--sample", "donor")
    assert "ends with .html" in refused(data, "-o", tmp_path / "page.pdf")
    assert "There is no directory" in refused(data, "-o", tmp_path / "none" / "page.html")
    assert "for --gtf" in refused(data, "--gtf", tmp_path / "none.gtf")
    assert "for --gene-sets" in refused(data, "--gene-sets", tmp_path / "none.csv")
    (tmp_path / "data.report.html").touch()
    assert "pass --overwrite to replace it" in refused(data)


def test_data_of_another_model(folder, data, refused):
    adata = ad.read_h5ad(data)
    adata.varm["psi_learned"] = np.clip(adata.varm["psi_learned"] + 0.1, 0, 1)
    adata.write_h5ad(data)
    message = refused(data, "--model", folder / "model")
    assert "found others, which differ by up to 0.1 in PSI" in message
    adata[:, 1:].copy().write_h5ad(data)
    assert "junctions" in refused(data, "--model", folder / "model")


def test_counts_that_are_none(folder, data, refused):
    adata = ad.read_h5ad(data)
    adata.layers["cell_by_junction_matrix"] *= 50
    adata.write_h5ad(data)
    message = refused(data, "--model", folder / "model", "--groupby", "group")
    assert "cell_by_junction_matrix" in message


def test_defaults_are_those_of_the_function():
    expected = defaults_of("_report", "report")
    for field in dataclasses.fields(ContentOptions):
        assert field.default == expected[field.name], field.name


def test_from_the_demo_to_the_page_in_two_commands(run, tmp_path):
    folder = tmp_path / "de mo"
    size = ("--n-cells", 80, "--n-atses", 30, "--n-programs", 2, "--coverage", 0.6)
    code, out, err = run("demo", "--output-dir", folder, *size, "--max-epochs", 30)
    assert code in (0, 1), err
    (line,) = [line for line in out.splitlines() if line.startswith("leafletfa report")]
    command, *args = shlex.split(line)
    assert command == "leafletfa"
    code, _, err = run(*args, "--graphs", 1)
    assert code == 0, err
    page = read_page((folder / "report.html").read_text("utf-8"))
    assert [table.caption for table in page.tables].count("Calls by comparison") == 1
    assert "not known" not in page.sections["fit"]
    assert os.listdir(folder / "model") == ["model.pt"]
