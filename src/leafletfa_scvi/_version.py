"""Version of this package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """Return the version of this package, or ``"unknown"`` if it runs without being installed."""
    try:
        return version("leafletfa-scvi")
    except PackageNotFoundError:
        return "unknown"
