"""Activities of the cells and samples of groups, as figures and reports show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_column
from leafletfa_scvi.tl._labels import check_columns
from leafletfa_scvi.tl._units import mean_activities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leafletfa_scvi.tl._activities import CellActivities


class GroupActivities(NamedTuple):
    """Activities of G groups.

    Attributes
    ----------
    programs
        Names of the K programs drawn.
    rows
        For each group, activities of its cells ``(C_g, K)``.
    samples
        For each group, mean activities of its samples ``(S_g, K)``, samples in rows by name; None
        without samples.
    mean
        ``(G, K)`` means over cells, or over samples, each counting once.
    leads
        ``(G, K)`` share of the cells of a group whose main program this is.
    """

    programs: list[str]
    rows: dict[str, np.ndarray]
    samples: dict[str, pd.DataFrame] | None
    mean: np.ndarray
    leads: np.ndarray


def group_activities(
    cells: CellActivities,
    members: Mapping[str, np.ndarray],
    programs: list[str],
    sample_key: str | None = None,
) -> GroupActivities:
    """Collect the activities of the cells and samples of each group.

    Parameters
    ----------
    cells
        Activities of cells.
    members
        Positions of the cells of each group.
    programs
        Names of programs, in order.
    sample_key
        Column of ``obs`` with samples, whose means are then averaged; cells without one are left
        out.

    Raises
    ------
    KeyError
        ``obs`` has no such column.
    ValueError
        A group has no cells with a sample.
    """
    columns = [cells.programs.index(name) for name in programs]
    main = cells.mean.argmax(1)
    samples: dict[str, pd.DataFrame] | None = None
    if sample_key is not None:
        check_columns(cells.adata.obs, [check_column("sample_key", sample_key)], "sample_key")
        codes, labels = pd.factorize(cells.adata.obs[sample_key], sort=True)
        members = {name: rows[codes[rows] >= 0] for name, rows in members.items()}
        without = [name for name, rows in members.items() if not len(rows)]
        if without:
            raise ValueError(
                f"Expected samples of all groups in adata.obs[{sample_key!r}], found missing "
                f"values only for {without[0]!r}. Fill them in, or leave out these cells."
            )
        samples = {}
        for name, rows in members.items():
            used, unit = np.unique(codes[rows], return_inverse=True)
            means = mean_activities(cells.mean[rows], unit, len(used))[:, columns]
            samples[name] = pd.DataFrame(means, [str(labels[i]) for i in used], programs)
    rows_of = {name: cells.mean[rows][:, columns] for name, rows in members.items()}
    if samples is None:
        size = [len(rows) for rows in rows_of.values()]
        stacked = np.concatenate(list(rows_of.values()))
        mean = mean_activities(stacked, np.repeat(np.arange(len(size)), size), len(size))
    else:
        mean = np.array([table.to_numpy().mean(0) for table in samples.values()])
    leads = [[np.mean(main[rows] == k) for k in columns] for rows in members.values()]
    return GroupActivities(programs, rows_of, samples, mean, np.array(leads))
