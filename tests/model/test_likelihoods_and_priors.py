"""Likelihoods, dispersions and priors of psi in the whole model: train, predict, save, query."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import torch
from scipy.special import gammaln

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
SHARED = {"likelihood": "dirichlet-multinomial"}
KINDS = {
    "mixture": {"junction_prior": "mixture", "dispersion": "global"},
    "own kappas": {"dispersion": "junction", "junction_prior": "junction"},
    "binomial, mixture": {"likelihood": "binomial", "junction_prior": "mixture"},
    "shared": {**SHARED, "junction_prior": "junction", "dispersion": "global"},
    "shared, infinite": {**SHARED, "concentration": np.inf, "junction_prior": "global"},
    "shared, mixture, own kappas": {
        **SHARED,
        "dispersion": "junction",
        "junction_prior": "mixture",
    },
}
LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")


@pytest.fixture(scope="module")
def _data():
    adata = lfa.datasets.simulate_splicing(90, 60, 2, coverage=0.5, frac_differential=0.7, seed=1)
    # Without one of its junctions, an ATSE has reads that belong to none.
    return adata[:, np.arange(adata.n_vars) != 5].copy()


@pytest.fixture
def data(_data):
    return _data.copy()


@pytest.fixture(scope="module")
def models(_data, fit):
    """One trained model of each kind; for reading only."""
    made: dict = {}

    def model(name):
        if name not in made:
            size = 40 if "own" in name else None
            made[name] = fit(
                _data.copy(), 2, options=KINDS[name], batch_size=size, validation_size=0.1
            )
        return made[name]

    return model


@pytest.mark.parametrize("name", KINDS)
def test_every_combination_learns_the_same_programs(models, name):
    model = models(name)
    adata = model.adata
    match = lfa.tl.match_programs(adata.obsm["phi_true"], model.get_latent_representation())
    assert match["correlation"].min() > 0.9
    psi = model.get_splicing_programs()
    assert list(psi.index) == list(adata.var_names)
    assert ((psi > 0) & (psi <= 1)).all(axis=None)
    if "shared" in name:
        labels = adata.var["atse_id"].to_numpy()
        sums = psi.groupby(labels).sum()
        lost = labels[4]  # beside the junction that was left out
        assert model.module.model.n_rows == adata.n_vars + 1
        np.testing.assert_allclose(sums.drop(lost), 1, rtol=1e-5)
        assert (sums.loc[lost] < 0.999).all()
    loss = model.history["reconstruction_loss_validation"].to_numpy(float)
    assert np.isfinite(loss).all()
    elbo = [np.mean([model.get_elbo(3, batch_size=b) for _ in range(4)]) for b in (None, 30)]
    assert elbo[0] == pytest.approx(elbo[1], rel=0.02)
    table = model.differential_splicing(idx1=range(45))
    assert sorted(table.index) == sorted(adata.var_names)
    assert len(model.program_markers(n_samples=20)) == 2 * adata.n_vars


@pytest.mark.parametrize("name", KINDS)
def test_intervals_contain_the_estimate(models, name):
    model = models(name)
    for parameter in ("psi", "phi"):
        psi = parameter == "psi"
        mean = model.get_splicing_programs() if psi else model.get_cell_activities()
        lower, upper = model.get_credible_intervals(parameter)
        assert lower.shape == mean.shape
        assert ((lower <= mean) & (mean <= upper)).all(axis=None)


@pytest.mark.parametrize("name", KINDS)
def test_concentrations_and_shrunk_predictions(models, name):
    model = models(name)
    kappa = model.get_concentrations()
    mean = model.module.site_mean("kappa")
    if mean is None:
        assert np.isinf(kappa).all()
    elif "own" in name:
        own = mean.detach().numpy()
        want = own[model.atse_codes_] if "shared" in name else own
        np.testing.assert_allclose(kappa, want, rtol=1e-6)
        assert kappa.nunique() > 20
    else:
        np.testing.assert_allclose(kappa, float(mean))
    p = model.get_normalized_splicing(return_numpy=True)
    shrunk = model.get_normalized_splicing(shrink=True, return_numpy=True)
    y, n = (model.adata.layers[layer].toarray() for layer in LAYERS)
    k = kappa.to_numpy()
    with np.errstate(invalid="ignore"):
        want = p if mean is None else (k * p + y) / (k + n)
    np.testing.assert_allclose(shrunk, np.where(n > 0, want, p), atol=1e-5)
    some = list(model.junction_names[[7, 3, 30]])
    few = model.get_normalized_splicing(junction_list=some, shrink=True, return_numpy=True)
    np.testing.assert_allclose(few, shrunk[:, [7, 3, 30]], atol=1e-6)
    sparse = model.get_normalized_splicing(shrink=True, observed_only=True)
    np.testing.assert_allclose(sparse.toarray()[n > 0], shrunk[n > 0], atol=1e-5)


@pytest.mark.parametrize("name", ["shared", "shared, infinite", "shared, mixture, own kappas"])
def test_log_likelihood_counts_each_read_once(models, name):
    model = models(name)
    adata, kappa = model.adata, model.get_concentrations().to_numpy()
    y, n = (adata.layers[layer].toarray().astype(float) for layer in LAYERS)
    phi, codes = model.get_latent_representation(), model.atse_codes_
    psi = model.module.guide.psi().mean.detach().numpy()
    columns = model.module.model.program_atse.numpy()
    total = np.stack([n[:, codes == a].max(1) for a in range(codes.max() + 1)], 1)
    extra = columns[len(codes) :]
    assert len(extra) == 1
    y = np.c_[y, total[:, extra[0]] - y[:, codes == extra[0]].sum(1)]
    p = phi @ psi.T
    want = gammaln(total + 1).sum(1) - gammaln(y + 1).sum(1)
    if "infinite" in name:
        want += (y * np.log(p)).sum(1)
    else:
        k = kappa[[np.flatnonzero(codes == a)[0] for a in range(total.shape[1])]]
        a = k[columns] * p
        want += (gammaln(a + y) - gammaln(a)).sum(1) - (gammaln(k + total) - gammaln(k)).sum(1)
    np.testing.assert_allclose(model.get_log_likelihood(), want, rtol=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_results_and_summaries_list_the_parameters_of_the_model(models, name, tmp_path):
    model = models(name)
    summary = model.posterior_summary()
    assert np.isfinite(summary).all(axis=None)
    assert (summary["lower"] <= summary["upper"]).all()
    rows = set(summary.index)
    assert (
        {"kappa_median", "kappa_spread"} <= rows if "own" in name else "kappa_median" not in rows
    )
    strengths = [row for row in summary.index if row.startswith("strength[")]
    assert len(strengths) == (7 if "mixture" in name else 0)
    if strengths:
        assert summary.loc[strengths, "mean"].sum() == pytest.approx(1, rel=1e-5)
    assert ("b_rate" in rows) == (name == "own kappas")
    target = model.adata.copy()
    model.export_posterior(target)
    target.write_h5ad(tmp_path / "out.h5ad")
    stored = anndata.read_h5ad(tmp_path / "out.h5ad").uns["leafletfa"]
    kappa = model.get_concentrations().to_numpy()
    np.testing.assert_allclose(stored["kappa"], kappa if "own" in name else kappa[0])
    generative, params = model.module.model, stored["params"]
    assert params["likelihood"] == generative.likelihood.name
    assert params["dispersion"] == generative.dispersion
    assert params["junction_prior"] == generative.prior.name


@pytest.mark.parametrize("name", KINDS)
def test_save_load_and_new_cells(models, name, tmp_path):
    model = models(name)
    model.save(tmp_path / "model")
    new = model.adata[:20].copy()
    new.obs_names = [f"new_{i}" for i in range(20)]
    # Both lack a junction that the reference has, in an ATSE without an implicit one.
    lacking = LeafletFAModel.prepare_query_anndata(
        new[:, np.arange(new.n_vars) != 20].copy(), model, inplace=False
    )
    activities = model.get_latent_representation(lacking)
    assert np.corrcoef(activities[:, 0], model.get_latent_representation()[:20, 0])[0, 1] > 0.9
    for adata in (model.adata.copy(), False):
        loaded = LeafletFAModel.load(tmp_path / "model", adata=adata, accelerator="cpu")
        for key, value in model.module.state_dict().items():
            assert torch.equal(loaded.module.state_dict()[key], value), key
        assert loaded.posterior_summary().equals(model.posterior_summary())
        assert loaded.get_splicing_programs().equals(model.get_splicing_programs())
        assert loaded.get_concentrations().equals(model.get_concentrations())
        np.testing.assert_array_equal(loaded.get_latent_representation(lacking), activities)
        if adata is not False:
            torch.manual_seed(0)
            elbo = model.get_elbo(2)
            torch.manual_seed(0)
            assert loaded.get_elbo(2) == elbo


@pytest.mark.parametrize("name", ["own kappas", "shared, mixture, own kappas"])
def test_query_and_pruning(models, name, tmp_path):
    reference = models(name)
    new = reference.adata[:30].copy()
    new.obs_names = [f"new_{i}" for i in range(30)]
    query = LeafletFAModel.load_query_data(new, reference)
    query.train(max_epochs=5, **QUIET)
    assert query.get_splicing_programs().equals(reference.get_splicing_programs())
    assert query.get_concentrations().equals(reference.get_concentrations())
    phi = query.get_latent_representation()
    assert np.corrcoef(phi[:, 0], reference.get_latent_representation()[:30, 0])[0, 1] > 0.95
    assert np.isfinite(query.get_elbo(2))
    query.save(tmp_path / "query")
    loaded = LeafletFAModel.load(tmp_path / "query", adata=False, accelerator="cpu")
    assert loaded.get_cell_activities().equals(query.get_cell_activities())

    reference.save(tmp_path / "reference")
    pruned = LeafletFAModel.load(tmp_path / "reference", reference.adata.copy(), accelerator="cpu")
    psi = pruned.get_splicing_programs()
    with torch.no_grad():
        pruned.module.guide.phi_log[:, 1] = -4.5
    assert pruned.prune(0.02) == ["SP_2"]
    np.testing.assert_array_equal(pruned.get_splicing_programs()["SP_1"], psi["SP_1"])
    assert pruned.get_concentrations().equals(reference.get_concentrations())
    assert np.isfinite(pruned.get_elbo(2))
    pruned.save(tmp_path / "pruned")
    loaded = LeafletFAModel.load(tmp_path / "pruned", adata=False, accelerator="cpu")
    assert loaded.get_splicing_programs().equals(pruned.get_splicing_programs())


@pytest.mark.parametrize("name", KINDS)
def test_hidden_reads_are_scored(data, fit, name):
    split = lfa.tl.holdout_splicing(data, 0.2)
    model = fit(split.training, 2, options=KINDS[name], max_epochs=5)
    scores = lfa.tl.evaluate_holdout(model, split.hidden).loc["all"]
    assert np.isfinite(scores).all()
    # Over-dispersed counts are too much for a binomial.
    assert scores["log_likelihood_gain"] > 0 or np.isinf(model.get_concentrations()).all()
    assert scores["pearson_deviation"] > 0.3


def test_unobserved_junctions_and_cells_have_their_prior(gaps, fit):
    model = fit(gaps, 3, options=KINDS["shared, mixture, own kappas"], max_epochs=3)
    psi = model.get_splicing_programs()[gaps.var["unseen"].to_numpy()]
    np.testing.assert_allclose(psi, psi[["SP_1"]].to_numpy().repeat(3, 1), rtol=1e-5)
    empty = model.get_latent_representation()[7]
    np.testing.assert_allclose(empty, model.get_program_prevalence(), rtol=1e-3)


def test_the_dirichlet_multinomial_needs_labels(data):
    del data.var["atse_id"]
    LeafletFAModel.setup_anndata(data)
    with pytest.raises(ValueError, match="needs the ATSE of each junction.*atse_key"):
        LeafletFAModel(data, 2, **SHARED)
    LeafletFAModel(data, 2, junction_prior="mixture")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "multinomial"}, "likelihood"),
        ({"dispersion": "gene"}, "dispersion"),
        ({"junction_prior": "atse"}, "junction_prior"),
        ({"dispersion": "junction", "concentration": 3.0}, "found 3: .* common to all junctions"),
        ({"dispersion": "junction", "likelihood": "binomial"}, "binomial has no concentration"),
        ({"dispersion": "junction", "concentration": np.inf}, "binomial has no concentration"),
        ({**SHARED, "dispersion": "junction", "concentration": np.inf}, "all junctions"),
    ],
)
def test_options_that_are_refused(data, options, message):
    LeafletFAModel.setup_anndata(data)
    with pytest.raises(ValueError, match=message):
        LeafletFAModel(data, 2, **options)


def test_a_fixed_concentration_and_the_binomial_with_default_options(data):
    LeafletFAModel.setup_anndata(data)
    for options in ({"concentration": 3.0}, {"likelihood": "binomial"}):
        assert LeafletFAModel(data, 2, **options).module.model.dispersion == "global"


def test_a_model_saved_before_these_options_is_read(data, tmp_path, monkeypatch):
    """Its arguments lack them, and it has one kappa whatever the default is now."""
    LeafletFAModel.setup_anndata(data)
    old = LeafletFAModel(data, 2, junction_prior="junction", dispersion="global")
    old.is_trained_ = True
    for name in ("dispersion", "columns"):
        del old.init_params_["non_kwargs"][name]
    old.save(tmp_path / "old")
    monkeypatch.setattr("leafletfa_scvi.model._model_options._LEARNED_DISPERSION", "junction")
    loaded = LeafletFAModel.load(tmp_path / "old", adata=False, accelerator="cpu")
    assert loaded.module.model.dispersion == "global"
    assert LeafletFAModel(data, 2).module.model.dispersion == "junction"
    assert loaded.get_splicing_programs().equals(old.get_splicing_programs())
