"""Models that ``leafletfa fit`` saved, as the commands on fitted data take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._console import UserError, one_line, quiet_libraries
from leafletfa_scvi.cli._outputs import MODEL_FILE, check_reach
from leafletfa_scvi.cli._shared_options import BAD_DATA

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from leafletfa_scvi.cli._console import Reporter


def check_model(folder: Path) -> None:
    """Raise an error if a folder holds no saved model."""
    check_reach(folder, "--model")
    if not (folder / MODEL_FILE).is_file():
        raise UserError(
            f"There is no model in --model {folder}: expected a folder that leafletfa fit "
            "--save-model wrote."
        )


def load_model(folder: Path) -> lfa.LeafletFAModel:
    """Load a trained model without its data."""
    quiet_libraries()
    try:
        model = lfa.LeafletFAModel.load(folder, adata=False)
    except BAD_DATA as error:
        raise UserError(one_line(error)) from error
    if not model.is_trained_:
        raise UserError(f"The model in --model {folder} is not trained.")
    return model


def check_fit(model: lfa.LeafletFAModel, adata: AnnData, problem: str, reporter: Reporter) -> None:
    """Raise an error for data of other junctions than the model's; say if cells are new to it."""
    try:
        _, _, position = model._match_training_cells(adata)
    except BAD_DATA as error:
        raise UserError(f"{problem}: {one_line(error)}") from error
    new = int((position < 0).sum())
    if new:
        reporter.stage(
            f"  {new:,} of {adata.n_obs:,} cells are not among those that the model was trained "
            "on: their activities are fitted, with programs fixed"
        )


def save_model(model: lfa.LeafletFAModel, path: Path) -> None:
    """Save a model as the one file ``path``, whose folder is to become that of the model."""
    folder = path.with_name("model")
    model.save(folder)
    (folder / MODEL_FILE).replace(path)
