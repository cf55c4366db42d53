"""Analysis of splicing programs over AnnData slots, arrays and data frames."""

from leafletfa_scvi.tl._holdout import SplicingHoldout, evaluate_holdout, holdout_splicing
from leafletfa_scvi.tl._match import match_programs, program_correlation

__all__ = [
    "SplicingHoldout",
    "evaluate_holdout",
    "holdout_splicing",
    "match_programs",
    "program_correlation",
]
