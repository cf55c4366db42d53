"""Simulated data sets with known truth.

Public names are listed in ``__init__.pyi`` and imported on first use.
"""

from leafletfa_scvi._lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
