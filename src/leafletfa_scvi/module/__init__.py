"""Generative model and guide in Pyro, as a scvi module."""

from leafletfa_scvi.module._alone import pyro_alone
from leafletfa_scvi.module._elbo import ClosedFormELBO
from leafletfa_scvi.module._generative import SplicingGenerativeModel
from leafletfa_scvi.module._guide import SplicingGuide
from leafletfa_scvi.module._module import LeafletFAModule

__all__ = [
    "ClosedFormELBO",
    "LeafletFAModule",
    "SplicingGenerativeModel",
    "SplicingGuide",
    "pyro_alone",
]
