"""Splicing programs in single cells: a Beta-Dirichlet factor model of splice-junction counts.

The names below are imported on first use, so that :mod:`leafletfa_scvi.ops` needs torch alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leafletfa_scvi import data, datasets, inference, model, ops, pl, pp, tl
    from leafletfa_scvi.model import LeafletFAModel

__all__ = [
    "LeafletFAModel",
    "data",
    "datasets",
    "inference",
    "model",
    "ops",
    "pl",
    "pp",
    "tl",
]

_SUBMODULES = frozenset(__all__) - {"LeafletFAModel"}


def __getattr__(name: str) -> Any:
    if name == "LeafletFAModel":
        return importlib.import_module("leafletfa_scvi.model").LeafletFAModel
    if name in _SUBMODULES:
        return importlib.import_module(f"leafletfa_scvi.{name}")
    if name == "__version__":
        from leafletfa_scvi._version import package_version

        return package_version()
    raise AttributeError(f"module 'leafletfa_scvi' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
