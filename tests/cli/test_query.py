"""``leafletfa query``: what it places, writes, prints and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._main import app

LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")
FAST = ("--max-epochs", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model of 80 cells, and a data set of 40 new ones of the same programs."""
    folder = tmp_path_factory.mktemp("fitted")
    options = {"coverage": 0.5, "frac_differential": 0.7, "seed": 1}
    adata = lfa.datasets.simulate_splicing(80, 60, 2, **options)
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=2)
    model.train(method="em", accelerator="cpu")
    model.save(folder / "model", save_anndata=True)
    model.export_posterior(adata)
    for key in [key for key in adata.uns if key.startswith("_scvi")]:
        del adata.uns[key]
    adata.write_h5ad(folder / "fitted.h5ad")
    more = lfa.datasets.simulate_splicing(200, 60, 2, **options)[80:120].copy()
    more.var = adata.var.copy()
    more.obs_names = [f"new_{i}" for i in range(40)]
    for name in LAYERS:
        dense = more.layers[name].toarray()
        dense[7] = 0
        more.layers[name] = dense
    more.write_h5ad(folder / "new.h5ad")
    return folder


@pytest.fixture
def data(folder, tmp_path) -> Path:
    return Path(shutil.copy(folder / "new.h5ad", tmp_path / "new.h5ad"))


@pytest.fixture
def refused(run, tmp_path, folder):
    """Run the command, which must refuse with one line, and write nothing; that line."""

    def refused(data, *args) -> str:
        before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        given = () if "--reference" in args else ("--reference", folder / "model")
        given += () if "--output" in args else ("--output", tmp_path / "placed.h5ad")
        code, out, err = run("query", data, *given, *args, "--quiet")
        assert (code, out) == (2, ""), err
        (error,) = err.splitlines()
        assert error.startswith("Error: ")
        assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
        return error

    return refused


def test_the_file_and_the_output(folder, data, run, tmp_path):
    output, before = tmp_path / "placed.h5ad", data.read_bytes()
    code, out, err = run("query", data, "-r", folder / "model", "-o", output, *FAST)
    assert code == 0, err
    assert data.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.h5ad", "placed.h5ad"]

    reference = lfa.LeafletFAModel.load(folder / "model", adata=False)
    adata = ad.read_h5ad(data)
    lfa.LeafletFAModel.prepare_query_anndata(adata, reference)
    scvi.settings.seed = 0
    query = lfa.LeafletFAModel.load_query_data(adata, reference)
    query.train(max_epochs=3, accelerator="cpu", enable_progress_bar=False)
    placed = ad.read_h5ad(output)
    assert list(placed.obs_names) == [f"new_{i}" for i in range(40)]
    wanted = query.get_cell_activities()
    np.testing.assert_array_equal(placed.obsm["X_PHI"], wanted)
    np.testing.assert_array_equal(placed.obs[["SP_1", "SP_2"]], wanted)
    np.testing.assert_array_equal(placed.varm["psi_learned"], reference.get_splicing_programs())
    assert not [key for key in placed.uns if key.startswith("_scvi")]
    assert placed.uns["junction_overlap"]["n_shared"] == placed.n_vars

    lines = [line.split() for line in out.splitlines()]
    assert ["Cells", "placed", "39"] in lines
    assert ["Cells", "without", "reads", "in", "ATSEs", "1"] in lines
    assert ["Junctions", "shared", str(placed.n_vars), "(100.0%)"] in lines
    n_atses = adata.var["atse_id"].nunique()
    assert f"ATSEs {n_atses} complete, 0 partial, 0 absent" in " ".join(out.split())
    leads = wanted.to_numpy().argmax(axis=1)
    for k, name in enumerate(wanted):
        prevalence = reference.get_program_prevalence().iloc[k]
        mean, n = wanted[name].mean(), (leads == k).sum()
        assert [name, f"{prevalence:.3f}", f"{mean:.3f}", str(n)] in lines
    assert f"Results are in {output}: obsm['X_PHI']" in out
    assert "Placing 40 cells on 2 programs" in err
    assert f"  {placed.n_vars} of the reference's {placed.n_vars} junctions" in err
    assert "\r" not in out + err


def test_prevalence_of_the_query(folder, data, run, tmp_path):
    """Of cells that are mostly of one program."""
    full = ad.read_h5ad(data)
    of = lfa.LeafletFAModel.load(folder / "model", adata=False).get_cell_activities(full)
    full[of.iloc[:, 0] > of.iloc[:, 0].median()].copy().write_h5ad(data)
    output = tmp_path / "placed.h5ad"
    args = ("query", data, "-r", folder / "model", "-o", output, *FAST)
    code, _, err = run(*args, "--query-prevalence", "query")
    assert code == 0, err
    reference = lfa.LeafletFAModel.load(folder / "model", adata=False)
    adata = ad.read_h5ad(data)
    lfa.LeafletFAModel.prepare_query_anndata(adata, reference)
    query = lfa.LeafletFAModel.load_query_data(adata, reference, query_prevalence="query")
    query.train(max_epochs=3, accelerator="cpu", enable_progress_bar=False)
    placed = ad.read_h5ad(output)
    np.testing.assert_array_equal(placed.obsm["X_PHI"], query.get_cell_activities())
    prevalence = query.get_program_prevalence()
    assert not np.allclose(prevalence, reference.get_program_prevalence(), atol=0.01)


def test_half_of_the_junctions_other_contigs_and_shared_totals(folder, data, run, tmp_path):
    adata = ad.read_h5ad(data)
    kept = np.arange(adata.n_vars) % 2 == 0
    counts = adata.to_df(LAYERS[0]).astype(int).loc[:, kept]
    some = lfa.pp.splicing_from_counts(counts, list(adata.var["atse_id"][kept]))
    some.var_names = [name.removeprefix("chr") for name in some.var_names]
    some.write_h5ad(data)
    args = ("query", data, "--reference", folder / "model", *FAST)
    code, out, err = run(*args, "--output", tmp_path / "a.h5ad", "--atse-totals", "shared")
    assert code == 0, err
    n = adata.n_vars
    assert f"  {kept.sum()} of the reference's {n} junctions" in err
    assert "  Contigs are matched: 1 is chr1, " in err
    placed = ad.read_h5ad(tmp_path / "a.h5ad")
    wanted = lfa.LeafletFAModel.prepare_query_anndata(
        some, folder / "model", inplace=False, atse_totals="shared"
    )
    pd.testing.assert_frame_equal(placed.to_df(LAYERS[1]), wanted.to_df(LAYERS[1]))

    code, out, err = run(*args, "--output", tmp_path / "b.h5ad", "--json", "--quiet")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["warnings"][0].startswith("adata lacks ")
    assert found["overlap"]["n_shared"] == kept.sum()
    other = ad.read_h5ad(tmp_path / "b.h5ad").to_df(LAYERS[1])
    assert (other.to_numpy() > 0).sum() > (placed.to_df(LAYERS[1]).to_numpy() > 0).sum()


def activities(run, tmp_path, data, reference, *options) -> tuple[pd.DataFrame, str]:
    """Activities that the command finds, and what it says of its progress."""
    output = tmp_path / "found.h5ad"
    args = ("--reference", reference, "--output", output, "--overwrite", *FAST, *options)
    code, _, err = run("query", data, *args)
    assert code == 0, err
    placed = ad.read_h5ad(output)
    return pd.DataFrame(placed.obsm["X_PHI"], placed.obs_names), err


def test_programs_of_an_h5ad_file(folder, data, run, tmp_path):
    """As leafletfa fit writes it: the model that exported them is restored."""
    wanted, _ = activities(run, tmp_path, data, folder / "model")
    found, err = activities(run, tmp_path, data, folder / "fitted.h5ad")
    assert np.abs(found - wanted).to_numpy().mean() < 0.03  # of 3 stochastic epochs each
    assert "Placing 40 cells on 2 programs" in err
    reference = lfa.LeafletFAModel.from_programs(ad.read_h5ad(folder / "fitted.h5ad"))
    adata = lfa.LeafletFAModel.prepare_query_anndata(ad.read_h5ad(data), reference, inplace=False)
    scvi.settings.seed = 0
    query = lfa.LeafletFAModel.load_query_data(adata, reference)
    query.train(max_epochs=3, accelerator="cpu", enable_progress_bar=False)
    np.testing.assert_array_equal(found, query.get_cell_activities())


def test_another_build(folder, data, run, refused, tmp_path):
    """Coordinates 100 less than those of the reference, by a table and by a chain file."""
    references = folder / "model", folder / "fitted.h5ad"
    wanted = [activities(run, tmp_path, data, reference)[0] for reference in references]
    adata = ad.read_h5ad(data)
    table = pd.DataFrame({"target": adata.var_names})
    adata.var[["start", "end"]] -= 100
    adata.var_names = [
        f"{row.chrom}:{row.start}-{row.end}:{row.strand}" for row in adata.var.itertuples()
    ]
    table.insert(0, "source", adata.var_names)
    table.to_csv(tmp_path / "mapping.csv", index=False)
    size = 10**8
    kept = size - 100
    lines = [
        f"chain 1 {name} {size} + 0 {kept} {name} {size} + 100 {size} {i + 1}\n{kept}\n"
        for i, name in enumerate(adata.var["chrom"].unique())
    ]
    (tmp_path / "to.chain").write_text("\n".join(lines))
    (tmp_path / "genes.csv").write_text("source,target\nA,B\n")
    adata.write_h5ad(data)
    assert "have no splice site in common" in refused(data, "--reference", folder / "fitted.h5ad")
    for options in (("--mapping", tmp_path / "mapping.csv"), ("--chain", tmp_path / "to.chain")):
        for reference, unmapped in zip(references, wanted, strict=True):
            found, err = activities(run, tmp_path, data, reference, *options)
            np.testing.assert_allclose(found, unmapped, rtol=1e-5)
        mapped = f"{adata.n_vars} of {adata.n_vars} junctions map to one of the reference"
        assert (mapped in err) == (options[0] == "--chain")
    chain = ("--chain", tmp_path / "to.chain")
    orthologs = ("--orthologs", tmp_path / "genes.csv")
    for options, words in (
        ((*chain, "--mapping", tmp_path / "mapping.csv"), "leave --chain out"),
        (orthologs, "--orthologs is for the mapping by a chain file"),
        (("--tolerance", 3), "--tolerance is for the mapping by a chain file"),
        (("--chain", tmp_path / "no.chain"), "There is no file --chain"),
        ((*chain, *orthologs), "--orthologs compares genes"),
        (
            (*chain, *orthologs, "--reference", folder / "fitted.h5ad"),
            "Expected genes of source in the column",
        ),
        (("--mapping", tmp_path / "genes.csv"), "mapping"),
        (("--chain", tmp_path / "mapping.csv"), "mapping.csv"),
    ):
        assert words in refused(data, *options)


def test_a_file_is_replaced_only_if_asked(folder, data, run, refused, tmp_path):
    output = tmp_path / "placed.h5ad"
    output.write_text("mine")
    assert "placed.h5ad exists; pass --overwrite" in refused(data)
    args = ("query", data, "-r", folder / "model", "-o", output, *FAST, "--quiet")
    code, out, err = run(*args, "--overwrite")
    assert (code, out, err) == (0, "", "")
    assert output.read_bytes()[:4] == b"\x89HDF"
    # Cells that were placed before can be placed again.
    again = tmp_path / "again.h5ad"
    assert run("query", output, "-r", folder / "model", "-o", again, *FAST, "--quiet")[0] == 0


def test_options_reach_the_library(folder, data, refused, monkeypatch):
    seen = {}

    def prepare(adata, model, **options):
        seen.update(options)
        raise ValueError("a share below min_overlap=0.7. Lower min_overlap if they are enough.")

    monkeypatch.setattr(lfa.LeafletFAModel, "prepare_query_anndata", prepare)
    error = refused(data, "--atse-totals", "shared", "--min-overlap", 0.7)
    assert "below --min-overlap 0.7. Lower --min-overlap if" in error
    wanted = {"inplace": False, "mapping": None, "atse_totals": "shared", "min_overlap": 0.7}
    assert seen == wanted
    monkeypatch.undo()

    def train(self, **options):
        seen.update(options)
        raise FloatingPointError("enough")

    monkeypatch.setattr(lfa.LeafletFAModel, "train", train)
    seen.clear()
    assert refused(data, *FAST, "--batch-size", 9, "--accelerator", "cpu") == "Error: enough"
    options = {"max_epochs": 3, "batch_size": 9, "accelerator": "cpu"}
    assert callable(seen.pop("progress"))
    assert seen == {**options, "enable_progress_bar": False}
    (command,) = [c for c in app.registered_commands if c.callback.__name__ == "query"]
    assert command.name is None


def test_arguments_refused_before_the_data_are_read(data, refused, tmp_path, monkeypatch, folder):
    def start(*_, **__):
        raise AssertionError("the data are read")

    monkeypatch.setattr("leafletfa_scvi.cli.query.read_data", start)
    assert "There is no file" in refused(tmp_path / "no.h5ad")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "There is no --reference" in refused(data, "--reference", tmp_path / "no")
    assert f"There is no model in --reference {empty}" in refused(data, "--reference", empty)
    (empty / "x.h5ad").write_text("text")
    assert "is not an .h5ad (HDF5) file" in refused(data, "--reference", empty / "x.h5ad")
    for path, words in (
        (data, "is the input"),
        (folder / "model" / "model.pt", "is the input"),
        (folder / "model" / "adata.h5ad", "is the input"),
        (empty, "is a directory"),
        (tmp_path / "no" / "x.h5ad", "There is no directory"),
    ):
        assert words in refused(data, "--output", path, "--overwrite")
    assert "--min-overlap" in refused(data, "--min-overlap", 2)
    assert "--atse-totals" in refused(data, "--atse-totals", "both")


@pytest.mark.parametrize("option", ["--mapping", "--chain", "--reciprocal-chain", "--orthologs"])
def test_the_output_replaces_no_file_of_a_mapping(data, refused, tmp_path, option):
    table = tmp_path / "table.csv"
    table.write_text("source,target\n")
    other = tmp_path / "other.chain"
    other.write_text("")
    chain = ("--chain", other) if option in ("--reciprocal-chain", "--orthologs") else ()
    text = refused(data, option, table, *chain, "--output", table, "--overwrite")
    assert "is the input" in text
    assert table.read_text() == "source,target\n"


def test_bad_input(folder, data, refused, tmp_path):
    other = lfa.datasets.simulate_splicing(40, 20, 2, seed=5)
    other.var_names = [f"x{i}" for i in range(other.n_vars)]
    other.write_h5ad(data)
    assert "adata has none of the reference's" in refused(data)
    adata = ad.read_h5ad(folder / "new.h5ad")
    adata[:, :4].copy().write_h5ad(data)
    error = refused(data)
    assert f"adata has 4 of the reference's {adata.n_vars} junctions" in error
    assert "below --min-overlap 0.05" in error
    adata.obs["SP_1"] = 1.0
    adata.write_h5ad(data)
    assert "The results would replace obs['SP_1']" in refused(data)
    del adata.obs["SP_1"]
    adata.layers[LAYERS[0]] = adata.layers[LAYERS[0]] * 0.3
    adata.write_h5ad(data)
    assert "fractional" in refused(data)


def test_references_that_are_not_trained_or_damaged(folder, data, refused, tmp_path):
    adata = lfa.datasets.simulate_splicing(20, 10, 2, seed=5)
    lfa.LeafletFAModel.setup_anndata(adata)
    lfa.LeafletFAModel(adata, n_programs=2).save(tmp_path / "raw")
    assert "is not trained" in refused(data, "--reference", tmp_path / "raw")
    shutil.copytree(folder / "model", tmp_path / "broken")
    file = tmp_path / "broken" / "model.pt"
    file.write_bytes(file.read_bytes()[:-100])
    assert "model.pt is damaged" in refused(data, "--reference", tmp_path / "broken")


def test_a_failure_while_writing_leaves_the_earlier_file(data, refused, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    (tmp_path / "placed.h5ad").write_text("mine")
    monkeypatch.setattr("leafletfa_scvi.cli.query.write_data", full)
    error = refused(data, *FAST, "--overwrite")
    assert "Cannot write the output: [Errno 28] No space" in error
    assert (tmp_path / "placed.h5ad").read_text() == "mine"

    def exhausted(self, *_, **__):
        raise MemoryError

    monkeypatch.setattr(lfa.LeafletFAModel, "train", exhausted)
    assert "try a smaller --batch-size" in refused(data, *FAST, "--overwrite")
