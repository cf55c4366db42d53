"""The splice graph: junctions that share splice sites, the ATSEs they form, and their names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_at_least, check_one_of
from leafletfa_scvi._choices import KeepOrDrop
from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.pp._codes import STRANDS, UNSTRANDED
from leafletfa_scvi.pp._junctions import (
    introns,
    name_of,
    read_numbers,
    splice_sites,
    whole_numbers,
)
from leafletfa_scvi.pp.atse._unstranded import connected, sharing_groups

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from leafletfa_scvi.pp._junctions import Introns

GIANT_SIZE: Final = 30
"""Minimum number of junctions of an ATSE that is reported as giant."""
N_LISTED: Final = 5
"""Number of giants that the report names."""
N_STEPS: Final = 100
"""Splitting raises the usage that a junction needs by one part in this many at a time."""


def label_atses(
    junctions: pd.DataFrame,
    *,
    use_genes: bool,
    multi_gene: KeepOrDrop = "drop",
    no_gene: KeepOrDrop = "drop",
    unstranded: KeepOrDrop = "drop",
    read_through: KeepOrDrop = "drop",
    max_junctions: int | None = None,
    reads: ArrayLike | None = None,
    giant_size: int = GIANT_SIZE,
) -> tuple[pd.Series, dict[str, Any]]:
    """Label the junctions of a table with their ATSEs; see :func:`find_atses`.

    Neither labels nor report depend on the order of the rows. A row that repeats a junction gets
    the same label and counts once for the size of the ATSE.

    Parameters
    ----------
    junctions
        J rows in any order: ``chrom``; ``start`` and ``end``, the first and last base of the
        intron, 1-based; ``strand``, one of ``+``, ``-`` and ``?``. With genes also ``gene_id``,
        empty or missing without a gene, several ids joined by commas, and optionally ``n_genes``,
        their number, and ``joins_genes``.
    use_genes, multi_gene, no_gene, unstranded, read_through, max_junctions, giant_size
        As in :func:`find_atses`.
    reads
        ``(J,)`` reads of each junction, for ``max_junctions`` and for the report. Repeated rows
        are summed. If None, the report has no numbers of reads.

    Returns
    -------
    labels
        ``(J,)`` the names of ATSEs as text, and None; index of ``junctions``.
    report
        Numbers, as in :func:`find_atses`.

    Raises
    ------
    ValueError
        If a column is missing or holds other values, ``n_genes`` contradicts ``gene_id``, an
        argument is out of range, or ``max_junctions`` is given without ``reads``.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"chrom": "chr1", "start": [11, 31, 11, 90], "end": [20, 40, 40, 99], "strand": "+"}
    ... )
    >>> label_atses(table, use_genes=False)[0].tolist()
    ['chr1:+:ATSE_1', 'chr1:+:ATSE_1', 'chr1:+:ATSE_1', None]
    """
    choices = {
        "multi_gene": multi_gene,
        "no_gene": no_gene,
        "unstranded": unstranded,
        "read_through": read_through,
    }
    for name, value in choices.items():
        check_one_of(name, value, KeepOrDrop)
    check_at_least(2, max_junctions=max_junctions)
    if max_junctions is not None and reads is None:
        raise ValueError(
            f"Expected reads with max_junctions={max_junctions}, found None. Pass the reads of "
            "each junction: large ATSEs are split by usage."
        )
    table = introns(junctions)
    read = np.zeros(len(junctions)) if reads is None else read_numbers(reads, junctions)

    # Each junction counts in the first class that applies.
    stranded = table.strand != UNSTRANDED
    if use_genes:
        gene, n_genes = _genes(junctions)
    else:
        gene, n_genes = np.full(len(junctions), "", object), np.ones(len(junctions), np.int64)
    joins = (n_genes > 1) & joins_genes(junctions)
    classes = {
        "unstranded": (~stranded, unstranded),
        "without_gene": (n_genes == 0, no_gene),
        "joining_genes": (joins, read_through),
        "of_several_genes": ((n_genes > 1) & ~joins, multi_gene),
    }
    is_dropped = {name: of & (choice == "drop") for name, (of, choice) in classes.items()}
    has_joined = np.zeros(len(junctions), bool)
    if unstranded == "keep":
        others = np.logical_or.reduce([is_dropped[name] for name in classes])
        table, gene, n_genes, has_joined = _join(table, gene, n_genes, ~others)
    report: dict[str, Any] = {"junctions": len(junctions)}
    reads_of = {"reads": np.ones(len(junctions), bool)}
    kept = np.ones(len(junctions), bool)
    for name, (of_class, _) in classes.items():
        report[f"junctions_{name}"] = int(of_class.sum())
        dropped = kept & is_dropped[name] & ~has_joined
        report[f"junctions_{name}_dropped"] = int(dropped.sum())
        reads_of[f"reads_{name}_dropped"] = dropped
        kept &= ~dropped

    report["junctions_unstranded_joined"] = int(has_joined.sum())
    rows = np.flatnonzero(kept)
    group, prefixes = _gene_groups(table, rows, gene[rows], n_genes[rows])
    left, right = splice_sites(group, table.start[rows], table.end[rows])
    pair = left.astype(np.int64) * (right.max(initial=0) + 1) + right
    junction, distinct = pd.factorize(pair)
    first = np.full(len(distinct), len(rows))
    np.minimum.at(first, junction, np.arange(len(rows)))
    report["junctions_repeated"] = len(rows) - len(distinct)
    left, right, group = left[first], right[first], group[first]
    edge = rows[first]

    component = connected(left, right)
    sizes = np.bincount(component)
    report["largest_component_junctions"] = int(sizes.max(initial=0))
    report["atses_split"] = 0
    if max_junctions is not None:
        report["atses_split"] = int((sizes > max_junctions).sum())
        summed = np.bincount(junction, read[rows], minlength=len(edge))
        component = _split(component, left, right, summed, max_junctions)
        sizes = np.bincount(component[component >= 0])

    names = _names(component, group, prefixes, table, edge)
    labels = np.full(len(junctions), None, object)
    code = component[junction]
    labels[rows] = np.where(code < 0, None, names[code]) if len(names) else None

    size = np.where(code < 0, 0, np.append(sizes, 0)[code])
    of_size = {"dropped_by_splitting": size == 0, "in_atses": size > 1, "alone": size == 1}
    for name, of_rows in of_size.items():
        report[f"junctions_{name}"] = int(of_rows.sum())
        reads_of[f"reads_{name}"] = rows[of_rows]
    if reads is not None:
        report |= {name: int(read[of].sum()) for name, of in reads_of.items()}
    report["atses"] = int((sizes > 1).sum())
    report["largest_atse_junctions"] = int(sizes[sizes > 1].max(initial=0))
    giants = {names[i]: int(sizes[i]) for i in np.flatnonzero(sizes >= max(giant_size, 2))}
    report["giant_atses"] = len(giants)
    largest = sorted(giants, key=lambda name: (-giants[name], name))[:N_LISTED]
    report["largest_giant_atses"] = {name: giants[name] for name in largest}
    return pd.Series(labels, index=junctions.index, name=ATSE_KEY, dtype=object), report


def _genes(junctions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the genes of each junction as text, empty without a gene, and their number."""
    if "gene_id" not in junctions:
        raise ValueError(
            "The table of junctions has no column 'gene_id'. Annotate the junctions, or pass "
            "use_genes=False."
        )
    codes, names = pd.factorize(junctions["gene_id"].to_numpy(object))  # missing: -1
    names = np.array([*map(str, names), ""], object)
    gene = names[codes]
    pieces = np.array([len(name.split(",")) if name else 0 for name in names])[codes]
    if "n_genes" not in junctions:
        return gene, pieces
    n_genes = whole_numbers(junctions, "n_genes")
    # A single gene may have a comma in its id.
    wrong = (n_genes != pieces) & ~((n_genes == 1) & (pieces > 1))
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"Junction {name_of(junctions, i)} has gene_id {gene[i]!r} but n_genes {n_genes[i]}: "
            "expected as many ids, joined by commas."
        )
    return gene, n_genes


def joins_genes(junctions: pd.DataFrame) -> np.ndarray:
    """Return which junctions join genes; none if the table does not say so."""
    if "joins_genes" not in junctions:
        return np.zeros(len(junctions), bool)
    column = junctions["joins_genes"].astype(object).astype("boolean")  # missing: unknown
    found: np.ndarray = column.fillna(False).to_numpy(bool)
    return found


def _join(
    table: Introns, gene: np.ndarray, n_genes: np.ndarray, kept: np.ndarray
) -> tuple[Introns, np.ndarray, np.ndarray, np.ndarray]:
    """Give junctions of unknown strand the strand and genes of those whose sites they share.

    Returns
    -------
    table, gene, n_genes
        With the strand and genes of those that were given any.
    has_joined
        ``(J,)`` bool, true for these.
    """
    is_open = table.strand == UNSTRANDED
    closed = np.flatnonzero(kept & ~is_open)
    group = np.full(len(gene), -1, np.int64)
    group[closed], _ = _gene_groups(table, closed, gene[closed], n_genes[closed])
    rows = np.concatenate([closed, np.flatnonzero(is_open)])
    found = sharing_groups(table.chrom[rows], table.start[rows], table.end[rows], group[rows])
    joined = rows[len(closed) :][found >= 0]
    # Any junction of the group stands for it.
    example = np.zeros(int(group.max(initial=-1)) + 1, np.int64)
    example[group[closed]] = closed
    source = example[found[found >= 0]]
    strand, gene, n_genes = table.strand.copy(), gene.copy(), n_genes.copy()
    for values in (strand, gene, n_genes):
        values[joined] = values[source]
    has_joined = np.zeros(len(gene), bool)
    has_joined[joined] = True
    return replace(table, strand=strand), gene, n_genes, has_joined


def _gene_groups(
    table: Introns, rows: np.ndarray, gene: np.ndarray, n_genes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number the groups within which splice sites can be shared, and name them.

    A group is a strand and a gene, or genes linked by junctions that belong to several of them.

    Returns
    -------
    group
        ``(R,)`` group of each row.
    prefixes
        Prefix of the names of the ATSEs of each group.
    """
    keys = pd.DataFrame(
        {"strand_key": table.strand_key[rows], "gene": gene, "is_several": n_genes > 1}
    )
    by = ["strand_key", "gene", "is_several"]
    combination = keys.groupby(by, sort=False).ngroup().to_numpy()
    links = keys.drop_duplicates().reset_index(drop=True)  # in the order of the numbers
    is_several = links["is_several"].to_numpy(bool)
    links["gene"] = [
        name.split(",") if split else [name]
        for name, split in zip(links["gene"], is_several, strict=True)
    ]
    links = links.explode("gene")
    # Combinations of genes are linked through the genes that they have in common: a bipartite
    # graph like that of junctions and splice sites.
    node = links.groupby(["strand_key", "gene"], sort=False).ngroup().to_numpy()
    group_of = np.zeros(len(is_several), np.int64)
    group_of[links.index] = group_of_link = connected(links.index.to_numpy(), node)

    links["group"] = group_of_link
    links = links.drop_duplicates(["group", "gene"]).sort_values(["group", "gene"])
    prefixes = np.empty(int(group_of.max(initial=-1)) + 1, object)
    n_strands = len(STRANDS)
    for group, key, name in links[["group", "strand_key", "gene"]].itertuples(index=False):
        if not name:
            prefixes[group] = f"{table.chroms[key // n_strands]}:{STRANDS[key % n_strands]}"
        else:
            linked = prefixes[group]
            prefixes[group] = name if linked is None else f"{linked}+{name}"
    return group_of[combination], prefixes


def _split(
    component: np.ndarray, left: np.ndarray, right: np.ndarray, reads: np.ndarray, largest: int
) -> np.ndarray:
    """Split components to at most ``largest`` junctions; -1 for junctions that are removed."""
    at_left, at_right = np.bincount(left, reads)[left], np.bincount(right, reads)[right]
    total = np.maximum(at_left, at_right)  # of the site with the smaller usage
    # Usage as a whole number of steps, by integer division: a rounded quotient could cross a
    # threshold.
    level = np.zeros(len(reads), np.int64)
    level[total > 0] = (reads[total > 0] * N_STEPS) // total[total > 0]
    result = component.copy()
    next_label = int(component.max(initial=-1)) + 1
    large = np.flatnonzero(np.bincount(component)[component] > largest)
    step = 0
    while len(large):
        step += 1
        # Removing junctions may disconnect the rest: only pieces that are still too large are
        # split by the next step, so that small pieces keep their junctions of low usage.
        result[large[level[large] < step]] = -1
        large = large[level[large] >= step]
        pieces = connected(
            pd.factorize(left[large])[0].astype(np.int64),
            pd.factorize(right[large])[0].astype(np.int64),
        )
        result[large] = next_label + pieces
        next_label += int(pieces.max(initial=-1)) + 1
        large = large[np.bincount(pieces)[pieces] > largest]
    is_labeled = result >= 0
    result[is_labeled] = pd.factorize(result[is_labeled])[0]
    return result


def _names(
    component: np.ndarray,
    group: np.ndarray,
    prefixes: np.ndarray,
    table: Introns,
    edge: np.ndarray,
) -> np.ndarray:
    """Name the components by their order along the genome; None for those of one junction."""
    n_components = int(component.max(initial=-1)) + 1
    start, end = table.start[edge], table.end[edge]
    order = np.lexsort((end, start))[::-1]
    order = order[component[order] >= 0]
    first = np.zeros(n_components, np.int64)
    first[component[order]] = order  # the last assignment remains: the smallest start and end
    counted = np.flatnonzero(np.bincount(component[order], minlength=n_components) > 1)

    first = first[counted]
    prefix, texts = pd.factorize(prefixes[group[first]])
    strand_key = table.strand_key[edge[first]]
    order = np.lexsort(
        (strand_key % len(STRANDS), end[first], start[first], strand_key // len(STRANDS), prefix)
    )
    begin = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.bincount(prefix, minlength=len(texts)), out=begin[1:])
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order)) - begin[prefix[order]] + 1
    names = np.full(n_components, None, object)
    names[counted] = [
        f"{texts[code]}:ATSE_{i}" for code, i in zip(prefix, number.tolist(), strict=True)
    ]
    return names
