"""The splice graph: junctions that share splice sites, the ATSEs they form, and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from leafletfa_scvi.pp._junctions import Introns

GIANT: Final = 30
"""Junctions from which an ATSE is reported as giant."""
LISTED: Final = 5
"""How many of the giants the report names."""
STEPS: Final = 100
"""Splitting raises the least usage of a splice site by one part in this many at a time."""


def find_atses(
    junctions: pd.DataFrame,
    *,
    use_genes: bool,
    multi_gene: KeepOrDrop = "drop",
    no_gene: KeepOrDrop = "drop",
    unstranded: KeepOrDrop = "drop",
    max_junctions: int | None = None,
    reads: ArrayLike | None = None,
    giant: int = GIANT,
) -> tuple[pd.Series, dict[str, Any]]:
    """Label each junction with its ATSE: the junctions that share splice sites with it.

    Splice sites are the nodes of a graph (chromosome, strand, gene, donor or acceptor, position)
    and junctions its edges; an ATSE is a connected component with at least two distinct
    junctions. Without genes it is one of a strand of a chromosome. Neither labels nor report
    depend on the order of the rows; a row that repeats a junction gets its label and counts once
    for the size.

    ATSEs are named ``{gene_id}:ATSE_{i}``, or ``{chrom}:{strand}:ATSE_{i}`` without genes, where
    i = 1, 2, ... along the genome, by the smallest start and then end. So a name depends on the
    set of junctions alone.

    Parameters
    ----------
    junctions
        J rows in any order: ``chrom``; ``start`` and ``end``, the first and last base of the
        intron, 1-based; ``strand``, one of ``+``, ``-`` and ``?``. With genes also ``gene_id``,
        empty or missing where there is none, several of a junction joined by commas, and maybe
        ``n_genes``, their number.
    use_genes
        Whether junctions share a site only within a gene.
    multi_gene
        Junctions of several genes: ``"drop"`` leaves them without label. With ``"keep"``, genes
        that such junctions link, directly or through others, act as one; its id is theirs,
        sorted and joined by ``+``.
    no_gene
        Junctions of no gene: without label, or in ATSEs of their own, named as without genes.
    unstranded
        Junctions of strand ``?``: without label, or in ATSEs of their own. They never share a
        site with those of a strand.
    max_junctions
        Split larger components (at least 2). For each junction, take the smaller of its reads as
        a share of all at its donor and at its acceptor, in the whole component. Of a component
        too large, the junctions below 1 % drop out, then those below 2 % of the pieces that are
        still too large, and so on, until all are small enough. Junctions that drop out get no
        label, nor do pieces of one junction.
    reads
        ``(J,)`` reads of each junction, for ``max_junctions``. Repeated rows are summed.
    giant
        Least number of junctions of an ATSE that the report counts as giant.

    Returns
    -------
    labels
        ``(J,)`` the names of ATSEs as text, and None; index of ``junctions``.
    report
        Numbers: ``junctions`` (rows), of which ``junctions_in_atses``, ``junctions_alone`` (no
        other shares a splice site), ``junctions_unstranded_dropped``,
        ``junctions_without_gene_dropped``, ``junctions_of_several_genes_dropped`` and
        ``junctions_dropped_by_splitting`` make up the whole; ``junctions_repeated``,
        ``junctions_unstranded``, ``junctions_without_gene``, ``junctions_of_several_genes``,
        dropped or not; ``atses``, ``atses_split``, ``largest_component_junctions`` before
        splitting, ``largest_atse_junctions``, ``giant_atses``. ``largest_giant_atses`` maps the
        names of the largest five giants to their junctions.

    Raises
    ------
    ValueError
        A column is missing or holds something else than stated, ``n_genes`` contradicts
        ``gene_id``, an argument is none of its values, or ``max_junctions`` is given without
        ``reads``.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"chrom": "chr1", "start": [11, 31, 11, 90], "end": [20, 40, 40, 99], "strand": "+"}
    ... )
    >>> find_atses(table, use_genes=False)[0].tolist()
    ['chr1:+:ATSE_1', 'chr1:+:ATSE_1', 'chr1:+:ATSE_1', None]
    """
    choices = {"multi_gene": multi_gene, "no_gene": no_gene, "unstranded": unstranded}
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
    classes = {
        "unstranded": (~stranded, unstranded),
        "without_gene": (n_genes == 0, no_gene),
        "of_several_genes": (n_genes > 1, multi_gene),
    }
    report: dict[str, Any] = {"junctions": len(junctions)}
    kept = np.ones(len(junctions), bool)
    for name, (of_class, choice) in classes.items():
        report[f"junctions_{name}"] = int(of_class.sum())
        dropped = kept & of_class & (choice == "drop")
        report[f"junctions_{name}_dropped"] = int(dropped.sum())
        kept &= ~dropped

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

    component = _components(left, right)
    sizes = np.bincount(component)
    report["largest_component_junctions"] = int(sizes.max(initial=0))
    report["atses_split"] = 0
    if max_junctions is not None:
        report["atses_split"] = int((sizes > max_junctions).sum())
        read = np.bincount(junction, read[rows], minlength=len(edge))
        component = _split(component, left, right, read, max_junctions)
        sizes = np.bincount(component[component >= 0])

    names = _names(component, group, prefixes, table, edge)
    labels = np.full(len(junctions), None, object)
    code = component[junction]
    labels[rows] = np.where(code < 0, None, names[code]) if len(names) else None

    in_component = sizes[code[code >= 0]]
    report["junctions_dropped_by_splitting"] = int((code < 0).sum())
    report["junctions_in_atses"] = int((in_component > 1).sum())
    report["junctions_alone"] = int((in_component == 1).sum())
    report["atses"] = int((sizes > 1).sum())
    report["largest_atse_junctions"] = int(sizes[sizes > 1].max(initial=0))
    giants = {names[i]: int(sizes[i]) for i in np.flatnonzero(sizes >= max(giant, 2))}
    report["giant_atses"] = len(giants)
    largest = sorted(giants, key=lambda name: (-giants[name], name))[:LISTED]
    report["largest_giant_atses"] = {name: giants[name] for name in largest}
    return pd.Series(labels, index=junctions.index, name=ATSE_KEY, dtype=object), report


def _genes(junctions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Genes of each junction as text, empty without, and their number."""
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


def _gene_groups(
    table: Introns, rows: np.ndarray, gene: np.ndarray, n_genes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Group of each row (place, and gene or genes linked), and the prefix of each group."""
    keys = pd.DataFrame({"place": table.place[rows], "gene": gene, "several": n_genes > 1})
    combination = keys.groupby(["place", "gene", "several"], sort=False).ngroup().to_numpy()
    links = keys.drop_duplicates().reset_index(drop=True)  # in the order of the numbers
    several = links["several"].to_numpy(bool)
    links["gene"] = [
        name.split(",") if split else [name]
        for name, split in zip(links["gene"], several, strict=True)
    ]
    links = links.explode("gene")
    node = links.groupby(["place", "gene"], sort=False).ngroup().to_numpy()
    group_of = np.zeros(len(several), np.int64)
    group_of[links.index] = group_of_link = _components(links.index.to_numpy(), node)

    links["group"] = group_of_link
    links = links.drop_duplicates(["group", "gene"]).sort_values(["group", "gene"])
    prefixes = np.empty(int(group_of.max(initial=-1)) + 1, object)
    for group, place, name in links[["group", "place", "gene"]].itertuples(index=False):
        if not name:
            prefixes[group] = f"{table.chroms[place // len(STRANDS)]}:{STRANDS[place % 3]}"
        else:
            linked = prefixes[group]
            prefixes[group] = name if linked is None else f"{linked}+{name}"
    return group_of[combination], prefixes


def _components(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Connected component of each edge between left and right nodes, both from 0."""
    if not len(left):
        return np.zeros(0, np.int64)
    n_left, n_right = int(left.max()) + 1, int(right.max()) + 1
    edges = (np.ones(len(left), np.int8), (left, right + n_left))
    graph = coo_array(edges, shape=(n_left + n_right,) * 2)
    component = connected_components(graph, directed=False)[1][left]
    return pd.factorize(component)[0].astype(np.int64)  # numbers of nodes without edge left out


def _split(
    component: np.ndarray, left: np.ndarray, right: np.ndarray, reads: np.ndarray, largest: int
) -> np.ndarray:
    """Components of at most ``largest`` junctions; -1 for the junctions that drop out."""
    at_left, at_right = np.bincount(left, reads)[left], np.bincount(right, reads)[right]
    total = np.maximum(at_left, at_right)  # at the site where the usage is smaller
    # Whole numbers of steps, from products: no quotient is rounded over a threshold.
    level = np.zeros(len(reads), np.int64)
    level[total > 0] = (reads[total > 0] * STEPS) // total[total > 0]
    result = component.copy()
    following = int(component.max(initial=-1)) + 1
    large = np.flatnonzero(np.bincount(component)[component] > largest)
    step = 0
    while len(large):
        step += 1
        result[large[level[large] < step]] = -1
        large = large[level[large] >= step]
        pieces = _components(
            pd.factorize(left[large])[0].astype(np.int64),
            pd.factorize(right[large])[0].astype(np.int64),
        )
        result[large] = following + pieces
        following += int(pieces.max(initial=-1)) + 1
        large = large[np.bincount(pieces)[pieces] > largest]
    labelled = result >= 0
    result[labelled] = pd.factorize(result[labelled])[0]
    return result


def _names(
    component: np.ndarray,
    group: np.ndarray,
    prefixes: np.ndarray,
    table: Introns,
    edge: np.ndarray,
) -> np.ndarray:
    """Names of the components, those of one junction not counted."""
    n_components = int(component.max(initial=-1)) + 1
    start, end = table.start[edge], table.end[edge]
    order = np.lexsort((end, start))[::-1]
    order = order[component[order] >= 0]
    first = np.zeros(n_components, np.int64)
    first[component[order]] = order  # of several, the last stays: the smallest start and end
    counted = np.flatnonzero(np.bincount(component[order], minlength=n_components) > 1)

    first = first[counted]
    prefix, texts = pd.factorize(prefixes[group[first]])
    place = table.place[edge[first]]
    order = np.lexsort((place % 3, end[first], start[first], place // 3, prefix))
    begin = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.bincount(prefix, minlength=len(texts)), out=begin[1:])
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order)) - begin[prefix[order]] + 1
    names = np.full(n_components, None, object)
    names[counted] = [
        f"{texts[code]}:ATSE_{i}" for code, i in zip(prefix, number.tolist(), strict=True)
    ]
    return names
