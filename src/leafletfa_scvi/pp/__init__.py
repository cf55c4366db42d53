"""From files and matrices to a splicing data set."""

from leafletfa_scvi.pp._counts import splicing_from_counts

__all__ = ["splicing_from_counts"]
