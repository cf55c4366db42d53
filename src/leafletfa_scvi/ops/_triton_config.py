"""Block sizes of the Triton kernels, by pass and padded number of programs.

They were chosen from what the compiler reports for sm_80 and sm_90: no spilled registers at 20
programs, 16 warps or more on a multiprocessor, and a warp whose threads all work on entries of
their own. None has been timed on a GPU; :func:`tune` does that on one.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Config(NamedTuple):
    """Entries of a tile, warps of a program, and stages of the loop over tiles."""

    entries: int
    warps: int
    stages: int


CONFIGS: dict[str, dict[int, Config]] = {
    "rows": dict.fromkeys((4, 8, 16, 32, 64, 128), Config(32, 1, 1)),
    "columns": {
        **dict.fromkeys((4, 8, 16, 32, 64), Config(32, 1, 1)),
        128: Config(16, 1, 1),
    },
    "totals": {1: Config(128, 1, 1)},
}
"""Configuration of each pass, by the power of 2 that holds the programs."""


def padded(name: str, n_programs: int) -> int:
    """Return the smallest key of a pass that is at least ``n_programs``, or the largest key."""
    keys = sorted(CONFIGS[name])
    return next((k for k in keys if k >= n_programs), keys[-1])


def config(name: str, n_programs: int) -> Config:
    """Return the block sizes of a pass for ``n_programs``."""
    return CONFIGS[name][padded(name, n_programs)]


def tune(sweep: Callable[[], object], n_programs: int) -> None:
    """Time block sizes on this GPU, keep the fastest in ``CONFIGS`` and print them.

    Parameters
    ----------
    sweep
        What to time, for example
        ``lambda: gradients(entries, phi, psi, kappa, deterministic=True)`` of
        :mod:`leafletfa_scvi.ops._triton`, on entries that are many times the cache.
    n_programs
        Number of programs in it.
    """
    from triton.testing import do_bench

    for name in ("rows", "columns"):
        key = padded(name, n_programs)
        milliseconds = {}
        for entries, warps, stages in product((16, 32, 64, 128), (1, 2, 4), (1, 2, 3)):
            filled = entries >= 32 * warps or warps == 1
            if filled and entries * key <= 4096 * warps:
                chosen = CONFIGS[name][key] = Config(entries, warps, stages)
                milliseconds[chosen] = do_bench(sweep)
        best = min(milliseconds, key=milliseconds.__getitem__)
        CONFIGS[name][key] = best
        print(f"{name} {key}: {best}, {milliseconds[best]:.3f} ms")
