"""Labels of points that cover neither each other nor the points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from adjustText import adjust_text
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

_AVOIDED = 60
"""Maximum number of points that labels avoid."""


def place_labels(
    ax: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str], avoid: np.ndarray
) -> list[Text]:
    """Write the names of points beside them, with a line to each point that is far.

    Labels that still cover another one, or end outside of the axes, are left out; those that come
    first stay.

    Parameters
    ----------
    ax
        Axes with their final limits.
    x, y
        ``(N,)`` positions of points, the most important first.
    names
        N names.
    avoid
        ``(M, 2)`` positions of points that labels should not cover, the most important first.

    Returns
    -------
    The labels that were drawn, in order.
    """
    root: Any = ax.figure.canvas.figure
    root.draw_without_rendering()  # places the axes
    style: dict[str, Any] = {"fontsize": "small", "ha": "center", "va": "center", "zorder": 7}
    texts, points = [], []
    for name, *point in zip(names, x, y, strict=True):
        text = ax.text(float(point[0]), float(point[1]), name, **style)
        if text.get_window_extent().width > ax.get_window_extent().width:
            text.remove()
            continue
        texts.append(text)
        points.append(point)
    if not texts:
        return []
    x, y = np.array(points).T
    avoid = avoid[:_AVOIDED]
    limits = ax.get_xlim(), ax.get_ylim()
    adjust_text(
        texts,
        x=np.concatenate([x, avoid[:, 0]]),
        y=np.concatenate([y, avoid[:, 1]]),
        target_x=x,
        target_y=y,
        ax=ax,
        expand=(1.1, 1.35),
        iter_lim=150,
    )
    ax.set(xlim=limits[0], ylim=limits[1])
    inside = ax.get_window_extent().expanded(1.01, 1.01)
    drawn: list[tuple[Text, Bbox]] = []
    for text, *point in zip(texts, x, y, strict=True):
        box = text.get_window_extent()
        fits = inside.x0 <= box.x0 and box.x1 <= inside.x1
        fits = fits and inside.y0 <= box.y0 and box.y1 <= inside.y1
        if not fits or any(box.overlaps(other) for _, other in drawn):
            text.remove()
            continue
        drawn.append((text, box))
        _fade_behind(ax, box)
        _connect(ax, box, point)
    return [text for text, _ in drawn]


def _fade_behind(ax: Axes, box: Bbox) -> None:
    """Fade what is behind a label, but points that labels avoid."""
    corner, opposite = ax.transData.inverted().transform([box.min, box.max])
    face = plt.rcParams["axes.facecolor"]
    ax.add_patch(
        Rectangle(corner, *(opposite - corner), facecolor=face, alpha=0.6, linewidth=0, zorder=2)
    )


def _connect(ax: Axes, box: Bbox, point: Sequence[float]) -> None:
    """Draw a line from a label to its point, from where the label is nearest."""
    target = ax.transData.transform(point)
    start = np.clip(target, box.min, box.max)
    if np.hypot(*(target - start)) > 0.05 * ax.figure.dpi:
        ends = ax.transData.inverted().transform([start, target])
        ax.plot(*ends.T, color=plt.rcParams["text.color"], linewidth=0.6, alpha=0.6, zorder=4)
