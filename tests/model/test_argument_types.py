"""Arguments of a wrong type, such as other objects than an AnnData."""

from __future__ import annotations

import numpy as np
import pytest
import scvi
from mudata import MuData

import leafletfa_scvi as lfa

KINDS = ["path", "DataFrame", "MuData", "ndarray"]


@pytest.fixture
def wrong(gaps, kind):
    return {
        "path": "cells.h5ad",
        "DataFrame": gaps.to_df("cell_by_junction_matrix"),
        "MuData": MuData({"splicing": gaps}),
        "ndarray": np.zeros(gaps.shape),
    }[kind]


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    trained.save(folder)
    return folder


MODEL = lfa.LeafletFAModel
CALLS = {
    "setup_anndata": lambda _, x, __: MODEL.setup_anndata(x),
    "constructor": lambda _, x, __: MODEL(x, 2),
    "load": lambda _, x, folder: MODEL.load(folder, x),
    "load_query_data": lambda model, x, _: MODEL.load_query_data(x, model),
    "prepare_query_anndata": lambda model, x, _: MODEL.prepare_query_anndata(x, model),
    "get_cell_activities": lambda model, x, _: model.get_cell_activities(x),
    "get_normalized_splicing": lambda model, x, _: model.get_normalized_splicing(x),
    "get_log_likelihood": lambda model, x, _: model.get_log_likelihood(x),
    "get_credible_intervals": lambda model, x, _: model.get_credible_intervals("phi", adata=x),
    "differential_splicing": lambda model, x, _: model.differential_splicing(x, groupby="half"),
    "export_posterior": lambda model, x, _: model.export_posterior(x),
    "transfer_fields": lambda model, x, _: model.transfer_fields(x),
    "adata": lambda model, x, _: setattr(model, "adata", x),
    "deregister_manager": lambda model, x, _: model.deregister_manager(x),
    "view_anndata_setup": lambda model, x, _: model.view_anndata_setup(x),
    "holdout_splicing": lambda _, x, __: lfa.tl.holdout_splicing(x),
    "evaluate_holdout": lambda model, x, _: lfa.tl.evaluate_holdout(model, x),
    "select_n_programs": lambda _, x, __: lfa.tl.select_n_programs(x, [2], progress=False),
    "qc_metrics": lambda _, x, __: lfa.pp.qc_metrics(x),
    "annotate_junctions": lambda _, x, __: lfa.pp.annotate_junctions(x, None),
    "filter_junctions": lambda _, x, __: lfa.pp.filter_junctions(x),
    "filter_atses": lambda _, x, __: lfa.pp.filter_atses(x),
    "resolve_strands": lambda _, x, __: lfa.pp.resolve_strands(x),
    "select_variable_atses": lambda _, x, __: lfa.pp.select_variable_atses(x),
    "pseudobulk": lambda _, x, __: lfa.pp.pseudobulk(x, "half"),
    "concat_splicing": lambda _, x, __: lfa.pp.concat_splicing({"a": x}),
    "structure": lambda _, x, __: lfa.pl.structure(x),
    "program_heatmap": lambda _, x, __: lfa.pl.program_heatmap(x),
    "dataset_qc": lambda _, x, __: lfa.pl.dataset_qc(x),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CALLS)
def test_the_type_of_the_argument_is_named(trained, saved, wrong, name, kind):
    found = type(wrong).__name__
    with pytest.raises(TypeError, match=rf"an AnnData.*found an? {found}|is a {found}.*AnnData"):
        CALLS[name](trained, wrong, saved)


@pytest.mark.parametrize("kind", KINDS)
def test_objects_that_are_not_models(wrong, gaps):
    with pytest.raises(TypeError, match="a LeafletFAModel, found a"):
        lfa.tl.evaluate_holdout(wrong, gaps)
    with pytest.raises(TypeError, match="a LeafletFAModel, found a"):
        lfa.pl.waypoints(wrong)
    with pytest.raises(TypeError, match="its history, or an AnnData, found a"):
        lfa.pl.history(wrong)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_one_anndata_instead_of_several(wrong):
    with pytest.raises(TypeError, match="several AnnData"):
        lfa.pp.concat_splicing(wrong)


@pytest.mark.parametrize("kind", ["MuData", "ndarray"])
def test_objects_that_are_not_files(wrong):
    with pytest.raises(TypeError, match="names of files, or a table of them, found a"):
        lfa.pp.make_splicing_dataset(wrong)


def test_a_remedy_is_named(gaps):
    with pytest.raises(TypeError, match=r"anndata\.read_h5ad"):
        MODEL.setup_anndata("cells.h5ad")
    with pytest.raises(TypeError, match="modality"):
        MODEL.setup_anndata(MuData({"splicing": gaps}))


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("name", ["load_query_data", "prepare_query_anndata"])
def test_a_reference_that_is_not_a_model(gaps, wrong, name):
    with pytest.raises(TypeError, match="reference_model to be a trained LeafletFAModel.*found a"):
        getattr(MODEL, name)(gaps, wrong)


@pytest.mark.parametrize("name", ["load_query_data", "prepare_query_anndata"])
def test_a_reference_of_another_package(gaps, tmp_path, name):
    gaps.X = gaps.layers["cell_by_junction_matrix"].toarray()
    scvi.model.SCVI.setup_anndata(gaps)
    other = scvi.model.SCVI(gaps)
    with pytest.raises(TypeError, match="reference_model.*found a SCVI"):
        getattr(MODEL, name)(gaps, other)
    other.save(tmp_path / "other")
    with pytest.raises(ValueError, match="or by another package"):
        getattr(MODEL, name)(gaps, tmp_path / "other")


@pytest.mark.parametrize("name", ["load_query_data", "prepare_query_anndata"])
def test_a_reference_at_another_path(gaps, saved, tmp_path, name):
    for place, message in (
        (saved / "model.pt", "found the file .*: pass the folder"),
        (tmp_path, "no "),
    ):
        with pytest.raises(ValueError, match=message):
            getattr(MODEL, name)(gaps, place)
