"""Association of expression with programs, and what activities add to it, with known answers."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mudata import MuData

import leafletfa_scvi as lfa

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:mudata", "ignore::UserWarning")
N_TYPES, N_NULL = 3, 60


def activities(rng, type_of, donor_shift):
    """Activities of 3 programs, which differ between types, donors and cells."""
    logits = rng.normal(0.0, 0.7, (len(type_of), 3)) + donor_shift
    logits[np.arange(len(type_of)), type_of] += 1.5
    phi = np.exp(logits)
    return phi / phi.sum(1, keepdims=True)


def planted(n_donors=10, n_cells=20, seed=0, donor_sd=0.8):
    """Donors with 3 types, and genes of known relation to the first program.

    ``follows`` rises with the program within types; ``type_only`` is of type 0, in which the
    program is high; the others differ between types, donors and parts of donors at random.
    """
    rng = np.random.default_rng(seed)
    shape = (n_donors, N_TYPES, n_cells)
    donor, kind, _ = (x.ravel() for x in np.indices(shape))
    part = donor * N_TYPES + kind
    shift = rng.normal(0, donor_sd, (n_donors, 3))[donor]
    shift = shift + rng.normal(0, donor_sd / 2, (n_donors * N_TYPES, 3))[part]
    phi = activities(rng, kind, shift)
    own = np.log(phi[:, 0]) - np.log1p(-phi[:, 0])
    genes = np.empty((len(donor), N_NULL + 2))
    genes[:, 0] = 4.0 + 0.5 * own
    genes[:, 1] = 4.0 + 2.0 * (kind == 0)
    genes[:, 2:] = 4.0 + rng.normal(0, 1.0, (N_TYPES, N_NULL))[kind]
    genes[:, 1:] += rng.normal(0, 0.3, (n_donors, N_NULL + 1))[donor]
    genes[:, 1:] += rng.normal(0, 0.2, (n_donors * N_TYPES, N_NULL + 1))[part]
    genes += rng.normal(0, 0.5, genes.shape)
    names = [f"cell{i}" for i in range(len(donor))]
    obs = pd.DataFrame(
        {"donor": [f"d{i}" for i in donor], "cell_type": [f"t{i}" for i in kind]}, index=names
    )
    splicing = ad.AnnData(obs=obs, obsm={"X_PHI": phi})
    var = pd.DataFrame(index=["follows", "type_only", *(f"null{i}" for i in range(N_NULL))])
    rna = ad.AnnData(np.maximum(genes, 0.0).astype(np.float32), obs=obs[[]].copy(), var=var)
    return splicing, rna


@pytest.fixture(scope="module")
def pair():
    """AnnData with activities, and AnnData with expression; for reading only."""
    return planted()


def found(table):
    called = table[table["is_associated_fdr_0.05"] & (table["program"] == "SP_1")]
    return set(called["gene"])


class TestAssociation:
    @pytest.mark.parametrize("sample_key", ["donor", None])
    def test_a_gene_that_follows_the_program_within_types(self, pair, sample_key):
        table = lfa.tl.expression_association(*pair, groupby="cell_type", sample_key=sample_key)
        first = table.iloc[0]
        assert (first["gene"], first["program"]) == ("follows", "SP_1")
        assert 0.4 < first["effect"] < 1.2  # 0.5, of a logit that is closer to its mean
        assert first["partial_correlation"] > 0.5
        assert "follows" in found(table)
        assert "type_only" not in found(table)
        assert table["replicates"].unique().tolist() == ["samples" if sample_key else "cells"]
        assert table.attrs["replicates"].startswith("samples" if sample_key else "cells")
        assert (table["n_samples"] == (10 if sample_key else 600)).all()
        assert (table["n_units"] == (30 if sample_key else 600)).all()
        assert len(table) == 3 * (N_NULL + 2)

    def test_a_gene_of_the_type_is_found_without_groups(self, pair):
        table = lfa.tl.expression_association(*pair, sample_key=None)
        assert {"follows", "type_only"} <= found(table)

    def test_what_follows_a_covariate_is_not_found(self, pair):
        splicing, rna = pair[0].copy(), pair[1]
        phi = splicing.obsm["X_PHI"][:, 0]
        splicing.obs["depth"] = np.log(phi) - np.log1p(-phi)
        table = lfa.tl.expression_association(
            splicing, rna, groupby="cell_type", sample_key="donor", covariates=["depth"]
        )
        assert "follows" not in found(table)
        rna = rna.copy()
        rna.X[:, 2] += np.where(np.arange(600) % 2, 3.0, 0.0)
        splicing.obs["batch"] = np.where(np.arange(600) % 2, "a", "b")
        options = {"groupby": "cell_type", "genes": ["null0"], "covariates": ["batch"]}
        with_batch = lfa.tl.expression_association(splicing, rna, **options)
        without = lfa.tl.expression_association(splicing, rna, **{**options, "covariates": ()})
        assert (with_batch["se"].to_numpy() < 0.7 * without["se"].to_numpy()).all()

    def test_it_is_least_squares_of_cells(self, pair):
        """Against the regression written out, for cells and for donors of one type."""
        splicing, rna = pair
        one = (splicing.obs["cell_type"] == "t1").to_numpy()
        for sample_key in (None, "donor"):
            keep = one if sample_key else np.ones(600, bool)
            table = lfa.tl.expression_association(
                splicing[keep].copy(),
                rna,
                groupby=None if sample_key else "cell_type",
                sample_key=sample_key,
                genes=["null3"],
            )
            row = table[table["program"] == "SP_2"].iloc[0]
            obs, phi = splicing.obs[keep], splicing.obsm["X_PHI"][keep]
            y = np.asarray(rna[keep, "null3"].X, float).ravel()
            unit = pd.factorize(obs["donor"])[0] if sample_key else np.arange(keep.sum())
            n = unit.max() + 1
            size = np.bincount(unit)
            mean = np.stack([np.bincount(unit, p) for p in phi.T], 1) / size[:, None]
            share = (size / (size + 0.5))[:, None]
            mixed = share * mean + (1 - share) * mean.mean(0)
            x = np.log(mixed[:, 1]) - np.log1p(-mixed[:, 1])
            y = np.bincount(unit, y) / size
            others = np.ones((n, 1))
            if not sample_key:
                others = pd.get_dummies(obs["cell_type"]).to_numpy(float)
            design = np.column_stack([others, x])
            beta, square, *_ = np.linalg.lstsq(design, y, rcond=None)
            variance = square[0] / (n - design.shape[1]) * np.linalg.inv(design.T @ design)[-1, -1]
            assert row["effect"] == pytest.approx(beta[-1], rel=1e-5)
            assert row["se"] == pytest.approx(np.sqrt(variance), rel=1e-5)
            own, left = (v - others @ np.linalg.lstsq(others, v, rcond=None)[0] for v in (x, y))
            assert row["partial_correlation"] == pytest.approx(np.corrcoef(own, left)[0, 1])

    def test_donors_are_the_replicates(self):
        """Under no association, with donors that differ, 5 % of p values are below 0.05."""
        shares, of_cells, tails = [], [], []
        for seed in range(25):
            splicing, rna = planted(8, 12, seed)
            genes = [f"null{i}" for i in range(N_NULL)]
            options = {"groupby": "cell_type", "genes": genes}
            table = lfa.tl.expression_association(splicing, rna, sample_key="donor", **options)
            shares.append((table["pvalue"] < 0.05).mean())
            tails.append((table["pvalue"] < 0.001).mean())
            cells = lfa.tl.expression_association(splicing, rna, **options)
            of_cells.append((cells["pvalue"] < 0.05).mean())
        assert 0.03 < np.mean(shares) < 0.06
        assert np.mean(tails) < 0.002
        assert np.mean(of_cells) > 0.2  # what counting cells would do

    def test_type_only_genes_are_rarely_found(self):
        calls = [
            lfa.tl.expression_association(
                *planted(8, 12, seed), groupby="cell_type", sample_key="donor"
            )
            for seed in range(15)
        ]
        assert sum("follows" in found(table) for table in calls) >= 14
        assert sum("type_only" in found(table) for table in calls) <= 2

    def test_forms_of_the_data(self, pair):
        splicing, rna = pair
        expected = lfa.tl.expression_association(*pair, groupby="cell_type", sample_key="donor")
        shuffled = rna[np.random.default_rng(0).permutation(600)].copy()
        shuffled.obs["kind"] = splicing.obs["cell_type"].reindex(shuffled.obs_names)
        bare = splicing.copy()
        del bare.obs["cell_type"]
        mdata = MuData({"splicing": bare, "expression": shuffled})
        shuffled.layers["log"] = sp.csr_matrix(shuffled.X)
        forms = {
            "MuData": (mdata, "expression", "expression:kind", None),
            "of the expression": (bare, shuffled, "kind", None),
            "sparse layer": (splicing, shuffled, "cell_type", "log"),
        }
        for data, expression, groupby, layer in forms.values():
            table = lfa.tl.expression_association(
                data, expression, groupby=groupby, sample_key="donor", layer=layer
            )
            pd.testing.assert_frame_equal(table, expected, rtol=1e-6)

    def test_a_model_of_a_mudata(self, small, fit):
        rng = np.random.default_rng(0)
        rna = ad.AnnData(
            rng.gamma(2.0, 1.0, (80, 5)).astype(np.float32),
            obs=pd.DataFrame(index=small.obs_names),
            var=pd.DataFrame(index=list("abcde")),
        )
        mdata = MuData({"splicing": small, "rna": rna})
        lfa.LeafletFAModel.setup_mudata(mdata, modalities={"junctions": "splicing"})
        model = lfa.LeafletFAModel(mdata, n_programs=3)
        model.train(method="em", em_iterations=20, accelerator="cpu")
        table = lfa.tl.expression_association(model)
        model.export_posterior()
        of_slots = lfa.tl.expression_association(mdata)
        assert len(table) == 15
        joined = table.merge(of_slots, on=["gene", "program"])
        np.testing.assert_allclose(joined["effect_x"], joined["effect_y"], rtol=1e-4)

    def test_genes_that_cannot_be_tested(self, pair, caplog):
        rna = pair[1].copy()
        rna.X[:, 2] = 0.0
        rna.X[5, 2] = 1.0
        rna.X[:, 3] = 2.0
        rna.X[:, 4] = np.where(pair[0].obs["cell_type"] == "t0", 2.0, 1.0)
        with caplog.at_level(logging.INFO):
            table = lfa.tl.expression_association(
                pair[0], rna, groupby="cell_type", sample_key="donor"
            )
        assert "1 of 62 genes" in caplog.text
        assert "null0" not in set(table["gene"])
        constant = table[table["gene"].isin(["null1", "null2"])]
        assert len(constant) == 6
        assert constant["pvalue"].isna().all()
        assert not constant["is_associated_fdr_0.05"].any()
        assert table["pvalue"].notna().sum() == 3 * 59

    def test_rare_programs_and_small_units(self, pair, caplog):
        splicing = pair[0].copy()
        phi = splicing.obsm["X_PHI"].copy()
        phi[:, 2] = 1e-6
        splicing.obsm["X_PHI"] = phi / phi.sum(1, keepdims=True)
        keep = np.ones(600, bool)
        keep[
            np.flatnonzero((splicing.obs["donor"] == "d0") & (splicing.obs["cell_type"] == "t0"))[
                3:
            ]
        ] = 0
        with caplog.at_level(logging.INFO):
            table = lfa.tl.expression_association(
                splicing[keep].copy(), pair[1], groupby="cell_type", sample_key="donor"
            )
        assert "1 of 30 units have fewer than 5 cells" in caplog.text
        assert (table["n_units"] == 29).all()
        assert table.loc[table["program"] == "SP_3", "pvalue"].isna().all()
        assert table.loc[table["program"] == "SP_1", "pvalue"].notna().all()

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"groupby": "type"}, KeyError, "'type'"),
            (
                {"sample_key": "cell_type", "groupby": "cell_type"},
                ValueError,
                "at least 3 samples",
            ),
            ({"covariates": "donor"}, ValueError, "sequence of names"),
            ({"genes": ["folows"]}, ValueError, "Do you mean 'follows'"),
            ({"layer": "counts"}, KeyError, "'counts'"),
            ({"expression": "rna"}, TypeError, "to be an AnnData, as data is no MuData"),
            ({"min_fraction": 1.0}, ValueError, "min_fraction"),
            ({"min_cells": 100, "sample_key": "donor"}, ValueError, "min_cells=100"),
            ({"transform": "log"}, ValueError, "transform"),
            ({"sample_key": "donor", "covariates": ["donor"]}, ValueError, "at least 3 samples"),
        ],
    )
    def test_bad_arguments(self, pair, options, error, message):
        arguments = {"expression": pair[1], **options}
        with pytest.raises(error, match=message):
            lfa.tl.expression_association(pair[0], **arguments)

    def test_bad_data(self, pair):
        splicing, rna = pair
        counts = rna.copy()
        counts.X = np.round(counts.X)
        with pytest.raises(ValueError, match="whole numbers.*normalize_total"):
            lfa.tl.expression_association(splicing, counts)
        counts.X[0, 0] = np.nan
        with pytest.raises(ValueError, match="finite"):
            lfa.tl.expression_association(splicing, counts)
        other = rna.copy()
        other.obs_names = "other_" + other.obs_names
        with pytest.raises(ValueError, match="same names.*'cell0' and 'other_cell0'"):
            lfa.tl.expression_association(splicing, other)
        twice = rna.copy()
        twice.obs_names = ["cell0", *twice.obs_names[:-1]]
        with pytest.raises(ValueError, match="unique names of cells in expression"):
            lfa.tl.expression_association(splicing, twice)
        with pytest.raises(ValueError, match=r"found none. Write them with"):
            lfa.tl.expression_association(MuData({"rna": rna, "atac": other}))
        with pytest.raises(KeyError, match="'gex'"):
            lfa.tl.expression_association(MuData({"splicing": splicing, "gex": rna}))

    def test_cells_without_expression_are_left_out(self, pair, caplog):
        with caplog.at_level(logging.INFO):
            table = lfa.tl.expression_association(pair[0], pair[1][100:], genes=["follows", "x"])
        assert "100 cells have activities, but no expression" in caplog.text
        assert "1 of 2 genes are not in the data: x" in caplog.text
        assert (table["n_units"] == 500).all()


def typed(informative, n_donors=6, n_cells=25, seed=0):
    """Four types: expression tells two pairs apart; activities, if informative, within pairs."""
    rng = np.random.default_rng(seed)
    donor, kind, _ = (x.ravel() for x in np.indices((n_donors, 4, n_cells)))
    phi = activities(rng, kind % 2 if informative else np.zeros_like(kind), 0.0)
    genes = rng.normal(3.0, 0.5, (len(kind), 40))
    genes[:, :10] += 1.0 * (kind // 2)[:, None]
    obs = pd.DataFrame(
        {"donor": donor.astype(str), "cell_type": kind.astype(str)},
        index=[f"cell{i}" for i in range(len(kind))],
    )
    splicing = ad.AnnData(obs=obs, obsm={"X_PHI": phi})
    return splicing, ad.AnnData(np.maximum(genes, 0).astype(np.float32), obs=obs[[]].copy())


class TestBeyondExpression:
    @pytest.mark.parametrize("sample_key", ["donor", None])
    def test_what_activities_add_is_found(self, sample_key):
        table = lfa.tl.activities_beyond_expression(
            *arguments_of(typed(True)), sample_key=sample_key, n_splits=3, n_components=5
        )
        mean, se = table.loc["mean"], table.loc["se"]
        assert mean["expression"] == pytest.approx(0.5, abs=0.08)
        assert mean["both"] > 0.75
        assert mean["difference"] > 4 * se["difference"]
        assert mean["difference"] == pytest.approx(mean["both"] - mean["expression"])
        assert table["n_cells"].iloc[:3].sum() == 600
        assert table.index.tolist() == ["1", "2", "3", "mean", "se"]
        if sample_key:
            assert table["n_samples"].iloc[:3].tolist() == [2, 2, 2]

    def test_nothing_is_added_by_activities_that_say_nothing(self):
        differences = [
            lfa.tl.activities_beyond_expression(
                *arguments_of(typed(False, seed=seed)), n_splits=3, n_components=5
            ).loc["mean", "difference"]
            for seed in range(5)
        ]
        assert np.abs(np.mean(differences)) < 0.04

    def test_standard_errors_are_of_overlapping_training_cells(self):
        table = lfa.tl.activities_beyond_expression(
            *arguments_of(typed(True)), n_splits=3, n_components=5
        )
        folds = table["difference"].iloc[:3].astype(float)
        expected = np.sqrt((1 / 3 + 1 / 2) * folds.var(ddof=1))
        assert table.loc["se", "difference"] == pytest.approx(expected)

    def test_it_repeats_and_takes_a_mudata(self):
        splicing, rna = typed(True)
        options = {"n_splits": 2, "n_components": 3, "sample_key": "donor"}
        one = lfa.tl.activities_beyond_expression(splicing, "cell_type", rna, **options)
        rna = rna.copy()
        rna.X = sp.csr_matrix(rna.X)
        mdata = MuData({"splicing": splicing, "rna": rna[::-1].copy()})
        two = lfa.tl.activities_beyond_expression(mdata, "cell_type", **options)
        pd.testing.assert_frame_equal(one, two)

    def test_labels_are_predicted_in_unseen_donors(self):
        """Labels that are donors cannot be; within donors they can."""
        splicing, rna = typed(False)
        rng = np.random.default_rng(0)
        code = splicing.obs["donor"].astype(int).to_numpy()
        rna.X[:, 20:30] += rng.normal(0, 2.0, (6, 10))[code].astype(np.float32)
        splicing.obs["label"] = np.where(code < 3, "low", "high")
        kwargs = {"n_splits": 3, "n_components": 10}
        cells = lfa.tl.activities_beyond_expression(splicing, "label", rna, **kwargs)
        donors = lfa.tl.activities_beyond_expression(
            splicing, "label", rna, sample_key="donor", **kwargs
        )
        assert cells.loc["mean", "expression"] > 0.95
        assert donors.loc["mean", "expression"] < 0.9

    def test_rare_labels_are_left_out(self, caplog):
        splicing, rna = typed(True)
        splicing.obs.loc[splicing.obs_names[:2], "cell_type"] = "rare"
        splicing.obs.loc[splicing.obs_names[5:8], "cell_type"] = None
        with caplog.at_level(logging.INFO):
            table = lfa.tl.activities_beyond_expression(
                splicing, "cell_type", rna, n_splits=3, n_components=3, scoring="balanced_accuracy"
            )
        assert "'rare'" in caplog.text
        assert "3 cells have no value" in caplog.text
        assert table["n_cells"].iloc[:3].sum() == 595

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"labels": "type"}, KeyError, "'type'"),
            ({"labels": "one"}, ValueError, "two labels"),
            ({"sample_key": "pair"}, ValueError, "at least 3 samples"),
            ({"n_splits": 1}, ValueError, "n_splits"),
            ({"scoring": "f1"}, ValueError, "scoring"),
        ],
    )
    def test_bad_arguments(self, options, error, message):
        splicing, rna = typed(True)
        splicing.obs["one"] = "a"
        splicing.obs["pair"] = np.where(np.arange(600) % 2, "x", "y")
        arguments = {"labels": "cell_type", "expression": rna, **options}
        with pytest.raises(error, match=message):
            lfa.tl.activities_beyond_expression(splicing, **arguments)


def arguments_of(pair):
    """Arguments in the order of the function."""
    return pair[0], "cell_type", pair[1]
