"""Contents of a part, for tests to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leafletfa_scvi.pp._codes import STRANDS

if TYPE_CHECKING:
    from leafletfa_scvi.pp.read._file_counts import FileCounts


def counts(part: FileCounts) -> dict[tuple[str, str, int, int, str], int]:
    """Counts by cell, contig, start, end and strand."""
    return {
        (
            part.cells[cell],
            part.contigs[part.contig[j]],
            int(part.start[j]),
            int(part.end[j]),
            STRANDS[part.strand[j]],
        ): int(n)
        for cell, j, n in zip(part.cell, part.junction, part.count, strict=True)
    }
