"""Positions at which reads in an intron are counted, and those that other exons cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._contigs import match_contigs
from leafletfa_scvi.pp._junctions import introns
from leafletfa_scvi.pp.read.bam._crossings import Positions

if TYPE_CHECKING:
    from leafletfa_scvi.pp._junctions import Introns
    from leafletfa_scvi.pp.annotate._annotation import Annotation

N_INSIDE: Final = 5
"""Positions inside an intron, at equal distances."""
_MIN_INSIDE: Final = 2
"""Minimum number of positions inside that no exon covers."""


@dataclass(frozen=True, eq=False)
class Probes:
    """Positions of J introns: both boundaries, and some inside.

    Attributes
    ----------
    introns
        The J introns.
    position
        ``(J, 2 + N_INSIDE)`` 1-based base before each position: the last base of the exon on the
        left, the last base of the intron, and bases inside.
    is_free
        ``(J, 2 + N_INSIDE)``, True where no annotated exon covers the bases on both sides, other
        than exons of the same gene that contain the whole intron.
    is_measurable
        ``(J,)``, True if both boundaries and at least two positions inside are free, and no other
        junction lies within the intron.
    """

    introns: Introns
    position: np.ndarray
    is_free: np.ndarray
    is_measurable: np.ndarray

    def positions(self) -> Positions:
        """Return the positions of introns that are measurable."""
        contig = self.introns.contig[self.is_measurable]
        position = self.position[self.is_measurable]
        return Positions({name: position[contig == name].ravel() for name in np.unique(contig)})


def probe_introns(var: pd.DataFrame, annotation: Annotation | None) -> Probes:
    """Choose the positions at which the reads in each intron are counted.

    Parameters
    ----------
    var
        Junctions: ``chrom``, ``start``, ``end`` (1-based, inclusive introns), ``strand`` and, with
        an annotation, ``gene_id``.
    annotation
        Exons that may cover positions; None for none.
    """
    located = introns(var)
    start, end = located.start, located.end
    step = np.arange(1, N_INSIDE + 1) / (N_INSIDE + 1)
    inside = start[:, None] - 1 + np.rint(step * (end - start + 1)[:, None]).astype(np.int64)
    position = np.column_stack([start - 1, end, inside])
    is_free = np.ones(position.shape, bool)
    if annotation is not None:
        covering = _n_covering(located, position, annotation)
        is_free = covering <= _n_containing(located, var, annotation)[:, None]
    is_measurable = is_free[:, :2].all(axis=1) & (is_free[:, 2:].sum(axis=1) >= _MIN_INSIDE)
    is_measurable &= ~_has_other_within(located)
    return Probes(located, position, is_free, is_measurable)


def _n_covering(located: Introns, position: np.ndarray, annotation: Annotation) -> np.ndarray:
    """Count the exons, of any gene, that contain the bases on both sides of each position."""
    exons = annotation.exons
    chrom = exons["chrom"].astype(str).to_numpy(object)
    matched = match_contigs(located.chroms, chrom, "the junctions", "the annotation")
    first, last = exons["start"].to_numpy(np.int64), exons["end"].to_numpy(np.int64)
    count = np.zeros(position.shape, np.int64)
    for code, name in enumerate(located.chroms):
        on = np.flatnonzero(located.chrom == code)
        of = chrom == matched.get(name)
        begun = np.searchsorted(np.sort(first[of]), position[on], side="right")
        ended = np.searchsorted(np.sort(last[of]), position[on], side="right")
        count[on] = begun - ended
    return count


def _n_containing(located: Introns, var: pd.DataFrame, annotation: Annotation) -> np.ndarray:
    """Count the exons of a junction's own gene that contain its intron, as if it is retained."""
    if "gene_id" not in var:
        return np.zeros(len(var), np.int64)
    junctions = pd.DataFrame(
        {
            "gene_id": var["gene_id"].astype(object).to_numpy(),
            "junction": np.arange(len(var)),
            "first": located.start,
            "last": located.end,
        }
    )
    exons = annotation.exons[["gene_id", "start", "end"]].astype({"gene_id": object})
    both = junctions.merge(exons, on="gene_id")
    contains = (both["start"] < both["first"]) & (both["end"] > both["last"])
    count: np.ndarray = np.bincount(both["junction"][contains], minlength=len(var))
    return count


def _has_other_within(located: Introns) -> np.ndarray:
    """Return whether another intron, of either strand, lies within each."""
    where = np.column_stack([located.chrom, located.start, -located.end])
    distinct, number = np.unique(where, axis=0, return_inverse=True)
    has = np.zeros(len(distinct), bool)
    for code in range(len(located.chroms)):
        on = np.flatnonzero(distinct[:, 0] == code)
        # Sorted by start, the longest first: those within an intron come after it.
        end = -distinct[on, 2]
        least = np.minimum.accumulate(end[::-1])[::-1]
        has[on[:-1]] = least[1:] <= end[:-1]
    within: np.ndarray = has[number.ravel()]
    return within
