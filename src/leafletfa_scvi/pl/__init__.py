"""Figures of a fitted model and of the slots that ``model.export_posterior`` writes.

Functions draw into ``ax``, or a new figure, and return the axes, by name if there are several.

Public names are listed in ``__init__.pyi`` and imported on first use, so that ``lfa.pl`` waits
neither for matplotlib nor for what each figure needs.
"""

from typing import Any

from leafletfa_scvi._lazy import attach_stub

_get, __dir__, __all__ = attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "n_programs":  # deprecated name of program_selection
        from leafletfa_scvi.pl._selection import n_programs

        return n_programs
    return _get(name)
