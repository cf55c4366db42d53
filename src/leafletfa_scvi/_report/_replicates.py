"""Which groups have enough samples to be compared with the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi._report._blocks import Block, Missing

if TYPE_CHECKING:
    from leafletfa_scvi._report._inputs import Inputs


def groups_with_samples(inputs: Inputs) -> tuple[list[str], list[Block]]:
    """Return the groups that can be compared with all others, and why others cannot.

    Both sides of a comparison need two samples; without ``sample_key``, two cells.
    """
    n_cells = inputs.adata.n_obs
    if inputs.sample_key is None:
        unit, what = np.arange(n_cells), "cells"
    else:
        unit = pd.factorize(inputs.adata.obs[inputs.sample_key])[0]
        what = f"samples of {inputs.sample_key}"
    members = {name: rows[unit[rows] >= 0] for name, rows in inputs.groups.items()}
    every = np.concatenate(list(members.values()))
    chosen: list[str] = []
    left_out: list[str] = []
    for name, rows in members.items():
        others = np.setdiff1d(every, rows)
        enough = min(len(np.unique(unit[side])) for side in (rows, others)) >= 2
        (chosen if enough else left_out).append(name)
    blocks: list[Block] = []
    if left_out:
        why = f"They, or the other groups, have fewer than two {what}."
        blocks.append(Missing(f"Comparisons of {', '.join(left_out)}", why))
    return chosen, blocks
