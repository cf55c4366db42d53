"""Reading junction counts of many files into one AnnData."""

from __future__ import annotations

import functools
import os
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from leafletfa_scvi.pp.read._barcode_map import merge_barcodes
from leafletfa_scvi.pp.read._formats import FORMATS
from leafletfa_scvi.pp.read._long_columns import TableColumns
from leafletfa_scvi.pp.read._merge import merge_files
from leafletfa_scvi.pp.read._parallel import Failure, count_files
from leafletfa_scvi.pp.read._region import within
from leafletfa_scvi.pp.read._sources import Inputs, Source, check_cells, find_sources, join_lanes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from anndata import AnnData

    from leafletfa_scvi._choices import OnError
    from leafletfa_scvi.pp.read._file_counts import FileCounts
    from leafletfa_scvi.pp.read._formats import InputFormat
    from leafletfa_scvi.pp.read._options import ReadOptions


_MANY_WITHOUT_UMI: Final = 0.2
"""Share of spliced reads of cells without a UMI above which a warning is given."""


def read_source(source: Source, options: ReadOptions) -> FileCounts:
    """Read one file."""
    row = FORMATS[source.format]
    counts = row.read(source, options)
    # Their cells are those that have reads, of a list of barcodes that is not the user's.
    by_reads = source.format == "starsolo" or bool(row.is_alignment and options.bam.cell_tag)
    mapped = options.barcode_map
    if mapped is not None and counts.cells != (source.cell,):
        counts = merge_barcodes(
            source.path, counts, mapped, of_alignments=row.is_alignment, drop_empty=by_reads
        )
    if options.region is None or options.positions is not None:
        return counts
    is_listed = options.barcodes is not None if mapped is None else mapped.kept is not None
    return within(counts, options.region, drop_empty=by_reads and not is_listed)


def read_inputs(
    inputs: Inputs,
    options: ReadOptions,
    format: InputFormat | Literal["auto"] = "auto",
    *,
    n_jobs: int = 1,
    client: Any = None,
    work_dir: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> AnnData:
    """Read files of any format; see :func:`read_junctions`."""
    listed = find_sources(inputs, format)
    check_cells(listed.sources)
    _check_barcodes(listed.sources, options)
    _check_cell_tag(listed.sources, options)
    _check_table(listed.sources, options)
    if not any(FORMATS[source.format].is_alignment for source in listed.sources):
        options = options.without_annotation()
    n_files = len(listed.sources)
    if options.bam.umi_tag is not None:
        listed = join_lanes(listed, by_cell=options.bam.cell_tag is None)
    with _folder(work_dir) as folder:
        paths, failures = count_files(
            listed.sources,
            functools.partial(read_source, options=options),
            options.signature(),
            folder,
            n_jobs=n_jobs,
            client=client,
            on_error=on_error,
            progress=progress,
        )
        kept = [i for i, path in enumerate(paths) if path is not None]
        if not kept:
            raise ValueError(f"No file could be read. The first: {failures[0].message}")
        annotation = listed.annotation.iloc[kept].reset_index(drop=True)
        adata = merge_files(
            [path for path in paths if path is not None],
            [listed.sources[i] for i in kept],
            annotation,
        )
    record = adata.uns["splicing"]["reading"]
    failed = {failure.path for failure in failures}
    failed_files = [
        path
        for source in listed.sources
        if source.path in failed
        for path in (source.path, *source.lanes)
    ]
    record["files"], record["files_failed"] = n_files, len(failed_files)
    _report(failures, record)
    if options.barcode_map is not None:
        _report_unknown(record)
    if options.bam.umi_tag is not None and "reads_without_umi" in record:
        _report_umis(record, options.bam.umi_tag)
    adata.uns["splicing"]["failed_files"] = failed_files
    return adata


def _check_cell_tag(sources: Sequence[Source], options: ReadOptions) -> None:
    """Refuse a tag of alignments if no input has alignments."""
    tag = options.bam.cell_tag
    if tag is not None and not any(FORMATS[one.format].is_alignment for one in sources):
        raise ValueError(
            f"cell_tag={tag!r} is a tag of alignments, but no input is a BAM or CRAM file: "
            f"{sources[0].path} is read as {sources[0].format!r}. Leave cell_tag out, or name "
            "the alignments."
        )


def _check_table(sources: Sequence[Source], options: ReadOptions) -> None:
    """Refuse options of long tables if no input is one."""
    if options.table != TableColumns() and not any(one.format == "long_table" for one in sources):
        raise ValueError(
            "table_columns and table_zero_based concern long tables, but no input is one: "
            f"{sources[0].path} is read as {sources[0].format!r}. Leave them out, or pass "
            "format='long_table' (--format long_table)."
        )


def _check_barcodes(sources: Sequence[Source], options: ReadOptions) -> None:
    """Refuse a list of cells to keep if every input is one cell: all would be kept."""
    if options.barcodes is not None and not any(
        FORMATS[source.format].holds_many_cells(options) for source in sources
    ):
        given = "barcodes are" if options.barcode_map is None else "barcode_map is"
        raise ValueError(
            f"{given} given, but each input, such as {sources[0].path}, is counted as one cell. "
            "Pass cell_tag='CB' to count cells of alignments by their barcodes, or no "
            f"{given.split()[0]}."
        )


def _report(failures: list[Failure], record: dict[str, int]) -> None:
    """Warn of files that were left out and barcodes that were not used."""
    if failures:
        shown = "; ".join(failure.message.rstrip(".") for failure in failures[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        others = record["files_failed"] > len(failures)
        lanes = ", or are lanes of a sample of which one could not," if others else ""
        warnings.warn(
            f"{record['files_failed']} of {record['files']} files could not be read{lanes} and "
            f"are left out: {shown}{more}.",
            UserWarning,
            stacklevel=4,
        )
    if record.get("reads_with_unused_barcode"):
        warnings.warn(
            "Reads carry cell barcodes (tag CB), but each file is counted as one cell. Pass "
            "cell_tag='CB' to count cells by their barcodes.",
            UserWarning,
            stacklevel=4,
        )


def _report_unknown(record: Mapping[str, int]) -> None:
    """Warn of reads whose barcodes are not in the map."""
    unknown = sum(record.get(key, 0) for key in ("reads_other_barcode", "reads_of_other_barcodes"))
    if unknown:
        barcodes = record.get("barcodes_left_out")
        number = f" ({barcodes:,} barcodes)" if barcodes else ""
        warnings.warn(
            f"barcode_map (--barcode-map) lacks the barcodes of {unknown:,} reads{number}, which "
            "are left out.",
            UserWarning,
            stacklevel=4,
        )


def _report_umis(record: Mapping[str, int], tag: str) -> None:
    """Warn of reads without a UMI, counted or not."""
    counted, left_out = record["reads_without_umi_counted"], record["reads_without_umi"]
    if counted:
        warnings.warn(
            f"{counted:,} spliced reads have no UMI and count as fragments beside the UMIs, as "
            f"the internal reads of Smart-seq3 do ({left_out:,} others are left out). "
            "umi_missing='drop' (--umi-missing drop) leaves them out too.",
            UserWarning,
            stacklevel=4,
        )
    before = ("reads_low_mapq", "reads_without_barcode", "reads_other_barcode")
    of_cells = record["reads_spliced"] - sum(record.get(key, 0) for key in before)
    if left_out > _MANY_WITHOUT_UMI * of_cells:
        warnings.warn(
            f"{left_out:,} of {of_cells:,} spliced reads of cells have no UMI (tag {tag} missing "
            "or '-') and are left out, as they should be if every molecule has one (10x). "
            "For Smart-seq3 and FLASH-seq, umi_missing='keep' (--umi-missing keep) counts them as "
            "fragments beside the UMIs.",
            UserWarning,
            stacklevel=4,
        )


@contextmanager
def _folder(work_dir: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yield the folder for counts of files: the given one, or a temporary one."""
    if work_dir is not None:
        path = Path(work_dir)
        if path.exists() and not path.is_dir():
            raise ValueError(f"work_dir={os.fspath(work_dir)!r} is a file: expected a folder.")
        is_ours = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        try:
            yield path
        finally:
            if is_ours and not any(path.iterdir()):  # nothing could be read: leave no trace
                path.rmdir()
        return
    with tempfile.TemporaryDirectory(prefix="leafletfa-") as name:
        yield Path(name)
