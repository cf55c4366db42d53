"""Data of new cells that lack junctions of the reference, have others, or other names for them."""

from __future__ import annotations

import logging
import re
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from helpers.equality import assert_same

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")
prepare = LeafletFAModel.prepare_query_anndata


@pytest.fixture(scope="module")
def reference(_clear, fit):
    """Trained on 80 cells of 2 programs; for reading only."""
    return fit(_clear.copy(), 2, max_epochs=60)


@pytest.fixture(scope="module")
def _new(_clear):
    more = lfa.datasets.simulate_splicing(200, 60, 2, coverage=0.5, frac_differential=0.7, seed=1)
    more.var_names = _clear.var_names
    more.obs_names = [f"query_{i}" for i in range(200)]
    return more


@pytest.fixture
def new(_new):
    """200 cells of the same programs."""
    return _new.copy()


def filtered(adata, kept):
    """A data set of some junctions that was made without the reads of the others."""
    counts = adata.to_df(LAYERS[0]).astype(int).loc[:, kept]
    made = lfa.pp.splicing_from_counts(counts, list(adata.var["atse_id"][kept]))
    made.var = adata.var.loc[made.var_names]
    return made


def renamed(adata, change):
    adata.var_names = [change(name) for name in adata.var_names]
    return adata


class TestCompare:
    def test_everything(self, reference, new):
        found = LeafletFAModel.compare_junctions(new, reference)
        assert (found.n_shared, found.n_lost, found.n_extra) == (new.n_vars, 0, 0)
        assert found.share_of_reads == 1
        assert (found.atses["status"] == "complete").all()
        assert (found.atses["lost_psi"] == 0).all()
        assert found.reasons == ()

    def test_junctions_atses_and_psi(self, reference, new, tmp_path):
        kept = np.arange(new.n_vars) % 3 > 0
        some = filtered(new, kept)
        before = some.copy()
        reference.save(tmp_path / "reference")
        for model in (reference, str(tmp_path / "reference")):
            found = LeafletFAModel.compare_junctions(some, model)
            assert_same(some, before)
            assert (found.n_shared, found.n_lost) == (some.n_vars, new.n_vars - some.n_vars)
            psi = reference.get_splicing_programs()
            for label, row in found.atses.iterrows():
                inside = psi[(new.var["atse_id"] == label).to_numpy()]
                there = inside.index.isin(some.var_names)
                wanted = (inside[~there].sum() / inside.sum()).max()
                assert row["lost_psi"] == pytest.approx(wanted, abs=1e-5)
        assert f"{some.n_vars} of the reference's {new.n_vars} junctions" in repr(found)

    def test_an_untrained_reference_and_one_without_atses(self, clear, new):
        LeafletFAModel.setup_anndata(clear)
        found = LeafletFAModel.compare_junctions(new, LeafletFAModel(clear, 2))
        assert found.atses["lost_psi"].isna().all()
        del clear.var["atse_id"]
        LeafletFAModel.setup_anndata(clear)
        found = LeafletFAModel.compare_junctions(new, LeafletFAModel(clear, 2))
        assert found.atses.empty
        assert found.n_shared == new.n_vars


class TestContigs:
    @pytest.mark.parametrize("inplace", [False, True])
    def test_prefix(self, reference, new, inplace, caplog):
        wanted = prepare(new[:, ::-1].copy(), reference, inplace=False)
        own = renamed(new[:, ::-1].copy(), lambda name: name.removeprefix("chr"))
        own.var["chrom"] = own.var["chrom"].astype(str).str.removeprefix("chr").astype("category")
        own.varm["table"] = pd.DataFrame({"i": np.arange(own.n_vars)}, own.var_names)
        before = own.copy()
        with caplog.at_level(logging.INFO, "leafletfa_scvi"):
            found = prepare(own, reference, inplace=inplace)
        assert "Contigs of the reference are named differently: 1 is chr1, " in caplog.text
        assert f"{new.n_vars} of the reference's {new.n_vars} junctions (100.0%)" in caplog.text
        if inplace:
            found = own
        else:
            assert_same(own, before)
        assert list(found.var_names) == list(reference.junction_names)
        assert (found.var["chrom"].astype(str) == new.var["chrom"].astype(str)).all()
        for name in LAYERS:
            assert (found.layers[name] != wanted.layers[name]).nnz == 0
        assert found.varm["table"]["i"].tolist() == list(range(new.n_vars))[::-1]
        assert found.uns["junction_overlap"]["n_renamed_contigs"] > 0
        reference.get_cell_activities(found[:3].copy())


class TestMinimum:
    """Errors leave the data as they were."""

    def refused(self, adata, reference, match, **options):
        before = adata.copy()
        with pytest.raises(ValueError, match=match) as error:
            prepare(adata, reference, **options)
        assert_same(adata, before)
        return str(error.value)

    def test_numbers_are_named(self, reference, new):
        few = new[:, :6].copy()
        n = new.n_vars
        match = rf"adata has 6 of the reference's {n} junctions .* below min_overlap=0.05. Lower"
        self.refused(few, reference, match)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert prepare(few, reference, inplace=False, min_overlap=0.01).n_vars == n
            half = filtered(new, np.arange(n) % 2 == 0)
            assert prepare(half, reference, inplace=False).n_vars == n
        self.refused(half, reference, "min_overlap=0.9", min_overlap=0.9)

    def test_none(self, reference, new):
        n = new.n_vars
        for min_overlap in (0, 0.05):
            text = self.refused(
                renamed(new.copy(), lambda name: name.rsplit(":", 1)[0]),
                reference,
                f"none of the reference's {n} junctions",
                min_overlap=min_overlap,
            )
            assert f"{n} more have the same coordinates, but names of junctions of adata" in text
        shifted = renamed(
            new.copy(), lambda name: re.sub(r"(?<=[:-])\d+", lambda x: str(int(x[0]) + 311), name)
        )
        text = self.refused(shifted, reference, f"none of the reference's {n} junctions")
        assert "have no splice site in common: the genome builds differ." in text
        self.refused(new[:, :0].copy(), reference, "has no junctions")

    def test_a_part_that_would_match(self, reference, new):
        """A quarter of the names has no strand: a warning names them."""
        names = pd.Series(new.var_names)
        rows = np.arange(len(names)) % 4 > 0
        names[rows] = names[rows].str.rsplit(":", n=1).str[0]
        new.var_names = list(names)
        with pytest.warns(UserWarning, match="more have the same coordinates"):
            prepare(new, reference, inplace=False)

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"min_overlap": 1.5}, r"min_overlap in \[0, 1\], found 1.5"),
            ({"min_overlap": "x"}, r"min_overlap in \[0, 1\]"),
            ({"atse_totals": "both"}, "atse_totals to be 'query' or 'shared', found 'both'"),
        ],
    )
    def test_wrong_options(self, reference, new, options, match):
        self.refused(new, reference, match, **options)

    def test_shared_totals_need_atses(self, clear, new, fit):
        del clear.var["atse_id"]
        self.refused(new, fit(clear, 2, max_epochs=1), "with ATSEs for", atse_totals="shared")


@pytest.mark.parametrize("name", LAYERS)
def test_without_a_layer_totals_would_stay_as_they_are(reference, new, name):
    some = new[:, ::2].copy()
    some.layers["other"] = some.layers[name]
    del some.layers[name]
    before = some.copy()
    for mapping in (None, {name: name for name in some.var_names}):
        with pytest.raises(KeyError, match=f"Layer '{name}' is missing: .*'other'"):
            prepare(some, reference, mapping=mapping)
    assert_same(some, before)


class TestSharedTotals:
    def test_sums_over_the_junctions_that_both_have(self, reference, new, caplog):
        some = filtered(new, np.arange(new.n_vars) % 4 > 0)
        with caplog.at_level(logging.INFO, "leafletfa_scvi"), warnings.catch_warnings():
            warnings.simplefilter("error")
            found = prepare(some, reference, inplace=False, atse_totals="shared")
        counts = some.to_df(LAYERS[0]).reindex(columns=new.var_names, fill_value=0)
        y, n = (found.to_df(name) for name in LAYERS)
        sizes = []
        for label in new.var["atse_id"].unique():
            inside = (new.var["atse_id"] == label).to_numpy()
            there = inside & new.var_names.isin(some.var_names)
            sizes.append((there.sum(), inside.sum()))
            total = counts.loc[:, there].sum(axis=1).to_numpy()
            for name in new.var_names[inside]:
                is_observed = name in some.var_names and there.sum() > 1
                np.testing.assert_array_equal(n[name], total * is_observed)
                np.testing.assert_array_equal(y[name], counts[name] * is_observed)
        n_single = sum(there == 1 for there, _ in sizes)
        assert n_single > 0
        assert any(1 < there < inside for there, inside in sizes)
        assert f"{n_single} ATSEs of which adata has one junction are not observed" in caplog.text
        query = LeafletFAModel.load_query_data(found, reference)
        query.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)

    @pytest.mark.parametrize(
        ("first", "second"), [("query", "query"), ("shared", "query"), ("shared", "shared")]
    )
    def test_a_second_preparation_changes_nothing(self, reference, new, first, second):
        """As when a cell of a notebook is run again: what was not observed does not become 0."""
        some = new[:, np.arange(new.n_vars) % 4 > 0].copy()  # totals have reads of the others
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            once = prepare(some, reference, inplace=False, atse_totals=first)
            twice = prepare(once, reference, inplace=False, atse_totals=second)
        y, n = (once.to_df(name) for name in LAYERS)
        siblings = n.T.groupby(once.var["atse_id"].to_numpy()).transform("max").T
        assert ((n == 0) & (siblings > 0)).any(axis=None)
        np.testing.assert_array_equal(twice.to_df(LAYERS[0]), y)
        np.testing.assert_array_equal(twice.to_df(LAYERS[1]), n)

    def test_without_missing_junctions_both_are_the_same(self, reference, new):
        found = [
            prepare(new, reference, inplace=False, atse_totals=x) for x in ("query", "shared")
        ]
        for name in LAYERS:
            assert (found[0].layers[name] != found[1].layers[name]).nnz == 0

    def test_activities_are_true_although_reads_were_filtered_out(self, reference, new):
        """Of the missing junctions, most have reads of one program: 0 counts mislead."""
        psi = reference.get_splicing_programs()
        gap = psi["SP_1"] - psi["SP_2"]
        kept = (gap < gap.quantile(0.8)).to_numpy()
        some = filtered(new, kept)
        whole = reference.get_latent_representation(new)
        errors = {}
        for totals in ("query", "shared"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                aligned = prepare(some, reference, inplace=False, atse_totals=totals)
            found = reference.get_latent_representation(aligned)
            errors[totals] = np.abs(found - whole)[:, 0].mean()
        assert errors["shared"] < 0.7 * errors["query"], errors

    def test_the_result_can_be_written(self, reference, new, tmp_path):
        some = filtered(new, np.arange(new.n_vars) % 3 > 0)
        found = prepare(some, reference, inplace=False, atse_totals="shared")
        found.write_h5ad(tmp_path / "x.h5ad")
        numbers = anndata.read_h5ad(tmp_path / "x.h5ad").uns["junction_overlap"]
        assert numbers == LeafletFAModel.compare_junctions(some, reference).summary()

    def test_gtex_made_apart(self, data_dir):
        """Real junctions, filtered in each data set: PSI against those of all reads."""
        files = sorted((data_dir / "gtex_chr10").glob("*.bed.gz"))
        annotation = lfa.pp.read_annotation(data_dir / "gtex_chr10" / "chr10.gtf.gz")
        counts = lfa.pp.read_junc(files[6:9])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = lfa.pp.make_splicing_dataset(files[:3], gtf=annotation)
            other = lfa.pp.make_splicing_dataset(counts, gtf=annotation)
            LeafletFAModel.setup_anndata(one)
            model = LeafletFAModel(one, 2)
            model.train(method="em", accelerator="cpu")
        raw = counts.to_df().reindex(columns=one.var_names, fill_value=0)
        total = raw.T.groupby(one.var["atse_id"], observed=True).transform("sum").T
        n_observed, is_off = {}, {}
        for totals in ("query", "shared"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = prepare(other, model, inplace=False, atse_totals=totals)
            y, n = (found.to_df(name).to_numpy(float) for name in LAYERS)
            here = n > 0
            difference = np.abs(y[here] / n[here] - (raw / total).to_numpy()[here])
            n_observed[totals], is_off[totals] = here.sum(), (difference > 0.05).mean()
        assert is_off["shared"] < 0.7 * is_off["query"], is_off
        assert n_observed["shared"] > 0.8 * n_observed["query"], n_observed
