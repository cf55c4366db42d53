"""What a method found, against hidden entries, the truth and cell types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import betaln, gammaln, xlog1py, xlogy
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.quality._cases import Case, Entries

_LARGE = 1e6
"""Concentration from which on counts are taken as binomial: lgamma loses its digits."""
_SOME = 300_000
"""Entries from which a concentration is fitted, drawn where there are more."""
_MIDDLE = (0.05, 0.95)


@dataclass(frozen=True)
class Prediction:
    """Result of a method.

    Attributes
    ----------
    predict
        Probability of given entries, ``(nnz,)``, above 0 and below 1.
    activities
        ``(C, K)`` activities, or scores that tell cell types apart.
    programs
        ``(P, K)``, where the method has programs as the model understands them; ``activities``
        are compared with the truth only then.
    concentration
        Learned, one or ``(P,)``; None to be fitted to training entries, or to the hidden ones,
        whichever predicts better, which is in the method's favor.
    intervals
        Lower and upper ends of 90 % intervals of ``"psi"`` and ``"phi"``.
    seconds
        Taken by the fit.
    """

    predict: Callable[[Entries], np.ndarray]
    activities: np.ndarray | None = None
    programs: np.ndarray | None = None
    concentration: np.ndarray | float | None = None
    intervals: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    seconds: float = float("nan")


def log_likelihood(
    entries: Entries, p: np.ndarray, concentration: np.ndarray | float
) -> np.ndarray:
    """Beta-binomial log-likelihood of each entry, in nats, with the binomial coefficient.

    ``concentration``: kappa, one or one for each entry; infinity is the binomial.
    """
    y, n = entries.count, entries.total
    rest = n - y
    coefficient = gammaln(n + 1) - gammaln(y + 1) - gammaln(rest + 1)
    kappa = np.broadcast_to(np.asarray(concentration, float), y.shape)
    binomial = kappa >= _LARGE
    if binomial.all():
        return coefficient + xlogy(y, p) + xlog1py(rest, -p)
    finite = np.where(binomial, 1.0, kappa)
    a, b = finite * p, finite * (1.0 - p)
    value = coefficient + betaln(y + a, rest + b) - betaln(a, b)
    if binomial.any():
        value = np.where(binomial, coefficient + xlogy(y, p) + xlog1py(rest, -p), value)
    return value


def fit_concentration(entries: Entries, p: np.ndarray) -> float:
    """The one kappa of highest likelihood given p, between 0.05 and 1e5."""
    if len(entries) > _SOME:
        some = np.sort(np.random.default_rng(0).choice(len(entries), _SOME, replace=False))
        entries, p = _take(entries, some), p[some]
    found = minimize_scalar(
        lambda x: -log_likelihood(entries, p, np.exp(x)).mean(),
        bounds=(np.log(0.05), np.log(1e5)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


def score(case: Case, found: Prediction) -> dict[str, Any]:
    """All scores that a case and a method allow, by the names of the table's columns."""
    p = found.predict(case.hidden)
    value, row = _held_out(case, found, p)
    reference = _reference(case)
    row = {"s": found.seconds, "log-lik.": value, "gain": value - reference["mean"], **row}
    if case.truth is not None:
        row["share"] = row["gain"] / (reference["truth"] - reference["mean"])
        row |= _recovery(case, found)
    if case.labels is not None and found.activities is not None:
        row |= cell_type_scores(found.activities, case.labels)
    return {name: x for name, x in row.items() if not np.isnan(x)}


def _held_out(case: Case, found: Prediction, p: np.ndarray) -> tuple[float, dict[str, float]]:
    """Log-likelihood per hidden entry, and how predicted PSI correlate with hidden ones."""
    hidden = case.hidden
    row: dict[str, float] = {}
    if found.concentration is None:
        trained = fit_concentration(case.training, found.predict(case.training))
        best = fit_concentration(hidden, p)
        at_training = log_likelihood(hidden, p, trained).mean()
        value = max(at_training, log_likelihood(hidden, p, best).mean())
        row |= {"kappa": trained, "hidden kappa": best, "log-lik. at kappa": at_training}
    else:
        kappa = np.asarray(found.concentration, float)
        each = kappa[hidden.column] if kappa.ndim else kappa
        value = log_likelihood(hidden, p, each).mean()
        row["kappa"] = float(np.median(kappa))
    usage = hidden.count / hidden.total
    for name, mean in (("r dev.", case.mean()), ("r dev. pooled", case.pooled_mean())):
        of_entry = mean[hidden.column]
        row[name] = _pearson(usage - of_entry, p - of_entry)
    for least in (5, 10):
        some = hidden.total >= least
        deviation = (usage - case.mean()[hidden.column])[some]
        row[f"r dev. {least}+"] = _pearson(deviation, (p - case.mean()[hidden.column])[some])
    row["r PSI"] = _pearson(usage, p)
    return float(value), {name: float(x) for name, x in row.items()}


def _reference(case: Case) -> dict[str, float]:
    """Log-likelihood per hidden entry of junction means, and of the truth."""
    if "reference" not in case.cache:
        found = Prediction(lambda entries: case.mean()[entries.column])
        values = {"mean": _held_out(case, found, found.predict(case.hidden))[0]}
        if case.truth is not None:
            p = case.hidden.product(case.truth.activities, case.truth.programs)
            values["truth"] = float(
                log_likelihood(case.hidden, p, case.truth.concentration).mean()
            )
        case.cache["reference"] = values
    return case.cache["reference"]


def _recovery(case: Case, found: Prediction) -> dict[str, float]:
    """Correlation with the true programs and activities, and coverage of intervals."""
    truth = case.truth
    if found.programs is None or found.activities is None or truth is None:
        return {}
    psi = lfa.tl.match_programs(truth.programs, found.programs)
    plain = lfa.tl.match_programs(truth.programs, found.programs, center=False)
    phi = lfa.tl.match_programs(truth.activities, found.activities)
    row = {
        "psi r": psi["correlation"].mean(),
        "psi r min": psi["correlation"].min(),
        "psi r plain": plain["correlation"].mean(),
        "phi r": phi["correlation"].mean(),
        "phi r min": phi["correlation"].min(),
        "found": (phi["correlation"] > 0.5).sum(),
    }
    if found.intervals and truth.programs.shape[1] == found.programs.shape[1]:
        place = phi["learned"].to_numpy()  # in the order of the true programs

        def inside(true: np.ndarray, name: str) -> np.ndarray:
            low, high = (end[:, place] for end in found.intervals[name])
            return (low <= true) & (true <= high)

        activities = inside(truth.activities, "phi")
        middle = (truth.activities > _MIDDLE[0]) & (truth.activities < _MIDDLE[1])
        row["cover psi"] = inside(truth.programs, "psi").mean()
        row["cover phi mid"] = activities[middle].mean()
        row["cover phi"] = activities.mean()
    return {name: float(value) for name, value in row.items()}


def cell_type_scores(activities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy of logistic regression, and ARI of k-means with as many groups as types.

    The accuracy is the mean of 5-fold cross-validation over five fixed ways of splitting.
    """
    classify = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=5, random_state=0)
    accuracy = cross_val_score(classify, activities, labels, cv=folds).mean()
    means = KMeans(len(np.unique(labels)), n_init=10, random_state=0)
    rand = adjusted_rand_score(labels, means.fit_predict(activities))
    return {"accuracy": float(accuracy), "ARI": float(rand)}


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation; NaN where one does not vary."""
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-12 else float("nan")


def _take(entries: Entries, at: np.ndarray) -> Entries:
    return type(entries)(entries.row[at], entries.column[at], entries.count[at], entries.total[at])
