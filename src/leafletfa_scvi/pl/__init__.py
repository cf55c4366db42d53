"""Figures of a fitted model and of the slots that ``model.export_posterior`` writes.

Functions draw into ``ax``, or a new figure, and return the axes.
"""

from leafletfa_scvi.pl._history import history
from leafletfa_scvi.pl._programs import program_heatmap, program_match
from leafletfa_scvi.pl._psi import psi
from leafletfa_scvi.pl._psi_embedding import psi_embedding
from leafletfa_scvi.pl._qc import dataset_qc
from leafletfa_scvi.pl._selection import (
    n_programs,  # noqa: F401 - deprecated name of program_selection
    program_selection,
    program_stability,
)
from leafletfa_scvi.pl._splice_graph import splice_graph
from leafletfa_scvi.pl._structure import structure
from leafletfa_scvi.pl._waypoints import waypoints

__all__ = [
    "dataset_qc",
    "history",
    "program_heatmap",
    "program_match",
    "program_selection",
    "program_stability",
    "psi",
    "psi_embedding",
    "splice_graph",
    "structure",
    "waypoints",
]
