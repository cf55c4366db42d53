"""Names of cells, junctions and programs as an index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    import numpy as np


def name_index(names: np.ndarray | list[str]) -> pd.Index:
    """Make an index of names, of the type that pandas gives strings, also if there are none."""
    return pd.Index(names, dtype=pd.Index(["SP_1"]).dtype)
