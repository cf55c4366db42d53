"""Analysis of splicing programs over models, AnnData slots, arrays and data frames.

Names are imported on first use: matching programs then starts without torch and scvi-tools.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leafletfa_scvi.tl._holdout import SplicingHoldout, evaluate_holdout, holdout_splicing
    from leafletfa_scvi.tl._match import match_programs, program_correlation
    from leafletfa_scvi.tl._select import ProgramSelection, select_n_programs
    from leafletfa_scvi.tl._stability import ProgramStability, program_stability

_HOMES = {
    "_holdout": ("SplicingHoldout", "evaluate_holdout", "holdout_splicing"),
    "_match": ("match_programs", "program_correlation"),
    "_select": ("ProgramSelection", "select_n_programs"),
    "_stability": ("ProgramStability", "program_stability"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ProgramSelection",
    "ProgramStability",
    "SplicingHoldout",
    "evaluate_holdout",
    "holdout_splicing",
    "match_programs",
    "program_correlation",
    "program_stability",
    "select_n_programs",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
