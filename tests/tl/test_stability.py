"""Stability of programs over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi.tl._stability import Fit, compare_fits, program_stability

K = 4


@pytest.fixture
def base():
    return np.random.default_rng(0).normal(size=(400, K))


@pytest.fixture(scope="module")
def models(fit):
    """Three models of the same 200 cells with 3 distinct programs; read-only."""
    adata = lfa.datasets.simulate_splicing(200, 80, 3, coverage=0.5, frac_differential=0.6, seed=1)
    return [fit(adata.copy(), 3, seed=s, max_epochs=0) for s in range(3)]


def frame(values, rows="j"):
    names = [f"SP_{k + 1}" for k in range(values.shape[1])]
    return pd.DataFrame(values, [f"{rows}{i}" for i in range(len(values))], names)


def centered(values):
    return values - values.mean(1, keepdims=True)


class TestKnownAnswers:
    def test_permuted_programs_are_all_reproduced(self, base):
        orders = [[0, 1, 2, 3], [3, 1, 0, 2], [2, 0, 3, 1]]
        result = program_stability([frame(base[:, o]) for o in orders])
        assert result.score == pytest.approx(1)
        assert result.n_reproducible == K
        assert result.reference == 0
        assert result.signal == "programs"
        assert list(result.programs.index) == ["SP_1", "SP_2", "SP_3", "SP_4"]
        np.testing.assert_allclose(result.programs[["mean", "min"]], 1)
        np.testing.assert_allclose(result.pairs, 1)
        for at, model in ((1, orders[1]), (2, orders[2])):
            wanted = [f"SP_{model.index(k) + 1}" for k in range(K)]
            assert result.matched[at].tolist() == wanted

    def test_correlations_are_pearson_of_deviations(self, base):
        other = base + 0.6 * np.random.default_rng(1).normal(size=base.shape)
        result = program_stability({"a": base, "b": other[:, ::-1]}, reference="a")
        wanted = np.diag(np.corrcoef(centered(base).T, centered(other).T)[:K, K:])
        np.testing.assert_allclose(result.correlation["b"], wanted)
        np.testing.assert_allclose(result.pairs.loc["a", "b"], wanted.mean())
        assert result.score == pytest.approx(wanted.mean())
        assert result.matched["b"].tolist() == [3, 2, 1, 0]

    def test_a_program_lost_in_some_models_is_not_reproducible(self, base):
        models = []
        for seed in range(6):
            rng = np.random.default_rng(seed)
            psi = base + 0.1 * rng.normal(size=base.shape)
            if seed >= 3:  # the last program is another one there
                psi[:, 3] = rng.normal(size=len(psi))
            models.append(psi)
        result = program_stability(models, reference=0)
        assert result.programs["reproducible"].tolist() == [True, True, True, False]
        assert result.programs["n_matched"].tolist() == [5, 5, 5, 2]
        assert result.programs["share_matched"].tolist() == [1, 1, 1, 0.4]
        assert result.programs["min"].iloc[3] < 0.4
        lenient = program_stability(models, reference=0, min_share=0.4)
        assert lenient.programs["reproducible"].all()
        strict = program_stability(models, reference=0, threshold=0.999)
        assert not strict.programs["reproducible"].any()
        assert strict.threshold == 0.999

    def test_the_default_reference_is_the_medoid(self, base):
        rng = np.random.default_rng(1)
        far = rng.normal(size=base.shape)
        noisy = [base + s * rng.normal(size=base.shape) for s in (0.5, 0.0, 0.5)]
        result = program_stability([far, *noisy])
        assert result.reference == 2
        assert list(result.correlation.columns) == [0, 1, 3]
        others = result.pairs.to_numpy() - np.eye(4)
        assert others.sum(1).argmax() == 2
        np.testing.assert_allclose(
            result.correlation.mean(), result.pairs.loc[2, [0, 1, 3]], atol=1e-12
        )

    def test_the_score_averages_all_pairs_for_any_reference(self, base):
        rng = np.random.default_rng(0)
        models = [base + s * rng.normal(size=base.shape) for s in (0.2, 0.5, 0.9)]
        results = [program_stability(models, reference=r) for r in range(3)]
        pairs = results[0].pairs.to_numpy()
        assert results[0].score == pytest.approx((pairs[0, 1] + pairs[0, 2] + pairs[1, 2]) / 3)
        for result in results[1:]:
            assert result.score == results[0].score
            np.testing.assert_allclose(result.pairs, pairs)

    def test_different_numbers_of_programs(self, base):
        # Centered values of fewer programs are others, so a mean that all share is taken off.
        base = centered(base)
        few = base[:, [2, 0]] - base[:, [2, 0]].mean(1, keepdims=True)
        result = program_stability({"many": base, "few": few}, reference="many")
        assert result.correlation["few"].isna().tolist() == [False, True, False, True]
        assert result.matched["few"].tolist() == [1, None, 0, None]
        assert (result.programs["mean"].iloc[[1, 3]] == 0).all()
        assert not result.programs["reproducible"].iloc[[1, 3]].any()
        assert result.score == pytest.approx(result.correlation["few"].sum() / K)
        turned = program_stability({"many": base, "few": few}, reference="few")
        assert turned.score == pytest.approx(result.score)
        assert turned.matched["many"].tolist() == [2, 0]


class TestActivities:
    def fits(self, base, seed, swap):
        """Similar programs that their activities distinguish."""
        rng = np.random.default_rng(seed)
        phi = np.random.default_rng(9).dirichlet(np.ones(K), 300)
        order = [1, 0, 2, 3] if swap else [0, 1, 2, 3]
        psi = 0.2 * base + rng.normal(size=base.shape)
        return Fit(frame(psi[:, order]), frame(phi[:, order], "c"))

    def test_both_signals_have_equal_weight(self, base):
        one, two = self.fits(base, 0, False), self.fits(base, 1, True)
        options = {"threshold": 0.5, "min_share": 1.0}
        result = compare_fits({"a": one, "b": two}, **options)
        assert result.signal == "both"
        assert result.matched["b"].tolist() == ["SP_2", "SP_1", "SP_3", "SP_4"]
        table = result.programs
        np.testing.assert_allclose(table["mean_activities"], 1)
        assert table["mean_programs"].max() < 0.3
        both = (table["mean_activities"] + table["mean_programs"]) / 2
        np.testing.assert_allclose(table["mean"], both)
        alone = compare_fits({"a": one, "b": two}, **options, signal="activities")
        np.testing.assert_allclose(alone.programs["mean"], 1)
        assert "mean_programs" not in alone.programs

    def test_cells_in_another_order_are_the_same_cells(self, base):
        one, two = self.fits(base, 0, False), self.fits(base, 1, False)
        options = {"threshold": 0.5, "min_share": 1.0}
        wanted = compare_fits({"a": one, "b": two}, **options)
        turned = Fit(two.programs, two.activities.sample(frac=1, random_state=0))
        found = compare_fits({"a": one, "b": turned}, **options)
        assert found.signal == "both"
        np.testing.assert_allclose(found.programs["mean"], wanted.programs["mean"])

    def test_different_cells_and_single_programs_fall_back_to_programs(self, base):
        one, two = self.fits(base, 0, False), self.fits(base, 1, False)
        options = {"threshold": 0.5, "min_share": 1.0}
        fewer = Fit(two.programs, two.activities.iloc[1:])
        assert compare_fits({"a": one, "b": fewer}, **options).signal == "programs"
        with pytest.raises(
            ValueError, match="activities for signal=.*, found models of different cells"
        ):
            compare_fits({"a": one, "b": fewer}, **options, signal="both")
        single = Fit(one.programs[["SP_1"]], pd.DataFrame({"SP_1": np.ones(300)}))
        assert compare_fits({"a": single, "b": single}, **options).score == pytest.approx(1)
        with pytest.raises(ValueError, match="single program"):
            compare_fits({"a": single, "b": single}, **options, signal="activities")
        with pytest.raises(ValueError, match="without activities"):
            program_stability([base, base], signal="both")


class TestModels:
    def test_planted_programs_are_reproducible(self, models):
        before = [m.get_splicing_programs() for m in models]
        result = program_stability(models)
        assert result.signal == "both"
        assert result.programs["reproducible"].all()
        assert result.score > 0.9
        for model, programs in zip(models, before, strict=True):
            pd.testing.assert_frame_equal(model.get_splicing_programs(), programs)
        frames = program_stability(before)
        np.testing.assert_allclose(
            frames.programs["mean"].sort_values(),
            program_stability(models, signal="programs").programs["mean"].sort_values(),
        )

    def test_excess_programs_are_not_reproducible(self, models, fit):
        more = [fit(models[0].adata.copy(), 9, seed=s, max_epochs=0) for s in range(2)]
        result = program_stability(more)
        assert result.n_reproducible < 9
        assert result.score < program_stability(models).score

    def test_untrained_models_are_refused(self, models):
        adata = models[0].adata.copy()
        lfa.LeafletFAModel.setup_anndata(adata)
        with pytest.raises(RuntimeError, match="not trained yet"):
            program_stability([models[0], lfa.LeafletFAModel(adata, 3)])


def test_invalid_input_is_refused(base):
    two = [base, base]
    with pytest.raises(ValueError, match="at least 2 models, found 1"):
        program_stability([base])
    with pytest.raises(ValueError, match="list or a mapping, found a ndarray"):
        program_stability(base)
    for value in (0, 1, 1.5, np.nan, "0.5", True):
        with pytest.raises(ValueError, match=r"Expected threshold in \(0, 1\), found"):
            program_stability(two, threshold=value)
    for value in (0, 1.5, np.nan, None, True):
        with pytest.raises(ValueError, match=r"Expected min_share in \(0, 1\], found"):
            program_stability(two, min_share=value)
    assert program_stability(two, min_share=1).n_reproducible == K
    with pytest.raises(ValueError, match="signal to be 'both', 'programs' or 'activities', found"):
        program_stability(two, signal="psi")
    with pytest.raises(KeyError, match=r"reference to be one of \[0, 1\], found 2"):
        program_stability(two, reference=2)
    with pytest.raises(ValueError, match="comparable models, found 0 and 1: .*399"):
        program_stability([base, base[1:]])
    with pytest.raises(ValueError, match="comparable models, found 'a' and 'b': .*'j0'"):
        program_stability({"a": frame(base), "b": frame(base).iloc[1:]})
