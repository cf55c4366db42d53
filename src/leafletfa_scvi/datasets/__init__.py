"""Simulated data sets with known truth."""

from leafletfa_scvi.datasets._alignments import SimulatedAlignments, simulate_alignments
from leafletfa_scvi.datasets._cohort import simulate_cohort
from leafletfa_scvi.datasets._simulate import simulate_splicing

__all__ = ["SimulatedAlignments", "simulate_alignments", "simulate_cohort", "simulate_splicing"]
