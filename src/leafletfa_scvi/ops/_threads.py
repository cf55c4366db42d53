"""Running numba kernels alongside torch: one at a time, on torch's number of threads."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import numba
import torch
from numba.core import event

from leafletfa_scvi.ops._fork import check_pool, in_child

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("leafletfa_scvi")

# One kernel at a time: concurrent calls abort under numba's workqueue layer.
_lock = threading.Lock()


def _new_lock() -> None:
    """Replace a lock that a thread of the parent may have held at the fork."""
    global _lock
    _lock = threading.Lock()


in_child(_new_lock)


class _Announce(event.Listener):
    """Listener that logs once per process that kernels are compiled, which takes seconds."""

    def __init__(self) -> None:
        self.done = False

    def on_start(self, event: event.Event) -> None:
        if not self.done:
            logger.warning(
                "Compiling the CPU kernels of leafletfa-scvi: half a minute, once per machine."
            )
        self.done = True

    def on_end(self, event: event.Event) -> None:
        """Do nothing."""


_announce = _Announce()


def run_kernel(kernel: Callable[..., Any], *args: Any) -> None:
    """Run a kernel on torch's number of threads, and restore torch's setting.

    Raises
    ------
    RuntimeError
        The process was forked from one that had run numba kernels, whose threads are lost.
    """
    check_pool()
    with _lock, event.install_listener("numba:compile", _announce):
        n_threads, numba_threads = torch.get_num_threads(), numba.get_num_threads()
        most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined] # set at import
        numba.set_num_threads(max(1, min(n_threads, most)))
        try:
            kernel(*args)
        finally:
            numba.set_num_threads(numba_threads)
            # The first OpenMP kernel of numba resets the thread count of torch.
            if torch.get_num_threads() != n_threads:
                torch.set_num_threads(n_threads)
