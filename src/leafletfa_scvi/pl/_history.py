"""How training went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import EngFormatter

from leafletfa_scvi.pl._slots import new_axes

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
    """Training loss of every epoch, with the held-out loss where there is one; or EM's objective.

    The training loss should have levelled off, falling; EM's objective rising, but for the
    cycles in which strengths and concentrations are fitted anew. A held-out loss that rises again
    says that the programs have begun to describe noise.

    Parameters
    ----------
    model
        A trained model, or its ``history``: a mapping from names to data frames with one row for
        each epoch or, of EM, each cycle.
    train_key
        Name of what is drawn on the left axis: ``"elbo_train"``, or ``"em_objective"`` for the
        EM before it, log-likelihood plus log prior. None for the former, or the latter where the
        model was trained by ``method="em"`` alone.
    validation_key
        Name of the held-out loss, on a right axis of its own as its unit is another; its minimum
        is marked. Drawn if the history has it by epoch as well; None leaves it out.
    ax
        Axes to draw into.

    Returns
    -------
    matplotlib.axes.Axes
        Axes of the training loss.

    Raises
    ------
    ValueError
        If the model has not been trained.
    KeyError
        If the history has no ``train_key``.
    """
    record: Mapping[str, pd.DataFrame] | None = getattr(model, "history", model)
    if record is not None and not isinstance(record, Mapping):
        raise TypeError(
            f"Expected a LeafletFAModel or its history, found a {type(model).__name__}."
        )
    if not record:
        raise ValueError("The model has no history: call model.train() with at least one epoch.")
    if train_key is None:
        train_key = _OBJECTIVE if _OBJECTIVE in record and _LOSS not in record else _LOSS
    if train_key not in record:
        raise KeyError(f"The history has no {train_key!r}. Found: {', '.join(record)}.")
    ax = new_axes(5.5, 3.5) if ax is None else ax
    lines = _draw(ax, record[train_key], train_key, "C0")
    step = record[train_key].index.name or "epoch"
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
        for side in (ax, right):  # two units: each axis in the colour of its line
            side.yaxis.label.set_color(side.lines[0].get_color())
            side.tick_params(axis="y", colors=side.lines[0].get_color())
        ax.legend(handles=lines, frameon=False, fontsize="small", loc="upper right")
    return ax


def _draw(ax: Axes, frame: pd.DataFrame, key: str, color: str) -> list[Any]:
    values = frame.iloc[:, 0].astype(float).dropna()
    label = _LABELS.get(key, key)
    ax.set_ylabel(label)
    if values.abs().max() >= 1e4:
        ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    marker = "o" if len(values) == 1 else None
    return ax.plot(
        values.index.to_numpy(float), values.to_numpy(), color=color, label=label, marker=marker
    )
