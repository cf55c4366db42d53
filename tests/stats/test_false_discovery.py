"""Selection by expected false discoveries, against all subsets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from leafletfa_scvi.stats import false_discovery_set


class TestFalseDiscoverySet:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("target", [0.01, 0.1, 0.3])
    def test_is_the_largest_possible_set(self, seed, target):
        probability = np.random.default_rng(seed).beta(0.5, 0.5, 10)
        found = false_discovery_set(probability, target)
        largest = 0
        for size in range(1, 11):
            for some in itertools.combinations(range(10), size):
                if (1 - probability[list(some)]).mean() <= target:
                    largest = size
        assert found.sum() == largest
        if largest:
            assert (1 - probability[found]).mean() <= target
            assert largest == 10 or probability[found].min() >= probability[~found].max()

    def test_all_none_and_order(self):
        assert false_discovery_set(np.ones(3), 0.01).all()
        assert not false_discovery_set(np.full(3, 0.9), 0.05).any()
        found = false_discovery_set(np.array([0.1, 0.99, 0.5, 0.97]), 0.05)
        assert found.tolist() == [False, True, False, True]
        assert false_discovery_set(np.empty(0), 0.05).shape == (0,)
