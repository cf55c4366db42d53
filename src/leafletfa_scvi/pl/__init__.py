"""Figures of a fitted model and of the slots that ``model.export_posterior`` writes.

Functions draw into ``ax``, or a new figure, and return the axes, by name if there are several.
"""

from leafletfa_scvi.pl._activity import activity
from leafletfa_scvi.pl._batch_effects import batch_effects
from leafletfa_scvi.pl._differential_activity import differential_activity
from leafletfa_scvi.pl._differential_splicing import differential_splicing
from leafletfa_scvi.pl._embedding import activity_embedding
from leafletfa_scvi.pl._history import history
from leafletfa_scvi.pl._markers import markers
from leafletfa_scvi.pl._programs import program_heatmap, program_match
from leafletfa_scvi.pl._qc import dataset_qc
from leafletfa_scvi.pl._query import query
from leafletfa_scvi.pl._selection import (
    n_programs,  # noqa: F401 - deprecated name of program_selection
    program_selection,
    program_stability,
)
from leafletfa_scvi.pl._structure import structure
from leafletfa_scvi.pl._waypoints import waypoints

__all__ = [
    "activity",
    "activity_embedding",
    "batch_effects",
    "dataset_qc",
    "differential_activity",
    "differential_splicing",
    "history",
    "markers",
    "program_heatmap",
    "program_match",
    "program_selection",
    "program_stability",
    "query",
    "structure",
    "waypoints",
]
