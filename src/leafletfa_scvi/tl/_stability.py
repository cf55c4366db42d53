"""Stability of programs over fits with different seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from leafletfa_scvi._arguments import check_inside, check_one_of
from leafletfa_scvi.tl._match import program_correlation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from leafletfa_scvi.model import LeafletFAModel

Signal = Literal["both", "programs", "activities"]


@dataclass(frozen=True)
class ProgramStability:
    """Result of :func:`program_stability`.

    Attributes
    ----------
    programs
        One row for each program of the reference model. Columns: ``mean`` and ``min`` of its
        matched correlations over the other models, ``n_matched`` and ``share_matched`` (number and
        share of models in which it is at least ``threshold``), ``reproducible`` (bool), and, if
        activities were compared, ``mean_programs`` and ``mean_activities``, the mean correlation
        of each signal.
    correlation
        ``(K, M - 1)`` matched correlations, programs of the reference model in rows, other models
        in columns. Programs without a match are NaN, and count as 0 in ``programs``.
    matched
        ``(K, M - 1)`` names of the matched programs; None without a match.
    score
        Mean of ``pairs`` over all pairs of models; at most 1.
    pairs
        ``(M, M)`` mean matched correlation of each pair of models, over the programs of the model
        with more programs; 1 on the diagonal.
    reference
        Name of the reference model.
    threshold
        Minimum matched correlation of a reproduced program.
    signal
        Compared signal: ``"both"``, ``"programs"`` or ``"activities"``.
    """

    programs: pd.DataFrame
    correlation: pd.DataFrame = field(repr=False)
    matched: pd.DataFrame = field(repr=False)
    score: float
    pairs: pd.DataFrame = field(repr=False)
    reference: Any
    threshold: float
    signal: Signal

    @property
    def n_reproducible(self) -> int:
        """Number of reproducible programs."""
        return int(self.programs["reproducible"].sum())


class Fit(NamedTuple):
    """Programs ``(P, K)`` and activities ``(C, K)`` of a model, if available."""

    programs: pd.DataFrame | ArrayLike
    activities: pd.DataFrame | None = None


def program_stability(
    models: Sequence[Any] | Mapping[Any, Any],
    *,
    threshold: float = 0.7,
    min_share: float = 0.75,
    reference: Any = None,
    signal: Signal | None = None,
) -> ProgramStability:
    """Match the programs of several fits, and find those that most fits reproduce.

    Programs of two fits are matched one to one, maximizing the sum of correlations (Hungarian
    algorithm). The correlation is that of deviations from the junction's mean over programs (see
    :func:`match_programs`), averaged with the correlation of activities if the models describe
    the same cells. Activities are informative if programs differ in few junctions, or if a
    program is split in two: both halves resemble it in PSI, but are active in different cells.

    Parameters
    ----------
    models
        At least two trained models of the same junctions, from different seeds (or splits, or
        samples), or their programs: data frames or arrays ``(P, K)``. Names are the keys of a
        mapping, otherwise 0-based positions. Numbers of programs may differ.
    threshold
        Minimum matched correlation of a reproduced program, in (0, 1). Unrelated programs match
        with less than about 0.3, halves of a program with 0.5 to 0.7.
    min_share
        Minimum share of the other models that reproduce a reproducible program, in (0, 1].
    reference
        Name of the model whose programs are reported. If None, the medoid: the model that agrees
        best with all others, or the first of several.
    signal
        ``"programs"``, ``"activities"`` or ``"both"``. If None, both if all models describe the
        same cells (by name) with at least two programs, otherwise programs.

    Returns
    -------
    ProgramStability
        ``programs`` is the main table; :func:`leafletfa_scvi.pl.program_stability` draws it.

    Raises
    ------
    ValueError
        Fewer than two models are given, models differ in their junctions (or cells, if activities
        are requested), or an argument is out of range.
    KeyError
        ``reference`` is not the name of a model.
    RuntimeError
        A model is not trained.

    Examples
    --------
    >>> import numpy as np
    >>> import leafletfa_scvi as lfa
    >>> rng = np.random.default_rng(0)
    >>> psi = rng.beta(1, 1, (200, 3))
    >>> other = np.column_stack([psi[:, 1], psi[:, 0], rng.beta(1, 1, 200)])
    >>> lfa.tl.program_stability([psi, other]).programs["reproducible"].tolist()
    [True, True, False]
    """
    threshold = check_inside("threshold", threshold)
    min_share = check_inside("min_share", min_share, "(0, 1]")
    if signal is not None:
        check_one_of("signal", signal, Signal)
    if not isinstance(models, Mapping) and not isinstance(models, (list, tuple)):
        raise ValueError(
            f"Expected models to be a list or a mapping, found a {type(models).__name__}."
        )
    named = dict(models) if isinstance(models, Mapping) else dict(enumerate(models))
    if len(named) < 2:
        raise ValueError(f"Expected models with at least 2 models, found {len(named)}.")
    if reference is not None and reference not in named:
        raise KeyError(f"Expected reference to be one of {list(named)}, found {reference!r}.")
    with_activities = signal != "programs"
    fits = {name: _as_fit(model, with_activities) for name, model in named.items()}
    return compare_fits(
        fits, threshold=threshold, min_share=min_share, reference=reference, signal=signal
    )


def compare_fits(
    fits: Mapping[Any, Fit],
    *,
    threshold: float,
    min_share: float,
    reference: Any = None,
    signal: Signal | None = None,
) -> ProgramStability:
    """Compare fits as :func:`program_stability` does, from their programs and activities."""
    used = _resolve_signal(fits, signal)
    names = list(fits)
    matches: dict[tuple[Any, Any], _Match] = {}
    pairs = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for i, j in combinations(range(len(names)), 2):
        one, two = names[i], names[j]
        try:
            match = _match(fits[one], fits[two], used)
        except ValueError as error:
            raise ValueError(
                f"Expected comparable models, found {one!r} and {two!r}: {error}"
            ) from error
        matches[one, two] = match
        pairs.iloc[i, j] = pairs.iloc[j, i] = match.score
    others = (pairs.to_numpy().sum(1) - 1.0) / (len(names) - 1)
    # Rounding makes the choice among equally good models independent of rounding errors.
    chosen = names[int(others.round(9).argmax())] if reference is None else reference
    by_model = {
        name: matches[chosen, name]
        if (chosen, name) in matches
        else matches[name, chosen].transposed
        for name in names
        if name != chosen
    }
    index = next(iter(by_model.values())).rows
    correlation = pd.DataFrame({n: m.correlation for n, m in by_model.items()}, index=index)
    matched = pd.DataFrame({n: m.partner for n, m in by_model.items()}, index=index, dtype=object)
    filled = correlation.fillna(0.0)
    reproduced = filled >= threshold
    table = pd.DataFrame(
        {
            "mean": filled.mean(axis=1),
            "min": filled.min(axis=1),
            "n_matched": reproduced.sum(axis=1),
            "share_matched": reproduced.mean(axis=1),
            "reproducible": reproduced.mean(axis=1) >= min_share,
        }
    )
    if used == "both":
        for part in ("programs", "activities"):
            values = np.array([m.parts[part] for m in by_model.values()])
            table[f"mean_{part}"] = np.nan_to_num(values).mean(axis=0)
    table.index.name = correlation.index.name = matched.index.name = "program"
    score = float(pairs.to_numpy()[np.triu_indices(len(names), 1)].mean())
    return ProgramStability(table, correlation, matched, score, pairs, chosen, threshold, used)


@dataclass(frozen=True)
class _Match:
    """Programs of one fit (rows) matched to those of another (columns)."""

    rows: pd.Index
    columns: pd.Index
    pairs: tuple[np.ndarray, np.ndarray]
    """0-based rows and columns of the matched programs."""
    values: dict[str, np.ndarray]
    """Matched correlations by signal; ``"all"`` is their mean."""

    @property
    def transposed(self) -> _Match:
        return _Match(self.columns, self.rows, self.pairs[::-1], self.values)

    @property
    def score(self) -> float:
        return float(self.values["all"].sum() / max(len(self.rows), len(self.columns)))

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """Matched correlations by signal for every row, NaN without a match."""
        return {name: self._spread(values) for name, values in self.values.items()}

    @property
    def correlation(self) -> np.ndarray:
        return self._spread(self.values["all"])

    @property
    def partner(self) -> np.ndarray:
        partner = np.full(len(self.rows), None, dtype=object)
        partner[self.pairs[0]] = self.columns.to_numpy()[self.pairs[1]]
        return partner

    def _spread(self, values: np.ndarray) -> np.ndarray:
        spread = np.full(len(self.rows), np.nan)
        spread[self.pairs[0]] = values
        return spread


def _match(one: Fit, two: Fit, signal: Signal) -> _Match:
    tables = {}
    if signal != "activities":
        tables["programs"] = program_correlation(one.programs, two.programs)
    if signal != "programs":
        assert one.activities is not None
        assert two.activities is not None
        tables["activities"] = program_correlation(one.activities, two.activities)
    first = next(iter(tables.values()))
    values = {name: table.to_numpy() for name, table in tables.items()}
    values["all"] = np.mean(list(values.values()), axis=0)
    pairs = linear_sum_assignment(values["all"], maximize=True)
    return _Match(first.index, first.columns, pairs, {n: v[pairs] for n, v in values.items()})


def _resolve_signal(fits: Mapping[Any, Fit], signal: Signal | None) -> Signal:
    """Resolve the signal to compare: by default programs and, if comparable, activities."""
    if signal == "programs":
        return signal
    activities = [fit.activities for fit in fits.values()]
    cells = [phi.index for phi in activities if phi is not None]
    if len(cells) < len(activities):
        problem = "programs without activities"
    elif any(_differ(cells[0], names) for names in cells[1:]):
        problem = "models of different cells"
    elif any(phi is not None and phi.shape[1] < 2 for phi in activities):
        problem = "a single program, whose activity is 1 in all cells"
    else:
        return signal or "both"
    if signal is None:
        return "programs"
    raise ValueError(
        f"Expected comparable activities for signal={signal!r}, found {problem}. Use "
        "signal='programs'."
    )


def _differ(one: pd.Index, two: pd.Index) -> bool:
    if one.equals(two):
        return False
    return not (one.is_unique and two.is_unique and one.symmetric_difference(two).empty)


def _as_fit(model: LeafletFAModel | Any, with_activities: bool) -> Fit:
    if not hasattr(model, "get_splicing_programs"):
        return Fit(model)
    programs = model.get_splicing_programs()
    return Fit(programs, model._trained_activities() if with_activities else None)
