"""Markers of programs to draw: one junction of an ATSE, under the program that it marks best."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi.pl._choice import called_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

_ALIKE = 0.9
"""Junctions of an ATSE with this share of the largest effect differ as much as it."""


def top_markers(table: pd.DataFrame, programs: Sequence[str], number: int) -> dict[str, list[str]]:
    """Choose markers within the bound on false discoveries for each program.

    An ATSE is a marker of the program under which it deviates most, and is represented by the
    junction that does; of those that deviate about as much, such as both sides of a cassette exon,
    by the one that is used more under the program.

    Parameters
    ----------
    table
        Table of ``program_markers`` by junction, the most probable first within a program.
    programs
        Names of programs.
    number
        Maximum number of ATSEs of a program.

    Returns
    -------
    Junctions of each program that has any.

    Raises
    ------
    ValueError
        There are none.
    """
    called, bound = called_rows(table, "is_ds_fdr_")
    of_programs = table["program"].astype(str).isin(programs)
    keep = (called if bound else ~called) & of_programs
    rows = pd.DataFrame(
        {
            "program": table["program"].astype(str).to_numpy(),
            "effect": table["effect_size"].to_numpy(float),
            "atse": atse_of(table),
            "junction": table.index.astype(str),
        }
    )[keep.to_numpy()]
    if not len(rows):
        raise ValueError(
            f"Expected markers of {', '.join(programs[:5])}, found none within {bound}. Call "
            "program_markers with a larger fdr_target or a smaller delta, or name junctions."
        )
    size = rows["effect"].abs()
    best = rows.loc[size.groupby(rows["atse"], sort=False).idxmax()]
    owner = rows["atse"].map(best.set_index("atse")["program"])
    rows = rows[rows["program"] == owner]
    chosen: dict[str, list[str]] = {}
    for name in programs:
        own = rows[rows["program"] == name]
        junctions = [_representative(own[own["atse"] == a]) for a in own["atse"].unique()[:number]]
        if junctions:
            chosen[name] = junctions
    without = [name for name in programs if name not in chosen]
    if without:
        log.info("Programs without markers of their own: %s.", ", ".join(without))
    return chosen


def atse_of(table: pd.DataFrame) -> np.ndarray:
    """Return the ATSE of each row, or its junction if that is not known."""
    names = table["atse_id"] if "atse_id" in table else pd.Series(table.index)
    return np.asarray(names.astype(str), dtype=object)


def _representative(rows: pd.DataFrame) -> str:
    """Return the junction of an ATSE that is drawn."""
    size = rows["effect"].abs()
    alike = rows[size >= _ALIKE * size.max()]
    return str(alike["junction"].iloc[int(alike["effect"].to_numpy().argmax())])
