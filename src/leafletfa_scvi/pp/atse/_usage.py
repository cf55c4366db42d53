"""Usage of splice sites by junctions, and a filter on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata, check_inside
from leafletfa_scvi._constants import DATASET_SLOT
from leafletfa_scvi.pp._codes import FORWARD, REVERSE, UNSTRANDED
from leafletfa_scvi.pp._junctions import introns, read_numbers, splice_sites
from leafletfa_scvi.pp._table_deprecated import accepts_table
from leafletfa_scvi.pp.qc._matrices import junction_reads, require_no_totals

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import ArrayLike


def usage_of_sites(junctions: pd.DataFrame, reads: ArrayLike) -> pd.DataFrame:
    """Compute the usage of both splice sites of each junction; see :func:`splice_site_usage`.

    Parameters
    ----------
    junctions
        J rows in any order: ``chrom``; ``start`` and ``end``, the first and last base of the
        intron, 1-based; ``strand``, one of ``+``, ``-`` and ``?``.
    reads
        ``(J,)`` reads of each junction, summed over cells.

    Returns
    -------
    DataFrame
        ``(J, 2)`` float64 columns ``usage_5ss`` and ``usage_3ss`` from 0 to 1, index of
        ``junctions``; 0 at sites without reads.

    Raises
    ------
    ValueError
        If a column is missing or holds other values, or ``reads`` are not J finite numbers of at
        least 0, or a Series of another index.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"chrom": "chr1", "start": [11, 11, 31], "end": [20, 40, 40], "strand": "-"}
    ... )
    >>> usage_of_sites(table, [6, 2, 2])
       usage_5ss  usage_3ss
    0        1.0       0.75
    1        0.5       0.25
    2        0.5       1.00
    """
    table = introns(junctions)
    values = read_numbers(reads, junctions)
    usage = []
    for site, place in zip(
        splice_sites(table.strand_key, table.start, table.end),
        splice_sites(table.chrom, table.start, table.end),
        strict=True,
    ):
        total = np.bincount(site, values)[site]
        # A junction of unknown strand is compared with those of the only strand at its site.
        on_strand = [
            np.bincount(place, table.strand == strand)[place] > 0 for strand in (FORWARD, REVERSE)
        ]
        is_joined = (table.strand == UNSTRANDED) & (on_strand[0] != on_strand[1])
        total[is_joined] = np.bincount(place, values)[place][is_joined]
        usage.append(np.divide(values, total, out=np.zeros(len(values)), where=total > 0))
    left, right = usage
    is_reverse = table.strand == REVERSE
    return pd.DataFrame(
        {
            "usage_5ss": np.where(is_reverse, right, left),
            "usage_3ss": np.where(is_reverse, left, right),
        },
        index=junctions.index,
    )


def usage_mask(
    junctions: pd.DataFrame, reads: ArrayLike, min_usage: float = 0.01
) -> tuple[np.ndarray, dict[str, int]]:
    """Select the junctions of a table with a minimum usage; see :func:`filter_usage`.

    Returns
    -------
    mask
        ``(J,)`` bool, true for junctions to keep.
    report
        Numbers, as in :func:`filter_usage`.
    """
    return _above(usage_of_sites(junctions, reads), min_usage, read_numbers(reads, junctions))


def _above(
    usage: pd.DataFrame, min_usage: float, reads: np.ndarray
) -> tuple[np.ndarray, dict[str, int]]:
    """Select rows of at least ``min_usage`` at both sites, and report their numbers."""
    check_inside("min_usage", min_usage, "[0, 1]")
    is_below = usage.to_numpy() < min_usage
    mask = np.asarray(~is_below.any(axis=1))
    return mask, {
        "junctions": len(mask),
        "junctions_kept": int(mask.sum()),
        "junctions_below_usage_5ss": int(is_below[:, 0].sum()),
        "junctions_below_usage_3ss": int(is_below[:, 1].sum()),
        "reads": int(reads.sum()),
        "reads_kept": int(reads[mask].sum()),
    }


@accepts_table(usage_of_sites)
def splice_site_usage(adata: AnnData) -> None:
    """Compute the share of the reads at its donor and acceptor that support a junction, in place.

    The donor (5' splice site) is the first base of the intron on ``+`` and the last on ``-``; for
    strand ``?``, the left end of the intron counts as the donor. Sites of different strands are
    different sites. Where junctions on one strand only share the site of one of strand ``?``,
    their reads count for its usage; its own do not count for theirs.

    Parameters
    ----------
    adata
        Junction counts, with the columns ``chrom``, ``start`` and ``end`` (first and last base of
        the intron, 1-based and inclusive) and ``strand`` in ``var``.

    Returns
    -------
    None
        ``var["usage_5ss"]`` and ``var["usage_3ss"]`` hold the usages, from 0 to 1; 0 at sites
        without reads.

    Raises
    ------
    ValueError
        If a column or the counts are missing, or a column holds other values.
    """
    usage = usage_of_sites(check_anndata(adata).var, junction_reads(adata))
    for name in usage:
        adata.var[name] = usage[name]


@accepts_table(usage_mask)
def filter_usage(adata: AnnData, min_usage: float = 0.01) -> AnnData:
    """Drop junctions that support a small share of the reads at one of their splice sites.

    Usages are computed once, on the junctions given: dropped junctions still count in the totals
    of their sites, as in ATSEmapper. The rest may fall apart, and junctions may be left alone, so
    find ATSEs afterwards, with :func:`find_atses`.

    Parameters
    ----------
    adata
        Junction counts, as for :func:`splice_site_usage`; not changed.
    min_usage
        Minimum usage at the 5' and at the 3' splice site, from 0 (keeps all) to 1.

    Returns
    -------
    AnnData
        Copy with the remaining junctions, and their usages as :func:`splice_site_usage` writes
        them. ``uns["splicing"]["splice_site_usage"]`` reports ``junctions``, ``junctions_kept``,
        the dropped ``junctions_below_usage_5ss`` and ``junctions_below_usage_3ss`` (some in
        both), and the ``reads`` of all junctions and ``reads_kept``.

    Raises
    ------
    ValueError
        As :func:`splice_site_usage`; or if ``min_usage`` is not between 0 and 1, or ``adata`` has
        ATSE totals already.
    """
    require_no_totals(adata, "Filter junction counts, before totals are summed.")
    reads = junction_reads(adata)
    usage = usage_of_sites(adata.var, reads)
    mask, report = _above(usage, min_usage, reads)
    kept = adata[:, mask].copy()
    for name in usage:
        kept.var[name] = usage[name].to_numpy()[mask]
    kept.uns[DATASET_SLOT] = {**kept.uns.get(DATASET_SLOT, {}), "splice_site_usage": report}
    return kept
