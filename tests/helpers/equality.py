"""Equality of AnnData objects and of what they hold, in every slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

SLOTS = ("X", "obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns")


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Fail, naming the place, unless values, names and kinds of matrix are the same."""
    assert type(one) is type(other), f"{where}: {type(one)} and {type(other)}"
    if isinstance(one, AnnData):
        for slot in SLOTS:
            assert_same(getattr(one, slot), getattr(other, slot), f"{where}.{slot}")
    elif isinstance(one, Mapping):
        assert set(one) == set(other), where
        for key in one:
            assert_same(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, obj=where)
    elif sp.issparse(one):
        assert one.dtype == other.dtype, where
        assert one.shape == other.shape, where
        assert (one != other).nnz == 0, where
    else:
        np.testing.assert_array_equal(one, other, err_msg=where)
