"""Concentrations in words."""

import numpy as np

from leafletfa_scvi.tl._concentration_range import concentration_range


def test_one_kappa_or_those_of_junctions():
    assert concentration_range(np.float32(20.04)) == "20"
    assert concentration_range(np.arange(101.0)) == ("median 50, 90 % of junctions 5 to 95")


def test_infinite_ones_are_no_missing_ones():
    assert concentration_range(np.inf) == "infinite (binomial)"
    kappa = np.r_[np.arange(90.0), np.full(11, np.inf)]
    assert concentration_range(kappa) == "median 50, 90 % of junctions 5 to inf"
