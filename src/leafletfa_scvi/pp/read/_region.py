"""Restriction of junction counts to a region of the genome."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final

import numpy as np

from leafletfa_scvi.pp._text import whole_number

if TYPE_CHECKING:
    from leafletfa_scvi.pp.read._file_counts import FileCounts

_LAST: Final = 2**31 - 1
_REGION: Final = re.compile(r"(.+):([0-9,]+)-([0-9,]+)")


@dataclasses.dataclass(frozen=True)
class Region:
    """Part of a contig, from its first to its last base, 1-based and inclusive."""

    contig: str
    start: int = 1
    end: int = _LAST


def parse_region(text: str) -> Region:
    """Return the region of a text such as ``chr10:1-1000000`` or ``chr10``, as of samtools.

    Raises
    ------
    ValueError
        If the text is no region.
    """
    error = ValueError(
        f"Expected region to be a contig, or contig:start-end with its first and last base "
        f"(1-based), found {text!r}. Write it as in 'chr10:1-1000000'."
    )
    if not isinstance(text, str) or not text.strip() or text != text.strip():
        raise error
    match = _REGION.fullmatch(text)
    if match is None:
        if text.endswith(":") or re.search(r":[0-9,]*-?[0-9,]*$", text):
            raise error
        return Region(text)
    start, end = (whole_number(number.replace(",", "")) for number in match.groups()[1:])
    if start is None or end is None or not 1 <= start <= end <= _LAST:
        raise error
    return Region(match[1], start, end)


def within(counts: FileCounts, region: Region, *, drop_empty: bool = False) -> FileCounts:
    """Return the counts of junctions that lie in a region, both ends included.

    Cells without any are kept, unless ``drop_empty``. ``report`` counts the others as
    ``junctions_outside_region`` and ``reads_outside_region``.
    """
    contig = np.array([name == region.contig for name in counts.contigs], bool)
    kept = (counts.start >= region.start) & (counts.end <= region.end)
    kept &= contig[counts.contig] if len(contig) else False
    is_kept = kept[counts.junction] if len(kept) else np.zeros(0, bool)
    counts.report["junctions_outside_region"] = int((~kept).sum())
    counts.report["reads_outside_region"] = int(counts.count[~is_kept].sum(dtype=np.int64))
    cell = counts.cell[is_kept]
    used = np.ones(len(counts.cells), bool)
    if drop_empty:
        used = np.bincount(cell, minlength=len(counts.cells)) > 0
    number = (np.cumsum(kept) - 1).astype(np.int32)
    return dataclasses.replace(
        counts,
        contigs=(region.contig,) if kept.any() else (),
        contig=np.zeros(int(kept.sum()), np.int32),
        start=counts.start[kept],
        end=counts.end[kept],
        strand=counts.strand[kept],
        motif=counts.motif[kept],
        cells=tuple(name for name, use in zip(counts.cells, used, strict=True) if use),
        cell=(np.cumsum(used) - 1).astype(np.int32)[cell],
        junction=number[counts.junction[is_kept]],
        count=counts.count[is_kept],
    )
