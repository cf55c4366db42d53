"""The generative model and its guide: densities from scipy, scaling of minibatches."""

from __future__ import annotations

import numpy as np
import pyro
import pytest
import torch
from helpers.module import draw, log_joint, make, values_of
from pyro import poutine
from scipy.special import betaln, digamma, gammaln
from scipy.stats import beta, betabinom, binom, dirichlet, gamma, lognorm

import leafletfa_scvi as lfa
from leafletfa_scvi.data import cell_loader
from leafletfa_scvi.module import ClosedFormELBO, LeafletFAModule
from leafletfa_scvi.ops._reference import MISASSIGNMENT_RATE

POSITIVE = ["a_shape", "a_rate", "b_shape", "b_rate", "alpha_pi"]
VARIANTS = {
    "default": {},
    "binomial": {"likelihood": "binomial"},
    "global": {"junction_prior": "global"},
    "published": {"concentration_prior": "leafletfa"},
    "fixed": {"concentration": 4.0, "activity_concentration": 0.6},
}


@pytest.fixture(scope="module")
def entries():
    adata = lfa.datasets.simulate_splicing(23, 12, 3, coverage=0.5, seed=0)
    return lfa.data.observed_entries(adata)


class TestDensity:
    @pytest.mark.parametrize("name", VARIANTS)
    def test_the_log_joint_is_that_of_the_documented_model(self, entries, name):
        options = VARIANTS[name]
        module = make(entries, **options)
        values = values_of(draw(module, entries))
        found = log_joint(module, values, torch.arange(entries.n_cells), entries)

        v = {key: value.double().numpy() for key, value in values.items()}
        want = sum(gamma.logpdf(v[key], 1.0) for key in POSITIVE)
        delta, kappa = v.get("delta"), v.get("kappa")
        if name == "fixed":
            delta, kappa = 0.6, 4.0
        else:
            want += gamma.logpdf(delta, 2.0, scale=0.5)
        if name in ("default", "global"):
            want += lognorm.logpdf(kappa, 2.0, scale=10.0)
        if name == "published":
            want += gamma.logpdf(kappa, 10.0, scale=0.1)
        k, pi = 3, v["pi"] / v["pi"].sum()
        want += dirichlet.logpdf(pi, np.full(k, v["alpha_pi"] / k))
        assert v["a"].shape == ((1, 1) if name == "global" else (entries.n_junctions, 1))
        for key in ("a", "b"):
            shape, rate = v[f"{key}_shape"], v[f"{key}_rate"]
            want += gamma.logpdf(v[key], shape, scale=1 / rate).sum()
        want += beta.logpdf(v["psi"], v["a"] + 1e-3, v["b"] + 1e-3).sum()
        phi = v["phi"] / v["phi"].sum(1, keepdims=True)
        want += sum(dirichlet.logpdf(row, np.maximum(pi * delta, 1e-3)) for row in phi)

        mean = (phi[entries.rows().numpy()] * v["psi"][entries.column.numpy()]).sum(1)
        p, q = (MISASSIGNMENT_RATE + (1 - 2 * MISASSIGNMENT_RATE) * x for x in (mean, 1 - mean))
        y, n = entries.count.double().numpy(), entries.total.double().numpy()
        if name == "binomial":
            want += binom.logpmf(y, n, p).sum()
        else:
            want += betabinom.logpmf(y, n, kappa * p, kappa * q).sum()
        assert found == pytest.approx(want, rel=2e-5)

    @pytest.mark.parametrize("name", VARIANTS)
    def test_guide_and_model_have_the_same_sites(self, entries, name):
        module = make(entries, **VARIANTS[name])
        values = values_of(draw(module, entries))
        kappa = [] if name in ("binomial", "fixed") else ["kappa"]
        delta = [] if name == "fixed" else ["delta"]
        assert set(values) == {*POSITIVE, *kappa, *delta, "pi", "a", "b", "psi", "phi"}
        cells = torch.arange(entries.n_cells)
        model = values_of(poutine.trace(module.model).get_trace(cells, entries))
        model.pop("reads", None)
        assert {key: x.shape for key, x in model.items()} == {
            key: x.shape for key, x in values.items()
        }
        assert values["psi"].shape == (entries.n_junctions, 3)
        assert values["phi"].shape == (entries.n_cells, 3)

    def test_every_parameter_of_the_guide_is_learned(self, entries):
        module = make(entries)
        loss = ClosedFormELBO().differentiable_loss(
            module.model, module.guide, torch.arange(entries.n_cells), entries
        )
        loss.backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name

    def test_the_global_parameter_store_is_unchanged(self, entries):
        pyro.clear_param_store()
        module = make(entries)
        module.guide(torch.arange(entries.n_cells), entries)
        assert list(pyro.get_param_store().keys()) == []


def kl_gamma(m, s, a, b):
    """KL of LogNormal(m, s) from Gamma(a, b)."""
    entropy = m + np.log(s) + 0.5 * np.log(2 * np.pi * np.e)
    density = a * np.log(b) - gammaln(a) + (a - 1) * m - b * np.exp(m + s**2 / 2)
    return np.sum(-entropy - density)


def kl_lognormal(m, s, loc, scale):
    """KL of LogNormal(m, s) from LogNormal(loc, scale)."""
    return np.log(scale / s) + (s**2 + (m - loc) ** 2) / (2 * scale**2) - 0.5


def kl_dirichlet(x, y):
    """KL of Dirichlet(x) from Dirichlet(y)."""
    value = gammaln(x.sum(-1)) - gammaln(x).sum(-1) - gammaln(y.sum(-1)) + gammaln(y).sum(-1)
    return np.sum(value + ((x - y) * (digamma(x) - digamma(x.sum(-1))[..., None])).sum(-1))


def kl_beta(a, b, c, d):
    """KL of Beta(a, b) from Beta(c, d)."""
    value = betaln(c, d) - betaln(a, b) + (a - c) * digamma(a) + (b - d) * digamma(b)
    return np.sum(value + (c - a + d - b) * digamma(a + b))


class TestElbo:
    @pytest.mark.parametrize("cells", [torch.arange(23), torch.tensor([4, 20, 9])])
    @pytest.mark.parametrize("name", ["default", "published", "binomial", "fixed", "global"])
    def test_is_the_likelihood_minus_the_divergence_of_every_site(self, entries, name, cells):
        """At one draw of the guide, in float64 and by formulas written here."""
        module, part = make(entries, **VARIANTS[name]), entries.select(cells)
        guide, scale = module.guide, 23 / len(cells)
        torch.manual_seed(3)
        with torch.no_grad():
            found = -ClosedFormELBO().loss(module.model, guide, cells, part)
        torch.manual_seed(3)
        v = {
            key: value.double().numpy()
            for key, value in values_of(poutine.trace(guide).get_trace(cells, part)).items()
        }
        q = {key: value.double().numpy() for key, value in module.state_dict().items()}

        def site(key):
            return q[f"_guide.{key}.loc"], np.exp(q[f"_guide.{key}.log_scale"])

        kappa, delta = v.get("kappa", 4.0), v.get("delta", 0.6)
        divergence = sum(kl_gamma(*site(f"scalars.{key}"), 1.0, 1.0) for key in POSITIVE)
        if name != "fixed":
            divergence += kl_gamma(*site("scalars.delta"), 2.0, 2.0)
        if name in ("default", "global"):
            divergence += kl_lognormal(*site("scalars.kappa"), np.log(10), 2.0)
        if name == "published":
            divergence += kl_gamma(*site("scalars.kappa"), 10.0, 10.0)
        for key in ("a", "b"):
            divergence += kl_gamma(*site(key), v[f"{key}_shape"], v[f"{key}_rate"])
        divergence += kl_dirichlet(np.exp(q["_guide.pi_log"]), np.full(3, v["alpha_pi"] / 3))
        sides = (np.exp(q[f"_guide.psi_log_{side}"]) for side in ("inclusion", "exclusion"))
        divergence += kl_beta(*sides, v["a"] + 1e-3, v["b"] + 1e-3)
        prior = np.maximum(v["pi"] * delta, 1e-3)
        phi = np.exp(q["_guide.phi_log"])[cells.numpy()]
        divergence += scale * kl_dirichlet(phi, np.broadcast_to(prior, phi.shape))

        mean = (v["phi"][part.rows().numpy()] * v["psi"][part.column.numpy()]).sum(1)
        p, r = (MISASSIGNMENT_RATE + (1 - 2 * MISASSIGNMENT_RATE) * x for x in (mean, 1 - mean))
        y, n = part.count.double().numpy(), part.total.double().numpy()
        if name == "binomial":
            reads = binom.logpmf(y, n, p).sum()
        else:
            reads = betabinom.logpmf(y, n, kappa * p, kappa * r).sum()
        # The least divergence of a site is some tenths of a nat.
        assert found == pytest.approx(scale * reads - divergence, abs=0.05)


class TestMinibatches:
    @pytest.mark.parametrize("batch_size", [1, 7, 11, 22, 23])
    @pytest.mark.parametrize("name", VARIANTS)
    def test_estimates_average_to_the_full_batch_exactly(self, entries, batch_size, name):
        """At fixed draws, over a partition, each part weighing as many cells as it has."""
        module = make(entries, **VARIANTS[name])
        values = values_of(draw(module, entries))
        whole = log_joint(module, values, torch.arange(23), entries)
        total, parts = 0.0, []
        for batch in cell_loader(entries, batch_size, shuffle=True):
            part = log_joint(module, values, batch["cells"], batch["entries"])
            total += part * len(batch["cells"]) / 23
            parts.append(part)
        assert total == pytest.approx(whole, rel=1e-5)
        if batch_size < 12:
            assert np.std(parts) > 1.0

    def test_reads_of_a_minibatch_count_as_those_of_all_cells(self, entries):
        module = make(entries)
        values = values_of(draw(module, entries))
        cells = torch.tensor([20, 3, 4])
        site = {**values, "phi": values["phi"][cells]}
        trace = poutine.trace(poutine.condition(module.model, data=site)).get_trace(
            cells, entries.select(cells)
        )
        trace.compute_log_prob()
        for name in ("phi", "reads"):
            assert trace.nodes[name]["scale"] == pytest.approx(23 / 3)
        for name in ("psi", "pi", "kappa", "a"):
            assert trace.nodes[name]["scale"] == 1.0

    def test_the_guide_draws_the_cells_of_the_minibatch(self, entries):
        module = make(entries)
        with torch.no_grad():
            module.guide.phi_log.copy_(torch.full((23, 3), -20.0))
            module.guide.phi_log[torch.arange(23), torch.arange(23) % 3] = 20.0
        cells = torch.tensor([5, 22, 0, 7])
        trace = poutine.trace(module.guide).get_trace(cells, entries.select(cells))
        assert trace.nodes["phi"]["value"].argmax(1).tolist() == [2, 1, 0, 1]

    @pytest.mark.parametrize("batch_size", [5, 22])
    def test_elbo_estimates_agree_within_their_standard_error(self, entries, batch_size):
        """batch_size = 22 leaves a last minibatch of one cell."""
        module = make(entries)
        loss = ClosedFormELBO()
        torch.manual_seed(0)

        def estimates(size, n):
            out = []
            with torch.no_grad():
                for _ in range(n):
                    value = 0.0
                    for batch in cell_loader(entries, size, shuffle=True):
                        part = loss.loss(
                            module.model, module.guide, batch["cells"], batch["entries"]
                        )
                        value -= part * len(batch["cells"]) / 23
                    out.append(value)
            return np.array(out)

        full, parts = estimates(None, 100), estimates(batch_size, 40)
        error = np.sqrt(full.var() / len(full) + parts.var() / len(parts))
        assert abs(full.mean() - parts.mean()) < 4 * error
        assert error < 0.01 * abs(full.mean())

    def test_the_elbo_is_that_of_plain_monte_carlo(self, entries):
        """E[log p - log q] from the log joint that scipy confirmed, without closed-form KL."""
        module = make(entries)
        cells = torch.arange(23)
        plain = []
        for seed in range(100):
            trace = draw(module, entries, seed)
            q = trace.log_prob_sum().item()
            plain.append(log_joint(module, values_of(trace), cells, entries) - q)
        torch.manual_seed(0)
        loss = ClosedFormELBO(num_particles=100)
        with torch.no_grad():
            elbo = -loss.loss(module.model, module.guide, cells, entries)
        error = np.std(plain) / np.sqrt(100) * 1.5
        assert abs(elbo - np.mean(plain)) < 4 * error


class TestGuide:
    def test_ordering_moves_every_parameter_of_a_program_together(self, entries):
        module = make(entries)
        guide = module.guide
        psi, phi, pi = (
            guide.psi().mean.clone(),
            guide.phi().mean.clone(),
            guide.pi().mean.clone(),
        )
        b = guide.psi().concentration0.clone()
        order = torch.tensor([2, 0, 1])
        with torch.no_grad():
            expected = phi @ psi.T
        guide.order(order)
        assert torch.equal(guide.psi().mean, psi[:, order])
        assert torch.equal(guide.psi().concentration0, b[:, order])
        torch.testing.assert_close(guide.phi().mean, phi[:, order])
        torch.testing.assert_close(guide.pi().mean, pi[order])
        np.testing.assert_allclose(
            (guide.phi().mean @ guide.psi().mean.T).detach(), expected, atol=1e-6
        )

    def test_concentrations_stay_within_bounds(self, entries):
        module = make(entries)
        with torch.no_grad():
            for parameter in module.guide.parameters():
                parameter.fill_(80.0)
            for site in module.guide.scalars.values():
                site.loc.fill_(1.0)
        assert float(module.guide.phi().concentration.max()) == pytest.approx(1e6)
        assert float(module.guide.psi().concentration0.max()) == pytest.approx(1e6)
        assert float(module.guide.scalar("a_rate").scale) == pytest.approx(2.0)

    def test_site_means(self, entries):
        module = make(entries, concentration=4.0)
        assert float(module.site_mean("kappa")) == 4.0
        with torch.no_grad():
            site = module.guide.scalars["delta"]
            site.loc.fill_(0.3)
            site.log_scale.fill_(np.log(0.5))
        assert float(module.site_mean("delta")) == pytest.approx(
            lognorm(0.5, scale=np.exp(0.3)).mean()
        )
        module.guide.set_scalar("delta", 2.5)
        assert float(module.guide.scalar("delta").icdf(torch.tensor(0.5))) == pytest.approx(2.5)
        assert make(entries, likelihood="binomial").site_mean("kappa") is None

    @pytest.mark.parametrize("name", ["default", "global", "fixed", "binomial"])
    def test_initialization_from_an_em_fit(self, entries, name):
        module = make(entries, **VARIANTS[name])
        usage = lfa.inference.junction_mean_psi(entries)
        kind = module.model.prior.name
        kappa = {"binomial": None, "fixed": 4.0}.get(name, 9.0)
        fit = lfa.inference.fit_em(
            entries,
            lfa.inference.waypoints(entries, 3, 0).start,
            lfa.inference.program_prior(kind, usage),
            concentration=kappa,
            learn_concentration=False,
            activity_concentration=0.8,
        )
        module.initialize(fit, entries)
        a, b = fit.prior.inclusion, fit.prior.exclusion
        guide = module.guide
        assert (guide.psi().mean - fit.psi).abs().max() < 0.1
        assert (guide.phi().mean - fit.phi).abs().max() < 0.15
        assert (guide.pi().mean - fit.prevalence).abs().max() < 0.03
        medians = torch.exp(guide.a.loc), torch.exp(guide.b.loc)
        want = (a, b) if name != "global" else (a.mean(), b.mean())
        for found, value in zip(medians, want, strict=True):
            np.testing.assert_allclose(found.detach().flatten(), value.flatten(), rtol=1e-4)
        if name != "fixed":
            assert float(guide.scalars["delta"].loc.exp()) == pytest.approx(0.8, rel=1e-5)
        if name == "default":
            assert float(guide.scalars["kappa"].loc.exp()) == pytest.approx(9.0, rel=1e-5)

    def test_initialization_overwrites_earlier_parameters(self, entries):
        """Also the parameters that no EM fit has a value for."""
        usage = lfa.inference.junction_mean_psi(entries)
        fit = lfa.inference.fit_em(
            entries,
            lfa.inference.waypoints(entries, 3, 0).start,
            lfa.inference.program_prior("junction", usage),
            concentration=9.0,
        )
        states = []
        for spoiled in (0.0, float("nan")):
            module = make(entries)
            with torch.no_grad():
                for parameter in module.guide.parameters():
                    parameter += spoiled
            module.initialize(fit, entries)
            states.append(module.state_dict())
        for name, value in states[0].items():
            assert torch.equal(value, states[1][name]), name

    def test_activity_prior_is_delta_times_pi(self, entries):
        module = make(entries, activity_concentration=0.6)
        with torch.no_grad():
            module.guide.pi_log.copy_(torch.tensor([5.0, 1.0, -4.0]))
        pi = module.guide.pi().mean
        want = torch.clamp(0.6 * pi, min=1e-3)
        np.testing.assert_allclose(module.activity_prior().detach(), want.detach(), rtol=1e-5)


def test_the_sampler_of_scvi_accepts_the_module(entries):
    described = LeafletFAModule(5, 4, 3).list_obs_plate_vars
    assert described == {"name": "cells", "in": [], "sites": {"phi": 3}, "event_dim": 1}
