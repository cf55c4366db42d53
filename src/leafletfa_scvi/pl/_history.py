"""Training history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from leafletfa_scvi.pl._figures import new_axes
from leafletfa_scvi.pl._slots import short_number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_LABELS = {
    "elbo_train": "training loss (negative ELBO)",
    "elbo_validation": "validation loss (negative ELBO)",
    "reconstruction_loss_validation": "held-out loss",
    "em_objective": "EM objective (log posterior)",
}
_LOSS, _OBJECTIVE = "elbo_train", "em_objective"


def history(
    model: Any,
    *,
    train_key: str | None = None,
    validation_key: str | None = "reconstruction_loss_validation",
    ax: Axes | None = None,
) -> Axes:
    """Plot the training loss and, if available, the held-out loss, or the objective of EM.

    At the end of training, the loss should no longer decrease, and the objective of EM no longer
    increase, except in cycles that refit prior concentrations and concentrations. A held-out loss
    that rises again indicates that programs fit noise.

    Parameters
    ----------
    model
        A trained model, or its ``history``: a mapping of names to data frames with one row per
        epoch, or per cycle of EM.
    train_key
        Quantity on the left y axis: ``"elbo_train"``, or ``"em_objective"`` for the
        log-likelihood plus log prior of EM. If None, the former, or the latter for models trained
        with ``method="em"``.
    validation_key
        Name of the held-out loss, drawn on a secondary y axis (different unit) with its minimum
        marked, if the history contains it. If None, it is not drawn.
    ax
        Axes to draw into. If None, a new figure is created.

    Returns
    -------
    matplotlib.axes.Axes
        Axes of the training loss.

    Raises
    ------
    ValueError
        The model has not been trained.
    KeyError
        The history does not contain ``train_key``.
    """
    record: Mapping[str, pd.DataFrame] | None = getattr(model, "history", model)
    if record is not None and not isinstance(record, Mapping):
        raise TypeError(
            "Expected model to be a LeafletFAModel or its history, found a "
            f"{type(model).__name__}."
        )
    if not record:
        raise ValueError("Expected a trained model, found no history. Call model.train() first.")
    if train_key is None:
        train_key = _OBJECTIVE if _OBJECTIVE in record and _LOSS not in record else _LOSS
    if train_key not in record:
        raise KeyError(f"Expected train_key to be one of {list(record)}, found {train_key!r}.")
    ax = new_axes(5.5, 3.5) if ax is None else ax
    lines = _draw(ax, record[train_key], train_key, "C0")
    step = str(record[train_key].index.name or "epoch")
    ax.set_xlabel(f"{step} of EM" if train_key == _OBJECTIVE else step)
    ax.spines["top"].set_visible(False)
    held_out = None if validation_key is None else record.get(validation_key)
    if held_out is None or train_key == _OBJECTIVE:
        ax.spines["right"].set_visible(False)
    else:
        right = ax.twinx()
        right.spines["top"].set_visible(False)
        assert validation_key is not None
        lines += _draw(right, held_out, validation_key, "C1")
        x, y = lines[-1].get_data()
        best = int(np.nanargmin(y))
        lines += right.plot(
            x[best], y[best], "o", color="C1", markersize=5, label=f"lowest, epoch {x[best]:.0f}"
        )
        for side in (ax, right):  # two units: color each axis like its line
            side.yaxis.label.set_color(side.lines[0].get_color())
            side.tick_params(axis="y", colors=side.lines[0].get_color())
        ax.legend(handles=lines, frameon=False, fontsize="small", loc="upper right")
    return ax


def _draw(ax: Axes, frame: pd.DataFrame, key: str, color: str) -> list[Any]:
    values = frame.iloc[:, 0].astype(float).dropna()
    label = _LABELS.get(key, key)
    ax.set_ylabel(label)
    if values.abs().max() >= 1e4:
        ax.yaxis.set_major_formatter(FuncFormatter(short_number))
    marker = "o" if len(values) == 1 else None
    return ax.plot(
        values.index.to_numpy(float), values.to_numpy(), color=color, label=label, marker=marker
    )
