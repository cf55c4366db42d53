"""Units and design of a regression on columns of ``obs``, from a formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from leafletfa_scvi.tl._labels import check_columns

if TYPE_CHECKING:
    from formulaic import Formula


class Design(NamedTuple):
    """Design of a regression on U units.

    Attributes
    ----------
    unit
        ``(C,)`` codes of the units of cells.
    sample
        ``(U,)`` codes of the samples of units.
    matrix
        ``(U, p)`` columns.
    terms
        Names of the columns.
    """

    unit: np.ndarray
    sample: np.ndarray
    matrix: np.ndarray
    terms: list[str]


def read_formula(formula: str, obs: pd.DataFrame) -> tuple[Formula, list[str]]:
    """Parse a formula, and list the columns of ``obs`` that it uses.

    Raises
    ------
    ValueError
        It is no formula, has a left side, or uses no column.
    KeyError
        A column does not exist.
    """
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    expected = f"Expected formula such as '~ age + C(cell_type)', found {formula!r}"
    if not isinstance(formula, str) or "|" in formula:
        raise ValueError(f"{expected}.")
    if formula.rpartition("~")[0].strip():
        raise ValueError(f"{expected}. Leave out the left side: the response is the activities.")
    try:
        parsed = Formula(formula)
        columns = sorted(str(name) for name in parsed.required_variables)
    except (FormulaicError, SyntaxError) as error:
        raise ValueError(f"{expected}: {str(error).splitlines()[0]}") from error
    if not columns:
        raise ValueError(f"Expected formula to use columns of adata.obs, found {formula!r}.")
    check_columns(obs, columns, "formula")
    return parsed, columns


def build_design(
    formula: Formula, columns: list[str], obs: pd.DataFrame, sample: np.ndarray, sample_key: str
) -> Design:
    """Find the units, the cells of a sample with the same labels, and the design matrix.

    Parameters
    ----------
    formula
        Parsed formula.
    columns
        Columns of ``obs`` that it uses, without missing values.
    obs
        Annotation of C cells.
    sample
        ``(C,)`` codes of samples.
    sample_key
        Name of their column, for messages; empty if each cell is a sample.

    Raises
    ------
    ValueError
        A numeric column varies within a unit, the formula cannot be evaluated, or columns of the
        design are not independent.
    """
    table = pd.DataFrame({c: _plain(obs[c]) for c in columns})
    labels = [c for c in columns if isinstance(table[c].dtype, pd.CategoricalDtype)]
    keys = [pd.Series(sample, index=table.index), *(table[c].cat.codes for c in labels)]
    unit = pd.concat(keys, axis=1).groupby(list(range(len(keys))), sort=False).ngroup().to_numpy()
    _, first = np.unique(unit, return_index=True)
    for column in set(columns) - set(labels):
        _check_constant(table[column].to_numpy(), unit, column, obs, first, sample_key)
    matrix, terms = _evaluate(formula, table.iloc[first].reset_index(drop=True))
    return Design(unit, pd.factorize(sample[first])[0], matrix, terms)


def _plain(column: pd.Series) -> pd.Series:
    """Numbers as float64, all else as categories that occur."""
    values = column.reset_index(drop=True)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.remove_unused_categories()
    if pd.api.types.is_bool_dtype(values.dtype) or not pd.api.types.is_numeric_dtype(values.dtype):
        return values.astype(str).astype("category")
    return values.astype(np.float64)


def _check_constant(
    values: np.ndarray,
    unit: np.ndarray,
    column: str,
    obs: pd.DataFrame,
    first: np.ndarray,
    sample_key: str,
) -> None:
    """Check that a number is the same in all cells of a unit."""
    differs = np.flatnonzero(values != values[first][unit])
    if len(differs):
        i = differs[0]
        name = obs[sample_key].iloc[i]
        raise ValueError(
            f"Expected column {column!r} to be constant within samples, found "
            f"{values[first[unit[i]]]:g} and {values[i]:g} in sample {name!r}. Average it first, "
            f"adata.obs[{column!r}] = adata.obs.groupby({sample_key!r})[{column!r}]"
            ".transform('mean')."
        )


def _evaluate(formula: Formula, table: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Evaluate a formula on the columns of a table."""
    from formulaic.errors import FormulaicError

    try:
        frame = formula.get_model_matrix(table, context={}, output="pandas", na_action="raise")
    except (FormulaicError, ValueError, TypeError) as error:
        raise ValueError(
            f"Expected a formula that can be evaluated on adata.obs: {str(error).splitlines()[0]}"
        ) from error
    matrix = np.asarray(frame, np.float64)
    terms = [str(name) for name in frame.columns]
    for term, column in zip(terms, matrix.T, strict=True):
        if not np.isfinite(column).all():
            raise ValueError(f"Expected finite values of the term {term!r}, found others.")
    _check_independent(matrix, terms)
    return matrix, terms


def _check_independent(matrix: np.ndarray, terms: list[str]) -> None:
    """Check that no column of the design is given by those before it."""
    scaled = matrix / np.maximum(np.linalg.norm(matrix, axis=0), 1e-300)
    for i, term in enumerate(terms):
        if np.linalg.matrix_rank(scaled[:, : i + 1], tol=1e-8) <= i:
            raise ValueError(
                f"Expected independent terms, found {term!r}, which is constant or given by "
                f"{terms[:i]}. Leave out one of them."
            )
