"""Results of commands as JSON: numbers of numpy, missing values and paths in plain types."""

from __future__ import annotations

import math
import os
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def plain(value: Any) -> Any:
    """Return a value as JSON has it.

    Numbers that are not finite are null, paths are absolute, and what else JSON has no type for is
    text.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, PurePath):
        return os.path.abspath(value)
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else _text(value)


def _text(value: Any) -> str | None:
    import pandas as pd

    return None if pd.isna(value) else str(value)


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as objects, without its index."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]
