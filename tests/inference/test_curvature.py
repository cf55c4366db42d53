"""Information about activities and programs, and the widths made of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi.inference import (
    beta_from_curvature,
    dirichlet_from_curvature,
    information,
)
from leafletfa_scvi.ops import ObservedEntries
from leafletfa_scvi.ops._reference import LEAK


@pytest.fixture(scope="module")
def problem():
    adata = lfa.datasets.simulate_splicing(25, 12, 3, coverage=0.5, seed=0)
    rng = np.random.default_rng(0)
    phi = rng.dirichlet(np.ones(3), 25)
    psi = rng.random((adata.n_vars, 3))
    n = adata.layers["cell_by_cluster_matrix"].toarray()
    return lfa.data.observed_entries(adata), phi, psi, n


@pytest.mark.parametrize("kappa", [None, 0.7, 12.0])
def test_information_is_the_dense_sum(problem, kappa):
    entries, phi, psi, n = problem
    activity, program = np.zeros_like(phi), np.zeros_like(psi)
    for c, j in np.argwhere(n > 0):
        p = LEAK + (1 - 2 * LEAK) * phi[c] @ psi[j]
        w = n[c, j] / (p * (1 - p))
        if kappa is not None:
            w *= (kappa + 1) / (kappa + n[c, j])
        activity[c] += w * (psi[j] - p) ** 2
        program[j] += w * phi[c] ** 2
    found = information(
        entries, torch.from_numpy(phi).float(), torch.from_numpy(psi).float(), kappa
    )
    np.testing.assert_allclose(found.activity, activity, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.program, program, rtol=1e-4)


def test_blocks_of_cells_add_up(problem, monkeypatch):
    entries, phi, psi, _ = problem
    phi, psi = torch.from_numpy(phi).float(), torch.from_numpy(psi).float()
    whole = information(entries, phi, psi, 5.0)
    original = ObservedEntries.blocks
    monkeypatch.setattr(ObservedEntries, "blocks", lambda self, _: original(self, 40))
    parts = information(entries, phi, psi, 5.0)
    assert len(list(entries.blocks(0))) > 3
    np.testing.assert_allclose(parts.activity, whole.activity, rtol=1e-5)
    np.testing.assert_allclose(parts.program, whole.program, rtol=1e-5)


def test_the_binomial_information_of_one_program_gives_the_variance_of_a_mean():
    """K = 1, phi = 1: psi is a binomial share, whose posterior is known."""
    rng = np.random.default_rng(0)
    n = rng.integers(1, 9, (40, 1))
    y = rng.binomial(n, 0.3)
    entries = ObservedEntries(
        torch.arange(41),
        torch.zeros(40, dtype=torch.int32),
        torch.from_numpy(y[:, 0]).float(),
        torch.from_numpy(n[:, 0]).float(),
        1,
    )
    psi = torch.tensor([[float(y.sum() / n.sum())]])
    info = information(entries, torch.ones(40, 1), psi, None).program
    a, b = beta_from_curvature(psi, info, torch.zeros(1, 1))
    posterior = torch.distributions.Beta(a, b)
    variance = psi * (1 - psi) / n.sum()
    assert float(posterior.variance) == pytest.approx(float(variance), rel=0.02)
    assert float(posterior.mean) == pytest.approx(float(psi), abs=0.002)


def test_dirichlet_precision_by_hand_and_its_bounds():
    phi = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.4, 0.3, 0.3]])
    info = torch.tensor([[40.0, 20.0, 60.0], [1e9] * 3, [0.0] * 3])
    alpha = torch.tensor([0.5, 0.3, 0.2])
    found = dirichlet_from_curvature(phi, info, alpha)
    spread = 0.7 * 0.3 + 0.2 * 0.8 + 0.1 * 0.9
    precision = (0.49 * 40 + 0.04 * 20 + 0.01 * 60) / spread + 1
    np.testing.assert_allclose(found[0], alpha + precision * phi[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], alpha + 300 * phi[1], rtol=1e-5)
    np.testing.assert_allclose(found[2], alpha + 3 * phi[2], rtol=1e-5)


def test_beta_precision_by_hand_and_its_bounds():
    psi = torch.tensor([[0.2], [0.5], [0.5]])
    info = torch.tensor([[100.0], [1e9], [0.0]])
    a, b = beta_from_curvature(psi, info, torch.tensor([[2.0], [2.0], [0.1]]))
    h = np.array([0.16 * 100 + 2, 400, 1])
    np.testing.assert_allclose(a[:, 0], 0.1 + h * [0.2, 0.5, 0.5], rtol=1e-5)
    np.testing.assert_allclose(b[:, 0], 0.1 + h * [0.8, 0.5, 0.5], rtol=1e-5)
