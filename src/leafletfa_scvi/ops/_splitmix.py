"""SplitMix64 (Steele, Lea and Flood 2014), for random numbers and hashes."""

from __future__ import annotations

from typing import Any

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Step of the sequence, which :func:`scramble` turns into random bits."""


def scramble(z: Any) -> Any:
    """Scramble the bits of a uint64, or of an array of these; a bijection.

    Numba compiles the same function for scalars.
    """
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
