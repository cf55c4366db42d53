"""Training with Lightning: plan and data splitter."""

from leafletfa_scvi.train._convergence import StopWhenLevel, has_levelled_off
from leafletfa_scvi.train._data_splitter import SplicingDataSplitter, has_room
from leafletfa_scvi.train._training_plan import SplicingTrainingPlan

__all__ = [
    "SplicingDataSplitter",
    "SplicingTrainingPlan",
    "StopWhenLevel",
    "has_levelled_off",
    "has_room",
]
