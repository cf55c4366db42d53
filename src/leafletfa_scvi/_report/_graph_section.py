"""Section with splice graphs of the ATSEs that differ most between groups."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from leafletfa_scvi import pl
from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi._report._blocks import Block, Missing, Section, Text
from leafletfa_scvi._report._figures import drawing, encoded
from leafletfa_scvi._report._inputs import attempted
from leafletfa_scvi.tl._comparison_counts import called

if TYPE_CHECKING:
    import pandas as pd

    from leafletfa_scvi._report._inputs import Inputs
    from leafletfa_scvi._report._program_section import Markers
    from leafletfa_scvi._report._splicing_section import Comparisons

_MAX_GROUPS = 6
_MIN_PSI = 0.01


class _Choice(NamedTuple):
    """An ATSE to draw: its name and a junction, the group that it differs in, and its effect."""

    atse: str
    junction: str
    group: str | None
    effect: float
    of: str


def graph_section(
    inputs: Inputs, comparisons: Comparisons | None, markers: Markers | None
) -> Section:
    """Draw the leading ATSEs."""
    what, title = "Splice graphs", "Splice graphs of the leading ATSEs"
    blocks: list[Block] = []
    if inputs.n_graphs == 0:
        return Section("graphs", title, [Missing(what, "n_graphs is 0.")])
    choices: list[_Choice] = []
    if comparisons is not None:
        choices = _by_comparison(inputs, comparisons)
        text = "ATSEs called between groups, the most probable of each comparison in turn."
    elif markers is not None:
        choices = _by_program(inputs, markers)
        text = "ATSEs of the leading markers of each program in turn, as groups were not compared."
    if not choices:
        why = (
            "No ATSE is called between groups."
            if comparisons is not None
            else "There are neither ATSEs that differ between groups nor markers of programs."
        )
        return Section("graphs", title, [Missing(what, why)])
    blocks.append(
        Text(
            f"{text} Arcs are junctions, as wide as their PSI in the pooled reads of a group; "
            "numbers are PSI with its 95 % interval. Junctions whose PSI is below "
            f"{_MIN_PSI:g} everywhere are left out."
        )
    )
    for choice in choices:
        blocks += attempted(f"Splice graph of {choice.atse}", partial(_graph, inputs, choice))
    return Section("graphs", title, blocks)


def _by_comparison(inputs: Inputs, comparisons: Comparisons) -> list[_Choice]:
    """Choose the most probable calls of each comparison in turn, no ATSE twice."""
    table = comparisons.table[called(comparisons.table, inputs.fdr_target)]
    parts = [rows for _, rows in table.groupby("comparison", sort=False)]
    return _in_turn(inputs, parts, "group1", "comparison")


def _by_program(inputs: Inputs, markers: Markers) -> list[_Choice]:
    """Choose the leading markers of each program in turn, no ATSE twice."""
    parts = [rows for _, rows in markers.listed.groupby("program", sort=False)]
    return _in_turn(inputs, parts, None, "program")


def _in_turn(
    inputs: Inputs, parts: list[pd.DataFrame], group: str | None, of: str
) -> list[_Choice]:
    var, key = inputs.adata.var, inputs.layers.atses
    chosen: dict[object, _Choice] = {}
    for i in range(max(map(len, parts), default=0)):
        for rows in parts:
            if i >= len(rows) or len(chosen) >= inputs.n_graphs:
                continue
            row = rows.iloc[i]
            junction = str(row["junction"] if "junction" in row else rows.index[i])
            atse = var.loc[junction, key] if key in var else junction
            choice = _Choice(
                str(atse) if key == ATSE_KEY else junction,
                junction,
                None if group is None else str(row[group]),
                float(row["effect_size"]),
                str(row[of]),
            )
            chosen.setdefault(atse, choice)
    return list(chosen.values())


def _graph(inputs: Inputs, choice: _Choice) -> list[Block]:
    """Draw one ATSE."""
    groups = None
    names = list(inputs.groups)
    hidden = ""
    if len(names) > _MAX_GROUPS:
        sizes = np.array([len(rows) for rows in inputs.groups.values()])
        largest = [names[i] for i in np.argsort(-sizes, kind="stable") if names[i] != choice.group]
        first = [] if choice.group is None else [choice.group]
        kept = {*first, *largest[: _MAX_GROUPS - len(first)]}
        groups = [name for name in names if name in kept]
        hidden = f" {len(names) - len(groups)} other groups are not drawn."
    with drawing():
        figure = pl.splice_graph(
            inputs.adata,
            choice.atse,
            inputs.groupby,
            groups=groups,
            sample_key=inputs.sample_key if inputs.groupby is not None else None,
            gtf=inputs.gtf,
            min_psi=_MIN_PSI,
            return_fig=True,
        )
        title = str(figure.get_suptitle()).split("\n")[0]
        drawn = "all cells" if inputs.groupby is None else f"{len(groups or names)} groups"
        alt = (
            f"Splice graph of {title} in {drawn}. {choice.of}: the PSI of {choice.junction} "
            f"differs by {choice.effect:+.2f}."
        )
        caption = (
            f"{title}. {choice.of}: the PSI of {choice.junction} differs by {choice.effect:+.2f}."
            f"{hidden}"
        )
        return [encoded(figure, alt, caption)]
