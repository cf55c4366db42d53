"""Hide whole ATSEs of cells from training, and score a model's predictions of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData

from leafletfa_scvi._arguments import check_anndata, check_inside, check_whole
from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, DATASET_SLOT, JUNCTION_LAYER
from leafletfa_scvi.data import atse_codes, holdout_mask, resolve_atse_key, splicing_data
from leafletfa_scvi.inference import junction_mean_psi
from leafletfa_scvi.likelihoods import Factors
from leafletfa_scvi.ops import split_by_batch
from leafletfa_scvi.tl._scores import BINS, fit_kappa, sample_entries, score_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leafletfa_scvi import LeafletFAModel
    from leafletfa_scvi.ops import Entries, ObservedEntries

_BLOCK = 1 << 17
"""Number of entries whose K terms are held in memory at a time."""


class SplicingHoldout(NamedTuple):
    """A data set split into entries for training and held-out entries.

    Attributes
    ----------
    training, hidden
        AnnData objects of the same cells and junctions, without common observed entries.
    """

    training: AnnData
    hidden: AnnData


class JunctionReference(NamedTuple):
    """Predictions that are the same for all cells.

    Attributes
    ----------
    psi
        ``(P,)`` mean PSI of each junction.
    kappa
        Their concentration.
    """

    psi: np.ndarray
    kappa: float


def holdout_splicing(
    adata: AnnData,
    fraction: float = 0.1,
    *,
    seed: int = 0,
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
    atse_key: str | None = ATSE_KEY,
) -> SplicingHoldout:
    """Hide whole ATSEs of cells, to evaluate predictions with :func:`evaluate_holdout`.

    Each observed (cell, ATSE) pair is hidden with probability ``fraction``, with all junctions of
    the ATSE in that cell, because the counts of the others would reveal a single hidden one. A
    cell that would lose all its pairs keeps one. A larger fraction hides a superset of the pairs.

    Parameters
    ----------
    adata
        Splicing data set in memory, or a view of one; not modified.
    fraction
        Share of pairs to hide, in (0, 1).
    seed
        Non-negative integer; the same seed hides the same pairs.
    junction_layer, cluster_layer
        Layers of junction counts and of ATSE totals.
    atse_key
        Column of ``adata.var`` with ATSE labels. The default column is optional; without labels,
        entries are hidden independently, with a warning.

    Returns
    -------
    SplicingHoldout
        ``training`` and ``hidden``. In both, the two layers are CSR matrices on the pattern of
        their observed entries (zero junction counts are stored) with the dtypes of ``adata``;
        ``X`` contains the junction counts as float32. ``obs``, ``var``, ``uns``, ``obsm`` and
        ``varm`` are copied, without the registration of scvi-tools; other layers, ``raw`` and
        pairwise slots are dropped, because they may reveal hidden reads.
        ``uns["splicing"]["holdout"]`` records the split.

    Raises
    ------
    TypeError, KeyError, ValueError
        ``adata`` violates the data contract (see :meth:`LeafletFAModel.setup_anndata
        <leafletfa_scvi.LeafletFAModel.setup_anndata>`) or is backed, an argument is out of range,
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
    fraction, seed = check_inside("fraction", fraction), check_whole("seed", seed, 0)
    if check_anndata(adata).isbacked:
        raise ValueError(
            "Expected an AnnData in memory, found a backed one. Use adata.to_memory()."
        )
    if adata.is_view:
        adata = adata.copy()
    entries = splicing_data(adata, junction_layer, cluster_layer, atse_key)
    key = resolve_atse_key(adata, atse_key)
    if key is None:
        warnings.warn(
            "Without ATSE labels, other junctions of the ATSE of a hidden entry stay in training, "
            "and the evaluation is too optimistic. Name the column of labels: "
            "holdout_splicing(adata, atse_key=...).",
            UserWarning,
            stacklevel=2,
        )
    codes = None if key is None else atse_codes(adata, key)[0]
    mask = holdout_mask(entries, codes, fraction, seed)
    n_hidden = int(mask.sum())
    if n_hidden == 0:
        raise ValueError(
            f"Expected a fraction that hides at least one (cell, ATSE) pair, found {fraction} "
            f"for {entries.n_entries} observed entries. Use a larger one."
        )
    layers = junction_layer, cluster_layer
    record = {"fraction": fraction, "seed": seed, "n_hidden_entries": n_hidden}
    return SplicingHoldout(
        _part(adata, entries.keep(~mask), layers, {"part": "training", **record}),
        _part(adata, entries.keep(mask), layers, {"part": "hidden", **record}),
    )


def evaluate_holdout(
    model: LeafletFAModel, hidden: AnnData, *, bins: Sequence[int] | None = BINS
) -> pd.DataFrame:
    """Score a model's predictions of held-out entries.

    The PSI of an entry is predicted as ``p = phi psi`` with the activities of the cell from
    training; nothing is fitted to the hidden counts. The reference is the mean PSI of each
    junction over the training entries (:func:`leafletfa_scvi.inference.junction_mean_psi`), with
    one concentration of maximum likelihood on these entries. It depends only on the split, so that
    gains of different models on the same split are comparable.

    Parameters
    ----------
    model
        A model trained on the ``training`` part of :func:`holdout_splicing`. If it was saved
        without data, load it with ``LeafletFAModel.load(path, adata=training)``.
    hidden
        The ``hidden`` part, or some of its cells. Cells are matched to the training cells by
        name.
    bins
        Lowest ATSE total of each bin of coverage, ascending. If None, bins are omitted.

    Returns
    -------
    pandas.DataFrame
        A row ``"all"`` and one for each bin of the ATSE total n: by default ``"1-4"``, ``"5-9"``,
        ``"10-19"``, ``"20-49"``, ``"50+"``; NaN if a bin is empty. Columns:

        - ``n_entries``: number of hidden entries;
        - ``log_likelihood``: mean over entries in nats, including the binomial coefficient;
          beta-binomial with the model's concentration of the junction, or binomial. For
          ``likelihood="dirichlet-multinomial"``, this is the marginal distribution of a junction,
          so that all likelihoods are comparable;
        - ``log_likelihood_gain``: difference to the log-likelihood of the reference;
        - ``pearson``, ``spearman``: correlation of observed PSI, y / n, and p;
        - ``pearson_deviation``, ``spearman_deviation``: correlation of their deviations from the
          junction means, which measures predictions about cells rather than junctions;
        - ``l1``, ``rmse``: mean absolute and root mean squared difference of y / n and p.

    Raises
    ------
    RuntimeError
        The model is not trained.
    TypeError
        ``hidden`` is not an AnnData.
    ValueError
        Junctions differ, a cell is not a training cell, a hidden entry was used in training, the
        model contains no data, or ``hidden`` contains no entry or violates the data contract.
    """
    return score_holdout(model, hidden, bins)


def score_holdout(
    model: LeafletFAModel,
    hidden: AnnData,
    bins: Sequence[int] | None,
    reference: JunctionReference | None = None,
) -> pd.DataFrame:
    """Score a model as :func:`evaluate_holdout` does.

    Parameters
    ----------
    model, hidden, bins
        As of :func:`evaluate_holdout`.
    reference
        Reference of the split, by :func:`junction_reference`; None to compute it.
    """
    if not hasattr(model, "_training_entries"):
        raise TypeError(f"Expected model to be a LeafletFAModel, found a {type(model).__name__}.")
    model._require_trained()
    if isinstance(hidden, SplicingHoldout):
        raise TypeError(
            "Expected hidden to be an AnnData, found a SplicingHoldout. Pass its .hidden."
        )
    check_anndata(hidden)
    training = model._training_entries().to("cpu")
    cells = _trained_cells(model, hidden)
    with warnings.catch_warnings():
        # Held-out data are sparse by construction; warnings about that would mislead.
        warnings.simplefilter("ignore", UserWarning)
        entries, _ = model._read_entries(hidden)
    _check_hidden(model, training, entries, cells)
    if reference is None:
        reference = junction_reference(training)
    column = entries.column.numpy()
    return score_predictions(
        entries.count.numpy(),
        entries.total.numpy(),
        _predicted(model, entries, cells),
        reference.psi[column],
        model.get_concentrations().to_numpy()[column],
        reference.kappa,
        bins=bins,
    )


def junction_reference(training: ObservedEntries) -> JunctionReference:
    """Compute the mean PSI of each junction, and one concentration of maximum likelihood."""
    training = training.to("cpu")
    psi = junction_mean_psi(training).numpy().astype(np.float64)
    sample = sample_entries(training.n_entries)
    y, n = (x.numpy()[sample].astype(np.float64) for x in (training.count, training.total))
    return JunctionReference(psi, fit_kappa(y, n, psi[training.column.numpy()[sample]]))


def _part(
    adata: AnnData, entries: ObservedEntries, layers: tuple[str, str], record: dict[str, Any]
) -> AnnData:
    """Return ``adata`` with only the given observed entries."""

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
    """Return the position of each cell of ``hidden`` among the training cells."""
    names = hidden.obs_names.astype(str)
    positions = pd.Index(model.cell_names_).get_indexer(names)
    unknown = np.flatnonzero(positions < 0)
    if len(unknown):
        raise ValueError(
            "Expected all cells of hidden to be training cells, found "
            f"{len(unknown)} of {len(names)} that are not, the first of them "
            f"{names[unknown[0]]!r}. Train on the training part of the same split, or pass "
            "training cells only."
        )
    return torch.from_numpy(positions)


def _check_hidden(
    model: LeafletFAModel,
    training: ObservedEntries,
    entries: ObservedEntries,
    cells: torch.Tensor,
) -> None:
    """Check that no hidden entry was used in training."""
    for rows, block in entries.blocks(_BLOCK):
        in_training = training.select(cells[rows])
        key, trained = (x.rows() * x.n_junctions + x.column for x in (block, in_training))
        leaked = torch.isin(key, trained, assume_unique=True)
        if bool(leaked.any()):
            row, junction = divmod(int(key[leaked][0]), block.n_junctions)
            raise ValueError(
                "Expected entries of hidden to be held out, found some that the model was "
                "trained on, the first of them cell "
                f"{model.cell_names_[cells[rows.start + row]]!r} and junction "
                f"{model.junction_names[junction]!r}. Train the model on the training part of "
                "holdout_splicing."
            )


def _predicted(model: LeafletFAModel, entries: ObservedEntries, cells: torch.Tensor) -> np.ndarray:
    """Return the expected PSI of each entry, ``(nnz,)`` float64, given the training activities."""
    phi = torch.from_numpy(model._trained_activities().to_numpy()).double()[cells]
    by_batch = model.module.programs_by_batch()
    programs = model.module.programs() if by_batch is None else by_batch.flatten(0, 1)
    psi = programs.detach().cpu().double()
    out = np.empty(entries.n_entries)
    for rows, block in entries.blocks(_BLOCK):
        first = int(entries.indptr[rows.start])
        own: Entries = block
        if by_batch is not None and block.batch is not None:
            own = split_by_batch(block, block.batch, len(by_batch))
        p, _ = Factors(phi[rows], psi).probability(own)
        out[first : first + block.n_entries] = p.numpy()
    return out
