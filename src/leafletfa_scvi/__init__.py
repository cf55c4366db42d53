"""Splicing programs in single cells: a Beta-Dirichlet factor model of splice-junction counts.

Public names are listed in ``__init__.pyi`` and imported on first use, so that
:mod:`leafletfa_scvi.ops` needs torch alone.
"""

from typing import Any

from leafletfa_scvi._lazy import attach_stub

_get, _names, __all__ = attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from leafletfa_scvi._version import package_version

        return package_version()
    return _get(name)


def __dir__() -> list[str]:
    return sorted([*_names(), "__version__"])
