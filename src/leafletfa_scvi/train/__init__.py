"""Training with Lightning: plan and data splitter."""

from leafletfa_scvi.train._data_splitter import SplicingDataSplitter
from leafletfa_scvi.train._training_plan import SplicingTrainingPlan

__all__ = ["SplicingDataSplitter", "SplicingTrainingPlan"]
