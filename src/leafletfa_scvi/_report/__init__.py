"""HTML pages: QC of a data set, and the report of a fit.

The package is private, because its public name is the function :func:`leafletfa_scvi.report`.
"""
