"""State of a fit: copied before training, restored if it fails, saved and loaded as a whole."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch

    from leafletfa_scvi.model._base import SplicingModelBase


@dataclass(frozen=True)
class SavedAttribute:
    """Properties of one attribute that is saved with a model.

    Attributes
    ----------
    is_valid
        Check of a value that was read from a file, given the numbers of cells and junctions.
    select_programs
        Function of a value and the positions of programs that reorders or drops programs; None
        for an attribute that does not depend on them.
    """

    is_valid: Callable[[Any, int, int], bool]
    select_programs: Callable[[Any, np.ndarray], Any] | None = None


class FitState(NamedTuple):
    """Everything that training changes or that is saved with a model."""

    parameters: dict[str, torch.Tensor]
    """Parameters and buffers of the module, by name."""
    attributes: dict[str, Any]
    """Attributes of the model whose names end in an underscore, by name."""

    @classmethod
    def of(cls, model: SplicingModelBase) -> FitState:
        """Collect the state of a model, without copying it."""
        names = [name for name in model._saved_attributes if hasattr(model, name)]
        names += [name for name in vars(model) if is_saved(name) and name not in names]
        return cls(model.module.state_dict(), {name: getattr(model, name) for name in names})

    def copy(self) -> FitState:
        """Copy what training changes in place: parameters, and the entries of dicts."""
        return FitState(
            {name: value.clone() for name, value in self.parameters.items()},
            {
                name: dict(value) if isinstance(value, dict) else value
                for name, value in self.attributes.items()
            },
        )

    def restore(self, model: SplicingModelBase) -> None:
        """Give a model this state."""
        model.module.load_state_dict(self.parameters)
        for name, value in self.attributes.items():
            setattr(model, name, value)


@contextmanager
def rollback_on_error(model: SplicingModelBase) -> Iterator[None]:
    """Restore the state of a model if the block fails or is interrupted."""
    before, was_training = FitState.of(model).copy(), model.module.training
    try:
        yield
    except BaseException as error:
        before.restore(model)
        model.module.train(was_training)
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error  # Lightning turns an interrupt into SystemExit
        raise


def select_programs(model: SplicingModelBase, programs: np.ndarray) -> None:
    """Reorder or drop programs in the attributes of a model that depend on them.

    Parameters
    ----------
    model
        Model to change.
    programs
        Positions of the programs to keep, in their new order.
    """
    for name, attribute in model._saved_attributes.items():
        value = getattr(model, name)
        if attribute.select_programs is not None and value is not None:
            setattr(model, name, attribute.select_programs(value, programs))


def is_saved(name: str) -> bool:
    """Return True if an attribute of this name is saved with a model, as in scvi-tools."""
    return name.endswith("_") and not name.startswith("_")


def is_whole(value: Any) -> bool:
    """Return True for an integer, of Python or NumPy, that is not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_codes(value: Any, n: int, upper: int) -> bool:
    """Return True for an array of ``n`` whole numbers from 0 up to, but without, ``upper``."""
    if not isinstance(value, np.ndarray) or value.shape != (n,) or value.dtype.kind not in "iu":
        return False
    return n == 0 or (value.min() >= 0 and value.max() < upper)


def is_text(value: Any, n: int) -> bool:
    """Return True for an array of ``n`` strings."""
    return (
        isinstance(value, np.ndarray)
        and value.shape == (n,)
        and (value.dtype.kind == "U" or all(isinstance(x, str) for x in value))
    )


def is_fingerprints(value: Any, n: int) -> bool:
    """Return True for an array of ``n`` hashes."""
    return isinstance(value, np.ndarray) and value.shape == (n,) and value.dtype == np.uint64


def is_dict_of(value: Mapping[str, Any] | None, kind: type) -> bool:
    """Return True for None or a dict whose values are all of one type."""
    return value is None or (
        isinstance(value, dict) and all(isinstance(x, kind) for x in value.values())
    )
