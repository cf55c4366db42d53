"""Analysis of splicing programs over AnnData slots, arrays and data frames."""

from leafletfa_scvi.tl._match import match_programs, program_correlation

__all__ = ["match_programs", "program_correlation"]
