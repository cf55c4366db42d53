"""Training with Lightning: plan, data splitter, and early stopping."""

from leafletfa_scvi._deprecated import renamed_function
from leafletfa_scvi.train._convergence import ElboPlateau, StopWhenLevel, has_plateaued
from leafletfa_scvi.train._data_splitter import SplicingDataSplitter, fits_on_device
from leafletfa_scvi.train._progress import (
    EpochProgress,
    Progress,
    no_progress,
    without_adverts,
)
from leafletfa_scvi.train._training_plan import SplicingTrainingPlan

has_levelled_off = renamed_function(has_plateaued, "has_levelled_off")
has_room = renamed_function(fits_on_device, "has_room")

__all__ = [
    "ElboPlateau",
    "EpochProgress",
    "Progress",
    "SplicingDataSplitter",
    "SplicingTrainingPlan",
    "StopWhenLevel",
    "fits_on_device",
    "has_levelled_off",
    "has_plateaued",
    "has_room",
    "no_progress",
    "without_adverts",
]
