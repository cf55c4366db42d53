"""Logarithm, exponential and sine that compilers can vectorize.

Calls of the C library keep a loop scalar. These are polynomials after the usual reductions of the
argument, accurate to a few units in the last place of float64.
"""

from __future__ import annotations

from math import factorial, log2

import numpy as np
from numba import njit

_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
_LOG_2 = 0.6931471805599453
_LOG_2_HIGH, _LOG_2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_INVERSE_LOG_2 = log2(np.e)
_SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
_MANTISSA, _BIAS = np.int64(52), np.int64(1023)

_ARTANH = np.array([2.0 / (2 * k + 1) for k in range(11)])
_EXP = np.array([1.0 / factorial(k) for k in range(13)])
_SINE = np.array([(-1.0) ** k / factorial(2 * k + 1) for k in range(11)])


@njit(error_model="numpy", fastmath=_FASTMATH, inline="always")
def log(x):
    """Compute the logarithm of a positive normal number: exponent, and artanh of the mantissa.

    Infinity and NaN give NaN.
    """
    bits = np.float64(x).view(np.int64)
    exponent = (bits - _SQRT_HALF_BITS) >> _MANTISSA
    mantissa = np.int64(bits - (exponent << _MANTISSA)).view(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    t = s * s
    series = 0.0
    for k in range(10, -1, -1):
        series = series * t + _ARTANH[k]
    return s * series + exponent * _LOG_2 + 0.0 * x


@njit(error_model="numpy", fastmath=_FASTMATH, inline="always")
def exp(x):
    """Compute the exponential, with arguments clipped to [-708, 708]."""
    x = min(max(x, -708.0), 708.0)
    n = np.floor(x * _INVERSE_LOG_2 + 0.5)
    t = x - n * _LOG_2_HIGH - n * _LOG_2_LOW
    series = 0.0
    for k in range(12, -1, -1):
        series = series * t + _EXP[k]
    return series * np.int64((np.int64(n) + _BIAS) << _MANTISSA).view(np.float64)


@njit(error_model="numpy", fastmath=_FASTMATH, inline="always")
def sine(x):
    """Compute the sine between -pi / 2 and pi / 2."""
    t = x * x
    series = 0.0
    for k in range(10, -1, -1):
        series = series * t + _SINE[k]
    return x * series
