"""Junctions at lifted places, and pairs of junctions that are each other's only partner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi.pp._codes import FORWARD, REVERSE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leafletfa_scvi.pp._junctions import Introns


def junctions_at(
    lifted: pd.DataFrame,
    to_contigs: Sequence[str],
    junctions: Introns,
    contigs: Mapping[str, str],
    tolerance: int,
) -> pd.DataFrame:
    """Find junctions at lifted places.

    Parameters
    ----------
    lifted
        Places of :func:`lift_sites`.
    to_contigs
        Names of their contigs.
    junctions
        Introns of that genome.
    contigs
        Name in ``to_contigs`` of each contig of ``junctions`` that is there.
    tolerance
        Maximum distance in bases of each of the two splice sites from its lifted place.

    Returns
    -------
    Pairs ``source`` (junction of ``lifted``) and ``target`` (of ``junctions``), 0-based, each
    once, with ``shift``, the sum of the two distances.
    """
    position = {name: i for i, name in enumerate(to_contigs)}
    code = np.array([position.get(contigs.get(name, ""), -1) for name in junctions.chroms], int)
    of_junction = code[junctions.chrom] if len(code) else np.zeros(0, int)
    stranded = np.isin(junctions.strand, (FORWARD, REVERSE))
    here = np.flatnonzero((of_junction >= 0) & stranded)
    is_forward = junctions.strand[here] == FORWARD
    donor = np.where(is_forward, junctions.start[here], junctions.end[here])
    acceptor = np.where(is_forward, junctions.end[here], junctions.start[here])

    # One number for contig, strand and donor, with room for the tolerance on both sides.
    donors = (donor, lifted["donor"].to_numpy())
    size = max(int(x.max(initial=0)) for x in donors) + 2 * tolerance + 2

    def key(contig: np.ndarray, strand: np.ndarray, site: np.ndarray) -> np.ndarray:
        place: np.ndarray = (contig * 2 + (strand == FORWARD)) * size + site + tolerance
        return place

    own = key(of_junction[here], junctions.strand[here], donor)
    order = np.argsort(own, kind="stable")
    wanted = key(lifted["contig"].to_numpy(), lifted["strand"].to_numpy(), donors[1])
    first = np.searchsorted(own[order], wanted - tolerance, "left")
    number = np.searchsorted(own[order], wanted + tolerance, "right") - first
    row = np.repeat(np.arange(len(lifted)), number)
    within = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
    found = order[np.repeat(first, number) + within]
    shifts = [
        np.abs(lifted[name].to_numpy()[row] - site[found])
        for name, site in (("donor", donor), ("acceptor", acceptor))
    ]
    near = shifts[1] <= tolerance
    pairs = pd.DataFrame(
        {
            "source": lifted["junction"].to_numpy()[row][near],
            "target": here[found[near]],
            "shift": (shifts[0] + shifts[1])[near],
        }
    )
    pairs = pairs.sort_values("shift", kind="stable")
    return pairs.drop_duplicates(["source", "target"], ignore_index=True)


def nearest_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Keep pairs of which neither junction has a partner with a smaller shift."""
    least = [pairs.groupby(side)["shift"].transform("min") for side in ("source", "target")]
    return pairs[(pairs["shift"] == least[0]) & (pairs["shift"] == least[1])]


def single_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Keep pairs of which neither junction is in another pair."""
    repeated = pairs.duplicated("source", keep=False) | pairs.duplicated("target", keep=False)
    return pairs[~repeated]
