"""Models in one process never touch each other, nor Pyro's global parameter store."""

from __future__ import annotations

import numpy as np
import pyro
import pytest
import scvi
import torch

import leafletfa_scvi as lfa


def outputs(model):
    """Everything that a model knows, as bytes."""
    found = {name: value.numpy().tobytes() for name, value in model.module.state_dict().items()}
    found["phi"] = model.get_latent_representation().tobytes()
    found["psi"] = model.get_splicing_programs().to_numpy().tobytes()
    found["pi"] = model.get_program_prevalence().to_numpy().tobytes()
    found["summary"] = model.posterior_summary().to_numpy().tobytes()
    found["expected"] = model.get_normalized_splicing(return_numpy=True).tobytes()
    found["likelihood"] = model.get_log_likelihood().to_numpy().tobytes()
    torch.manual_seed(0)
    found["elbo"] = repr(model.get_elbo(2)).encode()
    found["history"] = model.history["elbo_train"].to_numpy(np.float64).tobytes()
    return found


@pytest.fixture
def store():
    """Pyro's global parameter store, empty before and after."""
    pyro.clear_param_store()
    yield pyro.get_param_store()
    pyro.clear_param_store()


@pytest.mark.parametrize("n_programs", [3, 5])
def test_training_another_model_changes_nothing(small, fit, store, n_programs):
    first = fit(small, 3)
    before = outputs(first)
    other = lfa.datasets.simulate_splicing(80, 40, 3, coverage=0.4, seed=9)
    second = fit(other, n_programs, seed=1)
    third = fit(small, n_programs, seed=2)
    assert outputs(first) == before
    assert len({id(model.module) for model in (first, second, third)}) == 3
    assert not np.array_equal(first.get_latent_representation(), third.get_latent_representation())
    kept = outputs(second)
    first.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
    assert outputs(second) == kept
    assert outputs(first) != before


def test_a_model_does_not_depend_on_earlier_training(small, fit):
    alone = outputs(fit(small.copy(), 3))
    fit(lfa.datasets.simulate_splicing(80, 40, 3, seed=9), 3, seed=1)
    assert outputs(fit(small.copy(), 3)) == alone


def test_another_pyro_model_and_this_one_do_not_interfere(small, fit, store, tmp_path):
    first = fit(small, 3)
    before = outputs(first)
    assert len(store) == 0

    words = scvi.data.synthetic_iid(batch_size=20, n_genes=12)
    scvi.model.AmortizedLDA.setup_anndata(words)
    lda = scvi.model.AmortizedLDA(words, n_topics=2)
    lda.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    with torch.no_grad():
        store["psi"] = torch.full((5,), 3.0)
        store["phi_log"] = torch.zeros(80, 3)
        store["_guide.phi_log"] = torch.zeros(80, 3)
        store["guide$$$phi_log"] = torch.zeros(80, 3)
    held = {name: store[name].detach().clone() for name in store}
    unconstrained = {name: id(value) for name, value in store._params.items()}
    topics = lda.get_feature_by_topic(n_samples=2).shape
    assert len(held) > 4
    assert outputs(first) == before

    second = fit(small.copy(), 3)
    assert outputs(second) == before
    second.save(tmp_path / "model")
    loaded = lfa.LeafletFAModel.load(tmp_path / "model", adata=False)
    np.testing.assert_array_equal(
        loaded.get_latent_representation(), second.get_latent_representation()
    )

    assert set(store.keys()) == set(held)
    assert {name: id(value) for name, value in store._params.items()} == unconstrained
    for name, value in held.items():
        assert torch.equal(store[name], value), name
    saved = torch.load(tmp_path / "model" / "model.pt", weights_only=True)
    assert set(saved["model_state_dict"]) == set(second.module.state_dict())
    assert lda.get_feature_by_topic(n_samples=2).shape == topics
    assert outputs(first) == before


def test_a_failure_to_save_or_load_restores_the_store(small, fit, store, tmp_path):
    model = fit(small, 2, max_epochs=1)
    with torch.no_grad():
        store["mine"] = torch.ones(2)
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="already exists"):
        model.save(tmp_path / "there")
    with pytest.raises(ValueError, match=r"no file .*model\.pt"):
        lfa.LeafletFAModel.load(tmp_path / "there")
    assert list(store.keys()) == ["mine"]


def test_a_query_model_shares_no_parameter_with_its_reference(small, fit):
    reference = fit(small, 3)
    before = outputs(reference)
    query = lfa.LeafletFAModel.load_query_data(small[:30].copy(), reference)
    query.train(max_epochs=3, accelerator="cpu", enable_progress_bar=False)
    own = {p.data_ptr() for p in reference.module.parameters()}
    assert own.isdisjoint(p.data_ptr() for p in query.module.parameters())
    assert all(p.requires_grad for p in reference.module.parameters())
    assert outputs(reference) == before
