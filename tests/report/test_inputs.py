"""Bad input is refused before the long work, and nothing is left behind."""

from __future__ import annotations

import os
import sys

import numpy as np
import pandas as pd
import pytest

import leafletfa_scvi as lfa


@pytest.fixture
def refuse(fitted, tmp_path, monkeypatch):
    """Call the report, which must not begin to work; return its error."""

    def stop(*_: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr("leafletfa_scvi._report._report.make_page", stop)

    def refuse(kind, *, adata=None, output="page.html", **arguments):
        with pytest.raises(kind) as caught:
            lfa.report(fitted[0] if adata is None else adata, tmp_path / output, **arguments)
        assert not list(tmp_path.glob("page*"))
        return str(caught.value)

    return refuse


def test_the_nearest_column_is_offered(refuse):
    assert "Did you mean 'kind'?" in refuse(KeyError, groupby="kinds")
    message = refuse(KeyError, groupby="kind", sample_key="doner")
    assert "Expected sample_key='doner' to name a column" in message
    assert "'donor'" in message
    assert "one column" in refuse(TypeError, groupby=["kind", "donor"])


def test_samples_need_groups(refuse):
    assert "Expected groupby with sample_key='donor'" in refuse(ValueError, sample_key="donor")


def test_too_many_groups(refuse, fitted):
    adata = fitted[0].copy()
    adata.obs["each"] = [str(i) for i in range(adata.n_obs)]
    message = refuse(ValueError, adata=adata, groupby="each")
    assert "at most 100 groups, found 150" in message


def test_results_are_missing(refuse, fitted):
    for slot, key, kind in (("obsm", "X_PHI", ValueError), ("varm", "psi_learned", KeyError)):
        adata = fitted[0].copy()
        del getattr(adata, slot)[key]
        message = refuse(kind, adata=adata)
        assert key in message
        assert "model.export_posterior(adata)" in message
        assert "pass the model" not in refuse(kind, adata=adata, model=fitted[1])
    adata = fitted[0].copy()
    del adata.layers["cell_by_cluster_matrix"]
    assert "cell_by_cluster_matrix" in refuse(KeyError, adata=adata)


def test_a_model_of_another_fit_or_other_data(refuse, fitted, fit, small):
    adata, model = fitted
    other = adata.copy()
    other.varm["psi_learned"] = np.clip(np.asarray(other.varm["psi_learned"]) + 0.01, 0, 1)
    assert "which differ by up to 0.01" in refuse(ValueError, adata=other, model=model)
    stranger = fit(small, max_epochs=1, em_iterations=2)
    assert "junctions" in refuse(ValueError, model=stranger)
    assert "a LeafletFAModel, found a str" in refuse(TypeError, model="model/")
    untrained = lfa.LeafletFAModel(small, 3)
    refuse(RuntimeError, model=untrained)


def test_numbers_out_of_range(refuse):
    for name, value in {"delta": 1.0, "fdr_target": 0.0, "n_graphs": -1, "max_rows": 0}.items():
        assert name in refuse(ValueError, **{name: value})


def test_data_without_cells_or_junctions(refuse, fitted):
    for adata, found in ((fitted[0][:0], "0 cells and"), (fitted[0][:, :0], "and 0 junctions")):
        assert found in refuse(ValueError, adata=adata.copy())


def test_gene_sets_that_are_none(refuse):
    assert "gene_sets to be a DataFrame" in refuse(TypeError, gene_sets={"set": ["gene"]})
    message = refuse(KeyError, gene_sets=pd.DataFrame({"source": ["set"], "gene": ["gene"]}))
    assert "Expected a column 'target' in gene_sets, found ['source', 'gene']" in message
    twice = pd.DataFrame({"source": ["set"] * 2, "target": ["gene"] * 2})
    assert "each pair once in gene_sets" in refuse(ValueError, gene_sets=twice)


def test_gene_sets_without_the_package_that_tests_them(refuse, monkeypatch):
    monkeypatch.setitem(sys.modules, "decoupler", None)
    sets = pd.DataFrame({"source": ["set"], "target": ["gene"]})
    assert "leafletfa-scvi[enrichment]" in refuse(ImportError, gene_sets=sets)


def test_results_of_other_functions(refuse):
    table = pd.DataFrame({"k": [2, 3]})
    assert "lfa.tl.select_n_programs" in refuse(TypeError, selection=table)
    assert "stability to be a ProgramStability" in refuse(TypeError, stability=table)


def test_files_that_cannot_be_written(refuse, fitted, tmp_path):
    assert "end with .html" in refuse(ValueError, output="page.pdf")
    assert "There is no folder" in refuse(FileNotFoundError, output="none/page.html")
    (tmp_path / "file").touch()
    assert "There is no folder" in refuse(NotADirectoryError, output="file/page.html")
    (tmp_path / "folder.html").mkdir()
    assert "is a folder" in refuse(IsADirectoryError, output="folder.html")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable(refuse, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "is not writable" in refuse(PermissionError, output="closed/page.html")


def test_an_existing_page_is_replaced_only_if_asked_and_whole(fitted, tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        lfa.report(fitted[0], path)

    def broken(page):
        raise RuntimeError("no page")

    with monkeypatch.context() as patch:
        patch.setattr("leafletfa_scvi._report._report.rendered", broken)
        with pytest.raises(RuntimeError, match="no page"):
            lfa.report(fitted[0], path, overwrite=True, n_graphs=0)
    assert path.read_text() == "mine"
    assert lfa.report(fitted[0], str(path), overwrite=True, n_graphs=0) == path
    assert path.read_text("utf-8").startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
