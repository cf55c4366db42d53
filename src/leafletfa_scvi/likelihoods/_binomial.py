"""Binomial: the limit of the beta-binomial for an infinite concentration."""

from __future__ import annotations

from leafletfa_scvi.likelihoods._beta_binomial import BetaBinomial


class Binomial(BetaBinomial):
    """Junction counts are binomial with probability p."""

    name = "binomial"
    has_concentration = False
