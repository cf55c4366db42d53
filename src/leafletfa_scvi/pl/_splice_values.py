"""Values of the panels of a splice graph, from the tables of PSI by group and by program."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi import tl
from leafletfa_scvi._colors import OKABE_ITO, Palette, group_colors, program_colors
from leafletfa_scvi._constants import RESULTS_SLOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from leafletfa_scvi import LeafletFAModel
    from leafletfa_scvi.pl._splice_target import Target


@dataclass(frozen=True)
class Panel:
    """One group or program.

    Attributes
    ----------
    label, note
        Name, and what is known of it.
    color
        Color of its arcs.
    psi, value, lower, upper
        ``(m,)`` for the junctions: PSI, what widths and labels show (PSI or reads), NaN where it
        was not observed, and the interval of PSI, NaN if unknown or not shown.
    is_program
        Whether it is a program.
    """

    label: str
    note: str
    color: str
    psi: np.ndarray
    value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    is_program: bool = False

    def select(self, junctions: np.ndarray) -> Panel:
        """Return the panel of some junctions, by a mask or positions."""
        names = ("psi", "value", "lower", "upper")
        return replace(self, **{name: getattr(self, name)[junctions] for name in names})


def group_panels(
    adata: AnnData,
    target: Target,
    groupby: str | None,
    groups: Sequence[str] | None,
    sample_key: str | None,
    model: LeafletFAModel | None,
    level: float,
    by: str,
    palette: Palette | None,
) -> list[Panel]:
    """Make a panel for each group of cells."""
    table = tl.psi_by_group(
        adata,
        groupby,
        target.junctions,
        groups=groups,
        sample_key=sample_key,
        model=model,
        level=level,
    )
    colors = {} if groupby is None else group_colors(adata, groupby, palette)
    panels = []
    for name, rows in table.groupby("group", observed=True, sort=False):
        by_atse = rows.assign(atse=target.atse).drop_duplicates("atse")
        total = by_atse["total"].to_numpy()
        samples = "" if sample_key is None else f", {rows['n_replicates'].max()} samples"
        cells = int(rows["n_cells"].iloc[0])
        note = f"{cells:,} {'cell' if cells == 1 else 'cells'}{samples}, {total.sum():,} reads"
        n_without = int((total == 0).sum())
        if 0 < n_without < len(total):
            note += f", no reads of {n_without} of {len(total)} ATSEs"
        psi = rows["psi" if model is None else "psi_model"].to_numpy(float)
        observed = rows["total"].to_numpy() > 0
        value = np.where(observed, rows["reads"], np.nan) if by == "reads" else psi
        has_interval = by == "psi" and model is None
        lower, upper = (
            rows[c].to_numpy(float) if has_interval else np.full(len(rows), np.nan)
            for c in ("lower", "upper")
        )
        color = colors.get(str(name), OKABE_ITO[0])
        panels.append(Panel(str(name), note, color, psi, value, lower, upper))
    return panels


def program_panels(
    adata: AnnData,
    target: Target,
    programs: Sequence[str] | None,
    model: LeafletFAModel | None,
    level: float,
) -> list[Panel]:
    """Make a panel for each program."""
    every = tl.psi_by_program(adata, target.junctions[:1], model=model)["program"].cat.categories
    colors = dict(zip(every, program_colors(len(every)), strict=True))
    table = tl.psi_by_program(adata, target.junctions, programs=programs, model=model, level=level)
    if model is None:
        shares = np.asarray(adata.uns.get(RESULTS_SLOT, {}).get("pi", ()), float)
        prevalence = dict(zip(every, shares, strict=False))
    else:
        prevalence = model.get_program_prevalence().to_dict()
    panels = []
    for name, rows in table.groupby("program", observed=True, sort=False):
        psi, lower, upper = (rows[c].to_numpy(float) for c in ("psi", "lower", "upper"))
        note = f"prevalence {prevalence[name]:.1%}" if name in prevalence else ""
        panels.append(Panel(str(name), note, colors[name], psi, psi, lower, upper, True))
    return panels


def without_rare(
    target: Target, panels: list[Panel], min_psi: float
) -> tuple[Target, list[Panel]]:
    """Leave out junctions whose PSI is below a bound in all panels."""
    if min_psi == 0:
        return target, panels
    psi = np.stack([np.nan_to_num(panel.psi) for panel in panels])
    kept = np.flatnonzero(psi.max(axis=0) >= min_psi)
    if not len(kept):
        raise ValueError(
            f"Expected a junction with PSI of at least min_psi={min_psi:g} in some panel, found "
            f"{psi.max():.3g} at most. Lower min_psi."
        )
    shown = replace(
        target,
        junctions=[target.junctions[j] for j in kept],
        atse=target.atse[kept],
        left=target.left[kept],
        right=target.right[kept],
        is_known=None if target.is_known is None else target.is_known[kept],
    )
    return shown, [panel.select(kept) for panel in panels]
