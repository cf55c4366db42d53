"""What the writers have in common: checked junctions, counts and targets."""

from __future__ import annotations

import gzip
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from leafletfa_scvi.pp._junctions import introns
from leafletfa_scvi.pp.qc._matrices import junction_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    import scipy.sparse as sp
    from anndata import AnnData

    from leafletfa_scvi.pp._junctions import Introns


def counts_and_introns(adata: AnnData) -> tuple[sp.csr_matrix, Introns]:
    """Return the junction counts of a data set and the coordinates of its junctions, checked."""
    counts = junction_counts(adata)
    return counts, introns(adata.var)


def check_targets(targets: Iterable[str | os.PathLike[str]], overwrite: bool) -> list[Path]:
    """Return files to write as paths; fail if one exists and may not be replaced."""
    paths = [Path(target) for target in targets]
    existing = [] if overwrite else [path for path in paths if os.path.lexists(path)]
    if existing:
        raise FileExistsError(f"{existing[0]} already exists. Name another, or overwrite=True.")
    return paths


@contextmanager
def text_file(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file for bytes of text, compressed if its name ends with ``.gz``.

    The bytes depend on the content alone, not on the time or the name.
    """
    with open(path, "wb") as raw:
        if not path.name.endswith(".gz"):
            yield raw
            return
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            yield file
