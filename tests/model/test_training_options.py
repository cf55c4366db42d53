"""Arguments are refused before the long work, and a failed run does not change the model."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback

import leafletfa_scvi as lfa
from leafletfa_scvi import inference
from leafletfa_scvi.model._initialize import given_initialization

QUICK = {"max_epochs": 4, "em_iterations": 5, "enable_progress_bar": False}


@pytest.fixture
def model(small):
    lfa.LeafletFAModel.setup_anndata(small)
    return lfa.LeafletFAModel(small, n_programs=3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_epochs": 2.5}, ValueError, "max_epochs"),
        ({"max_epochs": -1}, ValueError, "max_epochs"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"n_restarts": True}, ValueError, "n_restarts"),
        ({"em_iterations": 0, "n_restarts": 2}, ValueError, "em_iterations"),
        ({"lr": float("inf")}, ValueError, "lr to be a finite number"),
        ({"lr": "fast"}, ValueError, "lr"),
        ({"logger": "paper"}, ValueError, "'paper'"),
        ({"max_epoch": 3}, TypeError, "'max_epoch'"),
        ({"validation_size": "half"}, ValueError, "validation_size"),
        ({"early_stopping": np.array([1, 0])}, ValueError, "early_stopping"),
        ({"n_restarts": 2, "init": ([], [])}, ValueError, "each restart is the same"),
        ({"plan_kwargs": [1]}, TypeError, "plan_kwargs"),
        ({"plan_kwargs": {"n_particles": 0}}, ValueError, "n_particles"),
        ({"plan_kwargs": {"lr_decay": 0.0}}, ValueError, "lr_decay"),
        ({"plan_kwargs": {"lr": -1.0}}, ValueError, "lr"),
        ({"devices": 7, "accelerator": "cpu"}, ValueError, "one device"),
        ({"devices": "2", "accelerator": "cpu"}, ValueError, "one device"),
        ({"device": "cpu"}, TypeError, "mean 'devices'"),
    ],
)
def test_refused_before_anything_is_fitted(model, monkeypatch, arguments, error, message):
    def fail(*args, **kwargs):
        raise AssertionError("work had begun")

    monkeypatch.setattr(inference, "waypoints", fail)
    with pytest.raises(error, match=message):
        model.train(**{**QUICK, **arguments})
    assert not model.is_trained_


def test_numpy_integers_and_no_logger_are_fine(model):
    model.train(**{**QUICK, "max_epochs": np.int64(2), "logger": False})
    assert len(model.history["elbo_train"]) == 2


@pytest.mark.parametrize("value", ["a", True, 0, -1.0, float("nan")])
def test_concentration_must_be_a_positive_number(small, value):
    lfa.LeafletFAModel.setup_anndata(small)
    with pytest.raises(ValueError, match="concentration"):
        lfa.LeafletFAModel(small, n_programs=2, concentration=value)


@pytest.mark.parametrize("value", [1e15, 1e20, 1e30])
def test_huge_concentrations_are_finite(small, value):
    lfa.LeafletFAModel.setup_anndata(small)
    huge = lfa.LeafletFAModel(small, n_programs=2, concentration=value)
    huge.train(**QUICK)
    assert np.isfinite(huge.get_log_likelihood()).all()


def test_init_must_be_a_pair(model):
    with pytest.raises(ValueError, match="NoneType"):
        model.train(**QUICK, init=None)


def test_diverged_second_run_leaves_the_first(model):
    model.train(**QUICK)
    before = model.get_splicing_programs(), model.get_cell_activities()
    with pytest.raises(FloatingPointError, match="learning rate"):
        model.train(**{**QUICK, "max_epochs": 30, "lr": 1e6})
    assert model.is_trained_
    assert before[0].equals(model.get_splicing_programs())
    assert before[1].equals(model.get_cell_activities())
    assert len(model.history["elbo_train"]) == 4
    model.train(**QUICK)


class _Counter(Callback):
    epochs = 0

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs += 1


class _Interrupt(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


def test_interrupt_is_an_interrupt(model):
    state = {k: v.clone() for k, v in model.module.state_dict().items()}
    with pytest.raises(KeyboardInterrupt):
        model.train(**QUICK, callbacks=[_Interrupt()])
    assert not model.is_trained_
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize("where", ["initialize", "site_mean"])
def test_interrupts_anywhere_leave_the_model_untrained(model, monkeypatch, where):
    """During initialization, and while variances are computed after the last epoch."""
    state = {k: v.clone() for k, v in model.module.state_dict().items()}

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(model.module, where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.train(**{**QUICK, "max_epochs": 1}, validation_size=0.1, check_val_every_n_epoch=2)
    assert not model.is_trained_
    assert model.history_ is None
    assert model.waypoints_ is None
    assert model.validation_seed_ is None
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, state[name])


def test_rows_of_data_frames_are_matched_by_name(model):
    rng = np.random.default_rng(0)
    cells, junctions = model.adata.obs_names, model.junction_names
    phi = pd.DataFrame(rng.dirichlet(np.ones(3), len(cells)), cells)
    psi = pd.DataFrame(rng.uniform(0.1, 0.9, (len(junctions), 3)), junctions)
    entries = model._training_entries()
    start = given_initialization(model, (phi.sample(frac=1), psi[::-1]), entries)
    np.testing.assert_allclose(start.phi, phi, rtol=1e-6)
    np.testing.assert_allclose(start.psi, psi, rtol=1e-6)
    with pytest.raises(ValueError, match=r"programs lacks 1 rows .*'chr"):
        given_initialization(model, (phi, psi.rename({junctions[2]: "elsewhere"})), entries)
    with pytest.raises(ValueError, match="finite"):
        given_initialization(model, (np.where(phi > 0, np.inf, 0), psi), entries)


def test_equivalent_arguments_are_accepted(model):
    model.train(**QUICK, callbacks=None, early_stopping=np.bool_(True))
    assert "reconstruction_loss_validation" in model.history
    seen = _Counter()
    for callbacks in (seen, (seen,), [seen]):
        model.train(**QUICK, callbacks=callbacks)
    assert seen.epochs == 3 * QUICK["max_epochs"]


def test_hiding_without_labels_warns(small):
    lfa.LeafletFAModel.setup_anndata(small, atse_key=None)
    unlabelled = lfa.LeafletFAModel(small, n_programs=3)
    with pytest.warns(UserWarning, match="too favorable"):
        unlabelled.train(**QUICK, validation_size=0.1)


def test_a_second_run_hides_the_same_pairs(model, monkeypatch):
    hidden = []
    original = model._hold_out

    def spy(*args):
        hidden.append(original(*args)[1])
        return original(*args)

    monkeypatch.setattr(model, "_hold_out", spy)
    model.train(**QUICK, validation_size=0.2)
    model.train(**QUICK, validation_size=0.2)
    assert torch.equal(hidden[0].indptr, hidden[1].indptr)
    assert torch.equal(hidden[0].column, hidden[1].column)


@pytest.mark.parametrize("n_particles", [0, -1, 1.5])
def test_elbo_needs_particles(model, n_particles):
    model.train(**QUICK)
    with pytest.raises(ValueError, match="n_particles"):
        model.get_elbo(n_particles=n_particles)


@pytest.fixture
def labeled(model):
    model.train(**QUICK)
    model.adata.obs["half"] = np.arange(model.adata.n_obs) % 2
    model.adata.obs["none"] = np.nan
    model.adata.obs["one"] = "a"
    return model


def test_groups_may_be_numbers(labeled):
    one = labeled.differential_splicing(groupby="half", group1=1, group2=0)
    assert set(one["comparison"]) == {"1 vs 0"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"groupby": "half", "group1": []},
        {"groupby": "none"},
        {"groupby": "one", "group2": "a"},
        {"groupby": "half", "idx2": [0]},
        {"idx1": [0], "group1": 1},
    ],
)
def test_groups_that_cannot_be_compared(labeled, arguments):
    with pytest.raises(ValueError, match=r"group|idx"):
        labeled.differential_splicing(**arguments)


def test_no_programs_chosen(labeled):
    with pytest.raises(ValueError, match="empty list"):
        labeled.program_markers(programs=[])


def test_save_replaces_stale_data_and_refuses_files(labeled, tmp_path):
    labeled.save(tmp_path / "m", save_anndata=True)
    labeled.save(tmp_path / "m", overwrite=True)
    assert [f.name for f in (tmp_path / "m").iterdir()] == ["model.pt"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        labeled.save(tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(TypeError, match="True"):
        lfa.LeafletFAModel.load(tmp_path / "m", adata=True)


def test_query_without_a_shared_junction(labeled):
    other = labeled.adata.copy()
    other.var_names = [f"other_{i}" for i in range(other.n_vars)]
    with pytest.raises(ValueError, match="none of the reference's"):
        lfa.LeafletFAModel.prepare_query_anndata(other, labeled)


def test_devices_reach_the_trainer(model, monkeypatch):
    given = []

    class Runner:
        def __init__(self, *args, **kwargs):
            given.append((kwargs["accelerator"], kwargs["devices"]))
            raise KeyboardInterrupt

    monkeypatch.setattr(type(model), "_train_runner_cls", Runner)
    for devices in (1, "auto"):
        with pytest.raises(KeyboardInterrupt):
            model.train(**QUICK, accelerator="cpu", devices=devices)
    assert given == [("cpu", 1), ("cpu", "auto")]


@pytest.mark.parametrize("value", [0, -1, 2.5, "many", True, math.nan])
def test_batch_sizes_and_draws_are_whole_numbers(labeled, value):
    with pytest.raises(ValueError, match="batch_size to be a whole number from 1"):
        labeled.get_elbo(1, batch_size=value)
    with pytest.raises(ValueError, match="batch_size to be a whole number from 1"):
        lfa.data.cell_loader(labeled._training_entries(), value)
    with pytest.raises(ValueError, match="n_samples to be a whole number from 1"):
        labeled.program_markers(n_samples=value)
    assert np.isfinite(labeled.get_elbo(1, batch_size=np.int64(30)))


@pytest.mark.parametrize("value", ["a", None, -1, 1.5, True, 2**70])
def test_seeds_of_draws_are_whole_numbers(labeled, value):
    with pytest.raises(ValueError, match="Expected seed to be"):
        labeled.program_markers(n_samples=2, seed=value)


@pytest.mark.parametrize("value", ["a", None, -1, math.nan, True, 1])
def test_fractions_are_numbers(labeled, value):
    calls = {
        "delta": lambda: labeled.program_markers(delta=value),
        "fdr_target": lambda: labeled.program_markers(fdr_target=value),
        "level": lambda: labeled.posterior_summary(level=value),
        "level in": lambda: labeled.get_credible_intervals("psi", level=value),
        "fraction": lambda: lfa.tl.holdout_splicing(labeled.adata, value),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"Expected {name}"):
            call()


@pytest.mark.parametrize(
    "group1", [np.array(["a"]), pd.Series(["a"]), pd.Index(["a"]), ("a",), {"a"}, np.str_("a")]
)
def test_groups_in_any_container(labeled, group1):
    labeled.adata.obs["group"] = np.where(np.arange(labeled.adata.n_obs) < 30, "a", "b")
    found = labeled.differential_splicing(groupby="group", group1=group1)
    assert set(found["comparison"]) == {"a vs rest"}
    against = labeled.differential_splicing(groupby="group", group1=group1, group2=np.array(["b"]))
    assert set(against["comparison"]) == {"a vs b"}


@pytest.mark.parametrize("group1", [1, 1.0, np.int64(1), np.float32(1), [1], range(1, 2)])
@pytest.mark.parametrize("dtype", [int, float])
def test_groups_are_the_same_numbers_in_any_type(labeled, group1, dtype):
    labels = np.where(np.arange(labeled.adata.n_obs) < 30, 1, 2).astype(dtype)
    labeled.adata.obs["number"] = labels
    found = labeled.differential_splicing(groupby="number", group1=group1)
    assert set(found["comparison"]) == {f"{labels[0]} vs rest"}


def test_masks_and_several_groups_are_not_a_group(labeled):
    obs = labeled.adata.obs
    obs["group"] = np.where(np.arange(len(obs)) < 30, "a", "b")
    mask = obs["group"] == "a"
    for given in (mask, mask.to_numpy(), list(mask)):
        with pytest.raises(ValueError, match="found a mask of cells: pass it as idx1"):
            labeled.differential_splicing(groupby="group", group1=given)
    with pytest.raises(ValueError, match="group2 to be one group"):
        labeled.differential_splicing(groupby="group", group1="a", group2=["a", "b"])
    with pytest.raises(TypeError, match=r"found a Series of \d+ values"):
        labeled.differential_splicing(groupby=obs["group"])
    with pytest.raises(IndexError, match=r"adata\.obs_names\.get_indexer"):
        labeled.get_cell_activities(indices=labeled.adata.obs_names[:3])
    with pytest.raises(IndexError, match="in one list"):
        labeled.get_cell_activities(indices=np.zeros((2, 2), int))


@pytest.mark.parametrize("slot", ["obs", "var"])
def test_two_columns_of_one_name(labeled, slot):
    adata, name = labeled.adata.copy(), {"obs": "batch", "var": "atse_id"}[slot]
    adata.obs["batch"] = np.where(np.arange(adata.n_obs) < 30, "a", "b")
    table = getattr(adata, slot)
    setattr(adata, slot, pd.concat([table, table[[name]]], axis=1))
    calls = [
        lambda: labeled.differential_splicing(adata, groupby="batch"),
        lambda: lfa.pp.pseudobulk(adata, "batch"),
        lambda: lfa.pp.filter_atses(adata),
        lambda: lfa.pp.qc_metrics(adata),
    ]
    if slot == "var":
        calls.append(lambda: lfa.LeafletFAModel.setup_anndata(adata))
    for call in calls:
        with pytest.raises(ValueError, match=rf"adata\.{slot} has 2 columns '{name}'"):
            call()


def test_no_training_in_inference_mode(small):
    lfa.LeafletFAModel.setup_anndata(small)
    quick = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}
    model = lfa.LeafletFAModel(small, 2)
    with torch.inference_mode():
        with pytest.raises(RuntimeError, match=r"call train outside inference_mode\(\)"):
            model.train(**quick)
        lfa.LeafletFAModel.setup_anndata(small)
        built = lfa.LeafletFAModel(small, 2)
    with pytest.raises(RuntimeError, match="created or loaded within"):
        built.train(**quick)


def test_new_cells_in_inference_mode(labeled, tmp_path):
    new = labeled.adata[:5].copy()
    for name in ("cell_by_junction_matrix", "cell_by_cluster_matrix"):
        new.layers[name] = new.layers[name] * 2
    outside = labeled.get_latent_representation(new)
    labeled.save(tmp_path / "model")
    with torch.inference_mode():
        np.testing.assert_array_equal(labeled.get_latent_representation(new), outside)
        again = lfa.LeafletFAModel.load(tmp_path / "model", adata=False)
        np.testing.assert_array_equal(again.get_latent_representation(new), outside)
    np.testing.assert_array_equal(again.get_latent_representation(new), outside)
