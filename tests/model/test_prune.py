"""Dropping of programs that cells hardly use."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi.module import LeafletFAModule

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
KEPT = [0, 2, 3]


@pytest.fixture(scope="module")
def data():
    return lfa.datasets.simulate_splicing(200, 80, 3, coverage=0.4, seed=1)


def with_unused(data, fit, **options):
    """A trained model of 5 programs, of which the second and the last are hardly used."""
    model = fit(data.copy(), 5, max_epochs=2, options=options)
    with torch.no_grad():
        # Cells differ in proportions and concentrations.
        model.module.guide.phi_log[:, [1, 4]] = torch.linspace(-4, -3, 200)[:, None]
        for name in ("psi_log_inclusion", "psi_log_exclusion"):
            getattr(model.module.guide, name)[:, 1] += 1.0
    return model


@pytest.fixture
def model(data, fit):
    return with_unused(data, fit)


def tables(model):
    """Results of a model, programs by position."""
    return {
        "phi": model.get_cell_activities().to_numpy(),
        "psi": model.get_splicing_programs().to_numpy(),
        "pi": model.get_program_prevalence().to_numpy(),
    }


def state(model):
    return {name: value.clone() for name, value in model.module.state_dict().items()}


def test_unused_programs_are_dropped_without_a_warning(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # none of them leads in a cell
        assert model.prune(0.01) == ["SP_2", "SP_5"]


def test_activities_and_prevalences_of_kept_programs_are_renormalized(model):
    before = tables(model)
    model.prune(0.01)
    after = tables(model)
    phi = before["phi"][:, KEPT]
    np.testing.assert_allclose(after["phi"], phi / phi.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(after["psi"], before["psi"][:, KEPT])
    pi = before["pi"][KEPT]
    np.testing.assert_allclose(after["pi"], pi / pi.sum(), rtol=1e-5)
    np.testing.assert_allclose(after["phi"].sum(1), 1, rtol=1e-5)
    assert after["pi"].sum() == pytest.approx(1, rel=1e-5)


def test_parameters_of_kept_programs_do_not_change(model):
    kept_state = state(model)
    scalars = model.posterior_summary().drop(index=[f"pi[SP_{k}]" for k in range(1, 6)])
    model.prune(0.01)
    for name, value in state(model).items():
        old = kept_state[name]
        if value.shape != old.shape:
            assert torch.equal(value, old[..., KEPT]), name
        else:
            assert torch.equal(value, old), name
    summary = model.posterior_summary()
    assert [n for n in summary.index if n.startswith("pi")] == ["pi[SP_1]", "pi[SP_2]", "pi[SP_3]"]
    np.testing.assert_array_equal(summary.loc[scalars.index], scalars)


def test_results_have_the_kept_programs(model, data):
    model.prune(0.01)
    assert model.n_programs == 3
    assert model.program_names == ["SP_1", "SP_2", "SP_3"]
    assert list(model.get_cell_activities().columns) == model.program_names
    assert model.get_cell_activities().shape == (200, 3)
    assert model.get_splicing_programs().shape == (data.n_vars, 3)
    assert model.get_latent_representation().shape == (200, 3)
    assert model.get_normalized_splicing(indices=[0, 1]).shape == (2, data.n_vars)
    assert "3 splicing programs" in model._model_summary_string
    assert model.is_trained
    assert len(model.history["elbo_train"]) == 2
    assert np.isfinite(model.get_elbo(2))
    model.export_posterior()
    assert model.adata.obsm["X_PHI"].shape == (200, 3)


def test_the_posterior_is_that_of_the_renormalized_parts(model):
    """A Dirichlet's parts divided by their sum are Dirichlet of the same concentrations."""
    torch.manual_seed(0)
    draws = model.module.guide.phi(torch.arange(3)).sample((20_000,))[..., KEPT]
    draws = (draws / draws.sum(-1, keepdim=True)).double()
    model.prune()
    posterior = model.module.guide.phi(torch.arange(3))
    for cell in range(3):
        g = posterior.concentration[cell].double()
        mean, size = g / g.sum(), g.sum()
        sd = (mean * (1 - mean) / (size + 1)).sqrt()
        np.testing.assert_allclose(draws[:, cell].mean(0), mean.detach(), atol=0.01)
        np.testing.assert_allclose(draws[:, cell].std(0), sd.detach(), atol=0.01)


def test_waypoints_are_those_of_the_programs_that_stay(model, data, fit, tmp_path):
    before = model.waypoints_
    positions = before["positions"].copy()
    model.prune()
    np.testing.assert_array_equal(model.waypoints_["positions"], positions[KEPT])
    np.testing.assert_array_equal(before["positions"], positions)
    for name in ("cells", "scores"):
        np.testing.assert_array_equal(model.waypoints_[name], before[name])
    model.save(tmp_path / "model")
    loaded = LeafletFAModel.load(tmp_path / "model", adata=False)
    np.testing.assert_array_equal(loaded.waypoints_["positions"], positions[KEPT])

    elsewhere = fit(data.copy(), 3, init="random", max_epochs=1)
    use = elsewhere.get_cell_activities().mean()
    elsewhere.prune(float(np.sort(use)[:2].mean()))
    assert elsewhere.n_programs == 2
    assert elsewhere.waypoints_ is None


@pytest.mark.parametrize("options", [{}, {"junction_prior": "global", "likelihood": "binomial"}])
def test_save_and_load(data, fit, tmp_path, options):
    model = with_unused(data, fit, **options)
    model.prune()
    wanted = tables(model)
    model.save(tmp_path / "model")
    for adata in (data.copy(), False):
        loaded = LeafletFAModel.load(tmp_path / "model", adata=adata, accelerator="cpu")
        assert loaded.n_programs == 3
        assert str(loaded) == str(model)
        for name, value in tables(loaded).items():
            np.testing.assert_array_equal(value, wanted[name])
        np.testing.assert_array_equal(loaded.posterior_summary(), model.posterior_summary())


def test_a_model_loaded_without_data_is_pruned(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = LeafletFAModel.load(tmp_path / "model", adata=False)
    assert loaded.prune() == model.prune()
    wanted = tables(model)
    for name, value in tables(loaded).items():
        np.testing.assert_array_equal(value, wanted[name])


def test_new_cells_on_pruned_programs(model, data):
    model.prune()
    new = data[:40].copy()
    new.obs_names = [f"new_{i}" for i in range(40)]
    query = LeafletFAModel.load_query_data(new, model)
    query.train(max_epochs=3, **QUIET)
    assert query.get_cell_activities().shape == (40, 3)
    np.testing.assert_array_equal(query.get_splicing_programs(), model.get_splicing_programs())
    assert model.get_cell_activities(new).shape == (40, 3)
    before = state(query)
    with pytest.raises(RuntimeError, match="prune the reference"):
        query.prune(0.5)
    assert all(torch.equal(value, before[name]) for name, value in state(query).items())


def test_training_goes_on(model):
    model.prune()
    before, elbo = tables(model), model.get_elbo(5)
    model.train(max_epochs=20, **QUIET)
    assert len(model.history["elbo_train"]) == 22
    after = tables(model)
    assert after["phi"].shape == (200, 3)
    assert not np.array_equal(after["psi"], before["psi"])
    assert model.get_elbo(5) > elbo
    # No new start: programs are still those that stayed.
    match = lfa.tl.match_programs(before["psi"], after["psi"])
    assert match["correlation"].min() > 0.9


def test_other_models_are_left_alone(model, data, fit):
    other = fit(data.copy(), 5, seed=3, max_epochs=1)
    query = LeafletFAModel.load_query_data(data[:30].copy(), model)
    before = [state(other), state(query)]
    model.prune()
    model.train(max_epochs=2, **QUIET)
    for each, wanted in zip((other, query), before, strict=True):
        assert each.n_programs == 5
        assert all(torch.equal(value, wanted[name]) for name, value in state(each).items())
    other.train(max_epochs=1, **QUIET)
    assert np.isfinite(other.get_elbo(1))


def test_nothing_to_drop(model):
    module, before = model.module, state(model)
    assert model.prune(0) == []
    assert model.module is module
    assert model.prune() == ["SP_2", "SP_5"]
    assert model.prune() == []
    assert list(before) == list(state(model))


def test_one_program_may_stay(model):
    use = model.get_cell_activities().mean()
    with pytest.warns(UserWarning, match=r"main ones of some cells.*SP_\d of \d+ cells"):
        dropped = model.prune(float(np.sort(use)[-2:].mean()))
    assert dropped == [name for name in use.index if name != use.idxmax()]
    assert model.n_programs == 1
    np.testing.assert_allclose(model.get_cell_activities(), 1)
    model.train(max_epochs=1, **QUIET)


@pytest.mark.parametrize("threshold", [-0.1, 1, 1.5, np.nan, "0.1", None, True])
def test_a_threshold_out_of_range_changes_nothing(model, threshold):
    module = model.module
    with pytest.raises(ValueError, match=r"threshold in \[0, 1\)"):
        model.prune(threshold)
    assert model.module is module


def test_failures_change_nothing(model, data, monkeypatch):
    module, before, params = model.module, state(model), model.init_params_
    with pytest.raises(
        ValueError, match="No program would remain: the largest mean activity is 0."
    ):
        model.prune(0.99)

    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(LeafletFAModule, "selected_state", fails)
    with pytest.raises(KeyboardInterrupt):
        model.prune()
    assert model.module is module
    assert model.init_params_ is params
    assert params["non_kwargs"]["n_programs"] == model.n_programs == 5
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())

    LeafletFAModel.setup_anndata(data)
    with pytest.raises(RuntimeError, match="not trained yet"):
        LeafletFAModel(data, n_programs=3).prune()
