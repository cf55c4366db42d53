"""What a model file says of itself fits together, before a model is built of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scvi import REGISTRY_KEYS

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from leafletfa_scvi.model._model_file import ModelContent

_SETUP_ARGS = {"junction_layer", "cluster_layer", "atse_key"}


def check_registry(file: Path, registry: dict[str, Any], name: str) -> tuple[int, int]:
    """Check how the data of a saved model were registered.

    Parameters
    ----------
    file
        Where it was read, for messages.
    registry
        As scvi-tools keeps it.
    name
        Name of the model's class.

    Returns
    -------
    tuple of int
        Number of cells and of junctions.

    Raises
    ------
    ValueError
        It is of another class, or incomplete.
    """
    no_model = f"{file} is not a saved {name}: "
    if registry.get("model_name") != name:
        raise ValueError(f"{no_model}it names the model {registry.get('model_name')!r}.")
    setup = registry.get("setup_args")
    if not isinstance(setup, dict) or not isinstance(registry.get("setup_method_name"), str):
        raise ValueError(f"{no_model}found no arguments of its set-up.")
    for key, value in setup.items():
        if key not in _SETUP_ARGS or not isinstance(value, str | None):
            raise ValueError(f"{no_model}found {key!r} among the arguments of its set-up.")
    fields = registry.get("field_registries")
    try:
        for field in fields.values():  # type: ignore[union-attr]
            for part in ("data_registry", "state_registry", "summary_stats"):
                if not isinstance(field[part], dict):
                    raise TypeError
        field = fields[REGISTRY_KEYS.X_KEY]  # type: ignore[index]
        numbers = [field["summary_stats"][key] for key in ("n_cells", "n_vars")]
        names = field["state_registry"]["column_names"]
        fits = all(_is_whole(x) and x > 0 for x in numbers) and len(names) == numbers[1]
    except (AttributeError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ValueError(f"{no_model}the fields of its data are incomplete.")
    return numbers[0], numbers[1]


def check_claims(file: Path, content: ModelContent, name: str) -> None:
    """Check that numbers, names, parameters and attributes of a saved model fit together.

    Parameters
    ----------
    file
        Where it was read, for messages.
    content
        What was read.
    name
        Name of the model's class.

    Raises
    ------
    ValueError
        They do not; the message names what is wrong.
    """
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
        not _is_codes(columns, n_columns, n_columns) or n_columns < n_junctions
    ):
        raise ValueError(f"{no_model}the ATSEs of its programs are not {n_junctions} or more.")
    expected = {
        "_guide.pi_log": (n_programs,),
        "_guide.psi_log_inclusion": (n_columns, n_programs),
        "_guide.phi_log": (n_cells, n_programs),
    }
    for key, shape in expected.items():
        found = content.state.get(key)
        if found is None or tuple(found.shape) != shape:
            have = "is missing" if found is None else f"has the shape {tuple(found.shape)}"
            raise ValueError(f"{no_model}parameter {key!r} {have}, expected {shape}.")
    _check_numbers(no_model, content.state)
    for key, value in content.attributes.items():
        if key in _KINDS and not _KINDS[key](value, n_cells, n_junctions):
            raise ValueError(f"{no_model}its attribute {key!r} is of another kind or length.")


def _check_numbers(no_model: str, state: dict[str, torch.Tensor]) -> None:
    """Parameters are finite numbers, variances not negative and means between 0 and 1."""
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


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_codes(value: Any, n: int, below: int) -> bool:
    """``n`` whole numbers, none of them ``below`` or more."""
    if not isinstance(value, np.ndarray) or value.shape != (n,) or value.dtype.kind not in "iu":
        return False
    return n == 0 or (value.min() >= 0 and value.max() < below)


def _is_text(value: Any, n: int) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.shape == (n,)
        and (value.dtype.kind == "U" or all(isinstance(x, str) for x in value))
    )


def _is_dict(value: Any, kind: type) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(x, kind) for x in value.values())
    )


_KINDS = {
    "cell_names_": lambda x, n, p: _is_text(x, n),
    "junction_names_": lambda x, n, p: _is_text(x, p),
    "cell_fingerprints_": lambda x, n, p: (
        isinstance(x, np.ndarray) and x.shape == (n,) and x.dtype == np.uint64
    ),
    "atse_codes_": lambda x, n, p: x is None or _is_codes(x, p, p),
    "frozen_programs_": lambda x, n, p: isinstance(x, bool),
    "is_trained_": lambda x, n, p: isinstance(x, bool),
    "validation_seed_": lambda x, n, p: x is None or _is_whole(x),
    "history_": lambda x, n, p: _is_dict(x, pd.DataFrame),
    "waypoints_": lambda x, n, p: _is_dict(x, np.ndarray),
}
"""What is known of attributes, given the numbers of cells and junctions."""
