"""Analysis of splicing programs over models, AnnData slots, arrays and data frames.

Public names are listed in ``__init__.pyi`` and imported on first use, so that matching programs
needs neither torch nor scvi-tools.
"""

from leafletfa_scvi._lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
