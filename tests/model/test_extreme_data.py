"""Every variant of the model and every extreme of the data; what is not allowed."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import scvi

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

pytestmark = pytest.mark.filterwarnings("ignore:.*no observed entry:UserWarning")
LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")


def check(model):
    """Check properties of every fit."""
    phi, psi = model.get_cell_activities(), model.get_splicing_programs()
    n_cells, n_junctions, k = model.adata.n_obs, model.adata.n_vars, model.n_programs
    assert phi.shape == (n_cells, k)
    assert psi.shape == (n_junctions, k)
    np.testing.assert_allclose(phi.sum(1), 1, atol=1e-5)
    assert ((psi > 0) & (psi < 1)).all(axis=None)
    assert np.isfinite(model.get_log_likelihood()).all()
    assert np.isfinite(model.get_elbo(2))
    assert np.isfinite(model.posterior_summary()).all(axis=None)
    for parameter in ("psi", "phi"):
        lower, upper = model.get_credible_intervals(parameter)
        assert (lower <= upper).all(axis=None)
    expected = model.get_normalized_splicing(shrink=True, return_numpy=True)
    assert ((expected >= 0) & (expected <= 1)).all()
    new = model.adata[:5].copy()
    new.obs_names = [f"new_{name}" for name in new.obs_names]
    np.testing.assert_allclose(model.get_cell_activities(new).sum(1), 1, atol=1e-5)
    assert np.isfinite(model.history["elbo_train"].to_numpy(float)).all()


VARIANTS = {
    "default": {},
    "binomial": {"likelihood": "binomial"},
    "infinite concentration": {"concentration": np.inf},
    "fixed concentration": {"concentration": 4.0},
    "fixed activity concentration": {"activity_concentration": 0.3},
    "one concentration": {"dispersion": "global"},
    "prior of each junction": {"junction_prior": "junction"},
    "global prior": {"junction_prior": "global"},
    "published prior": {"concentration_prior": "leafletfa"},
    "all fixed": {
        "junction_prior": "global",
        "concentration": 15.0,
        "activity_concentration": 1.5,
    },
}


@pytest.mark.parametrize(
    ("name", "batch_size"),
    [*((name, None) for name in VARIANTS), ("default", 33), ("all fixed", 33), ("binomial", 79)],
)
def test_every_variant_learns(clear, fit, name, batch_size):
    model = fit(clear, 2, options=VARIANTS[name], max_epochs=6, batch_size=batch_size)
    check(model)
    match = lfa.tl.match_programs(clear.obsm["phi_true"], model.get_latent_representation())
    assert match["correlation"].min() > 0.9


def test_an_infinite_concentration_is_the_binomial(small, fit):
    binomial = fit(small.copy(), 2, options={"likelihood": "binomial"}, max_epochs=3)
    infinite = fit(small.copy(), 2, options={"concentration": np.inf}, max_epochs=3)
    np.testing.assert_array_equal(
        binomial.get_latent_representation(), infinite.get_latent_representation()
    )
    assert infinite.module.model.likelihood.name == "binomial"
    large = fit(small.copy(), 2, options={"concentration": 1e6}, max_epochs=3)
    np.testing.assert_allclose(
        large.get_latent_representation(), binomial.get_latent_representation(), atol=0.02
    )
    np.testing.assert_allclose(
        large.get_log_likelihood().sum(), binomial.get_log_likelihood().sum(), rtol=1e-2
    )


def test_fixed_values_do_not_change_and_learned_ones_do(small, fit):
    fixed = fit(small, 2, options={"concentration": 3.0, "activity_concentration": 0.4})
    mean = fixed.posterior_summary()["mean"]
    assert mean["kappa"] == 3.0
    assert mean["delta"] == pytest.approx(0.4)
    assert not {"kappa", "delta"} & set(fixed.module.guide.scalars)
    for dispersion, name in (("global", "kappa"), ("junction", "kappa_median")):
        free = fit(small, 2, options={"dispersion": dispersion}).posterior_summary()["mean"]
        assert free[name] == pytest.approx(20, rel=0.5)


def test_junction_priors_are_one_pair_or_one_per_junction(small, fit):
    each = fit(small.copy(), 2, max_epochs=2, options={"junction_prior": "junction"})
    one = fit(small.copy(), 2, max_epochs=2, options={"junction_prior": "global"})
    assert each.module.guide.a.loc.shape == (small.n_vars, 1)
    assert one.module.guide.a.loc.shape == (1, 1)
    assert "a" in one.posterior_summary().index
    assert "a" not in each.posterior_summary().index


def one_cell(adata):
    return adata[3].copy()


def one_junction(adata):
    usage = np.asarray((adata.layers[LAYERS[1]] > 0).sum(0)).ravel()
    adata = adata[:, usage.argmax()].copy()
    del adata.var["atse_id"]
    return adata


def huge(adata):
    adata = adata.copy()
    for name in LAYERS:
        adata.layers[name] = (adata.layers[name].astype(np.int64) * 20_000).astype(np.int32)
    assert adata.layers[LAYERS[1]].max() > 10**6
    return adata


def single_reads(adata):
    adata = adata.copy()
    rng = np.random.default_rng(0)
    total = (adata.layers[LAYERS[1]].toarray() > 0).astype(int)
    adata.layers[LAYERS[1]] = sp.csr_matrix(total)
    adata.layers[LAYERS[0]] = sp.csr_matrix(total * (rng.random(total.shape) < 0.1))
    del adata.var["atse_id"]
    return adata


def constant(adata):
    adata = adata.copy()
    adata.layers[LAYERS[0]] = adata.layers[LAYERS[1]].copy()
    del adata.var["atse_id"]
    return adata


@pytest.mark.parametrize("likelihood", ["betabinomial", "binomial"])
@pytest.mark.parametrize(
    ("change", "n_programs"),
    [
        (one_cell, 1),
        (one_junction, 1),
        (one_junction, 3),
        (huge, 3),
        (single_reads, 2),
        (constant, 2),
        (lambda adata: adata[:12].copy(), 12),
        (lambda adata: adata.copy(), 1),
    ],
    ids=[
        "one cell",
        "one junction",
        "one junction, three programs",
        "counts of a million",
        "one read each",
        "all reads include",
        "as many programs as cells",
        "one program",
    ],
)
def test_extreme_data(small, fit, change, n_programs, likelihood):
    model = fit(change(small), n_programs, options={"likelihood": likelihood}, max_epochs=6)
    check(model)


def test_one_program_is_the_usage_of_each_junction(small, fit):
    model = fit(small, 1, max_epochs=30)
    assert (model.get_latent_representation() == 1).all()
    y, n = (small.layers[name].toarray().sum(0) for name in LAYERS)
    many = n > 150
    psi = model.get_splicing_programs()["SP_1"].to_numpy()
    assert np.abs(psi - y / np.maximum(n, 1))[many].mean() < 0.06
    lower, upper = model.get_credible_intervals("phi")
    assert (lower == 1).all(axis=None)
    assert (upper == 1).all(axis=None)
    with pytest.raises(ValueError, match="only one"):
        model.program_markers()


def test_all_reads_include_gives_a_psi_near_one(small, fit):
    model = fit(constant(small), 2, max_epochs=20)
    seen = np.asarray((small.layers[LAYERS[1]] > 0).sum(0)).ravel() > 20
    assert model.get_splicing_programs().to_numpy()[seen].min() > 0.9


def test_labels_are_optional(small, fit):
    del small.var["atse_id"]
    assert fit(small, 2, max_epochs=2).atse_codes_ is None
    small.var["event"] = "a"
    scvi.settings.seed = 0
    with pytest.raises(KeyError, match="nothing"):
        LeafletFAModel.setup_anndata(small, atse_key="nothing")


def test_other_layer_names(small, fit):
    plain = fit(small.copy(), 2, max_epochs=2).get_latent_representation()
    small.layers["y"], small.layers["n"] = (small.layers.pop(name) for name in LAYERS)
    scvi.settings.seed = 0
    LeafletFAModel.setup_anndata(small, junction_layer="y", cluster_layer="n")
    model = LeafletFAModel(small, 2)
    quick = {"max_epochs": 2, "em_iterations": 30, "accelerator": "cpu"}
    model.train(**quick, enable_progress_bar=False)
    np.testing.assert_array_equal(model.get_latent_representation(), plain)
    check(model)


class TestSetup:
    def test_a_failure_does_not_change_the_data(self, small):
        layer = small.layers[LAYERS[0]].astype(float)
        layer.data[0] = 0.5
        small.layers[LAYERS[0]] = layer
        uns = list(small.uns)
        with pytest.raises(ValueError, match="fractional"):
            LeafletFAModel.setup_anndata(small)
        assert list(small.uns) == uns

    def test_a_view_is_refused(self, small):
        with pytest.raises(ValueError, match="view"):
            LeafletFAModel.setup_anndata(small[:10])

    def test_an_unknown_argument_is_refused(self, small):
        with pytest.raises(TypeError, match="no argument 'size_factor_key'"):
            LeafletFAModel.setup_anndata(small, size_factor_key="size")

    def test_a_model_needs_setup(self, small):
        with pytest.raises(ValueError, match="set up"):
            LeafletFAModel(small, 2)


@pytest.fixture
def registered(small):
    LeafletFAModel.setup_anndata(small)
    return small


@pytest.mark.parametrize("n_programs", [0, -1, 81, 2.5, 3.0, "3", True, None, float("nan")])
def test_numbers_of_programs_that_are_refused(registered, n_programs):
    with pytest.raises(ValueError, match="n_programs"):
        LeafletFAModel(registered, n_programs)


@pytest.mark.parametrize("n_programs", [1, 80, np.int32(4)])
def test_numbers_of_programs_that_are_accepted(registered, n_programs):
    model = LeafletFAModel(registered, n_programs)
    assert model.n_programs == n_programs
    assert type(model.n_programs) is int


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "poisson"}, "likelihood"),
        ({"likelihood": None}, "likelihood"),
        ({"junction_prior": "gene"}, "junction_prior"),
        ({"concentration_prior": "flat"}, "concentration_prior"),
        ({"concentration": 0}, "concentration .*above 0"),
        ({"concentration": -3.0}, "concentration .*above 0"),
        ({"concentration": np.nan}, "concentration .*above 0"),
        ({"activity_concentration": 0.0}, "activity_concentration .*above 0"),
        ({"activity_concentration": np.inf}, "activity_concentration to be a finite number"),
        ({"likelihood": "binomial", "concentration": 3.0}, "binomial has no concentration"),
    ],
)
def test_options_that_are_refused(registered, options, message):
    with pytest.raises(ValueError, match=message):
        LeafletFAModel(registered, 2, **options)
