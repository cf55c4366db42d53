"""Starts: usage of junctions, groups of cells, random starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

import leafletfa_scvi as lfa
from leafletfa_scvi.inference import junction_usage, random_start, waypoints
from leafletfa_scvi.ops import ObservedEntries


def entries_of(y, n):
    """Observed entries of dense counts and totals."""
    y, n = np.asarray(y), np.asarray(n)
    row, column = np.nonzero(n)
    indptr = np.searchsorted(row, np.arange(len(n) + 1))
    return ObservedEntries(
        torch.from_numpy(indptr),
        torch.from_numpy(column.astype(np.int32)),
        torch.from_numpy(y[row, column].astype(np.float32)),
        torch.from_numpy(n[row, column].astype(np.float32)),
        n.shape[1],
    )


def grouped(n_groups=3, per_group=30, n_junctions=80, seed=0, coverage=0.5):
    """Counts of groups of cells, each with PSI of its own in half of the junctions."""
    rng = np.random.default_rng(seed)
    psi = np.where(np.arange(n_junctions) % 2, rng.random((n_groups, n_junctions)).round(), 0.5)
    psi = 0.05 + 0.9 * psi
    group = np.repeat(np.arange(n_groups), per_group)
    shape = (len(group), n_junctions)
    n = rng.poisson(12, shape) * (rng.random(shape) < coverage)
    return rng.binomial(n, psi[group]), n, group, psi


class TestJunctionUsage:
    def test_by_hand(self):
        rng = np.random.default_rng(0)
        n = rng.poisson(4, (9, 6)) * (rng.random((9, 6)) < 0.6)
        n[:, 3] = 0
        y = rng.binomial(n, 0.3)
        used, seen = np.zeros(6), np.zeros(6)
        for c in range(9):
            for j in range(6):
                if n[c, j]:
                    weight = n[c, j] / (1 + 0.1 * (n[c, j] - 1))
                    used[j] += weight * y[c, j] / n[c, j]
                    seen[j] += weight
        overall = used.sum() / seen.sum()
        want = (used + 2 * overall) / (seen + 2)
        found = junction_usage(entries_of(y, n))
        np.testing.assert_allclose(found, want, rtol=1e-5)
        assert found[3] == pytest.approx(overall, rel=1e-5)
        want = (used + 10 * overall) / (seen + 10)
        np.testing.assert_allclose(junction_usage(entries_of(y, n), 10.0), want, rtol=1e-5)

    def test_stays_inside(self):
        n = np.full((500, 2), 50)
        found = junction_usage(entries_of(np.stack([n[:, 0], 0 * n[:, 0]], 1), n), 0.0)
        assert 0 < found[1] < 1e-3
        assert 1 - 1e-3 < found[0] < 1


class TestWaypoints:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("n_groups", [2, 3, 6])
    def test_planted_groups_are_found(self, n_groups, seed):
        y, n, group, psi = grouped(n_groups, seed=seed)
        start = waypoints(entries_of(y, n), n_groups, seed)
        assert start.phi.shape == (len(group), n_groups)
        assert start.psi.shape == (80, n_groups)
        assert adjusted_rand_score(group, start.phi.argmax(1)) > 0.98
        match = lfa.tl.match_programs(psi.T, start.psi.numpy())
        assert match["correlation"].min() > 0.95
        np.testing.assert_allclose(start.phi.sum(1), 1, atol=1e-5)
        assert ((start.psi > 0) & (start.psi < 1)).all()

    def test_programs_are_the_pooled_reads_of_their_cells(self):
        y, n, group, _ = grouped()
        entries = entries_of(y, n)
        start = waypoints(entries, 3, 0)
        label = start.phi.argmax(1).numpy()
        mean = junction_usage(entries).numpy()
        for k in range(3):
            of = label == k
            weight = np.where(n > 0, n / (1 + 0.1 * (n - 1)), 0)[of]
            share = (y / np.maximum(n, 1))[of]
            want = ((weight * share).sum(0) + 2 * mean) / (weight.sum(0) + 2)
            np.testing.assert_allclose(start.psi[:, k], want, rtol=1e-4)

    def test_outlying_cells_do_not_take_a_program_each(self):
        """Cells of great depth and odd splicing: their scores are far out, their number small."""
        y, n, group, _ = grouped(3)
        rng = np.random.default_rng(1)
        odd = rng.permutation(len(group))[:3]
        n[odd] = 3000
        y[odd] = rng.binomial(3000, rng.random((3, 80)).round() * 0.98 + 0.01)
        start = waypoints(entries_of(y, n), 3, 0)
        rest = np.setdiff1d(np.arange(len(group)), odd)
        assert adjusted_rand_score(group[rest], start.phi.argmax(1)[rest]) > 0.9

    def test_more_programs_than_distinct_cells(self):
        y, n = np.array([[5, 0], [5, 0], [0, 5], [0, 5]]), np.full((4, 2), 5)
        start = waypoints(entries_of(y, n), 4, 0)
        assert start.phi.shape == (4, 4)
        assert start.psi.shape == (2, 4)
        label = start.phi.argmax(1)
        assert label[0] == label[1] != label[2] == label[3]
        free = np.setdiff1d(np.arange(4), label)
        mean = junction_usage(entries_of(y, n))
        for k in free:
            np.testing.assert_allclose(start.psi[:, k], mean, rtol=1e-5)
        assert torch.isfinite(start.psi).all()

    @pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2)])
    @pytest.mark.parametrize("n_programs", [1, 2])
    def test_smallest_data(self, shape, n_programs):
        n = np.full(shape, 4)
        y = np.random.default_rng(0).binomial(n, 0.4)
        start = waypoints(entries_of(y, n), n_programs, 0)
        assert torch.isfinite(start.phi).all()
        assert torch.isfinite(start.psi).all()
        np.testing.assert_allclose(start.phi.sum(1), 1, atol=1e-5)

    def test_cells_all_alike(self):
        n = np.full((6, 3), 4)
        start = waypoints(entries_of(n // 2, n), 3, 0)
        np.testing.assert_allclose(start.phi.sum(1), 1, atol=1e-5)
        assert torch.isfinite(start.psi).all()

    def test_empty_cells_belong_to_all_programs_alike(self):
        y, n, group, _ = grouped()
        y[[0, 50]] = n[[0, 50]] = 0
        start = waypoints(entries_of(y, n), 3, 0)
        np.testing.assert_allclose(start.phi[[0, 50]], 1 / 3, rtol=1e-6)
        rest = np.delete(np.arange(len(group)), [0, 50])
        assert adjusted_rand_score(group[rest], start.phi.argmax(1)[rest]) > 0.98

    def test_a_seed_repeats_and_leaves_global_states_alone(self):
        y, n, _, _ = grouped()
        entries = entries_of(y, n)
        state = torch.get_rng_state()
        legacy = np.random.get_state()[1].copy()  # noqa: NPY002
        first, again = waypoints(entries, 5, 3), waypoints(entries, 5, 3)
        assert torch.equal(first.phi, again.phi)
        assert torch.equal(first.psi, again.psi)
        assert torch.equal(torch.get_rng_state(), state)
        np.testing.assert_array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


class TestRandomStart:
    def test_flat_activities_and_programs_around_the_usage(self):
        y, n, _, _ = grouped(per_group=400)
        entries = entries_of(y, n)
        start = random_start(entries, 3, 0)
        np.testing.assert_allclose(start.phi.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(start.phi.mean(0), 1 / 3, atol=0.03)
        # Of a flat Dirichlet of three, P(phi_1 > 1/2) = (1 - 1/2)^2.
        assert (start.phi[:, 0] > 0.5).float().mean() == pytest.approx(0.25, abs=0.04)
        noise = torch.logit(start.psi) - torch.logit(junction_usage(entries))[:, None]
        assert noise.mean() == pytest.approx(0, abs=0.2)
        assert noise.std() == pytest.approx(1, abs=0.2)

    def test_seeds(self):
        y, n, _, _ = grouped()
        entries = entries_of(y, n)
        state = torch.get_rng_state()
        first, again, other = (random_start(entries, 3, seed) for seed in (0, 0, 1))
        assert torch.equal(first.phi, again.phi)
        assert torch.equal(first.psi, again.psi)
        assert not torch.equal(first.phi, other.phi)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("residuals", ["centred", "pearson"])
def test_blocks_and_narrow_counts_change_nothing(monkeypatch, residuals):
    y, n, _, _ = grouped()
    n[5] = y[5] = 0
    entries = entries_of(y, n)
    whole = junction_usage(entries), *waypoints(entries, 3, 0, residuals)
    blocks = ObservedEntries.blocks
    monkeypatch.setattr(ObservedEntries, "blocks", lambda self: blocks(self, 50))
    narrow = entries.narrowed()
    assert narrow.count.dtype == torch.uint8
    parts = junction_usage(narrow), *waypoints(narrow, 3, 0, residuals)
    for found, wanted in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
