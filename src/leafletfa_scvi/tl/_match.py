"""Matching the programs of two fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def program_correlation(
    reference: pd.DataFrame | ArrayLike,
    learned: pd.DataFrame | ArrayLike,
    *,
    center: bool = True,
) -> pd.DataFrame:
    """Correlate every reference program with every learned one (Pearson).

    Parameters
    ----------
    reference, learned
        ``(n, K1)`` and ``(n, K2)``: programs in columns, the same n junctions (or cells) in
        rows. Two data frames are aligned by their row names.
    center
        If True, first subtract the mean of each row over programs. Most junctions have a similar
        PSI in all programs, so that any two columns of psi correlate almost perfectly; programs
        are distinguished by their deviations from the mean. Has no effect on activities, whose
        rows sum to one, and is not applied if either side has a single program.

    Returns
    -------
    pandas.DataFrame
        ``(K1, K2)`` correlations. Rows have the column names of ``reference`` and columns those
        of ``learned`` (0-based positions for arrays). A constant program has correlation 0.

    Raises
    ------
    ValueError
        If the inputs are not two-dimensional, differ in their rows, have fewer than two rows, no
        column, or non-finite values.
    """
    a, b = _as_frame(reference, "reference"), _as_frame(learned, "learned")
    if isinstance(reference, pd.DataFrame) and isinstance(learned, pd.DataFrame):
        b = _aligned(b, a.index)
    elif len(a) != len(b):
        raise ValueError(
            f"Expected reference and learned with the same rows, found {len(a)} and {len(b)}."
        )
    left, right = a.to_numpy(float), b.to_numpy(float)
    if center and min(left.shape[1], right.shape[1]) > 1:
        left = left - left.mean(axis=1, keepdims=True)
        right = right - right.mean(axis=1, keepdims=True)
    return pd.DataFrame(_unit(left).T @ _unit(right), index=a.columns, columns=b.columns)


def match_programs(
    reference: pd.DataFrame | ArrayLike,
    learned: pd.DataFrame | ArrayLike,
    *,
    center: bool = True,
) -> pd.DataFrame:
    """Match programs of two fits one to one, maximizing the sum of their correlations.

    The assignment problem is solved exactly (Hungarian algorithm). Programs are identified only
    up to their order, so match them before comparing two fits, or a fit with a simulated truth.

    Parameters
    ----------
    reference, learned
        ``(n, K1)`` and ``(n, K2)``, as in :func:`program_correlation`; the numbers of programs
        may differ.
    center
        As in :func:`program_correlation`.

    Returns
    -------
    pandas.DataFrame
        ``min(K1, K2)`` rows in the order of the columns of ``reference``, with the columns
        ``reference`` and ``learned`` (column names, or 0-based positions for arrays) and
        ``correlation``.

    Raises
    ------
    ValueError
        See :func:`program_correlation`.

    Examples
    --------
    >>> import numpy as np
    >>> import leafletfa_scvi as lfa
    >>> psi = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5], [0.3, 0.3, 0.9], [0.6, 0.7, 0.1]])
    >>> lfa.tl.match_programs(psi, psi[:, [2, 0, 1]])["learned"].tolist()
    [1, 2, 0]
    """
    correlation = program_correlation(reference, learned, center=center)
    rows, columns = linear_sum_assignment(correlation.to_numpy(), maximize=True)
    return pd.DataFrame(
        {
            "reference": correlation.index[rows],
            "learned": correlation.columns[columns],
            "correlation": correlation.to_numpy()[rows, columns],
        }
    )


def _as_frame(values: pd.DataFrame | ArrayLike, name: str) -> pd.DataFrame:
    frame = values if isinstance(values, pd.DataFrame) else None
    if frame is None:
        array = np.asarray(values, dtype=float)
        if array.ndim != 2:
            raise ValueError(f"Expected {name} with 2 dimensions, found {array.ndim}.")
        frame = pd.DataFrame(array)
    if len(frame) < 2 or frame.shape[1] < 1:
        raise ValueError(
            f"Expected {name} with at least 2 rows and 1 program, found shape {frame.shape}."
        )
    if not np.isfinite(frame.to_numpy(float)).all():
        raise ValueError(
            f"Expected finite values in {name}, found others. Drop rows with missing values."
        )
    return frame


def _aligned(frame: pd.DataFrame, names: pd.Index) -> pd.DataFrame:
    if frame.index.equals(names):
        return frame
    if not (frame.index.is_unique and names.is_unique):
        raise ValueError(
            "Expected equal or unique row names, found duplicates that cannot be aligned. Make "
            "row names unique."
        )
    missing = names.symmetric_difference(frame.index)
    if len(missing):
        raise ValueError(
            "Expected the same row names in reference and learned, found "
            f"{len(missing)} that are in one only, the first of them {missing[0]!r}. Keep the "
            "common rows."
        )
    return frame.loc[names]


def _unit(columns: np.ndarray) -> np.ndarray:
    """Center columns and scale them to length 1; constant columns become 0."""
    spread = columns - columns.mean(axis=0)
    length = np.linalg.norm(spread, axis=0)
    constant = length <= 1e-10 * (np.linalg.norm(columns, axis=0) + np.finfo(float).tiny)
    return np.where(constant, 0.0, spread / np.where(constant, 1.0, length))
