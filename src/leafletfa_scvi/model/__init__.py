"""The scvi-tools model."""

from leafletfa_scvi.model._identifiability import Identifiability
from leafletfa_scvi.model._intervals import CredibleInterval
from leafletfa_scvi.model._model import LeafletFAModel

__all__ = ["CredibleInterval", "Identifiability", "LeafletFAModel"]
