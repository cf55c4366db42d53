"""The table of axes agrees with the shapes of all parameters and buffers."""

from __future__ import annotations

import pytest
import torch

from leafletfa_scvi.likelihoods import LIKELIHOODS
from leafletfa_scvi.module import LeafletFAModule
from leafletfa_scvi.module._axes import axes_of, take
from leafletfa_scvi.priors import PRIORS

# Every axis has a different size, also from the 7 weights of the mixture.
SIZES = {"cells": 8, "programs": 3, "rows": 11, "dispersions": 11}


def module_of(likelihood, prior):
    shares_reads = LIKELIHOODS[likelihood].shares_reads
    atse = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0]) if shares_reads else torch.arange(11)
    return LeafletFAModule(
        8,
        10 if shares_reads else 11,
        3,
        likelihood=likelihood,
        junction_prior=prior,
        dispersion="junction" if LIKELIHOODS[likelihood].has_concentration else "global",
        program_atse=atse,
    )


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("prior", PRIORS)
class TestAxes:
    def test_sizes(self, likelihood, prior):
        module = module_of(likelihood, prior)
        sizes = {**SIZES, "dispersions": module.model.n_dispersions}
        for name, value in module.state_dict().items():
            axes = axes_of(name, module.model.prior)
            assert len(axes) == value.ndim, name
            for axis, size in zip(axes, value.shape, strict=True):
                assert axis is None or size == sizes[axis], name
                assert axis is not None or size not in (8, 3, 11), name

    def test_selected_programs_load_into_a_smaller_module(self, likelihood, prior):
        module = module_of(likelihood, prior)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.rand(parameter.shape))
        state = module.selected_state("programs", torch.tensor([2, 0]))
        assert torch.equal(state["_guide.phi_log"], module.guide.phi_log[:, [2, 0]])
        assert torch.equal(state["_guide.pi_log"], module.guide.pi_log[[2, 0]])
        assert state.keys() == module.state_dict().keys()


def test_a_parameter_without_axes_is_refused():
    prior = PRIORS["mixture"](LIKELIHOODS["betabinomial"])
    with pytest.raises(KeyError, match="axes of 'other' are not known"):
        axes_of("_guide.other", prior)


def test_only_program_axes_are_selected():
    """Also on the last axis, and not another axis that is as long as there are programs."""
    prior = PRIORS["mixture"](LIKELIHOODS["betabinomial"])
    state = {
        "_guide.pi_log": torch.arange(3),
        "_guide.strength_log": torch.arange(3),
        "_guide.phi_log": torch.arange(9).reshape(3, 3),
    }
    selected = take(state, "programs", torch.tensor([2, 0]), prior)
    assert selected["_guide.pi_log"].tolist() == [2, 0]
    assert selected["_guide.strength_log"].tolist() == [0, 1, 2]
    assert selected["_guide.phi_log"].tolist() == [[2, 0], [5, 3], [8, 6]]
    cells = take(state, "cells", torch.tensor([1]), prior)
    assert cells["_guide.phi_log"].tolist() == [[3, 4, 5]]
    assert cells["_guide.pi_log"].tolist() == [0, 1, 2]
