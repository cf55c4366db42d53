"""The training plan inside a model: scaling, rates, minibatches."""

from __future__ import annotations

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch import Callback

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi.module import LeafletFAModule
from leafletfa_scvi.train import SplicingTrainingPlan

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture
def model(small, fit):
    return fit(small, 3, max_epochs=15)


@pytest.mark.parametrize("batch_size", [None, 40, 20])
def test_the_logged_loss_is_the_elbo_of_all_cells(model, batch_size):
    """With a guide that stands still, minibatches of one size log what the full batch does."""
    before = len(model.history["elbo_train"])
    torch.manual_seed(0)
    model.train(max_epochs=25, lr=1e-12, batch_size=batch_size, **QUIET)
    logged = model.history["elbo_train"].to_numpy(float).ravel()[before:]
    assert len(logged) == 25
    elbo = model.get_elbo(60)
    error = logged.std() / np.sqrt(25) + abs(elbo) * 1e-4
    assert abs(-logged.mean() - elbo) < 4 * error
    assert error < 0.005 * abs(elbo)


def test_minibatches_of_the_reported_elbo_agree_with_the_full_batch(model):
    torch.manual_seed(0)
    full = np.array([model.get_elbo(1) for _ in range(40)])
    parts = np.array([model.get_elbo(1, batch_size=27) for _ in range(40)])
    error = np.sqrt((full.var() + parts.var()) / 40)
    assert abs(full.mean() - parts.mean()) < 4 * error
    assert error < 0.005 * abs(full.mean())


@pytest.mark.parametrize(("batch_size", "epochs"), [(79, 2), (1, 1)])
def test_a_last_minibatch_of_one_cell(small, fit, batch_size, epochs):
    model = fit(small, 3, max_epochs=epochs, batch_size=batch_size)
    assert np.isfinite(model.get_latent_representation()).all()
    assert model.module.model.n_obs == model.module.guide.n_obs == 80
    assert np.isfinite(model.get_elbo(1, batch_size=batch_size))


def test_minibatches_and_the_full_batch_learn_the_same(fit):
    adata = lfa.datasets.simulate_splicing(61, 50, 2, coverage=0.5, frac_differential=0.7, seed=2)
    full = fit(adata.copy(), 2, max_epochs=40)
    parts = fit(adata.copy(), 2, max_epochs=14, batch_size=20)
    difference = full.get_latent_representation() - parts.get_latent_representation()
    assert np.abs(difference).mean() < 0.03
    assert parts.get_elbo(20) > full.get_elbo(20) - 150


def test_all_cells_of_a_pass_are_trained(small, fit):
    class Watch(Callback):
        def on_train_start(self, trainer, plan):
            self.before = plan.module.guide.phi_log.detach().clone()

        def on_train_end(self, trainer, plan):
            self.after = plan.module.guide.phi_log.detach().clone()

    watch = Watch()
    fit(small, 3, max_epochs=1, batch_size=27, callbacks=[watch])
    assert (watch.before != watch.after).any(1).all()


def test_the_learning_rate_decays_by_the_step(small):
    module = LeafletFAModule(4, 5, 2)
    plan = SplicingTrainingPlan(module, n_steps=40, lr=0.2, lr_decay=0.1)
    made = plan.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]
    assert schedule["interval"] == "step"
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    np.testing.assert_allclose(rates, 0.2 * 0.1 ** (np.arange(40) / 40), rtol=1e-6)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02)


@pytest.mark.parametrize(("chosen", "fused"), [({}, True), ({"foreach": True}, None)])
def test_adam_is_fused_on_the_cpu_by_default(chosen, fused):
    plan = SplicingTrainingPlan(LeafletFAModule(5, 4, 2), n_steps=3, optim_kwargs=chosen)
    assert plan.configure_optimizers()["optimizer"].defaults["fused"] is fused


def test_frozen_parameters_are_not_optimized():
    module = LeafletFAModule(4, 5, 2)
    module.guide.psi_log_inclusion.requires_grad_(False)
    plan = SplicingTrainingPlan(module, n_steps=1, optim_kwargs={"lr": 0.3, "eps": 1e-3})
    optimizer = plan.configure_optimizers()["optimizer"]
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    want = {id(p) for n, p in module.named_parameters() if not n.endswith("inclusion")}
    assert optimized == want
    assert optimizer.defaults["lr"] == 0.3
    assert optimizer.defaults["eps"] == 1e-3


def test_more_particles_make_steadier_losses(small):
    scvi.settings.seed = 0
    LeafletFAModel.setup_anndata(small)
    spread = []
    for n_particles in (1, 12):
        model = LeafletFAModel(small, 2)
        options = {"n_particles": n_particles}
        model.train(max_epochs=15, lr=1e-12, em_iterations=5, plan_kwargs=options, **QUIET)
        spread.append(model.history["elbo_train"].to_numpy(float).std())
    assert spread[1] < 0.6 * spread[0]
