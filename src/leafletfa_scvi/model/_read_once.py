"""Counts that several methods of a model read, kept between them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from anndata import AnnData

    from leafletfa_scvi.model._base import SplicingModelBase
    from leafletfa_scvi.ops import ObservedEntries


@dataclass
class ReadOnce:
    """Cells whose counts are kept once they are read.

    Attributes
    ----------
    adata
        The cells.
    found
        Their entries and fingerprints; None before they are read.
    """

    adata: AnnData
    found: tuple[ObservedEntries, np.ndarray] | None = None


@contextmanager
def read_once(model: SplicingModelBase | None, adata: AnnData) -> Iterator[None]:
    """Within this context, methods of a model read and check the counts of ``adata`` once.

    Parameters
    ----------
    model
        Model whose methods are called with ``adata``; None if there is none.
    adata
        Cells that are not changed meanwhile.
    """
    before = None if model is None else model._read_once
    if model is None or (before is not None and before.adata is adata):
        yield
        return
    model._read_once = ReadOnce(adata)
    try:
        yield
    finally:
        model._read_once = before
