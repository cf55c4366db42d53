"""Axes of the parameters and buffers of a module.

All that depends on an axis takes it from here: the order and the selection of programs, and the
activities of the cells of a query, which are not those of its reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from leafletfa_scvi.priors import ProgramPrior

Axis: TypeAlias = Literal["cells", "programs", "rows", "dispersions"]
"""Rows are those of the programs: junctions, and implicit ones. Dispersions are kappas."""

_AXES: dict[str, tuple[str | None, ...]] = {
    "psi_log_inclusion": ("rows", "programs"),
    "psi_log_exclusion": ("rows", "programs"),
    "psi_variance": ("rows", "programs"),
    "reference_inclusion": ("rows", "programs"),
    "reference_exclusion": ("rows", "programs"),
    "phi_log": ("cells", "programs"),
    "phi_variance": ("cells", "programs"),
    "pi_log": ("programs",),
    "kappa.loc": ("dispersions",),
    "kappa.log_scale": ("dispersions",),
    "activity_weight": (),
    "batch_shift": (None, "rows"),
    "batch_shift_variance": (None, "rows"),
    "batch_probability_zero": (None, "rows"),
}


def axes_of(name: str, prior: ProgramPrior) -> tuple[str | None, ...]:
    """Return the axes of a parameter or buffer, None for one that depends on no model size.

    Parameters
    ----------
    name
        Name in the state of the module, of its model, or of its guide.
    prior
        Prior of psi, which adds parameters to these.
    """
    name = name.removeprefix("_guide.").removeprefix("_model.")
    if name.startswith("scalars."):
        return ()
    axes = prior.axes.get(name, _AXES.get(name))
    if axes is None:
        raise KeyError(f"The axes of {name!r} are not known: add them to the table of axes.")
    return axes


def take(
    state: Mapping[str, torch.Tensor], axis: Axis, positions: torch.Tensor, prior: ProgramPrior
) -> dict[str, torch.Tensor]:
    """Select the given positions of an axis of a state, in their order.

    Parameters
    ----------
    state
        Values by name; see :func:`axes_of`.
    axis
        The axis.
    positions
        ``(n,)`` int64.
    prior
        Prior of psi of the module.
    """
    out = {}
    for name, value in state.items():
        for dim, each in enumerate(axes_of(name, prior)):
            if each == axis:
                value = value.index_select(dim, positions.to(value.device))
        out[name] = value.clone()
    return out
