"""Figures of a page: drawn in the same style whatever the caller's, encoded, and closed."""

from __future__ import annotations

import base64
import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.text import Text

from leafletfa_scvi._report._blocks import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure as MatplotlibFigure

_PIXELS: Final = 80
"""CSS pixels of an inch."""
_DPI: Final = 144
_LARGEST_SVG: Final = 120_000
"""Size of a vector figure in bytes above which it is compared with pixels."""
_MANY_POINTS: Final = 4000
_OWN_MATH: Final = re.compile(
    r"\$(\\mathdefault\{[\d.,\-−+^{}\\times ]*\}|1 - 10\^\{-\d+\})\$|\$-\\log_\{10\}\$ (FDR|P)"
)
"""Formulas that figures of this package write themselves."""


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the default style, without showing figures and without formulas in user's names."""
    open_before = set(plt.get_fignums())
    try:
        # A gene called "$x$" is a name, not a formula.
        with plt.ioff(), plt.style.context("default"), plt.rc_context({"text.parse_math": False}):
            yield
    finally:
        for number in set(plt.get_fignums()) - open_before:
            plt.close(number)


def encoded(figure: MatplotlibFigure, alt: str, caption: str = "") -> Figure:
    """Encode a figure as an image, as pixels or curves, whichever is small, and close it.

    Parameters
    ----------
    figure
        Figure that was drawn within :func:`drawing`.
    alt
        What is seen, in numbers.
    caption
        Text below the figure.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(_OWN_MATH.fullmatch(text.get_text()) is not None)
    for axes in figure.axes:
        for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            tick.set_parse_math(_OWN_MATH.fullmatch(tick.get_text()) is not None)
    image, kind = _as_image(figure)
    width, height = (round(_PIXELS * inches) for inches in figure.get_size_inches())
    plt.close(figure)
    data = base64.b64encode(image).decode()
    return Figure(f"data:image/{kind};base64,{data}", alt, caption, width, height)


def _as_image(figure: MatplotlibFigure) -> tuple[bytes, str]:
    """Return the smaller of curves and pixels, and its type; pixels at once of many points."""
    if _n_points(figure) > _MANY_POINTS:
        return _saved(figure, "png", dpi=_DPI), "png"
    svg = _saved(figure, "svg", metadata={"Date": None, "Creator": None})
    if len(svg) > _LARGEST_SVG:
        png = _saved(figure, "png", dpi=_DPI)
        if len(png) < len(svg):
            return png, "png"
    return svg, "svg+xml"


def _n_points(figure: MatplotlibFigure) -> int:
    """Count points of scatters and corners of areas."""
    n_points = 0
    for scatter in figure.findobj(PathCollection):
        n_points += np.shape(scatter.get_offsets())[0]
    for area in figure.findobj(PolyCollection):
        n_points += sum(np.shape(path.vertices)[0] for path in area.get_paths())
    return n_points


def _saved(figure: MatplotlibFigure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    # Letters are curves: fonts of the reader would have other widths.
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": "leafletfa"}):
        figure.savefig(buffer, format=kind, facecolor="white", bbox_inches="tight", **options)
    return buffer.getvalue()
