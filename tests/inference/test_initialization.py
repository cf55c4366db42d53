"""Starts: groups of cells, sparse data, outliers, small data, random starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.entries import atse_codes, entries_of, grouped
from sklearn.metrics import adjusted_rand_score

import leafletfa_scvi as lfa
from leafletfa_scvi.inference import (
    _dispersion,
    _initialization,
    junction_mean_psi,
    random_initialization,
    waypoint_path,
    waypoints,
)
from leafletfa_scvi.ops import ObservedEntries


def is_sound(found, n_cells, n_junctions, n_programs):
    """Shapes, finite numbers, rows that sum to one, programs inside (0, 1)."""
    phi, psi = found.start
    assert phi.dtype == psi.dtype == torch.float32
    assert phi.shape == (n_cells, n_programs)
    assert psi.shape == (n_junctions, n_programs)
    np.testing.assert_allclose(phi.sum(1), 1, atol=1e-5)
    assert (phi > 0).all()
    assert ((psi > 0) & (psi < 1)).all()
    assert found.positions.shape == (n_programs, found.scores.shape[1])
    assert len(found.scores) == len(found.cells)
    assert np.isfinite(found.scores).all()
    assert np.isfinite(found.positions).all()
    assert np.isfinite(found.log_likelihood)


class TestWaypoints:
    @pytest.mark.parametrize("seed", range(2))
    @pytest.mark.parametrize("n_groups", [2, 3, 6])
    def test_planted_groups_are_found(self, n_groups, seed):
        y, n, group, psi = grouped(n_groups, seed=seed)
        found = waypoints(entries_of(y, n), n_groups, seed)
        is_sound(found, len(group), 80, n_groups)
        assert adjusted_rand_score(group, found.start.phi.argmax(1)) > 0.98
        match = lfa.tl.match_programs(psi.T, found.start.psi.numpy())
        assert match["correlation"].min() > 0.95
        np.testing.assert_array_equal(found.cells, np.arange(len(group)))

    def test_several_numbers_from_the_same_groups(self):
        y, n, group, psi = grouped(4, seed=1)
        entries = entries_of(y, n)
        path = waypoint_path(entries, [2, 6, 4], 0)
        assert set(path) == {2, 4, 6}
        for k, found in path.items():
            is_sound(found, len(group), 80, k)
        assert adjusted_rand_score(group, path[4].start.phi.argmax(1)) > 0.98
        match = lfa.tl.match_programs(psi.T, path[4].start.psi.numpy())
        assert match["correlation"].min() > 0.95
        # Two groups are each made of whole planted ones.
        merged = path[2].start.phi.argmax(1).numpy()
        assert all(len(np.unique(merged[group == g])) == 1 for g in range(4))
        alone = waypoint_path(entries, [4], 0)[4]
        assert torch.equal(alone.start.psi, waypoints(entries, 4, 0).start.psi)

    def test_positions_are_the_centers_of_the_groups(self):
        y, n, _, _ = grouped()
        found = waypoints(entries_of(y, n), 3, 0)
        label = found.start.phi.argmax(1).numpy()
        center = np.stack([found.scores[label == k].mean(0) for k in range(3)])
        np.testing.assert_allclose(found.positions, center, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("seed", [0, 3])
    def test_sparse_data_with_programs_mixed_in_cells(self, seed):
        """7 % of pairs observed, and programs of 8 % prevalence."""
        adata = lfa.datasets.simulate_splicing(800, 300, 6, coverage=0.07, seed=seed)
        entries = lfa.data.observed_entries(adata)
        found = waypoints(entries, 6, seed, atse_codes(adata))
        match = lfa.tl.match_programs(adata.obsm["phi_true"], found.start.phi.numpy())
        assert match["correlation"].min() > 0.4
        assert match["correlation"].mean() > 0.65
        # Without labels, junctions of an ATSE count as if each had reads of its own.
        without = waypoints(entries, 6, seed)
        match = lfa.tl.match_programs(adata.obsm["phi_true"], without.start.phi.numpy())
        assert match["correlation"].mean() > 0.6
        assert without.log_likelihood < found.log_likelihood

    def test_labels_may_be_an_array(self):
        y, n, _, _ = grouped()
        atse, entries = np.arange(80) // 2, entries_of(y, n)
        found, again = (waypoints(entries, 3, 0, x) for x in (atse, torch.from_numpy(atse)))
        assert torch.equal(found.start.psi, again.start.psi)

    def test_the_best_of_the_groupings_is_kept(self, monkeypatch):
        y, n, _, _ = grouped()
        entries, original = entries_of(y, n), _initialization._groupings
        given = list(original(entries, junction_mean_psi(entries), 2, 0))
        assert len(given) == 6
        values = []
        for one in given:
            monkeypatch.setattr(_initialization, "_groupings", lambda *_, one=one: [one])
            values.append(waypoints(entries, 2, 0).log_likelihood)
        monkeypatch.setattr(_initialization, "_groupings", original)
        assert waypoints(entries, 2, 0).log_likelihood == max(values)

    def test_large_data_are_grouped_once_for_each_kind_of_residuals(self, monkeypatch):
        y, n, _, _ = grouped()
        entries = entries_of(y, n)
        monkeypatch.setattr(_initialization, "_TRIED_ENTRIES", entries.n_entries - 1)
        assert (
            len(list(_initialization._groupings(entries, junction_mean_psi(entries), 2, 0))) == 2
        )

    def test_components_explain_the_shares_of_a_full_decomposition(self):
        y, n, _, _ = grouped()
        entries = entries_of(y, n)
        mean = junction_mean_psi(entries)
        found = waypoints(entries, 2, 0)
        kinds = [
            _initialization._residuals(entries, mean, k).toarray() for k in ("pearson", "centered")
        ]
        shares = [np.linalg.svd(x, compute_uv=False) ** 2 / np.square(x).sum() for x in kinds]
        assert any(np.allclose(found.explained, x[:3], rtol=1e-3) for x in shares)
        assert 0 < found.explained.sum() < 1

    def test_outlying_cells_do_not_take_a_program_each(self):
        """Cells of great depth and odd splicing: their scores are far out, their number small."""
        y, n, group, _ = grouped(3)
        rng = np.random.default_rng(1)
        odd = rng.permutation(len(group))[:2]
        n[odd] = 3000
        y[odd] = rng.binomial(3000, psi := rng.random((2, 80)).round() * 0.98 + 0.01)
        assert psi.shape == (2, 80)
        found = waypoints(entries_of(y, n), 3, 0)
        rest = np.setdiff1d(np.arange(len(group)), odd)
        assert adjusted_rand_score(group[rest], found.start.phi.argmax(1)[rest]) > 0.9

    @pytest.mark.parametrize("at", [0, 3], ids=["pearson", "centered"])
    @pytest.mark.parametrize("seed", range(3))
    def test_nor_a_group_each_before_that(self, at, seed):
        """By distances between scores, three odd cells have a group each, of six in all."""
        y, n, group, _ = grouped(3, seed=seed)
        rng = np.random.default_rng(seed)
        odd = rng.permutation(len(group))[:3]
        n[odd] = 3000
        y[odd] = rng.binomial(3000, rng.random((3, 80)).round() * 0.98 + 0.01)
        entries = entries_of(y, n)
        given = list(_initialization._groupings(entries, junction_mean_psi(entries), 2, 0))
        found, scores, _ = given[at]
        rest = np.setdiff1d(np.arange(len(group)), odd)
        assert (
            np.linalg.norm(scores[odd], axis=1).min() > np.linalg.norm(scores[rest], axis=1).max()
        )
        assert len(set(found)) == 6
        assert len(set(found[rest])) > 3
        assert adjusted_rand_score(group[rest], found[rest]) > 0.7

    def test_a_tiny_group_has_a_program(self):
        y, n, group, _ = grouped(5, 100, seed=1)
        kept = np.r_[np.flatnonzero(group < 4), np.flatnonzero(group == 4)[:6]]
        found = waypoints(entries_of(y[kept], n[kept]), 5, 0)
        assert adjusted_rand_score(group[kept], found.start.phi.argmax(1)) > 0.98

    def test_more_programs_than_groups(self):
        y, n, group, _ = grouped(3)
        found = waypoints(entries_of(y, n), 8, 0)
        is_sound(found, 90, 80, 8)
        label = found.start.phi.argmax(1).numpy()
        for k in np.unique(label):  # groups may be split but not mixed
            assert len(np.unique(group[label == k])) == 1

    def test_more_programs_than_distinct_cells(self):
        y, n = np.array([[5, 0], [5, 0], [0, 5], [0, 5]]), np.full((4, 2), 5)
        found = waypoints(entries_of(y, n), 4, 0)
        is_sound(found, 4, 2, 4)
        label = found.start.phi.argmax(1)
        assert label[0] == label[1] != label[2] == label[3]
        free = np.setdiff1d(np.arange(4), label)
        mean = junction_mean_psi(entries_of(y, n))
        for k in free:
            np.testing.assert_allclose(found.start.psi[:, k], mean, rtol=1e-5)
            np.testing.assert_array_equal(found.positions[k], 0)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2)])
    @pytest.mark.parametrize("n_programs", [1, 2])
    def test_smallest_data(self, shape, n_programs):
        n = np.full(shape, 4)
        y = np.random.default_rng(0).binomial(n, 0.4)
        is_sound(waypoints(entries_of(y, n), n_programs, 0), *shape, n_programs)

    def test_identical_cells(self):
        n = np.full((6, 3), 4)
        is_sound(waypoints(entries_of(n // 2, n), 3, 0), 6, 3, 3)

    @pytest.mark.parametrize("n_programs", [1, 4])
    def test_no_reads_at_all(self, n_programs):
        found = waypoints(entries_of(np.zeros((7, 5)), np.zeros((7, 5))), n_programs, 0)
        is_sound(found, 7, 5, n_programs)
        np.testing.assert_allclose(found.start.phi, 1 / n_programs)

    def test_empty_cells_have_the_shares_of_the_programs(self):
        y, n, group, _ = grouped()
        y[[0, 50]] = n[[0, 50]] = 0
        found = waypoints(entries_of(y, n), 3, 0)
        is_sound(found, 90, 80, 3)
        np.testing.assert_allclose(found.start.phi[[0, 50]], 1 / 3, atol=0.03)
        rest = np.delete(np.arange(len(group)), [0, 50])
        assert adjusted_rand_score(group[rest], found.start.phi.argmax(1)[rest]) > 0.98

    def test_unobserved_junctions_are_initialized_at_the_mean(self):
        y, n, _, _ = grouped()
        y[:, 4] = n[:, 4] = 0
        found = waypoints(entries_of(y, n), 3, 0)
        is_sound(found, 90, 80, 3)
        mean = junction_mean_psi(entries_of(y, n))[4]
        np.testing.assert_allclose(found.start.psi[4], mean.expand(3), rtol=1e-4)

    def test_a_seed_is_reproducible_and_global_states_are_unchanged(self):
        y, n, _, _ = grouped()
        entries = entries_of(y, n)
        state = torch.get_rng_state()
        legacy = np.random.get_state()[1].copy()  # noqa: NPY002
        first, again = waypoints(entries, 5, 3), waypoints(entries, 5, 3)
        assert torch.equal(first.start.phi, again.start.phi)
        assert torch.equal(first.start.psi, again.start.psi)
        np.testing.assert_array_equal(first.scores, again.scores)
        assert torch.equal(torch.get_rng_state(), state)
        np.testing.assert_array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


class TestLargeData:
    """Groups are found on some of the cells; all have activities."""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch):
        monkeypatch.setattr(_dispersion, "_MIN_CELLS", 10)

    def test_all_cells_have_activities(self, monkeypatch):
        y, n, group, psi = grouped(3, 100)
        order = np.random.default_rng(0).permutation(300)
        y, n, group = y[order], n[order], group[order]
        y[7] = n[7] = 0
        entries = entries_of(y, n)
        monkeypatch.setattr(_initialization, "_MAX_ENTRIES", entries.n_entries // 4)
        found = waypoints(entries, 3, 0)
        is_sound(found, 300, 80, 3)
        assert 60 < len(found.cells) < 80
        assert (np.diff(found.cells) > 0).all()
        rest = np.delete(np.arange(300), 7)
        assert adjusted_rand_score(group[rest], found.start.phi.argmax(1)[rest]) > 0.98
        assert lfa.tl.match_programs(psi.T, found.start.psi.numpy())["correlation"].min() > 0.95

    def test_activities_are_those_of_the_clusters(self, monkeypatch):
        """Cells that the groups were found on get what they would have without the others."""
        y, n, _, _ = grouped(3, 60, coverage=0.05)
        entries = entries_of(y, n)
        monkeypatch.setattr(_initialization, "_MAX_ENTRIES", entries.n_entries // 2)
        found = waypoints(entries, 3, 0)
        cells = torch.from_numpy(found.cells)
        monkeypatch.setattr(_initialization, "_MAX_ENTRIES", 1 << 23)
        mean = junction_mean_psi(entries)
        monkeypatch.setattr(_initialization, "junction_mean_psi", lambda _: mean)
        alone = waypoints(entries.select(cells), 3, 0)
        torch.testing.assert_close(alone.start.psi, found.start.psi)
        np.testing.assert_allclose(alone.start.phi, found.start.phi[cells], atol=0.02)

    def test_other_seeds_take_other_cells(self, monkeypatch):
        y, n, _, _ = grouped()
        entries = entries_of(y, n)
        monkeypatch.setattr(_initialization, "_MAX_ENTRIES", entries.n_entries // 2)
        first, again, other = (waypoints(entries, 3, seed).cells for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert set(first) != set(other)


class TestRandomInitialization:
    def test_flat_activities_and_programs_around_the_mean_psi(self):
        y, n, _, _ = grouped(per_group=400)
        entries = entries_of(y, n)
        start = random_initialization(entries, 3, 0)
        np.testing.assert_allclose(start.phi.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(start.phi.mean(0), 1 / 3, atol=0.03)
        # Of a flat Dirichlet of three, P(phi_1 > 1/2) = (1 - 1/2)^2.
        assert (start.phi[:, 0] > 0.5).float().mean() == pytest.approx(0.25, abs=0.04)
        noise = torch.logit(start.psi) - torch.logit(junction_mean_psi(entries))[:, None]
        assert noise.mean() == pytest.approx(0, abs=0.2)
        assert noise.std() == pytest.approx(1, abs=0.2)

    def test_seeds(self):
        y, n, _, _ = grouped()
        entries = entries_of(y, n)
        state = torch.get_rng_state()
        first, again, other = (random_initialization(entries, 3, seed) for seed in (0, 0, 1))
        assert torch.equal(first.phi, again.phi)
        assert torch.equal(first.psi, again.psi)
        assert not torch.equal(first.phi, other.phi)
        assert torch.equal(torch.get_rng_state(), state)


def test_blocks_and_narrow_counts_change_nothing(monkeypatch):
    y, n, _, _ = grouped()
    n[5] = y[5] = 0
    entries = entries_of(y, n)
    whole = waypoints(entries, 3, 0).start
    blocks = ObservedEntries.blocks
    monkeypatch.setattr(ObservedEntries, "blocks", lambda self, _=None: blocks(self, 50))
    narrow = entries.narrowed()
    assert narrow.count.dtype == torch.uint8
    for found, wanted in zip(waypoints(narrow, 3, 0).start, whole, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
