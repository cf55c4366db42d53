"""Anchors that reach over microexons to the blocks beyond them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from leafletfa_scvi._contigs import other_names
from leafletfa_scvi.pp._codes import STRANDS, UNSTRANDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

Genes: TypeAlias = frozenset[int]
"""Genes by their number, ``number << 2 | strand``."""
Sites: TypeAlias = tuple[dict[int, Genes], dict[int, Genes]]
"""Genes that have an intron with this first, and with this last base, 1-based."""
Intron: TypeAlias = tuple[int, int, int, int]
"""First and last base, and aligned bases on its left and right."""

_COLUMNS: Final = ("chrom", "start", "end", "strand", "gene_id")
_STRAND_BITS: Final = 2
_STRAND_MASK: Final = 3
_CODES: Final = {sign: code for code, sign in enumerate(STRANDS)}


class Microexons:
    """Annotated splice sites of the genes that have a microexon.

    A microexon is an exon shorter than the minimum anchor, between the last base of one intron of
    a gene and the first base of another. Sites of other genes decide nothing, and so are left out:
    what remains is small enough to be sent to every process that counts.

    Parameters
    ----------
    introns
        Annotated introns: columns ``chrom``, ``start``, ``end`` (first and last base, 1-based),
        ``strand`` and ``gene_id``, as :attr:`Annotation.introns`.
    min_anchor
        Minimum number of aligned bases on each side of an intron.

    Attributes
    ----------
    sites
        Splice sites of each contig that has any.
    digest
        Text that is the same if and only if the sites are.

    Raises
    ------
    ValueError
        If a column is missing.
    """

    def __init__(self, introns: pd.DataFrame, min_anchor: int) -> None:
        missing = [name for name in _COLUMNS if name not in introns]
        if missing:
            raise ValueError(
                f"Expected `annotated_introns` with the columns {', '.join(_COLUMNS)}, found none "
                f"named {missing[0]!r}. Pass read_annotation(gtf).introns."
            )
        gene = introns.groupby(["chrom", "strand", "gene_id"], observed=True).ngroup().to_numpy()
        start, end = introns["start"].to_numpy(np.int64), introns["end"].to_numpy(np.int64)
        kept = np.isin(gene, _with_microexon(gene, start, end, min_anchor))
        gene = np.unique(gene[kept], return_inverse=True)[1]
        strand = introns["strand"].astype(str).to_numpy()[kept]
        chrom = introns["chrom"].astype(str).to_numpy()[kept]
        code = gene << _STRAND_BITS | np.array(
            [_CODES.get(sign, UNSTRANDED) for sign in strand], np.int64
        )
        self.sites: dict[str, Sites] = {
            name: (_by_site(start[kept][at], code[at]), _by_site(end[kept][at], code[at]))
            for name in np.unique(chrom).tolist()
            for at in [np.flatnonzero(chrom == name)]
        }
        rows = sorted(zip(chrom, start[kept], end[kept], code, strict=True))
        text = "\n".join(f"{c}:{s}-{e}:{g}" for c, s, e, g in rows)
        self.digest: str = hashlib.sha256(text.encode()).hexdigest()

    def on(self, contigs: Iterable[str]) -> dict[str, Sites]:
        """Return the sites on contigs of a file, by its names of them (``1`` for ``chr1``)."""
        names = set(contigs)
        found = {}
        for name in names:
            same = [name, *(other for other in other_names(name) if other not in names)]
            match = next((one for one in same if one in self.sites), None)
            if match is not None:
                found[name] = self.sites[match]
        return found


def _with_microexon(
    gene: np.ndarray, start: np.ndarray, end: np.ndarray, min_anchor: int
) -> np.ndarray:
    """Return the genes in which an intron ends less than ``min_anchor`` bases before another."""
    first = gene << 32 | end + 1  # of an exon
    last = np.sort(gene << 32 | start - 1)
    next_last = np.append(last, np.iinfo(np.int64).max)[np.searchsorted(last, first)]
    genes: np.ndarray = np.unique(gene[next_last - first + 1 < min_anchor])
    return genes


def _by_site(position: np.ndarray, gene: np.ndarray) -> dict[int, Genes]:
    """Return the genes of each position."""
    genes: dict[int, set[int]] = {}
    for where, which in zip(position.tolist(), gene.tolist(), strict=True):
        genes.setdefault(where, set()).add(which)
    return {where: frozenset(which) for where, which in genes.items()}


def reach_over_microexons(
    introns: Sequence[Intron], position: int, strand: int, sites: Sites, min_anchor: int
) -> list[Intron]:
    """Extend anchors over microexons.

    Aligned bases beyond the next intron of the read count towards an anchor if both introns, and
    any between them, begin and end at splice sites of one annotated gene, on the strand of the
    read if that is known. So an intron that is not annotated, or that only shares the microexon,
    gains nothing, nor does another beside it.

    Parameters
    ----------
    introns
        Introns of one read, from left to right.
    position
        0-based first aligned base of the read, from which the introns are counted.
    strand
        Code of the read's strand.
    sites
        Splice sites of the read's contig.
    min_anchor
        Minimum number of aligned bases on each side of an intron.

    Returns
    -------
    list
        The introns; anchors that are too short have the bases beyond the next introns added.
    """
    starts, ends = sites
    none: Genes = frozenset()
    genes = [
        starts.get(position + start, none) & ends.get(position + end, none)
        for start, end, _, _ in introns
    ]
    if not any(genes):
        return list(introns)
    if strand != UNSTRANDED:
        genes = [frozenset(one for one in of if one & _STRAND_MASK == strand) for of in genes]
    lefts = [left for _, _, left, _ in introns]
    rights = [right for _, _, _, right in introns]
    forward = [_reach(rights[i:], genes[i:], min_anchor) for i in range(len(introns))]
    backward = [_reach(lefts[i::-1], genes[i::-1], min_anchor) for i in range(len(introns))]
    return [
        (start, end, left, right)
        for (start, end, _, _), left, right in zip(introns, backward, forward, strict=True)
    ]


def _reach(blocks: Sequence[int], genes: Sequence[Genes], min_anchor: int) -> int:
    """Sum blocks from an intron outward, as far as needed and introns share a gene."""
    total, shared = blocks[0], genes[0]
    for block, more in zip(blocks[1:], genes[1:], strict=True):
        shared &= more
        if total >= min_anchor or not shared:
            break
        total += block
    return total
