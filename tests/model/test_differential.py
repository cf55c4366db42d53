"""Differential splicing and markers: planted truth, probabilities by hand, false discoveries."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from leafletfa_scvi.stats import false_discovery_set

LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")
pytestmark = pytest.mark.filterwarnings("ignore:.*no observed entry:UserWarning")

COLUMNS = [
    *("comparison", "group1", "group2", "proba_ds", "proba_not_ds", "bayes_factor"),
    *("effect_size", "effect_lower", "effect_upper", "is_ds_fdr_0.05", "df"),
    *("est_psi1", "emp_psi1", "n_obs_group1", "est_psi2", "emp_psi2", "n_obs_group2"),
    *("emp_effect", "reads_disagree", "is_tested", "replicates"),
]


@pytest.fixture(scope="module")
def planted(recovered):
    """Two groups of cells compared, and the true difference of their mean PSI."""
    adata = recovered.adata
    frame = recovered.differential_splicing(groupby="program_true", group1="SP_1", group2="SP_2")
    phi, group = adata.obsm["phi_true"], adata.obs["program_true"].to_numpy()
    mean = [phi[group == name].mean(0) for name in ("SP_1", "SP_2")]
    return frame.loc[adata.var_names], (mean[0] - mean[1]) @ adata.varm["psi_true"].T


@pytest.fixture(scope="module")
def halves(trained):
    return trained.differential_splicing(groupby="half", group1="first")


class TestPlantedTruth:
    def test_discoveries_are_true(self, recovered, planted):
        found, truth = planted
        called = found["is_ds_fdr_0.05"].to_numpy()
        assert called.sum() > 50
        assert recovered.adata.var["differs"].to_numpy()[called].mean() > 0.93
        assert (np.abs(truth[called]) > 0.05).mean() > 0.93

    def test_true_differences_are_discovered(self, planted):
        found, truth = planted
        called = found["is_ds_fdr_0.05"].to_numpy()
        assert called[np.abs(truth) > 0.2].mean() > 0.95
        assert called[np.abs(truth) > 0.1].mean() > 0.75

    def test_effects_have_the_right_size_and_sign(self, planted):
        found, truth = planted
        effect = found["effect_size"].to_numpy()
        assert np.corrcoef(effect, truth)[0, 1] > 0.9
        large = np.abs(truth) > 0.2
        assert (np.sign(effect[large]) == np.sign(truth[large])).all()
        assert np.abs(effect - truth).mean() < 0.03

    def test_groups_drawn_at_random_do_not_differ(self, recovered):
        half = np.random.default_rng(0).permutation(400) < 200
        frame = recovered.differential_splicing(idx1=half)
        assert frame["is_ds_fdr_0.05"].sum() == 0
        assert frame["effect_size"].abs().mean() < 0.03

    def test_markers_are_junctions_that_differ(self, recovered):
        adata = recovered.adata
        markers = recovered.program_markers(only_significant=True, n_samples=300)
        assert markers["is_ds_fdr_0.05"].all()
        differs = adata.var["differs"].loc[markers.index].to_numpy()
        assert differs.mean() > 0.8
        assert differs[np.abs(markers["effect_size"]) > 0.3].mean() > 0.97
        assert set(markers["program"]) == set(recovered.program_names)


class TestTable:
    def test_columns_and_order(self, trained, halves):
        found = halves
        annotation = ["atse_id", "gene_id", "gene_name"]
        assert list(found.columns) == [*COLUMNS, *annotation]
        assert found.index.name == "junction"
        assert sorted(found.index) == sorted(trained.junction_names)
        assert found.loc[found["is_tested"], "proba_ds"].is_monotonic_decreasing
        assert found["is_tested"].is_monotonic_decreasing
        pd.testing.assert_frame_equal(
            found[annotation].astype(str),
            trained.adata.var.loc[found.index, annotation].astype(str),
            check_names=False,
        )
        assert (found["comparison"] == "first vs rest").all()

    def test_columns_agree_with_each_other(self, halves):
        found = halves[halves["is_tested"]]
        p = found["proba_ds"]
        np.testing.assert_allclose(found["proba_not_ds"], 1 - p)
        np.testing.assert_allclose(
            found["bayes_factor"], np.log(p + 1e-8) - np.log(1 - p + 1e-8), rtol=1e-6
        )
        np.testing.assert_allclose(
            found["emp_effect"], found["emp_psi1"] - found["emp_psi2"], equal_nan=True
        )
        estimated = found["est_psi1"] - found["est_psi2"]
        np.testing.assert_allclose(found["effect_size"], estimated, atol=0.05)
        called = found["is_ds_fdr_0.05"]
        want = false_discovery_set(p.to_numpy(), 0.05) & (found["effect_size"].abs() > 0.1)
        np.testing.assert_array_equal(called, want)

    def test_counts_by_hand(self, trained, halves):
        adata = trained.adata
        y, n = (adata.layers[name].toarray().astype(float) for name in LAYERS)
        first = (adata.obs["half"] == "first").to_numpy()
        found = halves.loc[adata.var_names]
        for side, cells in (("1", first), ("2", ~first)):
            np.testing.assert_array_equal(found[f"n_obs_group{side}"], (n[cells] > 0).sum(0))
            with np.errstate(invalid="ignore"):
                pooled = y[cells].sum(0) / n[cells].sum(0)
            np.testing.assert_allclose(found[f"emp_psi{side}"], pooled, rtol=1e-6)
        unseen = adata.var["unseen"].to_numpy()
        assert found.loc[unseen, "emp_psi1"].isna().all()
        assert found.loc[unseen, "n_obs_group1"].eq(0).all()
        assert not found.loc[unseen, "is_tested"].any()
        assert found.loc[unseen, ["proba_ds", "effect_size", "est_psi1"]].isna().all(axis=None)
        assert not found.loc[unseen, "is_ds_fdr_0.05"].any()

    def test_markers_of_some_programs(self, trained):
        columns = [
            *("program", "proba_ds", "proba_not_ds", "bayes_factor", "effect_size"),
            *("is_ds_fdr_0.1", "psi_program", "psi_others", "atse_id", "gene_id", "gene_name"),
        ]
        frame = trained.program_markers(["SP_3", "SP_1"], fdr_target=0.1, n_samples=20)
        assert list(frame.columns) == columns
        assert list(frame["program"].unique()) == ["SP_3", "SP_1"]
        assert len(frame) == 2 * 137
        for _, part in frame.groupby("program"):
            assert part["proba_ds"].is_monotonic_decreasing
        with pytest.raises(KeyError, match="'SP_4'"):
            trained.program_markers("SP_4")

    def test_a_larger_difference_is_less_probable(self, trained):
        first, second = (
            trained.program_markers("SP_1", delta=delta, n_samples=100).loc[trained.junction_names]
            for delta in (0.05, 0.3)
        )
        assert (first["proba_ds"] >= second["proba_ds"]).all()
        zero = trained.program_markers("SP_1", delta=0.0, n_samples=20)
        assert (zero["proba_ds"] == 1).all()


class TestGroups:
    def run(self, model, **kwargs):
        return model.differential_splicing(**kwargs)

    def test_each_against_the_rest(self, trained):
        frame = self.run(trained, groupby="program_true")
        names = sorted(trained.adata.obs["program_true"].unique())
        assert list(frame["comparison"].unique()) == [f"{name} vs rest" for name in names]
        assert len(frame) == 137 * len(names)

    def test_each_against_one(self, trained):
        frame = self.run(trained, groupby="program_true", group2="SP_2")
        assert list(frame["comparison"].unique()) == ["SP_1 vs SP_2", "SP_3 vs SP_2"]

    def test_several(self, trained):
        frame = self.run(trained, groupby="program_true", group1=["SP_3", "SP_1"])
        assert list(frame["group1"].unique()) == ["SP_3", "SP_1"]

    def test_positions_masks_and_labels_agree(self, trained):
        first = (trained.adata.obs["half"] == "first").to_numpy()
        label = self.run(trained, groupby="half", group1="first", group2="second")
        ways = (
            {"idx1": first},
            {"idx1": np.flatnonzero(first), "idx2": ~first},
            {"idx1": slice(0, 45), "idx2": list(range(45, 90))},
        )
        for way in ways:
            frame = self.run(trained, **way)
            pd.testing.assert_frame_equal(
                frame.iloc[:, 3:].sort_index(), label.iloc[:, 3:].sort_index()
            )
        assert set(self.run(trained, idx1=[0])["comparison"]) == {"idx1 vs rest"}
        assert set(self.run(trained, idx1=[0], idx2=[1])["comparison"]) == {"idx1 vs idx2"}

    def test_swapping_the_groups_swaps_the_sign(self, trained):
        forth = self.run(trained, idx1=range(30), idx2=range(30, 60)).loc[trained.junction_names]
        back = self.run(trained, idx1=range(30, 60), idx2=range(30)).loc[trained.junction_names]
        np.testing.assert_allclose(forth["effect_size"], -back["effect_size"], atol=1e-6)
        np.testing.assert_allclose(forth["emp_psi1"], back["emp_psi2"])

    def test_data_of_other_cells(self, trained, gaps):
        some = gaps[20:70].copy()
        some.obs["side"] = ["a", "b"] * 25
        some.obs_names = [f"new_{i}" for i in range(50)]
        frame = self.run(trained, adata=some, groupby="side", group1="a").loc[gaps.var_names]
        n = some.layers[LAYERS[1]].toarray()
        np.testing.assert_array_equal(frame["n_obs_group1"], (n[::2] > 0).sum(0))
        np.testing.assert_array_equal(frame["n_obs_group2"], (n[1::2] > 0).sum(0))

    def test_labels_may_be_numbers_or_missing(self, trained, gaps):
        gaps.obs["number"] = [1.0, 2.0, np.nan] * 30
        frame = self.run(trained, adata=gaps, groupby="number", group1="1.0", group2="2.0")
        n = gaps.layers[LAYERS[1]].toarray()
        frame = frame.loc[gaps.var_names]
        np.testing.assert_array_equal(frame["n_obs_group1"], (n[::3] > 0).sum(0))
        np.testing.assert_array_equal(frame["n_obs_group2"], (n[1::3] > 0).sum(0))

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({}, ValueError, "either groupby or idx1"),
            ({"groupby": "half", "idx1": [0]}, ValueError, "either groupby or idx1"),
            ({"groupby": "nothing"}, KeyError, "column of adata.obs.*found 'nothing'"),
            ({"groupby": "half", "group1": "third"}, KeyError, "name groups of .*found 'third'"),
            ({"groupby": "half", "group2": "third"}, KeyError, "name groups of .*found 'third'"),
            (
                {"groupby": "half", "group1": "first", "group2": "first"},
                ValueError,
                "found 45 in both",
            ),
            ({"idx1": [0, 1], "idx2": [1, 2]}, ValueError, "found 1 in both 'idx1' and 'idx2'"),
            ({"idx1": []}, ValueError, "found none in 'idx1'"),
            ({"idx1": range(90)}, ValueError, "found none in 'rest'"),
            ({"idx1": [0], "idx2": []}, ValueError, "found none in 'idx2'"),
            ({"idx1": [90]}, IndexError, "out of bounds"),
            ({"idx1": [0], "delta": 1.0}, ValueError, "delta"),
            ({"idx1": [0], "delta": -0.1}, ValueError, "delta"),
            ({"idx1": [0], "fdr_target": 0.0}, ValueError, "fdr_target"),
            ({"idx1": [0], "fdr_target": 1.0}, ValueError, "fdr_target"),
        ],
    )
    def test_errors(self, trained, arguments, error, message):
        with pytest.raises(error, match=message):
            self.run(trained, **arguments)

    def test_numbers_are_checked_for_markers_too(self, trained):
        for wrong in ({"delta": 2}, {"fdr_target": 5}, {"n_samples": 0}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                trained.program_markers(**wrong)


def test_seeds_determine_draws_and_the_global_state_does_not_change(trained):
    def run(seed):
        return trained.program_markers(n_samples=30, seed=seed)

    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = run(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    pd.testing.assert_frame_equal(run(0), first)
    probability = (x.set_index("program", append=True)["proba_ds"] for x in (run(1), first))
    other, same = (x.sort_index() for x in probability)
    assert other.index.is_unique
    assert not other.equals(same)


def test_arguments_of_draws_are_ignored_with_a_warning(trained):
    found = trained.differential_splicing(idx1=range(30))
    with pytest.warns(FutureWarning, match="'n_samples' of differential_splicing has no effect"):
        same = trained.differential_splicing(idx1=range(30), n_samples=5)
    with pytest.warns(FutureWarning, match="'seed'"):
        trained.differential_splicing(idx1=range(30), seed=5)
    pd.testing.assert_frame_equal(found, same)
