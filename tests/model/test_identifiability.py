"""How far the data determine a fit, and the warning where they do not."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace

import numpy as np
import pytest
import scvi
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi._warnings import IdentifiabilityWarning

EMPTY_CELL = 7
pytestmark = pytest.mark.filterwarnings("ignore:.*no observed entry:UserWarning")


def by_em(adata, n_programs, *, seed=0, **options):
    """Fit by EM; return the model, and the messages of its IdentifiabilityWarnings."""
    scvi.settings.seed = seed
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LeafletFAModel.setup_anndata(adata)
        model = LeafletFAModel(adata, n_programs, **options)
        model.train(method="em", accelerator="cpu")
    own = [w for w in caught if issubclass(w.category, IdentifiabilityWarning)]
    assert all(w.filename == __file__ for w in own)
    assert model._is_identified == (not own)
    return model, [str(w.message) for w in own]


def simulated(*size, **options):
    return lfa.datasets.simulate_splicing(*size, **options)


@pytest.fixture(scope="module")
def result(recovered):
    return recovered.identifiability()


class TestTables:
    def test_cells(self, recovered, result):
        adata, cells = recovered.adata, result.cells
        y, n = (adata.layers[f"cell_by_{x}_matrix"].toarray() for x in ("junction", "cluster"))
        assert cells.index.equals(adata.obs_names)
        assert cells["n_entries"].tolist() == (n > 0).sum(1).tolist()
        assert cells["n_reads"].tolist() == y.sum(1).tolist()
        phi = recovered.get_cell_activities()
        assert cells["main_program"].tolist() == phi.idxmax(axis=1).tolist()
        np.testing.assert_allclose(cells["main_activity"], phi.max(axis=1))

    def test_share_of_the_prior(self, recovered, result):
        guide = recovered.module.guide
        pi = recovered.get_program_prevalence().to_numpy()
        delta = recovered.posterior_summary().loc["delta", "mean"]
        assert result.prior_concentration == pytest.approx(delta, rel=1e-4)
        prior = sum(p * (1 - p) / (delta + 1) for p in pi)
        a = guide.phi_concentration().detach().numpy()
        for c in (0, 17, 399):
            m, total = a[c] / a[c].sum(), a[c].sum()
            own = m * (1 - m) / (total + 1)
            variance = np.maximum(own, guide.phi_variance[c].numpy()).sum()
            expected = min(variance / prior, 1.0)
            assert result.cells["prior_share"].iloc[c] == pytest.approx(expected, rel=1e-3)

    def test_cells_with_more_reads_are_less_prior(self, result):
        cells = result.cells
        few = cells["n_reads"] < cells["n_reads"].median()
        assert cells.loc[few, "prior_share"].mean() > 1.5 * cells.loc[~few, "prior_share"].mean()
        assert cells.loc[~few, "information"].mean() > cells.loc[few, "information"].mean()

    def test_a_cell_without_reads_is_all_prior(self, trained):
        cell = trained.identifiability().cells.iloc[EMPTY_CELL]
        assert cell["prior_share"] == 1.0
        assert cell["n_entries"] == cell["n_reads"] == cell["information"] == 0

    def test_programs(self, recovered, result):
        phi, psi = recovered.get_cell_activities(), recovered.get_splicing_programs()
        table = result.programs
        assert table.index.tolist() == list(psi.columns)
        assert table["n_cells"].sum() == len(phi)
        for name in psi:
            f = phi[name].to_numpy(float) ** 2
            assert table.loc[name, "effective_cells"] == pytest.approx(f.sum() ** 2 / (f @ f))
            assert table.loc[name, "n_cells"] == (phi.idxmax(axis=1) == name).sum()
            others = psi.drop(columns=name)
            difference = others.sub(psi[name], axis=0).abs()
            nearest = difference.mean().idxmin()
            assert table.loc[name, "nearest"] == nearest
            assert table.loc[name, "mean_difference"] == pytest.approx(
                difference[nearest].mean(), rel=1e-4
            )
            assert table.loc[name, "max_difference"] == pytest.approx(
                difference[nearest].max(), rel=1e-4
            )
        assert table["max_z"].min() > 5

    def test_differences_in_standard_deviations(self, recovered, result):
        # A normal interval of one standard deviation has the probability 0.6827.
        ends = recovered.get_credible_intervals("psi", 0.6827)
        sd = (ends.upper - ends.lower) / 2
        psi = recovered.get_splicing_programs()
        other = result.programs.loc["SP_1", "nearest"]
        z = (psi["SP_1"] - psi[other]).abs() / np.hypot(sd["SP_1"], sd[other])
        assert result.programs.loc["SP_1", "mean_z"] == pytest.approx(z.mean(), rel=0.1)

    def test_cells_are_chosen(self, recovered, result):
        some = recovered.identifiability(indices=[3, 1])
        expected = result.cells.iloc[[3, 1]]
        assert some.cells.index.equals(expected.index)
        np.testing.assert_allclose(some.cells["prior_share"], expected["prior_share"], rtol=1e-5)

    def test_needs_data_and_training(self, clear, recovered, tmp_path):
        LeafletFAModel.setup_anndata(clear)
        with pytest.raises(RuntimeError, match="not trained"):
            LeafletFAModel(clear, 2).identifiability()
        recovered.save(tmp_path / "model")
        loaded = LeafletFAModel.load(tmp_path / "model", adata=False)
        with pytest.raises(ValueError, match="needs the counts"):
            loaded.identifiability()


class TestReliability:
    def test_is_the_squared_correlation_with_the_truth(self, recovered, result):
        truth = recovered.adata.obsm["phi_true"]
        match = lfa.tl.match_programs(truth, recovered.get_cell_activities().to_numpy())
        assert np.sqrt(result.reliability) == pytest.approx(match["correlation"].mean(), abs=0.03)
        order = match["learned"].to_numpy()
        expected = np.sqrt(result.programs["reliability"].to_numpy()[order])
        np.testing.assert_allclose(expected, match["correlation"], atol=0.06)
        assert 0.8 < result.calibration < 1.3

    def test_noise_is_not_reliable(self):
        """Programs that EM finds in reads without programs, each cell with its own junctions."""
        rng = np.random.default_rng(0)
        adata = simulated(150, 60, 3, coverage=0.5, frac_differential=0, mean_depth=4, seed=1)
        start = rng.dirichlet(np.ones(3), 150), rng.uniform(0.05, 0.95, (adata.n_vars, 3))
        LeafletFAModel.setup_anndata(adata)
        model = LeafletFAModel(adata, 3, junction_prior="global")
        with pytest.warns(IdentifiabilityWarning, match="expected to correlate"):
            model.train(method="em", init=start, em_iterations=20, accelerator="cpu")
        result = model.identifiability()
        assert result.cells["prior_share"].mean() < 0.6  # a good fit, it seems
        assert result.calibration < 0.35
        assert len(result.problems) == 1


class TestWarnings:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_more_programs_than_samples_carry(self, seed):
        adata = simulated(12, 150, 3, coverage=0.9, mean_depth=60, seed=seed)
        model, (message,) = by_em(adata, 10, seed=seed)
        n = int((model.identifiability().programs["effective_cells"] < 2).sum())
        assert n >= 8
        assert f"{n} of 10 programs (SP_" in message
        assert "rest on fewer than 2 cells each" in message

    def test_programs_that_are_equal(self):
        adata = simulated(200, 2, 3, coverage=0.5, junctions_per_atse=(2, 3), seed=0)
        model, (message,) = by_em(adata, 3)
        assert "3 of 3 programs (SP_1, SP_2, SP_3) differ from another one by less" in message
        assert "correlate with the true ones by about 0.00" in message
        assert (model.identifiability().programs["max_difference"] < 0.01).all()

    @pytest.mark.parametrize(
        ("size", "options"),
        [
            ((200, 80, 3), {"coverage": 0.3}),
            ((200, 80, 3), {"coverage": 0.3, "likelihood": "betabinomial"}),
            ((12, 150, 3), {"coverage": 0.9, "mean_depth": 60}),
        ],
    )
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_good_fits_are_silent(self, size, options, seed):
        model, messages = by_em(simulated(*size, seed=seed, **options), size[2], seed=seed)
        assert messages == []
        assert model.identifiability().problems == ()

    def test_one_program(self, clear):
        model, messages = by_em(clear, 1)
        assert messages == []
        result = model.identifiability()
        assert "one program" in str(result)
        assert np.isnan(result.calibration)
        assert result.cells["prior_share"].isna().all()

    @pytest.mark.parametrize("likelihood", ["dirichlet-multinomial", "binomial"])
    def test_other_likelihoods(self, clear, likelihood):
        model, messages = by_em(clear, 2, likelihood=likelihood)
        assert messages == []
        assert 0.6 < model.identifiability().calibration < 1.3

    def test_batches(self):
        """A prediction that did not know the batch would deviate from its reads."""
        adata = simulated(200, 100, 3, coverage=0.4, n_batches=3, frac_batch=0.6, seed=0)
        scvi.settings.seed = 0
        LeafletFAModel.setup_anndata(adata, batch_key="batch")
        model = LeafletFAModel(adata, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("error", IdentifiabilityWarning)
            model.train(method="em", accelerator="cpu")
        result = model.identifiability()
        match = lfa.tl.match_programs(
            adata.obsm["phi_true"], model.get_cell_activities().to_numpy()
        )
        assert result.calibration == pytest.approx(1.0, abs=0.2)
        assert np.sqrt(result.reliability) == pytest.approx(match["correlation"].mean(), abs=0.05)

    def test_main_numbers_are_logged(self, clear, caplog):
        with caplog.at_level(logging.INFO, "leafletfa_scvi"):
            model, _ = by_em(clear, 2)
        result = model.identifiability()
        assert f"Fit of 80 cells: {result.describe()}." in caplog.text
        assert f"Identifiability: {result.describe()}." in str(result)


class TestQueries:
    def test_programs_of_a_reference_are_not_judged_by_other_cells(self, recovered):
        cells = recovered.adata[:1].copy()
        cells.obs_names = ["new"]
        query = LeafletFAModel.load_query_data(cells, recovered)
        with warnings.catch_warnings():
            warnings.simplefilter("error", IdentifiabilityWarning)
            query.train(accelerator="cpu")
        assert (query.identifiability().programs["effective_cells"] < 2).all()

    def test_cells_that_have_too_few_reads(self, recovered):
        cells = recovered.adata[:60].copy()
        rng = np.random.default_rng(0)
        n_atses = cells.var["atse_id"].nunique()
        codes = cells.var["atse_id"].astype("category").cat.codes.to_numpy()
        kept = (rng.random((60, n_atses)) < 0.02)[:, codes]
        for name in ("cell_by_junction_matrix", "cell_by_cluster_matrix"):
            cells.layers[name] = cells.layers[name].toarray() * kept
        query = LeafletFAModel.load_query_data(cells, recovered)
        with pytest.warns(IdentifiabilityWarning, match="expected to correlate"):
            query.train(accelerator="cpu")

    def test_given_programs_without_uncertainty(self, recovered):
        programs = recovered.get_splicing_programs()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = LeafletFAModel.from_programs(programs)
        result = reference.identifiability(recovered.adata)
        assert result.programs["max_z"].isna().all()
        assert torch.is_grad_enabled()
        assert result.programs["max_difference"].notna().all()


@pytest.mark.parametrize("slope", [-315.37, 88.0])
def test_a_slope_of_noise_is_no_number_for_people(result, slope):
    exact = f"reads left out deviate {result.calibration:.2f} times as much"
    assert exact in result.describe()
    noise = replace(result, calibration=slope).describe()
    assert "reads left out do not deviate from junction means as predicted" in noise
