"""Leaving reads out without a further fit, against further fits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import betaln, softmax

import leafletfa_scvi as lfa
from leafletfa_scvi.data import observed_entries
from leafletfa_scvi.inference import leave_out, left_out_calibration

KAPPA, DELTA = 20.0, 1.5


def simulated(**options):
    return lfa.datasets.simulate_splicing(
        25, 40, 3, coverage=0.4, junctions_per_atse=(2, 4), seed=2, **options
    )


@pytest.fixture(scope="module")
def cells():
    """25 cells of three known programs, and the ATSE of each junction."""
    adata = simulated(frac_differential=0.6)
    return adata, adata.var["atse_id"].astype("category").cat.codes.to_numpy().astype(np.int64)


def read(adata):
    return observed_entries(adata, "cell_by_junction_matrix", "cell_by_cluster_matrix")


def fitted_activities(y, n, psi, weight, alpha):
    """MAP of a cell's activities in softmax coordinates, by a general optimizer."""

    def loss(x):
        phi = softmax(np.append(x, 0.0))
        p = np.clip(psi @ phi, 1e-6, 1 - 1e-6)
        a, b = KAPPA * p, KAPPA * (1 - p)
        value = betaln(y + a, n - y + b) - betaln(a, b)
        return -(weight * value).sum() - (alpha * np.log(phi)).sum()

    x = minimize(loss, np.zeros(psi.shape[1] - 1), method="BFGS").x
    return softmax(np.append(x, 0.0))


def slope_by_refits(adata, codes, psi, alpha):
    """Activities and calibration, each (cell, ATSE) pair predicted by a fit without it."""
    y, n = (adata.layers[f"cell_by_{x}_matrix"].toarray() for x in ("junction", "cluster"))
    n_junctions = np.bincount(codes)[codes]
    weight = (n_junctions - 1) / n_junctions
    size = np.where(n > 0, n * (KAPPA + 1) / (KAPPA + n), 0.0)
    mean = np.clip(psi @ (alpha / alpha.sum()), 1e-6, 1 - 1e-6)
    activities, cross, square = [], 0.0, 0.0
    for c in range(len(y)):
        seen = n[c] > 0
        activities.append(
            fitted_activities(y[c, seen], n[c, seen], psi[seen], weight[seen], alpha)
        )
        for atse in np.unique(codes[seen]):
            own, rest = codes == atse, seen & (codes != atse)
            phi = fitted_activities(y[c, rest], n[c, rest], psi[rest], weight[rest], alpha)
            share, m = y[c, own] / n[c, own], mean[own]
            w = weight[own] * size[c, own] / np.sqrt(m * (1 - m))
            predicted = psi[own] @ phi - m
            cross += (w * predicted * (share - m)).sum()
            square += (w * predicted**2).sum()
    return np.array(activities), cross / square


@pytest.mark.parametrize("programs", ["true", "noise"])
def test_calibration_is_that_of_fits_without_the_reads(cells, programs):
    adata, codes = cells  # the same ATSEs as without differences
    if programs == "noise":
        adata = simulated(frac_differential=0)
    psi = adata.varm["psi_true"]
    if programs == "noise":
        apart = np.random.default_rng(0).uniform(-0.5, 0.5, psi.shape)
        apart -= apart.mean(1, keepdims=True)
        psi = psi + np.minimum(psi, 1 - psi) * apart
    alpha = np.full(3, DELTA / 3)
    phi, expected = slope_by_refits(adata, codes, psi, alpha)
    found = left_out_calibration(
        read(adata),
        phi,
        psi,
        np.zeros_like(psi),
        np.full(len(psi), KAPPA),
        alpha,
        codes,
        np.zeros(len(phi), bool),
    )
    if programs == "true":
        assert found.slope == pytest.approx(expected, abs=0.1)
        assert expected > 0.8
        assert 0 < found.se < 0.2
    else:
        assert max(found.slope, expected) < 0.4


def test_reads_are_taken_out_of_the_programs(cells):
    """A program of one cell predicts its reads only if they are left in."""
    adata, codes = cells
    y, n = (adata.layers[f"cell_by_{x}_matrix"].toarray() for x in ("junction", "cluster"))
    pooled = (y.sum(0) + 1) / (n.sum(0) + 2)
    own = (y[0] + KAPPA * pooled) / (n[0] + KAPPA)  # follows the first cell
    psi = np.column_stack([own, pooled])
    variance = psi * (1 - psi) / (np.column_stack([n[0] + KAPPA, n.sum(0) + KAPPA]) + 1)
    phi = np.tile([0.02, 0.98], (25, 1))
    phi[0] = 0.98, 0.02
    arguments = (phi, psi, variance, np.full(len(psi), 1e6), np.array([0.1, 0.9]), codes)
    entries = read(adata)
    kept = left_out_calibration(entries, *arguments, np.zeros(25, bool))
    left_out = left_out_calibration(entries, *arguments, np.ones(25, bool))
    assert left_out.slope < kept.slope


@pytest.mark.parametrize(("y", "n"), [(0, 1), (3, 4), (12, 12), (10, 30)])
def test_leaving_out_a_read_of_a_beta_posterior_gives_its_prior(y, n):
    a, size = 2.1, 7.0
    p, leverage = (y + a) / (n + size), n / (n + size)
    found, h = leave_out(np.array([y / n]), np.array([p]), np.array([leverage]))
    assert h <= leverage
    assert found == pytest.approx(a / size)


def test_without_labels_and_without_differences(cells):
    adata, _ = cells
    psi, alpha = adata.varm["psi_true"], np.full(3, 0.5)
    phi, kappa = adata.obsm["phi_true"], np.full(len(psi), np.inf)
    trained = np.ones(25, bool)
    variance = np.full_like(psi, 1e-4)
    found = left_out_calibration(read(adata), phi, psi, variance, kappa, alpha, None, trained)
    assert 0.3 < found.slope < 1.3
    no_cells = read(adata[:0].copy())
    found = left_out_calibration(
        no_cells, phi[:0], psi, variance, kappa, alpha, None, np.zeros(0, bool)
    )
    assert np.isnan(found.slope)
    assert np.isnan(found.se)
