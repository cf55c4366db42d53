"""Analysis of splicing programs over models, AnnData slots, arrays and data frames.

Names are imported on first use, so that matching programs needs neither torch nor scvi-tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leafletfa_scvi._lazy import lazy_names

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


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
