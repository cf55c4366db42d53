"""Batches: registration, fits, results, saving and queries."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi.model._cells import cell_posterior

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")


def simulated(n_cells=400, frac_batch=0.3, **options):
    return lfa.datasets.simulate_splicing(
        n_cells,
        120,
        3,
        coverage=0.4,
        frac_differential=0.5,
        n_batches=3,
        frac_batch=frac_batch,
        **options,
    )


def fitted(adata, batch_key="batch", n_programs=3, train=None, covariates=None, **options):
    LeafletFAModel.setup_anndata(adata, batch_key=batch_key, categorical_covariate_keys=covariates)
    model = LeafletFAModel(adata, n_programs, **options)
    model.train(**(train or {"method": "em"}), **QUIET)
    return model


@pytest.fixture(scope="module")
def whole():
    return simulated(500)


@pytest.fixture(scope="module")
def first(whole):
    return whole[:400].copy()


@pytest.fixture
def shifted(first):
    """400 cells of three batches, which shift 30 % of the ATSEs."""
    return first.copy()


@pytest.fixture(scope="module")
def model(first):
    """For reading only."""
    return fitted(first.copy())


def true_order(model, adata):
    match = lfa.tl.match_programs(adata.varm["psi_true"], model.get_splicing_programs().to_numpy())
    return match["learned"].to_numpy()[np.argsort(match["reference"].to_numpy())]


def truth(model, adata, phi=None):
    """Mean correlation of activities with the truth."""
    phi = model.get_latent_representation() if phi is None else phi
    phi = phi[:, true_order(model, adata)]
    true = adata.obsm["phi_true"]
    return np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(phi.T, true.T, strict=True)])


def told_apart(phi, adata):
    """Accuracy of batches predicted from activities."""
    return cross_val_score(LogisticRegression(), phi, adata.obs["batch"], cv=5).mean()


class TestFits:
    def test_without_batches_they_are_programs(self, shifted):
        """What the other tests are compared with."""
        plain = fitted(shifted, None)
        assert told_apart(plain.get_latent_representation(), shifted) > 0.8
        assert truth(plain, shifted) < 0.7

    @pytest.mark.parametrize(
        ("options", "train"),
        [
            ({}, {"method": "em"}),
            ({}, {"max_epochs": 30}),
            ({"likelihood": "binomial"}, {"method": "em"}),
            ({"likelihood": "dirichlet-multinomial"}, {"method": "em"}),
            ({"likelihood": "dirichlet-multinomial"}, {"max_epochs": 30, "batch_size": 128}),
            ({"dispersion": "global", "junction_prior": "junction"}, {"method": "em"}),
            ({}, {"max_epochs": 20, "validation_size": 0.1}),
        ],
        ids=str,
    )
    def test_activities_are_true_and_do_not_tell_batches(self, shifted, options, train):
        model = fitted(shifted, train=train, **options)
        phi = model.get_latent_representation()
        assert truth(model, shifted, phi) > 0.93
        assert told_apart(phi, shifted) < 0.45
        assert np.isfinite(model.get_elbo(1))
        assert np.isfinite(model.get_credible_intervals("psi").lower).to_numpy().all()
        if "validation_size" in train:
            assert np.isfinite(
                model.history["reconstruction_loss_validation"].to_numpy(float)
            ).all()

    def test_without_effects_in_the_data_nothing_changes(self):
        adata = simulated(frac_batch=0.0)
        with_batches, plain = fitted(adata.copy()), fitted(adata, None)
        effects = with_batches.get_batch_effects()
        assert not effects["is_shifted_fdr_0.05"].any()
        assert effects["shift"].abs().max() < 0.1
        gain = with_batches.get_log_likelihood().sum() - plain.get_log_likelihood().sum()
        assert abs(gain) < 1e-3 * abs(plain.get_log_likelihood().sum())
        assert truth(with_batches, adata) > 0.93

    def test_a_type_of_one_batch_keeps_its_program(self):
        """Most cells of the first program are in one batch, all others are even."""
        adata = simulated(900)
        rng = np.random.default_rng(0)
        first = adata.obsm["phi_true"].argmax(1) == 0
        keep = ~first | (adata.obs["batch"] == "batch_1").to_numpy() | (rng.random(900) < 0.05)
        adata = adata[keep].copy()
        model = fitted(adata)
        assert truth(model, adata) > 0.9

    def test_log_likelihood_is_that_of_the_batch(self, model, shifted):
        value = model.get_log_likelihood()
        other = shifted.copy()
        other.obs["batch"] = other.obs["batch"].cat.rename_categories(
            {"batch_0": "batch_1", "batch_1": "batch_0"}
        )
        moved = model.get_log_likelihood(other)
        changed = (shifted.obs["batch"] != "batch_2").to_numpy()
        np.testing.assert_allclose(moved[~changed], value[~changed], rtol=1e-5)
        assert moved[changed].sum() < value[changed].sum() - 100

    def test_two_columns_are_their_combinations(self, shifted):
        batch = shifted.obs["batch"].cat.codes.to_numpy()
        shifted.obs["first"] = pd.Categorical(np.where(batch == 0, "a", "b"))
        shifted.obs["second"] = pd.Categorical(np.where(batch == 2, "y", "x"))
        model = fitted(shifted, "first", covariates=["second"])
        assert model.batch_names == ["a, x", "a, y", "b, x", "b, y"]
        assert truth(model, shifted) > 0.93
        effects = model.get_batch_effects()
        assert (effects.loc[effects["batch"] == "a, y", "shift"].abs() < 1.0).all()  # no cells


class TestResults:
    def test_batch_effects(self, model, shifted):
        effects = model.get_batch_effects()
        assert len(effects) == 3 * shifted.n_vars
        assert list(effects.index[:3]) == [shifted.var_names[0]] * 3
        assert list(effects["batch"][:3]) == ["batch_0", "batch_1", "batch_2"]
        assert (effects["gene_name"] == shifted.var["gene_name"][effects.index].to_numpy()).all()
        table = effects.reset_index().pivot(index="junction", columns="batch", values="shift")
        np.testing.assert_allclose(table.sum(1), 0, atol=1e-5)
        called = effects["is_shifted_fdr_0.05"].groupby(level=0).any()[shifted.var_names]
        true = shifted.var["shifts"].to_numpy()
        assert (~true[called]).mean() < 0.15
        assert called[true].mean() > 0.7
        wide = model.get_batch_effects(level=0.99, fdr_target=0.2)
        assert (wide["upper"] > effects["upper"]).all()
        assert wide["is_shifted_fdr_0.2"].sum() > effects["is_shifted_fdr_0.05"].sum()

    def test_normalized_splicing(self, model, shifted):
        phi = model.get_cell_activities().to_numpy()
        tables = model.module.programs_by_batch().numpy()
        own = np.stack(
            [tables[b] @ x for b, x in zip(shifted.obs["batch"].cat.codes, phi, strict=True)]
        )
        found = model.get_normalized_splicing()
        np.testing.assert_allclose(found, own, atol=1e-5)
        second = model.get_normalized_splicing(transform_batch="batch_1")
        np.testing.assert_allclose(second, phi @ tables[1].T, atol=1e-5)
        both = model.get_normalized_splicing(transform_batch=["batch_0", "batch_2"])
        np.testing.assert_allclose(both, phi @ (tables[0] + tables[2]).T / 2, atol=1e-5)
        observed = model.get_normalized_splicing(observed_only=True).tocoo()
        np.testing.assert_allclose(observed.data, own[observed.row, observed.col], atol=1e-5)
        few = model.get_normalized_splicing(
            indices=[5, 2], junction_list=list(shifted.var_names[[7, 3]]), shrink=True
        )
        y, n = (shifted.layers[name].toarray()[[5, 2]][:, [7, 3]] for name in LAYERS)
        kappa = model.get_concentrations().to_numpy()[[7, 3]]
        want = (kappa * own[[5, 2]][:, [7, 3]] + y) / (kappa + n)
        np.testing.assert_allclose(few, want, atol=1e-5)
        with pytest.raises(ValueError, match="Expected transform_batch among 'batch_0'.*'b'"):
            model.get_normalized_splicing(transform_batch="b")
        with pytest.raises(ValueError, match="shrink=True: the reads"):
            model.get_normalized_splicing(transform_batch="batch_0", shrink=True)

    @pytest.mark.parametrize("likelihood", ["betabinomial", "binomial"])
    def test_differential_splicing_is_not_that_of_batches(self, shifted, likelihood):
        def n_called(model):
            table = model.differential_splicing(groupby="batch", silent=True)
            return int(table.filter(like="is_ds").to_numpy().sum())

        model = fitted(shifted.copy(), likelihood=likelihood)
        assert n_called(model) < 0.1 * n_called(fitted(shifted, None, likelihood=likelihood))

    def test_the_binomial_is_overdispersed_within_batches(self, shifted):
        """Shifts, which differential splicing knows of, do not count as noise of the reads."""
        model = fitted(shifted, likelihood="binomial")
        with torch.no_grad():
            kappa = model._programs(cell_posterior(model, None, None)).kappa
        assert np.ptp(kappa) == 0
        assert 10 < kappa[0] < 40  # simulated with 20

    def test_hold_out_and_choice_of_k(self, shifted):
        split = lfa.tl.holdout_splicing(shifted)
        scores = {
            key: lfa.tl.evaluate_holdout(fitted(split.training.copy(), key), split.hidden)
            for key in ("batch", None)
        }
        column = scores["batch"].columns[0]
        assert np.isfinite(scores["batch"][column]["all"])
        gain = {key: table.filter(like="gain").loc["all"].iloc[0] for key, table in scores.items()}
        assert gain["batch"] > gain[None] + 0.01
        chosen = lfa.tl.select_n_programs(
            shifted[:150].copy(), [2, 3], n_seeds=2, batch_key="batch", progress=False
        )
        assert set(chosen.summary.index) == {2, 3}

    def test_variance_explained_and_query_fit(self, model, shifted):
        plain = fitted(shifted, None)
        with_batches = lfa.tl.variance_explained(model).total["explained"]
        assert with_batches > lfa.tl.variance_explained(plain).total["explained"]
        fit = lfa.tl.query_fit(model)
        assert (fit["p_value"] < 0.05).mean() < 0.1
        assert fit["z"].median() < 1.0


class TestSavingAndQueries:
    def test_saved_and_loaded(self, model, shifted, tmp_path):
        model.save(tmp_path / "model")
        loaded = LeafletFAModel.load(tmp_path / "model", adata=shifted)
        before, after = model.module.state_dict(), loaded.module.state_dict()
        assert all(torch.equal(v, after[k]) for k, v in before.items())
        pd.testing.assert_frame_equal(model.get_batch_effects(), loaded.get_batch_effects())
        pd.testing.assert_series_equal(model.get_log_likelihood(), loaded.get_log_likelihood())
        without = LeafletFAModel.load(tmp_path / "model", adata=False)
        np.testing.assert_array_equal(
            without.get_latent_representation(shifted), model.get_latent_representation()
        )
        assert without.batch_names == model.batch_names

    def test_pruned(self, shifted):
        model = fitted(shifted, n_programs=6)
        shift = model.module.model.batch_shift.clone()
        model.prune(0.08)
        assert model.n_programs < 6
        assert torch.equal(model.module.model.batch_shift, shift)
        assert np.isfinite(model.get_log_likelihood()).all()

    def test_cells_of_known_batches(self, model, whole):
        more = whole[400:].copy()
        query = LeafletFAModel.load_query_data(more, model)
        query.train(**QUIET)
        phi = query.get_latent_representation()
        assert truth(model, more, phi) > 0.93
        np.testing.assert_allclose(phi, model.get_latent_representation(more), atol=1e-6)
        assert query.batch_names == model.batch_names
        alone = LeafletFAModel.load_query_data(more[3:4].copy(), model)
        alone.train(**QUIET)
        np.testing.assert_array_equal(alone.get_latent_representation()[0], phi[3])

    @pytest.mark.parametrize("likelihood", ["betabinomial", "dirichlet-multinomial"])
    def test_cells_of_a_new_batch(self, whole, likelihood, tmp_path):
        """Also if its name comes before those that are known."""
        adata = whole.copy()
        adata.obs["batch"] = adata.obs["batch"].cat.rename_categories({"batch_2": "a new one"})
        is_new = (adata.obs["batch"] == "a new one").to_numpy()
        reference = fitted(adata[~is_new].copy(), likelihood=likelihood)
        before = {k: v.clone() for k, v in reference.module.state_dict().items()}
        new = adata[is_new].copy()
        query = LeafletFAModel.load_query_data(new, reference)
        query.train(**QUIET)
        assert truth(reference, new, query.get_latent_representation()) > 0.9
        after = reference.module.state_dict()
        assert all(torch.equal(v, after[k]) for k, v in before.items())
        place = [query.batch_names.index(name) for name in reference.batch_names]
        shift = query.module.model.batch_shift
        assert torch.equal(shift[place], reference.module.model.batch_shift)
        effects = query.get_batch_effects()
        effects = effects[effects["batch"] == "a new one"]
        called = effects.index[effects["is_shifted_fdr_0.05"]]
        assert new.var["shifts"][called].mean() > 0.8
        assert len(called) > 20
        query.save(tmp_path / "query")
        loaded = LeafletFAModel.load(tmp_path / "query", adata=new)
        again = loaded.get_batch_effects()
        pd.testing.assert_frame_equal(again, query.get_batch_effects())
        again = query.get_latent_representation()
        query.train(**QUIET)
        np.testing.assert_array_equal(query.get_latent_representation(), again)

    def test_other_cells_need_a_known_batch(self, model, shifted):
        other = shifted[:5].copy()
        other.obs["batch"] = "x"
        with pytest.raises(ValueError, match="batches that the model knows.*found 'x' in cell"):
            model.get_cell_activities(other)
        del other.obs["batch"]
        with pytest.raises(KeyError, match="Expected the batch of each cell"):
            model.get_cell_activities(other)

    @pytest.mark.parametrize("missing", ["column", "value"])
    def test_query_cells_need_a_batch(self, model, shifted, missing):
        new = shifted[:5].copy()
        new.obs["batch"] = new.obs["batch"].astype(object)
        if missing == "column":
            del new.obs["batch"]
        else:
            new.obs.iloc[2, list(new.obs).index("batch")] = None
        before = new.copy()
        message = "no such column" if missing == "column" else "found none for 'cell_2'"
        with pytest.raises((KeyError, ValueError), match=message):
            LeafletFAModel.load_query_data(new, model)
        pd.testing.assert_frame_equal(new.obs, before.obs)
        assert set(new.uns) == set(before.uns)

    @pytest.mark.parametrize("options", [{"freeze_programs": False}, {"n_extra_programs": 1}])
    def test_a_reference_with_batches_is_not_extended(self, model, shifted, options):
        with pytest.raises(ValueError, match="Expected a reference without batches to extend"):
            LeafletFAModel.load_query_data(shifted, model, **options)


class TestSetup:
    def test_combinations_of_the_same_name(self, shifted):
        code = shifted.obs["batch"].cat.codes.to_numpy()
        shifted.obs["lab"] = np.array(["a", "a, b", "a"])[code]
        shifted.obs["run"] = np.array(["b, c", "c", "c"])[code]
        LeafletFAModel.setup_anndata(shifted, batch_key="lab", categorical_covariate_keys=["run"])
        with pytest.raises(ValueError, match="found 'a, b, c' for two, from the columns 'lab'"):
            LeafletFAModel(shifted, 3)

    @pytest.mark.parametrize(
        ("change", "options", "error", "message"),
        [
            (None, {"batch_key": "plate"}, KeyError, "Expected batches in adata.obs\\['plate'\\]"),
            (None, {"batch_key": 3}, TypeError, "Expected batch_key to be the name"),
            (
                None,
                {"categorical_covariate_keys": "batch"},
                TypeError,
                "Expected categorical_covariate_keys to be a list",
            ),
            ("missing", {}, ValueError, "found none for 'cell_3', in total for 1 cells"),
            ("one", {}, ValueError, "Expected at least two batches"),
            ("single", {}, ValueError, "found one in 'alone'"),
        ],
    )
    def test_errors_leave_the_data_as_they_were(self, shifted, change, options, error, message):
        values = shifted.obs["batch"].astype(object)
        if change == "missing":
            values.iloc[3] = None
        elif change == "one":
            values[:] = "x"
        elif change == "single":
            values.iloc[7] = "alone"
        shifted.obs["batch"] = values
        before = shifted.copy()
        with pytest.raises(error, match=message):
            LeafletFAModel.setup_anndata(shifted, **{"batch_key": "batch", **options})
        pd.testing.assert_frame_equal(shifted.obs, before.obs)
        assert set(shifted.uns) == set(before.uns)

    def test_batches_without_common_junctions(self, shifted):
        """An error if none, a warning if few are common."""
        in_first = (shifted.obs["batch"] == "batch_0").to_numpy()
        atse = shifted.var["atse_id"].astype(str)
        for share, expected in ((1.0, ValueError), (0.7, UserWarning)):
            data = shifted.copy()
            labels = pd.unique(atse)
            own = atse.isin(labels[: int(share * len(labels) / 2)]).to_numpy()
            other = atse.isin(labels[len(labels) // 2 :]).to_numpy()
            for name in LAYERS:
                dense = data.layers[name].toarray()
                dense[np.ix_(in_first, other if share == 1 else ~own)] = 0
                dense[np.ix_(~in_first, own)] = 0
                data.layers[name] = type(data.layers[name])(dense)
            if share < 1:
                some = np.flatnonzero(atse == labels[0])
                for name in LAYERS:
                    dense = data.layers[name].toarray()
                    dense[:, some] = shifted.layers[name].toarray()[:, some]
                    data.layers[name] = type(data.layers[name])(dense)
            LeafletFAModel.setup_anndata(data, batch_key="batch")
            if expected is ValueError:
                with pytest.raises(ValueError, match="0 of the .* observed in batch 'batch_0'"):
                    LeafletFAModel(data, 3)
            else:
                with pytest.warns(UserWarning, match="observed in batch 'batch_0' are observed"):
                    LeafletFAModel(data, 3)

    def test_a_column_with_the_same_values_is_warned_of(self, shifted):
        shifted.obs["cell_type"] = shifted.obs["batch"].map(
            {"batch_0": "T", "batch_1": "B", "batch_2": "NK"}
        )
        with pytest.warns(UserWarning, match=r"Each value of adata.obs\['cell_type'\] is one"):
            LeafletFAModel.setup_anndata(shifted, batch_key="batch")
        shifted.obs["cell_type"] = shifted.obs["program_true"]
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            LeafletFAModel.setup_anndata(shifted, batch_key="batch")

    @pytest.mark.parametrize(
        ("types", "message"),
        [
            (["T", "B NK", "B NK"], "'T' in .* are those of batch 'batch_0': part of what"),
            (
                ["T", "NK", None],
                r"those of batch 'batch_[01]' \(one of 2 such values\): part",
            ),
            (["T", "T B", "B NK"], None),
            (["T", "T", "NK B"], None),
            ([None, "B NK", "B NK"], None),
        ],
    )
    def test_a_value_with_the_cells_of_a_batch_is_warned_of(self, shifted, types, message):
        shifted.obs["cell_type"] = None
        for i, some in enumerate(types):
            cells = shifted.obs_names[shifted.obs["batch"] == f"batch_{i}"]
            if some is not None:
                shifted.obs.loc[cells, "cell_type"] = np.resize(some.split(), len(cells))
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            LeafletFAModel.setup_anndata(shifted, batch_key="batch")
        found = [str(w.message) for w in found if "cell_type" in str(w.message)]
        if message is None:
            assert not found
        else:
            assert len(found) == 1
            assert re.search(message, found[0])

    def test_a_model_without_batches_has_no_effects(self, shifted):
        model = fitted(shifted, None, train={"method": "em", "em_iterations": 3})
        assert model.batch_names == []
        with pytest.raises(ValueError, match="Expected a model with batches, found none"):
            model.get_batch_effects()
        assert "_scvi_batch" not in shifted.obs
