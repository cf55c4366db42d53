"""Limits of forked child processes: torch on one thread, and no numba kernels after a parent's.

The threads of an OpenMP pool do not survive a fork. In the child, torch waits for them for ever
once it asks for more than one thread, and numba ends the process.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_lost_pool = False
_on_fork: list[Callable[[], None]] = []


def in_child(action: Callable[[], None]) -> None:
    """Run ``action`` in every child that is forked from now on."""
    _on_fork.append(action)


def check_pool() -> None:
    """Refuse a numba kernel in a child whose parent ran one.

    Raises
    ------
    RuntimeError
        This process was forked after numba had started its OpenMP threads.
    """
    if _lost_pool:
        raise RuntimeError(
            "This process was forked from one that had run numba kernels on OpenMP threads, which "
            "a fork does not copy: start worker processes by multiprocessing.get_context('spawn') "
            "or 'forkserver'."
        )


def _openmp_started() -> bool:
    numba = sys.modules.get("numba")
    if numba is None:
        return False
    try:
        layer: str = numba.threading_layer()
    except ValueError:  # none was started
        return False
    return layer == "omp"


def _after_fork() -> None:
    global _lost_pool
    torch.set_num_threads(1)
    _lost_pool = _lost_pool or _openmp_started()
    for action in _on_fork:
        action()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
