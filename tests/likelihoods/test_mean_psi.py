"""Usage of junctions, by hand, and its sums within ATSEs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.entries import entries_of
from helpers.likelihood import random_atses

from leafletfa_scvi.likelihoods._mean_psi import (
    composite_weight,
    junction_mean_psi,
    normalized_mean_psi,
    normalized_programs,
    precision,
)
from leafletfa_scvi.ops import ObservedEntries, multinomial_entries


@pytest.fixture
def shared():
    entries, atse = random_atses(20, 15, 0.7, 6, seed=3)
    gathered = multinomial_entries(entries, atse)
    assert gathered.n_junctions > 15  # some ATSEs have an implicit junction
    return gathered


def within(values, entries):
    sums = np.zeros((entries.n_atses, *values.shape[1:]))
    np.add.at(sums, entries.atse.numpy(), np.asarray(values))
    return sums


def test_precision_by_hand():
    n = torch.tensor([1, 2, 11, 200], dtype=torch.uint8)
    np.testing.assert_allclose(precision(n), [1, 2 / 1.1, 11 / 2, 200 / 20.9], rtol=1e-6)


class TestJunctionMeanPsi:
    def test_by_hand(self):
        rng = np.random.default_rng(0)
        n = rng.poisson(4, (9, 6)) * (rng.random((9, 6)) < 0.6)
        n[:, 3] = 0
        y = rng.binomial(n, 0.3)
        weight = np.where(n > 0, n / (1 + 0.1 * (n - 1)), 0)
        used, seen = (weight * y / np.maximum(n, 1)).sum(0), weight.sum(0)
        overall = used.sum() / seen.sum()
        found = junction_mean_psi(entries_of(y, n))
        np.testing.assert_allclose(found, (used + 2 * overall) / (seen + 2), rtol=1e-5)
        assert found[3] == pytest.approx(overall, rel=1e-5)
        want = (used + 10 * overall) / (seen + 10)
        np.testing.assert_allclose(junction_mean_psi(entries_of(y, n), 10.0), want, rtol=1e-5)

    def test_stays_inside(self):
        n = np.full((500, 2), 50)
        found = junction_mean_psi(entries_of(np.stack([n[:, 0], 0 * n[:, 0]], 1), n), 0.0)
        assert 0 < found[1] < 1e-3
        assert 1 - 1e-3 < found[0] < 1

    def test_nothing_observed(self):
        found = junction_mean_psi(entries_of(np.zeros((3, 2)), np.zeros((3, 2))))
        assert ((found > 0) & (found < 1)).all()


class TestNormalizedMeanPsi:
    def test_by_hand(self, shared):
        used = np.zeros(shared.n_junctions)
        y, n = shared.reads.count.double().numpy(), shared.reads.total.double().numpy()
        np.add.at(used, shared.reads.column.numpy(), y / (1 + 0.1 * (n - 1)))
        size = np.bincount(shared.atse)[shared.atse]
        used += 2 / size
        want = used / within(used, shared)[shared.atse]
        np.testing.assert_allclose(normalized_mean_psi(shared), want, rtol=1e-5)

    @pytest.mark.parametrize("pseudo_reads", [0.5, 2.0, 1e6])
    def test_sums_to_one_within_an_atse(self, shared, pseudo_reads):
        found = normalized_mean_psi(shared, pseudo_reads)
        np.testing.assert_allclose(within(found, shared), 1, rtol=1e-5)
        assert (found > 0).all()
        if pseudo_reads == 1e6:
            size = np.bincount(shared.atse)[shared.atse]
            np.testing.assert_allclose(found, 1 / size, rtol=1e-3)


class TestNormalizedPrograms:
    def test_sums_to_one_within_an_atse(self, shared):
        psi = torch.rand(15, 4, generator=torch.Generator().manual_seed(0))
        found = normalized_programs(psi, shared)
        assert found.shape == (shared.n_junctions, 4)
        np.testing.assert_allclose(within(found, shared), 1, rtol=1e-5)

    def test_normalized_programs_are_unchanged(self, shared):
        """The implicit junction has what its ATSE leaves."""
        psi = torch.rand(shared.n_junctions, 2, generator=torch.Generator().manual_seed(0)) + 0.1
        psi = psi / torch.from_numpy(within(psi, shared)).float()[shared.atse]
        np.testing.assert_allclose(normalized_programs(psi[:15], shared), psi, rtol=1e-4)

    def test_programs_at_the_bounds(self, shared):
        for value in (0.0, 1.0):
            found = normalized_programs(torch.full((15, 2), value), shared)
            assert (found > 0).all()
            np.testing.assert_allclose(within(found, shared), 1, rtol=1e-5)


def test_blocks_and_narrow_counts_change_nothing(monkeypatch, shared):
    rng = np.random.default_rng(0)
    n = rng.poisson(4, (40, 30))
    entries = entries_of(rng.binomial(n, 0.3), n)
    whole = junction_mean_psi(entries), normalized_mean_psi(shared)
    blocks = ObservedEntries.blocks
    monkeypatch.setattr(ObservedEntries, "blocks", lambda self, _=None: blocks(self, 50))
    assert len(list(entries.blocks())) > 5
    narrow = entries.narrowed()
    assert narrow.count.dtype == torch.uint8
    for found, wanted in zip(
        (junction_mean_psi(narrow), normalized_mean_psi(shared)), whole, strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_composite_weights_are_those_of_independent_junctions():
    weight = composite_weight(torch.tensor([1, 0, 1, 1, 0, 2]))
    np.testing.assert_allclose(weight, [2 / 3, 1 / 2, 2 / 3, 2 / 3, 1 / 2, 1.0], rtol=1e-6)
