"""Names of likelihoods and priors are those of the arguments that take them."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from helpers.likelihood import random_atses

from leafletfa_scvi import _choices
from leafletfa_scvi.likelihoods import LIKELIHOODS, Factors, likelihood_of
from leafletfa_scvi.ops import multinomial_entries
from leafletfa_scvi.priors import PRIORS


def test_tables_hold_all_choices():
    assert tuple(LIKELIHOODS) == get_args(_choices.Likelihood)
    assert tuple(PRIORS) == get_args(_choices.JunctionPrior)
    assert all(x.name == name for table in (LIKELIHOODS, PRIORS) for name, x in table.items())


def test_likelihoods_by_entries():
    entries, atse = random_atses(10, 12, 0.6, 4, seed=0)
    gathered = multinomial_entries(entries, atse)
    assert likelihood_of(entries).name == "betabinomial"
    assert likelihood_of(gathered).name == "dirichlet-multinomial"
    for likelihood in LIKELIHOODS.values():
        converted = likelihood.entries(entries, gathered.atse)
        assert isinstance(converted, likelihood.entries_type)
        assert likelihood.entries(converted, gathered.atse) is converted


@pytest.mark.parametrize("together", [False, True])
def test_expected_psi_of_entries_is_that_of_the_dense_table(together):
    entries, atse = random_atses(10, 12, 0.6, 4, seed=0)
    if together:
        entries = multinomial_entries(entries, atse)
    generator = torch.Generator().manual_seed(0)
    phi = torch.rand(10, 3, generator=generator)
    factors = Factors(phi, torch.rand(entries.n_junctions, 3, generator=generator))
    scored = entries.scored
    dense = factors.expected_psi()[scored.rows(), scored.column.long()]
    torch.testing.assert_close(factors.expected_psi(entries), dense)
    part = factors.select(slice(2, 5))
    torch.testing.assert_close(part.expected_psi(), factors.expected_psi()[2:5])
