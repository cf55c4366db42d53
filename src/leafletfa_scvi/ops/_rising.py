"""Differences of log gamma and digamma over an integer number of steps, in vectorized float32.

For a > 0 and an integer m, with b = a + m,

    value = lgamma(b) - lgamma(a) - m log(scale),      slope = digamma(b) - digamma(a)

as four steps of the recurrence, which bring both ends above 4, and the difference of the
asymptotic series. The leading terms m log(b / scale) and log1p(m / a) are taken
without cancellation, so that ``value`` is exact to float32 relative to m and not to lgamma(b).
There is no branch and no library call, so that loops over these functions become vector code.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

VECTOR: Final[dict[str, Any]] = {"error_model": "numpy", "fastmath": {"contract", "nsz"}}
"""Options of vectorized functions: no reassociation, which would undo log1p below."""

_f = np.float32
_i = np.int32


@njit(inline="always", **VECTOR)
def log(x):
    """Compute the logarithm of a normal positive float32, to 1e-7 of max(1, |log x|).

    x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) = f - f^2 / 2 + f^3 P(f) with a
    least-squares polynomial P of degree 7, whose error is 6e-9.
    """
    bits = _f(x).view(_i)
    exponent = _i((bits - _i(0x3F3504F3)) >> _i(23))
    f = _i(bits - (exponent << _i(23))).view(_f) - _f(1)
    p = _f(0.12971546) - f * _f(0.08205989)
    p = p * f - _f(0.13040647)
    p = p * f + _f(0.14162914)
    p = p * f - _f(0.1663172)
    p = p * f + _f(0.20003296)
    p = p * f - _f(0.25000623)
    p = p * f + _f(0.33333305)
    e = _f(exponent)
    # log 2 in two parts, the first exact in 10 bits.
    return (e * _f(0.693359375) + (f + f * f * (f * p - _f(0.5)))) - e * _f(2.12194440e-4)


@njit(inline="always", **VECTOR)
def rising(a, m, inverse_scale):
    """Compute ``value`` and ``slope`` of the module docstring, float32; exactly 0 slope if m = 0.

    a in [1e-8, 1e9] and m up to 2^24 keep every product within float32.
    """
    # Four steps of the recurrence at both ends, in pairs, so that two divisions do for all.
    b = a + m
    a1, a2, a3 = a + _f(1), a + _f(2), a + _f(3)
    b1, b2, b3 = b + _f(1), b + _f(2), b + _f(3)
    first, second = a * a1, a2 * a3
    over_first = _f(1) / (first * (b * b1))
    over_second = _f(1) / (second * (b2 * b3))
    steps = m * ((a1 * b1 + a * b) * over_first + (a3 * b3 + a2 * b2) * over_second)
    ratio = (first * first * over_first) * (second * second * over_second)
    # Stirling's series from here. ``growth`` is log(b4 / a4) = log1p(m / a4), whose argument is
    # rounded in 1 + x: the second term returns what was lost.
    a4, b4 = a + _f(4), b + _f(4)
    over_both = _f(1) / (a4 * b4)
    ra, rb = b4 * over_both, a4 * over_both
    x = m * ra
    u = _f(1) + x
    growth = log(u) + (x - (u - _f(1))) * (a4 * rb)
    ra2, rb2 = ra * ra, rb * rb
    end_a = ra * (_f(1 / 12) - ra2 * (_f(1 / 360) - ra2 * _f(1 / 1260)))
    end_b = rb * (_f(1 / 12) - rb2 * (_f(1 / 360) - rb2 * _f(1 / 1260)))
    value = m * log(b4 * inverse_scale) + ((a4 - _f(0.5)) * growth - m) + (end_b - end_a)
    slope_a = _f(0.5) * ra + ra2 * (_f(1 / 12) - ra2 * (_f(1 / 120) - ra2 * _f(1 / 252)))
    slope_b = _f(0.5) * rb + rb2 * (_f(1 / 12) - rb2 * (_f(1 / 120) - rb2 * _f(1 / 252)))
    # If m = 0 the two series are equal but for rounding; min(m, 1) makes the difference exactly 0.
    return value + log(ratio), steps + growth + (slope_a - slope_b) * min(m, _f(1))


def rising_table(kappa: float, size: int) -> np.ndarray:
    """Tabulate ``value`` with scale kappa + m, and ``slope``, for m < ``size`` and a = kappa.

    Summed in float64, ``(size, 2)`` float32.
    """
    m = np.arange(size)
    out = np.zeros((size, 2))
    np.cumsum(np.log(kappa + m[:-1]), out=out[1:, 0])
    np.cumsum(1.0 / (kappa + m[:-1]), out=out[1:, 1])
    out[:, 0] -= m * np.log(kappa + m)
    return out.astype(np.float32)
