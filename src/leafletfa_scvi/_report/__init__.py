"""HTML pages: QC of a data set, and the report of a fit.

The package is private, because its public name is the function :func:`leafletfa_scvi.report`.
"""

from leafletfa_scvi._lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
