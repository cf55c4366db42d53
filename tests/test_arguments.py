"""Arguments that name one column say so where they are given several."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi._arguments import (
    check_at_least,
    check_column,
    check_inside,
    check_names,
    check_one_of,
    check_positive,
    check_whole,
)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def model(_small, fit):
    adata = _small.copy()
    adata.obs["a"], adata.obs["b"] = "x", pd.Categorical(np.arange(80) % 2)
    model = fit(adata, 2, max_epochs=1)
    model.export_posterior()
    return model


CALLS = {
    "groupby of differential_splicing": lambda m, c: m.differential_splicing(groupby=c),
    "color of waypoints": lambda m, c: lfa.pl.waypoints(m, color=c),
    "groupby of structure": lambda m, c: lfa.pl.structure(m.adata, c),
    "label of program_heatmap": lambda m, c: lfa.pl.program_heatmap(m.adata, label=c),
    "groupby of metacells": lambda m, c: lfa.pp.metacells(m.adata, 5, groupby=c),
    "batch_key of select_variable_atses": lambda m, c: lfa.pp.select_variable_atses(
        m.adata, batch_key=c
    ),
    "sample_key of filter_junctions": lambda m, c: lfa.pp.filter_junctions(
        without_totals(m.adata), min_samples=2, sample_key=c
    ),
    "atse_key of setup_anndata": lambda m, c: LeafletFAModel.setup_anndata(m.adata, atse_key=c),
    "atse_key of filter_atses": lambda m, c: lfa.pp.filter_atses(m.adata, atse_key=c),
    "atse_key of qc_metrics": lambda m, c: lfa.pp.qc_metrics(m.adata, atse_key=c),
    "atse_key of dataset_qc": lambda m, c: lfa.pl.dataset_qc(m.adata, atse_key=c),
    "atse_key of holdout_splicing": lambda m, c: lfa.tl.holdout_splicing(m.adata, atse_key=c),
    "atse_key of select_n_programs": lambda m, c: lfa.tl.select_n_programs(
        m.adata, [2], atse_key=c
    ),
}


def without_totals(adata):
    adata = adata.copy()
    del adata.layers["cell_by_cluster_matrix"]
    return adata


@pytest.mark.parametrize("columns", [["a", "b"], ("a", "b"), np.array(["a", "b"])], ids=type)
@pytest.mark.parametrize("call", CALLS)
def test_several_columns_are_refused_by_name(model, call, columns):
    argument = call.partition(" ")[0]
    slot = "var" if argument in ("label", "atse_key") else "obs"
    before = model.adata.copy()
    with pytest.raises(
        TypeError,
        match=rf"Expected {argument} to be the name of one column of adata\.{slot}, found "
        rf".*Join several columns into one first, as adata\.{slot}\['both'\]",
    ):
        CALLS[call](model, columns)
    assert list(model.adata.obs) == list(before.obs)
    assert list(model.adata.var) == list(before.var)


@pytest.mark.parametrize("column", [["a"], 3, pd.Series(["a"])])
def test_other_kinds_of_names(column):
    with pytest.raises(TypeError, match=r"Pass the name of the column alone"):
        check_column("groupby", column)


def test_layers_named_by_a_list(small):
    layers = ["cell_by_junction_matrix", "cell_by_cluster_matrix"]
    with pytest.raises(KeyError, match=re.escape(f"Layer {layers!r} is missing")):
        LeafletFAModel.setup_anndata(small, layers)


@pytest.mark.parametrize(
    ("check", "taken", "refused", "message"),
    [
        (lambda x: check_whole("n", x, 1), [1, np.int64(3)], [0, 1.0, "2", True, None],
         "Expected n to be a whole number from 1, found "),
        (lambda x: check_whole("n", x, 0, 9), [0, 9], [-1, 10],
         "Expected n to be a whole number from 0 to 9, found "),
        (lambda x: check_positive("x", x), [np.float32(2), np.inf], [0, -1, np.nan, "1", True],
         "Expected x to be a number above 0, found "),
        (lambda x: check_positive("x", x, finite=True), [0.1], [np.inf, 0],
         "Expected x to be a finite number above 0, found "),
        (lambda x: check_at_least(2, x=x), [2, 2.5, np.array(3), None], [1.9, np.nan, "3", [3]],
         "Expected x to be a number from 2, found "),
        (lambda x: check_inside("x", x), [0.5], [0, 1, np.nan, "0.5", True, None],
         "Expected x in (0, 1), found "),
        (lambda x: check_inside("x", x, "[0, 1)"), [0, 0.99], [-0.1, 1],
         "Expected x in [0, 1), found "),
        (lambda x: check_inside("x", x, "(0, 1]"), [1, 0.01], [0, 1.1],
         "Expected x in (0, 1], found "),
        (lambda x: check_one_of("x", x, ("a", "b", "c")), ["a", "c"], ["d", None, np.array(["a"])],
         "Expected x to be 'a', 'b' or 'c', found "),
        (lambda x: check_names("x", x), [["a"], ("a", "b"), []], ["ab"],
         "Expected x to be a sequence of names, found "),
    ],
)  # fmt: skip
def test_checks_name_the_argument_and_what_was_found(check, taken, refused, message):
    for value in taken:
        check(value)
    for value in refused:
        with pytest.raises(ValueError, match=re.escape(f"{message}{value!r}.")):
            check(value)


def test_a_value_of_a_wrong_kind_is_a_type_error_too():
    for check in (check_inside, check_positive):
        with pytest.raises(TypeError):
            check("x", "0.5")
