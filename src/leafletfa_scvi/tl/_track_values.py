"""Values and lines of tracks of junctions: PSI of groups of cells, or of programs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.colors import to_rgb

from leafletfa_scvi._colors import OKABE_ITO, group_colors, palette_colors, program_colors
from leafletfa_scvi.tl._bed_lines import UNPRINTABLE, bed_lines, quotable
from leafletfa_scvi.tl._psi_by_group import psi_by_group
from leafletfa_scvi.tl._psi_by_program import psi_by_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi import LeafletFAModel
    from leafletfa_scvi._colors import Palette
    from leafletfa_scvi.pp._junctions import Introns

_PALEST: Final = 0.4
"""Share of the color of a group in that of a junction of PSI 0; the rest is white."""


@dataclass(frozen=True, eq=False)
class Track:
    """PSI of J junctions in one group or under one program."""

    name: str
    color: str
    psi: np.ndarray
    """``(J,)`` observed PSI, or that of the program; NaN if not observed."""
    reads: np.ndarray | None = None
    total: np.ndarray | None = None
    expected: np.ndarray | None = None
    """``(J,)`` expected PSI of a model, if there is one."""

    @property
    def drawn(self) -> np.ndarray:
        """``(J,)`` PSI that scores and shades are of."""
        return self.psi if self.expected is None else self.expected


def group_tracks(
    adata: AnnData,
    groupby: str | None,
    names: list[str],
    groups: Sequence[str] | None,
    model: LeafletFAModel | None,
    palette: Palette | None,
    junction_layer: str,
    cluster_layer: str,
) -> list[Track]:
    """Make a track for each group of cells."""
    table = psi_by_group(
        *(adata, groupby, names),
        groups=groups,
        model=model,
        junction_layer=junction_layer,
        cluster_layer=cluster_layer,
    )
    labels = [str(name) for name in table["group"].cat.categories]
    if groupby is not None:
        colors = group_colors(adata, groupby, palette)
    else:
        colors = palette_colors(labels, OKABE_ITO if palette is None else palette)
    psi, reads, total = (
        table[column].to_numpy().reshape(len(labels), -1) for column in ("psi", "reads", "total")
    )
    expected = None if model is None else table["psi_model"].to_numpy().reshape(psi.shape)
    return [
        Track(
            *(name, colors[name], psi[i], reads[i], total[i]),
            None if expected is None else expected[i],
        )
        for i, name in enumerate(labels)
    ]


def program_tracks(
    adata: AnnData,
    names: list[str],
    programs: Sequence[str] | None,
    model: LeafletFAModel | None,
    palette: Palette | None,
) -> list[Track]:
    """Make a track for each program."""
    every = [str(n) for n in psi_by_program(adata, names[:1], model=model)["program"]]
    table = psi_by_program(adata, names, programs=programs, model=model)
    labels = [str(name) for name in table["program"].cat.categories]
    if palette is None:
        colors = dict(zip(every, program_colors(len(every)), strict=True))
    else:
        colors = palette_colors(every, palette, "programs")
    psi = table["psi"].to_numpy(np.float64).reshape(len(labels), -1)
    return [Track(name, colors[name], row) for name, row in zip(labels, psi, strict=True)]


def left_out(track: Track, min_reads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return junctions without PSI, and those with too few reads, ``(J,)`` each."""
    unseen = ~(np.isfinite(track.psi) & np.isfinite(track.drawn))
    few = np.zeros_like(unseen) if track.reads is None else track.reads < min_reads
    return unseen, few & ~unseen


def gene_labels(adata: AnnData, names: pd.Index) -> np.ndarray:
    """Return the gene of each junction, or its name where that is not known, without spaces."""
    labels = names.to_series()
    if "gene_name" in adata.var:
        genes = adata.var["gene_name"].astype(object)[names]
        labels = genes.where(genes.notna() & (genes != ""), labels)
    written: np.ndarray = (
        labels.astype(str).str.replace(UNPRINTABLE, "_", regex=True).to_numpy(object)
    )
    return written


def track_lines(
    track: Track,
    kept: np.ndarray,
    names: pd.Index,
    place: Introns,
    genes: np.ndarray,
    anchor: int,
) -> list[str]:
    """Return the lines of the junctions that are kept, in their order."""
    parts = ("chrom", "strand", "start", "end")
    own = replace(place, **{part: getattr(place, part)[kept] for part in parts})
    labels = [f"{genes[i]}|PSI={track.psi[i]:.2f}" for i in kept]
    if track.expected is not None:
        labels = [
            f"{text}|model={track.drawn[i]:.2f}" for text, i in zip(labels, kept, strict=True)
        ]
    if track.reads is not None and track.total is not None:
        labels = [
            f"{text}|{track.reads[i]}/{track.total[i]}"
            for text, i in zip(labels, kept, strict=True)
        ]
    drawn = np.clip(track.drawn[kept], 0, 1)
    scores = np.rint(drawn * 1000).astype(int).tolist()
    return bed_lines(own, names[kept], labels, scores, _shades(track.color, drawn), anchor)


def _shades(color: str, psi: np.ndarray) -> list[str]:
    """Return a color, paler the lower PSI is, ``red,green,blue`` for each value."""
    share = _PALEST + (1 - _PALEST) * psi[:, None]
    shades = np.rint(255 * (1 - share * (1 - np.array(to_rgb(color))))).astype(int)
    return [",".join(map(str, shade)) for shade in shades.tolist()]


def track_heading(track: Track, counts: tuple[int, int, int], min_reads: int) -> str:
    """Return the line that begins a track, without its end."""
    n_written, n_unseen, n_few = counts
    what = "PSI" if track.expected is None else "expected PSI"
    heading = f"{track.name}: {what} of {n_written:,} junctions; {n_unseen:,} not observed"
    if min_reads and track.reads is not None:
        heading += f", {n_few:,} below {min_reads:,} read{'s' if min_reads > 1 else ''}"
    name, description = quotable(track.name) or "track", quotable(heading)
    return f'track name="{name}" description="{description}" visibility=3 itemRgb="On"'
