"""Options of reading, checked: one object for the readers of all formats."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi._choices import StarReads
from leafletfa_scvi.pp.read._barcode_map import BarcodeMap, barcode_map_of
from leafletfa_scvi.pp.read._barcodes import read_barcodes
from leafletfa_scvi.pp.read._long_columns import TableColumns, table_columns_of
from leafletfa_scvi.pp.read._region import Region, parse_region
from leafletfa_scvi.pp.read.bam._microexons import Microexons
from leafletfa_scvi.pp.read.bam._options import BamOptions

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from leafletfa_scvi.pp.read._barcode_map import CellsOfBarcodes
    from leafletfa_scvi.pp.read.bam._crossings import Positions


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """Options of all readers; each reader uses those that concern its format."""

    bam: BamOptions = dataclasses.field(default_factory=BamOptions)
    star_reads: StarReads = "unique"
    barcodes: tuple[str, ...] | None = None
    """Barcodes to keep: with a map, all of the map."""
    barcode_map: BarcodeMap | None = None
    region: Region | None = None
    table: TableColumns = dataclasses.field(default_factory=TableColumns)
    positions: Positions | None = None
    """Positions to count the reads across instead of junctions, for alignments only."""

    def without_annotation(self) -> ReadOptions:
        """Return the options for files without alignments, whose counts need no annotation."""
        return dataclasses.replace(self, bam=dataclasses.replace(self.bam, microexons=None))

    def signature(self) -> dict[str, Any]:
        """Return what distinguishes counts made with these options, serializable as JSON."""
        plain = dataclasses.replace(self.without_annotation(), positions=None, barcode_map=None)
        if self.barcode_map is not None:  # its digest stands for its barcodes, which may be many
            bam = dataclasses.replace(plain.bam, barcodes=None)
            plain = dataclasses.replace(plain, bam=bam, barcodes=None)
        named = dataclasses.asdict(plain)
        del named["bam"]["microexons"], named["positions"], named["barcode_map"]
        if self.barcode_map is not None:
            named["barcode_map"] = self.barcode_map.digest
        if self.positions is not None:
            named["positions"] = self.positions.digest
        if self.bam.microexons is not None:
            named["bam"]["microexons"] = self.bam.microexons.digest
        return named


def read_options(
    *,
    star_reads: StarReads = "unique",
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
    barcode_map: CellsOfBarcodes | None = None,
    cell_tag: str | None = None,
    umi_tag: str | None = "auto",
    reference: str | os.PathLike[str] | None = None,
    region: str | None = None,
    table_columns: Mapping[str, str] | None = None,
    table_zero_based: bool = False,
    annotated_introns: pd.DataFrame | None = None,
    min_anchor: int = 8,
    regtools: bool = False,
    **counting: Any,
) -> ReadOptions:
    """Check and collect the options of readers.

    Barcodes concern alignments only if a tag for cells is given.

    Parameters
    ----------
    star_reads, barcodes, barcode_map, cell_tag, umi_tag, reference, region, table_columns,
    table_zero_based, annotated_introns, min_anchor, regtools
        As in :func:`read_junctions`.
    counting
        Further options of :class:`BamOptions`.

    Raises
    ------
    ValueError
        If a value is none of the choices or out of range, or annotated introns lack a column.
    """
    check_one_of("star_reads", star_reads, StarReads)
    names = _barcode_names(barcodes)
    mapped = None if barcode_map is None else barcode_map_of(barcode_map, names)
    if mapped is not None:
        names = tuple(mapped.cells)
    place = None if region is None else parse_region(region)
    if umi_tag == "auto":
        umi_tag = None if cell_tag is None else "UB"
    microexons = None
    if annotated_introns is not None and not regtools:
        microexons = Microexons(annotated_introns, min_anchor)
    bam = BamOptions(
        cell_tag=cell_tag,
        umi_tag=umi_tag,
        barcodes=None if cell_tag is None else names,
        reference=None if reference is None else str(reference),
        min_anchor=min_anchor,
        regtools=regtools,
        microexons=microexons,
        region=place,
        **counting,
    )
    table = table_columns_of(table_columns, table_zero_based)
    return ReadOptions(bam, star_reads, names, mapped, place, table)


def _barcode_names(
    barcodes: Sequence[str] | str | os.PathLike[str] | None,
) -> tuple[str, ...] | None:
    """Return barcodes as names, read from a file if a path is given."""
    if barcodes is None:
        return None
    if isinstance(barcodes, str) or hasattr(barcodes, "__fspath__"):
        return read_barcodes(barcodes)
    return tuple(str(name) for name in barcodes)
