"""Labels of reference cells, given to query cells."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import leafletfa_scvi as lfa

CENTERS = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
NAMES = np.array(["a", "b", "c"])


def cells(n, seed, name):
    """Cells near three corners of the simplex, with their labels."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(3, size=n)
    phi = np.stack([rng.dirichlet(30.0 * CENTERS[k]) for k in kind])
    obs = pd.DataFrame({"kind": pd.Categorical(NAMES[kind])}, [f"{name}{i}" for i in range(n)])
    return anndata.AnnData(np.zeros((n, 1), np.float32), obs=obs, obsm={"X_PHI": phi})


@pytest.fixture
def reference():
    return cells(120, 0, "r")


@pytest.fixture
def query():
    return cells(40, 1, "q")


class TestLabels:
    def test_knn_is_the_share_of_the_nearest_cells_by_hellinger_distance(self, reference, query):
        found = lfa.tl.transfer_labels(reference, query, "kind", n_neighbors=7)
        assert list(found.index) == list(query.obs_names)
        for name, phi in zip(query.obs_names, query.obsm["X_PHI"], strict=True):
            distance = 1.0 - np.sqrt(reference.obsm["X_PHI"] * phi).sum(1)
            nearest = reference.obs["kind"].iloc[np.argsort(distance)[:7]]
            for label in NAMES:
                want = (nearest == label).mean()
                assert found.loc[name, f"probability_{label}"] == pytest.approx(want)

    @pytest.mark.parametrize("layout", ["table", "sparse"])
    def test_activities_in_other_layouts(self, reference, query, layout):
        """A table has names, which count, not its order."""
        wanted = lfa.tl.transfer_labels(reference, query, "kind")
        phi = reference.obsm["X_PHI"]
        if layout == "sparse":
            reference.obsm["X_PHI"] = sp.csr_matrix(phi)
        else:
            table = pd.DataFrame(phi, reference.obs_names, ["SP_1", "SP_2", "SP_3"])
            reference.obsm["X_PHI"] = table[["SP_3", "SP_1", "SP_2"]]
        found = lfa.tl.transfer_labels(reference, query, "kind")
        pd.testing.assert_frame_equal(found, wanted)

    @pytest.mark.parametrize("method", ["knn", "logistic"])
    def test_labels_are_those_of_the_corner(self, reference, query, method):
        found = lfa.tl.transfer_labels(reference, query, "kind", method=method)
        assert (found["predicted"].astype(str) == query.obs["kind"].astype(str)).mean() > 0.97
        each = found[[f"probability_{x}" for x in NAMES]].to_numpy()
        np.testing.assert_allclose(each.sum(1), 1.0)
        np.testing.assert_allclose(found["probability"], each.max(1))
        assert list(found["label"].cat.categories) == ["a", "b", "c", "unknown"]
        assert list(found["predicted"].cat.categories) == ["a", "b", "c"]

    def test_probabilities_of_logistic_regression_are_calibrated(self):
        """In halfway cells of two overlapping kinds, both are as probable as they are frequent."""
        rng = np.random.default_rng(0)

        def overlapping(n, seed):
            more = cells(n, seed, "x")
            phi = rng.dirichlet([4.0, 4.0, 2.0], n)
            more.obsm["X_PHI"] = phi
            more.obs["kind"] = np.where(rng.random(n) < phi[:, 0] / phi[:, :2].sum(1), "a", "b")
            return more

        known, new = overlapping(3000, 0), overlapping(3000, 1)
        found = lfa.tl.transfer_labels(known, new, "kind", method="logistic")
        p, is_a = found["probability_a"].to_numpy(), (new.obs["kind"] == "a").to_numpy()
        for low in (0.2, 0.4, 0.6):
            within = (p >= low) & (p < low + 0.2)
            assert within.sum() > 200
            assert is_a[within].mean() == pytest.approx(p[within].mean(), abs=0.06)

    def test_cells_without_a_label_are_left_out_and_logged(self, reference, query, caplog):
        labels = reference.obs["kind"].astype(object)
        labels[labels == "c"] = np.nan
        reference.obs["kind"] = labels
        with caplog.at_level(logging.INFO, logger="leafletfa_scvi"):
            found = lfa.tl.transfer_labels(reference, query, "kind")
        assert f"{labels.isna().sum()} cells have no value" in caplog.text
        assert list(found["predicted"].cat.categories) == ["a", "b"]

    def test_order_of_ordered_categories_is_kept_and_empty_ones_are_dropped(
        self, reference, query
    ):
        reference.obs["kind"] = pd.Categorical(
            reference.obs["kind"], categories=["c", "none", "b", "a"], ordered=True
        )
        found = lfa.tl.transfer_labels(reference, query, "kind")
        assert list(found["label"].cat.categories) == ["c", "b", "a", "unknown"]
        agrees = found["label"].astype(str) == query.obs["kind"].astype(str)
        assert agrees.mean() > 0.9

    def test_numeric_labels_become_text(self, reference, query):
        reference.obs["cluster"] = reference.obs["kind"].cat.codes + 1
        found = lfa.tl.transfer_labels(reference, query, "cluster")
        assert list(found["predicted"].cat.categories) == ["1", "2", "3"]

    def test_inputs_are_not_changed(self, reference, query):
        before = [x.copy() for x in (reference, query)]
        lfa.tl.transfer_labels(reference, query, "kind")
        for data, old in zip((reference, query), before, strict=True):
            pd.testing.assert_frame_equal(data.obs, old.obs)
            np.testing.assert_array_equal(data.obsm["X_PHI"], old.obsm["X_PHI"])


class TestUnknown:
    def test_cells_that_do_not_fit(self, reference, query):
        p = pd.Series(np.linspace(0.0, 1.0, 40), query.obs_names)
        p.iloc[-1] = np.nan
        table = pd.DataFrame({"p_value": p})[::-1]
        found = lfa.tl.transfer_labels(
            reference, query, "kind", query_fit=table, alpha=0.1, min_probability=0.0
        )
        np.testing.assert_array_equal(found["p_value"], p)
        np.testing.assert_array_equal(found["label"] == "unknown", (p < 0.1) | p.isna())
        known = found["label"] != "unknown"
        assert (found["label"][known].astype(str) == found["predicted"][known].astype(str)).all()

    def test_cells_between_labels(self, reference, query):
        query.obsm["X_PHI"][0] = 1.0 / 3.0
        found = lfa.tl.transfer_labels(
            reference, query, "kind", method="logistic", min_probability=0.9, unknown="Unknown"
        )
        assert found["label"].iloc[0] == "Unknown"
        np.testing.assert_array_equal(found["label"] == "Unknown", found["probability"] < 0.9)


@pytest.fixture(scope="module")
def models(fit):
    adata = lfa.datasets.simulate_splicing(160, 40, 3, coverage=0.5, seed=3)
    adata.obs["kind"] = NAMES[adata.obsm["phi_true"].argmax(1)]
    model = fit(adata[:100].copy())
    query = lfa.LeafletFAModel.load_query_data(adata[100:].copy(), model)
    query.train(max_epochs=12, accelerator="cpu", enable_progress_bar=False)
    return model, query


class TestModels:
    def test_models_and_their_exports_agree(self, models):
        model, query = models
        found = lfa.tl.transfer_labels(model, query, "kind")
        truth = query.adata.obs["kind"]
        assert (found["predicted"].astype(str) == truth).mean() > 0.7
        exported = [m.adata.copy() for m in models]
        for m, adata in zip(models, exported, strict=True):
            m.export_posterior(adata)
        again = lfa.tl.transfer_labels(*exported, "kind")
        pd.testing.assert_frame_equal(found, again)

    def test_cells_of_an_anndata_without_activities_get_those_of_the_reference(self, models):
        model, query = models
        new = query.adata.copy()
        found = lfa.tl.transfer_labels(model, new, "kind")
        new.obsm["X_PHI"] = model.get_cell_activities(new).to_numpy()
        pd.testing.assert_frame_equal(found, lfa.tl.transfer_labels(model, new, "kind"))

    def test_other_programs(self, models, fit):
        model, query = models
        other = fit(query.adata.copy(), 2)
        with pytest.raises(ValueError, match="same programs, found 3 and 2"):
            lfa.tl.transfer_labels(model, other, "kind")
        swapped, new = model.adata.copy(), query.adata.copy()
        model.export_posterior(swapped)
        query.export_posterior(new)
        new.varm["psi_learned"] = new.varm["psi_learned"][:, [1, 0, 2]]
        with pytest.raises(ValueError, match="program 1 of the query is closest to program 2"):
            lfa.tl.transfer_labels(swapped, new, "kind")

    def test_reference_cells_get_activities_on_extra_programs(self, models):
        model, query = models
        more = lfa.LeafletFAModel.load_query_data(query.adata.copy(), model, n_extra_programs=1)
        more.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
        found = lfa.tl.transfer_labels(model, more, "kind")
        placed = model.adata.copy()
        placed.obsm["X_PHI"] = more.get_cell_activities(placed).to_numpy()
        assert placed.obsm["X_PHI"].shape[1] == model.n_programs + 1
        exported = query.adata.copy()
        more.export_posterior(exported)
        pd.testing.assert_frame_equal(found, lfa.tl.transfer_labels(placed, exported, "kind"))
        with pytest.raises(ValueError, match="same programs, found 3 and 4"):
            lfa.tl.transfer_labels(query, exported, "kind")

    def test_a_reference_that_is_not_trained(self, models):
        model, query = models
        lfa.LeafletFAModel.setup_anndata(other := model.adata.copy())
        with pytest.raises(RuntimeError, match="not trained"):
            lfa.tl.transfer_labels(lfa.LeafletFAModel(other, 3), query, "kind")


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"labels": "nothing"}, KeyError, "Expected labels to name columns.*'nothing'"),
            ({"labels": "same"}, ValueError, "at least two kinds.*'x' alone"),
            ({"labels": "none"}, ValueError, "found none"),
            ({"labels": ["kind", "same"]}, TypeError, "Expected labels to be the name of one"),
            ({"unknown": "b"}, ValueError, "Expected unknown to be no label"),
            ({"method": "svm"}, ValueError, "Expected method to be 'knn' or 'logistic'"),
            ({"n_neighbors": 0}, ValueError, "Expected n_neighbors"),
            ({"n_neighbors": 121}, ValueError, "at most the number.*120, found 121"),
            ({"alpha": 1.5}, ValueError, "Expected alpha"),
            ({"min_probability": -1}, ValueError, "Expected min_probability"),
            ({"query_fit": 0.05}, TypeError, "Expected query_fit to be a table"),
            ({"query_fit": pd.DataFrame({"p_value": [0.5]}, ["q1"])}, ValueError, "39 missing"),
            (
                {"query_fit": pd.DataFrame({"p_value": [0.5, 0.5]}, ["q1", "q1"])},
                ValueError,
                "repeated names",
            ),
        ],
    )
    def test_arguments(self, reference, query, options, error, message):
        reference.obs["same"] = "x"
        reference.obs["none"] = np.nan
        with pytest.raises(error, match=message):
            lfa.tl.transfer_labels(reference, query, **{"labels": "kind", **options})

    @pytest.mark.parametrize("unknown", [None, 0, np.nan])
    def test_unknown_is_a_text(self, reference, query, unknown):
        with pytest.raises(ValueError, match="Expected unknown to be a text"):
            lfa.tl.transfer_labels(reference, query, "kind", unknown=unknown)

    def test_labels_that_are_the_same_as_text(self, reference, query):
        reference.obs["mixed"] = [1, "1"] * 60
        with pytest.raises(ValueError, match=r"reference.obs\['mixed'\], found two that are '1'"):
            lfa.tl.transfer_labels(reference, query, "mixed")

    def test_one_program_says_nothing(self, reference, query):
        for data in (reference, query):
            data.obsm["X_PHI"] = np.ones((data.n_obs, 1))
        with pytest.raises(ValueError, match="at least two programs, found one"):
            lfa.tl.transfer_labels(reference, query, "kind")

    def test_activities_that_are_scaled(self, reference, query):
        reference.obsm["X_PHI"] *= 100
        with pytest.raises(ValueError, match="found a sum of 100 for cell 'r0', in total 120"):
            lfa.tl.transfer_labels(reference, query, "kind")

    def test_the_argument_is_named(self, reference, query):
        with pytest.raises(TypeError, match="Expected reference to be an AnnData"):
            lfa.tl.transfer_labels("reference.h5ad", query, "kind")

    def test_a_reference_without_cells(self, query):
        psi = pd.DataFrame(np.full((4, 3), 0.3), [f"chr1:{i}-{i + 9}:+" for i in range(1, 5)])
        model = lfa.LeafletFAModel.from_programs(
            psi, prevalence=[0.2, 0.3, 0.5], concentration=5.0, activity_concentration=1.0
        )
        with pytest.raises(ValueError, match="made from programs and has none. Pass the AnnData"):
            lfa.tl.transfer_labels(model, query, "kind")

    def test_no_activities(self, reference, query):
        del query.obsm["X_PHI"]
        with pytest.raises(ValueError, match="Expected activities"):
            lfa.tl.transfer_labels(reference, query, "kind")

    def test_other_number_of_programs(self, reference, query):
        query.obsm["X_PHI"] = np.full((40, 4), 0.25)
        with pytest.raises(ValueError, match="same programs, found 3 and 4"):
            lfa.tl.transfer_labels(reference, query, "kind")

    def test_other_objects(self, reference, query):
        with pytest.raises(TypeError, match="AnnData"):
            lfa.tl.transfer_labels(reference, "query.h5ad", "kind")
