"""ELBO, global parameters, and export to an AnnData."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import lognorm

import leafletfa_scvi as lfa
from leafletfa_scvi.model import _export

pytestmark = pytest.mark.filterwarnings("ignore:.*no observed entry:UserWarning")
LEARNED = ["a_shape", "a_rate", "b_shape", "b_rate", "alpha_pi"]
MIXTURE = ["alpha_pi", *(f"strength[{c}]" for c in (1, 3, 10, 30, 100, 300, 1000))]
PUBLISHED = {"junction_prior": "junction", "dispersion": "global"}
KAPPAS = ["kappa_median", "kappa_spread"]


class TestElbo:
    def test_is_near_the_last_training_loss(self, recovered):
        last = -recovered.history["elbo_train"].to_numpy(float)[-20:]
        elbo = recovered.get_elbo(30)
        assert abs(elbo - last.mean()) < 4 * last.std()
        assert abs(elbo - last.mean()) < 1e-3 * abs(elbo)
        # Below the likelihood at the means, by what the posterior costs.
        assert elbo < recovered.get_log_likelihood().sum()

    def test_training_raises_it(self, small, fit):
        short = fit(small, 3, max_epochs=1, em_iterations=0, init="random").get_elbo(10)
        assert fit(small, 3, max_epochs=40).get_elbo(10) > short + 500

    def test_more_draws_scatter_less(self, small, fit):
        model = fit(small, 3)
        spread = [np.std([model.get_elbo(k) for _ in range(10)]) for k in (1, 16)]
        assert spread[1] < 0.6 * spread[0]


class TestPosteriorSummary:
    @pytest.mark.parametrize(
        ("options", "rows"),
        [
            ({}, [*MIXTURE, "delta", *KAPPAS]),
            ({"likelihood": "binomial"}, [*MIXTURE, "delta"]),
            (PUBLISHED, [*LEARNED, "delta", "kappa"]),
            ({"junction_prior": "global"}, [*LEARNED, "delta", *KAPPAS, "a", "b"]),
            ({"concentration": 5.0, "activity_concentration": 0.7}, [*MIXTURE, "kappa", "delta"]),
        ],
    )
    def test_rows(self, small, fit, options, rows):
        model = fit(small, 2, max_epochs=2, options=options)
        summary = model.posterior_summary()
        assert list(summary.columns) == ["mean", "sd", "lower", "upper"]
        assert set(summary.index) == {*rows, "pi[SP_1]", "pi[SP_2]"}
        assert summary.index.is_unique
        free = summary.drop(["kappa", "delta"], errors="ignore")
        assert (free["sd"] > 0).all()
        assert ((free["lower"] < free["mean"]) & (free["mean"] < free["upper"])).all()
        if "concentration" in options:
            assert summary.loc["kappa"].tolist() == [5.0, 0.0, 5.0, 5.0]
            np.testing.assert_allclose(summary.loc["delta"], [0.7, 0, 0.7, 0.7], rtol=1e-6)

    def test_values_are_those_of_the_log_normal_and_of_the_beta(self, trained, small, fit):
        published = fit(small, 2, max_epochs=5, options=PUBLISHED)
        for model, names in ((trained, [*KAPPAS, "delta"]), (published, ["kappa", "a_rate"])):
            summary, state = model.posterior_summary(0.8), model.module.state_dict()
            for name in names:
                loc = float(state[f"_guide.scalars.{name}.loc"])
                scale = float(np.exp(state[f"_guide.scalars.{name}.log_scale"]))
                site = lognorm(scale, scale=np.exp(loc))
                want = [site.mean(), site.std(), site.ppf(0.1), site.ppf(0.9)]
                np.testing.assert_allclose(summary.loc[name], want, rtol=1e-4)
        summary, state = trained.posterior_summary(0.8), trained.module.state_dict()
        rows = {"pi_log": [f"pi[{name}]" for name in trained.program_names]}
        rows["strength_log"] = MIXTURE[1:]
        rng = np.random.default_rng(0)
        for parameter, names in rows.items():
            draws = rng.dirichlet(np.exp(state[f"_guide.{parameter}"].double().numpy()), 40000)
            shares = summary.loc[names]
            np.testing.assert_allclose(shares["mean"], draws.mean(0), rtol=0.03, atol=1e-3)
            np.testing.assert_allclose(shares["sd"], draws.std(0), rtol=0.03, atol=1e-3)
            for end, q in (("lower", 0.1), ("upper", 0.9)):
                want = np.quantile(draws, q, 0)
                np.testing.assert_allclose(shares[end], want, rtol=0.03, atol=1e-3)
        prevalence = summary.loc[rows["pi_log"], "mean"]
        np.testing.assert_allclose(prevalence, trained.get_program_prevalence(), rtol=1e-5)

    def test_one_program_has_a_prevalence_of_one(self, small, fit):
        summary = fit(small, 1, max_epochs=2).posterior_summary()
        assert summary.loc["pi[SP_1]"].tolist() == [1, 0, 1, 1]


class TestExport:
    def test_slots_are_the_documented_ones(self, trained, gaps):
        before = gaps.copy()
        trained.export_posterior(gaps)
        assert set(gaps.obsm) - set(before.obsm) == {"X_PHI"}
        assert set(gaps.varm) - set(before.varm) == {"psi_learned"}
        assert set(gaps.uns) - set(before.uns) == {"leafletfa"}
        assert [c for c in gaps.obs if c not in before.obs] == ["SP_1", "SP_2", "SP_3"]
        assert list(gaps.var) == list(before.var)
        assert list(gaps.layers) == list(before.layers)
        for name in before.layers:
            assert (gaps.layers[name] != before.layers[name]).nnz == 0
        pd.testing.assert_frame_equal(gaps.obs[before.obs.columns], before.obs)

        np.testing.assert_array_equal(gaps.obsm["X_PHI"], trained.get_cell_activities())
        np.testing.assert_array_equal(gaps.varm["psi_learned"], trained.get_splicing_programs())
        names = trained.program_names
        np.testing.assert_array_equal(gaps.obs[names], trained.get_cell_activities())
        results = gaps.uns["leafletfa"]
        assert set(results) == {
            *(
                "version",
                "programs",
                "pi",
                "kappa",
                "delta",
                "elbo_history",
                "em_objective",
                "params",
            ),
            *("junctions", "psi_concentration", "psi_variance", "activity_weight"),
        }
        np.testing.assert_array_equal(results["pi"], trained.get_program_prevalence())
        summary = trained.posterior_summary()["mean"]
        np.testing.assert_allclose(results["kappa"], trained.get_concentrations())
        np.testing.assert_array_equal(results["junctions"], gaps.var_names)
        guide = trained.module.guide
        size = sum(guide.psi_marginal()).detach()
        np.testing.assert_array_equal(results["psi_concentration"], size)
        np.testing.assert_array_equal(results["psi_variance"], guide.psi_variance)
        assert not np.shares_memory(results["psi_variance"], guide.psi_variance.numpy())
        assert results["delta"] == pytest.approx(summary["delta"])
        np.testing.assert_allclose(
            results["elbo_history"], -trained.history["elbo_train"]["elbo_train"].astype(float)
        )
        np.testing.assert_array_equal(
            results["em_objective"], trained.history["em_objective"]["em_objective"]
        )
        assert results["version"] == lfa.__version__
        assert results["params"]["n_programs"] == 3
        assert results["params"]["likelihood"] == "betabinomial"

    def test_round_trip_through_h5ad(self, trained, gaps, tmp_path):
        trained.export_posterior(gaps)
        gaps.write_h5ad(tmp_path / "result.h5ad")
        back = anndata.read_h5ad(tmp_path / "result.h5ad")
        np.testing.assert_array_equal(back.obsm["X_PHI"], gaps.obsm["X_PHI"])
        np.testing.assert_array_equal(back.varm["psi_learned"], gaps.varm["psi_learned"])
        np.testing.assert_array_equal(back.obs["SP_3"], gaps.obs["SP_3"])
        np.testing.assert_array_equal(
            back.uns["leafletfa"]["kappa"], gaps.uns["leafletfa"]["kappa"]
        )
        assert dict(back.uns["leafletfa"]["params"]) == gaps.uns["leafletfa"]["params"]
        assert list(back.uns["leafletfa"]["programs"]) == trained.program_names

    @pytest.mark.parametrize("through_file", [False, True])
    def test_a_smaller_fit_removes_columns_of_a_larger_one(
        self, trained, gaps, fit, tmp_path, through_file
    ):
        gaps.obs["SP_9"], gaps.obs["SP_mine"] = 1.0, 2.0
        trained.export_posterior(gaps)
        if through_file:
            gaps.write_h5ad(tmp_path / "result.h5ad")
            gaps = anndata.read_h5ad(tmp_path / "result.h5ad")
        gaps.obs["later"] = 3.0
        fit(gaps.copy(), 2, max_epochs=2).export_posterior(gaps)
        columns = list(gaps.obs)
        assert "SP_3" not in columns
        assert {"SP_1", "SP_2", "SP_9", "SP_mine", "later", "half"} <= set(columns)
        assert (gaps.obs["SP_9"] == 1).all()
        assert gaps.obsm["X_PHI"].shape == (90, 2)
        assert gaps.varm["psi_learned"].shape == (137, 2)
        np.testing.assert_array_equal(gaps.obs["SP_2"], gaps.obsm["X_PHI"][:, 1])
        trained.export_posterior(gaps)
        assert {"SP_1", "SP_2", "SP_3", "SP_9"} <= set(gaps.obs)

    def test_the_models_own_data_by_default(self, small, fit):
        model = fit(small, 2, max_epochs=2)
        model.export_posterior()
        np.testing.assert_array_equal(small.obsm["X_PHI"], model.get_latent_representation())

    def test_some_cells_and_new_cells(self, trained, gaps):
        some = gaps[[6, 3]].copy()
        trained.export_posterior(some)
        np.testing.assert_array_equal(
            some.obsm["X_PHI"], trained.get_latent_representation()[[6, 3]]
        )
        some.obs_names = ["a", "b"]
        trained.export_posterior(some)
        np.testing.assert_array_equal(some.obsm["X_PHI"], trained.get_latent_representation(some))

    @pytest.mark.parametrize("failure", ["junctions", "counts", "results"])
    def test_a_failure_writes_nothing(self, trained, gaps, monkeypatch, failure):
        if failure == "junctions":
            gaps = gaps[:, 1:].copy()
        elif failure == "counts":
            gaps.layers["cell_by_junction_matrix"] = (
                gaps.layers["cell_by_junction_matrix"].astype(float) * 1.5
            )
        else:

            def fail(model, indexer):
                raise ValueError("no results")

            monkeypatch.setattr(_export, "global_results", fail)
        before = gaps.copy()
        with pytest.raises(ValueError, match=r"lacks 1 of|fractional|no results"):
            trained.export_posterior(gaps)
        pd.testing.assert_frame_equal(gaps.obs, before.obs)
        for slot in ("obsm", "varm", "uns"):
            assert list(getattr(gaps, slot)) == list(getattr(before, slot))

    def test_the_binomial_has_an_infinite_concentration(self, small, fit, tmp_path):
        model = fit(small, 2, max_epochs=2, options={"likelihood": "binomial"})
        model.export_posterior()
        assert small.uns["leafletfa"]["kappa"] == np.inf
        small.write_h5ad(tmp_path / "result.h5ad")
        assert anndata.read_h5ad(tmp_path / "result.h5ad").uns["leafletfa"]["kappa"] == np.inf


def test_reading_the_posterior_draws_nothing_from_the_global_generator(trained, gaps):
    state = torch.get_rng_state()
    trained.get_splicing_programs()
    trained.get_normalized_splicing(shrink=True)
    trained.get_credible_intervals("phi")
    trained.posterior_summary()
    trained.get_log_likelihood()
    trained.export_posterior(gaps)
    assert torch.equal(torch.get_rng_state(), state)
