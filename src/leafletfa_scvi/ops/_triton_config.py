"""Block sizes of the Triton kernels, by pass and padded number of programs.

The numbers were chosen from the registers and instructions of the compiled kernels, so that
nothing spills; they have not been timed on a GPU. :func:`tune` times others on one.
"""

from __future__ import annotations

from typing import NamedTuple


class Config(NamedTuple):
    """Entries of a tile, warps of a program, and stages of the loop over tiles."""

    entries: int
    warps: int
    stages: int


CONFIGS: dict[str, dict[int, Config]] = {
    "rows": {
        4: Config(32, 1, 1),
        8: Config(32, 1, 1),
        16: Config(32, 1, 1),
        32: Config(32, 1, 1),
        64: Config(32, 1, 1),
        128: Config(16, 1, 1),
    },
    "columns": {
        4: Config(32, 1, 1),
        8: Config(32, 1, 1),
        16: Config(32, 1, 1),
        32: Config(32, 1, 1),
        64: Config(32, 1, 1),
        128: Config(16, 1, 1),
    },
    "totals": {1: Config(128, 1, 1)},
}
"""One table: of a pass, by the power of 2 that holds the programs."""


def config(name: str, n_programs: int) -> Config:
    """The entry of the table that fits ``n_programs``, the largest there is above 128."""
    table = CONFIGS[name]
    return next((table[k] for k in sorted(table) if k >= n_programs), table[max(table)])
