"""How many programs: held-out log-likelihood and stability over numbers and seeds."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scvi.utils import track

from leafletfa_scvi._arguments import check_anndata, check_whole
from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi._warnings import UnsettledWarning
from leafletfa_scvi.model import LeafletFAModel
from leafletfa_scvi.ops import drawing
from leafletfa_scvi.tl._holdout import evaluate_holdout, holdout_splicing
from leafletfa_scvi.tl._stability import Fit, check_share, compare_fits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from leafletfa_scvi.tl._holdout import SplicingHoldout

_DTYPES = {"n_programs": int, "seed": int, "n_entries": int, "settled": bool}
_OWN_MODEL_ARGUMENTS = {"adata", "n_programs", "registry"}


@dataclass(frozen=True)
class ProgramSelection:
    """Result of :func:`select_n_programs`, drawn by :func:`leafletfa_scvi.pl.n_programs`.

    Attributes
    ----------
    n_programs
        Recommended number of programs K: the smallest whose mean held-out log-likelihood gain is
        within one standard error of the best one's.
    note
        What there is to know about it, in sentences.
    summary
        One row for each K: ``log_likelihood_gain`` (mean over seeds), ``se`` (standard error of
        it, NaN for one seed), ``stability`` (mean matched correlation over pairs of seeds, NaN for
        one), ``n_reproducible`` (programs found again in most seeds) and ``recommended``.
    scores
        One row for each K and seed, as :func:`evaluate_holdout` scores all hidden entries, with
        ``stability`` (of this fit with those of other seeds), ``settled`` (whether training had
        come to an end, for which ``train`` warns otherwise) and ``seconds``.
    threshold
        Least matched correlation that counts as found again.
    """

    n_programs: int
    note: str
    summary: pd.DataFrame = field(repr=False)
    scores: pd.DataFrame = field(repr=False)
    threshold: float


def select_n_programs(
    adata: AnnData,
    n_programs: Iterable[int] = range(2, 17, 2),
    *,
    n_seeds: int = 3,
    fraction: float = 0.1,
    method: Literal["em", "svi"] = "em",
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
    atse_key: str | None = ATSE_KEY,
    model_kwargs: Mapping[str, Any] | None = None,
    train_kwargs: Mapping[str, Any] | None = None,
    threshold: float = 0.7,
    seed: int = 0,
    progress: bool = True,
) -> ProgramSelection:
    """Fit several numbers of programs, and compare them on entries that training did not see.

    For each seed a share of the (cell, ATSE) pairs is hidden, all junctions of an ATSE together,
    and a model of each K is fitted to the rest. With too few programs hidden reads are predicted
    badly for want of programs, with too many for fitting noise. Programs that are the same over
    seeds, which change hidden pairs and start together, are no accident of either; as splits share
    most of their reads, and with them noise, that alone does not make them true.

    Parameters
    ----------
    adata
        Splicing data set; left as it is.
    n_programs
        Numbers of programs K to try, each between 1 and the number of cells.
    n_seeds
        Splits, each with a start of its own; every K has the same ones. At least 2 for stability
        and standard errors.
    fraction
        Share of pairs to hide, above 0 and below 1.
    method
        As in :meth:`LeafletFAModel.train <leafletfa_scvi.LeafletFAModel.train>`: ``"em"``, a
        point estimate in seconds, or ``"svi"``, the posterior.
    junction_layer, cluster_layer, atse_key
        As in :meth:`LeafletFAModel.setup_anndata <leafletfa_scvi.LeafletFAModel.setup_anndata>`.
    model_kwargs, train_kwargs
        Further arguments of the model and of its ``train``, the same for every fit.
    threshold
        Least matched correlation that counts as found again, see :func:`program_stability`.
    seed
        Whole number from 0: the first of ``n_seeds`` successive seeds of splits and starts. The
        same seed gives the same result (on the CPU); random states are left as they were.
    progress
        Show a progress bar.

    Returns
    -------
    ProgramSelection
        ``n_programs``, the recommendation, is a suggestion: the curve of ``summary`` is often
        flat, and a K somewhat larger with reproducible programs is as good a choice.

    Raises
    ------
    ValueError, TypeError
        An argument is out of range or of the wrong kind, or cell names are not unique; found
        before the first fit.
    TypeError, KeyError, ValueError
        The data break the contract, see :meth:`setup_anndata
        <leafletfa_scvi.LeafletFAModel.setup_anndata>`.

    Notes
    -----
    The rule of one standard error is that of Breiman et al. (1984), Classification and Regression
    Trees; hiding entries to choose the number of factors that of bi-cross-validation, Owen and
    Perry (2009), Annals of Applied Statistics 3.

    Examples
    --------
    >>> import leafletfa_scvi as lfa
    >>> adata = lfa.datasets.simulate_splicing(n_cells=300, n_programs=4)
    >>> result = lfa.tl.select_n_programs(adata, range(2, 8))
    >>> result.n_programs
    >>> lfa.pl.n_programs(result)
    """
    numbers = _numbers(n_programs)
    n_seeds, seed = check_whole("n_seeds", n_seeds, 1), check_whole("seed", seed, 0)
    threshold, fraction = check_share("threshold", threshold), check_share("fraction", fraction)
    if method not in ("em", "svi"):
        raise ValueError(f"Expected method 'em' or 'svi', found {method!r}.")
    options = _options("model_kwargs", model_kwargs, _OWN_MODEL_ARGUMENTS)
    training = _options("train_kwargs", train_kwargs, {"self", "method"})
    layers: dict[str, Any] = {
        "junction_layer": junction_layer,
        "cluster_layer": cluster_layer,
        "atse_key": atse_key,
    }
    _check_cells(adata, numbers)
    training = {"method": method, "enable_progress_bar": False, **training}

    rows: list[pd.Series] = []
    fits: dict[int, dict[int, Fit]] = {k: {} for k in numbers}
    tasks = [(s, k) for s in range(seed, seed + n_seeds) for k in numbers]
    split, split_seed = None, None
    for s, k in track(tasks, description="Fitting", style="tqdm", disable=not progress):
        if split is None or split_seed != s:
            split = None  # frees the last one first
            split, split_seed = holdout_splicing(adata, fraction, seed=s, **layers), s
        with _seeded(s):
            score, fits[k][s] = _fit(split, k, layers, options, training)
        rows.append(pd.concat([pd.Series({"n_programs": k, "seed": s}), score]))
    scores = pd.DataFrame(rows).astype(_DTYPES)
    scores = scores.sort_values(["n_programs", "seed"], ignore_index=True)
    return _result(scores, fits, threshold)


def _fit(
    split: SplicingHoldout,
    n_programs: int,
    layers: Mapping[str, Any],
    options: Mapping[str, Any],
    training: Mapping[str, Any],
) -> tuple[pd.Series, Fit]:
    """Scores of one fit on the hidden entries, and what of it is compared over seeds."""
    with warnings.catch_warnings():
        # What there is to say of the user's data has been said when they were split.
        warnings.simplefilter("ignore", UserWarning)
        LeafletFAModel.setup_anndata(split.training, **layers)
    started = time.perf_counter()
    model = LeafletFAModel(split.training, n_programs, **options)
    try:
        settled = _train(model, training)
        seconds = time.perf_counter() - started
        score = evaluate_holdout(model, split.hidden, bins=None).loc["all"]
        found = Fit(model.get_splicing_programs(), model._trained_activities())
    finally:
        model.deregister_manager(split.training)  # scvi would hold on to it for good
    return pd.concat([score, pd.Series({"settled": settled, "seconds": seconds})]), found


def _train(model: LeafletFAModel, training: Mapping[str, Any]) -> bool:
    """Train, and return whether that had come to an end, instead of a warning for each fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnsettledWarning)
        model.train(**training)
    others = [w for w in caught if not issubclass(w.category, UnsettledWarning)]
    for w in others:
        warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    return len(others) == len(caught)


def _result(
    scores: pd.DataFrame, fits: Mapping[int, Mapping[int, Fit]], threshold: float
) -> ProgramSelection:
    by_number = scores.groupby("n_programs")["log_likelihood_gain"]
    summary = pd.DataFrame({"log_likelihood_gain": by_number.mean(), "se": by_number.sem()})
    stability, reproducible = {}, {}
    scores.insert(len(scores.columns) - 2, "stability", np.nan)
    for k, found in fits.items():
        if len(found) < 2:
            continue
        result = compare_fits(found, threshold=threshold, min_share=0.75)
        stability[k], reproducible[k] = result.score, result.n_reproducible
        others = (result.pairs.sum(axis=1) - 1.0) / (len(found) - 1)
        at = scores["n_programs"] == k
        scores.loc[at, "stability"] = scores.loc[at, "seed"].map(others)
    summary["stability"] = pd.Series(stability, dtype=float)
    summary["n_reproducible"] = pd.Series(reproducible, dtype="Int64")
    chosen = recommended(summary)
    summary["recommended"] = summary.index == chosen
    note = _note(summary, chosen)
    early = len(scores) - int(scores["settled"].sum())
    if early:
        note += (
            f" {early} of {len(scores)} fits had not come to an end: raise em_iterations or "
            "max_epochs in train_kwargs."
        )
    return ProgramSelection(chosen, note, summary, scores, threshold)


def recommended(summary: pd.DataFrame) -> int:
    """Smallest K whose gain is within one standard error of the best one's.

    Parameters
    ----------
    summary
        By K, rising: columns ``log_likelihood_gain`` and ``se``, NaN where unknown.
    """
    gain = summary["log_likelihood_gain"]
    best = gain.idxmax()
    error = summary["se"].loc[best]
    least = gain.loc[best] - (0.0 if np.isnan(error) else error)
    return int(gain.index[gain >= least][0])


def _note(summary: pd.DataFrame, chosen: int) -> str:
    """What a user should know about the recommendation."""
    gain, stability = summary["log_likelihood_gain"], summary["stability"]
    best = gain.idxmax()
    said = f"K = {chosen} is the smallest within one standard error of the best, K = {best}."
    if np.isnan(summary["se"].loc[best]):
        said = f"K = {chosen} is the best; with one seed there is neither error nor stability."
    elif chosen == best:
        said = f"K = {chosen} is the best, and no smaller one is within one standard error of it."
    parts = [said]
    if gain.loc[best] <= 0:
        parts.append(
            "No K predicts hidden reads better than the junctions' means do: the data show no "
            "programs."
        )
    if len(gain) > 1 and chosen == gain.index[-1]:
        parts.append("It is the largest tried: try larger ones.")
    elif len(gain) > 1 and chosen == gain.index[0] and chosen > 1:
        parts.append("It is the smallest tried: try smaller ones.")
    if not np.isnan(stability.loc[chosen]):
        number = summary["n_reproducible"].loc[chosen]
        parts.append(
            f"Over seeds {number} of its {chosen} programs are reproducible, with a mean matched "
            f"correlation of {stability.loc[chosen]:.2f}."
        )
        full = summary.index[(summary["n_reproducible"] == summary.index).fillna(False)]
        if number < chosen and len(full):
            parts.append(f"The largest K with all programs reproducible is {full[-1]}.")
    return " ".join(parts)


def _numbers(n_programs: Any) -> list[int]:
    if isinstance(n_programs, (str, bytes)) or not isinstance(n_programs, Iterable):
        raise TypeError(
            f"Expected n_programs as several numbers, such as range(2, 17, 2), found "
            f"{n_programs!r}."
        )
    numbers = [check_whole("each of n_programs", k, 1) for k in n_programs]
    if not numbers:
        raise ValueError("Expected n_programs with at least one number, found none.")
    twice = sorted({k for k in numbers if numbers.count(k) > 1})
    if twice:
        raise ValueError(f"Expected each of n_programs once, found {twice[0]} more often.")
    return sorted(numbers)


def _options(name: str, given: Mapping[str, Any] | None, ours: set[str]) -> dict[str, Any]:
    """Keyword arguments without those that are set here."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"Expected {name} to be a mapping, found a {type(given).__name__}.")
    taken = sorted(ours & set(given or {}))
    if taken:
        raise ValueError(f"{name} holds {taken[0]!r}, which select_n_programs sets itself.")
    return dict(given or {})


def _check_cells(adata: AnnData, numbers: list[int]) -> None:
    n_cells = check_anndata(adata).n_obs
    if numbers[-1] > n_cells:
        raise ValueError(
            f"Expected n_programs between 1 and the number of cells ({n_cells}), found "
            f"{numbers[-1]}."
        )
    if not adata.obs_names.is_unique:
        raise ValueError(
            "Expected unique cell names, by which hidden entries find their cell: call "
            "adata.obs_names_make_unique()."
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global random states, no other thread drawing, and give them back as they were."""
    with drawing(seed):
        numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what callbacks of a user may draw from
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
