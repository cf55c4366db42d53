"""Training history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator

from leafletfa_scvi._constants import RESULTS_SLOT
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish
from leafletfa_scvi.pl._panels import one_or_all
from leafletfa_scvi.pl._slots import short_number
from leafletfa_scvi.pl._stacked import GivenAxes, stacked_panels

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes

_LOSS, _OBJECTIVE = "elbo_train", "em_objective"
_LABELS = {
    _LOSS: "training loss:\nnegative ELBO (nats)",
    "elbo_validation": "validation loss:\nnegative ELBO (nats)",
    "reconstruction_loss_validation": "held-out loss\n(nats per entry)",
    _OBJECTIVE: "EM objective:\nlog posterior (nats)",
}
_LEAST_SPAN = 0.01
"""Smallest range of the y axis, as a share of the last value."""


@shared_docs
def history(
    model: Any,
    *,
    train_key: str | None = None,
    validation_key: str | None = "reconstruction_loss_validation",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: GivenAxes = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot the training loss and, if available, the held-out loss, or the objective of EM.

    At the end of training, the loss should no longer decrease, and the objective of EM no longer
    increase, except in cycles that refit prior concentrations and concentrations. A held-out loss
    that rises again indicates that programs fit noise.

    The axis on the right is the difference from the last value in percent of it. Axes span at
    least 1 %, so that a change of less does not fill the figure.

    Parameters
    ----------
    model
        A trained model; its ``history``, a mapping of names to data frames with one row per
        epoch, or per cycle of EM; or an AnnData with both in
        ``adata.uns["leafletfa"]``, as written by ``model.export_posterior``.
    train_key
        Quantity to draw: ``"elbo_train"``, or ``"em_objective"`` for the log-likelihood plus log
        prior of EM. If None, the former, or the latter for models trained with ``method="em"``.
    validation_key
        Name of the held-out loss, drawn in a panel below with its minimum marked, if the history
        contains it. If None, it is not drawn.
    $title_of_panels
    $figsize
    ax
        Axes of the training loss, the only panel then, or a pair of axes for both panels. If None,
        a new figure is created.
    $output

    Returns
    -------
    matplotlib.axes.Axes or dict
        Axes of the training loss; with a held-out loss, a dictionary of the axes ``"training"``
        and ``"held_out"``.

    Raises
    ------
    ValueError
        The model has not been trained, or the AnnData has no history.
    KeyError
        The history does not contain ``train_key``, or the AnnData has no results.
    TypeError
        ``model`` is none of the three.

    Examples
    --------
    A fit by EM, with the objective of each cycle:

    >>> lfa.pl.history(model)

    .. image:: /_static/gallery/history.png
       :alt: A line that rises steeply and then levels off.

    Stochastic variational inference on simulated cells, some pairs of cells and ATSEs held out:

    >>> lfa.pl.history(model)

    .. image:: /_static/gallery/history_held_out.png
       :alt: Two lines that fall, the loss of training above the held-out loss,
           whose lowest point is marked.
    """
    record = _record(model)
    if train_key is None:
        train_key = _OBJECTIVE if _OBJECTIVE in record and _LOSS not in record else _LOSS
    if train_key not in record:
        raise KeyError(f"Expected train_key to be one of {list(record)}, found {train_key!r}.")
    held_out = None
    if validation_key is not None and train_key != _OBJECTIVE:
        held_out = record.get(validation_key)
    names, heights = ["training"], [3.3]
    if held_out is not None:
        names, heights = ["training", "held_out"], [2.5, 2.3]
    panels = stacked_panels(ax, names, heights, figsize)
    _draw(panels["training"], record[train_key], train_key, "C0")
    if "held_out" in panels:
        assert held_out is not None
        assert validation_key is not None
        _draw(panels["held_out"], held_out, validation_key, "C1")
        _mark_lowest(panels["held_out"])
    step = str(record[train_key].index.name or "epoch")
    last = list(panels.values())[-1]
    last.set_xlabel(f"{step} of EM" if train_key == _OBJECTIVE else step)
    return finish(one_or_all(panels), title=title, show=show, save=save, return_fig=return_fig)


def _record(model: Any) -> Mapping[str, pd.DataFrame]:
    """Find the history, or say where it is."""
    if isinstance(model, AnnData):
        return _exported(model)
    record: Mapping[str, pd.DataFrame] | None = getattr(model, "history", model)
    if record is not None and not isinstance(record, Mapping):
        raise TypeError(
            "Expected model to be a LeafletFAModel or its history, or an AnnData, found a "
            f"{type(model).__name__}."
        )
    if not record:
        raise ValueError("Expected a trained model, found no history. Call model.train() first.")
    return record


def _exported(adata: AnnData) -> dict[str, pd.DataFrame]:
    """Read the training loss and the objective of EM from an AnnData."""
    results = adata.uns.get(RESULTS_SLOT)
    if not isinstance(results, Mapping) or "elbo_history" not in results:
        raise KeyError(
            f"Expected adata.uns[{RESULTS_SLOT!r}] to contain 'elbo_history', found "
            f"{', '.join(map(repr, adata.uns)) or 'no keys'} in adata.uns. Call "
            "model.export_posterior(adata) first, or pass the model."
        )
    elbo, objective = (
        np.asarray(results.get(name, ()), dtype=float).ravel()
        for name in ("elbo_history", _OBJECTIVE)
    )
    record = {
        _LOSS: pd.DataFrame({_LOSS: -elbo}).rename_axis("epoch"),
        _OBJECTIVE: pd.DataFrame({_OBJECTIVE: objective}).rename_axis("cycle"),
    }
    record = {name: frame for name, frame in record.items() if len(frame)}
    if not record:
        raise ValueError(
            f"Expected the training history in adata.uns[{RESULTS_SLOT!r}], found an empty one. "
            "Pass the model."
        )
    return record


def _draw(ax: Axes, frame: pd.DataFrame, key: str, color: str) -> None:
    """Draw one quantity, with the difference from its end on the right."""
    values = frame.iloc[:, 0].astype(float).dropna()
    x, y = values.index.to_numpy(float), values.to_numpy()
    ax.plot(x, y, color=color, marker="o" if len(y) == 1 else None)
    ax.set_ylabel(_LABELS.get(key, key))
    ax.spines["top"].set_visible(False)
    if not len(y) or not np.isfinite(y).any():
        return
    low, high, end = float(np.nanmin(y)), float(np.nanmax(y)), float(y[-1])
    missing = _LEAST_SPAN * abs(end) - (high - low)
    if missing > 0:
        low, high = low - missing / 2, high + missing / 2
    pad = 0.05 * (high - low) or 0.5
    ax.set_ylim(low - pad, high + pad)
    if max(abs(low), abs(high)) >= 1e4:
        ax.yaxis.set_major_formatter(FuncFormatter(short_number))
    if end == 0 or not np.isfinite(end):
        return
    unit = abs(end) / 100

    def to_percent(value: Any) -> Any:
        return (value - end) / unit

    def to_nats(percent: Any) -> Any:
        return end + percent * unit

    right = ax.secondary_yaxis("right", functions=(to_percent, to_nats))
    right.set_ylabel("difference\nfrom the end (%)")
    right.yaxis.set_major_locator(MaxNLocator(5))
    right.yaxis.set_major_formatter(FuncFormatter(_signed))


def _signed(percent: float, _: object = None) -> str:
    return Formatter.fix_minus(f"{percent:+g}") if percent else "0"


def _mark_lowest(ax: Axes) -> None:
    (line,) = ax.lines
    x, y = (np.asarray(values, float) for values in line.get_data())
    if not len(y) or np.isnan(y).all():
        return
    best = int(np.nanargmin(y))
    label = f"lowest, {y[best]:.4g} at epoch {x[best]:.0f}"
    ax.plot(x[best], y[best], "o", color=line.get_color(), markersize=5, label=label)
    ax.legend(frameon=False, fontsize="small", loc="upper right")
