"""Hide whole ATSEs of cells from training, and see how well a model predicts them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import deepcopy
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, DATASET_SLOT, JUNCTION_LAYER
from leafletfa_scvi.data import atse_codes, holdout_mask, resolve_atse_key, splicing_data
from leafletfa_scvi.inference import junction_usage
from leafletfa_scvi.ops import entry_probability
from leafletfa_scvi.tl._scores import BINS, fit_kappa, score_predictions, some_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leafletfa_scvi import LeafletFAModel
    from leafletfa_scvi.ops import ObservedEntries

_BLOCK = 1 << 17
"""Entries whose K terms are held at a time."""


class SplicingHoldout(NamedTuple):
    """A data set in two parts: entries to train on, and those hidden from training.

    Attributes
    ----------
    training, hidden
        The same cells and junctions; no observed entry is in both.
    """

    training: AnnData
    hidden: AnnData


def holdout_splicing(
    adata: AnnData,
    fraction: float = 0.1,
    *,
    seed: int = 0,
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
    atse_key: str | None = ATSE_KEY,
) -> SplicingHoldout:
    """Hide whole ATSEs of cells, to evaluate imputation with :func:`evaluate_holdout`.

    Each observed (cell, ATSE) pair is hidden with probability ``fraction``, all junctions of the
    ATSE in that cell together: one that stayed would tell the reads of the others. A cell that
    would lose all its pairs keeps one. A larger fraction hides more of the same pairs.

    Parameters
    ----------
    adata
        Splicing data set in memory, or a view of one; left as it is.
    fraction
        Share of pairs to hide, above 0 and below 1.
    seed
        Whole number from 0; the same seed hides the same pairs.
    junction_layer, cluster_layer
        Layers of junction counts and of ATSE totals.
    atse_key
        Column of ``adata.var`` with ATSE labels. The default is used where it is there. Without
        labels each entry is hidden by itself, with a warning.

    Returns
    -------
    SplicingHoldout
        ``training`` and ``hidden``. In both, the two layers are CSR on the pattern of their
        observed entries, zeros of junction counts stored, with the dtypes of ``adata``; ``X`` has
        the junction counts as float32. ``obs``, ``var``, ``uns``, ``obsm`` and ``varm`` are
        copies, without what scvi-tools keeps to know registered data by; other layers, ``raw``
        and pairwise slots, which may tell of hidden reads, are left out.
        ``uns["splicing"]["holdout"]`` records the split.

    Raises
    ------
    TypeError, KeyError, ValueError
        ``adata`` breaks the data contract (see :meth:`LeafletFAModel.setup_anndata
        <leafletfa_scvi.LeafletFAModel.setup_anndata>`) or is on disk, an argument is out of range,
        or no pair is hidden.

    Examples
    --------
    >>> import leafletfa_scvi as lfa
    >>> adata = lfa.datasets.simulate_splicing(n_cells=100, n_atses=50, n_programs=3)
    >>> training, hidden = lfa.tl.holdout_splicing(adata, 0.1)
    >>> reads = "cell_by_junction_matrix"
    >>> bool((training.layers[reads] + hidden.layers[reads] != adata.layers[reads]).nnz)
    False
    """
    is_number = isinstance(fraction, Real) and not isinstance(fraction, bool)
    if not is_number or not 0 < fraction < 1:
        raise ValueError(f"Expected fraction above 0 and below 1, found {fraction!r}.")
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"Expected seed to be a whole number from 0, found {seed!r}.")
    if check_anndata(adata).isbacked:
        raise ValueError(
            "Expected an AnnData in memory, found one on disk: use adata.to_memory()."
        )
    if adata.is_view:
        adata = adata.copy()
    entries = splicing_data(adata, junction_layer, cluster_layer, atse_key)
    key = resolve_atse_key(adata, atse_key)
    if key is None:
        warnings.warn(
            "No ATSE labels are used, so each hidden entry leaves other junctions of its ATSE in "
            "training, and the evaluation is too favourable: name their column, "
            "holdout_splicing(adata, atse_key=...).",
            UserWarning,
            stacklevel=2,
        )
    codes = None if key is None else atse_codes(adata, key)[0]
    mask = holdout_mask(entries, codes, fraction, int(seed))
    n_hidden = int(mask.sum())
    if n_hidden == 0:
        raise ValueError(
            f"fraction={fraction} hides no (cell, ATSE) pair of {entries.n_entries} observed "
            "entries: choose a larger one."
        )
    layers = junction_layer, cluster_layer
    record = {"fraction": float(fraction), "seed": int(seed), "n_hidden_entries": n_hidden}
    return SplicingHoldout(
        _part(adata, entries.keep(~mask), layers, {"part": "training", **record}),
        _part(adata, entries.keep(mask), layers, {"part": "hidden", **record}),
    )


def evaluate_holdout(
    model: LeafletFAModel, hidden: AnnData, *, bins: Sequence[int] | None = BINS
) -> pd.DataFrame:
    """Score a model's predictions of entries that were hidden from its training.

    An entry's PSI is predicted as ``p = phi psi`` with the activities that the cell was given in
    training; nothing is fitted to the hidden counts. They are scored against the mean PSI of
    their junction over the training entries (:func:`leafletfa_scvi.inference.junction_usage`),
    whose single concentration is that of highest likelihood on these entries: a reference that
    depends on the split alone, so that gains of models of one split compare.

    Parameters
    ----------
    model
        A model trained on the ``training`` part of :func:`holdout_splicing`. One that was loaded
        without its data must be loaded with it, ``LeafletFAModel.load(path, adata=training)``.
    hidden
        The ``hidden`` part, or some of its cells: the model's junctions, cells known by their
        names among those trained on.
    bins
        First ATSE total of each bin of coverage, rising; None for all entries together alone.

    Returns
    -------
    pandas.DataFrame
        Row ``"all"`` and one for each bin of the ATSE total n: by default ``"1-4"``, ``"5-9"``,
        ``"10-19"``, ``"20-49"``, ``"50+"``; NaN where it is empty. Columns:

        - ``n_entries``: number of hidden entries;
        - ``log_likelihood``: per entry, in nats, beta-binomial with the model's concentration of
          the junction, or binomial, with the binomial coefficient. With
          ``likelihood="dirichlet-multinomial"`` too: it is each junction's marginal there, so
          that all likelihoods compare;
        - ``log_likelihood_gain``: by how much that is above the one of the junction means;
        - ``pearson``, ``spearman``: correlation of observed PSI, y / n, and p;
        - ``pearson_deviation``, ``spearman_deviation``: of their deviations from the junction
          means: what is predicted about cells, not about junctions;
        - ``l1``, ``rmse``: mean absolute and root mean squared difference of y / n and p.

    Raises
    ------
    RuntimeError
        The model is not trained.
    TypeError
        ``hidden`` is not an AnnData.
    ValueError
        Junctions differ, a cell is not one the model was trained on, a hidden entry was trained
        on, the model holds no data, ``hidden`` holds no entry or breaks the data contract.
    """
    if not hasattr(model, "_training_entries"):
        raise TypeError(f"Expected a LeafletFAModel, found a {type(model).__name__}.")
    model._require_trained()
    if isinstance(hidden, SplicingHoldout):
        raise TypeError("Expected an AnnData, found a SplicingHoldout: pass its .hidden.")
    check_anndata(hidden)
    training = model._training_entries().to("cpu")
    cells = _trained_cells(model, hidden)
    with warnings.catch_warnings():
        # That few entries are hidden is what was asked for.
        warnings.simplefilter("ignore", UserWarning)
        entries, _ = model._read_entries(hidden)
    _check_hidden(model, training, entries, cells)
    usage = junction_usage(training).numpy().astype(np.float64)
    some = some_entries(training.n_entries)
    y, n = (x.numpy()[some].astype(np.float64) for x in (training.count, training.total))
    mean_kappa = fit_kappa(y, n, usage[training.column.numpy()[some]])
    column = entries.column.numpy()
    return score_predictions(
        entries.count.numpy(),
        entries.total.numpy(),
        _predicted(model, entries, cells),
        usage[column],
        model.get_concentrations().to_numpy()[column],
        mean_kappa,
        bins=bins,
    )


def _part(
    adata: AnnData, entries: ObservedEntries, layers: tuple[str, str], record: dict[str, Any]
) -> AnnData:
    """``adata`` with some of its observed entries."""

    def matrix(values: torch.Tensor, dtype: Any) -> sp.csr_matrix:
        layout = (
            values.numpy().astype(dtype, copy=False),
            entries.column.numpy(),
            entries.indptr.numpy(),
        )
        return sp.csr_matrix(layout, shape=adata.shape, copy=True)

    part = AnnData(
        matrix(entries.count, np.float32),
        obs=adata.obs.copy(),
        var=adata.var.copy(),
        layers={
            name: matrix(x, adata.layers[name].dtype)
            for name, x in zip(layers, (entries.count, entries.total), strict=True)
        },
        uns={k: deepcopy(v) for k, v in adata.uns.items() if not str(k).startswith("_scvi")},
        obsm={k: deepcopy(v) for k, v in adata.obsm.items()},
        varm={k: deepcopy(v) for k, v in adata.varm.items()},
    )
    earlier = part.uns.get(DATASET_SLOT, {})
    if isinstance(earlier, Mapping):
        part.uns[DATASET_SLOT] = {**earlier, "holdout": record}
    return part


def _trained_cells(model: LeafletFAModel, hidden: AnnData) -> torch.Tensor:
    """Position of each cell of ``hidden`` among those the model was trained on."""
    names = hidden.obs_names.astype(str)
    known = pd.Index(model.cell_names_).get_indexer(names)
    unknown = np.flatnonzero(known < 0)
    if len(unknown):
        raise ValueError(
            f"{len(unknown)} of {len(names)} cells of hidden were not trained on, the first of "
            f"them {names[unknown[0]]!r}. Train on the training part of the same split, or pass "
            "the cells that the model knows."
        )
    return torch.from_numpy(known)


def _check_hidden(
    model: LeafletFAModel,
    training: ObservedEntries,
    entries: ObservedEntries,
    cells: torch.Tensor,
) -> None:
    """No hidden entry is one of those trained on."""
    for some, block in entries.blocks(_BLOCK):
        seen = training.select(cells[some])
        key, trained = (x.rows() * x.n_junctions + x.column for x in (block, seen))
        leaked = torch.isin(key, trained, assume_unique=True)
        if bool(leaked.any()):
            row, junction = divmod(int(key[leaked][0]), block.n_junctions)
            raise ValueError(
                "The model was trained on entries of hidden, the first of them cell "
                f"{model.cell_names_[cells[some.start + row]]!r} and junction "
                f"{model.junction_names[junction]!r}. Train it on the training part of "
                "holdout_splicing."
            )


def _predicted(model: LeafletFAModel, entries: ObservedEntries, cells: torch.Tensor) -> np.ndarray:
    """Expected PSI of each entry, ``(nnz,)`` float64, by the activities of training."""
    phi = torch.from_numpy(model._trained_activities().to_numpy()).double()[cells]
    psi = torch.from_numpy(model.get_splicing_programs().to_numpy()).double()
    out = np.empty(entries.n_entries)
    for some, block in entries.blocks(_BLOCK):
        first = int(entries.indptr[some.start])
        p, _ = entry_probability(block, phi[some], psi)
        out[first : first + block.n_entries] = p.numpy()
    return out
