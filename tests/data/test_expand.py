from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.data import _expand
from leafletfa_scvi.data._expand import expand_counts


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(0, 9), st.integers(0, 8)),
    n_atses=st.integers(1, 5),
    block=st.sampled_from([1, 4, 1_000_000]),
)
def test_counts_and_totals_of_all_observed_entries(seed, shape, n_atses, block):
    """For any block size, with and without stored zeros."""
    rng = np.random.default_rng(seed)
    atse = rng.integers(0, n_atses, shape[1])
    y = rng.poisson(0.6, shape)
    stored = (y > 0) | (rng.random(shape) < 0.3)
    indptr = np.concatenate([[0], np.cumsum(stored.sum(axis=1))])
    counts = sp.csr_matrix((y[stored], np.nonzero(stored)[1], indptr), shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_expand, "_BLOCK", block)
        indptr, column, count, total = expand_counts(counts, atse)
    n = y @ (atse[:, None] == atse)
    assert np.diff(indptr).tolist() == (n > 0).sum(axis=1).tolist()
    np.testing.assert_array_equal(column, np.nonzero(n)[1])
    np.testing.assert_array_equal(count, y[n > 0])
    np.testing.assert_array_equal(total, n[n > 0])
    assert {values.dtype for values in (column, count, total)} == {np.dtype(np.int32)}


@pytest.mark.parametrize("row", [[2**24 + 1, 0], [2**24, 1], [1e30, 0.0], [2**63, 2**63]])
def test_totals_beyond_float32_integers_are_refused(row):
    with pytest.raises(ValueError, match="An ATSE total is .*: totals beyond 16,777,216"):
        expand_counts(sp.csr_matrix(np.array([row])), np.array([0, 0]))
