"""Option ``--multiqc``: what is written beside the output of a command."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pytest

import leafletfa_scvi as lfa

ROWS = {
    "chr1:201:400": (90, 8),
    "chr1:201:600": (90, 20),
    "chr1:451:600": (90, 3),
    "chr2:201:400": (7, 0),  # alone at its splice sites
    "chr2:501:600": (1, 0),  # too few reads
}


@pytest.fixture
def made(run, tmp_path):
    """Make a data set of known counts: exit code, stdout, stderr."""
    lines = [f"{name}\t{a}\t{b}" for name, (a, b) in ROWS.items()]
    (tmp_path / "SJ.txt").write_text("\n".join(["coord.intron\tc1\tc2", *lines, ""]))

    def made(*options, output="d.v1.h5ad"):
        given = ("--unstranded", "keep", "--min-reads", 5, "--min-cells", 1)
        output = tmp_path / output
        return run("make-dataset", tmp_path / "SJ.txt", "-o", output, *given, *options)

    return made


def test_sections_of_a_data_set(made, tmp_path):
    code, out, err = made("--multiqc", "--json")
    assert code == 0, err
    files = [tmp_path / f"d.v1.{kind}_mqc.json" for kind in ("dataset", "reads")]
    assert json.loads(out)["multiqc"] == [str(path) for path in files]
    for path in files:
        assert f" {path}\n" in err.split("Reading")[0]
    table, graph = (json.loads(path.read_text()) for path in files)
    adata = ad.read_h5ad(tmp_path / "d.v1.h5ad")
    row = table["data"]["d.v1"]
    assert (row["n_cells"], row["n_junctions"]) == adata.shape == (2, 3)
    assert row["n_reads"] == adata.X.sum() == graph["data"]["d.v1"]["In ATSEs"] == 301
    assert sum(graph["data"]["d.v1"].values()) == np.sum(list(ROWS.values()))
    assert graph["data"]["d.v1"]["Too few reads"] == 1
    code, _, err = made("--multiqc")
    assert code == 2
    assert "--overwrite" in err
    before = [path.read_bytes() for path in files]
    code, _, err = made("--multiqc", "--overwrite", "--min-reads", 1)
    assert code == 0, err
    assert [path.read_bytes() for path in files] != before


def test_nothing_is_written_without_the_option_or_on_failure(made, tmp_path, monkeypatch):
    code, _, err = made("--no-report")
    assert code == 0, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SJ.txt", "d.v1.h5ad"]
    before = (tmp_path / "d.v1.h5ad").read_bytes()
    (tmp_path / "d.v1.reads_mqc.json").write_text("mine")
    code, _, err = made("--no-report", "--multiqc", output="d.v1.h5ad")
    assert code == 2
    (tmp_path / "d.v1.h5ad").rename(tmp_path / "kept.h5ad")
    code, _, err = made("--no-report", "--multiqc")
    assert code == 2
    assert f"The file for MultiQC {tmp_path / 'd.v1.reads_mqc.json'} exists; pass --ov" in err

    def full(*_):
        raise OSError("full")

    monkeypatch.setattr("leafletfa_scvi._report._multiqc.write_sections", full)
    code, _, err = made("--no-report", "--multiqc", "--overwrite")
    assert code == 2
    assert "full" in err
    assert (tmp_path / "d.v1.reads_mqc.json").read_text() == "mine"
    assert not (tmp_path / "d.v1.h5ad").exists()
    assert (tmp_path / "kept.h5ad").read_bytes() == before


def test_the_section_of_a_fit(run, tmp_path):
    data = tmp_path / "d.h5ad"
    lfa.datasets.simulate_splicing(40, 20, 2, seed=0).write_h5ad(data)
    fast = ("-k", 2, "--max-epochs", 1, "--accelerator", "cpu", "--multiqc", "--json")
    code, out, err = run("fit", data, *fast, "--save-model", tmp_path / "model")
    assert code == 0, err
    found, path = json.loads(out), tmp_path / "d.fitted.fit_mqc.json"
    assert found["multiqc"] == [str(path)]
    section = json.loads(path.read_text())
    results = ad.read_h5ad(tmp_path / "d.fitted.h5ad").uns["leafletfa"]
    assert section["data"] == {
        "d": {
            "n_programs": 2,
            "converged": "yes" if found["converged"] else "no",
            "n_cells": 40,
            "n_junctions": found["n_junctions"],
            "data": pytest.approx(100 * (1 - found["prior_share"])),
            "largest": pytest.approx(100 * results["pi"].max()),
        }
    }
    assert (tmp_path / "model" / "model.pt").is_file()
    code, _, err = run("fit", data, *fast, "-o", tmp_path / "d.2")
    assert code == 0, err
    assert list(json.loads((tmp_path / "d.2.fit_mqc.json").read_text())["data"]) == ["d.2"]
    (tmp_path / "d.fitted.h5ad").unlink()
    code, _, err = run("fit", data, *fast)
    assert code == 2
    assert f"The file for MultiQC {path} exists" in err
