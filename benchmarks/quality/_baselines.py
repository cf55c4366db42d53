"""Other methods on the same training entries: PCA, NMF, MOFA+, ADMIXTURE, junction means."""

from __future__ import annotations

import contextlib
import io
import time
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.quality._cases import RANGE
from benchmarks.quality._scores import Prediction
from scipy.special import digamma, xlog1py, xlogy
from sklearn.decomposition import NMF, TruncatedSVD

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.quality._cases import Case, Entries

_PSI_BOUND = 1e-5
"""Minimum distance of ADMIXTURE's frequencies from 0 and 1."""
_MOFA_VARIANCE = 0.02
"""Least variance of a junction's PSI for MOFA+."""
_MOFA_LIMIT = 10_000_000
"""Most cells x junctions for MOFA+, which works on dense matrices."""


class NotRunError(Exception):
    """A method that does not apply here; the message says why."""


def junction_mean(case: Case, seed: int = 0) -> Prediction:
    """Mean PSI of the junction, whatever the cell."""
    start = time.perf_counter()
    mean = case.mean()
    return Prediction(lambda entries: mean[entries.column], seconds=time.perf_counter() - start)


def pca(case: Case, seed: int = 0) -> Prediction:
    """K components of PSI minus the junction's mean over cells, 0 where missing."""
    start = time.perf_counter()
    mean, centered = _centered(case)
    # Columns sum to 0 with the missing ones in, so that the SVD is the PCA.
    svd = TruncatedSVD(case.n_programs, algorithm="arpack", random_state=seed)
    scores = svd.fit_transform(case.training.csr(centered, case.shape))
    return _linear(mean, scores, svd.components_.T, time.perf_counter() - start)


def nmf(case: Case, seed: int = 0, *, rescaled: bool = False) -> Prediction:
    """NMF of PSI with 0 where missing, as published with LeafletFA.

    ``rescaled`` divides the prediction by the share of cells that a junction is observed in,
    which the zeros took from it.
    """
    start = time.perf_counter()
    t = case.training
    model = NMF(case.n_programs, init="nndsvda", max_iter=500, random_state=seed)
    weights = model.fit_transform(t.csr(t.count / t.total, case.shape))
    seconds = time.perf_counter() - start
    seen = np.bincount(t.column, minlength=case.shape[1]) / case.shape[0]
    programs = model.components_.T.copy()
    scaled = programs / np.maximum(seen, 1.0 / case.shape[0])[:, None]
    per_cell = weights.sum(axis=1, keepdims=True)
    activities = np.where(
        per_cell > 0, weights / np.maximum(per_cell, 1e-12), 1.0 / case.n_programs
    )
    used = scaled if rescaled else programs
    return Prediction(
        lambda entries: np.clip(entries.product(weights, used), *RANGE),
        activities,
        scaled * per_cell.mean(),
        seconds=seconds,
    )


def nmf_of_mask(case: Case, seed: int = 0) -> Prediction:
    """NMF of which entries are observed: cell types found without any splicing.

    What is observed is what is expressed, and zeros in place of missing PSI carry it along.
    """
    start = time.perf_counter()
    model = NMF(case.n_programs, init="nndsvda", max_iter=500, random_state=seed)
    ones = np.ones(len(case.training))
    weights = model.fit_transform(case.training.csr(ones, case.shape))
    seconds, mean = time.perf_counter() - start, case.mean()
    return Prediction(lambda entries: mean[entries.column], weights, seconds=seconds)


def mofa(case: Case, seed: int = 0) -> Prediction:
    """MOFA+ (``mofapy2``): one Gaussian view of centered PSI, missing values as such, K factors.

    Weights have ARD and no spike and slab, the defaults of the R package; float32, "fast"
    convergence, at most 300 iterations, no factor dropped. Junctions whose PSI hardly varies are
    left out and predicted by their means: their Gaussian precision is so high that single cells
    take factors. (With all junctions of 488 mouse cells cell types were lost.)
    """
    try:
        from mofapy2.run.entry_point import entry_point
    except ImportError as error:
        raise NotRunError("mofapy2 is not installed") from error
    if case.shape[0] * case.shape[1] > _MOFA_LIMIT:
        raise NotRunError(f"{case.shape[0]} x {case.shape[1]} values are left out to save time")
    start = time.perf_counter()
    t, (mean, centered) = case.training, _centered(case)
    seen = np.bincount(t.column, minlength=case.shape[1])
    varies = np.bincount(t.column, centered**2, case.shape[1]) > _MOFA_VARIANCE * seen
    dense = np.full(case.shape, np.nan, np.float32)
    dense[t.row, t.column] = centered
    with contextlib.redirect_stdout(io.StringIO()):
        model = entry_point()
        model.set_data_options(use_float32=True)
        model.set_data_matrix([[dense[:, varies]]], views_names=["psi"], groups_names=["cells"])
        model.set_model_options(factors=case.n_programs, spikeslab_weights=False)
        model.set_train_options(iter=300, convergence_mode="fast", seed=seed + 1, quiet=True)
        model.build()
        model.run()
    nodes = model.model.nodes
    scores = np.asarray(nodes["Z"].getExpectation(), float)
    weights = np.zeros((case.shape[1], scores.shape[1]))
    weights[varies] = nodes["W"].getExpectation()[0]
    return _linear(mean, scores, weights, time.perf_counter() - start)


def admixture(case: Case, seed: int = 0) -> Prediction:
    """Binomial admixture model by EM from a random start, without priors.

    The model and the updates of ADMIXTURE and fastTopics; at most 300 iterations, until the
    log-likelihood rises by less than a millionth of itself.
    """
    start = time.perf_counter()
    rng = np.random.default_rng(seed)
    phi = rng.dirichlet(np.ones(case.n_programs), case.shape[0])
    psi = rng.uniform(0.1, 0.9, (case.shape[1], case.n_programs))
    phi, psi, _ = admixture_em(case.training, phi, psi)
    return _mixed(phi, psi, time.perf_counter() - start, limits=RANGE)


def truth(case: Case, seed: int = 0) -> Prediction:
    """The parameters that the data were drawn from."""
    if case.truth is None:
        raise NotRunError("the truth is not known")
    t = case.truth
    return _mixed(t.activities, t.programs, float("nan"), t.concentration)


def true_activities(case: Case, seed: int = 0) -> Prediction:
    """Programs fitted to the true activities and concentration, with a prior of 3 reads."""
    if case.truth is None:
        raise NotRunError("the truth is not known")
    start = time.perf_counter()
    t, mean = case.truth, case.mean()[:, None]
    psi = np.repeat(mean, t.activities.shape[1], axis=1)
    phi, psi, _ = admixture_em(
        case.training,
        t.activities,
        psi,
        fix_activities=True,
        concentration=t.concentration,
        prior=(3.0 * mean, 3.0 * (1.0 - mean)),
        tolerance=1e-7,
    )
    return _mixed(phi, psi, time.perf_counter() - start, t.concentration)


def admixture_em(
    entries: Entries,
    phi: np.ndarray,
    psi: np.ndarray,
    *,
    fix_activities: bool = False,
    concentration: float = np.inf,
    prior: tuple[np.ndarray | float, np.ndarray | float] = (0.0, 0.0),
    n_iterations: int = 300,
    tolerance: float = 1e-6,
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """EM of p = phi psi; no part of the package is used, so that it can be checked against this.

    Parameters
    ----------
    entries
        What to fit, in the order of cells.
    phi, psi
        Start, ``(C, K)`` and ``(P, K)``.
    fix_activities
        Update psi alone.
    concentration
        Beta-binomial counts are replaced by expected table counts; infinity is the binomial.
    prior
        Reads added for and against each junction.
    n_iterations, tolerance
        The most, and the relative rise of the log-likelihood at which to stop.

    Returns
    -------
    phi, psi
        The fit.
    history
        Binomial log-likelihood before each iteration, without coefficients; it never falls
        where the concentration is infinite and there is no prior.
    """
    shape = (len(phi), len(psi))
    y, rest = entries.count, entries.total - entries.count
    history: list[float] = []
    for _ in range(n_iterations):
        p = np.clip(entries.product(phi, psi), 1e-9, 1.0 - 1e-9)
        history.append(float((xlogy(y, p) + xlog1py(rest, -p)).sum()))
        if len(history) > 1 and abs(history[-1] - history[-2]) < -tolerance * history[-1]:
            break
        up, down = _tables(y, p, concentration) / p, _tables(rest, 1 - p, concentration) / (1 - p)
        r1, r0 = entries.csr(up, shape), entries.csr(down, shape)
        for_it, against = psi * (r1.T @ phi) + prior[0], (1 - psi) * (r0.T @ phi) + prior[1]
        if not fix_activities:
            phi = phi * (r1 @ psi + r0 @ (1 - psi))
            empty = phi.sum(axis=1) <= 0
            phi[empty] = 1.0
            phi = phi / phi.sum(axis=1, keepdims=True)
        reads = for_it + against
        psi = np.where(reads > 0, for_it / np.where(reads > 0, reads, 1.0), psi)
        psi = np.clip(psi, _PSI_BOUND, 1.0 - _PSI_BOUND)
    return phi, psi, history


def _tables(y: np.ndarray, p: np.ndarray, concentration: float) -> np.ndarray:
    """Expected number of tables of ``y`` reads: ``y`` for an infinite concentration."""
    if np.isinf(concentration):
        return y
    a = concentration * p
    return a * (digamma(y + a) - digamma(a))


def _centered(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Mean PSI of each junction over its cells, and what training entries deviate from it."""
    t = case.training
    usage, size = t.count / t.total, case.shape[1]
    mean = np.bincount(t.column, usage, size)
    seen = np.bincount(t.column, minlength=size)
    mean = np.where(seen > 0, mean / np.maximum(seen, 1), case.mean())
    return mean, usage - mean[t.column]


def _linear(mean: np.ndarray, scores: np.ndarray, loadings: np.ndarray, s: float) -> Prediction:
    def predict(entries: Entries) -> np.ndarray:
        return np.clip(mean[entries.column] + entries.product(scores, loadings), *RANGE)

    return Prediction(predict, scores, seconds=s)


def _mixed(
    phi: np.ndarray,
    psi: np.ndarray,
    seconds: float,
    concentration: float | None = None,
    limits: tuple[float, float] = (1e-6, 1.0 - 1e-6),
) -> Prediction:
    def predict(entries: Entries) -> np.ndarray:
        return np.clip(entries.product(phi, psi), *limits)

    return Prediction(predict, phi, psi, concentration, seconds=seconds)


BASELINES: dict[str, Callable[[Case, int], Prediction]] = {
    "truth": truth,
    "psi of true phi": true_activities,
    "junction mean": junction_mean,
    "PCA": pca,
    "NMF": nmf,
    "NMF rescaled": lambda case, seed: nmf(case, seed, rescaled=True),
    "NMF of the mask": nmf_of_mask,
    "MOFA+": mofa,
    "ADMIXTURE": admixture,
}
SEEDLESS = {
    "truth",
    "psi of true phi",
    "junction mean",
    "PCA",
    "NMF",
    "NMF rescaled",
    "NMF of the mask",
}
"""Methods whose result does not depend on their seed."""
