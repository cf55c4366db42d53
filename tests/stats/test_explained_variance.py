"""Sums of squares against loops over entries, orders of programs, and a known truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from leafletfa_scvi.stats import sums_of_squares


def draw(seed, n_cells=40, n_junctions=5, n_programs=3, mean=6.0, share=0.7):
    rng = np.random.default_rng(seed)
    phi = rng.dirichlet(np.full(n_programs, 0.5), n_cells)
    psi = rng.beta(0.6, 0.6, (n_junctions, n_programs))
    total = rng.poisson(mean, (n_cells, n_junctions)) * (
        rng.random((n_cells, n_junctions)) < share
    )
    rows, columns = np.nonzero(total)
    n = total[rows, columns]
    p = (phi[rows] * psi[columns]).sum(1)
    count = sp.csr_matrix((rng.binomial(n, p).astype(float), (rows, columns)), shape=total.shape)
    return count, n, p, phi, psi


def test_sums_and_shapley_values_equal_plain_loops():
    count, n, _, phi, psi = draw(0)
    rng = np.random.default_rng(1)
    phi = rng.dirichlet(np.ones(3), len(phi))  # a fit that is wrong
    rows = np.repeat(np.arange(len(phi)), np.diff(count.indptr))
    p = (phi[rows] * psi[count.indices]).sum(1)
    found = sums_of_squares(count, n, p, phi, psi)
    for j in range(5):
        own = count.indices == j
        y, reads, cell = count.data[own], n[own], rows[own]
        mean = y.sum() / reads.sum()

        def square(programs, y=y, reads=reads, cell=cell, mean=mean, j=j):
            expected = mean + phi[cell][:, programs] @ (psi[j, programs] - mean)
            return (reads * (y / reads - expected) ** 2).sum()

        assert found.total[j] == pytest.approx(square([]))
        assert found.residual[j] == pytest.approx(square([0, 1, 2]))
        shapley = np.zeros(3)
        for order in itertools.permutations(range(3)):
            for i, k in enumerate(order):
                shapley[k] += (square(list(order[:i])) - square(list(order[: i + 1]))) / 6
        np.testing.assert_allclose(found.parts[j], shapley, rtol=1e-9, atol=1e-9)
        assert found.parts[j].sum() == pytest.approx(found.total[j] - found.residual[j])
        several = reads >= 2
        psi_hat = y[several] / reads[several]
        noise = (reads[several] / (reads[several] - 1) * psi_hat * (1 - psi_hat)).sum()
        assert found.noise[j] == pytest.approx(noise)
        assert (found.reads[j], found.entries[j]) == (reads.sum(), own.sum())


@pytest.mark.parametrize("mean", [1.5, 20.0])
def test_the_truth_explains_all_but_the_noise_of_counting(mean):
    count, n, p, phi, psi = draw(2, n_cells=4000, n_junctions=20, mean=mean)
    found = sums_of_squares(count, n, p, phi, psi)
    gain = (found.total_repeated - found.residual_repeated).sum()
    rest = (found.total_repeated - found.noise).sum()
    assert gain / rest == pytest.approx(1.0, abs=0.03)
    assert 1 - found.residual.sum() / found.total.sum() < 0.9 + 0.1 * (mean > 10)
