"""Simulated donors and groups: what the cells show approaches the truth that comes with them."""

from __future__ import annotations

import numpy as np
import pytest

from leafletfa_scvi.datasets import simulate_cohort

LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")


def difference_in_reads(adata):
    """PSI of group A minus group B, from the reads of all cells, each entry weighted alike."""
    group = (adata.obs["group"] == "A").to_numpy()
    y, n = (adata.layers[name].toarray() for name in LAYERS)
    with np.errstate(invalid="ignore", divide="ignore"):
        psi = y / n
    return np.nanmean(psi[group], 0) - np.nanmean(psi[~group], 0)


@pytest.mark.parametrize(
    "options",
    [
        {"shift": 0.25},
        {"shift": 0.6, "shift_of": "psi"},
        {"shift": 0.25, "gene_spread": 1.5},
        {"shift": 0.25, "paired": True, "n_donors": (40,), "donor_concentration": 2.0},
    ],
    ids=["activities", "psi", "correlated", "paired"],
)
def test_reads_show_the_true_difference(options):
    options = {"n_donors": (40, 40), "donor_concentration": 50.0, **options}
    adata = simulate_cohort(n_cells=4000, n_atses=60, coverage=0.9, seed=1, **options)
    truth = adata.varm["psi_group_true"]
    assert np.allclose(
        np.add.reduceat(truth["A"].to_numpy(), np.flatnonzero(~adata.var["atse_id"].duplicated())),
        1,
    )
    true = (truth["A"] - truth["B"]).to_numpy()
    found = difference_in_reads(adata)
    assert (np.abs(true) > 0.05).sum() > 10
    slope = (found * true).sum() / (true**2).sum()
    assert slope == pytest.approx(1, abs=0.12)
    assert np.abs(found - true).mean() < 0.012


def test_populations_are_equal_without_a_shift_and_donors_differ():
    adata = simulate_cohort(
        (6, 6), n_cells=1200, n_atses=20, donor_concentration=2.0, gene_spread=1
    )
    truth = adata.varm["psi_group_true"]
    np.testing.assert_array_equal(truth["A"], truth["B"])
    donor = adata.obs["donor"]
    mean = np.stack([adata.obsm["phi_true"][donor == d].mean(0) for d in donor.unique()])
    alike = simulate_cohort((6, 6), n_cells=1200, n_atses=20, donor_concentration=np.inf)
    donor = alike.obs["donor"]
    same = np.stack([alike.obsm["phi_true"][donor == d].mean(0) for d in donor.unique()])
    assert mean.std(0).mean() > 2 * same.std(0).mean()


def test_paired_donors_have_both_groups_and_unequal_ones_differ_in_cells():
    paired = simulate_cohort((3,), n_cells=120, n_atses=10, paired=True)
    assert (paired.obs.groupby("donor", observed=True)["group"].nunique() == 2).all()
    unequal = simulate_cohort((5, 5), n_cells=500, n_atses=10, unequal=True)
    sizes = unequal.obs["donor"].value_counts()
    assert sizes.sum() == 500
    assert len(sizes) == 10
    assert sizes.max() > 2 * sizes.min()
    assert unequal.obs.groupby("donor", observed=True)["group"].nunique().max() == 1


def test_bad_arguments():
    with pytest.raises(ValueError, match="shift_of"):
        simulate_cohort(shift_of="nothing")
    with pytest.raises(ValueError, match="donor_concentration"):
        simulate_cohort(donor_concentration=0)
