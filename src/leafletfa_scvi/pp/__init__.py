"""From files and matrices to a splicing data set.

Names are imported on first use: processes that read files then start without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leafletfa_scvi.pp._counts import splicing_from_counts

_HOMES = {"splicing_from_counts": "_counts"}

__all__ = ["splicing_from_counts"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
