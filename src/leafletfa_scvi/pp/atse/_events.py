"""Event types: the kind of splicing event that the junctions of an ATSE represent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.pp._codes import FORWARD, REVERSE, STRANDS, UNSTRANDED
from leafletfa_scvi.pp._junctions import Introns, introns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leafletfa_scvi.pp.annotate._annotation import Annotation

CASSETTE_EXON: Final = "cassette_exon"
MUTUALLY_EXCLUSIVE: Final = "mutually_exclusive_exons"
ALTERNATIVE_5SS: Final = "alternative_5ss"
ALTERNATIVE_3SS: Final = "alternative_3ss"
FIRST_EXON: Final = "alternative_first_exon"
LAST_EXON: Final = "alternative_last_exon"
MULTI_EXON_SKIP: Final = "multi_exon_skip"
COMPLEX: Final = "complex"
EVENT_TYPES: Final = (
    CASSETTE_EXON,
    MUTUALLY_EXCLUSIVE,
    ALTERNATIVE_5SS,
    ALTERNATIVE_3SS,
    FIRST_EXON,
    LAST_EXON,
    MULTI_EXON_SKIP,
    COMPLEX,
)
"""All event types, in the order of the definitions."""

# Pairs (rank of the left site, rank of the right site) of four junctions, one bit each.
_EXCLUSIVE_BITS: Final = sum(
    1 << 3 * left + right for left, right in [(0, 0), (0, 1), (1, 2), (2, 2)]
)
_AS_OBJECTS: Final = {"chrom": object, "strand": object}


def event_types(
    junctions: pd.DataFrame,
    atse_id: pd.Series | Sequence[Any] | np.ndarray,
    *,
    all_junctions: pd.DataFrame | None = None,
    annotation: Annotation | None = None,
) -> pd.Series:
    """Classify the splicing event of each ATSE of a table; see :func:`classify_events`.

    Parameters
    ----------
    junctions
        J rows in any order: ``chrom``; ``start`` and ``end``, the first and last base of the
        intron, 1-based; ``strand``, one of ``+``, ``-`` and ``?``. Repeated junctions count once.
    atse_id
        ``(J,)`` name of the ATSE of each junction, or None or NaN. A Series is aligned by its
        index if that differs from the index of ``junctions``.
    all_junctions
        Further junctions that were observed, such as those in no ATSE; the same columns.
    annotation
        Annotated introns and exons, of which those on ``+`` and ``-`` are used.

    Returns
    -------
    Series
        Event type of each ATSE, as text, by its name; sorted by name.

    Raises
    ------
    ValueError
        If a column is missing or holds other values, or ``atse_id`` does not fit.
    """
    labels = _aligned(atse_id, junctions)
    is_labelled = np.flatnonzero(~pd.isna(labels))
    atse, names = pd.factorize(labels[is_labelled].astype(str), sort=True)
    tables = [junctions] if all_junctions is None else [junctions, all_junctions]
    if annotation is not None:
        tables.append(_stranded(annotation.introns))
    if len(tables) > 1:
        for table in tables:
            introns(table.iloc[:0])  # raises if a column is missing
        columns = ["chrom", "start", "end", "strand"]
        junctions = pd.concat([table[columns].astype(_AS_OBJECTS) for table in tables])
    observed = _on_strands_of_atses(introns(junctions), is_labelled, atse)
    graphs = _Graphs(observed, is_labelled, atse, len(names))

    types = np.full(len(names), COMPLEX, object)
    is_cassette, is_multi_skip = graphs.exon_skips(observed)
    types[is_cassette] = CASSETTE_EXON
    types[is_multi_skip] = MULTI_EXON_SKIP
    exons = None if annotation is None else _stranded(annotation.exons)
    # Left ends are donors on the forward strand and acceptors on the reverse strand.
    for side, strand, alternative, outermost in (
        ("left", FORWARD, ALTERNATIVE_5SS, FIRST_EXON),
        ("left", REVERSE, ALTERNATIVE_3SS, LAST_EXON),
        ("right", FORWARD, ALTERNATIVE_3SS, LAST_EXON),
        ("right", REVERSE, ALTERNATIVE_5SS, FIRST_EXON),
    ):
        is_alternative = graphs.differ_at(side, strand)
        types[is_alternative] = alternative
        if exons is not None:
            flag = "first" if outermost == FIRST_EXON else "last"
            flagged = exons[(exons["strand"] == STRANDS[strand]) & exons[flag].astype(bool)]
            is_apart = graphs.exons_apart(side, flagged, observed.chroms)
            types[is_alternative & is_apart] = outermost
    types[graphs.exclusive(observed)] = MUTUALLY_EXCLUSIVE
    index = pd.Index(names, dtype=object, name=ATSE_KEY)
    return pd.Series(types, index, dtype=object, name="event_type")


def _aligned(atse_id: Any, junctions: pd.DataFrame) -> np.ndarray:
    """Return the labels in the order of the rows."""
    if isinstance(atse_id, pd.Series) and not atse_id.index.equals(junctions.index):
        for what, index in (("atse_id", atse_id.index), ("junctions", junctions.index)):
            if index.has_duplicates:
                repeated = index[index.duplicated()].tolist()[0]
                raise ValueError(
                    f"{what} has {repeated!r} in its index more than once: atse_id cannot be "
                    "aligned. Pass atse_id.to_numpy() to take it in order."
                )
        missing = junctions.index.difference(atse_id.index).tolist()
        if missing:
            raise ValueError(
                f"atse_id has no entry for junction {missing[0]!r}, {len(missing)} in all."
            )
        atse_id = atse_id.loc[junctions.index]
    labels = np.asarray(atse_id, dtype=object)
    if labels.shape != (len(junctions),):
        raise ValueError(f"atse_id has shape {labels.shape} for {len(junctions)} junctions.")
    return labels


def _on_strands_of_atses(observed: Introns, rows: np.ndarray, atse: np.ndarray) -> Introns:
    """Put junctions of unknown strand on that of the others of their ATSE, if they have one."""
    strand = observed.strand.copy()
    of_atse = pd.Series(strand[rows]).where(strand[rows] != UNSTRANDED).groupby(atse)
    is_open = strand[rows] == UNSTRANDED
    is_one = (of_atse.transform("min") == of_atse.transform("max")).to_numpy()
    joined = is_open & is_one
    strand[rows[joined]] = of_atse.transform("max").to_numpy()[joined]
    return replace(observed, strand=strand)


def _stranded(table: pd.DataFrame) -> pd.DataFrame:
    """Select the rows on ``+`` and ``-``."""
    return table[table["strand"].isin([STRANDS[FORWARD], STRANDS[REVERSE]])]


class _Graphs:
    """Splice graphs of all A ATSEs, as arrays over their D distinct junctions.

    Left sites are kept in one array, sorted by ATSE and position, and right sites in another. All
    methods return a mask over ATSEs, ``(A,)`` bool.
    """

    def __init__(self, table: Introns, rows: np.ndarray, atse: np.ndarray, n_atses: int) -> None:
        keys = (table.strand_key[rows], table.end[rows], table.start[rows], atse)
        order = np.lexsort(keys)
        strand_key, end, start, atse = (values[order] for values in keys)
        new = _changes(atse, start, end, strand_key)
        strand_key, end, start, atse = (values[new] for values in (strand_key, end, start, atse))
        self.atse, self.start, self.end = atse, start, end
        self.size = np.bincount(atse, minlength=n_atses)
        self.strand_key = np.zeros(n_atses, np.int64)
        self.strand_key[atse] = strand_key
        # Labels may come from elsewhere and join several contigs or both strands.
        self.is_mixed = np.zeros(n_atses, bool)
        self.is_mixed[atse[strand_key != self.strand_key[atse]]] = True
        self.lefts, self.left = _ranked(atse, start, n_atses)
        self.rights, self.right = _ranked(atse, end, n_atses)

    def exon_skips(self, observed: Introns) -> tuple[np.ndarray, np.ndarray]:
        """Find cassette exons and multi-exon skips."""
        lefts, rights = self.lefts, self.rights
        # Both consist of a row of introns, the i-th from the i-th left to the i-th right site,
        # with an exon of at least one base between neighbors, and of junctions that span several.
        is_row = (lefts.number == rights.number) & (lefts.number > 1) & ~self.is_mixed
        at_left, at_right = is_row[lefts.atse], is_row[rights.atse]
        atse, left, right = lefts.atse[at_left], lefts.position[at_left], rights.position[at_right]
        is_row[atse[left > right]] = False
        is_row[atse[:-1][(atse[1:] == atse[:-1]) & (left[1:] < right[:-1] + 2)]] = False
        of_row = self.atse[self.left == self.right]
        is_row &= np.bincount(of_row, minlength=len(is_row)) == lefts.number

        n_skipped = self.right - self.left  # exons of the row that a junction skips
        is_multi = np.zeros(len(is_row), bool)
        is_multi[self.atse[n_skipped > 1]] = True
        # A single exon of the row consists of several if an observed intron lies within it. Such
        # an intron shares no splice site with the ATSE, so it is not in its graph.
        single = np.flatnonzero((n_skipped == 1) & is_row[self.atse])
        atse = self.atse[single]
        exon_start = rights.position[rights.first[atse] + self.left[single]] + 1
        exon_end = lefts.position[lefts.first[atse] + self.right[single]] - 1
        within = contain_intron(
            observed.start,
            observed.end,
            observed.strand_key,
            self.strand_key[atse],
            exon_start,
            exon_end,
        )
        is_multi[atse[within]] = True
        return is_row & ~is_multi & (self.size == 3), is_row & is_multi

    def exclusive(self, observed: Introns) -> np.ndarray:
        """Find mutually exclusive exons, each half of a pair of ATSEs or both in one."""
        lefts, rights = self.lefts, self.rights
        # The k junctions into the exons share their left site, the k junctions out of them their
        # right site, and the two sets share none: they are two ATSEs, which have to be paired.
        size = np.where(self.is_mixed, 0, self.size)
        into = np.flatnonzero((lefts.number == 1) & (size > 1))
        out_of = np.flatnonzero((rights.number == 1) & (size > 1))
        # Candidates are found by position: the first exon starts after the first right site of
        # `into` and ends at the first left site of `out_of`, before the second exon starts. One
        # number for strand and position makes this a binary search.
        span = int(max(self.end.max(initial=0), self.start.max(initial=0))) + 3
        exit_key = self.strand_key[out_of] * span + lefts.position[lefts.first[out_of]]
        out_of = out_of[np.argsort(exit_key, kind="stable")]
        exit_key = np.sort(exit_key)
        offset, entry = self.strand_key[into] * span, rights.first[into]
        low = np.searchsorted(exit_key, offset + rights.position[entry] + 2)
        high = np.searchsorted(exit_key, offset + rights.position[entry + 1], side="right")
        n_candidates = np.maximum(high - low, 0)
        first = np.repeat(into, n_candidates)
        rank = np.arange(len(first)) - np.repeat(
            np.cumsum(n_candidates) - n_candidates, n_candidates
        )
        second = out_of[np.repeat(low, n_candidates) + rank]
        first, second = (atses[size[first] == size[second]] for atses in (first, second))
        # ATSEs that hold both halves are paired with themselves; their left sites are the shared
        # one and the ends of the two exons.
        both = np.flatnonzero(self._two_exclusive())
        entry_site = np.concatenate([rights.first[first], rights.first[both]])
        exit_site = np.concatenate([lefts.first[second], lefts.first[both] + 1])
        n_exons = np.concatenate([size[first], np.full(len(both), 2)])
        first, second = np.concatenate([first, both]), np.concatenate([second, both])

        # The i-th exon lies between the i-th entry and the i-th exit. Exons have at least one
        # base, an intron of at least one base between them, and no observed intron inside.
        pair = np.repeat(np.arange(len(first)), n_exons)
        rank = np.arange(len(pair)) - (np.cumsum(n_exons) - n_exons)[pair]
        exon_start = rights.position[entry_site[pair] + rank] + 1
        exon_end = lefts.position[exit_site[pair] + rank] - 1
        is_wrong = exon_start > exon_end
        is_wrong[1:] |= (pair[1:] == pair[:-1]) & (exon_start[1:] < exon_end[:-1] + 2)
        is_wrong |= contain_intron(
            observed.start,
            observed.end,
            observed.strand_key,
            self.strand_key[first][pair],
            exon_start,
            exon_end,
        )
        is_exclusive = np.ones(len(first), bool)
        is_exclusive[pair[is_wrong]] = False
        result = np.zeros(len(size), bool)
        result[first[is_exclusive]] = result[second[is_exclusive]] = True
        return result

    def _two_exclusive(self) -> np.ndarray:
        """Find ATSEs of the four junctions of two mutually exclusive exons, by their order."""
        match = (self.size == 4) & (self.lefts.number == 3) & (self.rights.number == 3)
        match &= ~self.is_mixed
        is_candidate = match[self.atse]
        bits = np.left_shift(1, 3 * self.left[is_candidate] + self.right[is_candidate])
        pattern = np.bincount(self.atse[is_candidate], bits, minlength=len(match))
        result: np.ndarray = match & (pattern == _EXCLUSIVE_BITS)
        return result

    def differ_at(self, side: str, strand: int) -> np.ndarray:
        """Find ATSEs on a strand whose junctions differ only in their left or right ends."""
        opposite = self.rights if side == "left" else self.lefts
        is_found: np.ndarray = (opposite.number == 1) & (self.size > 1) & ~self.is_mixed
        is_found &= self.strand_key % len(STRANDS) == strand
        return is_found

    def exons_apart(self, side: str, exons: pd.DataFrame, chroms: list[str]) -> np.ndarray:
        """Find ATSEs with an exon at every left (right) end, none overlapping another.

        ``exons`` are of one strand.
        """
        sites = self.lefts if side == "left" else self.rights
        chrom = pd.Index(chroms).get_indexer(pd.Index(exons["chrom"].astype(str)))
        is_known = chrom >= 0
        chrom, begin, end = (
            np.asarray(values, np.int64)[is_known]
            for values in (chrom, exons["start"], exons["end"])
        )
        # An exon has a near end, which touches the site, and a far end. Of several exons at a site
        # the shortest is kept, which overlaps the fewest others.
        if side == "left":
            near, far, sign = end + 1, begin, 1
        else:
            near, far, sign = begin - 1, end, -1
        order = np.lexsort((-sign * far, near, chrom))
        chrom, near, far = chrom[order], near[order], far[order]
        shortest = _changes(chrom, near)
        chrom, near, far = chrom[shortest], near[shortest], far[shortest]

        span = max(int(near.max(initial=0)), int(sites.position.max(initial=0))) + 1
        site_key = self.strand_key[sites.atse] // len(STRANDS) * span + sites.position
        exon = pd.Index(chrom * span + near).get_indexer(site_key)
        is_apart = np.ones(len(self.size), bool)
        is_apart[sites.atse[exon < 0]] = False
        far_end = np.append(far, 0)[exon]
        pairs = np.flatnonzero(sites.atse[1:] == sites.atse[:-1])
        # Neighbors overlap if the far end of one exon lies beyond the site of the other.
        if side == "left":
            overlap = far_end[pairs + 1] < sites.position[pairs]
        else:
            overlap = far_end[pairs] > sites.position[pairs + 1]
        is_apart[sites.atse[pairs[overlap]]] = False
        return is_apart


@dataclass(frozen=True, eq=False)
class _Sites:
    """Distinct splice sites of all ATSEs, sorted by ATSE and position.

    Attributes
    ----------
    atse, position
        ATSE and position of each site.
    first, number
        First site of each ATSE, and number of its sites.
    """

    atse: np.ndarray
    position: np.ndarray
    first: np.ndarray
    number: np.ndarray


def _ranked(atse: np.ndarray, position: np.ndarray, n_atses: int) -> tuple[_Sites, np.ndarray]:
    """Return distinct sites, and the rank of each junction's site in its ATSE, from 0."""
    order = np.lexsort((position, atse))
    new = _changes(atse[order], position[order])
    site = np.empty(len(order), np.int64)
    site[order] = np.cumsum(new) - 1
    atse_of_site, distinct = atse[order][new], position[order][new]
    number = np.bincount(atse_of_site, minlength=n_atses)
    first = np.cumsum(number) - number
    return _Sites(atse_of_site, distinct, first, number), site - first[atse]


def _changes(*sorted_values: np.ndarray) -> np.ndarray:
    """Mark rows that differ from the one before; the first row always does."""
    new = np.ones(len(sorted_values[0]), bool)
    new[1:] = False
    for values in sorted_values:
        new[1:] |= values[1:] != values[:-1]
    return new


def contain_intron(
    start: np.ndarray,
    end: np.ndarray,
    key: np.ndarray,
    exon_key: np.ndarray,
    exon_start: np.ndarray,
    exon_end: np.ndarray,
) -> np.ndarray:
    """Mark exons that contain one of the introns, with at least one base on either side.

    ``key`` and ``exon_key`` number the strands (or genes) of at least one intron and of the exons.
    """
    if not len(exon_key):
        return np.zeros(0, bool)
    # Of all introns that start inside an exon or further right, the one with the smallest end is
    # in the exon if any is: a cumulative minimum from the right answers all exons at once.
    order = np.lexsort((start, key))[::-1]
    smallest = pd.Series(end[order]).groupby(key[order]).cummin()
    order, smallest_end = order[::-1], smallest.to_numpy()[::-1]
    span = max(int(start.max()), int(exon_start.max()) + 1) + 1
    start_key = key[order] * span + start[order]
    following = np.searchsorted(start_key, exon_key * span + exon_start + 1)
    exon = np.flatnonzero(following < len(start_key))
    on_strand = key[order[following[exon]]] == exon_key[exon]
    exon = exon[on_strand]
    result = np.zeros(len(exon_key), bool)
    result[exon] = smallest_end[following[exon]] <= exon_end[exon] - 1
    return result
