"""Differential activity against t tests, planted differences, and its own null."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import leafletfa_scvi as lfa
from leafletfa_scvi.tl import differential_activity
from leafletfa_scvi.tl._units import score_units


def draw_cells(seed, n_donors=(5, 5), concentration=8.0, *, n_cells=40, shift=0.0, paired=False):
    """Activities of cells of donors around the populations of their groups."""
    rng = np.random.default_rng(seed)
    prevalence = np.array([0.4, 0.25, 0.15, 0.12, 0.08])
    population = np.stack([prevalence, prevalence + shift * np.array([-1, 1, 0, 0, 0])])
    if paired:
        donor, group = np.repeat(np.arange(n_donors[0]), 2), np.tile([0, 1], n_donors[0])
        factor = rng.dirichlet(5 * concentration * prevalence, n_donors[0]) / prevalence
        mean = factor[donor] * population[group]
        mean /= mean.sum(1, keepdims=True)
    else:
        donor, group = np.arange(sum(n_donors)), np.repeat([0, 1], n_donors)
        mean = population[group]
        if np.isfinite(concentration):
            mean = np.stack([rng.dirichlet(5 * concentration * m) for m in mean])
    unit = np.repeat(np.arange(len(donor)), n_cells)
    phi = np.maximum(rng.standard_gamma(np.maximum(mean[unit], 1e-3)), 1e-9)
    obs = pd.DataFrame(
        {
            "group": np.array(["A", "B"])[group[unit]],
            "donor": [f"D{d}" for d in donor[unit]],
            "age": 20.0 + 7 * (donor[unit] % 5) ** 1.5,
        },
        index=[f"cell_{i}" for i in range(len(unit))],
    )
    adata = anndata.AnnData(np.zeros((len(unit), 1), np.float32), obs=obs)
    adata.obsm["X_PHI"] = phi / phi.sum(1, keepdims=True)
    return adata


@pytest.fixture
def cells():
    return draw_cells(0)


class TestGroups:
    def test_table(self, cells):
        table = differential_activity(cells, "group", "A", "B", sample_key="donor")
        assert list(table.columns) == [
            "comparison", "group1", "group2", "program", "effect", "effect_lower", "effect_upper",
            "activity_effect", "se", "statistic", "df", "pvalue", "padj", "is_da_fdr_0.05",
            "mean_activity1", "mean_activity2", "n_samples_group1", "n_samples_group2",
            "replicates",
        ]  # fmt: skip
        assert sorted(table["program"]) == [f"SP_{k + 1}" for k in range(5)]
        assert table["pvalue"].is_monotonic_increasing
        assert set(table["comparison"]) == {"A vs B"}
        assert set(table["replicates"]) == {"samples"}
        assert (table[["n_samples_group1", "n_samples_group2"]] == 5).all(axis=None)
        np.testing.assert_allclose(table["padj"], stats.false_discovery_control(table["pvalue"]))
        width = (table["effect_upper"] - table["effect_lower"]) / 2
        np.testing.assert_allclose(width, stats.t.ppf(0.95, table["df"]) * table["se"])

    def test_effects_are_means_of_donors_which_count_equally_if_their_errors_are_equal(self):
        # Every cell of a donor is the same: without variation of cells no donor has an error.
        cells = draw_cells(1)
        first = cells.obs.reset_index().groupby("donor", sort=False).first()["index"]
        phi = pd.DataFrame(cells.obsm["X_PHI"], cells.obs_names)
        cells.obsm["X_PHI"] = phi.loc[first.loc[cells.obs["donor"]]].to_numpy()
        table = differential_activity(cells, "group", "A", "B", sample_key="donor")
        table = table.set_index("program").sort_index()
        means = phi.loc[first].to_numpy()
        mixed = (40 * means + 0.5 * means.mean(0)) / 40.5
        clr = np.log(mixed) - np.log(mixed).mean(1, keepdims=True)
        a, b = clr[:5], clr[5:]
        np.testing.assert_allclose(table["effect"], a.mean(0) - b.mean(0))
        np.testing.assert_allclose(table["activity_effect"], means[:5].mean(0) - means[5:].mean(0))
        np.testing.assert_allclose(table["mean_activity1"], means[:5].mean(0))
        # Moderation moves the standard errors of the t test towards a trend.
        plain = np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / 5)
        assert np.corrcoef(table["se"], plain)[0, 1] > 0.8
        assert (table["df"] >= 8).all()

    @pytest.mark.parametrize("transform", ["clr", "logit"])
    @pytest.mark.parametrize("concentration", [np.inf, 8.0, 2.0])
    def test_equal_populations_are_called_different_at_the_nominal_rate(
        self, concentration, transform
    ):
        pvalues = [
            differential_activity(
                draw_cells(seed, concentration=concentration),
                "group", "A", "B", sample_key="donor", transform=transform,
            )["pvalue"]
            for seed in range(60)
        ]  # fmt: skip
        # 300 tests, correlated within a draw: the standard error is about 0.014.
        assert np.mean(np.concatenate(pvalues) < 0.05) == pytest.approx(0.05, abs=0.04)

    def test_cells_as_replicates_are_not_calibrated_for_populations(self, caplog):
        with caplog.at_level(logging.INFO, logger="leafletfa_scvi"):
            tables = [
                differential_activity(draw_cells(seed, concentration=2.0), "group", "A", "B")
                for seed in range(10)
            ]
        assert all(set(table["replicates"]) == {"cells"} for table in tables)
        assert np.mean([table["pvalue"] < 0.05 for table in tables]) > 0.3
        assert "the cells of these samples only" in caplog.text
        assert tables[0]["n_samples_group1"].iloc[0] == 200

    def test_a_planted_difference_is_found_with_its_sign(self):
        table = differential_activity(
            draw_cells(2, concentration=16.0, shift=0.15), "group", "A", "B", sample_key="donor"
        ).set_index("program")
        assert table.loc[["SP_1", "SP_2"], "is_da_fdr_0.05"].all()
        assert table.loc["SP_1", "effect"] > 0 > table.loc["SP_2", "effect"]
        np.testing.assert_allclose(
            table.loc[["SP_1", "SP_2"], "activity_effect"], [0.15, -0.15], atol=0.06
        )

    def test_pairs_find_what_unpaired_donors_hide(self):
        found = []
        for seed in range(5):
            cells = draw_cells(seed, (6, 6), 2.0, n_cells=150, shift=0.15, paired=True)
            paired = differential_activity(cells, "group", "A", "B", sample_key="donor")
            cells.obs["part"] = cells.obs["donor"] + cells.obs["group"]
            alone = differential_activity(cells, "group", "A", "B", sample_key="part")
            for table in (paired, alone):
                moved = table[table["program"].isin(["SP_1", "SP_2"])]
                found.append(moved["is_da_fdr_0.05"].sum())
            assert (paired["n_samples_group1"] == 6).all()
        assert sum(found[::2]) >= 8
        assert sum(found[::2]) > 1.3 * sum(found[1::2])

    def test_every_group_against_the_rest_is_one_call(self, cells):
        cells.obs["type"] = pd.Categorical(np.array(["x", "y", "z"])[np.arange(400) % 3])
        table = differential_activity(cells, "type", sample_key="donor")
        assert list(table["comparison"].unique()) == ["x vs rest", "y vs rest", "z vs rest"]
        assert len(table) == 15
        np.testing.assert_allclose(table["padj"], stats.false_discovery_control(table["pvalue"]))
        one = differential_activity(cells, "type", "y", "rest", sample_key="donor")
        np.testing.assert_array_equal(one["effect"], table["effect"][5:10])
        assert (one["n_samples_group2"] == 10).all()

    def test_numbers_name_groups(self, cells):
        cells.obs["cluster"] = np.arange(400) % 2
        table = differential_activity(cells, "cluster", 1, 0, sample_key="donor")
        assert set(table["comparison"]) == {"1 vs 0"}

    def test_cells_without_a_label_are_left_out_and_counted(self, cells, caplog):
        cells.obs["group"] = cells.obs["group"].astype(object)
        cells.obs.iloc[:7, 0] = np.nan
        with caplog.at_level(logging.INFO, logger="leafletfa_scvi"):
            table = differential_activity(cells, "group", "A", sample_key="donor")
        assert "7 cells have no value in adata.obs['group'] and are left out" in caplog.text
        expected = differential_activity(cells[7:].copy(), "group", "A", sample_key="donor")
        pd.testing.assert_frame_equal(table, expected)

    def test_a_program_that_nobody_uses_is_not_tested_and_changes_nothing(self, cells):
        expected = differential_activity(cells, "group", "A", "B", sample_key="donor")
        phi = cells.obsm["X_PHI"]
        tiny = np.random.default_rng(0).uniform(1e-9, 1e-5, 400) * (1 + 9 * (np.arange(400) < 200))
        cells.obsm["X_PHI"] = np.column_stack([phi, tiny])
        table = differential_activity(cells, "group", "A", "B", sample_key="donor")
        unused = table[table["program"] == "SP_6"]
        assert unused[["effect", "se", "pvalue", "padj"]].isna().all(axis=None)
        assert not unused["is_da_fdr_0.05"].any()
        assert (unused["mean_activity1"] < 1e-3).all()
        pd.testing.assert_frame_equal(table.iloc[:5], expected)

    def test_few_cells_weigh_less(self):
        noisy, plain = [], []
        for seed in range(40):
            cells = draw_cells(seed, concentration=np.inf)
            few = cells.obs["donor"].isin(["D0", "D5"]) & (np.arange(400) % 40 > 1)
            cells = cells[~few].copy()
            table = differential_activity(cells, "group", "A", "B", sample_key="donor")
            noisy.extend(table["activity_effect"])
            means = pd.DataFrame(cells.obsm["X_PHI"]).groupby(cells.obs["donor"].to_numpy()).mean()
            plain.extend(means.iloc[:5].mean() - means.iloc[5:].mean())
        assert np.std(noisy) < 0.8 * np.std(plain)


class TestFormula:
    def test_age_is_a_regression_on_donors(self):
        cells = draw_cells(3, concentration=np.inf)
        rng = np.random.default_rng(0)
        donors = sorted(set(cells.obs["donor"]))
        age = pd.Series(rng.uniform(20, 80, 10), donors)
        cells.obs["age"] = cells.obs["donor"].map(age).astype(float)
        phi = cells.obsm["X_PHI"] * np.exp(np.outer(cells.obs["age"] / 30, [1, 0, 0, 0, 0]))
        cells.obsm["X_PHI"] = phi / phi.sum(1, keepdims=True)
        table = differential_activity(cells, formula="~ age", sample_key="donor")
        assert list(table.columns[:2]) == ["term", "program"]
        assert set(table["term"]) == {"age"}
        assert (table["n_samples"] == 10).all()
        best = table.iloc[0]
        assert best["program"] == "SP_1"
        assert best["is_da_fdr_0.05"]
        assert best["effect"] > 0
        assert best["activity_effect"] > 0

    def test_a_group_as_a_formula_is_the_comparison(self, cells):
        one = differential_activity(cells, "group", "B", "A", sample_key="donor")
        two = differential_activity(cells, formula="group", sample_key="donor")
        assert set(two["term"]) == {"group[T.B]"}
        common = ["program", "effect", "se", "df", "pvalue", "activity_effect"]
        pd.testing.assert_frame_equal(one[common], two[common])

    def test_labels_within_samples_divide_them(self):
        cells = draw_cells(4, (6, 6), 2.0, paired=True)
        one = differential_activity(cells, "group", "B", "A", sample_key="donor")
        table = differential_activity(cells, formula="~ age + C(group)", sample_key="donor")
        assert list(table["term"].unique()) == ["age", "C(group)[T.B]"]
        two = table[table["term"] == "C(group)[T.B]"].set_index("program")
        # Age is the same in both parts of a donor, so that differences within donors remain.
        one = one.set_index("program").loc[two.index]
        np.testing.assert_allclose(one["effect"], two["effect"], atol=0.01)
        assert (two["n_samples"] == 6).all()

    def test_a_random_age_is_called_at_the_nominal_rate(self):
        rng = np.random.default_rng(0)
        pvalues = []
        for i in range(40):
            cells = draw_cells(i, (8, 8), 4.0, n_cells=20, paired=True)
            age = pd.Series(rng.normal(size=8), [f"D{d}" for d in range(8)])
            cells.obs["age"] = cells.obs["donor"].map(age).astype(float)
            pvalues.append(differential_activity(
                cells, formula="~ age + group", sample_key="donor"
            )[["term", "pvalue"]])  # fmt: skip
        table = pd.concat(pvalues)
        rate = (table["pvalue"] < 0.05).groupby(table["term"]).mean()
        np.testing.assert_allclose(rate, 0.05, atol=0.04)

    def test_numbers_that_vary_within_a_sample_are_named(self, cells):
        cells.obs.loc["cell_45", "age"] = 99.0
        with pytest.raises(ValueError, match=r"column 'age' to be constant .* 'D1'.*transform"):
            differential_activity(cells, formula="~ age", sample_key="donor")
        table = differential_activity(cells, formula="~ age")
        assert set(table["replicates"]) == {"cells"}

    def test_missing_values_are_left_out(self, cells, caplog):
        cells.obs.iloc[:3, cells.obs.columns.get_loc("age")] = np.nan
        with caplog.at_level(logging.INFO, logger="leafletfa_scvi"):
            differential_activity(cells, formula="~ age", sample_key="donor")
        assert "3 cells have no value in adata.obs['age']" in caplog.text

    @pytest.mark.parametrize(
        ("formula", "message"),
        [
            ("SP_1 ~ age", "left side"),
            ("~ (age", "formula such as"),
            ("~ age +", "formula such as"),
            ("~ 1", "columns of adata.obs"),
            ("age | group", "formula such as"),
            (3, "formula such as"),
            ("~ log(group)", "can be evaluated"),
            ("~ group + C(group)", "independent terms"),
            ("~ C(donor)", "too few samples"),
        ],
    )
    def test_formulas_that_cannot_be_used(self, cells, formula, message):
        with pytest.raises(ValueError, match=message):
            differential_activity(cells, formula=formula, sample_key="donor")

    def test_infinite_numbers(self, cells):
        cells = cells.copy()
        cells.obs["dose"] = np.where(cells.obs["donor"] == cells.obs["donor"].iloc[5], 0.0, 1.0)
        with pytest.raises(ValueError, match="finite values of the term"):
            differential_activity(cells, formula="~ I(1 / dose)", sample_key="donor")
        cells.obs["dose"] = 1.0 / cells.obs["dose"]
        with pytest.raises(ValueError, match=r"finite numbers .*'dose'.* for cell"):
            differential_activity(cells, formula="~ dose", sample_key="donor")

    def test_unknown_columns(self, cells):
        with pytest.raises(KeyError, match="height"):
            differential_activity(cells, formula="~ age + height", sample_key="donor")


class TestArguments:
    def test_one_sample_in_a_group(self, cells):
        cells = cells[cells.obs["donor"].isin(["D0", "D5", "D6"])].copy()
        with pytest.raises(ValueError, match=r"1 in 'A' and 2 in 'B'.*sample_key=None cells"):
            differential_activity(cells, "group", "A", "B", sample_key="donor")

    def test_unknown_names(self, cells):
        for arguments, name in (
            ({"groupby": "kind"}, "kind"),
            ({"groupby": "group", "group1": "C"}, "C"),
            ({"groupby": "group", "group1": "A", "group2": "D"}, "D"),
            ({"groupby": "group", "sample_key": "mouse"}, "mouse"),
        ):
            with pytest.raises(KeyError, match=f"found '{name}'"):
                differential_activity(cells, **arguments)

    def test_contradictions(self, cells):
        with pytest.raises(ValueError, match="either groupby or formula"):
            differential_activity(cells)
        with pytest.raises(ValueError, match="either groupby or formula"):
            differential_activity(cells, "group", formula="~ age")
        with pytest.raises(ValueError, match="with groupby"):
            differential_activity(cells, group1="A", formula="~ age")
        with pytest.raises(ValueError, match="without common cells"):
            differential_activity(cells, "group", "A", "A")
        with pytest.raises(ValueError, match="one group"):
            differential_activity(cells, "group", "A", ["A", "B"])
        with pytest.raises(ValueError, match="transform"):
            differential_activity(cells, "group", transform="log")
        with pytest.raises(TypeError, match="one column"):
            differential_activity(cells, ["group", "donor"])

    def test_data_without_activities(self, cells):
        with pytest.raises(TypeError, match="Expected data to be an AnnData"):
            differential_activity(np.ones((3, 2)), "group")
        cells.obsm["X_PHI"][3, 1] = np.nan
        with pytest.raises(ValueError, match="X_PHI"):
            differential_activity(cells, "group")
        del cells.obsm["X_PHI"]
        with pytest.raises(ValueError, match="export_posterior"):
            differential_activity(cells, "group")

    def test_one_program(self, cells):
        cells.obsm["X_PHI"] = np.ones((400, 1))
        with pytest.raises(ValueError, match="at least 2 programs"):
            differential_activity(cells, "group")

    def test_samples_may_be_numbers_and_the_data_stay_as_they_were(self, cells):
        expected = differential_activity(cells, "group", "A", "B", sample_key="donor")
        cells.obs["number"] = cells.obs["donor"].str[1:].astype(int)
        before = cells.copy()
        found = differential_activity(cells, "group", "A", "B", sample_key="number")
        pd.testing.assert_frame_equal(found, expected)
        pd.testing.assert_frame_equal(cells.obs, before.obs)
        assert list(cells.uns) == list(before.uns)


class TestErrors:
    """The error of a unit, against the spread of units drawn again."""

    @pytest.mark.parametrize("transform", ["clr", "logit"])
    def test_is_that_of_drawing_cells(self, transform):
        rng = np.random.default_rng(5)
        phi = rng.dirichlet([2.0, 1.0, 0.7], 40_000)
        scores = score_units(phi, None, np.arange(40_000) // 50, transform)
        spread = scores.value.var(0)
        np.testing.assert_allclose(scores.variance.mean(0), spread, rtol=0.1)

    @pytest.mark.parametrize("transform", ["clr", "logit"])
    def test_includes_the_posterior_of_cells(self, transform):
        rng = np.random.default_rng(6)
        phi = np.tile([0.5, 0.3, 0.2], (6000, 1))
        sd = np.array([0.05, 0.03, 0.02])
        noisy = phi + sd * rng.normal(size=phi.shape)
        found = score_units(phi, np.tile(sd**2, (6000, 1)), np.arange(6000) // 30, transform)
        drawn = score_units(noisy, None, np.arange(6000) // 30, transform)
        np.testing.assert_allclose(found.variance[0], drawn.value.var(0), rtol=0.25)

    @pytest.mark.parametrize("transform", ["clr", "logit"])
    def test_does_not_depend_on_the_activities_that_it_weighs(self, transform):
        mean = np.array([[0.9, 0.05, 0.05], [0.2, 0.4, 0.4], [0.02, 0.49, 0.49]])
        unit = np.repeat(np.arange(3), 60)
        phi = np.random.default_rng(7).dirichlet([1, 1, 1], 180) * 0.1 + 0.9 * mean[unit]
        without = score_units(phi, None, unit, transform).variance
        np.testing.assert_allclose(without, without[[0, 0, 0]])
        depth = np.array([1.0, 4.0, 2.0])[unit][:, None]
        found = score_units(phi, 0.1 * np.ones((180, 3)) / depth, unit, transform).variance
        np.testing.assert_allclose((found - without)[0] / (found - without)[1], 4.0)


def test_a_model_gives_its_activities_and_their_variances(fit):
    adata = lfa.datasets.simulate_cohort((3, 3), 240, 60, 3, shift=0.3, coverage=0.4, seed=1)
    model = fit(adata, 3)
    table = differential_activity(model, "group", "A", "B", sample_key="donor")
    model.export_posterior(adata)
    other = differential_activity(adata, "group", "A", "B", sample_key="donor")
    both = table.merge(other, on="program", suffixes=("", "_adata"))
    np.testing.assert_allclose(both["mean_activity1"], both["mean_activity1_adata"], rtol=1e-5)
    # Errors of the posterior are larger, so that donors of unequal depth weigh differently.
    assert not np.allclose(both["effect"], both["effect_adata"], rtol=1e-6)
    assert table["pvalue"].min() < 0.05
