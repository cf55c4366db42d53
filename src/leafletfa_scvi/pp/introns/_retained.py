"""Retained introns: reads across exon-intron boundaries, and introns that are retained."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from scipy.stats import false_discovery_control, poisson

from leafletfa_scvi._arguments import check_at_least, check_inside
from leafletfa_scvi._constants import DATASET_SLOT
from leafletfa_scvi._deprecated import renamed_choice
from leafletfa_scvi.pp.introns._probes import probe_introns
from leafletfa_scvi.pp.qc._matrices import junction_counts
from leafletfa_scvi.pp.read._formats import FORMATS
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs
from leafletfa_scvi.pp.read._sources import find_sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leafletfa_scvi.pp.annotate._annotation import Annotation
    from leafletfa_scvi.pp.introns._probes import Probes
    from leafletfa_scvi.pp.read._sources import Inputs

BOUNDARY_LAYER: Final = "intron_boundary_reads"
"""Layer with the reads across both boundaries of each junction's intron."""
RETAINED_SLOT: Final = "retained_introns"
"""Key of ``uns`` with the table of introns that could be measured."""
_FDR: Final = 0.05
_UNEVEN: Final = 3.0
"""Factor by which reads at a boundary or inside may fall below the mean of the boundaries."""
_RUN: Final = ("format", "n_jobs", "client", "work_dir", "on_error", "progress")
_OF_RESULT: Final = ("cell_table", "cell_column", "region")
"""Arguments that have had their effect on the data set."""


@renamed_choice("reads_without_umi", "umi_missing", skip="drop", fragments="keep")
def count_retained_introns(
    adata: AnnData,
    inputs: Inputs | AnnData,
    annotation: Annotation | None = None,
    *,
    min_reads: int = 10,
    min_psi: float = 0.1,
    **reading: Any,
) -> None:
    """Count reads in the introns of a data set's junctions, and find introns that are retained.

    The alignments are read once more. A fragment or UMI supports retention at a boundary if
    an aligned block has ``min_anchor`` bases on both sides of it: as many positions of a read as
    those that support a junction, so that both are comparable without regard to lengths. With y
    the counts of junctions,

        PSI = r / (r + s),  r = (left + right) / 2,  s = max(sum of y at the left splice site,
        sum of y at the right splice site).

    r is the inclusion of rMATS's retained introns (JC: reads across both boundaries, over their
    number) [1]_, and s the exonic abundance of IRFinder's IR ratio (the larger of the spliced
    reads at either splice site) [2]_, which differs from the junction's own count if other
    junctions share a site.

    An intron is measurable unless an annotated exon of any gene and strand covers one of its
    boundaries or most of its inside (exons of its own gene that contain the whole intron aside),
    or another junction lies within it. A measurable intron is retained if, over all cells,

    - r is at least ``min_reads`` and PSI at least ``min_psi``;
    - reads across the left boundary, across the right one, and the median over positions inside
      that no exon covers, are each at least a third of r, as a part that is covered for another
      reason leaves the rest empty;
    - left + right is larger than twice the background (Poisson, Benjamini-Hochberg 0.05): the
      median of r over the measurable introns whose PSI is below ``min_psi``, as unspliced RNA
      and DNA leave reads in all introns.

    Parameters
    ----------
    adata
        Data set of :func:`make_splicing_dataset`.
    inputs
        The BAM or CRAM files it was made from.
    annotation
        Exons; the result of :func:`read_annotation`. If None, exons of other genes are unknown.
    min_reads
        Minimum mean number of reads across the boundaries, over all cells.
    min_psi
        Minimum PSI over all cells, 0.1 as usual with IRFinder.
    reading
        Arguments of :func:`read_bam` as in the counting of junctions; ``regtools`` is refused.

    Returns
    -------
    None
        Sets in ``adata``

        - ``layers["intron_boundary_reads"]``: int32 CSR, left + right of each cell and
          junction; 0 if not measurable.
        - ``var["retained_intron"]``: whether the junction's intron is retained.
        - ``uns["retained_introns"]``: table of measurable introns, by name of the junction:
          ``atse_id``, ``event_type`` (``"retained_intron"`` or ``""``), ``left``, ``right``,
          ``inside`` (median), ``spliced`` (s), ``psi``, ``p_adjusted``, all over all cells.
        - ``uns["splicing"]["retained_introns"]``: numbers of introns, thresholds and background.

    Raises
    ------
    ValueError
        If inputs are not all alignments, or an argument is out of range.

    References
    ----------
    .. [1] Shen et al. (2014), rMATS, PNAS 111, E5593.
    .. [2] Middleton et al. (2017), IRFinder, Genome Biology 18, 51.
    """
    check_at_least(1, min_reads=min_reads)
    check_inside("min_psi", min_psi, "(0, 1)")
    probes = probe_introns(adata.var, annotation)
    crossings = _crossings(inputs, probes, reading)
    names = pd.Index(crossings.obs_names)
    at = names.get_indexer(pd.Index(adata.obs_names))
    x = sp.csr_matrix(crossings.X)
    x = sp.vstack([x, sp.csr_matrix((1, x.shape[1]), dtype=x.dtype)], format="csr")[at]
    left, right, *inside = (
        _columns(crossings.var, probes, k) for k in range(probes.position.shape[1])
    )
    boundary = sp.csr_matrix((x @ (left + right)).astype(np.int32))
    boundary.eliminate_zeros()
    boundary.sort_indices()
    pooled = np.asarray(x.sum(axis=0)).ravel()
    reads = np.column_stack([pooled @ one for one in (left, right, *inside)])
    spliced = spliced_reads(junction_counts(adata).sum(axis=0), adata.var)
    table, background = _call(reads, spliced.ravel(), probes, min_reads, min_psi)
    table.insert(0, "atse_id", adata.var["atse_id"].astype(str).to_numpy()[probes.is_measurable])
    table.index = pd.Index(adata.var_names[probes.is_measurable], name="junction")
    retained = np.zeros(adata.n_vars, bool)
    retained[probes.is_measurable] = table["event_type"] != ""
    adata.layers[BOUNDARY_LAYER] = boundary
    adata.var["retained_intron"] = retained
    adata.uns[RETAINED_SLOT] = table
    adata.uns.setdefault(DATASET_SLOT, {})[RETAINED_SLOT] = {
        "introns": adata.n_vars,
        "measurable": int(probes.is_measurable.sum()),
        "retained": int(retained.sum()),
        "background_reads": background,
        "min_reads": min_reads,
        "min_psi": min_psi,
    }


def retained_intron_psi(adata: AnnData, *, only_retained: bool = True) -> pd.DataFrame:
    """Compute the PSI of retained introns in each cell.

    Parameters
    ----------
    adata
        Data set with the counts of :func:`count_retained_introns`.
    only_retained
        If True, leave out introns that are measurable but not retained.

    Returns
    -------
    DataFrame
        Cells x introns, by the names of their junctions: r / (r + s) as in
        :func:`count_retained_introns`, NaN where a cell has no read of the intron.

    Raises
    ------
    KeyError
        If retained introns have not been counted.
    """
    if BOUNDARY_LAYER not in adata.layers or RETAINED_SLOT not in adata.uns:
        raise KeyError(
            f"Expected `layers[{BOUNDARY_LAYER!r}]` and `uns[{RETAINED_SLOT!r}]`, found no counts "
            "of retained introns. Make the data set with retained_introns=True."
        )
    table = adata.uns[RETAINED_SLOT]
    names = table.index[table["event_type"] != ""] if only_retained else table.index
    columns = adata.var_names.get_indexer(names[names.isin(adata.var_names)])
    r = adata.layers[BOUNDARY_LAYER][:, columns].toarray() / 2
    s = spliced_reads(junction_counts(adata), adata.var, columns)
    with np.errstate(invalid="ignore"):
        psi = r / (r + s)
    return pd.DataFrame(psi, index=adata.obs_names, columns=adata.var_names[columns])


def spliced_reads(counts: Any, var: pd.DataFrame, columns: np.ndarray | None = None) -> np.ndarray:
    """Return the larger of the sums of counts at either splice site, cells x junctions, dense."""
    counts = sp.csr_matrix(counts)
    columns = np.arange(counts.shape[1]) if columns is None else columns
    sums = []
    for side in ("start", "end"):
        site = var.groupby(["chrom", "strand", side], observed=True).ngroup().to_numpy()
        one = np.ones(len(site), np.int64)
        to_site = sp.csr_matrix((one, (np.arange(len(site)), site)))
        sums.append((counts @ to_site[:, site[columns]]).toarray())
    larger: np.ndarray = np.maximum(*sums)
    return larger


def check_alignments(inputs: Inputs | AnnData, reading: Mapping[str, Any]) -> None:
    """Check that all inputs are alignments, counted by the rules of this package.

    Raises
    ------
    ValueError
        If not.
    """
    if reading.get("regtools"):
        raise ValueError(
            "Expected counts by this package's rules for retained introns, found regtools=True. "
            "Leave out regtools (--regtools)."
        )
    if isinstance(inputs, AnnData):
        raise ValueError(
            "Expected BAM or CRAM files for retained introns, found counts in an AnnData. Pass "
            "the files, or retained_introns=False."
        )
    with warnings.catch_warnings():  # given when the junctions are counted
        warnings.simplefilter("ignore", UserWarning)
        sources = find_sources(inputs, reading.get("format", "auto")).sources
    for source in sources:
        if not FORMATS[source.format].is_alignment:
            raise ValueError(
                f"Expected BAM or CRAM files for retained introns, found {source.path} of the "
                f"format {source.format!r}, which has no reads in introns. Leave out "
                "retained_introns (--retained-introns), or name the alignments."
            )


def _crossings(inputs: Inputs | AnnData, probes: Probes, reading: Mapping[str, Any]) -> AnnData:
    """Return cells x positions, from the alignments."""
    check_alignments(inputs, reading)
    assert not isinstance(inputs, AnnData)
    run = {key: value for key, value in reading.items() if key in _RUN}
    given = {key: value for key, value in reading.items() if key not in (*_RUN, *_OF_RESULT)}
    given["reference"] = given.pop("cram_reference", None)
    options = dataclasses.replace(read_options(**given), positions=probes.positions())
    with warnings.catch_warnings():  # given when the junctions were counted
        warnings.simplefilter("ignore", UserWarning)
        return read_inputs(inputs, options, **run)


def _columns(var: pd.DataFrame, probes: Probes, k: int) -> sp.csr_matrix:
    """Return positions found x junctions: 1 where a position is the k-th of a junction.

    A position with a strand is that of junctions of the same strand.
    """
    found = pd.DataFrame(
        {
            "chrom": var["chrom"].astype(str).to_numpy(object),
            "position": var["start"].to_numpy(np.int64),
            "strand": var["strand"].astype(str).to_numpy(object),
            "row": np.arange(len(var)),
        }
    )
    keep = np.flatnonzero(probes.is_measurable & probes.is_free[:, k])
    located = probes.introns
    wanted = pd.DataFrame(
        {
            "chrom": located.contig[keep],
            "position": probes.position[keep, k],
            "of": located.strand[keep],
            "column": keep,
        }
    )
    both = wanted.merge(found, on=["chrom", "position"])
    code = both["strand"].map({"?": 0, "+": 1, "-": 2}).to_numpy(np.int64)
    of = both["of"].to_numpy(np.int64)
    both = both[(code == 0) | (of == 0) | (code == of)]
    shape = (len(var), len(probes.is_measurable))
    one = np.ones(len(both), np.int64)
    return sp.csr_matrix((one, (both["row"], both["column"])), shape=shape)


def _call(
    reads: np.ndarray, spliced: np.ndarray, probes: Probes, min_reads: int, min_psi: float
) -> tuple[pd.DataFrame, float]:
    """Return the table of measurable introns, and the background."""
    measurable = probes.is_measurable
    left, right = reads[measurable, 0], reads[measurable, 1]
    covered = np.where(probes.is_free[measurable, 2:], reads[measurable, 2:], np.nan)
    inside = np.nanmedian(covered, axis=1) if len(covered) else np.empty(0)
    s = spliced[measurable].astype(np.int64)
    r = (left + right) / 2
    psi = np.divide(r, r + s, out=np.full(len(r), np.nan), where=r + s > 0)
    unretained = psi < min_psi
    background = float(np.median(r[unretained])) if unretained.any() else 0.0
    p = poisson.sf(left + right - 1, 2 * background)
    p = false_discovery_control(p) if len(p) else p
    least = np.minimum(np.minimum(left, right), inside)
    is_retained = (r >= min_reads) & (psi >= min_psi) & (least >= r / _UNEVEN) & (p < _FDR)
    table = pd.DataFrame(
        {
            "event_type": np.where(is_retained, "retained_intron", "").astype(object),
            "left": left.astype(np.int64),
            "right": right.astype(np.int64),
            "inside": inside,
            "spliced": s,
            "psi": psi,
            "p_adjusted": p,
        }
    )
    return table, background
