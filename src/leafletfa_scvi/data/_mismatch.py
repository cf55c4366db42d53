"""Why junctions of a data set are not found among those of a reference."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi.data._genome_builds import fitting_builds, moved_genes, species_of_genes
from leafletfa_scvi.data._junction_names import junction_coordinates

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIN_EXPLAINED: Final = 0.2
"""Minimum share of the smaller set of junctions that an explanation adds to those found."""
_MAX_CHANCE: Final = 0.02
"""Share of junctions or splice sites in common up to which genomes may differ."""
_MIN_SITES: Final = 100
"""Minimum number of splice sites on common contigs for that."""
_MAX_BUILDS: Final = 3
"""Maximum number of builds that fit for their names to say anything."""
_MIN_GENES: Final = 5

_COUNT: Final = "lfa.pp.make_splicing_dataset(files, reference=model)"


def explain_mismatch(
    names: pd.Index, var: pd.DataFrame, reference: pd.Index, reference_var: pd.DataFrame | None
) -> list[str]:
    """Explain why few junctions of a data set are those of a reference, as far as can be told.

    Parameters
    ----------
    names
        ``(Q,)`` names of the junctions of the data set, with the contigs of the reference.
    var
        Their annotation.
    reference
        ``(P,)`` names of the junctions of the reference.
    reference_var
        Their annotation, if there is any.

    Returns
    -------
    list of str
        Sentences, each with what was found and what to do; empty if nothing is known.
    """
    found = int(reference.isin(names).sum())
    enough = found + max(1, _MIN_EXPLAINED * min(len(names), len(reference)))
    reasons = list(_names_in_column(var, reference, enough))
    ours, theirs = junction_coordinates(names), junction_coordinates(reference)
    if reasons or ours.empty or theirs.empty:
        if not reasons and not theirs.empty:
            reasons.append(
                f"Junctions of the reference are named chrom:start-end:strand, as in "
                f"{reference[theirs.index[0]]!r}, those of adata {names[0]!r}: rename them."
            )
        return reasons
    if not ours["chrom"].isin(theirs["chrom"]).any():
        reasons.append(
            f"No contig of adata, such as {ours['chrom'].iloc[0]!r}, is in the reference, which "
            f"has {theirs['chrom'].iloc[0]!r} and others, with or without 'chr': rename the "
            "contigs of adata."
        )
        return reasons
    reasons = list(_differing_strands(ours, theirs, found, enough))
    reasons = reasons or list(_differing_convention(ours, theirs, enough))
    # Junctions of another genome are the same by chance only.
    if reasons or found > _MAX_CHANCE * min(len(names), len(reference)):
        return reasons
    genes = [
        None if table is None or "gene_id" not in table else table["gene_id"].iloc[part.index]
        for table, part in ((var, ours), (reference_var, theirs))
    ]
    return list(_differing_genomes(ours, theirs, *genes))


def _names_in_column(var: pd.DataFrame, reference: pd.Index, enough: float) -> Iterator[str]:
    """Find a column of ``var`` that holds the names of junctions."""
    for column in var:
        values = var[column].astype(object)
        if not pd.api.types.is_string_dtype(values) or not values.is_unique:
            continue
        n = int(reference.isin(pd.Index(values)).sum())
        if n >= enough:
            yield (
                f"adata.var[{column!r}] has {n:,} of them: set adata.var_names = "
                f"adata.var[{column!r}] first."
            )
            return


def _keys(table: pd.DataFrame, *columns: str) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[["chrom", "start", "end", *columns]])


def _differing_strands(
    ours: pd.DataFrame, theirs: pd.DataFrame, found: int, enough: float
) -> Iterator[str]:
    """Find junctions of the same coordinates whose strand is missing or the opposite."""
    n = int(_keys(theirs).isin(_keys(ours)).sum())
    if n < enough:
        return
    opposite = ours.assign(strand=ours["strand"].map({"+": "-", "-": "+", "": ""}))
    n_opposite = int(_keys(theirs, "strand").isin(_keys(opposite, "strand")).sum())
    unstranded = [float((table["strand"] == "").mean()) for table in (ours, theirs)]
    if max(unstranded) > _MIN_EXPLAINED:
        which = "adata" if unstranded[0] >= unstranded[1] else "the reference"
        yield (
            f"{n - found:,} more have the same coordinates, but names of junctions of {which} "
            f"lack the strand. Count the files of adata with {_COUNT}, which adds it, or find "
            "strands with lfa.pp.resolve_strands and name junctions chrom:start-end:strand."
        )
    elif n_opposite >= enough - found:
        yield (
            f"{n_opposite:,} are on the opposite strand in adata, as if the reads of its library "
            "had been assigned to the wrong strand (RF and FR). Count its files again with the "
            "other library_strand."
        )


def _differing_convention(
    ours: pd.DataFrame, theirs: pd.DataFrame, enough: float
) -> Iterator[str]:
    """Find a shift of start and end by one base, of 0-based or exonic coordinates."""
    target = _keys(theirs)
    best, n_best = (0, 0), 0
    for start, end in product((-1, 0, 1), repeat=2):
        moved = ours.assign(start=ours["start"] + start, end=ours["end"] + end)
        n = int(target.isin(_keys(moved)).sum())
        if n > n_best:
            best, n_best = (start, end), n
    if best == (0, 0) or n_best < enough:
        return
    parts = [
        f"{abs(shift)} {'added to' if shift > 0 else 'subtracted from'} {side}"
        for shift, side in zip(best, ("start", "end"), strict=True)
        if shift
    ]
    yield (
        f"{n_best:,} would match with {' and '.join(parts)} in adata: names must hold the first "
        "and last base of the intron, 1-based and inclusive. Rename the junctions of adata."
    )


def _differing_genomes(
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    genes: pd.Series | None,
    other_genes: pd.Series | None,
) -> Iterator[str]:
    """Find other species or genome builds, by gene ids, chromosome lengths and splice sites."""
    species = [None if ids is None else species_of_genes(ids) for ids in (genes, other_genes)]
    builds = [fitting_builds(table) for table in (ours, theirs)]
    fits = [_fits(names) for names in builds]
    looks = ""
    if all(fits):
        looks = f" Coordinates of adata fit {fits[0]}, those of the reference {fits[1]}."
    elif fits[0] or fits[1]:
        which, fit = ("adata", fits[0]) if fits[0] else ("the reference", fits[1])
        looks = f" Coordinates of {which} fit {fit}."
    if all(species) and species[0] != species[1]:
        yield (
            f"Genes of adata are of {species[0]}, those of the reference of {species[1]}: "
            f"pass a mapping from lfa.pp.map_junctions.{looks}"
        )
        return
    remedy = (
        "Count the files of adata again on alignments to the genome build of the reference, or "
        "pass a mapping from lfa.pp.map_junctions."
    )
    if all(builds) and not set(builds[0]) & set(builds[1]):
        yield f"The genome builds or the species differ.{looks} {remedy}"
        return
    if genes is not None and other_genes is not None:
        n, n_moved = moved_genes(ours, genes, theirs, other_genes)
        if n >= _MIN_GENES and n_moved > n / 2:
            yield (
                f"{n_moved:,} of {n:,} genes that are in both have no splice site in common: "
                f"the genome builds differ.{looks} {remedy}"
            )
            return
    n, n_common = _common_sites(ours, theirs)
    if n >= _MIN_SITES and n_common <= _MAX_CHANCE * n:
        yield (
            f"Only {n_common:,} of {n:,} splice sites of adata are among those of the reference: "
            f"the genome builds or the species differ.{looks} {remedy}"
        )


def _fits(builds: list[str]) -> str:
    return " or ".join(builds) if len(builds) <= _MAX_BUILDS else ""


def _common_sites(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[int, int]:
    """Count ends of junctions on contigs that both have, and those that are in both."""
    sites = []
    for table in (ours, theirs):
        ends = [
            pd.DataFrame({"chrom": table["chrom"], "position": table[side]})
            for side in ("start", "end")
        ]
        sites.append(pd.concat(ends).drop_duplicates())
    own = sites[0][sites[0]["chrom"].isin(sites[1]["chrom"])]
    common = pd.MultiIndex.from_frame(own).isin(pd.MultiIndex.from_frame(sites[1]))
    return len(own), int(np.sum(common))
