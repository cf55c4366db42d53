"""Checks that the parts of a model file fit together, before a model is built from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scvi import REGISTRY_KEYS

from leafletfa_scvi.data import JUNCTIONS
from leafletfa_scvi.model._fit_state import is_codes, is_whole

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from leafletfa_scvi.data._model_file import ModelContent
    from leafletfa_scvi.model._base import SplicingModelBase

_SETUP_ARGS = {"junction_layer", "cluster_layer", "atse_key", "batch_key"}


def check_registry(file: Path, registry: dict[str, Any], name: str) -> tuple[int, int]:
    """Check how the data of a saved model were registered.

    Parameters
    ----------
    file
        File it was read from, for messages.
    registry
        Registry of scvi-tools.
    name
        Name of the model's class.

    Returns
    -------
    tuple of int
        Number of cells and of junctions.

    Raises
    ------
    ValueError
        The model is of a different class, or the registry is incomplete.
    """
    no_model = f"{file} is not a saved {name}: "
    if registry.get("model_name") != name:
        raise ValueError(f"{no_model}it names the model {registry.get('model_name')!r}.")
    setup = registry.get("setup_args")
    if not isinstance(setup, dict) or not isinstance(registry.get("setup_method_name"), str):
        raise ValueError(f"{no_model}found no arguments of its setup.")
    for key, value in setup.items():
        is_valid = key in _SETUP_ARGS and isinstance(value, str | None)
        if key == "categorical_covariate_keys":
            is_valid = value is None or (
                isinstance(value, list) and all(isinstance(x, str) for x in value)
            )
        if key == "modalities":
            is_valid = isinstance(value, dict) and JUNCTIONS in value
            is_valid &= all(isinstance(x, str) for pair in value.items() for x in pair)
        if not is_valid:
            raise ValueError(f"{no_model}found {key!r} among the arguments of its setup.")
    fields = registry.get("field_registries")
    try:
        for field in fields.values():  # type: ignore[union-attr]
            for part in ("data_registry", "state_registry", "summary_stats"):
                if not isinstance(field[part], dict):
                    raise TypeError
        field = fields[REGISTRY_KEYS.X_KEY]  # type: ignore[index]
        numbers = [field["summary_stats"][key] for key in ("n_cells", "n_vars")]
        names = field["state_registry"]["column_names"]
        # A model that was made from programs has no cells.
        fits = all(is_whole(x) for x in numbers) and numbers[0] >= 0 and numbers[1] > 0
        fits = fits and len(names) == numbers[1]
    except (AttributeError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ValueError(f"{no_model}the fields of its data are incomplete.")
    return numbers[0], numbers[1]


def check_content(file: Path, content: ModelContent, model_class: type[SplicingModelBase]) -> None:
    """Check that sizes, names, parameters and attributes of a saved model fit together.

    Parameters
    ----------
    file
        File it was read from, for messages.
    content
        Content of the file.
    model_class
        Class of the model.

    Raises
    ------
    ValueError
        They do not; the message names the part.
    """
    name = model_class.__name__
    no_model = f"{file} is not a saved {name}: "
    n_cells, n_junctions = check_registry(file, content.attributes["registry_"], name)
    arguments = content.attributes["init_params_"].get("non_kwargs")
    if not isinstance(arguments, dict):
        raise ValueError(f"{no_model}found no arguments of the model.")
    if len(content.var_names) != n_junctions:
        raise ValueError(
            f"{no_model}it has {len(content.var_names)} names for {n_junctions} junctions."
        )
    n_programs = arguments.get("n_programs", 10)
    columns = arguments.get("columns")
    n_columns = n_junctions if columns is None else len(np.atleast_1d(columns))
    if columns is not None and (
        not is_codes(columns, n_columns, n_columns) or n_columns < n_junctions
    ):
        raise ValueError(f"{no_model}the ATSEs of its programs are not {n_junctions} or more.")
    expected = {
        "_guide.pi_log": (n_programs,),
        "_guide.psi_log_inclusion": (n_columns, n_programs),
        "_guide.phi_log": (n_cells, n_programs),
    }
    for key, shape in expected.items():
        value = content.state.get(key)
        if value is None or tuple(value.shape) != shape:
            state = "is missing" if value is None else f"has the shape {tuple(value.shape)}"
            raise ValueError(f"{no_model}parameter {key!r} {state}, expected {shape}.")
    _check_numbers(no_model, content.state)
    for key, attribute in model_class._saved_attributes.items():
        value = content.attributes.get(key)
        if key in content.attributes and not attribute.is_valid(value, n_cells, n_junctions):
            raise ValueError(f"{no_model}its attribute {key!r} has a wrong type or length.")


def _check_numbers(no_model: str, state: dict[str, torch.Tensor]) -> None:
    """Check that parameters are finite, variances not negative and means between 0 and 1."""
    for key, values in state.items():
        if not isinstance(key, str) or not values.dtype.is_floating_point:
            raise ValueError(f"{no_model}parameter {key!r} holds {values.dtype}.")
        if not values.isfinite().all():
            raise ValueError(f"{no_model}parameter {key!r} holds infinite or missing values.")
        low = values.min() if values.numel() else 0.0
        if key.endswith(("_variance", "_weight", "_mean")) and low < 0:
            raise ValueError(f"{no_model}parameter {key!r} holds negative values.")
        if key.endswith("program_mean") and values.numel() and values.max() > 1:
            raise ValueError(f"{no_model}parameter {key!r} holds values above 1.")
