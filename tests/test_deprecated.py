"""Old names keep working, and say what to use instead."""

from __future__ import annotations

import warnings

import pytest

from leafletfa_scvi import inference, ops
from leafletfa_scvi._deprecated import renamed_arguments, renamed_function


@renamed_arguments(marked="frac_flagged", errors="error_rate")
def simulate(n, *, frac_flagged=0.1, error_rate=0.2):
    """Simulate."""
    return n, frac_flagged, error_rate


def test_old_arguments_are_accepted_with_a_warning():
    message = "'marked' of simulate is deprecated; use 'frac_flagged'"
    with pytest.warns(FutureWarning, match=message) as caught:
        assert simulate(1, marked=0.5) == (1, 0.5, 0.2)
    assert caught[0].filename == __file__


def test_new_arguments_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert simulate(1, frac_flagged=0.5, error_rate=0.3) == (1, 0.5, 0.3)


def test_both_names_are_refused():
    with pytest.raises(TypeError, match="both 'frac_flagged' and its deprecated name 'marked'"):
        simulate(1, marked=0.5, frac_flagged=0.5)


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        simulate(1, other=0.5)


def test_old_function_names_warn():
    old = renamed_function(simulate, "draw")
    assert old.__name__ == "draw"
    with pytest.warns(FutureWarning, match="draw is deprecated; use simulate"):
        assert old(2, error_rate=0.0) == (2, 0.1, 0.0)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (inference, "Start", "Initialization"),
        (inference, "random_start", "random_initialization"),
        (inference, "junction_usage", "junction_mean_psi"),
        (ops, "LEAK", "MISASSIGNMENT_RATE"),
    ],
)
def test_old_attributes_of_modules_warn(module, old, new):
    with pytest.warns(FutureWarning, match=f"{old} is deprecated; use {new}") as caught:
        assert getattr(module, old) is getattr(module, new)
    assert caught[0].filename == __file__


def test_unknown_attributes_of_modules():
    with pytest.raises(AttributeError, match="has no attribute 'Begin'"):
        inference.Begin  # noqa: B018
