"""Differential splicing with samples as replicates: planted truth, designs, tables, bad input."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import scvi
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi.stats import false_discovery_set

LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")


def fitted(**options):
    adata = lfa.datasets.simulate_cohort(**options)
    scvi.settings.seed = 0
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=3)
    model.train(enable_progress_bar=False)
    return model


OPTIONS = {"n_cells": 480, "n_atses": 150, "n_programs": 3, "coverage": 0.4, "seed": 1}


@pytest.fixture(scope="module")
def cohort():
    """Four donors in each of two groups."""
    return fitted(n_donors=(4, 4), shift=0.3, donor_concentration=10.0, **OPTIONS)


@pytest.fixture(scope="module")
def pairs():
    """Two types of cells of five donors that differ much."""
    return fitted(n_donors=(5,), paired=True, shift=0.3, donor_concentration=2.0, **OPTIONS)


@pytest.fixture
def adata(cohort):
    """The data of the cohort, whose obs the test may change."""
    return cohort.adata.copy()


def true_difference(model, index):
    truth = model.adata.varm["psi_group_true"]
    return (truth["A"] - truth["B"]).loc[index].to_numpy()


class TestPlantedTruth:
    def test_populations(self, cohort):
        found = cohort.differential_splicing(
            groupby="group", group1="A", group2="B", sample_key="donor", delta=0.05
        )
        truth = true_difference(cohort, found.index)
        called = found["is_ds_fdr_0.05"].to_numpy()
        assert called.sum() > 20
        assert (np.abs(truth[called]) > 0.05).mean() > 0.9
        assert called[np.abs(truth) > 0.05].mean() > 0.3
        covered = (found["effect_lower"] <= truth) & (truth <= found["effect_upper"])
        assert 0.84 < covered.mean() < 0.97
        assert covered[np.abs(truth) > 0.05].mean() > 0.8
        large = np.abs(truth) > 0.1
        slope = (found["effect_size"] * truth)[large].sum() / (truth[large] ** 2).sum()
        assert slope == pytest.approx(1, abs=0.15)

    def test_donors_that_differ_are_not_groups_that_differ(self):
        model = fitted(n_donors=(4, 4), donor_concentration=0.4, **{**OPTIONS, "seed": 3})
        arguments = {"groupby": "group", "group1": "A", "delta": 0.05}
        by_cell = model.differential_splicing(**arguments)
        by_donor = model.differential_splicing(**arguments, sample_key="donor")
        assert by_cell["is_ds_fdr_0.05"].sum() > 10
        assert by_donor["is_ds_fdr_0.05"].sum() == 0

    def test_cell_types_are_compared_within_donors(self, pairs):
        arguments = {"groupby": "group", "group1": "A", "delta": 0.05}
        found = pairs.differential_splicing(**arguments, sample_key="donor")
        assert found["n_paired"].max() == 5
        pairs.adata.obs["unit"] = pairs.adata.obs["donor"].astype(str) + pairs.adata.obs[
            "group"
        ].astype(str)
        unpaired = pairs.differential_splicing(**arguments, sample_key="unit")
        assert (unpaired["n_paired"] == 0).all()
        called, alone = found["is_ds_fdr_0.05"].sum(), unpaired["is_ds_fdr_0.05"].sum()
        assert called > 20
        assert called >= 1.3 * alone
        truth = true_difference(pairs, found.index)
        assert (np.abs(truth[found["is_ds_fdr_0.05"]]) > 0.05).mean() > 0.9

    def test_reads_update_the_expectation(self, cohort):
        """Effects of well covered junctions are those of the reads, of others in between."""
        found = cohort.differential_splicing(groupby="group", group1="A", sample_key="donor")
        well = found["n_obs_group1"].clip(upper=found["n_obs_group2"]) > 120
        slope = np.polyfit(found["emp_effect"][well], found["effect_size"][well], 1)[0]
        assert slope > 0.85
        assert well.sum() > 50

    @torch.no_grad()
    def test_sums_and_estimate_by_hand(self, cohort):
        """Value of a sample and its variance, from dense arrays."""
        from leafletfa_scvi.model._cells import cell_posterior, cell_variance
        from leafletfa_scvi.model._group_differences import _side
        from leafletfa_scvi.model._sample_sums import sample_sums

        adata = cohort.adata
        cells = cell_posterior(cohort, adata, None)
        programs = cohort._programs(cells)
        samples = pd.factorize(adata.obs["donor"])[0]
        groups = (adata.obs["group"] == "B").to_numpy().astype(int)
        samples[:3], groups[3:5] = -1, -1
        psi = torch.from_numpy(programs.mean.astype(np.float32))
        sums = sample_sums(cohort, cells, psi, programs.kappa, samples, groups)
        side = _side(sums, (1,), programs)

        y, n = (adata.layers[name].toarray().astype(float) for name in LAYERS)
        phi, kappa = cells.mean.numpy().astype(float), programs.kappa
        p = np.clip(phi @ programs.mean.T, 1e-6, 1 - 1e-6)
        weight = n * (kappa + 1) / (kappa + n)
        with np.errstate(invalid="ignore"):
            deviation = np.where(n > 0, y / n - p, 0.0)
        used = (samples >= 0) & (groups >= 0)
        squares = (weight * deviation**2 / (p * (1 - p)))[used].sum(0)
        dispersion = (squares + 10) / ((n[used] > 0).sum(0) + 10)
        in_group = used & (groups == 1)
        pooled = weight[in_group].sum(0)
        trust = pooled / (pooled + kappa)
        mean_psi = phi[in_group].mean(0) @ programs.mean.T
        variance = cell_variance(cohort, cells).numpy()
        within, uncertainty = 0, 0
        for s in np.unique(samples[in_group]):
            chosen = phi[in_group & (samples == s)]
            within = within + (chosen - chosen.mean(0)).T @ (chosen - chosen.mean(0))
        for c in np.flatnonzero(in_group):
            shape = np.diag(phi[c]) - np.outer(phi[c], phi[c])
            uncertainty = uncertainty + shape * variance[c].sum() / np.trace(shape)
        n_samples = len(np.unique(samples[in_group]))
        covariance = within / (in_group.sum() - n_samples) + uncertainty / in_group.sum()
        of_cells = np.einsum("jk,kl,jl->j", programs.mean, covariance, programs.mean)
        with np.errstate(invalid="ignore", divide="ignore"):
            n_observed = pooled**2 / (weight[in_group] ** 2).sum(0)
            observed = (weight[in_group].T @ phi[in_group]) / pooled[:, None]
            contrast = phi[in_group].mean(0) - observed
            of_programs = (contrast**2 * programs.variance).sum(1)
            of_chance = of_cells * (1 / n_observed - 1 / in_group.sum())
            known = of_chance / (of_chance + of_programs)
        for s in np.unique(samples[in_group]):
            chosen = in_group & (samples == s)
            total, n_cells = weight[chosen].sum(0), chosen.sum()
            with np.errstate(invalid="ignore", divide="ignore"):
                of_reads = (weight * np.where(n > 0, y / n, 0.0))[chosen].sum(0) / total
                expected_of_observed = (weight * p)[chosen].sum(0) / total
                expected = phi[chosen].mean(0) @ programs.mean.T
                by_reads = of_reads + known * (expected - expected_of_observed)
                want = trust * by_reads + (1 - trust) * expected
                noise = dispersion * mean_psi * (1 - mean_psi) / total
                with_reads = np.clip(total / pooled * n_observed, 1e-3, n_cells)
                noise += (1 - known) ** 2 * of_cells * (1 / with_reads - 1 / n_cells)
            has_reads = total > 0
            assert has_reads.sum() > 100
            np.testing.assert_allclose(side.values.value[s][has_reads], want[has_reads], atol=1e-4)
            np.testing.assert_allclose(
                side.values.variance[s][has_reads],
                (of_cells / n_cells + trust**2 * noise)[has_reads],
                rtol=2e-3,
            )
            assert np.isinf(side.values.variance[s][~has_reads]).all()
        absent = np.setdiff1d(np.arange(samples.max() + 1), samples[in_group])
        assert not side.values.present[absent].any()
        np.testing.assert_allclose(
            side.misfit,
            (1 - trust) ** 2 * mean_psi * (1 - mean_psi) / (kappa + 1)
            + (trust * known) ** 2 * of_programs,
            rtol=2e-3,
        )


class TestTable:
    def test_columns(self, cohort):
        found = cohort.differential_splicing(groupby="group", group1="A", sample_key="donor")
        assert (found["replicates"] == "samples").all()
        assert found["n_samples_group1"].max() == 4
        assert (found["effect_lower"] <= found["effect_size"]).all()
        assert (found["effect_size"] <= found["effect_upper"]).all()
        assert found["df"].gt(2).all()
        assert found["reads_disagree"].dtype == bool
        beyond = found["emp_effect"].sub(found["effect_size"]).abs() > 0.1
        assert found.loc[found["reads_disagree"], :].index.isin(found.index[beyond]).all()

    def test_ties_are_ordered_by_size(self, cohort):
        found = cohort.differential_splicing(groupby="group", group1="A", delta=0.0)
        size = found["effect_size"].abs().to_numpy()
        p = found["proba_ds"].to_numpy()
        assert (p == 1.0).sum() >= 3
        for value in np.unique(p[np.isfinite(p)]):
            assert (np.diff(size[p == value]) <= 0).all()

    def test_false_discoveries_are_bounded_over_all_comparisons(self, cohort, adata):
        adata.obs["half"] = np.where(np.arange(adata.n_obs) % 2, "x", "y")
        adata.obs["both"] = adata.obs["group"].astype(str) + adata.obs["half"].astype(str)
        found = cohort.differential_splicing(adata, "both", sample_key="donor", silent=True)
        assert found["comparison"].nunique() == 4
        want = false_discovery_set(found["proba_ds"].to_numpy(), 0.05)
        want &= found["effect_size"].abs().to_numpy() > 0.1
        np.testing.assert_array_equal(found["is_ds_fdr_0.05"], want)

    def test_all_pairs(self, cohort, adata):
        adata.obs["third"] = np.array(["x", "y", "z"])[np.arange(adata.n_obs) % 3]
        arguments = {"groupby": "third", "sample_key": "donor", "all_pairs": True, "silent": True}
        found = cohort.differential_splicing(adata, **arguments)
        assert list(found["comparison"].unique()) == ["x vs y", "x vs z", "y vs z"]
        some = cohort.differential_splicing(adata, **arguments, group1=["z", "x"])
        assert list(some["comparison"].unique()) == ["z vs x"]
        same = cohort.differential_splicing(
            adata, "third", "x", "z", sample_key="donor", fdr_target=0.05
        )
        back = some.loc[same.index]
        np.testing.assert_allclose(back["effect_size"], -same["effect_size"])
        np.testing.assert_allclose(back["effect_lower"], -same["effect_upper"])

    def test_atses(self, cohort):
        arguments = {"groupby": "group", "group1": "A", "sample_key": "donor", "delta": 0.05}
        junctions = cohort.differential_splicing(**arguments)
        atses = cohort.differential_splicing(**arguments, level="atse")
        assert atses.index.name == "atse_id"
        assert atses.index.is_unique
        assert set(atses.index) == set(cohort.adata.var["atse_id"].astype(str))
        assert atses["proba_ds"].is_monotonic_decreasing
        best = junctions.groupby("atse_id", observed=True)["proba_ds"].max()
        np.testing.assert_allclose(atses["proba_ds"], best.loc[atses.index])
        row = atses.iloc[0]
        assert row["junction"] in row["junctions"].split(",")
        assert len(row["junctions"].split(",")) == row["n_junctions"]
        assert row["effect_size"] == junctions.loc[row["junction"], "effect_size"]
        assert row["gene_name"] == cohort.adata.var.loc[row["junction"], "gene_name"]
        members = cohort.adata.var["atse_id"].astype(str).value_counts()
        np.testing.assert_array_equal(atses["n_junctions"], members.loc[atses.index])
        want = false_discovery_set(atses["proba_ds"].to_numpy(), 0.05)
        want &= atses["effect_size"].abs().to_numpy() > 0.05
        np.testing.assert_array_equal(atses["is_ds_fdr_0.05"], want)

    def test_vanilla(self, cohort):
        arguments = {"groupby": "group", "group1": "A", "group2": "B", "sample_key": "donor"}
        found = cohort.differential_splicing(**arguments, mode="vanilla")
        assert "proba_ds" not in found
        assert not [c for c in found if c.startswith("is_ds")]
        np.testing.assert_allclose(found["proba_m1"] + found["proba_m2"], 1)
        clear = found["proba_m1"] > 0.95
        assert (found.loc[clear, "effect_size"] > 0).all()
        np.testing.assert_allclose(
            found["bayes_factor"],
            np.log((found["proba_m1"] + 1e-8) / (found["proba_m2"] + 1e-8)),
            rtol=1e-6,
        )

    def test_subset_of_cells(self, cohort, adata):
        kept = (adata.obs["donor"] != "donor_1").to_numpy()
        found = cohort.differential_splicing(
            adata, "group", "A", sample_key="donor", subset_idx=kept
        )
        alone = cohort.differential_splicing(adata[kept].copy(), "group", "A", sample_key="donor")
        pd.testing.assert_frame_equal(found, alone)
        by_position = cohort.differential_splicing(
            adata, "group", "A", "rest", sample_key="donor", subset_idx=np.flatnonzero(kept)
        )
        pd.testing.assert_frame_equal(found, by_position)

    def test_groups_outside_the_subset_are_not_compared(self, cohort, adata):
        adata.obs["third"] = np.array(["x", "y", "z"])[np.arange(adata.n_obs) % 3]
        for left_out in ("x", "z"):
            kept = (adata.obs["third"] != left_out).to_numpy()
            arguments = {"sample_key": "donor", "silent": True}
            found = cohort.differential_splicing(adata, "third", subset_idx=kept, **arguments)
            alone = cohort.differential_splicing(adata[kept].copy(), "third", **arguments)
            pd.testing.assert_frame_equal(found, alone)
            pairs = cohort.differential_splicing(
                adata, "third", subset_idx=kept, all_pairs=True, **arguments
            )
            assert pairs["comparison"].nunique() == 1
            with pytest.raises(ValueError, match=f"found none in '{left_out}'"):
                cohort.differential_splicing(adata, "third", left_out, subset_idx=kept)

    def test_queries(self, cohort, adata):
        adata.obs.loc[adata.obs_names[:3], "donor"] = np.nan
        query = "donor != 'donor_2'"
        kept = (adata.obs["donor"] != "donor_2").to_numpy()
        arguments = {"sample_key": "donor"}
        found = cohort.differential_splicing(
            adata, idx1="group == 'A'", idx2="group == 'B'", subset_idx=query, **arguments
        )
        same = cohort.differential_splicing(
            adata, idx1=(adata.obs["group"] == "A").to_numpy(), subset_idx=kept, **arguments
        )
        drop = ["comparison", "group2"]
        pd.testing.assert_frame_equal(found.drop(columns=drop), same.drop(columns=drop))

    def test_missing_labels_are_left_out_and_counted(self, cohort, adata, caplog):
        adata.obs["label"] = adata.obs["group"].astype(object)
        adata.obs.iloc[:7, adata.obs.columns.get_loc("label")] = None
        donor = adata.obs["donor"].astype(object)
        donor.iloc[-4:] = np.nan
        adata.obs["someone"] = donor
        with caplog.at_level(logging.INFO, logger="leafletfa_scvi"):
            found = cohort.differential_splicing(adata, "label", "A", sample_key="someone")
        assert "7 cells have no value in adata.obs['label']" in caplog.text
        assert "4 cells have no value in adata.obs['someone']" in caplog.text
        alone = cohort.differential_splicing(adata[7:-4].copy(), "group", "A", sample_key="donor")
        pd.testing.assert_frame_equal(found, alone)

    def test_it_says_what_the_replicates_are(self, cohort, caplog):
        with caplog.at_level(logging.INFO, logger="leafletfa_scvi"):
            found = cohort.differential_splicing(groupby="group", group1="A")
        assert "Cells are the replicates" in caplog.text
        assert (found["replicates"] == "cells").all()
        assert found.attrs["replicates"].startswith("cells: the result holds for the cells")
        assert "positive means more in group1" in found.attrs["effect_size"]
        assert "n_samples_group1" not in found

    def test_a_group_without_reads_of_a_junction(self, cohort, adata):
        name = adata.var["atse_id"].astype(str).iloc[0]
        columns = np.flatnonzero(adata.var["atse_id"].astype(str) == name)
        rows = (adata.obs["group"] == "A").to_numpy()
        for layer in LAYERS:
            dense = adata.layers[layer].toarray()
            dense[np.ix_(rows, columns)] = 0
            adata.layers[layer] = dense
        found = cohort.differential_splicing(adata, "group", "A", sample_key="donor")
        assert len(found) == adata.n_vars
        gone = found.loc[adata.var_names[columns]]
        assert not gone["is_tested"].any()
        assert not gone["is_ds_fdr_0.05"].any()
        columns = ["proba_ds", "bayes_factor", "effect_size", "effect_lower", "est_psi1"]
        assert gone[columns].isna().all(axis=None)
        assert list(found.index[-len(gone) :]) == list(gone.index)
        atses = cohort.differential_splicing(adata, "group", "A", level="atse")
        assert not atses.loc[name, "is_tested"]
        assert atses.index[-1] == name


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"sample_key": "nobody"}, KeyError, "sample_key to be a column.*found 'nobody'"),
            ({"sample_key": ["donor"]}, TypeError, "sample_key"),
            ({"sample_key": "group"}, ValueError, "found 1 in 'A' and 1 in 'rest'.*sample_key=N"),
            ({"sample_key": "nan"}, ValueError, "found no value"),
            ({"group2": "B", "all_pairs": True}, ValueError, "all_pairs=True"),
            ({"level": "gene"}, ValueError, "level"),
            ({"mode": "lfc"}, ValueError, "mode"),
            ({"subset_idx": []}, ValueError, "found none in 'A'"),
            ({"subset_idx": "nothing == 1"}, ValueError, "query of adata.obs.*'nothing'"),
            ({"subset_idx": "donor =="}, ValueError, "query of adata.obs"),
            ({"subset_idx": "donor"}, ValueError, "true or false for each cell"),
        ],
    )
    def test_errors(self, cohort, adata, arguments, error, message):
        adata.obs["nan"] = np.nan
        before = adata.obs.copy()
        with pytest.raises(error, match=message):
            cohort.differential_splicing(adata, "group", "A", **arguments)
        pd.testing.assert_frame_equal(adata.obs, before)

    def test_atses_are_needed_for_their_table(self, adata):
        del adata.var["atse_id"]
        lfa.LeafletFAModel.setup_anndata(adata)
        model = lfa.LeafletFAModel(adata, n_programs=2)
        model.train(max_epochs=2, enable_progress_bar=False)
        with pytest.raises(ValueError, match="level='atse'"):
            model.differential_splicing(groupby="group", level="atse")

    def test_a_group_named_rest(self, cohort, adata):
        adata.obs["label"] = adata.obs["group"].astype(str).replace("B", "rest")
        found = cohort.differential_splicing(adata, "label", "A", "rest", sample_key="donor")
        same = cohort.differential_splicing(adata, "group", "A", "B", sample_key="donor")
        np.testing.assert_allclose(found["effect_size"], same["effect_size"])


def test_the_binomial_has_a_finite_concentration(adata):
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=2, likelihood="binomial")
    model.train(max_epochs=20, enable_progress_bar=False)
    found = model.differential_splicing(groupby="group", group1="A", sample_key="donor")
    assert np.isfinite(found["effect_size"]).all()
    well = found["n_obs_group1"].clip(upper=found["n_obs_group2"]) > 120
    slope = np.polyfit(found["emp_effect"][well], found["effect_size"][well], 1)[0]
    assert slope > 0.7
