"""The scvi-tools model."""

from leafletfa_scvi.model._model import LeafletFAModel
from leafletfa_scvi.model._posterior import CredibleInterval

__all__ = ["CredibleInterval", "LeafletFAModel"]
