"""Intron counts of read groups that IsoQuant writes: ``intron_grouped_counts.tsv``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from leafletfa_scvi.pp._codes import FORWARD, REVERSE, UNSTRANDED
from leafletfa_scvi.pp._text import read_blocks, require_line_end
from leafletfa_scvi.pp.read._barcodes import no_barcode_message
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs
from leafletfa_scvi.pp.read._tables import Column, CountTable, parse_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anndata import AnnData

    from leafletfa_scvi._choices import OnError
    from leafletfa_scvi.pp.read._file_counts import FileCounts
    from leafletfa_scvi.pp.read._sources import Inputs

STRANDS_OF_ISOQUANT: Final = {
    **{"+": FORWARD, "-": REVERSE},
    **dict.fromkeys((".", "+-", "-+"), UNSTRANDED),
}
_COLUMNS: Final = (
    Column("chr", "text"),
    Column("start", low=1),
    Column("end", low=1),
    Column("strand", "text", values=STRANDS_OF_ISOQUANT),
    Column("flags", "text"),
    Column("gene_ids", "text"),
    Column("group_id", "text"),
    Column("include_counts"),
    Column("exclude_counts"),
)
_WHAT: Final = "IsoQuant's intron counts (9 columns separated by tabs)"
_NO_GROUP: Final = "NA"


def read_isoquant(
    inputs: Inputs,
    *,
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
    n_jobs: int = 1,
    client: Any = None,
    work_dir: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> AnnData:
    """Read the intron counts of long reads that IsoQuant writes with ``--count_exons``.

    The table has a line for each intron and read group, such as the barcodes of
    ``--read_group tag:CB``, with the columns ``chr``, ``start``, ``end``, ``strand``, ``flags``,
    ``gene_ids``, ``group_id``, ``include_counts`` and ``exclude_counts``. Groups are cells, and
    ``include_counts`` are their reads. IsoQuant counts introns of its annotation only: run it a
    second time with its extended annotation for novel ones.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`: ``*intron_grouped_counts.tsv``, or
        ``*intron_counts.tsv`` of one cell, without groups. Other versions of IsoQuant add to these
        names; matrices of its grouped counts are not read.
    barcodes
        Cells to keep: names, or a file of names.
    n_jobs, client, work_dir, on_error, progress
        As in :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`; coordinates are 1-based and inclusive, as in the files.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    return read_inputs(
        inputs,
        read_options(barcodes=barcodes),
        "isoquant",
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )


def read_intron_counts(
    path: str | os.PathLike[str], cell: str, *, barcodes: Iterable[str] | None = None
) -> FileCounts:
    """Read the intron counts of one file of IsoQuant.

    Lines of one intron that differ in their flags or genes are summed: IsoQuant splits an intron
    where its regions of genes do.

    Parameters
    ----------
    path
        The file, gzip or not.
    cell
        Name of the cell if the file has no groups: all are ``NA``.
    barcodes
        Groups to keep. If None, all.

    Returns
    -------
    FileCounts
        Cells in order of their names. Strands of introns of genes on both strands are ``?``.
        ``report`` counts ``rows``, ``rows_kept``, ``rows_without_reads``, ``reads`` and, of
        groups, ``barcodes_left_out``, ``barcodes_not_found`` and ``reads_of_other_barcodes``.

    Raises
    ------
    ValueError
        If the file is damaged, of another format or, by its name, of exons, repeats a line, or
        none of ``barcodes`` occurs; names the line.
    """
    path = os.fspath(path)
    if "exon" in os.path.basename(path).lower():
        raise ValueError(
            f"{path} has counts of exons, by its name: expected IsoQuant's intron counts, the "
            "file intron_grouped_counts.tsv beside it. Rename it if it has introns."
        )
    table, groups = CountTable(), dict[str, int]()
    texts: dict[str, dict[str, int]] = {"flags": {}, "gene_ids": {}}
    for block in read_blocks(path):
        rows = parse_block(block, _COLUMNS, _WHAT)
        require_line_end(block)
        rows.require(
            rows["start"] <= rows["end"],
            "an intron that ends where it begins or later",
            "start",
            "end",
        )
        codes = {
            name: _codes(rows.words[name], rows[name], known) for name, known in texts.items()
        }
        table.add(
            rows.words["chr"],
            rows["chr"],
            start=rows["start"],
            end=rows["end"],
            strand=rows["strand"],
            cell=_codes(rows.words["group_id"], rows["group_id"], groups),
            count=rows["include_counts"],
            line=rows.lines,
            **codes,
        )
        table.report["rows"] += rows.n
        table.report["lines_skipped"] += rows.skipped
    table.refuse_repeats(path, "cell", "flags", "gene_ids")
    count = table.column("count")
    table.report["rows_kept"] = int(np.count_nonzero(count))
    table.report["rows_without_reads"] = table.report["rows"] - table.report["rows_kept"]
    if set(groups) <= {_NO_GROUP}:
        groups = {cell: 0}
    return _of_groups(path, table, list(groups), barcodes)


def _codes(words: Sequence[str], code: np.ndarray, known: dict[str, int]) -> np.ndarray:
    """Return codes that are the same in all blocks."""
    number = np.array([known.setdefault(word, len(known)) for word in words], np.int64)
    return number[code] if len(code) else code


def _of_groups(
    path: str, table: CountTable, names: list[str], barcodes: Iterable[str] | None
) -> FileCounts:
    """Return the counts of the groups that are kept, in order of their names."""
    report, cell, count = table.report, table.column("cell"), table.column("count")
    kept = np.ones(len(names), bool)
    if barcodes is not None:
        listed = set(barcodes)
        kept = np.array([name in listed for name in names], bool)
        report["barcodes_left_out"] = int((~kept).sum())
        report["barcodes_not_found"] = len(listed) - int(kept.sum())
        report["reads_of_other_barcodes"] = int(count[~kept[cell]].sum())
        if len(cell) and not kept.any():
            raise ValueError(no_barcode_message(path, listed, names[0]))
    order = [int(i) for i in np.flatnonzero(kept)]
    order.sort(key=lambda i: names[i])
    rank = np.full(len(names), -1)
    rank[order] = np.arange(len(order))
    is_kept = rank[cell] >= 0
    for name in ("contig", "start", "end", "strand", "count"):
        table.columns[name] = [table.column(name)[is_kept]]
    table.columns["cell"] = [rank[cell][is_kept]]
    report["reads"] = int(table.column("count").sum())
    return table.file_counts([names[i] for i in order])
