"""The prior of programs against float64 marginals and densities, and what it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import betaln, expit, gammaln, logsumexp, softmax

from leafletfa_scvi.distributions import PRIOR_CONCENTRATIONS
from leafletfa_scvi.inference import program_prior

KINDS = ("mixture", "junction", "global")
C = np.array(PRIOR_CONCENTRATIONS)


def tables(shared, seed=0, scale=20.0):
    """Counts for and against of 9 junctions in 4 ATSEs (one of a single junction), K = 3."""
    rng = np.random.default_rng(seed)
    atse = np.array([2, 0, 0, 1, 1, 1, 2, 3, 0])
    up = rng.gamma(0.5, scale, (9, 3))
    up[4] = 0
    against = np.zeros_like(up) if shared else rng.gamma(0.5, scale, (9, 3))
    usage = torch.from_numpy(rng.uniform(0.05, 0.9, 9))
    return torch.from_numpy(up).float(), torch.from_numpy(against).float(), atse, usage


def groups_of(kind, shared, atse):
    if kind == "global":
        return np.zeros(len(atse), int)
    return np.arange(len(atse)) if kind == "junction" and not shared else atse


def chances(prior, up, against, kind):
    """Posterior of each group's strength, ``(groups, R)``, by scipy in float64."""
    mean, atse = prior.mean.double().numpy(), prior.atse.numpy()
    up, against = up.double().numpy(), against.double().numpy()
    group = groups_of(kind, prior.shares_reads, atse)
    out = np.zeros((group.max() + 1, len(C)))
    for r, c in enumerate(C):
        if prior.shares_reads:
            for a in range(atse.max() + 1):
                of = atse == a
                alpha = c * mean[of, None]
                n = up[of].sum(0)
                value = gammaln(alpha.sum()) - gammaln(alpha.sum() + n)
                value = value + (gammaln(alpha + up[of]) - gammaln(alpha)).sum(0)
                out[group[of][0], r] += value.sum()
        else:
            for j in range(len(mean)):
                a, b = c * mean[j], c * (1 - mean[j])
                value = betaln(a + up[j], b + against[j]) - betaln(a, b)
                out[group[j], r] += value.sum()
    log = out + np.log(prior.weights.double().numpy())
    return softmax(log, axis=1), logsumexp(log, axis=1), group


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", KINDS)
class TestRefitted:
    def test_weights_and_concentrations_by_brute_force(self, kind, shared):
        up, against, atse, usage = tables(shared)
        prior = program_prior(kind, usage, torch.from_numpy(atse), shared)
        for _ in range(3):  # from uneven weights too
            chance, _, group = chances(prior, up, against, kind)
            prior = prior.refit(up, against)
            weights = chance.mean(0).clip(1e-3)
            np.testing.assert_allclose(prior.weights, weights / weights.sum(), rtol=1e-4)
            if kind != "mixture":
                want = np.exp(chance @ np.log(C))[group][:, None]
                np.testing.assert_allclose(prior.concentration, want, rtol=1e-4)

    def test_the_marginal_likelihood_rises(self, kind, shared):
        up, against, atse, usage = tables(shared, seed=1)
        prior = program_prior(kind, usage, torch.from_numpy(atse), shared)
        values = []
        for _ in range(8):
            values.append(chances(prior, up, against, kind)[1].sum())
            prior = prior.refit(up, against)
        assert np.diff(values).min() > -0.02  # least weights cost a little
        assert values[-1] > values[0]

    def test_many_reads_keep_their_digits(self, kind, shared):
        """A million tables, as of 100,000 cells: log gammas of 1e7, of which differences count."""
        rng = np.random.default_rng(2)
        mean = np.array([0.3, 0.7, 0.5, 0.2, 0.3])
        atse = torch.tensor([0, 0, 1, 1, 1])
        psi = mean[:, None] + rng.normal(0, 0.02, (5, 6))
        psi /= np.array([psi[:2].sum(0), psi[2:].sum(0)])[atse]
        n = np.array([1e6, 2e6])[atse, None]
        up = torch.from_numpy(n * psi).float()
        against = torch.zeros_like(up) if shared else torch.from_numpy(n * (1 - psi)).float()
        prior = program_prior(kind, torch.from_numpy(mean), atse, shared)
        chance, _, group = chances(prior, up, against, kind)
        found = prior.refit(up, against)
        weights = chance.mean(0).clip(1e-3)
        np.testing.assert_allclose(found.weights, weights / weights.sum(), rtol=0.02)
        if kind != "mixture":
            want = np.exp(chance @ np.log(C))[group]
            np.testing.assert_allclose(found.concentration[:, 0], want, rtol=0.02)

    def test_unobserved_rows_stay_at_the_mean(self, kind, shared):
        up, against, atse, usage = tables(shared)
        prior = program_prior(kind, usage, torch.from_numpy(atse), shared)
        up[atse == 1] = against[atse == 1] = 0.0
        prior = prior.refit(up, against)
        psi = prior.programs(up, against)
        at = torch.from_numpy(atse == 1)
        np.testing.assert_allclose(psi[at], prior.mean[at, None].expand(3, 3), rtol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_programs_of_the_mixture_are_its_posterior_mean(shared):
    up, against, atse, usage = tables(shared)
    prior = program_prior("mixture", usage, torch.from_numpy(atse), shared)
    prior = prior.refit(up, against)
    chance, _, group = chances(prior, up, against, "mixture")
    # Weights are learned after the chances: ask at those that the chances were made with.
    first = program_prior("mixture", usage, torch.from_numpy(atse), shared)
    chance, _, group = chances(first, up, against, "mixture")
    mean, t1 = prior.mean.double().numpy(), up.double().numpy()
    total = t1 + against.double().numpy()
    if shared:
        total = np.stack([t1[atse == a].sum(0) for a in atse])
    want = np.zeros_like(t1)
    for r, c in enumerate(C):
        want += chance[group, r, None] * (c * mean[:, None] + t1) / (c + total)
    np.testing.assert_allclose(prior.programs(up, against), want, rtol=1e-4)
    assert prior.concentration.shape == (9, 3)
    part = prior.select(torch.tensor([2, 0]))
    np.testing.assert_allclose(
        part.programs(up[:, [2, 0]], against[:, [2, 0]]), want[:, [2, 0]], rtol=1e-4
    )


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", ["mixture", "junction"])
def test_concentrated_only_if_atses_do_not_differ(kind, shared):
    """A quarter of 120 ATSEs of three junctions differ between 6 programs."""
    rng = np.random.default_rng(0)
    mean = rng.dirichlet(np.ones(3), 120)
    psi = np.repeat(mean[:, :, None], 6, 2)
    psi[:30] = rng.dirichlet(0.6 * np.ones(3), (30, 6)).transpose(0, 2, 1)
    n = rng.poisson(60, (120, 6))
    counts = np.stack([
        [rng.multinomial(n[a, k], psi[a, :, k]) for k in range(6)] for a in range(120)
    ])  # fmt: skip
    up = counts.transpose(0, 2, 1).reshape(360, 6)
    total = n.repeat(3, 0)
    usage = torch.from_numpy((up.sum(1) + 0.5) / (total.sum(1) + 1.5))
    up, against = (torch.from_numpy(x).float() for x in (up, (total - up) * (not shared)))
    prior = program_prior(kind, usage, torch.arange(120).repeat_interleave(3), shared)
    for _ in range(4):
        prior = prior.refit(up, against)
    middle = prior.concentration.median(1).values.reshape(120, 3).median(1).values
    assert middle[:30].median() < 8
    assert middle[30:].median() > 100
    assert prior.weights[:3].sum() == pytest.approx(0.25, abs=0.1)
    error = (prior.programs(up, against).reshape(120, 3, 6) - torch.from_numpy(psi)).abs()
    plain = ((up + 0.5) / (torch.from_numpy(total) + 1.0)).reshape(120, 3, 6)
    raw = (plain - torch.from_numpy(psi)).abs()
    assert error[30:].mean() < 0.7 * raw[30:].mean()
    assert error[:30].mean() < 1.05 * raw[:30].mean()


def test_a_single_concentration_for_all_and_one_mean():
    up, against, atse, usage = tables(False)
    prior = program_prior("global", usage, torch.from_numpy(atse))
    np.testing.assert_allclose(prior.mean, usage.mean(), rtol=1e-5)
    assert len(prior.refit(up, against).concentration.unique()) == 1
    shared = program_prior("global", usage, torch.from_numpy(atse), True)
    np.testing.assert_allclose(shared.mean, 1 / np.bincount(atse)[atse], rtol=1e-5)


def test_programs_are_the_mode_in_logit_and_softmax_coordinates():
    up, against, atse, usage = tables(False)
    prior = program_prior("junction", usage).refit(up, against)
    a, b = prior.inclusion + up, prior.exclusion + against
    np.testing.assert_allclose(prior.programs(up, against), a / (a + b), rtol=1e-6)
    shared = program_prior("junction", usage, torch.from_numpy(atse), True)
    psi = shared.programs(up, torch.zeros_like(up)).numpy()
    for code in range(4):
        np.testing.assert_allclose(psi[atse == code].sum(0), 1, rtol=1e-5)
    want = 3 * shared.mean[:, None].numpy() + up.numpy()
    np.testing.assert_allclose(psi[3:6], want[3:6] / want[3:6].sum(0), rtol=1e-5)


class TestLogDensity:
    @pytest.mark.parametrize(("mean", "strength"), [(0.3, 3.0), (0.85, 3.0), (0.6, 300.0)])
    def test_beta_in_logit_coordinates_integrates_to_one(self, mean, strength):
        prior = program_prior("junction", torch.tensor([mean], dtype=torch.float64))
        object.__setattr__(prior, "strength", torch.tensor([[strength]], dtype=torch.float64))

        def density(x):
            return np.exp(float(prior.log_density(torch.tensor([[expit(x)]]))))

        center = np.log(mean / (1 - mean))
        total = sum(quad(density, *ends)[0] for ends in ((-35, center), (center, 35)))
        assert total == pytest.approx(1, abs=1e-4)

    @pytest.mark.parametrize(("mean", "strength"), [(0.3, 3.0), (0.85, 3.0), (0.6, 300.0)])
    def test_dirichlet_of_two_in_softmax_coordinates_does_too(self, mean, strength):
        atse = torch.tensor([0, 0])
        usage = torch.tensor([mean, 1 - mean], dtype=torch.float64)
        prior = program_prior("junction", usage, atse, True)
        object.__setattr__(prior, "strength", torch.full((2, 1), strength, dtype=torch.float64))

        def density(x):
            return np.exp(float(prior.log_density(torch.tensor([[expit(x)], [expit(-x)]]))))

        center = np.log(mean / (1 - mean))
        total = sum(quad(density, *ends)[0] for ends in ((-35, center), (center, 35)))
        assert total == pytest.approx(1, abs=1e-4)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("shared", [False, True])
    def test_by_hand(self, kind, shared):
        up, against, atse, usage = tables(shared)
        prior = program_prior(kind, usage, torch.from_numpy(atse), shared).refit(up, against)
        psi = prior.programs(up, against).double().clamp(1e-6, 1 - 1e-6)
        a, b = (np.broadcast_to(x.double(), psi.shape) for x in (prior.inclusion, prior.exclusion))
        if shared:
            want = (a * np.log(psi.numpy()) - gammaln(a)).sum()
            for code in range(4):
                want += gammaln(a[atse == code].sum(0)).sum()
        else:
            want = (a * np.log(psi.numpy()) + b * np.log1p(-psi.numpy()) - betaln(a, b)).sum()
        assert float(prior.log_density(psi)) == pytest.approx(want, rel=1e-5)


def test_one_atse_each_without_labels():
    prior = program_prior("mixture", torch.tensor([0.2, 0.5, 0.7]))
    np.testing.assert_array_equal(prior.atse, [0, 1, 2])
    assert not prior.shares_reads


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_evened_weights_by_hand(share):
    up, against, atse, usage = tables(shared=False)
    prior = program_prior("mixture", usage, torch.from_numpy(atse)).refit(up, against)
    found = prior.evened(share)
    want = (1 - share) * prior.weights.numpy() + share / len(C)
    np.testing.assert_allclose(found.weights, want, rtol=1e-6)
    assert float(found.weights.sum()) == pytest.approx(1.0)
    assert torch.equal(found.concentration, prior.concentration)
