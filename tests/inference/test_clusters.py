"""Soft clusters: what they find from bad starts, and which of them are dropped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.entries import entries_of, grouped
from sklearn.metrics import adjusted_rand_score

from leafletfa_scvi.inference import junction_mean_psi, program_prior
from leafletfa_scvi.inference._clusters import SoftClusters, _losses
from leafletfa_scvi.inference._initialization import weighted_reads


def clusters_of(y, n, membership, atse=None):
    entries = entries_of(y, n)
    atse = torch.arange(entries.n_junctions) if atse is None else atse
    prior = program_prior("mixture", junction_mean_psi(entries), atse)
    return SoftClusters(weighted_reads(entries, atse), prior, membership)


def copies(group, n_copies):
    """Memberships in which each group has several similar clusters."""
    member = np.zeros((len(group), n_copies * (group.max() + 1)))
    for copy in range(n_copies):
        member[np.arange(len(group)), n_copies * group + copy] = 1 / n_copies
    return member


class TestRun:
    @pytest.mark.parametrize("seed", range(4))
    def test_planted_groups_from_a_poor_initialization(self, seed):
        """A third of the labels are right, the others random."""
        y, n, group, psi = grouped(4, 40, seed=seed)
        rng = np.random.default_rng(seed)
        label = np.where(rng.random(160) < 0.33, group, rng.integers(0, 4, 160))
        clusters = clusters_of(y, n, np.eye(4)[label]).run(30)
        assert adjusted_rand_score(group, clusters.membership.argmax(1)) > 0.98
        assert np.abs(clusters.programs - psi.T).mean() < 0.05
        np.testing.assert_allclose(clusters.membership.sum(1), 1, atol=1e-5)

    def test_the_likelihood_rises(self):
        y, n, _, _ = grouped(4, 40)
        member = np.random.default_rng(0).dirichlet(np.ones(4), 160)
        clusters, values = clusters_of(y, n, member), []
        for _ in range(15):
            values.append(clusters.run(1).log_likelihood)
        assert values[-1] > values[1] + 100
        assert values[-1] == pytest.approx(max(values), abs=5)  # the prior has its share

    def test_programs_log_joint_and_memberships_by_hand(self):
        y, n, _, _ = grouped(2, 6, 4)
        atse = torch.tensor([0, 0, 0, 1])
        member = np.random.default_rng(0).dirichlet(np.ones(2), 12)
        clusters = clusters_of(y, n, member, atse).run(1)
        weight = np.where(n > 0, n / (1 + 0.1 * (n - 1)), 0)
        count, total = weight * y / np.maximum(n, 1), weight
        up, whole = count.T @ member, total.T @ member
        prior = program_prior("mixture", junction_mean_psi(entries_of(y, n)), atse)
        up, whole = (torch.from_numpy(x).float() for x in (up, whole))
        psi = prior.refit(up, whole - up).evened(0.5).programs(up, whole - up)
        np.testing.assert_allclose(clusters.programs, psi, rtol=1e-4)
        psi, counted = psi.double().numpy(), np.array([2 / 3, 2 / 3, 2 / 3, 1.0])
        value = count @ (counted[:, None] * np.log(psi))
        value += (total - count) @ (counted[:, None] * np.log1p(-psi))
        value += np.log(0.5 * member.mean(0) + 0.5 / 2)
        np.testing.assert_allclose(
            clusters.log_likelihood, np.log(np.exp(value).sum(1)).sum(), rtol=1e-5
        )
        odds = np.exp(value - value.max(1, keepdims=True))
        want = odds / odds.sum(1, keepdims=True)
        np.testing.assert_allclose(clusters.membership, want, rtol=1e-3, atol=1e-6)

    def test_cells_without_reads_get_the_shares(self):
        y, n, group, _ = grouped(2, 20)
        y[:3] = n[:3] = 0
        label = np.where(np.arange(40) < 12, 0, group)
        clusters = clusters_of(y, n, np.eye(2)[label])
        share = clusters.membership.mean(0)
        clusters.run(1)
        want = np.tile(0.5 * share + 0.25, (3, 1))
        np.testing.assert_allclose(clusters.membership[:3], want, atol=1e-3)

    def test_few_reads_leave_no_cluster_empty(self):
        """Clusters of equal size, whose cells have five reads each."""
        y, n, group, _ = grouped(4, 60, 12)
        rng = np.random.default_rng(1)
        kept = rng.random(n.shape) < 0.15
        clusters = clusters_of(y * kept, n * kept, 0.4 * np.eye(4)[group] + 0.15)
        clusters.run(80)
        assert clusters.membership.mean(0).min() > 0.15


class TestMerge:
    @pytest.mark.parametrize("n_copies", [2, 3, 5])
    @pytest.mark.parametrize("first", [True, False])
    def test_one_of_several_copies_stays_even_if_of_few_cells(self, n_copies, first):
        """Losses of all copies of a rare program are smaller than those of a common one."""
        sizes = [5, 5, 5, 60, 60, 60, 60] if first else [60, 60, 60, 60, 5, 5, 5]
        y, n, group, _ = grouped(7, 60, 60, seed=1)
        kept = np.concatenate([np.flatnonzero(group == k)[:s] for k, s in enumerate(sizes)])
        y, n, group = y[kept], n[kept], group[kept]
        clusters = clusters_of(y, n, copies(group, n_copies)).run(3).merge_to(7, 3).run(5)
        assert clusters.membership.shape[1] == clusters.programs.shape[1] == 7
        assert adjusted_rand_score(group, clusters.membership.argmax(1)) > 0.99

    def test_the_most_similar_are_dropped(self):
        """Two of five programs that differ little are merged if reduced to four."""
        rng = np.random.default_rng(0)
        psi = 0.05 + 0.9 * rng.random((5, 80)).round()
        psi[4] = psi[2]
        psi[4, :4] = 1 - psi[2, :4]
        group = np.repeat(np.arange(5), 30)
        n = rng.poisson(8, (150, 80)) * (rng.random((150, 80)) < 0.5)
        clusters = clusters_of(rng.binomial(n, psi[group]), n, np.eye(5)[group])
        label = clusters.run(10).merge_to(4, 3).membership.argmax(1)
        assert adjusted_rand_score(np.where(group == 4, 2, group), label) > 0.98

    def test_nothing_to_do(self):
        y, n, group, _ = grouped(3)
        clusters = clusters_of(y, n, np.eye(3)[group]).run(2)
        before = clusters.membership.copy()
        np.testing.assert_array_equal(clusters.merge_to(3, 3).membership, before)

    def test_down_to_one(self):
        y, n, group, _ = grouped(3)
        clusters = clusters_of(y, n, np.eye(3)[group]).run(2).merge_to(1, 2)
        np.testing.assert_allclose(clusters.membership, 1)


class TestLosses:
    @pytest.mark.parametrize("scale", [0.5, 5.0, 200.0, 5000.0])
    def test_by_brute_force(self, scale):
        """At the largest scale, one cluster has all but 1e-1000 of the probability of a cell."""
        log_joint = np.random.default_rng(0).normal(0, scale, (50, 6)) - 1000

        def value(columns):
            return np.logaddexp.reduce(log_joint[:, columns], axis=1).sum()

        every = np.arange(6)
        want = [value(every) - value(np.delete(every, k)) for k in every]
        np.testing.assert_allclose(_losses(log_joint), want, rtol=1e-8, atol=1e-8)

    def test_a_copy_is_cheap(self):
        log_joint = np.random.default_rng(0).normal(0, 300, (40, 3))
        loss = _losses(np.c_[log_joint, log_joint[:, 1]])
        of = (log_joint.argmax(1) == 1).sum()
        np.testing.assert_allclose(loss[[1, 3]], of * np.log(2), rtol=1e-4)
        assert loss[[0, 2]].min() > 100
