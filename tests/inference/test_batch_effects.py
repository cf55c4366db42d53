"""Shifts of batches by adaptive shrinkage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.entries import FarEntries
from helpers.likelihood import random_entries
from scipy.stats import norm

from leafletfa_scvi import ops
from leafletfa_scvi.inference import (
    _em_step,
    _expected_counts,
    _hyperparameters,
    sweep,
    without_batch_effects,
)
from leafletfa_scvi.inference._batch_effects import (
    SHIFT_SCALES,
    BatchEffects,
    _slope_and_information,
    fit_batch_effects,
    shrink,
)
from leafletfa_scvi.inference._hyperparameters import Hyperparameters
from leafletfa_scvi.likelihoods import BatchShift, Factors


class TestShrink:
    def test_posterior_by_integration(self):
        """Given the weights, moments of one estimate by sums over a grid."""
        rng = np.random.default_rng(0)
        estimate, precision = rng.normal(0, 1.5, 500), rng.uniform(1, 30, 500)
        mean, variance, zero, weights = shrink(estimate, precision)
        assert weights.sum() == pytest.approx(1)
        d = np.linspace(-12, 12, 48_001)
        slab = sum(
            w * norm.pdf(d, 0, s) for w, s in zip(weights[1:], SHIFT_SCALES[1:], strict=True)
        )
        for i in range(0, 500, 50):
            likelihood = norm.pdf(estimate[i], d, precision[i] ** -0.5)
            spike = weights[0] * norm.pdf(estimate[i], 0, precision[i] ** -0.5)
            joint = slab * likelihood * (d[1] - d[0])
            total = joint.sum() + spike
            assert zero[i] == pytest.approx(spike / total, abs=1e-4)
            assert mean[i] == pytest.approx((d * joint).sum() / total, abs=1e-3)
            square = (d**2 * joint).sum() / total
            assert variance[i] == pytest.approx(square - mean[i] ** 2, rel=0.01, abs=1e-4)

    def test_it_is_calibrated_where_estimates_are(self):
        rng = np.random.default_rng(1)
        true = rng.normal(0, 1.2, 20_000) * (rng.random(20_000) < 0.2)
        sd = rng.uniform(0.1, 1.0, 20_000)
        mean, variance, zero, _ = shrink(rng.normal(true, sd), sd**-2.0)
        called = np.sort(zero)
        called = zero <= called[(np.cumsum(called) / np.arange(1, 20_001)) <= 0.05].max()
        assert 0.02 < (true[called] == 0).mean() < 0.07
        assert called[true != 0].mean() > 0.25
        inside = np.abs(mean - true)[called] < norm.ppf(0.95) * np.sqrt(variance[called])
        assert 0.85 < inside.mean() < 0.95
        assert np.square(mean - true).mean() < 0.7 * np.square(rng.normal(true, sd) - true).mean()

    def test_noise_is_no_shift(self):
        rng = np.random.default_rng(2)
        mean, _, zero, weights = shrink(rng.normal(0, 0.3, 3000), np.full(3000, 0.3**-2.0))
        assert weights[:2].sum() > 0.98
        assert np.abs(mean).max() < 0.1
        assert zero.min() > 0.05

    def test_what_was_not_observed_has_the_prior(self):
        estimate, precision = np.array([3.0, 0.0, -3.0]), np.array([50.0, 0.0, 50.0])
        mean, variance, zero, weights = shrink(estimate, precision)
        assert mean[1] == 0
        assert zero[1] == pytest.approx(weights[0])
        assert variance[1] == pytest.approx(weights @ np.square(SHIFT_SCALES))


def shifted_data(seed=0, n_cells=60, n_junctions=10):
    """Entries of three batches, with factors in float32."""
    entries = random_entries(n_cells, n_junctions, 0.7, 25, seed)
    generator = torch.Generator().manual_seed(seed)
    batch = torch.arange(n_cells) % 3
    phi = torch.distributions.Dirichlet(torch.ones(2)).sample((n_cells,))
    psi = torch.rand(n_junctions, 2, generator=generator) * 0.8 + 0.1
    values = 0.5 * torch.randn(3, n_junctions, generator=generator)
    factors = Factors(phi, psi, torch.tensor(15.0), BatchShift(values))
    return ops.split_by_batch(entries, batch, 3), factors


def test_slope_is_the_derivative_of_the_log_likelihood():
    entries, factors = shifted_data()
    slope, information = _slope_and_information(entries, factors, "torch")
    values = factors.shift.values.double().requires_grad_()
    exact = Factors(
        factors.phi.double(), factors.psi.double(), torch.tensor(15.0).double(), BatchShift(values)
    )
    exact.log_likelihood(entries).sum().backward()
    np.testing.assert_allclose(slope, values.grad, rtol=2e-3, atol=2e-2)
    assert (information > 0).all()


def test_information_is_the_spread_of_the_slope():
    """Over draws of the reads, the variance of the derivative is the information."""
    rng = np.random.default_rng(0)
    n_cells, n_reads, kappa, psi = 4000, 20, 15.0, 0.3
    share = rng.beta(kappa * psi, kappa * (1 - psi), n_cells)
    count = torch.from_numpy(rng.binomial(n_reads, share)).to(torch.int16)
    entries = ops.ObservedEntries(
        torch.arange(n_cells + 1),
        torch.zeros(n_cells, dtype=torch.int32),
        count,
        torch.full_like(count, n_reads),
        1,
    )
    each = []
    for cells in torch.arange(n_cells).split(40):
        factors = Factors(
            torch.ones(len(cells), 1),
            torch.tensor([[psi]]),
            torch.tensor(kappa),
            BatchShift(torch.zeros(1, 1)),
        )
        each.append(_slope_and_information(entries.select(cells), factors, None))
    slope, information = (np.array([x[i].item() for x in each]) for i in (0, 1))
    assert slope.mean() == pytest.approx(0, abs=3 * slope.std() / 10)
    assert slope.var() == pytest.approx(information.mean(), rel=0.35)


def test_shifts_are_found_and_sum_to_zero():
    adata_rng = np.random.default_rng(3)
    n_cells, n_junctions, kappa = 600, 60, 20.0
    true = np.zeros((3, n_junctions))
    true[:, :12] = adata_rng.normal(0, 1.5, (3, 12))
    true -= true.mean(0)
    psi = adata_rng.uniform(0.2, 0.8, n_junctions)
    batch = np.arange(n_cells) % 3
    p = 1 / (1 + np.exp(-(np.log(psi / (1 - psi)) + true[batch])))
    total = np.full(p.shape, 10)
    count = adata_rng.binomial(total, adata_rng.beta(kappa * p, kappa * (1 - p)))
    column = np.tile(np.arange(n_junctions, dtype=np.int32), n_cells)
    entries = ops.ObservedEntries(
        torch.arange(n_cells + 1) * n_junctions,
        torch.from_numpy(column),
        torch.from_numpy(count.ravel().astype(np.int16)),
        torch.from_numpy(total.ravel().astype(np.int16)),
        n_junctions,
    )
    split = ops.split_by_batch(entries, torch.from_numpy(batch), 3)
    factors = Factors(
        torch.ones(n_cells, 1),
        torch.from_numpy(psi).float()[:, None],
        torch.tensor(kappa),
        BatchShift(torch.zeros(3, n_junctions)),
    )
    for _ in range(5):
        effects = fit_batch_effects(split, factors)
        factors = replace(factors, shift=effects.shift)
    found = effects.shift.values.numpy()
    np.testing.assert_allclose(found.sum(0), 0, atol=1e-5)
    assert np.abs(found[:, :12] - true[:, :12]).max() < 0.4
    assert np.abs(found[:, 12:]).max() < 0.15
    z = (found - true)[:, :12] / np.sqrt(effects.variance.numpy()[:, :12])
    assert np.median(np.abs(z)) < 1.0
    apart = fit_batch_effects(split, factors, center=False)
    assert np.abs(apart.shift.values.numpy() - found).max() < 0.3


def test_shifts_move_by_half_of_a_step_after_the_first_fits(monkeypatch):
    """Those that are hardly told from 0 could alternate between two values."""
    entries, factors = shifted_data()
    problem = _em_step.EMProblem(entries, None, torch.full((2,), 0.5), 1.0, 1.0, True, None)
    none = BatchEffects.none(3, 10, None)
    hyper = Hyperparameters(
        problem, prior=False, kappa=False, dispersion="global", seed=0, effects=none
    )
    found = replace(none, shift=BatchShift(torch.ones(3, 10)))
    monkeypatch.setattr(_hyperparameters, "fit_batch_effects", lambda *_: found)
    state, counts = replace(factors, shift=none.shift), problem.counts(factors)
    for fit in range(1, 12):
        before = state.shift.values
        state = hyper.refit(state, counts)
        if fit in (6, 8, 9, 10):  # not fitted
            assert torch.equal(state.shift.values, before)
        elif fit < 6:
            assert torch.equal(state.shift.values, torch.ones(3, 10))
            state = replace(state, shift=none.shift)
        else:
            torch.testing.assert_close(state.shift.values, (before + 1) / 2)
            assert torch.equal(hyper.effects.shift.values, state.shift.values)


def test_entries_on_another_device_are_moved_in_blocks(monkeypatch):
    """Shifts are taken out of the sums over blocks, not block by block."""
    entries, factors = shifted_data()
    whole, effects = sweep(entries, factors), fit_batch_effects(entries, factors)
    monkeypatch.setattr(_expected_counts, "_BLOCK", entries.n_entries // 5)
    far = FarEntries(entries)
    parts = sweep(far, factors)
    assert len(far.blocks_made) > 4
    for name, found in parts._asdict().items():
        torch.testing.assert_close(found, getattr(whole, name), rtol=1e-4, atol=1e-3)
    again = fit_batch_effects(FarEntries(entries), factors).shift.values
    torch.testing.assert_close(again, effects.shift.values, rtol=1e-3, atol=1e-3)


def test_batch_effects_are_subtracted_from_psi():
    entries, factors = shifted_data()
    plain = random_entries(60, 10, 0.7, 25, 0)
    batch = torch.arange(60) % 3
    mean = factors.psi[:, 0]
    found = without_batch_effects(replace(plain, batch=batch), mean, factors.shift)
    table = factors.shift.programs(mean[:, None]).reshape(3, 10)
    rows, columns = plain.rows(), plain.column.long()
    for e in range(0, plain.n_entries, 37):
        change = float(table[batch[rows[e]], columns[e]] - mean[columns[e]])
        y, n = float(plain.count[e]), float(plain.total[e])
        assert float(found.count[e]) == pytest.approx(min(max(y - n * change, 0), n), abs=1e-4)
    assert torch.equal(found.total, plain.total.float())
