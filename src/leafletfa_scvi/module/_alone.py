"""A lock for Pyro, whose handlers and parameter store belong to the whole process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.ops import random_alone

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def pyro_alone() -> Iterator[None]:
    """Wait until no other thread uses Pyro or torch's random state; a thread may enter again.

    Inside, tensors are made on the CPU unless a device is given, whatever torch's default device:
    data loaders of Lightning and torch rely on it.
    """
    with random_alone():
        # Not torch.get_default_device: in torch 2.7 it misses `with torch.device(...)`, and fails
        # after set_default_device(None).
        if torch.empty(0).device.type == "cpu":  # the usual case, and a mode costs time
            yield
        else:
            with torch.device("cpu"):
                yield
