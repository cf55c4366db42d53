"""Labels of reference cells given to query cells with similar activities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata, check_inside, check_one_of, check_whole
from leafletfa_scvi._constants import ACTIVITY_SLOT
from leafletfa_scvi.tl._activities import CellActivities, cell_activities
from leafletfa_scvi.tl._labels import check_columns, labeled_cells
from leafletfa_scvi.tl._same_programs import (
    check_n_programs,
    check_same_programs,
    n_further_programs,
)

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.model import LeafletFAModel

TransferMethod = Literal["knn", "logistic"]


def transfer_labels(
    reference: LeafletFAModel | AnnData,
    query: LeafletFAModel | AnnData,
    labels: str,
    *,
    method: TransferMethod = "knn",
    n_neighbors: int = 15,
    query_fit: pd.DataFrame | None = None,
    alpha: float = 0.05,
    min_probability: float = 0.5,
    unknown: str = "unknown",
) -> pd.DataFrame:
    """Transfer labels, such as cell types, from reference cells to query cells.

    Cells are compared by the square roots of their activities, whose Euclidean distance is, up to
    a factor, the Hellinger distance of two compositions.

    Parameters
    ----------
    reference
        Trained model with its AnnData, or an AnnData with activities in ``obsm["X_PHI"]``.
    query
        Model of :meth:`~leafletfa_scvi.LeafletFAModel.load_query_data` with its AnnData, or an
        AnnData with activities in ``obsm["X_PHI"]``. If it has none and ``reference`` is a model,
        they are those of ``reference.get_cell_activities(query)``. Of a model with extra programs,
        reference cells get activities on its programs, too.
    labels
        Column of the ``obs`` of the reference. Cells without a value are left out, which is
        logged.
    method
        ``"knn"``, the probability of a label is its share of the nearest reference cells, or
        ``"logistic"``, multinomial logistic regression on the square roots of activities.
    n_neighbors
        Number of nearest reference cells for ``"knn"``.
    query_fit
        Result of :func:`query_fit` for the query cells, in any order. If None, no cell is unknown
        for its fit.
    alpha
        Query cells with a p value below are unknown, as are those without a p value; the expected
        share of unknown cells among those that belong to the reference.
    min_probability
        Cells whose most probable label has a lower probability are unknown.
    unknown
        Name of the label of unknown cells.

    Returns
    -------
    pandas.DataFrame
        One row per query cell. Columns:

        - ``label``: transferred label, or ``unknown``; categorical with the categories of the
          reference, then ``unknown``;
        - ``predicted``: most probable label, also of unknown cells; categorical;
        - ``probability``: probability of ``predicted``; 1 minus it is the uncertainty;
        - ``p_value``: of ``query_fit``, if given;
        - ``probability_A``, ... for each label A.

    Raises
    ------
    TypeError
        ``reference`` or ``query`` is neither a model nor an AnnData.
    KeyError
        ``labels`` is not a column of ``obs`` of the reference.
    RuntimeError
        A model is not trained.
    ValueError
        There are no activities, programs of reference and query differ, the reference has fewer
        than two programs or labels, or fewer cells than ``n_neighbors``, a query cell is not in
        ``query_fit``, or an argument is out of range.

    Examples
    --------
    >>> import leafletfa_scvi as lfa
    >>> table = lfa.tl.transfer_labels(model, query, "cell_type")  # doctest: +SKIP
    >>> query.adata.obs["cell_type"] = table["label"]  # doctest: +SKIP
    """
    check_one_of("method", method, TransferMethod)
    n_neighbors = check_whole("n_neighbors", n_neighbors, 1)
    alpha = check_inside("alpha", alpha, "[0, 1]")
    min_probability = check_inside("min_probability", min_probability, "[0, 1]")
    if not isinstance(unknown, str):
        raise ValueError(f"Expected unknown to be a text, found {unknown!r}.")
    known = _reference_activities(reference, query)
    obs = known.adata.obs
    check_columns(obs, [labels], "labels")
    has_label = labeled_cells(obs, [labels])
    given = _categories(obs[labels][has_label], labels, unknown)
    if known.mean.shape[1] < 2:
        raise ValueError(
            "Expected a reference with at least two programs, found one: all cells have the same "
            "activities, which say nothing of labels."
        )
    if not n_further_programs(reference, query):
        check_same_programs(reference, query)
    names, activities = _query_activities(reference, query)
    check_n_programs(known.mean.shape[1], activities.shape[1])
    p_value = None if query_fit is None else _p_values(query_fit, names)

    features = np.sqrt(known.mean[has_label])
    classifier = _classifier(method, n_neighbors, len(features))
    classifier.fit(features, given.codes)
    probability = np.zeros((len(names), len(given.categories)))
    if len(names):
        probability[:, classifier.classes_] = classifier.predict_proba(np.sqrt(activities))

    best = probability.argmax(1)
    table = pd.DataFrame(index=names)
    is_unknown = probability.max(1) < min_probability
    if p_value is not None:
        is_unknown |= ~(p_value >= alpha)
    categories = given.categories
    everything = pd.Index([*categories, unknown])
    table["label"] = pd.Categorical(
        everything[np.where(is_unknown, len(categories), best)], categories=everything
    )
    table["predicted"] = pd.Categorical(categories[best], categories=categories)
    table["probability"] = probability.max(1)
    if p_value is not None:
        table["p_value"] = p_value
    for i, name in enumerate(categories):
        table[f"probability_{name}"] = probability[:, i]
    return table


def _categories(values: pd.Series, labels: str, unknown: str) -> pd.Categorical:
    """Labels as text categories, in their order; those without cells are dropped."""
    given = values.astype("category").cat.remove_unused_categories()
    names = [str(name) for name in given.cat.categories]
    repeated = pd.Index(names)[pd.Index(names).duplicated()]
    if len(repeated):
        raise ValueError(
            f"Expected labels of different text in reference.obs[{labels!r}], found two that are "
            f"{repeated[0]!r}, such as a number and its text. Convert them, .astype(str)."
        )
    given = given.cat.rename_categories(names)
    if len(names) < 2:
        raise ValueError(
            f"Expected labels of at least two kinds in reference.obs[{labels!r}], found "
            f"{names[0]!r} alone. Use another column."
        )
    if unknown in names:
        raise ValueError(
            f"Expected unknown to be no label of reference.obs[{labels!r}], found {unknown!r}. "
            "Pass another name."
        )
    return pd.Categorical(given)


def _reference_activities(reference: Any, query: Any) -> CellActivities:
    """Activities of the reference cells, on the programs of the query if it has more."""
    if n_further_programs(reference, query) and reference.adata is not None:
        adata = reference._data(None)
        table = query.get_cell_activities(adata)
        return CellActivities(list(table.columns), table.to_numpy(np.float64), None, adata)
    return cell_activities(reference, "reference")


def _query_activities(reference: Any, query: Any) -> tuple[pd.Index, np.ndarray]:
    """Names and activities of the query cells."""
    is_model = hasattr(query, "get_cell_activities")
    if not is_model:
        check_anndata(query, "query")
        if ACTIVITY_SLOT not in query.obsm and hasattr(reference, "get_cell_activities"):
            table = reference.get_cell_activities(query)
            return query.obs_names, table.to_numpy(np.float64)
    found = cell_activities(query, "query")
    return found.adata.obs_names, found.mean


def _p_values(query_fit: pd.DataFrame, names: pd.Index) -> np.ndarray:
    """P values in the order of the query cells."""
    if not isinstance(query_fit, pd.DataFrame) or "p_value" not in query_fit:
        raise TypeError(
            "Expected query_fit to be a table with a column 'p_value', as tl.query_fit returns, "
            f"found a {type(query_fit).__name__}."
        )
    if not query_fit.index.is_unique:
        raise ValueError("Expected query_fit to have each cell once, found repeated names.")
    rows = query_fit.index.get_indexer(names)
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        raise ValueError(
            f"Expected query_fit to have all {len(names)} query cells, found {len(missing)} "
            f"missing, the first of them {names[missing[0]]!r}. Compute it for the same cells."
        )
    values: np.ndarray = query_fit["p_value"].to_numpy(np.float64)[rows]
    return values


def _classifier(method: TransferMethod, n_neighbors: int, n_cells: int) -> Any:
    """Classifier of scikit-learn."""
    if method == "logistic":
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    from sklearn.neighbors import KNeighborsClassifier

    if n_neighbors > n_cells:
        raise ValueError(
            f"Expected n_neighbors to be at most the number of reference cells with a label, "
            f"{n_cells}, found {n_neighbors}. Use a smaller one."
        )
    return KNeighborsClassifier(n_neighbors)
