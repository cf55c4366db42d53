"""Rules that assign genes to junctions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SIDES: Final = ("start", "end")
"""Columns of the splice sites of a junction."""

_PAIR: Final = ["query", "junction", "gene"]
_BATCH: Final = 10_000_000
"""Number of pairs of junction and gene that are compared at once."""


def site_keys(table: pd.DataFrame, side: str) -> np.ndarray:
    """Number contig, strand and position of a splice site."""
    site: np.ndarray = table["strand_key"].to_numpy(np.int64) << 32
    site += table[side].to_numpy(np.int64)
    return site


def genes_of_junctions(
    queries: pd.DataFrame, introns: pd.DataFrame, genes: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray]:
    """Assign genes by the rules of :func:`annotate_junctions`.

    Parameters
    ----------
    queries
        Rows of ``junction``, ``strand_key`` (a number for contig and strand), ``start`` and
        ``end``: one for each strand on which a junction may be.
    introns
        Annotated introns: ``strand_key``, ``start``, ``end`` and ``gene``, the position of the
        gene.
    genes
        ``strand_key``, ``start``, ``end``, ``is_read_through`` and ``is_pseudogene`` of each gene.

    Returns
    -------
    pairs
        Distinct rows of ``junction`` and ``gene``.
    joining
        Junctions that join genes.
    """
    rules = _Rules(introns, genes)
    is_read_through, is_pseudogene = (
        genes[name].to_numpy(bool) for name in ("is_read_through", "is_pseudogene")
    )
    order: list[tuple[Callable[[pd.DataFrame], pd.DataFrame], bool]] = [
        (rules.by_intron, False),
        (rules.by_both_sites, False),
        (rules.by_site_within, False),
        (rules.by_intron, True),
        (rules.by_both_sites, True),
        (rules.by_joining, False),
        (rules.by_either_site, False),
        (rules.by_either_site, True),
        (rules.by_body, False),
        (rules.by_body, True),
    ]
    queries = queries.assign(query=np.arange(len(queries)))
    joining = np.empty(0, np.int64)
    by_rule: list[pd.DataFrame] = []
    for rule, of_read_through in order:
        if by_rule and queries.empty:
            break
        pairs = rule(queries)
        pairs = pairs[is_read_through[pairs["gene"]] == of_read_through]
        if rule == rules.by_joining:
            joining = pairs["junction"].unique()
        else:
            has_other = np.isin(pairs["query"], pairs["query"][~is_pseudogene[pairs["gene"]]])
            pairs = pairs[~(is_pseudogene[pairs["gene"]] & has_other)]
        pairs = pairs[["junction", "gene"]].drop_duplicates()
        by_rule.append(pairs)
        queries = queries[~np.isin(queries["junction"], pairs["junction"])]
    return pd.concat(by_rule), joining


class _Rules:
    """Rules: each returns rows of ``query``, ``junction`` and ``gene``."""

    def __init__(self, introns: pd.DataFrame, genes: pd.DataFrame) -> None:
        self.introns, self.genes = introns, genes
        self.sites = {
            side: pd.DataFrame({"site": site_keys(introns, side), "gene": introns["gene"]})
            .drop_duplicates()
            .reset_index(drop=True)
            for side in SIDES
        }

    def by_intron(self, queries: pd.DataFrame) -> pd.DataFrame:
        return queries.merge(self.introns, on=["strand_key", "start", "end"])[_PAIR]

    def by_site(self, queries: pd.DataFrame, side: str) -> pd.DataFrame:
        site = queries[["query", "junction"]].assign(site=site_keys(queries, side))
        return site.merge(self.sites[side], on="site")[_PAIR]

    def by_both_sites(self, queries: pd.DataFrame) -> pd.DataFrame:
        start, end = (self.by_site(queries, side) for side in SIDES)
        return start.merge(end, on=_PAIR)

    def by_either_site(self, queries: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([self.by_site(queries, side) for side in SIDES])

    def by_body(self, queries: pd.DataFrame) -> pd.DataFrame:
        row, gene = _containing(queries, self.genes)
        return queries.iloc[row][["query", "junction"]].assign(gene=gene)

    def by_site_within(self, queries: pd.DataFrame) -> pd.DataFrame:
        """Find genes with one site that contain the intron; the other is a site of no gene."""
        start, end = self._ordinary_sites(queries)
        is_joining = np.isin(queries["query"], start["query"])
        is_joining &= np.isin(queries["query"], end["query"])
        within = self.by_body(queries[~is_joining])
        return pd.concat([start, end]).merge(within, on=_PAIR)

    def by_joining(self, queries: pd.DataFrame) -> pd.DataFrame:
        """Find the genes of either end, where those of one have a site and are not at the other.

        Given that no gene has both sites, or one site and the base beside the other.
        """
        sites = self._ordinary_sites(queries)
        ends = []
        for side, step, of_side in zip(SIDES, (-1, 1), sites, strict=True):
            rest = queries[~np.isin(queries["query"], of_side["query"])]
            exon = rest[side] + step  # the base beside the intron
            beside = self._ordinary(self.by_body(rest.assign(start=exon, end=exon)))
            ends.append(pd.concat([of_side, beside]))
        has_site = pd.concat(sites)["query"]
        is_joined = np.isin(queries["query"], has_site)
        for of_end in ends:
            is_joined &= np.isin(queries["query"], of_end["query"])
        pairs = pd.concat(ends)
        return pairs[np.isin(pairs["query"], queries["query"][is_joined])]

    def _ordinary(self, pairs: pd.DataFrame) -> pd.DataFrame:
        return pairs[~self.genes["is_read_through"].to_numpy(bool)[pairs["gene"]]]

    def _ordinary_sites(self, queries: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        start, end = (self._ordinary(self.by_site(queries, side)) for side in SIDES)
        return start, end


def _containing(queries: pd.DataFrame, bodies: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of row and gene whose body contains the whole interval."""
    order = np.lexsort((bodies["start"], bodies["strand_key"]))
    strand_key, gene_end = bodies["strand_key"].to_numpy()[order], bodies["end"].to_numpy()[order]
    gene_start = site_keys(bodies, "start")[order]
    shift = strand_key.astype(np.int64) << 32
    reach = np.maximum.accumulate(shift + gene_end) if len(order) else shift
    # Sorted by start, the candidates of an intron end with the last gene that starts before it,
    # and begin with the first that extends beyond it: `reach` is the largest end so far.
    query_end = site_keys(queries, "end")
    stop = np.searchsorted(gene_start, site_keys(queries, "start"), side="right")
    begin = np.minimum(np.searchsorted(reach, query_end), stop)
    number = stop - begin
    matches = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for rows in _batches(number):
        row = np.repeat(rows, number[rows])
        offset = np.arange(len(row)) - np.repeat(
            np.cumsum(number[rows]) - number[rows], number[rows]
        )
        candidate = begin[row] + offset
        contains = shift[candidate] + gene_end[candidate] >= query_end[row]
        matches.append((row[contains], order[candidate[contains]]))
    found, genes = (np.concatenate(values) for values in zip(*matches, strict=True))
    return found, genes


def _batches(number: np.ndarray) -> Iterable[np.ndarray]:
    """Split rows into runs of about ``_BATCH`` pairs."""
    run = np.cumsum(number) // _BATCH
    return np.split(np.arange(len(number)), np.flatnonzero(np.diff(run)) + 1)
