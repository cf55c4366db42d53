"""Likelihoods, dispersions and priors of psi in model and guide: densities, ELBO, starts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.module import draw, log_joint, make, values_of
from pyro import poutine
from pyro.infer import Trace_ELBO
from scipy.special import gammaln, logsumexp
from scipy.stats import beta, betabinom, dirichlet, gamma, lognorm

import leafletfa_scvi as lfa
from leafletfa_scvi import ops
from leafletfa_scvi.data import cell_loader
from leafletfa_scvi.distributions import PRIOR_CONCENTRATIONS
from leafletfa_scvi.inference import EMResult
from leafletfa_scvi.likelihoods._dirichlet_multinomial import dirichlet_programs_from_curvature
from leafletfa_scvi.module import ClosedFormELBO
from leafletfa_scvi.ops._reference import MISASSIGNMENT_RATE
from leafletfa_scvi.priors._junction import gamma_fit

K = 3
KINDS = {
    "mixture": {"junction_prior": "mixture"},
    "own kappas": {"dispersion": "junction", "concentration_prior": "leafletfa"},
    "mixture, own kappas": {"junction_prior": "mixture", "dispersion": "junction"},
    "shared": {"likelihood": "dirichlet-multinomial"},
    "shared, global": {"likelihood": "dirichlet-multinomial", "junction_prior": "global"},
    "shared, infinite": {"likelihood": "dirichlet-multinomial", "concentration": float("inf")},
    "shared, mixture, own kappas": {
        "likelihood": "dirichlet-multinomial",
        "junction_prior": "mixture",
        "dispersion": "junction",
    },
}


@pytest.fixture(scope="module")
def data():
    """Observed entries, and the same ATSE by ATSE with one implicit junction."""
    adata = lfa.datasets.simulate_splicing(23, 12, K, coverage=0.5, seed=0)
    adata = adata[:, np.arange(adata.n_vars) != 4].copy()
    entries = lfa.data.observed_entries(adata)
    atse = torch.from_numpy(lfa.data.atse_codes(adata)[0])
    gathered = ops.multinomial_entries(entries, atse)
    assert len(gathered.atse) == len(atse) + 1
    return SimpleNamespace(entries=entries, atse=atse, gathered=gathered)


def built(data, name, **more):
    """A module of a kind, and the entries that its likelihood takes."""
    options = KINDS[name]
    shared = "likelihood" in options
    entries = data.gathered if shared else data.entries
    columns = data.gathered.atse if shared else data.atse
    module = make(entries, K, n_junctions=len(data.atse), program_atse=columns, **options, **more)
    if "mixture" in name:
        usage = torch.linspace(0.05, 0.9, len(columns))
        module.model.prior.set_mean(module.model, usage)
    return module, entries


def log_prior_of_programs(v, model):
    psi, atse = v["psi"], model.program_atse.numpy()
    rows = [atse == g for g in range(atse.max() + 1)]
    if model.prior.name == "mixture":
        m, w = model.program_mean.double().numpy(), v["strength_weights"]
        value = dirichlet.logpdf(w / w.sum(), np.ones(len(PRIOR_CONCENTRATIONS)))
        for r in rows:
            terms = [
                dirichlet_density(psi[r], c * m[r])
                if model.likelihood.shares_reads
                else beta.logpdf(psi[r], c * m[r][:, None], c * (1 - m[r])[:, None]).sum()
                for c in PRIOR_CONCENTRATIONS
            ]
            value += logsumexp(np.array(terms) + np.log(w))
        return value
    value = sum(
        gamma.logpdf(v[f"{key}_{part}"], 1.0)
        for key in model.prior.sites
        for part in ("shape", "rate")
    )
    for key in model.prior.sites:
        value += gamma.logpdf(v[key], v[f"{key}_shape"], scale=1 / v[f"{key}_rate"]).sum()
    a = np.broadcast_to(v["a"] + 1e-3, (len(psi), 1))
    if model.likelihood.shares_reads:
        return value + sum(dirichlet_density(psi[r], a[r, 0]) for r in rows)
    return value + beta.logpdf(psi, a, v["b"] + 1e-3).sum()


def dirichlet_density(psi, a):
    """Sum over programs, of float32 draws that sum to one nearly."""
    if len(a) == 1:
        return 0.0
    constant = gammaln(a.sum()) - gammaln(a).sum()
    return (constant + ((a - 1)[:, None] * np.log(psi)).sum(0)).sum()


def log_likelihood(v, model, entries, kappa):
    scored = entries.reads if model.likelihood.shares_reads else entries
    column = scored.column.numpy()
    mean = (v["phi"][scored.rows().numpy()] * v["psi"][column]).sum(1)
    p = MISASSIGNMENT_RATE + (1 - 2 * MISASSIGNMENT_RATE) * mean
    y, n = (x.double().numpy() for x in (scored.count, scored.total))
    if not model.likelihood.shares_reads:
        own = kappa[column] if np.ndim(kappa) else kappa
        q = MISASSIGNMENT_RATE + (1 - 2 * MISASSIGNMENT_RATE) * (1 - mean)
        return betabinom.logpmf(y, n, own * p, own * q).sum()
    totals = entries.totals
    n = totals.total.double().numpy()
    value = gammaln(n + 1).sum() - gammaln(y + 1).sum()
    if kappa is None:
        return value + (y * np.log(p)).sum()
    own = kappa[model.program_atse.numpy()[column]] if np.ndim(kappa) else kappa
    whole = kappa[totals.column.numpy()] if np.ndim(kappa) else kappa
    value += (gammaln(own * p + y) - gammaln(own * p)).sum()
    return value - (gammaln(whole + n) - gammaln(whole)).sum()


@pytest.mark.parametrize("name", KINDS)
def test_the_log_joint_is_that_of_the_documented_model(data, name):
    module, entries = built(data, name)
    model, trace = module.model, draw(module, entries)
    values = values_of(trace)
    found = log_joint(module, values, torch.arange(23), entries)
    v = {key: value.double().numpy() for key, value in values.items()}
    want = gamma.logpdf(v["alpha_pi"], 1.0) + gamma.logpdf(v["delta"], 2.0, scale=0.5)
    pi = v["pi"] / v["pi"].sum()
    want += dirichlet.logpdf(pi, np.full(K, v["alpha_pi"] / K))
    phi = v["phi"] / v["phi"].sum(1, keepdims=True)
    want += sum(dirichlet.logpdf(row, np.maximum(pi * v["delta"], 1e-3)) for row in phi)
    kappa = v.get("kappa")
    if "own kappas" in name:
        assert len(kappa) == (12 if model.likelihood.shares_reads else len(data.atse))
        median, spread = v["kappa_median"], v["kappa_spread"]
        if model.concentration_prior == "weak":
            want += lognorm.logpdf(median, 2.0, scale=10.0)
        else:
            want += gamma.logpdf(median, 10.0, scale=0.1)
        want += gamma.logpdf(spread, 2.0, scale=0.5)
        want += lognorm.logpdf(kappa, spread, scale=median).sum()
    elif kappa is not None:
        want += lognorm.logpdf(kappa, 2.0, scale=10.0)
    want += log_prior_of_programs(v, model)
    want += log_likelihood(v, model, entries, kappa)
    assert found == pytest.approx(want, rel=2e-5)

    sites = {key: x.shape for key, x in values.items()}
    prior = values_of(poutine.trace(model).get_trace(torch.arange(23), entries))
    prior.pop("reads", None)
    assert {key: x.shape for key, x in prior.items()} == sites
    assert ("kappa" in sites) == ("infinite" not in name)


@pytest.mark.parametrize("batch", [None, 9])
@pytest.mark.parametrize("name", KINDS)
def test_the_elbo_is_that_of_the_plain_estimator(data, name, batch):
    """Trace_ELBO evaluates every density at the draws: no formula of ours is in it."""
    module, entries = built(data, name)
    guide = module.guide
    with torch.no_grad():
        # Narrow posteriors: wide ones make both estimators too noisy to compare.
        for key, parameter in guide.named_parameters():
            if "log_scale" in key:
                parameter.fill_(-3.0)
            elif key.split("_")[0] in ("psi", "phi", "pi", "strength"):
                parameter.add_(4.0)
    cells = torch.arange(23 if batch is None else batch)
    part = entries.select(cells)
    torch.manual_seed(0)

    def estimates(loss, n):
        values = [loss.loss(module.model, guide, cells, part) for _ in range(n)]
        return np.mean(values), np.std(values) / np.sqrt(n)

    ours, error = estimates(ClosedFormELBO(), 30)
    plain, plain_error = estimates(Trace_ELBO(), 60)
    assert abs(ours - plain) < 5 * np.hypot(error, plain_error)
    assert 5 * np.hypot(error, plain_error) < 0.02 * abs(plain)


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_is_learned_and_minibatches_average_to_the_full_batch(data, name):
    module, entries = built(data, name)
    loss = ClosedFormELBO().differentiable_loss(
        module.model, module.guide, torch.arange(23), entries
    )
    loss.backward()
    for key, parameter in module.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key
    values = values_of(draw(module, entries))
    whole = log_joint(module, values, torch.arange(23), entries)
    total = 0.0
    for batch in cell_loader(entries, 7, shuffle=True):
        part = log_joint(module, values, batch["cells"], batch["entries"])
        total += part * len(batch["cells"]) / 23
    assert total == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_ordering_saving_and_marginals(data, name):
    module, entries = built(data, name)
    guide = module.guide
    psi = guide.psi().mean.clone()
    assert psi.shape == (module.model.n_rows, K)
    assert torch.equal(module.programs(), psi[: len(data.atse)])
    a, b = guide.psi_marginal()
    torch.testing.assert_close(a / (a + b), psi)
    if module.model.likelihood.shares_reads:
        x = guide.psi().sample((4000,))
        want = (a * b / (a + b).square() / (a + b + 1)).detach()
        torch.testing.assert_close(x.var(0), want, rtol=0.3, atol=1e-3)
    guide.order(torch.tensor([2, 0, 1]))
    torch.testing.assert_close(guide.psi().mean, psi[:, [2, 0, 1]])
    other, _ = built(data, name, seed=5)
    other.load_state_dict(module.state_dict())
    estimates = []
    for one in (module, other):
        torch.manual_seed(0)
        estimates.append(ClosedFormELBO().loss(one.model, one.guide, torch.arange(23), entries))
    assert estimates[0] == estimates[1]


def test_the_only_junction_of_an_atse_is_always_used(data):
    atse = torch.tensor([0, 0, 1])
    module = make(
        data.entries, K, n_junctions=3, likelihood="dirichlet-multinomial", program_atse=atse
    )
    a, b = module.guide.psi_marginal()
    assert (b[2] == 0).all()
    assert (b[:2] > 0).all()
    assert (module.guide.psi().mean[2] == 1).all()


def a_fit(data, module, entries, **more):
    """Make a result as of EM."""
    torch.manual_seed(0)
    model = module.model
    n, groups = model.n_rows, model.groups
    psi, mean = torch.rand(n, K) * 0.9 + 0.05, torch.linspace(0.1, 0.8, n)
    if model.likelihood.shares_reads:
        psi = psi / groups.spread(groups.sum(psi))
        mean = mean / groups.spread(groups.sum(mean[:, None]))[:, 0]
    kappa = torch.linspace(3.0, 30.0, model.n_dispersions)
    prior = SimpleNamespace(
        mean=mean,
        concentration=torch.full((n, 1), 20.0),
        reads=torch.zeros(1, 1),
        weights=torch.tensor([0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
    )
    return EMResult(
        phi=torch.distributions.Dirichlet(torch.ones(K)).sample((23,)),
        psi=psi,
        concentration=kappa if model.dispersion == "junction" else kappa[0],
        concentration_spread=0.7 if model.dispersion == "junction" else None,
        prevalence=torch.tensor([0.5, 0.3, 0.2]),
        activity_concentration=0.8,
        prior=prior,
        **more,
    )


@pytest.mark.parametrize("name", KINDS)
def test_initialization_from_an_em_fit(data, name):
    module, entries = built(data, name)
    model, guide = module.model, module.guide
    fit = a_fit(data, module, entries)
    if "infinite" in name:
        fit.concentration = None
    module.initialize(fit, entries)
    assert (guide.psi().mean - fit.psi).abs().max() < 0.1
    assert (guide.phi().mean - fit.phi).abs().max() < 0.15
    assert (guide.pi().mean - fit.prevalence).abs().max() < 0.03
    np.testing.assert_allclose(float(guide.scalars["delta"].loc.exp()), 0.8, rtol=1e-5)
    if model.prior.name == "mixture":
        torch.testing.assert_close(model.program_mean, fit.prior.mean)
        assert (model.prior.weights(guide).mean - fit.prior.weights).abs().max() < 0.15
        assert model.prior.weights(guide).mean.argmax() == 0
    else:
        a = fit.prior.concentration * fit.prior.mean[:, None]
        want = a.mean() if model.prior.name == "global" else a
        torch.testing.assert_close(guide.a.loc.exp(), want.expand(guide.a.loc.shape))
        shape, rate = (float(guide.scalars[f"a_{x}"].loc.exp()) for x in ("shape", "rate"))
        assert shape / rate == pytest.approx(float(a.mean()), rel=1e-4)
        sd = guide.site("a").scale
        assert (sd < 0.6).all()
        assert (sd > (0.01 if model.prior.name == "global" else 0.05)).all()
    if model.dispersion == "junction":
        torch.testing.assert_close(guide.kappa.loc.exp(), fit.concentration)
        assert float(guide.scalars["kappa_spread"].loc.exp()) == pytest.approx(0.7)
        median = float(guide.scalars["kappa_median"].loc.exp())
        assert median == pytest.approx(float(fit.concentration.log().mean().exp()), rel=1e-5)
    elif "infinite" not in name:
        assert float(guide.scalars["kappa"].loc.exp()) == pytest.approx(3.0, rel=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_unobserved_programs_have_their_prior(data, name):
    module, entries = built(data, name)
    model, guide = module.model, module.guide
    lost = data.atse == data.atse[7]
    assert 2 <= lost.sum() < 9
    seen = data.entries.keep(~lost[data.entries.column.long()])
    before = guide.psi().mean.clone()
    columns = model.program_atse == data.atse[7]
    by_atse = ops.multinomial_entries(seen, data.atse, data.gathered.atse[len(data.atse) :])
    module.restore_prior(seen)
    state = {k: v.clone() for k, v in module.state_dict().items()}
    if model.likelihood.shares_reads:
        module.restore_prior(by_atse)
        assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    after = guide.psi().mean
    assert torch.equal(after[~columns], before[~columns])
    assert (after[columns] == after[columns][:, :1]).all()
    a, b = guide.psi_marginal()
    variance = (a * b / (a + b).square() / (a + b + 1))[columns][:, 0]
    if model.prior.name == "mixture":
        m = model.program_mean[columns]
        torch.testing.assert_close(after[columns][:, 0], m)
        w = model.prior.weights(guide).mean
        want = (w / (torch.tensor(PRIOR_CONCENTRATIONS) + 1)).sum() * m * (1 - m)
        torch.testing.assert_close(variance, want, rtol=1e-3, atol=1e-6)
    if model.dispersion == "junction":
        own = guide.site("kappa")
        at = data.atse[7] if model.likelihood.shares_reads else lost
        median = guide.scalar("kappa_median").mean
        torch.testing.assert_close(own.loc[at].exp(), median.expand(own.loc[at].shape))


def test_site_means_and_concentrations_of_junctions(data):
    module, _ = built(data, "shared, mixture, own kappas")
    kappa = module.site_mean("kappa")
    assert kappa.shape == (12,)
    assert torch.equal(module.junction_concentration(), kappa[data.atse])
    assert built(data, "shared, infinite")[0].site_mean("kappa") is None
    assert built(data, "shared")[0].site_mean("kappa").shape == ()
    assert built(data, "own kappas")[0].site_mean("kappa").shape == (len(data.atse),)


def test_variances_of_shared_programs_count_reads_once():
    """Variance if n reads of an ATSE are split among its junctions by a single program."""
    psi = torch.tensor([0.2, 0.3, 0.5, 0.6, 0.4])[:, None]
    n = torch.tensor([50.0, 50.0, 50.0, 120.0, 120.0])[:, None]
    groups = ops.Groups(torch.tensor([0, 0, 0, 1, 1]))
    found = dirichlet_programs_from_curvature(psi, n / psi, torch.full((5, 1), 3.0), groups)
    total = groups.sum(found)[:, 0]
    assert 40 < total[0] < 60
    assert float(total[1]) == pytest.approx(123.2, abs=0.01)  # two junctions: exactly n
    huge = dirichlet_programs_from_curvature(psi, 1e6 * n / psi, torch.full((5, 1), 3.0), groups)
    assert groups.sum(huge).max() < 401


def test_gamma_of_maximum_likelihood():
    rng = np.random.default_rng(0)
    for shape, rate in ((0.5, 0.02), (4.0, 3.0)):
        values = torch.from_numpy(rng.gamma(shape, 1 / rate, 20_000))
        found = gamma_fit(values)
        exact, _, scale = gamma.fit(values.numpy(), floc=0)
        assert found == pytest.approx((exact, 1 / scale), rel=0.03)
    assert gamma_fit(torch.tensor([[5.0]])) == (1.0, pytest.approx(0.2))
    assert gamma_fit(torch.full((4, 1), 5.0)) == (10.0, pytest.approx(2.0))


@pytest.mark.parametrize("name", ["mixture", "shared, mixture, own kappas"])
def test_constants_follow_the_means_however_they_are_set(data, name):
    module, _ = built(data, name)
    other, _ = built(data, name, seed=1)
    weights = module.model.prior.weights(module.guide).mean
    first = module.model.prior.distribution(module.model, weights).constants
    assert module.model.prior.distribution(module.model, weights).constants is first
    other.model.prior.set_mean(other.model, torch.linspace(0.8, 0.1, module.model.n_rows))
    module.load_state_dict(other.state_dict())
    second = module.model.prior.distribution(module.model, weights).constants
    assert (second - first).abs().max() > 0.1
    assert torch.equal(second, other.model.prior.distribution(other.model, weights).constants)
