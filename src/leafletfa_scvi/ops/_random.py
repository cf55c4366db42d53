"""Torch's random state, which is that of the process, used by one thread at a time."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.ops._fork import in_child

if TYPE_CHECKING:
    from collections.abc import Iterator

_lock = threading.RLock()


def _new_lock() -> None:
    """Forget a lock that a thread of the parent held when the process was forked."""
    global _lock
    _lock = threading.RLock()


in_child(_new_lock)


@contextmanager
def random_alone() -> Iterator[None]:
    """Wait until no other thread draws from torch's random state; a thread may enter again."""
    with _lock:
        yield


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Draw from ``seed``, alone; torch's random state is then as it was.

    Parameters
    ----------
    seed
        The same seed gives the same draws, whatever other threads draw.
    """
    with _lock, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
