"""Whether activities add to expression for naming cell types, by cross-validation."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_column, check_one_of, check_whole
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.tl._expression_cells import expression_cells
from leafletfa_scvi.tl._labels import check_columns, labeled_cells

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.model import LeafletFAModel

log = logging.getLogger(__name__)

_Scoring = Literal["accuracy", "balanced_accuracy"]
_PENALTIES = np.logspace(-3, 2, 6)
_INNER_SPLITS, _MIN_SAMPLES = 3, 3
_FLOOR = 1e-3
_MAX_SEED = 2**32 - 1
_FEATURES = ("expression", "activities", "both")


def activities_beyond_expression(
    data: MuData | AnnData | LeafletFAModel,
    labels: str,
    expression: AnnData | str = "rna",
    *,
    sample_key: str | None = None,
    layer: str | None = None,
    n_splits: int = 5,
    n_components: int = 30,
    n_top_genes: int = 2000,
    scoring: _Scoring = "accuracy",
    seed: int = 0,
) -> pd.DataFrame:
    """Test by cross-validation whether activities add to expression for naming cell types.

    Logistic regression predicts the label of cells that it was not fitted to, from the principal
    components of expression, from activities, and from both. Genes, components, scales and the
    penalty, which is chosen by a cross-validation within the training cells, never see the cells
    of the fold. All three have the same folds.

    Parameters
    ----------
    data, expression, layer
        Activities and log expression of the same cells, as in :func:`expression_association`.
    labels
        Column with the labels, such as cell types.
    sample_key
        Column with the samples. Folds are then whole samples, so that labels are predicted in
        samples that were not seen, and labels of a single sample are left out. If None, folds are
        cells of the same samples.
    n_splits
        Number of folds, from 2; at most the number of samples.
    n_components
        Number of principal components of expression.
    n_top_genes
        Number of genes with the largest variance that they are made of.
    scoring
        ``"accuracy"``: share of cells that are named correctly; ``"balanced_accuracy"``: its mean
        over labels, so that rare ones count as much as common ones.
    seed
        Seed of folds and components.

    Returns
    -------
    One row per fold, and the rows ``"mean"`` and ``"se"``. Columns:

    - ``n_cells``, ``n_samples``: of the fold; NaN for samples without ``sample_key``.
    - ``expression``, ``activities``, ``both``: score with these features.
    - ``difference``: ``both`` minus ``expression``: what activities add.

    ``"se"`` is the standard error of the mean: folds share most of their training cells, so that
    the variance over folds is multiplied by 1 / folds + test cells / training cells (Nadeau and
    Bengio, *Machine Learning* 52, 2003). It has one degree of freedom less than folds: with five
    folds, a difference of less than 2.8 standard errors is not told from 0.

    Raises
    ------
    KeyError
        A column, layer or modality does not exist.
    TypeError
        ``data`` or ``expression`` is of another kind.
    ValueError
        Expression is counts, or there are fewer than two labels with enough cells, or three
        samples.

    Notes
    -----
    Programs were learned from the reads of all cells, without their labels. If labels were made
    by clustering expression, expression names them well by construction, and a difference of 0
    says little: take labels from markers, sorting or genotypes where there are any.

    Examples
    --------
    >>> table = lfa.tl.activities_beyond_expression(
    ...     mdata, "rna:cell_type", sample_key="donor"
    ... )  # doctest: +SKIP
    >>> table.loc[["mean", "se"], "difference"]  # doctest: +SKIP
    """
    check_one_of("scoring", scoring, _Scoring)
    n_splits = check_whole("n_splits", n_splits, 2)
    n_components = check_whole("n_components", n_components, 1)
    n_top_genes = check_whole("n_top_genes", n_top_genes, 1)
    seed = check_whole("seed", seed, 0, _MAX_SEED)
    cells = expression_cells(data, expression, layer)
    columns = [check_column("labels", labels)]
    check_columns(cells.obs, columns, "labels")
    if sample_key is not None:
        columns.append(check_column("sample_key", sample_key))
        check_columns(cells.obs, columns[1:], "sample_key")
    cells = cells.select(labeled_cells(cells.obs, columns))
    label = cells.obs[labels].astype(str).to_numpy()
    sample = None if sample_key is None else pd.factorize(cells.obs[sample_key])[0]
    keep = _usable(label, sample, n_splits, labels)
    cells, label = cells.select(keep), label[keep]
    if sample is not None:
        sample = pd.factorize(sample[keep])[0]
        n_samples = int(sample.max()) + 1
        if n_samples < _MIN_SAMPLES:
            raise ValueError(
                f"Expected at least {_MIN_SAMPLES} samples in obs[{sample_key!r}], found "
                f"{n_samples}. Leave sample_key out for folds of cells of the same samples."
            )
        n_splits = min(n_splits, n_samples)
    activities = np.log(cells.phi + _FLOOR)
    activities -= activities.mean(1, keepdims=True)
    rows = []
    for train, test in _splits(label, sample, n_splits, seed):
        components = _components(cells.values, train, test, n_top_genes, n_components, seed)
        parts = (components, (activities[train], activities[test]))
        features = (*parts, tuple(np.hstack(pair) for pair in zip(*parts, strict=True)))
        inner = None if sample is None else sample[train]
        row: dict[str, Any] = {
            "n_cells": len(test),
            "n_samples": np.nan if sample is None else len(np.unique(sample[test])),
        }
        for name, (known, new) in zip(_FEATURES, features, strict=True):
            row[name] = _score(known, label[train], new, label[test], inner, scoring, seed)
        row["difference"] = row["both"] - row["expression"]
        rows.append(row)
    return _with_summary(pd.DataFrame(rows), len(label))


def _usable(label: np.ndarray, sample: np.ndarray | None, n_splits: int, name: str) -> np.ndarray:
    """Find the cells ``(C,)`` whose labels are in training and in test cells of some fold."""
    frame = pd.DataFrame({"label": label, "sample": 0 if sample is None else sample})
    groups = frame.groupby("label")["sample"]
    if sample is None:
        enough, wanted = groups.size() >= n_splits, f"{n_splits} cells"
    else:
        enough, wanted = groups.nunique() >= 2, "2 samples"
    if enough.sum() < 2:
        raise ValueError(
            f"Expected at least two labels in obs[{name!r}] with {wanted} each, found "
            f"{int(enough.sum())}."
        )
    if not enough.all():
        log.info(
            "Labels with fewer than %s are left out: %s.",
            wanted,
            ", ".join(map(repr, enough.index[~enough])),
        )
    keep: np.ndarray = enough[label].to_numpy()
    return keep


def _splits(
    label: np.ndarray, sample: np.ndarray | None, n_splits: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield training and test cells, labels spread evenly over folds as far as samples allow."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedKFold if sample is None else StratifiedGroupKFold
    folds = kind(n_splits, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # of labels that are in fewer samples than there are folds
        warnings.filterwarnings("ignore", message="The least populated class")
        yield from folds.split(np.zeros(len(label)), label, sample)


def _components(
    values: Any, train: np.ndarray, test: np.ndarray, n_genes: int, n_components: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of training cells, and the scores of both."""
    from sklearn.decomposition import PCA

    known = values[train]
    square = known.multiply(known) if is_sparse(known) else known**2
    mean, mean_square = (np.asarray(x.mean(axis=0), np.float64).ravel() for x in (known, square))
    variance = mean_square - mean**2
    top = np.sort(np.argsort(-variance, kind="stable")[:n_genes])
    known, new = (
        np.asarray(x.toarray() if is_sparse(x) else x, np.float32)
        for x in (known[:, top], values[test][:, top])
    )
    n = min(n_components, *known.shape)
    pca = PCA(n, svd_solver="randomized" if n < min(known.shape) else "full", random_state=seed)
    return pca.fit_transform(known), pca.transform(new)


def _score(
    known: np.ndarray,
    label: np.ndarray,
    new: np.ndarray,
    truth: np.ndarray,
    sample: np.ndarray | None,
    scoring: str,
    seed: int,
) -> float:
    """Fit to training cells, and score the predicted labels of test cells."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, balanced_accuracy_score
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    n_splits = _INNER_SPLITS
    if sample is not None:
        n_splits = min(n_splits, len(np.unique(sample)))
    folds = [
        (a, b) for a, b in _splits(label, sample, n_splits, seed) if len(np.unique(label[a])) > 1
    ]
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    grid = {"logisticregression__C": _PENALTIES}
    search = GridSearchCV(regression, grid, scoring=scoring, cv=folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Labels of few samples are absent from some inner folds.
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        predicted = search.fit(known, label).predict(new)
        score = accuracy_score if scoring == "accuracy" else balanced_accuracy_score
        return float(score(truth, predicted))


def _with_summary(folds: pd.DataFrame, n_cells: int) -> pd.DataFrame:
    """Add mean and standard error over folds."""
    scores = [*_FEATURES, "difference"]
    test = folds["n_cells"].mean()
    factor = 1.0 / len(folds) + test / (n_cells - test)
    summary = pd.DataFrame(
        [folds[scores].mean(), np.sqrt(factor * folds[scores].var(ddof=1))], ["mean", "se"]
    )
    folds.index = pd.Index([str(i + 1) for i in range(len(folds))])
    table = pd.concat([folds, summary])
    table.index.name = "fold"
    return table
