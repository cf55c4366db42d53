"""References made of programs alone."""

from __future__ import annotations

import logging
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.stats
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi.model import _program_parameters

LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")
OPTIONS = {
    "betabinomial": {},
    "one-kappa": {"dispersion": "global"},
    "fixed": {"concentration": 7.0, "activity_concentration": 0.7},
    "binomial": {"likelihood": "binomial"},
    "dirichlet-multinomial": {"likelihood": "dirichlet-multinomial"},
}


def from_programs(*args, **kwargs):
    """Without the warning of defaults."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return LeafletFAModel.from_programs(*args, **kwargs)


@pytest.fixture(scope="module", params=OPTIONS)
def model(request, _clear, fit):
    """Trained on 80 cells of 2 programs, an ATSE of which has reads at no junction."""
    adata = _clear.copy()
    totals = adata.layers[LAYERS[1]].tolil()
    of_first = adata.var["atse_id"] == adata.var["atse_id"].iloc[0]
    seen = np.flatnonzero(totals[:, 0].toarray().ravel())[:5]
    for j in np.flatnonzero(of_first):
        for i in seen:
            totals[i, j] += 3
    adata.layers[LAYERS[1]] = sp.csr_matrix(totals)
    return fit(adata, 2, options=OPTIONS[request.param])


@pytest.fixture
def atlas(model, tmp_path):
    """What the model exports, from a file."""
    adata = model.adata.copy()
    model.export_posterior(adata)
    adata.write_h5ad(tmp_path / "atlas.h5ad")
    return anndata.read_h5ad(tmp_path / "atlas.h5ad")


@pytest.fixture(scope="module")
def _new(_clear):
    more = lfa.datasets.simulate_splicing(60, 60, 2, coverage=0.5, frac_differential=0.7, seed=1)
    more.var_names = _clear.var_names
    more.obs_names = [f"query_{i}" for i in range(60)]
    more.X = None
    return more


@pytest.fixture
def new(_new):
    """60 other cells of the same programs."""
    return _new.copy()


@pytest.fixture
def psi():
    """PSI of 6 junctions, 3 ATSEs, under 3 programs."""
    upper = np.array([[0.1, 0.5, 0.7], [0.2, 0.3, 0.9], [0.6, 0.05, 0.4]])
    values = np.empty((6, 3))
    values[0::2], values[1::2] = upper, 1.0 - upper
    names = [f"chr1:{100 * i + 1}-{100 * i + 50}:+" for i in range(6)]
    return pd.DataFrame(values, names, ["SP_1", "SP_2", "SP_3"])


@pytest.fixture
def published(psi):
    """AnnData as LeafletFA publishes its atlases, with activities, without layers."""
    rng = np.random.default_rng(0)
    phi = rng.dirichlet([0.35, 0.21, 0.14], size=4000)
    adata = anndata.AnnData(
        obs=pd.DataFrame(phi, [f"c{i}" for i in range(4000)], list(psi)),
        var=pd.DataFrame({"atse_id": list("aabbcc"), "gene_name": list("GGHHII")}, psi.index),
    )
    adata.varm["psi_learned"] = psi.to_numpy(copy=True)
    adata.obsm["X_PHI"] = phi
    return adata


ATSES = list("aabbcc")
KNOWN = {"prevalence": [0.5, 0.3, 0.2], "concentration": 12.0, "activity_concentration": 0.6}


def assert_same_reference(made, model):
    """Everything that the activities of new cells depend on."""
    ours, theirs = made.module, model.module
    for got, want in zip(ours.guide.psi_marginal(), theirs.guide.psi_marginal(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.guide.psi().mean, theirs.guide.psi().mean)
    torch.testing.assert_close(ours.activity_prior(), theirs.activity_prior())
    torch.testing.assert_close(ours.model.activity_weight, theirs.model.activity_weight)
    torch.testing.assert_close(ours.model.program_atse, theirs.model.program_atse)
    pd.testing.assert_series_equal(
        made.get_concentrations(), model.get_concentrations(), rtol=1e-5
    )


class TestOfAModel:
    def test_exported_programs_are_the_model(self, model, atlas, new):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # nothing has a default
            made = LeafletFAModel.from_programs(atlas)
        assert_same_reference(made, model)
        pd.testing.assert_frame_equal(made.get_splicing_programs(), model.get_splicing_programs())
        difference = made.get_latent_representation(new) - model.get_latent_representation(new)
        assert np.abs(difference).mean() < 1e-4
        assert np.abs(difference).max() < 1e-3
        for parameter, cells in (("psi", None), ("phi", new[:5])):
            ours = made.get_credible_intervals(parameter, adata=cells)
            theirs = model.get_credible_intervals(parameter, adata=cells)
            np.testing.assert_allclose(ours.lower, theirs.lower, atol=2e-2)
            np.testing.assert_allclose(ours.upper, theirs.upper, atol=2e-2)

    def test_arguments_instead_of_an_export(self, model, atlas):
        """Series and tables are matched by name."""
        names = model.junction_names
        results, order = atlas.uns["leafletfa"], np.random.default_rng(0).permutation(len(names))
        size = pd.DataFrame(results["psi_concentration"], names, model.program_names)
        kappa = model.get_concentrations()
        made = from_programs(
            model.get_splicing_programs(),
            likelihood=model.module.model.likelihood.name,
            prevalence=model.get_program_prevalence().iloc[::-1],
            concentration=None if np.isinf(kappa.iloc[0]) else kappa.iloc[order],
            activity_concentration=results["delta"],
            atse_id=atlas.var["atse_id"].iloc[order],
            program_concentration=size.iloc[order, ::-1],
        )
        np.testing.assert_array_equal(made.atse_codes_, model.atse_codes_)
        # Without cells, every junction counts the same in the composite weight.
        n = np.bincount(model.atse_codes_)[model.atse_codes_]
        shares_reads = model.module.model.likelihood.shares_reads
        weight = made.module.model.activity_weight
        np.testing.assert_allclose(weight, 1 if shares_reads else np.mean((n - 1) / n), rtol=1e-6)
        weight.copy_(model.module.model.activity_weight)
        assert_same_reference(made, model)

    def test_junctions_of_the_atlas_may_be_selected_and_reordered(self, model, atlas):
        # Whole ATSEs, since those of the Dirichlet-multinomial share reads.
        codes = model.atse_codes_
        keep = np.concatenate([np.flatnonzero(codes == a) for a in (30, 4, 0, 17)])
        made = from_programs(atlas[:, keep].copy())
        for got, want in zip(
            made.module.guide.psi_marginal(), model.module.guide.psi_marginal(), strict=True
        ):
            torch.testing.assert_close(got[: len(keep)], want[keep], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            made.module.guide.psi_variance[: len(keep)], model.module.guide.psi_variance[keep]
        )
        pd.testing.assert_series_equal(
            made.get_concentrations(), model.get_concentrations().iloc[keep], rtol=1e-5
        )

    def test_saved_and_loaded(self, atlas, new, tmp_path):
        made = from_programs(atlas)
        made.save(tmp_path / "model")
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            loaded = LeafletFAModel.load(tmp_path / "model", accelerator="cpu")
        for name, value in made.module.state_dict().items():
            assert torch.equal(loaded.module.state_dict()[name], value), name
        assert loaded.is_trained_
        assert loaded.has_program_posterior_
        pd.testing.assert_frame_equal(
            loaded.get_cell_activities(new[:3]), made.get_cell_activities(new[:3])
        )
        with pytest.raises(ValueError, match="does not hold the training data"):
            LeafletFAModel.load(tmp_path / "model", adata=new)

    @pytest.mark.filterwarnings("ignore")
    def test_query(self, model, atlas, new, tmp_path):
        made = from_programs(atlas)
        made.save(tmp_path / "model")
        fewer = new[:, np.random.default_rng(0).permutation(new.n_vars)[5:]].copy()
        aligned = LeafletFAModel.prepare_query_anndata(fewer, tmp_path / "model", inplace=False)
        want = LeafletFAModel.prepare_query_anndata(fewer, model, inplace=False)
        for name in LAYERS:
            assert (aligned.layers[name] != want.layers[name]).nnz == 0
        pd.testing.assert_frame_equal(aligned.var, want.var)
        query = LeafletFAModel.load_query_data(aligned, tmp_path / "model")
        query.train(max_epochs=3, accelerator="cpu", enable_progress_bar=False)
        for name, value in query.module.state_dict().items():
            if not query.module.has_axis(name, "cells"):
                assert torch.equal(value, made.module.state_dict()[name]), name
        assert query.get_cell_activities().shape == (60, 2)


class TestEstimates:
    def test_prevalence_and_activity_concentration_of_the_cells(self, published):
        """Known by construction: Dirichlet(0.35, 0.21, 0.14)."""
        model = from_programs(published)
        np.testing.assert_allclose(model.get_program_prevalence(), [0.5, 0.3, 0.2], atol=0.02)
        np.testing.assert_allclose(float(model.module.site_mean("delta")), 0.7, rtol=0.05)

    def test_columns_of_obs_without_a_matrix(self, published):
        want = from_programs(published)
        del published.obsm["X_PHI"]
        published.obs = published.obs[["SP_3", "SP_1", "SP_2"]].assign(other="x")
        got = from_programs(published)
        pd.testing.assert_series_equal(
            got.get_program_prevalence(), want.get_program_prevalence(), rtol=1e-6
        )
        assert got.module.site_mean("delta") == pytest.approx(want.module.site_mean("delta"))

    def test_sparse_slots(self, published):
        want = from_programs(published).get_program_prevalence()
        psi = np.asarray(published.varm["psi_learned"])
        for slots, name in ((published.varm, "psi_learned"), (published.obsm, "X_PHI")):
            slots[name] = sp.csr_matrix(np.asarray(slots[name]))
        model = from_programs(published)
        np.testing.assert_allclose(model.get_splicing_programs(), psi, atol=1e-6)
        pd.testing.assert_series_equal(model.get_program_prevalence(), want)

    @pytest.mark.parametrize("named", [False, True])
    def test_activities_follow_the_order_of_the_programs(self, published, psi, named):
        want = from_programs(published).get_program_prevalence()
        columns = ["SP_3", "SP_1", "SP_2"]
        phi = pd.DataFrame(published.obsm["X_PHI"], published.obs_names, list(psi))
        published.varm["psi_learned"] = psi[columns]
        published.obsm["X_PHI"] = phi if named else phi[columns].to_numpy()
        model = from_programs(published)
        np.testing.assert_allclose(model.get_splicing_programs(), psi, atol=1e-6)
        pd.testing.assert_series_equal(model.get_program_prevalence(), want)

    @pytest.mark.parametrize("sampled", [False, True])
    def test_concentration_of_the_layers(self, monkeypatch, sampled):
        """Counts drawn by scipy; kappa is 3 at the first half of the ATSEs, 30 at the second."""
        n_cells, n_atses, rng = 400, 60, np.random.default_rng(1)
        if sampled:
            monkeypatch.setattr(_program_parameters, "_SAMPLED_PER_JUNCTION", 0)
            monkeypatch.setattr(_program_parameters, "_SAMPLED_ENTRIES", 300 * 2 * n_atses)
        psi, phi = rng.beta(1, 1, (n_atses, 3)), rng.dirichlet([0.4] * 3, n_cells)
        kappa, p = np.repeat([3.0, 30.0], n_atses // 2), phi @ psi.T
        total = rng.poisson(20, (n_cells, n_atses))
        count = scipy.stats.betabinom.rvs(total, kappa * p, kappa * (1 - p), random_state=rng)
        both = np.stack([count, total - count], 2).reshape(n_cells, -1)
        layers = both, np.repeat(total, 2, axis=1)
        adata = anndata.AnnData(
            var=pd.DataFrame(
                {"atse_id": [f"a{i // 2}" for i in range(2 * n_atses)]},
                [f"chr1:{i + 1}-{i + 90}:+" for i in range(2 * n_atses)],
            ),
            layers=dict(zip(LAYERS, map(sp.csr_matrix, layers), strict=True)),
        )
        adata.varm["psi_learned"] = np.stack([psi, 1 - psi], 1).reshape(-1, 3)
        adata.obsm["X_PHI"] = phi
        for likelihood in ("betabinomial", "dirichlet-multinomial"):
            fitted = from_programs(adata, likelihood=likelihood).get_concentrations()
            of_half = np.log(fitted.to_numpy()).reshape(2, -1).mean(1)
            np.testing.assert_allclose(np.exp(of_half), [3.0, 30.0], rtol=0.2)
        given = from_programs(adata, concentration=5.0)
        assert set(given.get_concentrations()) == {5.0}

    def test_defaults_are_named(self, psi):
        with pytest.warns(UserWarning, match="these are defaults") as caught:
            model = LeafletFAModel.from_programs(psi)
        (message,) = {str(w.message) for w in caught if "defaults" in str(w.message)}
        assert "prevalence=0.333333" in message
        assert "activity_concentration=1" in message
        assert "concentration=10 for all junctions" in message
        assert model.get_program_prevalence().tolist() == pytest.approx([1 / 3] * 3)
        assert set(model.get_concentrations()) == {10.0}
        assert model.module.site_mean("delta") == 1.0
        assert model.atse_codes_ is None
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            LeafletFAModel.from_programs(psi, **KNOWN)

    def test_an_export_of_another_likelihood(self, psi, published):
        """kappa and the posterior of the programs are those of a likelihood."""
        model = from_programs(published, program_concentration=40.0, concentration=3.0)
        adata = published[:0].copy()
        adata.uns["leafletfa"] = {
            "programs": model.program_names,
            "pi": np.array([0.6, 0.3, 0.1]),
            "kappa": 4.0,
            "junctions": np.array(psi.index),
            "psi_concentration": np.full((6, 3), 50.0),
            "params": {"likelihood": "betabinomial"},
        }
        same = from_programs(adata)
        assert set(same.get_concentrations()) == {4.0}
        assert same.has_program_posterior_
        other = from_programs(adata, likelihood="dirichlet-multinomial")
        assert set(other.get_concentrations()) == {10.0}
        assert not other.has_program_posterior_
        assert other.get_program_prevalence().tolist() == pytest.approx([0.6, 0.3, 0.1])


class TestPrograms:
    def test_of_unknown_uncertainty(self, psi, new, tmp_path):
        model = LeafletFAModel.from_programs(psi, **KNOWN, atse_id=ATSES)
        np.testing.assert_allclose(model.get_splicing_programs(), psi, atol=1e-6)
        drawn = model.module.guide.psi().sample()
        np.testing.assert_allclose(drawn.numpy(), psi, atol=5e-3)
        model.save(tmp_path / "model")
        for each in (model, LeafletFAModel.load(tmp_path / "model", accelerator="cpu")):
            with pytest.raises(ValueError, match="uncertainty of the programs is unknown"):
                each.get_credible_intervals("psi")
            with pytest.raises(ValueError, match="program_concentration="):
                each.program_markers()

    def test_of_a_query_stay_of_unknown_uncertainty(self, psi):
        reference = LeafletFAModel.from_programs(psi, **KNOWN, atse_id=ATSES)
        total = np.tile([[4.0, 4.0, 2.0, 2.0, 0.0, 0.0]], (3, 1))
        count = np.tile([[1.0, 3.0, 2.0, 0.0, 0.0, 0.0]], (3, 1))
        layers = dict(zip(LAYERS, map(sp.csr_matrix, (count, total)), strict=True))
        adata = anndata.AnnData(layers=layers, var=pd.DataFrame(index=psi.index))
        query = LeafletFAModel.load_query_data(adata, reference)
        query.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
        with pytest.raises(ValueError, match="uncertainty of the programs is unknown"):
            query.get_credible_intervals("psi")
        interval = query.get_credible_intervals("phi")
        assert (interval.lower <= query.get_cell_activities()).all(axis=None)

    @pytest.mark.parametrize("likelihood", ["betabinomial", "dirichlet-multinomial"])
    def test_of_given_pseudo_counts(self, psi, likelihood):
        size = np.repeat([5.0, 40.0, 300.0], 2)
        model = LeafletFAModel.from_programs(
            psi, **KNOWN, atse_id=ATSES, likelihood=likelihood, program_concentration=size
        )
        interval = model.get_credible_intervals("psi", level=0.8)
        a, b = size[:, None] * psi, size[:, None] * (1.0 - psi)
        np.testing.assert_allclose(interval.lower, scipy.stats.beta.ppf(0.1, a, b), atol=1e-4)
        np.testing.assert_allclose(interval.upper, scipy.stats.beta.ppf(0.9, a, b), atol=1e-4)

    def test_markers_have_the_annotation(self, published, tmp_path):
        model = from_programs(published, program_concentration=1000.0)
        model.save(tmp_path / "model")
        for each in (model, LeafletFAModel.load(tmp_path / "model", accelerator="cpu")):
            markers = each.program_markers("SP_3", n_samples=20)
            assert markers["gene_name"].to_dict() == published.var["gene_name"].to_dict()
            assert markers.index[0] in published.var_names[:4]
            assert markers["proba_ds"].iloc[0] == 1.0

    def test_new_data_are_counted_on_its_junctions(self, psi, tmp_path):
        var = pd.DataFrame(
            {"atse_id": pd.Categorical(ATSES), "score": [1, 2, None, 4, 5, 6]}, psi.index[::-1]
        )
        model = LeafletFAModel.from_programs(psi, **KNOWN, var=var)
        model.save(tmp_path / "model")
        file = tmp_path / "cell.SJ.out.tab"
        file.write_text("chr1\t101\t150\t1\t1\t1\t7\t0\t30\nchr1\t1\t50\t1\t1\t1\t2\t0\t30\n")
        for reference in (model, tmp_path / "model"):
            adata = lfa.pp.make_splicing_dataset([file], reference=reference)
            assert list(adata.var_names) == list(psi.index)
            assert adata.layers[LAYERS[0]].toarray().tolist() == [[2, 7, 0, 0, 0, 0]]
            assert adata.layers[LAYERS[1]].toarray().tolist() == [[9, 9, 0, 0, 0, 0]]
            assert adata.var["atse_id"].tolist() == ATSES[::-1]
            assert adata.var["score"].tolist()[:3] == [6, 5, 4]

    def test_names_decide_on_their_order(self, psi, caplog):
        shuffled = psi[["SP_3", "SP_1", "SP_2"]]
        prevalence = pd.Series([0.2, 0.5, 0.3], ["SP_3", "SP_1", "SP_2"])
        model = from_programs(shuffled, prevalence=prevalence)
        np.testing.assert_allclose(model.get_splicing_programs(), psi, atol=1e-6)
        assert model.get_program_prevalence().tolist() == pytest.approx([0.5, 0.3, 0.2])
        # Arrays have the order of the columns.
        size = 10.0 + np.arange(18.0).reshape(6, 3)
        model = from_programs(shuffled, prevalence=[0.2, 0.5, 0.3], program_concentration=size)
        assert model.get_program_prevalence().tolist() == pytest.approx([0.5, 0.3, 0.2])
        np.testing.assert_allclose(
            sum(model.module.guide.psi_marginal()).detach(), size[:, [1, 2, 0]], rtol=1e-5
        )
        with caplog.at_level(logging.INFO, "leafletfa_scvi"):
            model = from_programs(psi.set_axis(["SP_9", "SP_10", "SP_1"], axis=1))
        np.testing.assert_allclose(
            model.get_splicing_programs(), psi[["SP_3", "SP_1", "SP_2"]], atol=1e-6
        )
        assert "SP_2 is 'SP_9'" in caplog.text
        named = psi.set_axis(["glia", "neurons", "rest"], axis=1)
        model = from_programs(named, prevalence=[0.2, 0.2, 0.6])
        np.testing.assert_allclose(model.get_splicing_programs(), psi, atol=1e-6)

    def test_reads_of_no_junction(self, psi):
        """PSI that sum to less than one leave the rest to an implicit junction."""
        psi.iloc[1] *= 0.5
        options = {"atse_id": ATSES, "likelihood": "dirichlet-multinomial"}
        model = from_programs(psi, program_concentration=20.0, **options)
        assert model.module.model.program_atse.tolist() == [0, 0, 1, 1, 2, 2, 0]
        rest = model.module.guide.psi().mean[6].detach()
        np.testing.assert_allclose(rest, 1.0 - psi.iloc[:2].sum(), atol=1e-5)
        np.testing.assert_allclose(model.get_splicing_programs(), psi, atol=1e-5)

    def test_the_only_junction_of_an_atse_that_shares_reads(self, psi):
        psi.iloc[0] = psi.iloc[1] = 1.0
        labels = ["a", "z", *ATSES[2:]]
        options = {"atse_id": labels, "likelihood": "dirichlet-multinomial"}
        model = from_programs(psi, program_concentration=20.0, **options)
        assert (model.get_splicing_programs().iloc[:2] == 1.0).all(axis=None)
        assert (model.get_credible_intervals("psi").lower.iloc[:2] == 1.0).all(axis=None)
        with pytest.raises(ValueError, match="inside"):
            from_programs(psi, atse_id=labels)


class TestWithoutCells:
    @pytest.mark.parametrize(
        "call",
        [
            lambda model: model.get_cell_activities(),
            lambda model: model.train(enable_progress_bar=False),
            lambda model: model.get_elbo(),
            lambda model: model.prune(),
        ],
    )
    def test_what_needs_cells_says_so(self, psi, call):
        model = from_programs(psi)
        before = {k: v.clone() for k, v in model.module.state_dict().items()}
        with pytest.raises(ValueError, match="has no cells of its own"):
            call(model)
        for name, value in model.module.state_dict().items():
            assert torch.equal(value, before[name])

    def test_summary(self, psi, capsys):
        model = LeafletFAModel.from_programs(psi, **KNOWN)
        repr(model)  # scvi-tools prints it
        assert "0 cells, 6" in capsys.readouterr().out
        summary = model.posterior_summary()
        assert summary.loc["delta"].tolist() == pytest.approx([0.6, 0.0, 0.6, 0.6])
        np.testing.assert_allclose(summary.loc["pi[SP_2]", "mean"], 0.3, rtol=1e-5)


def put(table, row, column, value):
    table = table.copy()
    table.iloc[row, column] = value
    return table


WRONG = {
    "missing": (lambda x: put(x, 2, 1, np.nan), {}, "nan for junction 'chr1:201.*'SP_2'"),
    "above": (lambda x: put(x, 5, 0, 1.2), {}, "found 1.2 for junction 'chr1:501.*correct them"),
    "zero": (lambda x: put(x, 0, 2, 0.0), {}, r"found 0 .*'SP_3'.*programs.clip\(1e-6"),
    "one": (lambda x: put(x, 0, 2, 1.0), {}, r"found 1 for .*programs.clip\(1e-6"),
    "repeated junction": (lambda x: x.iloc[[0, 1, 1]], {}, "junctions.*'chr1:101-150.*more than"),
    "repeated program": (
        lambda x: x.set_axis(["A", "B", "A"], axis=1),
        {},
        "programs.*'A' more than once",
    ),
    "one program": (lambda x: x[["SP_1"]], {}, "at least two programs, found 1"),
    "no junction": (lambda x: x.iloc[:0], {}, "found none"),
    "numbered": (lambda x: x.reset_index(drop=True), {}, "named by junctions.*'0' first"),
    "transposed": (lambda x: x.T, {}, "programs in its rows, 'SP_1' first. Transpose it"),
    "levels": (
        lambda x: x.set_axis(pd.MultiIndex.from_product([["a"], x.index])),
        {},
        "several levels",
    ),
    "text": (lambda x: put(x.astype(object), 0, 0, "much"), {}, "hold numbers"),
    "prevalence": (None, {"prevalence": [0.5, 0.3, 0.3]}, "sum to 1, found 1.1"),
    "negative": (None, {"prevalence": [0.5, 0.7, -0.2]}, "from 0, found -0.2 for .*'SP_3'"),
    "short prevalence": (None, {"prevalence": [0.5, 0.5]}, r"3 programs, found shape \(2,\)"),
    "named prevalence": (
        None,
        {"prevalence": pd.Series([0.5, 0.5], ["SP_1", "SP_2"])},
        "found none for 'SP_3'",
    ),
    "kappa": (None, {"concentration": -1.0}, "concentration to be a number above 0, found -1"),
    "text for pi": (None, {"prevalence": ["a", "b", "c"]}, "to be a number for each of the prog"),
    "text for kappa": (None, {"concentration": list("abcdef")}, "for each of the junctions"),
    "short kappa": (None, {"concentration": [1.0, 2.0]}, r"6 junctions, found shape \(2,\)"),
    "zero kappa": (None, {"concentration": [1.0, 0, 1, 1, 1, 1]}, "found 0 for .*'chr1:101"),
    "delta": (None, {"activity_concentration": np.inf}, "finite number above 0"),
    "short labels": (None, {"atse_id": list("aabbc")}, r"atse_id .*found shape \(5,\)"),
    "no label": (None, {"atse_id": ["a", None, *"bbcc"]}, "no label for 'chr1:101-150"),
    "var": (lambda x: x, {"var": pd.DataFrame({"g": [1]}, ["chr1:1-50:+"])}, "total for 5"),
    "pseudo-counts": (
        None,
        {"program_concentration": np.full((6, 2), 3.0)},
        r"number or of shape \(6, 3\)",
    ),
    "zero pseudo-counts": (None, {"program_concentration": [1, 1, 0, 1, 1, 1]}, "found 0 for"),
    "likelihood": (None, {"likelihood": "poisson"}, "likelihood to be"),
    "unlabeled": (None, {"likelihood": "dirichlet-multinomial"}, "pass atse_id"),
    "kappa of a binomial": (None, {"likelihood": "binomial", "concentration": 3.0}, "binomial"),
    "sum": (
        lambda x: put(x, 1, 2, 0.9),
        {"likelihood": "dirichlet-multinomial", "atse_id": ATSES},
        "found 1.6 for ATSE 'a', program 'SP_3'",
    ),
    "kappas of an ATSE": (
        None,
        {
            "likelihood": "dirichlet-multinomial",
            "atse_id": ATSES,
            "concentration": [1.0, 1, 1, 2, 3, 3],
        },
        "same for all junctions of an ATSE",
    ),
}


class TestErrors:
    @pytest.mark.parametrize("case", WRONG)
    def test_of_tables(self, psi, case):
        change, arguments, message = WRONG[case]
        programs = psi if change is None else change(psi)
        before = programs.copy()
        with pytest.raises(ValueError, match=message):
            from_programs(programs, **arguments)
        pd.testing.assert_frame_equal(programs, before)

    @pytest.mark.parametrize("case", ["lacks", "zero", "activities", "sum", "label", "none"])
    def test_of_an_anndata_which_does_not_change(self, published, case):
        error, message = (
            ValueError,
            {
                "zero": r"adata.varm\['psi_learned'\] = .*clip",
                "activities": "3 programs",
                "sum": "for cell 'c7'; 1 of 4,000",
                "label": "no label for junction 'chr1:201-250",
            }.get(case),
        )
        if case == "lacks":
            error, message = KeyError, r"varm\['psi_learned'\], found \[\]"
            del published.varm["psi_learned"]
        elif case == "zero":
            published.varm["psi_learned"][3, 1] = 0.0
        elif case == "activities":
            published.obsm["X_PHI"] = published.obsm["X_PHI"][:, :2]
        elif case == "sum":
            published.obsm["X_PHI"][7] *= 2
        elif case == "label":
            published.var["atse_id"] = ["a", "a", None, "b", "c", "c"]
        before = published.copy()
        if message is None:
            from_programs(published)
        else:
            with pytest.raises(error, match=message):
                from_programs(published)
        pd.testing.assert_frame_equal(published.obs, before.obs)
        pd.testing.assert_frame_equal(published.var, before.var)
        assert dict(published.uns) == dict(before.uns)
        assert set(published.varm) == set(before.varm)
        for key in before.obsm:
            np.testing.assert_array_equal(published.obsm[key], before.obsm[key])

    @pytest.mark.parametrize("programs", [None, "atlas.h5ad", np.ones((3, 2))])
    def test_of_other_classes(self, programs):
        with pytest.raises(TypeError, match="Expected programs to be a DataFrame"):
            LeafletFAModel.from_programs(programs)
