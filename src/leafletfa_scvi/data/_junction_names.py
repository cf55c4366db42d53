"""Coordinates in names of junctions, with or without a strand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._contigs import match_contigs, other_names

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = (
    r"^(?P<chrom>[^:]+|.+(?=:[0-9]+-[0-9]+:)):(?P<start>[0-9]{1,10})-(?P<end>[0-9]{1,10})"
    r"(?::(?P<strand>[-+?.*]))?$"
)


def junction_coordinates(names: pd.Index) -> pd.DataFrame:
    """Read contig, start, end and strand from names of junctions.

    Parameters
    ----------
    names
        ``(P,)`` names ``chrom:start-end:strand``, or ``chrom:start-end`` without strand.

    Returns
    -------
    pandas.DataFrame
        ``chrom`` and ``strand`` as text, ``start`` and ``end`` as int64, one row for each name of
        these forms; the index is its position among ``names``. The strand is ``""`` if the name
        has none or an unknown one (``?``, ``.`` and ``*``).
    """
    parts = names.astype(str).to_series().str.extract(_NAME).reset_index(drop=True)
    parts = parts[parts["chrom"].notna()]
    strand = parts["strand"].astype(object)
    return pd.DataFrame(
        {
            "chrom": parts["chrom"].astype(object),
            "start": parts["start"].astype(np.int64),
            "end": parts["end"].astype(np.int64),
            "strand": strand.where(strand.isin(["+", "-"]), ""),
        }
    )


def match_contigs_of_names(
    names: pd.Index, reference: pd.Index
) -> tuple[pd.Index, dict[str, str]]:
    """Rename the contigs in names of junctions to those that a reference uses.

    Only names that differ in the prefix ``chr``, or are those of the mitochondrial genome, are
    matched: :func:`~leafletfa_scvi._contigs.match_contigs`.

    Parameters
    ----------
    names, reference
        ``(Q,)`` and ``(P,)`` names of junctions. Those of another form stay as they are.

    Returns
    -------
    names
        ``(Q,)``, renamed.
    renamed
        Name in the reference of each contig that was renamed.

    Raises
    ------
    ValueError
        Two contigs of ``names`` match the same one of the reference.
    """
    own = junction_coordinates(names)
    contigs = pd.unique(own["chrom"])
    theirs = set(pd.unique(junction_coordinates(reference)["chrom"]))
    if not any({name, *other_names(name)} & theirs for name in contigs):
        return names, {}
    matched = match_contigs(contigs, theirs, "adata", "the reference")
    renamed = {name: other for name, other in matched.items() if name != other}
    if not renamed:
        return names, {}
    changed = own[own["chrom"].isin(list(renamed))]
    new = names.astype(str).to_numpy(object).copy()
    new[changed.index] = [
        renamed[contig] + new[row][len(contig) :]
        for row, contig in zip(changed.index, changed["chrom"], strict=True)
    ]
    return pd.Index(new, dtype=names.dtype), renamed


def rename_contigs(column: pd.Series, renamed: Mapping[str, str]) -> pd.Series:
    """Rename contigs in a column of ``var``; a categorical column stays one."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        names = [renamed.get(name, name) for name in column.cat.categories]
        if len(set(names)) == len(names):
            return column.cat.rename_categories(names)
        column = column.astype(object)
    return column.map(lambda name: renamed.get(name, name), na_action="ignore")
