"""Beta and Dirichlet draws with pathwise derivatives, from gamma variates, on the CPU.

The derivative of a gamma variate x for its shape a at a fixed quantile is

    r(a, x) = d log x / da = -(dF/da) / (x f),

where F and f are the distribution function and the density (implicit reparameterization:
Figurnov, Mohamed and Mnih 2018). By the continuity equation of f,

    x r' + (a - x) r = digamma(a) - log x.

Put r = sum_k R_k(L) / a^k with L = log(x / a) and digamma(a) = log a - sum_k b_k / a^k
(b = 1/2, 1/12, 0, -1/120, ...), and the orders in 1/a separate:

    R_1 = L / (exp(L) - 1),    R_(k+1) = (dR_k/dL + b_k) / (exp(L) - 1).

Each R_k is a power series in L that converges within 2 pi. Integrating dF/da by parts gives the
exact step r(a, x) = (x r(a + 1, x) + digamma(a + 1) - log x) / a, which leads from that range
to small shapes. The relative error is below 3e-6 between the 1e-6 and 1 - 1e-6 quantiles, and
below 1e-9 between those of 0.01 and 0.99.

Every element uses separate random numbers, so draws do not depend on the number of threads.
"""

from __future__ import annotations

from fractions import Fraction
from math import factorial, pi

import numpy as np
from numba import njit, prange

from leafletfa_scvi.ops._elementary import exp, log, sine
from leafletfa_scvi.ops._splitmix import GOLDEN, scramble

_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
_ORDERS = 7
_TERMS = 14
_EXPAND_FROM = 12.0
_MAX_STEPS = 12
_MIN_RATIO = -3.0

_STREAM, _ATTEMPT = np.uint64(1 << 12), np.uint64(3)
_ATTEMPT_ANGLE, _ATTEMPT_UNIFORM = np.uint64(1), np.uint64(2)
_ONE, _BELOW_ONE = np.uint64(0x3FF << 52), 1.0 - 2.0**-53
_SMALLEST = 1e-300
_BLOCK = 512

_TINY = np.float32(np.finfo(np.float32).tiny)
_LARGEST = np.float32(1.0 - 2.0**-24)


def _expansion() -> np.ndarray:
    """Compute the power series of R_1 .. R_7 in L, ascending, ``(_ORDERS, _TERMS)``."""
    size = _TERMS + 2 * _ORDERS

    def divide(series: list[Fraction]) -> list[Fraction]:
        """Divide a series by exp(L) - 1, without its constant term, which b_k cancels."""
        quotient: list[Fraction] = []
        for i, term in enumerate(series[1:]):
            preceding = sum(q / factorial(i - j + 1) for j, q in enumerate(quotient))
            quotient.append(term - preceding)
        return quotient

    rows = [divide([Fraction(0), Fraction(1)] + [Fraction(0)] * size)]
    while len(rows) < _ORDERS:
        rows.append(divide([i * c for i, c in enumerate(rows[-1])][1:]))
    return np.array([[float(c) for c in row[:_TERMS]] for row in rows])


_R = _expansion()
_scramble = njit(inline="always")(scramble)


@njit(inline="always")
def _uniform(key, counter):
    """Return a number in (0, 1), at position ``counter`` of the sequence of SplitMix64."""
    bits = _scramble(key + counter * GOLDEN)
    return np.uint64((bits >> np.uint64(12)) | _ONE).view(np.float64) - _BELOW_ONE


@njit(error_model="numpy", fastmath=_FASTMATH, inline="always")
def _proposal(shape, key, counter):
    """Propose a gamma variate (Marsaglia and Tsang 2000): its log, or inf if rejected.

    The normal variate is that of Box and Muller, with the sine of a uniform angle.
    """
    d = shape - 1.0 / 3.0
    radius = np.sqrt(-2.0 * log(_uniform(key, counter)))
    z = radius * sine(pi * (_uniform(key, counter + _ATTEMPT_ANGLE) - 0.5))
    u = _uniform(key, counter + _ATTEMPT_UNIFORM)
    root = 1.0 + z / np.sqrt(9.0 * d)
    log_v = 3.0 * log(max(root, _SMALLEST))
    bound = 0.5 * z * z + d * (1.0 - root * root * root + log_v)
    rejected = (root <= 0.0) | (log(u) >= bound)  # False if the shape is NaN, which ends the loop
    return np.inf if rejected else log(d) + log_v


@njit(error_model="numpy", fastmath=_FASTMATH)
def _log_variates(shape, key, first, log_x):
    """Draw logs of gamma variates of elements ``first``, ``first + 1``, ...

    For shapes below one, draw at shape + 1 and multiply by a uniform to the power 1 / shape. Three
    loops, so that all but the rare retries are vectorized.
    """
    for i in range(shape.shape[0]):
        counter = (first + np.uint64(i)) * _STREAM
        a = shape[i]
        boosted = a + 1.0 if a < 1.0 else a
        log_x[i] = _proposal(boosted, key, counter + _ATTEMPT)
    # Rejections are rare: a loop for them alone leaves the other two without branches.
    for i in range(shape.shape[0]):
        counter = (first + np.uint64(i)) * _STREAM + _ATTEMPT
        while log_x[i] == np.inf:
            counter += _ATTEMPT
            boosted = shape[i] + 1.0 if shape[i] < 1.0 else shape[i]
            log_x[i] = _proposal(boosted, key, counter)
    for i in range(shape.shape[0]):
        counter = (first + np.uint64(i)) * _STREAM
        boost = log(_uniform(key, counter)) / shape[i]
        log_x[i] += boost if shape[i] < 1.0 else 0.0


@njit(error_model="numpy", fastmath=_FASTMATH)
def _log_derivatives(shape, log_x, r):
    """Compute r(shape, x), the derivatives of log x for the shape at a fixed quantile."""
    for i in range(shape.shape[0]):
        steps = max(np.ceil(_EXPAND_FROM - shape[i]), 0.0)
        top = shape[i] + steps
        ratio = log_x[i] - log(top)
        s = 1.0 / top
        s2 = s * s
        # The error of this bound is below rounding after the steps down.
        t = max(ratio, _MIN_RATIO)
        value = 0.0
        for k in range(_ORDERS - 1, -1, -1):
            series = 0.0
            for n in range(_TERMS - 1, -1, -1):
                series = series * t + _R[k, n]
            value = (value + series) * s
        # All elements run the maximum number of steps, so that the loop can be vectorized.
        x = exp(log_x[i])
        gap = -ratio - s * 0.5 - s2 * (1.0 / 12 - s2 * (1.0 / 120 - s2 / 252))
        for n in range(_MAX_STEPS):
            active = steps > n
            inverse = 1.0 / (top - (n + 1.0)) if active else 0.0
            value = (x * value + gap) * inverse if active else value
            gap -= inverse
        r[i] = value


@njit(error_model="numpy", parallel=True, fastmath=_FASTMATH, cache=True)
def beta_kernel(key, inclusion, exclusion, derivative, value, d_inclusion, d_exclusion):
    """Draw beta variates as shares of two gamma variates, with derivatives if requested.

    All arrays are (N,).
    """
    n_elements = inclusion.shape[0]
    for block in prange((n_elements + _BLOCK - 1) // _BLOCK):
        start = block * _BLOCK
        stop = min(start + _BLOCK, n_elements)
        size = stop - start
        a, b = inclusion[start:stop].astype(np.float64), exclusion[start:stop].astype(np.float64)
        log_x, log_y, r = np.empty(size), np.empty(size), np.empty(size)
        first = np.uint64(2) * np.uint64(start)
        _log_variates(a, key, first, log_x)
        _log_variates(b, key, first + np.uint64(size), log_y)
        # Odds of the smaller share: both shares keep their digits close to 0 and 1.
        odds = np.empty(size)
        for i in range(size):
            odds[i] = exp(-abs(log_x[i] - log_y[i]))
            minor = odds[i] / (1.0 + odds[i])
            share = minor if log_x[i] < log_y[i] else 1.0 - minor
            value[start + i] = min(max(np.float32(share), _TINY), _LARGEST)
        if derivative:
            _log_derivatives(a, log_x, r)
            for i in range(size):
                d_inclusion[start + i] = odds[i] / ((1.0 + odds[i]) * (1.0 + odds[i])) * r[i]
            _log_derivatives(b, log_y, r)
            for i in range(size):
                d_exclusion[start + i] = -odds[i] / ((1.0 + odds[i]) * (1.0 + odds[i])) * r[i]


@njit(error_model="numpy", parallel=True, fastmath=_FASTMATH, cache=True)
def dirichlet_kernel(key, first, concentration, derivative, value, d_log):
    """Draw Dirichlet variates x as shares of gamma variates; d_log is x r of each variate.

    Row i uses the random numbers of ``key`` from ``first[i]`` on; the other arrays are (N, K).
    """
    n_rows, n_columns = concentration.shape
    for row in prange(n_rows):
        a = concentration[row].astype(np.float64)
        log_x, share, r = np.empty(n_columns), np.empty(n_columns), np.empty(n_columns)
        _log_variates(a, key, first[row], log_x)
        # Shares relative to the largest variate: variates of small shapes underflow.
        most = log_x.max()
        total = 0.0
        for k in range(n_columns):
            share[k] = exp(log_x[k] - most)
            total += share[k]
        for k in range(n_columns):
            share[k] /= total
            value[row, k] = max(np.float32(share[k]), _TINY)
        if derivative:
            _log_derivatives(a, log_x, r)
            for k in range(n_columns):
                d_log[row, k] = share[k] * r[k]


@njit(error_model="numpy", parallel=True, fastmath=_FASTMATH, cache=True)
def grouped_kernel(key, concentration, order, offsets, derivative, value, d_log):
    """Draw Dirichlet variates within groups of rows, by column, like :func:`dirichlet_kernel`.

    Group g has rows ``order[offsets[g]:offsets[g + 1]]``; the other arrays are (N, K).
    """
    n_columns = concentration.shape[1]
    for g in prange(offsets.shape[0] - 1):
        rows = order[offsets[g] : offsets[g + 1]]
        n_rows = rows.shape[0]
        a = np.empty(n_rows * n_columns)
        log_x, share, r = np.empty(a.shape[0]), np.empty(a.shape[0]), np.empty(a.shape[0])
        for i in range(n_rows):
            for k in range(n_columns):
                a[i * n_columns + k] = concentration[rows[i], k]
        _log_variates(a, key, np.uint64(offsets[g]) * np.uint64(n_columns), log_x)
        for k in range(n_columns):
            # Shares relative to the largest variate: variates of small shapes underflow.
            most = log_x[k]
            for i in range(n_rows):
                most = max(most, log_x[i * n_columns + k])
            total = 0.0
            for i in range(n_rows):
                element = i * n_columns + k
                share[element] = exp(log_x[element] - most)
                total += share[element]
            for i in range(n_rows):
                element = i * n_columns + k
                share[element] /= total
                value[rows[i], k] = max(np.float32(share[element]), _TINY)
        if derivative:
            _log_derivatives(a, log_x, r)
            for i in range(n_rows):
                for k in range(n_columns):
                    element = i * n_columns + k
                    d_log[rows[i], k] = share[element] * r[element]
