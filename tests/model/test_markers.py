"""Markers of programs: the posterior by hand, the table of ATSEs, order, false discoveries."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import leafletfa_scvi as lfa


def posterior(model, n_draws=4000):
    """Means ``(P, K)`` and draws of the programs, ATSE by ATSE, by numpy alone."""
    state, rng = model.module.state_dict(), np.random.default_rng(3)
    a, b = (
        np.exp(state[f"_guide.psi_log_{x}"].double().numpy()) for x in ("inclusion", "exclusion")
    )
    mean = a / (a + b)
    variance = np.maximum(
        mean * (1 - mean) / (a + b + 1), state["_guide.psi_variance"].double().numpy()
    )
    draws = np.empty((n_draws, *mean.shape))
    atse = model.atse_labels_
    for label in np.unique(atse):
        rows = np.flatnonzero(atse == label)
        for k in range(mean.shape[1]):
            m, whole = mean[rows, k], max(mean[rows, k].sum(), 1.0)
            share = np.append(m / whole, max(1 - (m / whole).sum(), 1e-9))
            alone = whole**2 * (share[:-1] * (1 - share[:-1])).sum()
            size = alone / variance[rows, k].sum() - 1
            draws[:, rows, k] = whole * rng.dirichlet(size * share, n_draws)[:, :-1]
    return mean, draws


def against_others(model, values, k):
    """PSI under program k minus that under the others, weighted by their prevalence."""
    weight = model.get_program_prevalence().to_numpy(float).copy()
    weight[k] = 0
    return values[..., k] - values @ (weight / weight.sum())


@pytest.fixture(scope="module")
def by_hand(trained):
    mean, draws = posterior(trained)
    return against_others(trained, mean, 1), against_others(trained, draws, 1)


class TestJunctions:
    def test_probabilities_are_those_of_the_posterior(self, trained, by_hand):
        effect, difference = by_hand
        frame = trained.program_markers("SP_2", n_samples=2000).loc[trained.junction_names]
        want = (np.abs(difference) > 0.1).mean(0)
        assert 0.1 < want.mean() < 0.9
        assert np.abs(frame["proba_ds"] - want).max() < 0.06
        assert np.abs(frame["proba_ds"] - want).mean() < 0.01
        np.testing.assert_allclose(frame["effect_size"], effect, atol=1e-5)
        np.testing.assert_allclose(frame["effect_size"], difference.mean(0), atol=0.02)
        np.testing.assert_allclose(
            frame["psi_program"] - frame["psi_others"], frame["effect_size"], atol=1e-12
        )
        mean = trained.get_splicing_programs()["SP_2"]
        np.testing.assert_allclose(frame["psi_program"], mean, rtol=1e-5)

    def test_without_atses_junctions_are_drawn_alone(self, fit, clear):
        del clear.var["atse_id"]
        model = fit(clear, 2, max_epochs=20)
        a, b = (
            np.exp(model.module.state_dict()[f"_guide.psi_log_{x}"].double().numpy())
            for x in ("inclusion", "exclusion")
        )
        mean = a / (a + b)
        bound = mean * (1 - mean)
        variance = model.module.state_dict()["_guide.psi_variance"].double().numpy()
        size = bound / np.maximum(bound / (a + b + 1), variance) - 1
        size = np.maximum(size, 0.1 / np.minimum(mean, 1 - mean))
        draws = np.random.default_rng(0).beta(size * mean, size * (1 - mean), (2000, *a.shape))
        frame = model.program_markers("SP_1", n_samples=2000).loc[model.junction_names]
        want = (np.abs(draws[..., 0] - draws[..., 1]) > 0.1).mean(0)
        assert np.abs(frame["proba_ds"] - want).max() < 0.08
        with pytest.raises(ValueError, match="level='atse', found a model without them"):
            model.program_markers(level="atse")

    def test_ties_are_ordered_by_the_size_of_effect(self, recovered):
        frame = recovered.program_markers()
        assert list(frame["program"].unique()) == recovered.program_names
        tied = 0
        for _, part in frame.groupby("program"):
            assert part["proba_ds"].is_monotonic_decreasing
            for p, same in part.groupby("proba_ds"):
                assert same["effect_size"].abs().is_monotonic_decreasing
                tied += len(same) if p == 1 else 0
        assert tied > 100

    def test_only_significant_markers_are_rows_of_the_whole_table(self, recovered):
        for level in ("junction", "atse"):
            whole = recovered.program_markers(level=level)
            some = recovered.program_markers(level=level, only_significant=True)
            pd.testing.assert_frame_equal(whole[whole["is_ds_fdr_0.05"]], some)
            assert (some["effect_size"].abs() > 0.1).all()

    def test_the_bound_holds_for_each_program_and_for_all(self, recovered):
        for level in ("junction", "atse"):
            found = recovered.program_markers(level=level, only_significant=True)
            expected = found.groupby("program")["proba_not_ds"].mean()
            assert (expected <= 0.05).all()
            assert found["proba_not_ds"].mean() <= 0.05
            alone = recovered.program_markers("SP_3", level=level, only_significant=True)
            assert set(alone.index) == set(found.index[found["program"] == "SP_3"])


class TestAtses:
    def test_probability_is_that_any_junction_differs(self, trained, by_hand):
        _, difference = by_hand
        frame = trained.program_markers("SP_2", n_samples=2000, level="atse")
        above = pd.DataFrame(np.abs(difference).T > 0.1, index=trained.atse_labels_)
        want = above.groupby(level=0).any().mean(axis=1)
        assert frame.index.name == "atse_id"
        assert sorted(frame.index) == sorted(want.index)
        assert np.abs(frame["proba_ds"] - want.loc[frame.index]).max() < 0.06
        junctions = trained.program_markers("SP_2", n_samples=2000)
        most = junctions.groupby("atse_id", observed=True)["proba_ds"].max().loc[frame.index]
        assert (frame["proba_ds"] >= most.to_numpy()).all()  # the same draws
        assert (frame["proba_ds"] > most.to_numpy()).any()

    def test_two_junctions_of_an_atse_are_one_hypothesis(self, recovered):
        """If PSI of one is 1 minus that of the other, both differ or none does."""
        atses = recovered.program_markers("SP_1", level="atse")
        pairs = atses.index[atses["n_junctions"] == 2]
        assert len(pairs) > 20
        junctions = recovered.program_markers("SP_1")
        most = junctions.groupby("atse_id", observed=True)["proba_ds"].max()
        assert np.abs(atses.loc[pairs, "proba_ds"] - most.loc[pairs].to_numpy()).mean() < 0.01

    def test_rows_are_those_of_the_junction_with_the_largest_effect(self, recovered):
        var = recovered.adata.var
        atses = recovered.program_markers(level="atse").set_index("program", append=True)
        junctions = recovered.program_markers()
        same = ["effect_size", "psi_program", "psi_others", "gene_id", "gene_name"]
        assert len(atses) == var["atse_id"].nunique() * 4
        for (program, atse), part in junctions.groupby(["program", "atse_id"], observed=True):
            largest = part.loc[part["effect_size"].abs().idxmax()]
            row = atses.loc[(atse, program)]
            assert row["junction"] == largest.name
            assert row[same].tolist() == largest[same].tolist()
            assert row["n_junctions"] == len(part)
            assert row["junctions"] == ",".join(var.index[var["atse_id"] == atse])
            assert row["gene_name"] == var["gene_name"][row["junction"]]

    def test_columns(self, trained):
        frame = trained.program_markers(["SP_3", "SP_1"], n_samples=20, level="atse")
        assert list(frame.columns) == [
            *("program", "proba_ds", "proba_not_ds", "bayes_factor"),
            *("junction", "junctions", "n_junctions", "effect_size", "is_ds_fdr_0.05"),
            *("psi_program", "psi_others", "gene_id", "gene_name"),
        ]
        assert list(frame["program"].unique()) == ["SP_3", "SP_1"]
        with pytest.raises(ValueError, match="level to be 'junction' or 'atse', found 'gene'"):
            trained.program_markers(level="gene")

    def test_junctions_that_share_reads(self, fit, clear):
        """The posterior of the Dirichlet-multinomial has ATSEs of its own."""
        model = fit(clear, 2, max_epochs=20, options={"likelihood": "dirichlet-multinomial"})
        frame = model.program_markers("SP_1", level="atse", only_significant=True)
        differs = clear.var.groupby("atse_id", observed=True)["differs"].first()
        assert len(frame) > 15
        assert differs.loc[frame.index].mean() > 0.9


@pytest.mark.parametrize("level", ["junction", "atse"])
def test_false_discoveries_are_few(recovered, level):
    """Planted programs, matched to those found; `benchmarks/differential/markers.py` has more."""
    adata = recovered.adata
    truth = adata.varm["psi_true"]
    match = lfa.tl.match_programs(truth, recovered.get_splicing_programs().to_numpy())
    found = recovered.program_markers(level=level, only_significant=True)
    effects = {}
    for row in match.itertuples():
        weight = adata.uns["truth"]["prevalence"].copy()
        weight[row.reference] = 0
        effect = truth[:, row.reference] - truth @ (weight / weight.sum())
        effect = pd.Series(np.abs(effect), adata.var_names if level == "junction" else None)
        if level == "atse":
            effect = effect.groupby(adata.var["atse_id"].to_numpy()).max()
        effects[f"SP_{row.learned + 1}"] = effect
    is_false = [effects[p][name] <= 0.1 for name, p in found["program"].items()]
    n_true = sum((e > 0.1).sum() for e in effects.values())
    assert np.mean(is_false) <= 0.1
    assert len(found) - sum(is_false) > (0.7 if level == "junction" else 0.85) * n_true
