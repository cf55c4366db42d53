"""Panels of a splice graph: arcs of one group or program, and the annotation below."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from leafletfa_scvi.pl._groups import outline
from leafletfa_scvi.pl._splice_layout import spaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from leafletfa_scvi.pl._splice_layout import AxisScale
    from leafletfa_scvi.pl._splice_target import Target
    from leafletfa_scvi.pl._splice_values import Panel

LABEL_SIZE = 7.0
"""Size of the labels of arcs, in points."""
_THIN, _THICK = 0.6, 5.0
"""Width of arcs of PSI 0 and 1, in points."""
_CURVE = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
_NOVEL = (0, (2.2, 1.1))
_NOT_OBSERVED = (0, (1, 1.6))
_WITHOUT_READS = "#999999"
_BOX = 0.13
"""Half the height of exons on the line of a panel."""


class Lane(NamedTuple):
    """One line of the annotation: a transcript, or all exons of a gene."""

    label: str
    strand: str
    exons: np.ndarray
    is_shown: bool


def draw_arcs(
    ax: Axes,
    target: Target,
    scale: AxisScale,
    levels: np.ndarray,
    panel: Panel,
    *,
    by: str,
    most: float,
) -> None:
    """Draw the junctions of one group or program.

    Parameters
    ----------
    ax
        Axes whose x are positions in the genome, as edges between bases.
    target, scale, levels
        Junctions, scale of the axis, and levels of arcs.
    panel
        Its values.
    by
        ``"psi"`` or ``"reads"``.
    most
        Value of the widest arcs.
    """
    line = mpl.rcParams["axes.edgecolor"]
    background = ax.get_facecolor()
    low, high = target.left.min(), target.right.max()
    ax.plot([low, high], [0, 0], color=line, linewidth=0.8, zorder=1, solid_capstyle="butt")
    for left, right in target.exons:
        ax.add_patch(
            Rectangle(
                (left, -_BOX), right - left, 2 * _BOX, facecolor=line, edgecolor="none", zorder=2
            )
        )
    middle = scale.middle(target.left, target.right)
    values = panel.value
    for j, (left, right) in enumerate(zip(target.left, target.right, strict=True)):
        height = (levels[j] + 1.0) / 0.75  # a cubic curve rises to 3/4 of its control points
        curve = [(left, 0), (left, height), (right, height), (right, 0)]
        style: Any = "solid"
        if target.is_known is not None and not target.is_known[j]:
            style = _NOVEL
        observed = np.isfinite(values[j])
        share = np.clip(values[j] / most, 0, 1) if observed else 0.0
        patch = PathPatch(
            Path(curve, _CURVE),
            facecolor="none",
            edgecolor=panel.color if observed else _WITHOUT_READS,
            linewidth=_THIN + (_THICK - _THIN) * share,
            linestyle=style if observed else _NOT_OBSERVED,
            capstyle="butt",
            zorder=3 + share,
        )
        patch.set_gid(f"junction {target.junctions[j]}")
        if observed:
            patch.set_path_effects(outline(panel.color, background, patch.get_linewidth()))
        patch.set_in_layout(False)
        ax.add_patch(patch)
        if not observed:
            continue
        text = label_of(panel, j, by)
        ax.text(
            middle[j],
            levels[j] + 1.0,
            text,
            fontsize=LABEL_SIZE,
            linespacing=0.95,
            ha="center",
            va="center",
            zorder=6,
            in_layout=False,
            bbox={"facecolor": background, "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )
    if not np.isfinite(values).any():
        ax.text(
            0.5, 0.97, "no reads", transform=ax.transAxes, ha="center", va="top", style="italic"
        )
    ax.vlines(
        np.unique(np.concatenate([target.left, target.right])),
        -_BOX * 1.8,
        0,
        color=line,
        linewidth=0.6,
        zorder=2,
    )
    ax.set_ylim(-0.35, levels.max() + 1.6)
    ax.spines[:].set_visible(False)
    ax.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)


def title_panel(ax: Axes, panel: Panel, *, two_lines: bool) -> None:
    """Write the name of a panel above it, and the note to the right of it or below."""
    if not two_lines:
        ax.set_title(panel.label, loc="left", fontsize="medium", pad=2)
        ax.set_title(panel.note, loc="right", fontsize="small", pad=2)
        return
    ax.set_title(panel.note, loc="left", fontsize="small", pad=2)
    size = mpl.font_manager.FontProperties(size="small").get_size_in_points()
    ax.annotate(
        panel.label,
        (0, 1),
        (0, size * 1.35 + 2),
        xycoords="axes fraction",
        textcoords="offset points",
        va="bottom",
    )


def label_of(panel: Panel, j: int, by: str) -> str:
    """Return the label of an arc: PSI and its interval, or reads; empty if not observed."""
    if not np.isfinite(panel.value[j]):
        return ""
    if by == "reads":
        return f"{panel.value[j]:,.0f}"
    text = f"{panel.value[j]:.2f}"
    if np.isfinite(panel.lower[j]) and np.isfinite(panel.upper[j]):
        text += f"\n{_short(panel.lower[j])}–{_short(panel.upper[j])}"
    return text


def draw_legend(figure: Figure, target: Target, panels: list[Panel], what: str) -> None:
    """Explain the styles of arcs that occur, and what labels are, above the panels."""
    color = panels[0].color if len(panels) == 1 else mpl.rcParams["axes.edgecolor"]
    handles = [Line2D([], [], linestyle="none", label=what)]
    styles: list[tuple[Any, str, bool]]
    if target.is_known is not None:
        known, novel = target.known_as
        styles = [("solid", known, True), (_NOVEL, novel, False)]
        handles += [
            Line2D([], [], color=color, linewidth=2, linestyle=style, label=label)
            for style, label, is_known in styles
            if (target.is_known == is_known).any()
        ]
    if any(np.isnan(panel.value).any() for panel in panels):
        handles.append(
            Line2D(
                [],
                [],
                color=_WITHOUT_READS,
                linewidth=1,
                linestyle=_NOT_OBSERVED,
                label="no reads",
            )
        )
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize="small",
        handlelength=2.6,
    )


def annotation_lanes(target: Target, limit: int) -> tuple[list[Lane], str]:
    """List what is drawn of the annotation.

    Transcripts with the same exons between the ends of the graph are one lane. Genes beside those
    of the junctions have one lane each, with all of their exons.

    Returns
    -------
    lanes
        At most ``limit`` transcripts of a gene, and as many other genes. Each transcript has as
        many of the junctions that those before it lack as possible, and then as many exons.
    rest
        What is not drawn, ``""`` if nothing.
    """
    low, high = int(target.left.min()), int(target.right.max())
    lanes: list[Lane] = []
    n_more = 0
    for gene in (gene for gene in target.genes if gene.is_shown):
        chains: dict[tuple[tuple[int, int], ...], list[str]] = {}
        for name, exons in gene.transcripts.items():
            inside = exons[(exons[:, 1] >= low) & (exons[:, 0] <= high)]
            if len(inside):
                # Ends of exons outside of the range do not tell transcripts apart.
                clipped = inside.clip(low, high)
                chains.setdefault(tuple(map(tuple, clipped.tolist())), []).append(name)
        if not chains and len(gene.exons):
            lanes.append(Lane(gene.name, gene.strand, gene.exons, True))
        lacking = set(zip(target.left.tolist(), target.right.tolist(), strict=True))
        for _ in range(min(limit, len(chains))):
            scores = {chain: (len(_introns(chain) & lacking), len(chain)) for chain in chains}
            best = max(scores, key=lambda chain: scores[chain])
            lacking -= _introns(best)
            names = chains.pop(best)
            label = names[0] or gene.name
            label += f" +{len(names) - 1}" if len(names) > 1 else ""
            lanes.append(Lane(label, gene.strand, gene.transcripts[names[0]], True))
        n_more += sum(map(len, chains.values()))
    others = [gene for gene in target.genes if not gene.is_shown]
    lanes += [Lane(gene.name, gene.strand, gene.exons, False) for gene in others[:limit]]
    more = [(n_more, "transcript"), (max(0, len(others) - limit), "gene")]
    words = [f"{n} more {what}{'s' * (n > 1)}" for n, what in more if n]
    return lanes, ", ".join(words)


def _introns(exons: tuple[tuple[int, int], ...]) -> set[tuple[int, int]]:
    """Return the introns between exons in order, as edges."""
    return {(before[1], after[0]) for before, after in pairwise(exons)}


def draw_annotation(
    ax: Axes,
    target: Target,
    lanes: list[Lane],
    rest: str,
    bounds: tuple[float, float],
    *,
    names: bool,
) -> None:
    """Draw the direction of transcription, and below it transcripts and genes, with names."""
    line = mpl.rcParams["axes.edgecolor"]
    low, high = target.left.min(), target.right.max()
    labels = []
    if target.strand != "?":
        labels.append("")
        _draw_direction(ax, target.strand, low, high, line)
    for y, lane in enumerate(lanes, len(labels)):  # the labels before them
        # Introns of the gene shown may leave less than a pixel to an exon of another gene.
        color, width = (line, 0.0) if lane.is_shown else ("#8c8c8c", 0.8)
        first = max(lane.exons[:, 0].min(), bounds[0])
        last = min(lane.exons[:, 1].max(), bounds[1])
        ax.plot([first, last], [y, y], color=color, linewidth=0.7, zorder=1)
        for left, right in lane.exons:
            box = Rectangle(
                (left, y - 0.3), right - left, 0.6, color=color, linewidth=width, zorder=2
            )
            ax.add_patch(box)
        arrow = {"+": " →", "-": " ←"}.get(lane.strand, "")
        labels.append(lane.label if lane.is_shown else lane.label + arrow)
    if rest:
        labels.append(rest)
    ax.set_ylim(len(labels) - 0.4, -0.7)
    ax.set_yticks(range(len(labels) * names), labels * names, fontsize=LABEL_SIZE - 0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "left", "right"]].set_visible(False)


def draw_axis(
    ax: Axes, target: Target, scale: AxisScale, bounds: tuple[float, float], width: float
) -> None:
    """Label positions in the genome, and say what is compressed.

    Parameters
    ----------
    ax
        Axes whose x are positions in the genome.
    target, scale
        Junctions, and scale of the axis.
    bounds
        Limits of the axis.
    width
        Width of the axes, in inches.
    """
    drawn = scale.forward(np.array(bounds))
    distance = (drawn[1] - drawn[0]) * min(1.0, 1.0 / width)
    sites = scale.forward(np.concatenate([target.left, target.right]))
    ticks = np.rint(scale.inverse(spaced(sites, distance)))
    ax.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.tick_params(axis="x", bottom=True, labelbottom=True, labelsize=LABEL_SIZE + 0.5)
    strand = {"+": "plus strand", "-": "minus strand"}.get(target.strand, "strand unknown")
    what = "introns" if target.genes else "distances"
    note = "to scale" if scale.limit is None else f"{what} over {scale.limit:,} bases compressed"
    ax.set_xlabel(f"{target.chrom}, {strand}, {note}", fontsize="small")


def _draw_direction(ax: Axes, strand: str, low: float, high: float, color: str) -> None:
    """Draw an arrow from 5' to 3'."""
    start, stop = (low, high) if strand == "+" else (high, low)
    arrow = {"arrowstyle": "-|>", "color": color, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (stop, 0), (start, 0), arrowprops=arrow)
    for position, text in ((start, "5′"), (stop, "3′")):
        is_left = position == low
        ax.annotate(
            text,
            (position, 0),
            (-3 if is_left else 3, 0),
            textcoords="offset points",
            ha="right" if is_left else "left",
            va="center",
            fontsize=LABEL_SIZE,
        )


def _short(share: float) -> str:
    """Format a share without the zero before its point."""
    text = f"{share:.2f}"
    return text.removeprefix("0") if text.startswith("0.") else text
