"""Event types: what kind of alternative splicing the junctions of an ATSE show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.pp._codes import FORWARD, REVERSE, STRANDS
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


def classify_events(
    junctions: pd.DataFrame,
    atse_id: pd.Series | Sequence[Any] | np.ndarray,
    *,
    all_junctions: pd.DataFrame | None = None,
    annotation: Annotation | None = None,
) -> pd.Series:
    """Type of the splicing event of each ATSE, from its junctions.

    Coordinates run from left to right along the genome, whatever the strand; ``a--b`` is the
    junction with first intron base a and last intron base b, 1-based. An exon between the
    junctions ``a--b`` and ``c--d`` is b+1 .. c-1 and has at least one base. Donor and acceptor
    are the left and the right end of an intron on ``+``, and the right and the left end on
    ``-``. The definitions are exact: an ATSE with one junction more or less is another thing.

    ``cassette_exon``: ``a--b``, ``c--d`` and ``a--d``, one exon in between::

        =====a--b====c--d=====        a < b < c < d
        =====a----------d=====

    ``multi_exon_skip``: one junction skips several exons. Either the pattern of a cassette exon,
    but some intron ``x--y`` of the same strand lies between b and c and leaves an exon on either
    side (so one such intron is a path from b to c). It shares no splice site with the other
    three, so it is looked for in ``junctions``, those without ATSE included, in ``all_junctions``
    and among the introns of ``annotation``::

        =====a--b====x--y====c--d=====        a < b < x <= y < c < d
        =====a------------------d=====

    Or the ATSE consists of a row of at least three introns ``a--b``, ``c--d``, ``e--f``, ... and
    of junctions from the left end of one of them to the right end of a later one, at least one of
    which skips several exons, counted as above::

        =====a--b====c--d====e--f=====
        =====a----------d====e--f=====
        =====a------------------f=====

    ``mutually_exclusive_exons``: one exon or the other, ``a--b`` and ``c--d`` or ``a--e`` and
    ``f--d``; with ``c--e`` (both) or ``a--d`` (none) it is another type. The junctions that leave
    a share no splice site with those that arrive at d: they are two ATSEs, and both get this type
    if no other junction is in either, and no intron as above lies between b and c or between e
    and f. In the same way, one of three or more exons; and all of this in one ATSE, should
    ``atse_id`` put it there::

        =====a--b====c------------d=====        a < b < c <= e < f < d
        =====a-----------e====f---d=====

    ``alternative_5ss``: all junctions share their acceptor; ``alternative_3ss``: all share their
    donor::

        ===a-----b=====        alternative_5ss on +, alternative_3ss on -
        =====c---b=====

        =====a---b=====        alternative_3ss on +, alternative_5ss on -
        =====a-----c===

    ``alternative_first_exon``: as ``alternative_5ss``, and annotated first exons end at all of
    the donors that do not overlap each other (of several that end at a donor, the shortest
    counts). ``alternative_last_exon``: as ``alternative_3ss``, and such last exons begin at all
    of the acceptors::

        [==a----------b=====        alternative_first_exon on +, alternative_last_exon on -
             [==c-----b=====        ([: where transcripts begin on +, and end on -)

        =====a-----b==]             alternative_last_exon on +, alternative_first_exon on -
        =====a----------c==]

    ``complex``: everything else; also junctions that share one site where their strand is ``?``,
    and ATSEs of one junction, of several chromosomes or of both strands.

    Parameters
    ----------
    junctions
        J rows in any order: ``chrom``; ``start`` and ``end``, the first and last base of the
        intron, 1-based; ``strand``, one of ``+``, ``-`` and ``?``. Repeated junctions count once.
    atse_id
        ``(J,)`` name of the ATSE of each junction, or None or NaN. A Series is aligned by its
        index where that is not the index of ``junctions``.
    all_junctions
        More junctions that have been observed, such as those that are in no ATSE; the same
        columns.
    annotation
        Annotated introns and exons, of which those on ``+`` and ``-`` are used.

    Returns
    -------
    Series
        Event type of each ATSE, as text, by its name; sorted by name.

    Raises
    ------
    ValueError
        A column is missing or holds something else than stated, or ``atse_id`` does not fit.

    Notes
    -----
    The types are those of rMATS and SUPPA2, restated for junctions. Genes do not matter here: an
    intron of an overlapping gene on the same strand shows exons as any other.
    """
    labels = _aligned(atse_id, junctions)
    labelled = np.flatnonzero(~pd.isna(labels))
    atse, names = pd.factorize(labels[labelled].astype(str), sort=True)
    tables = [junctions] if all_junctions is None else [junctions, all_junctions]
    if annotation is not None:
        tables.append(_of_strands(annotation.introns))
    if len(tables) > 1:
        for table in tables:
            introns(table.iloc[:0])  # names a column that is missing
        columns = ["chrom", "start", "end", "strand"]
        junctions = pd.concat([table[columns].astype(_AS_OBJECTS) for table in tables])
    observed = introns(junctions)
    graphs = _Graphs(observed, labelled, atse, len(names))

    types = np.full(len(names), COMPLEX, object)
    cassette, several = graphs.exon_skips(observed)
    types[cassette] = CASSETTE_EXON
    types[several] = MULTI_EXON_SKIP
    exons = None if annotation is None else _of_strands(annotation.exons)
    for ends, of_strand, alternative, outermost in (
        ("left", FORWARD, ALTERNATIVE_5SS, FIRST_EXON),
        ("left", REVERSE, ALTERNATIVE_3SS, LAST_EXON),
        ("right", FORWARD, ALTERNATIVE_3SS, LAST_EXON),
        ("right", REVERSE, ALTERNATIVE_5SS, FIRST_EXON),
    ):
        differ = graphs.differ_at(ends, of_strand)
        types[differ] = alternative
        if exons is not None:
            flag = "first" if outermost == FIRST_EXON else "last"
            of_flag = exons[(exons["strand"] == STRANDS[of_strand]) & exons[flag].astype(bool)]
            apart = graphs.exons_apart(ends, of_flag, observed.chroms)
            types[differ & apart] = outermost
    types[graphs.exclusive(observed)] = MUTUALLY_EXCLUSIVE
    index = pd.Index(names, dtype=object, name=ATSE_KEY)
    return pd.Series(types, index, dtype=object, name="event_type")


def _aligned(atse_id: Any, junctions: pd.DataFrame) -> np.ndarray:
    """Labels in the order of the rows."""
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


def _of_strands(table: pd.DataFrame) -> pd.DataFrame:
    """Rows on ``+`` and ``-``."""
    return table[table["strand"].isin([STRANDS[FORWARD], STRANDS[REVERSE]])]


class _Graphs:
    """The splice graphs of all A ATSEs, as arrays over their D distinct junctions.

    Left sites are kept in one array, sorted by ATSE and position, and right sites in another.
    """

    def __init__(self, table: Introns, rows: np.ndarray, atse: np.ndarray, n_atses: int) -> None:
        keys = (table.place[rows], table.end[rows], table.start[rows], atse)
        order = np.lexsort(keys)
        place, end, start, atse = (values[order] for values in keys)
        new = _changes(atse, start, end, place)
        place, end, start, atse = (values[new] for values in (place, end, start, atse))
        self.atse, self.start, self.end = atse, start, end
        self.size = np.bincount(atse, minlength=n_atses)
        self.place = np.zeros(n_atses, np.int64)
        self.place[atse] = place
        self.mixed = np.zeros(n_atses, bool)
        self.mixed[atse[place != self.place[atse]]] = True
        self.lefts, self.left = _ranked(atse, start, n_atses)
        self.rights, self.right = _ranked(atse, end, n_atses)

    def exon_skips(self, observed: Introns) -> tuple[np.ndarray, np.ndarray]:
        """Which are cassette exons, and which skips of several exons."""
        lefts, rights = self.lefts, self.rights
        row = (lefts.number == rights.number) & (lefts.number > 1) & ~self.mixed
        # The i-th left site belongs to the i-th right site, and an exon follows.
        at_left, at_right = row[lefts.atse], row[rights.atse]
        atse, left, right = lefts.atse[at_left], lefts.position[at_left], rights.position[at_right]
        row[atse[left > right]] = False
        row[atse[:-1][(atse[1:] == atse[:-1]) & (left[1:] < right[:-1] + 2)]] = False
        own = self.atse[self.left == self.right]
        row &= np.bincount(own, minlength=len(row)) == lefts.number

        skipped = self.right - self.left
        several = np.zeros(len(row), bool)
        several[self.atse[skipped > 1]] = True
        single = np.flatnonzero((skipped == 1) & row[self.atse])
        of = self.atse[single]
        begin = rights.position[rights.first[of] + self.left[single]] + 1  # the exon's first base
        end = lefts.position[lefts.first[of] + self.right[single]] - 1  # and last
        several[of[_has_intron(observed, self.place[of], begin, end)]] = True
        return row & ~several & (self.size == 3), row & several

    def exclusive(self, observed: Introns) -> np.ndarray:
        """Which are mutually exclusive exons, or one of the two halves of such."""
        lefts, rights = self.lefts, self.rights
        # Pairs of ATSEs: k junctions from one left site, and k junctions to one right site.
        size = np.where(self.mixed, 0, self.size)
        from_left = np.flatnonzero((lefts.number == 1) & (size > 1))
        to_right = np.flatnonzero((rights.number == 1) & (size > 1))
        span = int(max(self.end.max(initial=0), self.start.max(initial=0))) + 3
        opening = self.place[to_right] * span + lefts.position[lefts.first[to_right]]
        to_right = to_right[np.argsort(opening, kind="stable")]
        opening = np.sort(opening)
        # The first exon ends where a junction starts, before the second exon begins.
        place, first = self.place[from_left] * span, rights.first[from_left]
        low = np.searchsorted(opening, place + rights.position[first] + 2)
        high = np.searchsorted(opening, place + rights.position[first + 1], side="right")
        number = np.maximum(high - low, 0)
        one = np.repeat(from_left, number)
        offset = np.arange(len(one)) - np.repeat(np.cumsum(number) - number, number)
        other = to_right[np.repeat(low, number) + offset]
        one, other = (ids[size[one] == size[other]] for ids in (one, other))
        # And ATSEs that hold both halves.
        both = np.flatnonzero(self._two_exclusive())
        exon_left = np.concatenate([rights.first[one], rights.first[both]])
        exon_right = np.concatenate([lefts.first[other], lefts.first[both] + 1])
        n_exons = np.concatenate([size[one], np.full(len(both), 2)])
        one, other = np.concatenate([one, both]), np.concatenate([other, both])

        pair = np.repeat(np.arange(len(one)), n_exons)
        rank = np.arange(len(pair)) - (np.cumsum(n_exons) - n_exons)[pair]
        begin = rights.position[exon_left[pair] + rank] + 1
        end = lefts.position[exon_right[pair] + rank] - 1
        wrong = begin > end
        wrong[1:] |= (pair[1:] == pair[:-1]) & (begin[1:] < end[:-1] + 2)
        wrong |= _has_intron(observed, self.place[one][pair], begin, end)
        right = np.ones(len(one), bool)
        right[pair[wrong]] = False
        result = np.zeros(len(size), bool)
        result[one[right]] = result[other[right]] = True
        return result

    def _two_exclusive(self) -> np.ndarray:
        """Which hold the four junctions of two mutually exclusive exons, by their order."""
        match = (self.size == 4) & (self.lefts.number == 3) & (self.rights.number == 3)
        match &= ~self.mixed
        of = match[self.atse]
        bits = np.left_shift(1, 3 * self.left[of] + self.right[of])
        return match & (np.bincount(self.atse[of], bits, minlength=len(match)) == _EXCLUSIVE_BITS)

    def differ_at(self, ends: str, strand: int) -> np.ndarray:
        """Which are on this strand, their junctions different at the left or right ends only."""
        shared = self.rights if ends == "left" else self.lefts
        alike = (shared.number == 1) & (self.size > 1) & ~self.mixed
        return alike & (self.place % len(STRANDS) == strand)

    def exons_apart(self, ends: str, exons: pd.DataFrame, chroms: list[str]) -> np.ndarray:
        """Whether at all left (right) ends there are exons, of one strand, that do not overlap."""
        sites = self.lefts if ends == "left" else self.rights
        chrom = pd.Index(chroms).get_indexer(exons["chrom"].astype(str))
        here = chrom >= 0
        chrom, begin, end = (
            np.asarray(values, np.int64)[here] for values in (chrom, exons["start"], exons["end"])
        )
        # The exon that touches the site, the shortest of several: its other end.
        if ends == "left":
            near, far, sign = end + 1, begin, 1
        else:
            near, far, sign = begin - 1, end, -1
        order = np.lexsort((-sign * far, near, chrom))
        chrom, near, far = chrom[order], near[order], far[order]
        shortest = _changes(chrom, near)
        chrom, near, far = chrom[shortest], near[shortest], far[shortest]

        size = max(int(near.max(initial=0)), int(sites.position.max(initial=0))) + 1
        key = self.place[sites.atse] // len(STRANDS) * size + sites.position
        where = pd.Index(chrom * size + near).get_indexer(key)
        apart = np.ones(len(self.size), bool)
        apart[sites.atse[where < 0]] = False
        other = np.append(far, 0)[where]
        pairs = np.flatnonzero(sites.atse[1:] == sites.atse[:-1])
        if ends == "left":  # the exon before the right site of a pair begins at or after the left
            overlap = other[pairs + 1] < sites.position[pairs]
        else:
            overlap = other[pairs] > sites.position[pairs + 1]
        apart[sites.atse[pairs[overlap]]] = False
        return apart


@dataclass(frozen=True, eq=False)
class _Sites:
    """Distinct sites of all ATSEs, sorted by ATSE and position; of each ATSE first and number."""

    atse: np.ndarray
    position: np.ndarray
    first: np.ndarray
    number: np.ndarray


def _ranked(atse: np.ndarray, position: np.ndarray, n_atses: int) -> tuple[_Sites, np.ndarray]:
    """Distinct sites, and the rank of each junction's site in its ATSE, from 0."""
    order = np.lexsort((position, atse))
    new = _changes(atse[order], position[order])
    site = np.empty(len(order), np.int64)
    site[order] = np.cumsum(new) - 1
    of, place = atse[order][new], position[order][new]
    number = np.bincount(of, minlength=n_atses)
    first = np.cumsum(number) - number
    return _Sites(of, place, first, number), site - first[atse]


def _changes(*sorted_values: np.ndarray) -> np.ndarray:
    """Where a row differs from the one before; true for the first."""
    new = np.ones(len(sorted_values[0]), bool)
    new[1:] = False
    for values in sorted_values:
        new[1:] |= values[1:] != values[:-1]
    return new


def _has_intron(
    observed: Introns, place: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Whether an intron lies inside each exon ``begin`` .. ``end``, bases left on either side."""
    if not len(place):
        return np.zeros(0, bool)
    order = np.lexsort((observed.start, observed.place))[::-1]
    # Smallest end of all introns of a strand that start here or further right.
    smallest = pd.Series(observed.end[order]).groupby(observed.place[order]).cummin()
    order, smallest = order[::-1], smallest.to_numpy()[::-1]
    size = max(int(observed.start.max()), int(begin.max()) + 1) + 1
    key = observed.place[order] * size + observed.start[order]
    where = np.searchsorted(key, place * size + begin + 1)
    inside = np.flatnonzero(where < len(key))
    inside = inside[observed.place[order[where[inside]]] == place[inside]]
    result = np.zeros(len(place), bool)
    result[inside] = smallest[where[inside]] <= end[inside] - 1
    return result
