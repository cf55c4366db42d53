"""Activity of splicing factors in cells, from networks of junctions or events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.special import logit

from leafletfa_scvi._arguments import check_one_of, check_whole
from leafletfa_scvi._name_index import name_index
from leafletfa_scvi.model._cells import cell_posterior
from leafletfa_scvi.model._expected import expected_blocks
from leafletfa_scvi.tl._networks import (
    Scorer,
    import_decoupler,
    read_network,
    restrict_network,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from leafletfa_scvi.model import LeafletFAModel

_Method = Literal["ulm", "mlm", "zscore"]
_BLOCK = 1 << 23
"""Number of PSI values computed at a time."""
_MIN_PSI = 0.01
_FORMS = (("inclusion_junctions", 0.5), ("exclusion_junctions", -0.5))


def factor_activity(
    model: LeafletFAModel,
    net: pd.DataFrame,
    method: _Method = "ulm",
    *,
    adata: AnnData | None = None,
    events: pd.DataFrame | None = None,
    source: str = "source",
    target: str = "target",
    weight: str = "weight",
    shrink: bool = True,
    min_targets: int = 5,
    **kwargs: Any,
) -> pd.DataFrame:
    """Estimate the activity of splicing factors in each cell from the splicing of their targets.

    A factor is active in a cell if junctions with positive weights have a higher PSI there than
    in the mean of the cells, and junctions with negative weights a lower one. PSI are those that
    the model expects (imputed where a cell has no reads), on the logit scale, minus the mean over
    cells. Scores are those of decoupler (``pip install "leafletfa-scvi[enrichment]"``), with all
    junctions (events) as the background; nothing is downloaded.

    Parameters
    ----------
    model
        Trained model.
    net
        Factors (sources) and their junctions or events (targets), in long form: one row per pair,
        with a signed weight: positive where the factor raises PSI.
    method
        Method of decoupler: univariate (``"ulm"``) or multivariate (``"mlm"``, if factors share
        targets) linear model, or z-score (``"zscore"``).
    adata
        Cells, as in :meth:`~leafletfa_scvi.LeafletFAModel.get_cell_activities`. If None, the
        training cells.
    events
        Events, from :func:`~leafletfa_scvi.pp.find_local_events` or of your own: text columns
        ``inclusion_junctions`` and ``exclusion_junctions``, names of junctions joined by ``,``;
        targets are names in its index, which are unique (set another column, such as ``exons``,
        as the index for its names). The value of an event is half the difference of the mean
        logit PSI of the two forms, its own logit PSI if it has one junction each. If None, targets
        are names of junctions. An ATSE has no direction: name a junction of it.
    source, target, weight
        Names of columns of ``net``. Without a column ``"weight"``, all weights are 1.
    shrink
        Combine expected PSI with the cell's own reads, as in
        :meth:`~leafletfa_scvi.LeafletFAModel.get_normalized_splicing`.
    min_targets
        Minimum number of targets of a factor in the data; others are left out.
    **kwargs
        Further arguments of decoupler's method.

    Returns
    -------
    DataFrame
        Cells x factors, float64; a valid entry of ``adata.obsm``. Scores of ``"ulm"`` and
        ``"mlm"`` are t-values over junctions. Junctions of an ATSE are not independent, so
        compare scores between cells, and do not take p-values from them.

    Raises
    ------
    ImportError
        decoupler is not installed.
    KeyError
        ``net`` or ``events`` lack a column, or ``events`` name a junction that the model lacks.
    ValueError
        No target of ``net`` is in the data, no factor has ``min_targets``, ``net`` has missing
        values or repeated pairs, or there are fewer than two cells.

    Notes
    -----
    Computed in two passes over blocks of cells with about 8 million values, so that memory does
    not grow with cells x junctions.

    References
    ----------
    decoupler: Badia-i-Mompel et al., *Bioinformatics Advances* 2, vbac016 (2022).

    Examples
    --------
    >>> adata.obsm["factor_activity"] = factor_activity(model, net)  # doctest: +SKIP
    """
    check_one_of("method", method, _Method)
    check_whole("min_targets", min_targets, 1)
    network = read_network(net, source, target, weight)
    import_decoupler()
    names = name_index(model.junction_names)
    combine, others = None, {}
    if events is not None:
        combine = _event_weights(events, names)
        others = {"leave out events": names}
        names = events.index.astype(str)
    elif model.atse_labels_ is not None:
        atses = pd.Index(model.atse_labels_)
        others = {"they are ATSE ids, which have no direction; name a junction of each": atses}
    what = "junctions of the model" if events is None else "events"
    network = restrict_network(network, names, min_targets, what, others)
    scorer = Scorer(method, network, names, kwargs)

    cells = cell_posterior(model, adata, None)
    if len(cells.names) < 2:
        raise ValueError(
            "Expected at least two cells, whose PSI are compared with their mean, found "
            f"{len(cells.names)}."
        )
    psi, kappa = model.module.programs().detach().cpu(), None
    if shrink and model.module.site_mean("kappa") is not None:
        kappa = model.get_concentrations().to_numpy(np.float32)

    def values() -> Iterator[tuple[slice, np.ndarray]]:
        for rows, expected in expected_blocks(cells, psi, kappa, _BLOCK):
            yield rows, logit(expected.astype(np.float64).clip(_MIN_PSI, 1.0 - _MIN_PSI))

    mean = sum(block.sum(0) for _, block in values()) / len(cells.names)
    index, parts = name_index(cells.names), []
    for rows, block in values():
        block -= mean
        if combine is not None:
            block = block @ combine
        parts.append(scorer(block, index[rows]).score)
    scores = pd.concat(parts)
    scores.columns.name = None
    return scores


def _event_weights(events: pd.DataFrame, junctions: pd.Index) -> sp.csr_matrix:
    """Weights ``(P, E)`` of the logit PSI of junctions in the value of each event."""
    if not events.index.is_unique:
        repeated = events.index[events.index.duplicated()][0]
        raise ValueError(f"Expected unique names in events.index, found {repeated!r} twice.")
    rows, columns, values = [], [], []
    for column, sign in _FORMS:
        if column not in events:
            raise KeyError(
                f"Expected a column {column!r} in events, found {list(events.columns)}. Make "
                "the table with lfa.pp.find_local_events."
            )
        parts = events[column].astype(str).str.split(",")
        size = parts.map(len).to_numpy(np.int64)
        event = np.repeat(np.arange(len(events)), size)
        names = pd.Index(parts.explode().to_numpy(object))
        row = junctions.get_indexer(names)
        if (row < 0).any():
            i = int((row < 0).argmax())
            raise KeyError(
                f"Expected junctions of the model in events[{column!r}], found {names[i]!r} of "
                f"event {events.index[event[i]]!r} ({(row < 0).sum()} in all). Drop such events."
            )
        rows.append(row)
        columns.append(event)
        values.append(sign / size[event])
    place = (np.concatenate(rows), np.concatenate(columns))
    return sp.csr_matrix((np.concatenate(values), place), shape=(len(junctions), len(events)))
