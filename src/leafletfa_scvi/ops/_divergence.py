"""KL divergences of Beta and Dirichlet with all their derivatives in one sweep, on the CPU.

With B the multivariate beta function and the sums s of the concentrations a (of q) and b (of p),

    KL(q || p) = log B(b) - log B(a) + sum_k (a_k - b_k) digamma(a_k)
                 - (s_a - s_b) digamma(s_a),
    d/da_k = (a_k - b_k) trigamma(a_k) - (s_a - s_b) trigamma(s_a),
    d/db_k = digamma(b_k) - digamma(s_b) - digamma(a_k) + digamma(s_a).
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from leafletfa_scvi.ops._elementary import log

_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
_SHIFT = 8
_HALF_LOG_2PI = 0.9189385332046727


@njit(error_model="numpy", fastmath=_FASTMATH, inline="always")
def _log_gamma(x):
    """Log-gamma of x, digamma and trigamma, by Stirling's series eight steps up."""
    # The product x (x + 1) .. (x + 7) with its first derivative and half its second.
    product = 1.0
    slope = 0.0
    bend = 0.0
    for _ in range(_SHIFT):
        bend = bend * x + slope
        slope = slope * x + product
        product *= x
        x += 1.0
    first = slope / product
    second = first * first - 2.0 * bend / product
    s = 1.0 / x
    s2 = s * s
    log_x = log(x)
    value = (x - 0.5) * log_x - x + _HALF_LOG_2PI - log(product)
    value += s * (1.0 / 12 - s2 * (1.0 / 360 - s2 * (1.0 / 1260 - s2 / 1680)))
    first = log_x - 0.5 * s - first
    first -= s2 * (1.0 / 12 - s2 * (1.0 / 120 - s2 * (1.0 / 252 - s2 / 240)))
    second += s + 0.5 * s2
    second += s * s2 * (1.0 / 6 - s2 * (1.0 / 30 - s2 * (1.0 / 42 - s2 / 30)))
    return value, first, second


@njit(error_model="numpy", parallel=True, fastmath=_FASTMATH, cache=True)
def gamma_kernel(x, value, first, second):
    """Log-gamma, digamma and trigamma element by element; all arrays are (N,)."""
    for i in prange(x.shape[0]):
        value[i], first[i], second[i] = _log_gamma(np.float64(x[i]))


@njit(error_model="numpy", parallel=True, fastmath=_FASTMATH, cache=True)
def beta_kernel(a1, a0, b1, b0, value, d_a1, d_a0, d_b1, d_b0):
    """Compute each element; a, the values and derivatives are (N, K), b (N, 1)."""
    n_rows, n_columns = a1.shape
    for i in prange(n_rows):
        p1, p0 = np.float64(b1[i, 0]), np.float64(b0[i, 0])
        log_p1, digamma_p1, _ = _log_gamma(p1)
        log_p0, digamma_p0, _ = _log_gamma(p0)
        log_p, digamma_p, _ = _log_gamma(p1 + p0)
        for k in range(n_columns):
            q1, q0 = np.float64(a1[i, k]), np.float64(a0[i, k])
            log_q1, digamma_q1, trigamma_q1 = _log_gamma(q1)
            log_q0, digamma_q0, trigamma_q0 = _log_gamma(q0)
            log_q, digamma_q, trigamma_q = _log_gamma(q1 + q0)
            e1, e0 = q1 - p1, q0 - p0
            value[i, k] = (
                (log_p1 + log_p0 - log_p)
                - (log_q1 + log_q0 - log_q)
                + e1 * (digamma_q1 - digamma_q)
                + e0 * (digamma_q0 - digamma_q)
            )
            d_a1[i, k] = e1 * trigamma_q1 - (e1 + e0) * trigamma_q
            d_a0[i, k] = e0 * trigamma_q0 - (e1 + e0) * trigamma_q
            d_b1[i, k] = digamma_p1 - digamma_p - digamma_q1 + digamma_q
            d_b0[i, k] = digamma_p0 - digamma_p - digamma_q0 + digamma_q


@njit(error_model="numpy", parallel=True, fastmath=_FASTMATH, cache=True)
def dirichlet_kernel(a, b, value, d_a, d_b):
    """Compute each row; a and its derivatives are (N, K), b is (1, K), the values (N,)."""
    n_rows, n_columns = a.shape
    prior = np.empty((n_columns, 3))
    prior_total = 0.0
    for k in range(n_columns):
        prior[k, 0] = b[0, k]
        prior[k, 1], prior[k, 2], _ = _log_gamma(prior[k, 0])
        prior_total += prior[k, 0]
    log_p, digamma_p, _ = _log_gamma(prior_total)
    for i in prange(n_rows):
        total = 0.0
        for k in range(n_columns):
            total += a[i, k]
        excess = total - prior_total
        log_q, digamma_q, trigamma_q = _log_gamma(total)
        kl = log_q - log_p
        for k in range(n_columns):
            q = np.float64(a[i, k])
            e = q - prior[k, 0]
            log_k, digamma_k, trigamma_k = _log_gamma(q)
            kl += prior[k, 1] - log_k + e * (digamma_k - digamma_q)
            d_a[i, k] = e * trigamma_k - excess * trigamma_q
            d_b[i, k] = prior[k, 2] - digamma_p - digamma_k + digamma_q
        value[i] = kl
