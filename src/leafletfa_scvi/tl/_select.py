"""Choosing the number of programs by held-out log-likelihood and stability over seeds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata, check_inside, check_one_of, check_whole
from leafletfa_scvi._choices import TrainingMethod
from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi._warnings import IdentifiabilityWarning
from leafletfa_scvi.tl._holdout import holdout_splicing
from leafletfa_scvi.tl._program_fits import ProgramFits
from leafletfa_scvi.tl._stability import compare_fits
from leafletfa_scvi.tl._staged_fits import can_share

if TYPE_CHECKING:
    from anndata import AnnData

_MIN_REPRODUCIBLE = 0.5
"""Share of the programs of the recommended K that must be reproducible."""
_RESERVED_MODEL_ARGUMENTS = {"adata", "n_programs", "registry"}


@dataclass(frozen=True)
class ProgramSelection:
    """Result of :func:`select_n_programs`, drawn by :func:`leafletfa_scvi.pl.program_selection`.

    Attributes
    ----------
    n_programs
        Recommended number of programs K: the smallest one whose mean held-out log-likelihood gain
        is within one standard error of the best.
    note
        Explanation of the recommendation.
    summary
        One row for each K: ``log_likelihood_gain`` (mean over seeds), ``se`` (its standard error,
        NaN for one seed), ``stability`` (mean matched correlation over pairs of seeds, NaN for one
        seed), ``n_reproducible`` (programs reproduced in most seeds), ``recommended``, and
        ``stopped`` (True if a fit was stopped early; its gain is that at this point, and stability
        is not computed, as unfinished fits still resemble their starts).
    scores
        One row for each K and seed: scores of all held-out entries by :func:`evaluate_holdout`,
        ``stopped`` (early), ``stability`` (of this fit with those of other seeds), ``converged``
        and ``identified`` (False if ``train`` would warn that it is not; missing for fits that
        were stopped), ``seconds``, and ``settled``, the deprecated name of ``converged``.
    threshold
        Minimum matched correlation of a reproduced program.
    problems
        Why no number of programs can be trusted, one sentence each; empty if one can.
    """

    n_programs: int
    note: str
    summary: pd.DataFrame = field(repr=False)
    scores: pd.DataFrame = field(repr=False)
    threshold: float
    problems: tuple[str, ...] = ()


def select_n_programs(
    adata: AnnData,
    n_programs: Iterable[int] = range(2, 17, 2),
    *,
    n_seeds: int = 3,
    fraction: float = 0.1,
    method: TrainingMethod = "em",
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
    atse_key: str | None = ATSE_KEY,
    batch_key: str | None = None,
    categorical_covariate_keys: list[str] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    train_kwargs: Mapping[str, Any] | None = None,
    threshold: float = 0.7,
    seed: int = 0,
    progress: bool = True,
    share_starts: bool = True,
    callback: Callable[[ProgramSelection], None] | None = None,
) -> ProgramSelection:
    """Fit models with different numbers of programs, and compare them on held-out entries.

    For each seed, a share of the (cell, ATSE) pairs is hidden, with all junctions of an ATSE, and
    a model with each K is fitted to the others. Too few programs underfit, too many fit noise;
    both predict held-out reads worse. Seeds change both the hidden pairs and the initialization,
    so programs reproduced over seeds depend on neither. Splits share most of their reads,
    however, including their noise, so stability alone does not prove that programs are real.

    With ``share_starts``, all K of a seed start from one set of clusters of cells, merged until K
    are left, and from one estimate of the concentrations. Fits are compared after 20 and 60
    iterations of EM, and only those go on that may be chosen or may change the choice. Seeds share
    nothing, so that programs found with several seeds were found independently.

    Parameters
    ----------
    adata
        Splicing data set; not modified.
    n_programs
        Numbers of programs K to try, each between 1 and the number of cells.
    n_seeds
        Number of splits, each with its own initialization, common to all K. Stability and
        standard errors need at least 2.
    fraction
        Share of pairs to hide, in (0, 1).
    method
        ``"em"`` for a point estimate in seconds, or ``"svi"`` for the posterior, as in
        :meth:`LeafletFAModel.train <leafletfa_scvi.LeafletFAModel.train>`.
    junction_layer, cluster_layer, atse_key, batch_key, categorical_covariate_keys
        As in :meth:`LeafletFAModel.setup_anndata <leafletfa_scvi.LeafletFAModel.setup_anndata>`.
    model_kwargs, train_kwargs
        Additional keyword arguments for the model and its ``train``, the same for every fit.
    threshold
        Minimum matched correlation of a reproduced program, see :func:`program_stability`.
    seed
        Non-negative integer, the first of ``n_seeds`` consecutive seeds of splits and
        initializations. The same seed gives the same result (on the CPU); global random states
        are restored.
    progress
        Whether to show a progress bar, with the iteration of the present fit.
    share_starts
        If True, fits with ``method="em"`` share starts over K, and those that would not change the
        choice are stopped, which takes a sixth to a third of the time. If False, or with arguments
        of ``train`` such as ``init``, ``n_restarts`` and ``validation_size``, each K has a start
        of its own and all fits are completed: slower, but gains, stability and reproducible
        programs of all K are those of complete fits.
    callback
        Called with the result so far: after each seed, and whenever fits have been continued. If
        None, nothing is called.

    Returns
    -------
    ProgramSelection
        The recommended ``n_programs`` is a suggestion: the curve in ``summary`` is often flat, and
        a slightly larger K with reproducible programs is an equally good choice.

    Raises
    ------
    ValueError, TypeError
        An argument is out of range or of the wrong type, or cell names are not unique. Arguments
        are checked before the first fit.
    TypeError, KeyError, ValueError
        The data violate the contract, see :meth:`setup_anndata
        <leafletfa_scvi.LeafletFAModel.setup_anndata>`.

    Warns
    -----
    IdentifiabilityWarning
        No K predicts held-out reads better than junction means, fewer than half of the programs of
        the recommended K are reproducible, or ``train`` would warn of most of its fits.

    Notes
    -----
    The one-standard-error rule is from Breiman et al. (1984), Classification and Regression Trees.
    Choosing the number of factors by hidden entries follows bi-cross-validation, Owen and Perry
    (2009), Annals of Applied Statistics 3.

    Examples
    --------
    >>> import leafletfa_scvi as lfa
    >>> adata = lfa.datasets.simulate_splicing(n_cells=300, n_programs=4)
    >>> result = lfa.tl.select_n_programs(adata, range(2, 8))
    >>> result.n_programs
    >>> lfa.pl.program_selection(result)
    """
    numbers = _numbers(n_programs)
    n_seeds, seed = check_whole("n_seeds", n_seeds, 1), check_whole("seed", seed, 0)
    threshold, fraction = check_inside("threshold", threshold), check_inside("fraction", fraction)
    check_one_of("method", method, TrainingMethod)
    options = _options("model_kwargs", model_kwargs, _RESERVED_MODEL_ARGUMENTS)
    training = _options("train_kwargs", train_kwargs, {"self", "method"})
    layers: dict[str, Any] = {
        "junction_layer": junction_layer,
        "cluster_layer": cluster_layer,
        "atse_key": atse_key,
    }
    _check_cells(adata, numbers)
    training = {"method": method, "enable_progress_bar": False, **training}

    setup = {
        **layers,
        "batch_key": batch_key,
        "categorical_covariate_keys": categorical_covariate_keys,
    }
    fits = ProgramFits(
        numbers,
        range(seed, seed + n_seeds),
        lambda s: holdout_splicing(adata, fraction, seed=s, **layers),
        setup,
        options,
        training,
        progress,
    )
    for _ in fits.in_stages() if share_starts and can_share(training) else fits.one_by_one():
        if callback is not None:
            callback(_result(fits, threshold))
    result = _result(fits, threshold)
    if result.problems:
        warnings.warn(
            f"The recommended K = {result.n_programs} cannot be trusted: "
            f"{' '.join(result.problems)} More cells or reads are needed, or pooled cells "
            "(lfa.pp.metacells).",
            IdentifiabilityWarning,
            stacklevel=2,
        )
    return result


def _result(done: ProgramFits, threshold: float) -> ProgramSelection:
    """Summarize the fits there are."""
    scores, fits = done.scores(), done.fits
    by_number = scores.groupby("n_programs")["log_likelihood_gain"]
    summary = pd.DataFrame({"log_likelihood_gain": by_number.mean(), "se": by_number.sem()})
    stability, reproducible = {}, {}
    scores.insert(list(scores.columns).index("converged"), "stability", np.nan)
    summary["stopped"] = scores.groupby("n_programs")["stopped"].any()
    for k, by_seed in fits.items():
        # Fits on the way still resemble their starts, which follow noise that splits share.
        if len(by_seed) < 2 or summary["stopped"].loc[k]:
            continue
        result = compare_fits(by_seed, threshold=threshold, min_share=0.75)
        stability[k], reproducible[k] = result.score, result.n_reproducible
        others = (result.pairs.sum(axis=1) - 1.0) / (len(by_seed) - 1)
        rows = scores["n_programs"] == k
        scores.loc[rows, "stability"] = scores.loc[rows, "seed"].map(others)
    summary["stability"] = pd.Series(stability, dtype=float)
    summary["n_reproducible"] = pd.Series(reproducible, dtype="Int64")
    chosen = recommended(summary)
    summary["recommended"] = summary.index == chosen
    summary["stopped"] = summary.pop("stopped")  # last
    note = _note(summary, chosen)
    n_unconverged = int((~scores["converged"] & ~scores["stopped"]).sum())
    if n_unconverged:
        note += (
            f" {n_unconverged} of {len(scores)} fits had not converged: increase em_iterations or "
            "max_epochs in train_kwargs."
        )
    stopped = summary.index[summary["stopped"]]
    if len(stopped):
        note += (
            f" Fits of K = {', '.join(map(str, stopped))} were stopped early, as they would not "
            "change the choice."
        )
    problems = _problems(summary, scores, chosen)
    scores["settled"] = scores["converged"]  # the old name of the column, for one version
    return ProgramSelection(chosen, note, summary, scores, threshold, problems)


def _problems(summary: pd.DataFrame, scores: pd.DataFrame, chosen: int) -> tuple[str, ...]:
    """Say why the recommended K cannot be trusted."""
    problems = []
    if summary["log_likelihood_gain"].max() <= 0:
        problems.append("No K predicts held-out reads better than junction means.")
    number = summary["n_reproducible"].loc[chosen]
    if chosen > 1 and not pd.isna(number) and number < chosen * _MIN_REPRODUCIBLE:
        problems.append(f"Only {number} of its {chosen} programs are reproducible over seeds.")
    identified = scores.loc[scores["n_programs"] == chosen, "identified"]
    n_undetermined = int((~identified).fillna(False).sum())
    if n_undetermined > len(identified) / 2:
        problems.append(
            f"In {n_undetermined} of its {len(identified)} fits the data did not "
            "determine the programs or the activities (model.identifiability())."
        )
    return tuple(problems)


def recommended(summary: pd.DataFrame) -> int:
    """Return the smallest K whose gain is within one standard error of the best.

    Parameters
    ----------
    summary
        One row for each K, ascending; columns ``log_likelihood_gain`` and ``se``, NaN if unknown.
    """
    gain = summary["log_likelihood_gain"]
    best = gain.idxmax()
    error = summary["se"].loc[best]
    minimum = gain.loc[best] - (0.0 if np.isnan(error) else error)
    return int(gain.index[gain >= minimum][0])


def _note(summary: pd.DataFrame, chosen: int) -> str:
    """Explain the recommendation in sentences."""
    gain, stability = summary["log_likelihood_gain"], summary["stability"]
    best = gain.idxmax()
    first = f"K = {chosen} is the smallest within one standard error of the best, K = {best}."
    if np.isnan(summary["se"].loc[best]):
        first = f"K = {chosen} is the best; one seed gives no standard error or stability."
    elif chosen == best:
        first = f"K = {chosen} is the best, and no smaller K is within one standard error of it."
    parts = [first]
    if gain.loc[best] <= 0:
        parts.append(
            "No K predicts held-out reads better than junction means: the data show no programs."
        )
    if len(gain) > 1 and chosen == gain.index[-1]:
        parts.append("It is the largest K that was tried; try larger ones.")
    elif len(gain) > 1 and chosen == gain.index[0] and chosen > 1:
        parts.append("It is the smallest K that was tried; try smaller ones.")
    if not np.isnan(stability.loc[chosen]):
        number = summary["n_reproducible"].loc[chosen]
        parts.append(
            f"{number} of its {chosen} programs are reproducible over seeds, with a mean matched "
            f"correlation of {stability.loc[chosen]:.2f}."
        )
        all_stable = summary.index[(summary["n_reproducible"] == summary.index).fillna(False)]
        if number < chosen and len(all_stable):
            parts.append(f"The largest K with all programs reproducible is {all_stable[-1]}.")
    return " ".join(parts)


def _numbers(n_programs: Any) -> list[int]:
    if isinstance(n_programs, (str, bytes)) or not isinstance(n_programs, Iterable):
        raise TypeError(
            "Expected n_programs to be several numbers, such as range(2, 17, 2), found "
            f"{n_programs!r}."
        )
    numbers = [check_whole("each of n_programs", k, 1) for k in n_programs]
    if not numbers:
        raise ValueError("Expected n_programs with at least one number, found none.")
    repeated = sorted({k for k in numbers if numbers.count(k) > 1})
    if repeated:
        raise ValueError(
            f"Expected n_programs without duplicates, found {repeated[0]} more than once."
        )
    return sorted(numbers)


def _options(name: str, given: Mapping[str, Any] | None, reserved: set[str]) -> dict[str, Any]:
    """Return keyword arguments, or raise if they contain reserved ones."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"Expected {name} to be a mapping, found a {type(given).__name__}.")
    invalid = sorted(reserved & set(given or {}))
    if invalid:
        raise ValueError(
            f"Expected {name} without {invalid[0]!r}, which select_n_programs sets. Remove it."
        )
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
            "Expected unique cell names, by which hidden entries are matched to cells, found "
            "duplicates. Call adata.obs_names_make_unique()."
        )
