"""Which program of one fit is which program of another."""

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
    """Pearson correlation of every reference program with every learned one.

    Parameters
    ----------
    reference, learned
        ``(n, K1)`` and ``(n, K2)``: programs in columns, the same n junctions (or cells) in
        rows. Two data frames are aligned by their row names.
    center
        Subtract each row's mean over the programs first. Most junctions are spliced much the
        same in all programs, so that any two columns of psi correlate almost perfectly; what
        tells programs apart is how they deviate from the junction's mean. Makes no difference
        to activities, whose rows all sum to one. Not applied where one side has a single
        program, from whose mean nothing deviates.

    Returns
    -------
    pandas.DataFrame
        ``(K1, K2)``, rows named after the reference's columns (positions from 0 for an array),
        columns after the learned ones. A program without any variation has correlation 0.

    Raises
    ------
    ValueError
        If the inputs are not two-dimensional, disagree in their rows, have fewer than two rows,
        no column, or values that are not finite.
    """
    a, b = _as_frame(reference, "reference"), _as_frame(learned, "learned")
    if isinstance(reference, pd.DataFrame) and isinstance(learned, pd.DataFrame):
        b = _aligned(b, a.index)
    elif len(a) != len(b):
        raise ValueError(
            f"Expected the same rows in both, found {len(a)} in reference and {len(b)} in learned."
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
    """Pair programs of two fits one to one so that their correlations add up to the most.

    Solved exactly as an assignment problem (Hungarian algorithm). Programs are recovered only up
    to their order, so anything that compares two fits, or a fit with a simulated truth, starts
    here.

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
        ``min(K1, K2)`` rows in the order of the reference's columns; columns ``reference`` and
        ``learned`` (column names, or positions from 0 for an array) and ``correlation``.

    Raises
    ------
    ValueError
        As :func:`program_correlation`.

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
        raise ValueError(f"Expected finite values in {name}; drop rows with missing ones first.")
    return frame


def _aligned(frame: pd.DataFrame, names: pd.Index) -> pd.DataFrame:
    if frame.index.equals(names):
        return frame
    if not (frame.index.is_unique and names.is_unique):
        raise ValueError("Row names are neither equal nor unique, so rows cannot be aligned.")
    missing = names.symmetric_difference(frame.index)
    if len(missing):
        raise ValueError(
            f"{len(missing)} row names are in only one of reference and learned, the first being "
            f"{missing[0]!r}. Keep the rows that both have."
        )
    return frame.loc[names]


def _unit(columns: np.ndarray) -> np.ndarray:
    """Columns centred and scaled to length 1, or 0 where they do not vary."""
    spread = columns - columns.mean(axis=0)
    length = np.linalg.norm(spread, axis=0)
    constant = length <= 1e-10 * (np.linalg.norm(columns, axis=0) + np.finfo(float).tiny)
    return np.where(constant, 0.0, spread / np.where(constant, 1.0, length))
