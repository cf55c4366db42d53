"""Saved models are the same in another process, and refuse data they were not trained on."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi.model import _persistence

READ = textwrap.dedent("""
    import json, sys
    import anndata, numpy as np, pyro, torch
    import leafletfa_scvi as lfa

    def state(model, data):
        with_data = model.adata is not None
        torch.manual_seed(5)
        lower, upper = model.get_credible_intervals("phi", 0.8)
        low_psi, high_psi = model.get_credible_intervals("psi", 0.8)
        found = {
            "phi": model.get_latent_representation(),
            "psi": model.get_splicing_programs().to_numpy(),
            "cells": model.get_cell_activities().index.to_numpy().astype("U"),
            "junctions": model.get_splicing_programs().index.to_numpy().astype("U"),
            "pi": model.get_program_prevalence().to_numpy(),
            "intervals": np.concatenate([lower, upper, low_psi, high_psi]),
            "summary": model.posterior_summary().to_numpy(),
            "history": model.history["elbo_train"].to_numpy(float),
            "n_obs": [model.module.model.n_obs, model.module.guide.n_obs],
            "is_trained": model.is_trained_,
            "n_programs": model.n_programs,
            "frozen": model.frozen_programs_,
            "atse": model.atse_codes_,
            "expected": model.get_normalized_splicing(return_numpy=True),
            "new": model.get_latent_representation(data["new"]),
            "recognized": model.get_latent_representation(data["old"]),
        }
        if with_data:
            found["likelihood"] = model.get_log_likelihood().to_numpy()
            found["elbo"] = model.get_elbo(3)
        return {name: np.asarray(value) for name, value in found.items()}
""")

CHILD = READ + textwrap.dedent("""
    folder = sys.argv[1]
    data = {name: anndata.read_h5ad(f"{folder}/{name}.h5ad") for name in ("old", "new")}
    other = lfa.datasets.simulate_splicing(30, 20, 2, seed=4)
    lfa.LeafletFAModel.setup_anndata(other)
    alive = lfa.LeafletFAModel(other, 2)
    alive.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
    pyro.get_param_store()["psi"] = torch.ones(3)
    before = alive.get_latent_representation().copy()
    load = lfa.LeafletFAModel.load
    models = {
        "with": load(f"{folder}/plain", data["old"].copy(), accelerator="cpu"),
        "without": load(f"{folder}/plain", adata=False, accelerator="cpu"),
        "prefix": load(f"{folder}/prefix", data["old"].copy(), prefix="run1_"),
        "anndata": load(f"{folder}/anndata"),
        "query": load(f"{folder}/query"),
    }
    for name, model in models.items():
        own = {"old": data["new"], "new": data["old"]} if name == "query" else data
        np.savez(f"{folder}/{name}.npz", **state(model, own))
    train = {"max_epochs": 3, "accelerator": "cpu", "enable_progress_bar": False}
    result = {"alive": bool(np.array_equal(before, alive.get_latent_representation()))}
    result["store"] = sorted(pyro.get_param_store().keys())
    old = {k: v.clone() for k, v in models["query"].module.state_dict().items()}
    models["query"].train(**train)
    new = models["query"].module.state_dict()
    result["query_changed"] = sorted(k for k in old if not torch.equal(old[k], new[k]))
    models["with"].train(**train)
    result["epochs"] = len(models["with"].history["elbo_train"])
    print(json.dumps(result))
""")


@pytest.fixture(scope="module")
def saved(tmp_path_factory, trained, fit):
    """Folder with saved models and data; the models; what a new process finds in each."""
    folder = tmp_path_factory.mktemp("saved")
    old = trained.adata.copy()
    new = old[10:30].copy()
    new.obs_names = [f"new_{i}" for i in range(20)]
    data = {"old": anndata.AnnData(old.X, old.obs, old.var, layers=dict(old.layers)), "new": new}
    del new.uns["_scvi_uuid"], new.uns["_scvi_manager_uuid"]
    for name, adata in data.items():
        adata.write_h5ad(folder / f"{name}.h5ad")
    query = lfa.LeafletFAModel.load_query_data(new, trained)
    query.train(max_epochs=5, accelerator="cpu", enable_progress_bar=False)
    trained.save(folder / "plain")
    trained.save(folder / "prefix", prefix="run1_")
    trained.save(folder / "anndata", save_anndata=True)
    query.save(folder / "query", save_anndata=True)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    return folder, {"trained": trained, "query": query}, data, result


def expected_state(model, data):
    scope: dict = {}
    exec(READ, scope)
    return scope["state"](model, data)


@pytest.mark.parametrize("name", ["with", "without", "prefix", "anndata", "query"])
def test_results_are_the_same_in_a_new_process(saved, name):
    folder, models, data, _ = saved
    model = models["query" if name == "query" else "trained"]
    own = {"old": data["new"], "new": data["old"]} if name == "query" else data
    want, found = expected_state(model, own), np.load(folder / f"{name}.npz", allow_pickle=True)
    if name == "without":
        want = {k: v for k, v in want.items() if k not in ("likelihood", "elbo")}
    assert set(found.files) == set(want)
    for key, value in want.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    assert found["n_obs"].tolist() == [model.adata.n_obs] * 2
    assert bool(found["is_trained"])
    np.testing.assert_array_equal(found["recognized"], found["phi"])
    assert len(found["history"]) > 1


def test_other_models_of_the_new_process_do_not_change(saved):
    result = saved[-1]
    assert result["alive"]
    assert result["store"] == ["psi"]


def test_a_loaded_query_model_still_trains_activities_alone(saved):
    assert saved[-1]["query_changed"] == ["_guide.phi_log", "_guide.phi_variance"]


def test_training_continues_after_loading(saved, trained):
    assert saved[-1]["epochs"] == len(trained.history["elbo_train"]) + 3


def altered(data, kind):
    adata = data["old"]
    if kind == "some cells":
        return adata[:50].copy()
    if kind == "other cells":
        other = lfa.datasets.simulate_splicing(
            180, 40, 3, coverage=0.4, frac_differential=0.6, seed=3
        )
        other = other[90:].copy()
        other.obs_names, other.var_names = adata.obs_names, adata.var_names
        return other
    if kind == "permuted cells":
        return adata[::-1].copy()
    if kind == "two cells swapped":
        return adata[[1, 0, *range(2, 90)]].copy()
    if kind == "some junctions":
        return adata[:, :-3].copy()
    if kind == "permuted junctions":
        return adata[:, ::-1].copy()
    adata = adata.copy()
    if kind == "renamed junctions":
        adata.var_names = [f"junction_{j}" for j in range(adata.n_vars)]
    if kind == "one read more":
        row, column = (x[0] for x in adata.layers["cell_by_cluster_matrix"].nonzero())
        atse = (adata.var["atse_id"] == adata.var["atse_id"].iloc[column]).to_numpy()
        for name in ("cell_by_junction_matrix", "cell_by_cluster_matrix"):
            layer = adata.layers[name].tolil()
            layer[row, column] += 1
            adata.layers[name] = layer.tocsr()
        layer[row, np.flatnonzero(atse)] = layer[row, column]
        adata.layers["cell_by_cluster_matrix"] = layer.tocsr()
    return adata


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind",
    [
        "some cells",
        "other cells",
        "permuted cells",
        "two cells swapped",
        "one read more",
        "some junctions",
        "permuted junctions",
        "renamed junctions",
    ],
)
def test_data_that_the_model_was_not_trained_on_are_refused(saved, kind):
    folder, _, data, _ = saved
    with pytest.raises(ValueError, match=r"not hold the training data|junctions|Number of vars"):
        lfa.LeafletFAModel.load(folder / "plain", altered(data, kind))


def test_the_same_cells_under_other_names_are_accepted(saved, trained):
    folder, _, data, _ = saved
    adata = data["old"].copy()
    adata.obs_names = [f"cell_{i + 1}" for i in range(90)]
    loaded = lfa.LeafletFAModel.load(folder / "plain", adata)
    found = loaded.get_cell_activities()
    np.testing.assert_array_equal(found, trained.get_cell_activities())
    assert list(found.index) == list(adata.obs_names)


CHANGES = {
    "fewer cells": (lambda a: a._inplace_subset_obs(np.arange(50)), "holds 50 cells, 90 then"),
    "cells in another order": (
        lambda a: a._inplace_subset_obs(np.arange(90)[::-1]),
        "Cell 'cell_89' has",
    ),
    "other reads": (lambda a: a.layers.update(zeroed(a)), "Cell 'cell_0' has other counts"),
    "negative reads": (
        lambda a: np.negative(
            a.layers["cell_by_junction_matrix"].data, out=a.layers["cell_by_junction_matrix"].data
        ),
        "negative",
    ),
    "junctions in another order": (
        lambda a: a._inplace_subset_var(np.arange(a.n_vars)[::-1]),
        "order",
    ),
    "a missing layer": (lambda a: a.layers.pop("cell_by_junction_matrix"), "is missing"),
}


def zeroed(adata):
    return {"cell_by_junction_matrix": adata.layers["cell_by_junction_matrix"] * 0}


@pytest.mark.parametrize("change", CHANGES)
def test_data_that_load_would_refuse_are_not_saved(gaps, fit, tmp_path, change):
    model = fit(gaps, 2, max_epochs=1)
    model.save(tmp_path / "model", save_anndata=True)
    before = {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()}
    change_data, message = CHANGES[change]
    change_data(gaps)
    with pytest.raises(ValueError, match=f"has changed since the model was built.*{message}"):
        model.save(tmp_path / "model", save_anndata=True, overwrite=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    model.save(tmp_path / "alone")
    loaded = lfa.LeafletFAModel.load(tmp_path / "alone", adata=False)
    np.testing.assert_array_equal(loaded.get_latent_representation(), model._trained_activities())


def test_the_same_data_in_another_layout_are_accepted(saved, trained):
    folder, _, data, _ = saved
    adata = data["old"].copy()
    for name in list(adata.layers):
        adata.layers[name] = adata.layers[name].toarray().astype(np.float64)
    adata.obs = pd.DataFrame({"other": 1}, index=adata.obs_names)
    loaded = lfa.LeafletFAModel.load(folder / "plain", adata)
    pd.testing.assert_frame_equal(loaded.get_cell_activities(), trained.get_cell_activities())


def test_without_data_methods_that_need_counts_raise_errors(saved):
    model = lfa.LeafletFAModel.load(saved[0] / "plain", adata=False)
    assert model.adata is None
    for call in (
        model.get_log_likelihood,
        lambda: model.get_normalized_splicing(shrink=True),
        lambda: model.get_normalized_splicing(observed_only=True),
        lambda: model.differential_splicing(idx1=[0]),
        model.get_elbo,
        lambda: model.train(max_epochs=1),
        model.export_posterior,
    ):
        with pytest.raises(ValueError, match="adata"):
            call()
    with pytest.raises(KeyError, match="loaded without data. Pass adata"):
        model.differential_splicing(groupby="half")
    assert len(model.program_markers(n_samples=5)) == 3 * len(model.junction_names)


def test_data_passed_to_a_model_without_data_are_enough(saved, trained):
    _, _, data, _ = saved
    model = lfa.LeafletFAModel.load(saved[0] / "plain", adata=False)
    pd.testing.assert_series_equal(
        model.get_log_likelihood(data["old"]), trained.get_log_likelihood()
    )
    target = data["old"].copy()
    model.export_posterior(target)
    np.testing.assert_array_equal(target.obsm["X_PHI"], trained.get_latent_representation())


def test_an_untrained_model_is_untrained_when_loaded(small, tmp_path):
    lfa.LeafletFAModel.setup_anndata(small)
    lfa.LeafletFAModel(small, 2).save(tmp_path / "model")
    model = lfa.LeafletFAModel.load(tmp_path / "model", small)
    assert not model.is_trained_
    with pytest.raises(RuntimeError, match="not trained"):
        model.get_splicing_programs()


@pytest.mark.parametrize(
    "options",
    [
        {"likelihood": "binomial"},
        {"concentration": np.inf},
        {"concentration": 7.5, "activity_concentration": 0.5, "junction_prior": "global"},
        {"concentration_prior": "leafletfa"},
    ],
)
def test_options_are_kept(small, fit, tmp_path, options):
    model = fit(small, 2, max_epochs=2, options=options)
    model.save(tmp_path / "model")
    loaded = lfa.LeafletFAModel.load(tmp_path / "model", small.copy())
    for name in ("likelihood", "concentration", "activity_concentration"):
        assert getattr(loaded.module.model, name) == getattr(model.module.model, name)
    assert loaded.module.model.prior.name == model.module.model.prior.name
    assert loaded.module.model.concentration_prior == model.module.model.concentration_prior
    pd.testing.assert_frame_equal(loaded.posterior_summary(), model.posterior_summary())
    torch.manual_seed(0)
    want = model.get_elbo(2)
    torch.manual_seed(0)
    assert loaded.get_elbo(2) == want


class TestFolder:
    @pytest.fixture
    def model(self, small, fit):
        return fit(small, 2, max_epochs=1)

    def test_an_existing_folder_needs_overwrite(self, model, tmp_path):
        model.save(tmp_path / "model")
        with pytest.raises(ValueError, match="overwrite=True"):
            model.save(tmp_path / "model")
        model.save(tmp_path / "model", overwrite=True)
        assert [f.name for f in tmp_path.iterdir()] == ["model"]
        assert [f.name for f in (tmp_path / "model").iterdir()] == ["model.pt"]

    def test_prefixes_share_a_folder(self, model, small, tmp_path):
        model.save(tmp_path / "new" / "deep", prefix="a_")
        model.save(tmp_path / "new" / "deep", prefix="b_", overwrite=True, save_anndata=True)
        names = sorted(f.name for f in (tmp_path / "new" / "deep").iterdir())
        assert names == ["a_model.pt", "b_adata.h5ad", "b_model.pt"]
        lfa.LeafletFAModel.load(tmp_path / "new" / "deep", small, prefix="a_")
        lfa.LeafletFAModel.load(tmp_path / "new" / "deep", prefix="b_")

    def test_a_failure_leaves_the_earlier_save(self, model, small, tmp_path, monkeypatch):
        model.save(tmp_path / "model", save_anndata=True)
        before = {f.name: f.read_bytes() for f in (tmp_path / "model").iterdir()}
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)

        small.obs["later"] = 1

        def fail(adata, path, **kwargs):
            Path(path).write_bytes(b"half")
            raise OSError("disk full")

        monkeypatch.setattr(_persistence, "write_h5ad", fail)
        with pytest.raises(OSError, match="disk full"):
            model.save(tmp_path / "model", overwrite=True, save_anndata=True)
        assert [f.name for f in tmp_path.iterdir()] == ["model"]
        assert {f.name: f.read_bytes() for f in (tmp_path / "model").iterdir()} == before

    def test_no_model_there(self, tmp_path):
        with pytest.raises(ValueError, match=r"There is no file .*model\.pt"):
            lfa.LeafletFAModel.load(tmp_path / "nothing")

    def test_an_empty_sparse_x_is_saved(self, model, small, tmp_path):
        small.X = sp.csr_matrix(small.shape, dtype=np.float32)
        model.save(tmp_path / "model", save_anndata=True)
        assert lfa.LeafletFAModel.load(tmp_path / "model").adata.X.nnz == 0

    def test_data_without_a_model_to_save(self, model, tmp_path):
        model.save(tmp_path / "model")
        loaded = lfa.LeafletFAModel.load(tmp_path / "model", adata=False)
        with pytest.raises(ValueError, match="loaded without data"):
            loaded.save(tmp_path / "again", save_anndata=True)

    def test_no_data_beside_a_model(self, model, tmp_path):
        model.save(tmp_path / "model")
        with pytest.warns(UserWarning, match="No data were saved with the model"):
            assert lfa.LeafletFAModel.load(tmp_path / "model").adata is None

    @pytest.mark.parametrize("with_data", [True, False])
    @pytest.mark.filterwarnings("ignore:No data were saved")
    def test_a_save_while_loading_is_read_completely(
        self, model, tmp_path, monkeypatch, with_data
    ):
        model.save(tmp_path / "model", save_anndata=True)
        data, names = _persistence.read_h5ad, []

        def meanwhile(file):
            if not names:
                other = lfa.datasets.simulate_splicing(30, 20, 2, seed=4)
                other.obs_names = [f"later_{i}" for i in range(30)]
                lfa.LeafletFAModel.setup_anndata(other)
                later = lfa.LeafletFAModel(other, 2)
                later.save(tmp_path / "model", overwrite=True, save_anndata=with_data)
                names.extend(other.obs_names)
            return data(file)

        monkeypatch.setattr(_persistence, "read_h5ad", meanwhile)
        loaded = lfa.LeafletFAModel.load(tmp_path / "model")
        assert list(loaded.cell_names_) == names
        assert (loaded.adata is not None) == with_data

    def test_a_file_saved_repeatedly_while_it_is_read_is_an_error(
        self, model, tmp_path, monkeypatch
    ):
        model.save(tmp_path / "model")
        read = _persistence.read_model_file

        def meanwhile(*args, **kwargs):
            model.save(tmp_path / "model", overwrite=True)
            return read(*args, **kwargs)

        monkeypatch.setattr(_persistence, "read_model_file", meanwhile)
        with pytest.raises(ValueError, match=r"model\.pt is saved repeatedly"):
            lfa.LeafletFAModel.load(tmp_path / "model", adata=False)

    def test_links_to_files_elsewhere(self, model, small, tmp_path):
        """Both files lie in another folder, where a stopped process leaves its list of moves."""
        home = tmp_path / "home"
        model.save(home, save_anndata=True)
        (tmp_path / "model").mkdir()
        for name in ("model.pt", "adata.h5ad"):
            (tmp_path / "model" / name).symlink_to(home / name)
        want = (home / "model.pt").read_bytes()
        staging = home / ".leafletfa-stopped"
        (staging / "0").mkdir(parents=True)
        (home / "model.pt").rename(staging / "0" / "model.pt")
        (staging / "lock").write_text(socket.gethostname())
        moves = {"run": None, "moves": [["0/model.pt", "model.pt"]]}
        (staging / "moves.json").write_text(json.dumps(moves))
        (staging / "journal.json").write_text("[]")
        lfa.LeafletFAModel.load(tmp_path / "model")
        assert (home / "model.pt").read_bytes() == want

    def test_data_that_are_a_link_are_not_removed_with_it(self, model, small, tmp_path):
        small.write_h5ad(tmp_path / "mine.h5ad")
        model.save(tmp_path / "model")
        (tmp_path / "model" / "adata.h5ad").symlink_to(tmp_path / "mine.h5ad")
        model.save(tmp_path / "model", overwrite=True)
        assert [f.name for f in (tmp_path / "model").iterdir()] == ["model.pt"]
        assert (tmp_path / "mine.h5ad").exists()
