"""Data sets with a known truth."""

from leafletfa_scvi.datasets._simulate import simulate_splicing

__all__ = ["simulate_splicing"]
