"""Placement of query cells: each as the reference places its own, whatever the others are."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.entries import entries_of
from scipy.stats import beta, binom

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi.inference import fit_prevalence

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")
ROUNDING = 1e-3
"""Absolute tolerance of activities that differ by rounding in float32 alone."""
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cells():
    return lfa.datasets.simulate_splicing(
        420, 120, 4, coverage=0.2, frac_differential=0.5, activity_concentration=0.8, seed=2
    )


@pytest.fixture(scope="module")
def reference(cells, fit):
    """Trained on 300 of the cells; for reading only."""
    return fit(cells[:300].copy(), 4, max_epochs=200)


@pytest.fixture(scope="module")
def joint(cells, fit):
    """Trained on all 420 cells; for reading only."""
    return fit(cells.copy(), 4, max_epochs=200)


@pytest.fixture
def new(cells):
    """120 cells that the reference was not trained on."""
    return cells[300:].copy()


def placed(adata, reference, **options):
    query = LeafletFAModel.load_query_data(adata.copy(), reference, **options)
    query.train(**QUIET)
    return query


def activities(adata, reference):
    return placed(adata, reference).get_cell_activities()


def matched(model, cells, rows):
    """Activities and true ones, programs matched by PSI."""
    psi = model.get_splicing_programs().to_numpy()
    match = lfa.tl.match_programs(cells.varm["psi_true"], psi)
    return match["learned"].to_numpy(), cells.obsm["phi_true"][rows][:, match["reference"]]


def correlation(found, true):
    each = zip(found.T, true.T, strict=True)
    return np.mean([np.corrcoef(a, b)[0, 1] for a, b in each])


class TestPlacement:
    def test_as_true_and_as_pronounced_as_in_the_joint_fit(self, cells, reference, joint, new):
        found = activities(new, reference).to_numpy()
        order, true = matched(reference, cells, slice(300, None))
        together = joint.get_latent_representation()[300:]
        own, own_true = matched(joint, cells, slice(300, None))
        assert found.max(1).mean() == pytest.approx(together.max(1).mean(), rel=0.02)
        difference = correlation(together[:, own], own_true) - correlation(found[:, order], true)
        assert difference < 0.01

    def test_training_cells_are_placed_where_they_are(self, cells, reference):
        own = reference.get_latent_representation()
        found = activities(cells[:300], reference).to_numpy()
        assert correlation(found, own) > 0.998
        assert np.abs(found - own).mean() < 0.01

    def test_intervals_contain_the_truth_as_often_as_those_of_the_reference(
        self, cells, reference, new
    ):
        shares = []
        for model, rows in (
            (reference, slice(0, 300)),
            (placed(new, reference), slice(300, None)),
        ):
            order, true = matched(model, cells, rows)
            lower, upper = (x.to_numpy()[:, order] for x in model.get_credible_intervals("phi"))
            shares.append(((lower <= true) & (true <= upper)).mean())
        assert shares[1] > shares[0] - 0.02


class TestOtherCells:
    """With the prevalence of the reference, they do not matter."""

    @pytest.fixture(scope="class")
    def whole(self, cells, reference):
        return activities(cells[300:], reference)

    @pytest.mark.parametrize("part", [[17], slice(None, None, -1), slice(20, 60)])
    def test_order_and_number(self, reference, new, whole, part):
        some = new[np.arange(120)[part]].copy()
        found = activities(some, reference)
        pd.testing.assert_frame_equal(found, whole.loc[found.index], check_exact=True)

    def test_many_other_cells(self, reference, new, whole):
        """In several blocks, and whatever the random state."""
        many = anndata.concat([new] * 4, index_unique="-", merge="same")
        query = LeafletFAModel.load_query_data(many, reference)
        torch.manual_seed(11)
        query.train(batch_size=100, **QUIET)
        found = query.get_latent_representation().reshape(4, 120, -1)
        np.testing.assert_array_equal(found, np.broadcast_to(whole, found.shape))

    def test_half_of_the_junctions_and_more_of_others(self, cells, reference, new):
        """Activities are less certain with half of the ATSEs, and unchanged by others."""
        whole = activities(new, reference)
        codes = pd.factorize(new.var["atse_id"])[0]
        half = new[:, codes % 2 == 0].copy()
        LeafletFAModel.prepare_query_anndata(half, reference)
        order, true = matched(reference, cells, slice(300, None))
        found = activities(half, reference).to_numpy()
        assert (
            0.75
            < correlation(found[:, order], true)
            < correlation(whole.to_numpy()[:, order], true)
        )
        extra = new[:, : int(0.3 * new.n_vars)].copy()
        extra.var_names = [f"extra_{name}" for name in extra.var_names]
        extra.var["atse_id"] = "extra_" + extra.var["atse_id"].astype(str)
        more = anndata.concat([extra, new], axis="var", merge="first")
        more = more[:, np.random.default_rng(0).permutation(more.n_vars)].copy()
        LeafletFAModel.prepare_query_anndata(more, reference)
        assert np.abs(activities(more, reference) - whole).max(axis=None) < ROUNDING


class TestPrevalence:
    @pytest.fixture(scope="class")
    def one_type(self, cells, reference):
        """Cells with little but the program that is rarest in the reference, with few reads."""
        order, _ = matched(reference, cells, slice(None))
        rare = list(order).index(3)
        more = lfa.datasets.simulate_splicing(
            1500, 120, 4, coverage=0.05, frac_differential=0.5, activity_concentration=0.8, seed=2
        )
        np.testing.assert_array_equal(more.varm["psi_true"], cells.varm["psi_true"])
        more.var_names = cells.var_names
        match = lfa.tl.match_programs(
            cells.varm["psi_true"], reference.get_splicing_programs().to_numpy()
        )
        column = match["reference"].to_numpy()[rare]
        return more[more.obsm["phi_true"][:, column] > 0.6].copy()

    def test_that_of_the_query_follows_its_cells(self, reference, one_type):
        assert one_type.n_obs > 50
        before = {k: v.clone() for k, v in reference.module.state_dict().items()}
        plain, own = (
            placed(one_type, reference, query_prevalence=name) for name in ("reference", "query")
        )
        for query, free in ((plain, set()), (own, {"_guide.pi_log"})):
            for name, value in query.module.state_dict().items():
                if not name.startswith("_guide.phi_") and name not in free:
                    assert torch.equal(value, before[name]), name
        pd.testing.assert_series_equal(
            plain.get_program_prevalence(), reference.get_program_prevalence()
        )
        prevalence = own.get_program_prevalence()
        assert list(prevalence.index) == reference.program_names
        assert prevalence.sum() == pytest.approx(1.0)
        assert prevalence["SP_4"] > 0.6 > 0.3 > reference.get_program_prevalence()["SP_4"]
        summary = own.posterior_summary()
        assert summary.loc["pi[SP_4]", "mean"] == pytest.approx(prevalence["SP_4"], rel=1e-5)
        rare = [q.get_cell_activities()["SP_4"].mean() for q in (plain, own)]
        assert rare[1] > rare[0] + 0.05
        assert prevalence["SP_4"] == pytest.approx(rare[1], abs=0.1)

    def test_close_to_that_of_the_reference_for_the_same_mixture(self, cells, reference, new):
        found = placed(new, reference, query_prevalence="query").get_program_prevalence()
        assert np.abs(found - reference.get_program_prevalence()).max() < 0.1

    @pytest.mark.parametrize("with_data", [True, False])
    def test_saved_and_loaded(self, reference, new, tmp_path, with_data):
        new = new[:30].copy()
        query = LeafletFAModel.load_query_data(new, reference, query_prevalence="query")
        query.train(max_epochs=5, **QUIET)
        query.save(tmp_path / "query")
        loaded = LeafletFAModel.load(tmp_path / "query", new if with_data else False)
        assert loaded.query_prevalence_ == "query"
        for name in ("get_program_prevalence", "get_cell_activities"):
            assert getattr(loaded, name)().equals(getattr(query, name)())
        if with_data:  # learned again, from the same cells
            loaded.train(max_epochs=5, **QUIET)
            assert loaded.get_program_prevalence().equals(query.get_program_prevalence())

    @pytest.mark.parametrize("n_cells", [1, 2])
    def test_few_cells(self, reference, new, n_cells):
        query = placed(new[:n_cells], reference, query_prevalence="query")
        prevalence = query.get_program_prevalence()
        assert (prevalence > 0.01).all()
        assert np.isfinite(query.get_latent_representation()).all()

    def test_cells_without_reads(self, reference, new):
        empty = new[:3].copy()
        for name in LAYERS:
            layer = empty.layers[name].tolil()
            layer[:2] = 0
            empty.layers[name] = layer.tocsr()
        query = placed(empty, reference, query_prevalence="query")
        np.testing.assert_allclose(
            query.get_latent_representation()[:2],
            np.tile(query.get_program_prevalence(), (2, 1)),
            rtol=1e-4,
        )

    def test_unknown_names_are_refused(self, reference, new):
        with pytest.raises(ValueError, match="query_prevalence"):
            LeafletFAModel.load_query_data(new, reference, query_prevalence="both")
        assert not any(key.startswith("_scvi") for key in new.uns)


@pytest.mark.parametrize("n_cells", [1, 40])
def test_posterior_of_the_prevalence_against_exact_sums(n_cells):
    """Two programs: the posterior of pi, activities summed out on a grid, is a curve."""
    rng = np.random.default_rng(1)
    delta, prior, n_reads = 1.5, np.array([0.6, 0.6]), 30
    psi = np.array([[0.9, 0.2], [0.3, 0.8]])
    phi = rng.dirichlet(delta * np.array([0.3, 0.7]), n_cells)
    y = rng.binomial(n_reads, phi @ psi.T)
    edges = np.linspace(0, 1, 801)
    middle = (edges[1:] + edges[:-1]) / 2
    p = np.stack([middle, 1 - middle], 1) @ psi.T
    reads = np.exp(binom.logpmf(y[:, None], n_reads, p).sum(2))
    grid = (np.arange(300) + 0.5) / 300
    mass = np.diff(beta.cdf(edges, delta * grid[:, None], delta * (1 - grid[:, None])), axis=1)
    log = np.log(mass @ reads.T).sum(1) + beta.logpdf(grid, *prior)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = weight @ grid
    sd = np.sqrt(weight @ (grid - mean) ** 2)
    state = torch.get_rng_state()
    entries = entries_of(y, np.full_like(y, n_reads))
    programs = torch.from_numpy(psi).float()
    found = fit_prevalence(entries, programs, None, torch.from_numpy(prior), delta).numpy()
    assert torch.equal(torch.get_rng_state(), state)
    assert beta.mean(*found) == pytest.approx(mean, abs=0.3 * sd)
    assert beta.std(*found) == pytest.approx(sd, rel=0.3)


@pytest.mark.parametrize(
    "given",
    [
        {"early_stopping": True},
        {"lr": 0.1},
        {"plan_kwargs": {"n_particles": 2}},
        {"init": "random"},
        {"n_restarts": 2},
        {"logger": "csv"},
        {"callbacks": [object()]},
        {"em_iterations": 10},
        {"gradient_clip_val": 1.0},
        {"early_stopping_patience": 3},
    ],
)
def test_arguments_that_do_not_apply_are_refused(reference, new, given):
    query = LeafletFAModel.load_query_data(new[:3].copy(), reference)
    with pytest.raises(ValueError, match=f"Expected no {next(iter(given))} for a query"):
        query.train(**given, **QUIET)
    assert not query.is_trained_


def test_hidden_pairs_are_scored_at_the_end(reference, new):
    query = LeafletFAModel.load_query_data(new[:40].copy(), reference)
    query.train(validation_size=0.2, **QUIET)
    score = query.history["reconstruction_loss_validation"]
    assert len(score) == 1
    assert list(score.index) == [len(query.history["elbo_train"]) - 1]
    assert np.isfinite(score.to_numpy(float)).all()
