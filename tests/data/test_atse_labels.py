from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from leafletfa_scvi.data import atse_codes, resolve_atse_key


@pytest.mark.parametrize("labels", [list("bbacab"), [2, 2, 7, 1, 7, 2]])
@pytest.mark.parametrize("kind", [None, "category"])
def test_codes_number_labels_by_first_appearance(labels, kind):
    adata = AnnData(var=pd.DataFrame({"atse_id": labels}, index=list("uvwxyz")), shape=(1, 6))
    if kind:
        adata.var["atse_id"] = adata.var["atse_id"].astype(kind)
    codes, n_atse = atse_codes(adata)
    seen = list(dict.fromkeys(labels))
    assert codes.dtype == np.int64
    assert codes.tolist() == [seen.index(x) for x in labels]
    assert n_atse == 3


def test_unused_categories_are_ignored():
    adata = AnnData(
        var=pd.DataFrame({"e": pd.Categorical(list("aabb"))}, list("wxyz")), shape=(1, 4)
    )
    codes, n_atse = atse_codes(adata[:, 2:], "e")
    assert (codes.tolist(), n_atse) == ([0, 0], 1)


@pytest.mark.parametrize(
    "label", ["", " ", "\t", "nan", "NaN", "None", "<NA>", "NA", np.nan, None]
)
@pytest.mark.parametrize("kind", ["object", "category"])
def test_labels_that_stand_for_missing_values_are_refused(label, kind):
    labels = pd.Series(["a", label, "b", label, "a"], list("vwxyz"), dtype=object)
    adata = AnnData(var=pd.DataFrame({"atse_id": labels.astype(kind)}), shape=(1, 5))
    with pytest.raises(ValueError, match=r"no label.* for junction 'w', in total for 2 of 5"):
        atse_codes(adata)


def test_labels_that_contain_such_words_are_accepted():
    labels = ["nanog", "na 1", "0", "none_1", "0"]
    adata = AnnData(var=pd.DataFrame({"atse_id": labels}, list("vwxyz")), shape=(1, 5))
    assert atse_codes(adata)[0].tolist() == [0, 1, 2, 3, 2]


def test_missing_columns():
    adata = AnnData(shape=(1, 2))
    assert resolve_atse_key(adata) is None
    assert resolve_atse_key(adata, None) is None
    with pytest.raises(KeyError, match="'event' is missing"):
        resolve_atse_key(adata, "event")
    with pytest.raises(KeyError, match="'atse_id' is missing"):
        atse_codes(adata)
    adata.var["atse_id"] = "a"
    assert resolve_atse_key(adata) == "atse_id"
    assert resolve_atse_key(adata, None) is None


@pytest.mark.parametrize(
    "kind", [list, tuple, set, lambda x: {x[0]: 1}, np.array, lambda x: str(x[0]).encode()]
)
def test_labels_of_other_types_are_refused(small, kind):
    labels = [kind([str(x)]) for x in small.var["atse_id"]]
    small.var["atse_id"] = pd.Series(labels, index=small.var_names, dtype=object)
    with pytest.raises(ValueError, match="expected text or a number"):
        atse_codes(small)


@pytest.mark.parametrize("dtype", [object, "category"])
def test_mixed_labels_are_refused(small, dtype):
    labels = [i % 5 if i % 2 else str(i % 5) for i in range(small.n_vars)]
    small.var["atse_id"] = pd.Series(labels, index=small.var_names, dtype=dtype)
    with pytest.raises(ValueError, match=r"mixes text and other labels, such as '0' .* and 1 for"):
        atse_codes(small)


@pytest.mark.parametrize("dtype", [object, "string", "Int64"])
def test_missing_labels_of_any_type(small, dtype):
    labels = [
        pd.NA if i == 3 else (i if dtype == "Int64" else str(i)) for i in range(small.n_vars)
    ]
    small.var["atse_id"] = pd.Series(labels, index=small.var_names, dtype=dtype)
    with pytest.raises(ValueError, match="has no label for junction"):
        atse_codes(small)
