"""Every reader refuses damaged files, naming the file, or reads what is valid."""

from __future__ import annotations

import pytest
from benchmarks.robustness import damaged_files

NAMES = (
    "STAR SJ.out.tab",
    "STARsolo matrix.mtx",
    "STARsolo features.tsv",
    "STARsolo barcodes.tsv",
    "BED of introns",
    "regtools BED12",
    "regtools with barcodes",
    "leafcutter perind.counts",
    "leafcutter perind_numers.counts",
    "table of coordinates x cells",
    "IsoQuant intron counts",
    "IsoQuant include.matrix.mtx",
    "IsoQuant features.tsv",
    "IsoQuant barcodes.tsv",
    "IsoQuant columns of groups",
    "long table",
    "map of barcodes",
    "GTF",
    "GFF3",
    "list of barcodes",
    "table of cells",
    "table of files",
    "FASTA",
    "SAM",
    "BAM",
    "h5ad",
)


def test_every_reader_is_tried():
    assert {reader.name for reader in damaged_files.READERS} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_named_or_cannot_be_known(name):
    (reader,) = (one for one in damaged_files.READERS if one.name == name)
    results = damaged_files.try_reader(reader, 28, seed=1)
    assert len(results) == 28
    bad = [result for result in results if result.outcome in ("accepted", "obscure")]
    assert not bad, [(result.kind, result.message, result.data[-200:]) for result in bad]
    assert sum("refused" in result.outcome for result in results) > 9
    harmless = {"Line ends of Windows", "A byte order mark"} if reader.is_text else set()
    assert all(result.outcome == "the same" for result in results if result.kind in harmless)


def test_wrongly_read_files_count_as_accepted(tmp_path):
    """The judge is not the reader: one that takes everything is found out."""
    (reader,) = (one for one in damaged_files.READERS if one.name == "STAR SJ.out.tab")
    lenient = damaged_files.dataclasses.replace(reader, read=lambda path: path.read_bytes())
    outcomes = {result.outcome for result in damaged_files.try_reader(lenient, 28, seed=1)}
    assert "accepted" in outcomes
    failing = damaged_files.dataclasses.replace(reader, read=lambda path: path.read_bytes()[9999])
    with pytest.raises(IndexError):
        damaged_files.try_reader(failing, 1, seed=1)
