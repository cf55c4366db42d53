"""What becomes of a figure: shown, saved or returned, with the arguments of scanpy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from leafletfa_scvi._files import writing_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

_TEXT_AS_TEXT: dict[Any, Any] = {"svg.fonttype": "none", "pdf.fonttype": 42, "ps.fonttype": 42}
_DPI = 200
"""Resolution of saved pixel formats, in dots per inch."""


def new_axes(width: float, height: float, figsize: tuple[float, float] | None = None) -> Axes:
    """Create a figure of a size in inches, or of ``figsize``; return its axes."""
    size = (width, height) if figsize is None else figsize
    return plt.subplots(figsize=size, layout="constrained")[1]


def finish(
    drawn: Axes | Mapping[str, Axes] | np.ndarray,
    *,
    title: str | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Set the title, save and show a figure, and return what the caller asked for.

    Parameters
    ----------
    drawn
        Axes, an array of axes, or axes by name.
    title
        Title of the axes; of the figure if there are several.
    show
        Whether to call ``matplotlib.pyplot.show``. Nothing is returned then.
    save
        File to write; its ending is the format (``.pdf``, ``.svg``, ``.png``, ...). Text in
        vector formats stays text.
    return_fig
        Whether to return the figure in place of its axes.

    Returns
    -------
    ``drawn``, or its figure, or None if ``show`` is true.

    Raises
    ------
    TypeError
        ``save`` is not a path, such as True.
    ValueError
        The ending is not a format of matplotlib.
    OSError
        The file cannot be written.
    """
    if save is not None and not isinstance(save, str | os.PathLike):
        raise TypeError(
            f"Expected save to be the name of a file, found {save!r}. Pass one such as "
            "'figure.pdf'."
        )
    axes = _first(drawn)
    figure: Figure = axes.figure.canvas.figure  # also of axes in a subfigure
    if title is not None:
        if drawn is axes:
            axes.set_title(title)
        else:
            figure.suptitle(title)
    if save is not None:
        _save(figure, Path(os.fspath(save)))
    if show:
        plt.show()
        return None
    return figure if return_fig else drawn


def _first(drawn: Any) -> Axes:
    if isinstance(drawn, Axes):
        return drawn
    values = drawn.values() if hasattr(drawn, "values") else np.ravel(drawn)
    axes: Axes = next(iter(values))
    return axes


def _save(figure: Figure, path: Path) -> None:
    formats = sorted(figure.canvas.get_supported_filetypes())
    ending = path.suffix.lower().removeprefix(".")
    if ending not in formats:
        raise ValueError(
            f"Expected save to end with a format of matplotlib ({', '.join(formats)}), found "
            f"{os.fspath(path)!r}. Pass a file name such as 'figure.pdf'."
        )
    try:
        with matplotlib.rc_context(_TEXT_AS_TEXT), writing_whole(path) as unfinished:
            figure.savefig(unfinished, format=ending, dpi=_DPI, bbox_inches="tight")
    except OSError as error:
        raise type(error)(
            error.errno, f"Cannot save the figure: {error.strerror}", str(path)
        ) from error
