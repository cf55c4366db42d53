"""Quality metrics, filters and variable ATSEs."""

from leafletfa_scvi.pp.qc._matrices import require_splicing

__all__ = ["require_splicing"]
