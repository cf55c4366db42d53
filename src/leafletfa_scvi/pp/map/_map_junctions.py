"""Junctions of one species that are those of another."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from anndata import AnnData

from leafletfa_scvi._arguments import check_whole
from leafletfa_scvi._contigs import match_contigs
from leafletfa_scvi.data import read_pairs
from leafletfa_scvi.pp._junctions import Introns, coordinates_in_names, introns
from leafletfa_scvi.pp.map._chain import Chain, check_reciprocal, check_sizes
from leafletfa_scvi.pp.map._genes import junction_genes, orthologous_genes
from leafletfa_scvi.pp.map._match import junctions_at, nearest_pairs, single_pairs
from leafletfa_scvi.pp.map._sites import lift_sites

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from leafletfa_scvi.data import Pairs

NO_ORTHOLOG: Final = "gene without ortholog"
NO_JUNCTION: Final = "no junction at the lifted splice sites"
OTHER_GENE: Final = "genes not orthologous"
NOT_BACK: Final = "lifted back to another place"
FARTHER: Final = "another junction is nearer"
SEVERAL: Final = "several junctions"


def map_junctions(
    source_var: AnnData | pd.DataFrame | Iterable[str],
    target_var: AnnData | pd.DataFrame | Iterable[str],
    *,
    orthologs: Pairs | None,
    chain: str | os.PathLike[str],
    reciprocal_chain: str | os.PathLike[str] | None = None,
    tolerance: int = 0,
    gene_key: str = "gene_id",
) -> pd.DataFrame:
    """Map junctions of one species to those of another, by the alignment of their genomes.

    The two splice sites of a junction are lifted as points. It maps to a junction of the target
    that has both, in the same direction of transcription, in an orthologous gene, if neither has
    another partner. The lifted bases are those on both sides of each splice site, the last base of
    the exon and the first base of the intron: exons are the better conserved, and where their last
    bases were lost the intron is still aligned. If the two disagree, because bases were inserted
    between them, either place counts. An inversion swaps strands, and the strand of the target's
    junction must be that which the alignment implies.

    Chain files are those of UCSC's liftOver, such as ``hg38ToMm10.over.chain.gz`` from
    human to mouse, with ``mm10ToHg38.over.chain.gz`` back; nothing is downloaded. They are read
    by the package liftover: ``pip install "leafletfa-scvi[liftover]"``.

    Parameters
    ----------
    source_var, target_var
        Junctions of the source, such as new cells, and of the target, such as a reference: an
        AnnData, its ``var``, or names. Names are ``chrom:start-end:strand``, 1-based and inclusive
        introns; with others, the columns ``chrom``, ``start``, ``end`` and ``strand`` are read.
        Contigs may be named with or without ``chr``.
    orthologs
        Pairs of orthologous genes: a DataFrame with columns ``source`` and ``target``, a dict, or
        a file (CSV, TSV or Parquet) with these columns. A gene may be in several pairs. If None,
        genes are not checked, as between two builds of one genome.
    chain
        Chain file from the genome of the source to that of the target, plain or gzip.
    reciprocal_chain
        Chain file from the target back to the source. With it, a junction of the target must
        lift back to the same junction of the source, which leaves out copies of duplicated genes.
    tolerance
        Maximum number of bases by which each of the two splice sites may differ from its lifted
        place. The nearest junctions are paired, if they are each other's nearest.
    gene_key
        Column of both tables with genes; several genes of a junction are joined by ``","``.

    Returns
    -------
    pandas.DataFrame
        One row for each junction of the source, in its order: ``source``, ``target`` (missing if
        it is dropped) and ``reason``, why it is dropped (missing if it is not). The argument
        ``mapping`` of :meth:`~leafletfa_scvi.LeafletFAModel.load_query_data` takes this table,
        also from a file.

    Raises
    ------
    FileNotFoundError, ImportError
        A file is missing, or the package liftover is.
    KeyError
        A column is missing.
    ValueError
        Names are repeated or have no coordinates; a chain file is damaged, or of other builds
        than the junctions or the second file; no gene has an ortholog; or no junction maps.

    Warns
    -----
    UserWarning
        If at most one of 20 junctions that could be at lifted splice sites is there, as where the
        junctions are of another build than the chain file.

    Examples
    --------
    >>> mapping = lfa.pp.map_junctions(  # doctest: +SKIP
    ...     human, mouse, orthologs="human_mouse.csv", chain="hg38ToMm10.over.chain.gz",
    ...     reciprocal_chain="mm10ToHg38.over.chain.gz",
    ... )
    >>> mapping["reason"].value_counts()  # doctest: +SKIP
    >>> lfa.tl.write_table(mapping, "mapping.csv")  # doctest: +SKIP
    """
    check_whole("tolerance", tolerance, 0)
    source, target = _table(source_var, "source_var"), _table(target_var, "target_var")
    own, other = (_introns(x, name) for x, name in ((source, "source"), (target, "target")))
    partners = None
    if orthologs is not None:
        source_genes = junction_genes(source, gene_key, "source_var")
        target_genes = junction_genes(target, gene_key, "target_var")
        table = read_pairs(orthologs, "orthologs")
        partners = orthologous_genes(source_genes, target_genes, table)
    forward = Chain(chain, "chain")
    ways = [(forward, own, other)]
    if reciprocal_chain is not None:
        back = Chain(reciprocal_chain, "reciprocal_chain")
        check_reciprocal(forward, back)
        ways.append((back, other, own))
    names = [(source.index, target.index), (target.index, source.index)]
    contigs = [_contigs(*way, *pair) for way, pair in zip(ways, names, strict=False)]

    lifted, reason = lift_sites(own, forward, contigs[0][0])
    if partners is not None:
        without = ~np.isin(np.arange(len(source)), partners["junction"])
        reason[without] = NO_ORTHOLOG
        lifted = lifted[~without[lifted["junction"].to_numpy()]]
    pairs = junctions_at(lifted, forward.to_contigs, other, contigs[0][1], tolerance)
    _settle(reason, pairs, NO_JUNCTION)
    _warn_of_few(pairs["target"].nunique(), lifted["junction"].nunique(), len(target), forward)
    if partners is not None:
        shared = pairs.merge(partners, left_on="source", right_on="junction")
        shared = shared.merge(
            target_genes, left_on=["target", "gene"], right_on=["junction", "gene"]
        )
        pairs = shared[["source", "target", "shift"]].drop_duplicates()
        _settle(reason, pairs, OTHER_GENE)
    if reciprocal_chain is not None:
        candidates, _ = lift_sites(other, back, contigs[1][0])
        returned = junctions_at(candidates, back.to_contigs, own, contigs[1][1], tolerance)
        returned = returned.rename(columns={"source": "target", "target": "source"})
        pairs = pairs.merge(returned[["source", "target"]], on=["source", "target"])
        _settle(reason, pairs, NOT_BACK)
    pairs = nearest_pairs(pairs)
    _settle(reason, pairs, FARTHER)
    pairs = single_pairs(pairs)
    _settle(reason, pairs, SEVERAL)
    if pairs.empty:
        counts = pd.Series(reason).value_counts()
        listed = "; ".join(f"{text}, {number:,}" for text, number in counts.items())
        raise ValueError(
            f"Expected junctions of source that map to junctions of target, found none of "
            f"{len(source):,}: {listed}. {forward}: check that the junctions are of these builds."
        )
    partner = np.full(len(source), None, object)
    partner[pairs["source"]] = target.index.to_numpy(object)[pairs["target"]]
    columns = {"source": source.index.to_numpy(object), "target": partner, "reason": reason}
    return pd.DataFrame({name: list(values) for name, values in columns.items()})


def _warn_of_few(n_found: int, n_lifted: int, n_target: int, chain: Chain) -> None:
    """Warn if hardly any lifted junction is one of the target, as with a wrong build."""
    n_possible = min(n_lifted, n_target)
    if n_found and 20 * n_found <= n_possible:
        warnings.warn(
            f"Only {n_found:,} of the target's {n_target:,} junctions are at the lifted splice "
            f"sites of {n_lifted:,} junctions of the source. {chain}: check that the junctions "
            "are of these builds.",
            UserWarning,
            stacklevel=3,
        )


def _settle(reason: np.ndarray, pairs: pd.DataFrame, text: str) -> None:
    """Give junctions that have no pair, and had one before, the reason ``text``."""
    paired = np.isin(np.arange(len(reason)), pairs["source"])
    reason[~paired & pd.isna(reason)] = text


def _table(junctions: Any, name: str) -> pd.DataFrame:
    """Return junctions as a table, whose index are distinct names."""
    if isinstance(junctions, AnnData):
        junctions = junctions.var
    if isinstance(junctions, str):
        raise TypeError(f"Expected {name} to be an AnnData, a DataFrame or names, found a text.")
    if not isinstance(junctions, Iterable):
        raise TypeError(
            f"Expected {name} to be an AnnData, a DataFrame or names, found a "
            f"{type(junctions).__name__}. Junctions of a model are model.adata.var, or "
            "model.junction_names if genes are not compared."
        )
    if not isinstance(junctions, pd.DataFrame):
        junctions = pd.DataFrame(index=pd.Index(list(junctions)))
    if junctions.empty and not len(junctions.index):
        raise ValueError(f"Expected junctions in {name}, found none.")
    table: pd.DataFrame = junctions.set_axis(junctions.index.astype(str), axis=0)
    repeated = table.index[table.index.duplicated()]
    if len(repeated):
        raise ValueError(
            f"Expected each junction once in {name}, found {repeated[0]!r} several times."
        )
    return table


def _introns(table: pd.DataFrame, name: str) -> Introns:
    """Return coordinates from names, or from columns if names are of another form."""
    coordinates = coordinates_in_names(table.index).set_axis(table.index, axis=0)
    if not coordinates.isna().to_numpy().any():
        return introns(coordinates)
    columns = list(coordinates.columns)
    if not set(columns) <= set(table.columns):
        wrong = table.index[coordinates["start"].isna().to_numpy()][0]
        raise ValueError(
            f"Expected junctions of {name} to be named chrom:start-end:strand, or to have the "
            f"columns {', '.join(columns)}, found {wrong!r} and the columns {list(table.columns)}."
        )
    return introns(table)


def _contigs(
    chain: Chain, own: Introns, other: Introns, own_names: pd.Index, other_names: pd.Index
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Match contigs to those of a chain file, and check that junctions are within them.

    Returns
    -------
    Names in the file of the contigs of the junctions that are lifted, and of the other ones.
    """
    sides = ("source", "target") if chain.name == "chain" else ("target", "source")
    sizes = (chain.from_sizes, chain.to_sizes)
    matched = []
    for i, (junctions, names) in enumerate(((own, own_names), (other, other_names))):
        what = f"the junctions of {sides[i]}"
        contigs = match_contigs(junctions.chroms, sizes[i], what, f"{chain.name} {chain.path}")
        order = np.argsort(junctions.end, kind="stable")
        last = dict(zip(junctions.chrom[order].tolist(), order.tolist(), strict=True))
        ends = {
            contigs[junctions.chroms[code]]: (int(junctions.end[row]), str(names[row]))
            for code, row in last.items()
            if junctions.chroms[code] in contigs
        }
        check_sizes(chain, sizes[i], ends, sides[i], sizes[1 - i])
        matched.append(contigs)
    return matched[0], matched[1]
