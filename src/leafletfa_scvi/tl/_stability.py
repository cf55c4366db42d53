"""Which programs are found again from other seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

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
        One row for each program of the reference, with the columns ``mean`` and ``min`` of its
        matched correlations in the other models, ``n_matched`` and ``share_matched`` (models where
        it is at least ``threshold``), ``reproducible`` (bool), and with activities compared too
        ``mean_programs`` and ``mean_activities``, the two correlations by themselves.
    correlation
        ``(K, M - 1)`` matched correlations, programs of the reference in rows, other models in
        columns; NaN where a model has no program left to match, which counts as 0 in
        ``programs``.
    matched
        ``(K, M - 1)`` names of the programs matched to; None where there is none.
    score
        Mean of ``pairs`` over all pairs of models: at most 1.
    pairs
        ``(M, M)`` mean matched correlation of each two models, 1 on the diagonal. The mean is
        over the programs of the model that has more.
    reference
        Name of the model of reference.
    threshold
        Least matched correlation that counts as found again.
    signal
        What was compared: ``"both"``, ``"programs"`` or ``"activities"``.
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
    """What is compared of a model: programs ``(P, K)`` and activities ``(C, K)``, if known."""

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
    """Match the programs of several fits, and say which are found again in most of them.

    Two fits are matched one to one, so that the correlations of their programs add up to the most
    (Hungarian algorithm). What correlates are the programs' deviations from each junction's mean
    over programs (see :func:`match_programs`) and, where models describe the same cells, the
    activities as well, half and half: programs that differ in few junctions share much noise in
    psi, and a program split in two keeps its junctions but not its cells.

    Parameters
    ----------
    models
        Two or more trained models of the same junctions, from different seeds (or splits, or
        samples), or their programs: data frames or arrays ``(P, K)``. A mapping gives them names,
        otherwise positions from 0 do. Numbers of programs may differ.
    threshold
        Least matched correlation that counts as found again, in (0, 1). Unrelated programs match
        with less than about 0.3, halves of a program with 0.5 to 0.7.
    min_share
        Share of the other models in which a reproducible program is found again, in (0, 1].
    reference
        Name of the model whose programs are reported. None for the medoid, the one that agrees
        best with all others; the first of those that agree equally well.
    signal
        ``"programs"`` or ``"activities"`` alone, or ``"both"``. None for both where all are models
        of the same cells (by name) with at least two programs, else programs alone.

    Returns
    -------
    ProgramStability
        ``programs`` is the table to look at; drawn by
        :func:`leafletfa_scvi.pl.program_stability`.

    Raises
    ------
    ValueError
        There are fewer than two models, they differ in their junctions (or cells, where
        activities are asked for), or an argument is out of range.
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
    threshold = check_share("threshold", threshold)
    min_share = check_share("min_share", min_share, with_one=True)
    if signal not in (None, "both", "programs", "activities"):
        raise ValueError(
            f"Expected signal None, 'both', 'programs' or 'activities', found {signal!r}."
        )
    if not isinstance(models, Mapping) and not isinstance(models, (list, tuple)):
        raise ValueError(
            f"Expected models as a list or a mapping, found a {type(models).__name__}."
        )
    named = dict(models) if isinstance(models, Mapping) else dict(enumerate(models))
    if len(named) < 2:
        raise ValueError(f"Expected at least two models, found {len(named)}.")
    if reference is not None and reference not in named:
        raise KeyError(f"No model {reference!r}: their names are {list(named)}.")
    wanted = signal != "programs"
    fits = {name: _as_fit(model, wanted) for name, model in named.items()}
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
    """:func:`program_stability` of what was taken from models before; arguments as there."""
    used = _signal(fits, signal)
    names = list(fits)
    matches: dict[tuple[Any, Any], _Match] = {}
    pairs = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for i, j in combinations(range(len(names)), 2):
        one, two = names[i], names[j]
        try:
            match = _match(fits[one], fits[two], used)
        except ValueError as error:
            raise ValueError(f"Models {one!r} and {two!r} do not compare. {error}") from error
        matches[one, two] = match
        pairs.iloc[i, j] = pairs.iloc[j, i] = match.score
    others = (pairs.to_numpy().sum(1) - 1.0) / (len(names) - 1)
    # Rounded: models that agree equally well may differ in the last digit.
    chosen = names[int(others.round(9).argmax())] if reference is None else reference
    found = {
        name: matches[chosen, name] if (chosen, name) in matches else matches[name, chosen].turned
        for name in names
        if name != chosen
    }
    index = next(iter(found.values())).rows
    correlation = pd.DataFrame({n: m.correlation for n, m in found.items()}, index=index)
    matched = pd.DataFrame({n: m.partner for n, m in found.items()}, index=index, dtype=object)
    counted = correlation.fillna(0.0)
    hits = counted >= threshold
    table = pd.DataFrame(
        {
            "mean": counted.mean(axis=1),
            "min": counted.min(axis=1),
            "n_matched": hits.sum(axis=1),
            "share_matched": hits.mean(axis=1),
            "reproducible": hits.mean(axis=1) >= min_share,
        }
    )
    if used == "both":
        for part in ("programs", "activities"):
            values = np.array([m.parts[part] for m in found.values()])
            table[f"mean_{part}"] = np.nan_to_num(values).mean(axis=0)
    table.index.name = correlation.index.name = matched.index.name = "program"
    score = float(pairs.to_numpy()[np.triu_indices(len(names), 1)].mean())
    return ProgramStability(table, correlation, matched, score, pairs, chosen, threshold, used)


@dataclass(frozen=True)
class _Match:
    """Programs of one fit matched to those of another, seen from either side."""

    rows: pd.Index
    columns: pd.Index
    at: tuple[np.ndarray, np.ndarray]
    values: dict[str, np.ndarray]
    """Matched correlations, of ``both`` and of its parts."""

    @property
    def turned(self) -> _Match:
        return _Match(self.columns, self.rows, self.at[::-1], self.values)

    @property
    def score(self) -> float:
        return float(self.values["all"].sum() / max(len(self.rows), len(self.columns)))

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """Values by program of the rows, NaN without a partner."""
        return {name: self._spread(values) for name, values in self.values.items()}

    @property
    def correlation(self) -> np.ndarray:
        return self._spread(self.values["all"])

    @property
    def partner(self) -> np.ndarray:
        partner = np.full(len(self.rows), None, dtype=object)
        partner[self.at[0]] = self.columns.to_numpy()[self.at[1]]
        return partner

    def _spread(self, values: np.ndarray) -> np.ndarray:
        spread = np.full(len(self.rows), np.nan)
        spread[self.at[0]] = values
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
    at = linear_sum_assignment(values["all"], maximize=True)
    return _Match(first.index, first.columns, at, {n: v[at] for n, v in values.items()})


def _signal(fits: Mapping[Any, Fit], signal: Signal | None) -> Signal:
    """What is compared: as asked for, if that is there."""
    if signal == "programs":
        return signal
    known = {name: fit.activities for name, fit in fits.items()}
    cells = [None if phi is None else phi.index for phi in known.values()]
    if any(names is None for names in cells):
        problem = "Some are programs without activities"
    elif any(_differ(cells[0], names) for names in cells[1:]):
        problem = "They describe different cells"
    elif any(phi is not None and phi.shape[1] < 2 for phi in known.values()):
        problem = "The activity of a single program is 1 in all cells"
    else:
        return signal or "both"
    if signal is None:
        return "programs"
    raise ValueError(f"{problem}, so activities do not compare: use signal='programs'.")


def _differ(one: pd.Index, two: pd.Index) -> bool:
    if one.equals(two):
        return False
    return not (one.is_unique and two.is_unique and one.symmetric_difference(two).empty)


def _as_fit(model: LeafletFAModel | Any, with_activities: bool) -> Fit:
    if not hasattr(model, "get_splicing_programs"):
        return Fit(model)
    programs = model.get_splicing_programs()
    return Fit(programs, model._trained_activities() if with_activities else None)


def check_share(name: str, value: Any, *, with_one: bool = False) -> float:
    """``value`` as a number above 0 and below 1, or up to it, else an error that names it."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not (0.0 < value < 1.0 or (with_one and value == 1)):
        raise ValueError(f"Expected {name} in (0, 1{']' if with_one else ')'}, found {value!r}.")
    return float(value)
