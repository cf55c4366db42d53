"""One thread at a time in Pyro, whose handlers and parameter store are those of the process."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_lock = threading.RLock()


@contextmanager
def pyro_alone() -> Iterator[None]:
    """Wait until no other thread uses Pyro; the same thread may enter again.

    Inside, tensors are made on the CPU where nothing else is asked for, whatever torch's default
    device: loaders of Lightning and torch rely on it.
    """
    with _lock:
        # Not torch.get_default_device: in torch 2.7 it misses `with torch.device(...)`, and fails
        # after set_default_device(None).
        if torch.empty(0).device.type == "cpu":  # the usual case, and a mode costs time
            yield
        else:
            with torch.device("cpu"):
                yield


def _new_lock() -> None:
    """Forget a lock that a thread of the parent held when the process was forked."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_new_lock)
