from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.data import _blocks, atse_codes, holdout_mask, observed_entries
from leafletfa_scvi.datasets import simulate_splicing
from leafletfa_scvi.ops import ObservedEntries


def pairs(entries, codes):
    """Entries of each (cell, ATSE) pair."""
    key = entries.rows().numpy() * (codes.max() + 1) + codes[entries.column.numpy()]
    return np.unique(key, return_inverse=True)[1], entries.rows().numpy()


def test_whole_pairs_are_hidden_at_the_given_fraction():
    adata = simulate_splicing(400, 200, 2, seed=2)
    entries, (codes, _) = observed_entries(adata), atse_codes(adata)
    hidden = holdout_mask(entries, codes, 0.1, seed=5)
    assert hidden.dtype == torch.bool
    assert hidden.shape == (entries.n_entries,)
    pair, _ = pairs(entries, codes)
    size = np.bincount(pair)
    share = np.bincount(pair, hidden.numpy()) / size
    assert set(share.tolist()) == {0.0, 1.0}
    error = np.sqrt(0.1 * 0.9 / len(size))
    assert abs(share.mean() - 0.1) < 4 * error
    per_atse = np.bincount(codes[entries.column.numpy()], hidden.numpy()) / np.bincount(
        codes[entries.column.numpy()]
    )
    seen = np.bincount(codes[entries.column.numpy()]) / np.bincount(codes)
    z = (per_atse - 0.1) / np.sqrt(0.09 / seen)
    assert 0.8 < z.std() < 1.2


def test_seed_and_nesting(small, monkeypatch):
    entries, (codes, _) = observed_entries(small), atse_codes(small)
    one = holdout_mask(entries, codes, 0.2, seed=1)
    assert (holdout_mask(entries, torch.from_numpy(codes), 0.2, seed=1) == one).all()
    assert (holdout_mask(entries, codes, 0.2, seed=2) != one).any()
    more = holdout_mask(entries, codes, 0.4, seed=1)
    assert more[one].all()
    assert more.sum() > one.sum()
    assert not holdout_mask(entries, codes, 0.0).any()
    monkeypatch.setattr(_blocks, "BLOCK", 50)
    assert (holdout_mask(entries, codes, 0.2, seed=1) == one).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**63), fraction=st.floats(0, 0.999), with_codes=st.booleans())
def test_every_cell_keeps_a_pair(seed, fraction, with_codes):
    adata = simulate_splicing(30, 6, 2, coverage=0.3, seed=3)
    entries, (codes, _) = observed_entries(adata), atse_codes(adata)
    hidden = holdout_mask(entries, codes if with_codes else None, fraction, seed)
    left = entries.keep(~hidden)
    assert ((left.indptr.diff() > 0) == (entries.indptr.diff() > 0)).all()
    if fraction == 0.999:
        pair, row = pairs(left, codes if with_codes else np.arange(adata.n_vars))
        assert len(np.unique(pair)) <= 1.1 * len(np.unique(row)) + 3


def test_without_codes_entries_are_hidden_independently(small):
    entries, (codes, _) = observed_entries(small), atse_codes(small)
    hidden = holdout_mask(entries, None, 0.5).numpy()
    pair, _ = pairs(entries, codes)
    share = np.bincount(pair, hidden) / np.bincount(pair)
    assert ((share > 0) & (share < 1)).any()


def test_invalid_arguments_are_refused(small):
    entries, (codes, _) = observed_entries(small), atse_codes(small)
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"Expected fraction in \[0, 1\), found"):
            holdout_mask(entries, codes, fraction)
    with pytest.raises(ValueError, match="seed to be a whole number from 0, found -1"):
        holdout_mask(entries, codes, 0.1, seed=-1)
    with pytest.raises(ValueError, match="one code per junction, found"):
        holdout_mask(entries, codes[1:], 0.1)


def test_no_entries():
    none = torch.zeros(0)
    empty = ObservedEntries(torch.zeros(3, dtype=torch.int64), none.int(), none, none, 4)
    assert holdout_mask(empty, None, 0.5).shape == (0,)
