"""Functions of pandas and scipy that take or tell more than their type stubs say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


def is_sparse(matrix: Any) -> bool:
    """Return True for a sparse matrix or array of scipy.

    The stub of scipy's ``issparse`` narrows to a class without ``shape``, ``data`` and ``tocsr``.
    """
    return bool(sp.issparse(matrix))


def categorical(codes: np.ndarray, categories: Sequence[str] | np.ndarray) -> pd.Categorical:
    """Create a categorical from codes, -1 for missing, and the categories."""
    # The stub takes neither arrays of codes nor categories that are not an Index.
    return pd.Categorical.from_codes(codes, categories)  # type: ignore[arg-type]
