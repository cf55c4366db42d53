"""Formats and names of cells are told from paths and content."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, get_args

import pytest

from leafletfa_scvi.pp.read._detect import cell_name, detect_format
from leafletfa_scvi.pp.read._formats import FORMATS, InputFormat

if TYPE_CHECKING:
    from pathlib import Path

SJ = b"chr1\t101\t250\t1\t1\t1\t5\t0\t30\n"
INTRON = b"chr1\t100\t250\t.\t5\t+\n"
REGTOOLS = b"chr1\t90\t260\tJ\t5\t+\t90\t260\t255,0,0\t2\t10,10\t0,160\n"
BARCODES = REGTOOLS.rstrip() + b"\t1\tAC:5\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("E6.5_c100.sorted.bam", "E6.5_c100"),
        ("x.SJ.out.tab", "x"),
        ("x_SJ.out.tab.gz", "x"),
        ("xSJ.out.tab", "x"),
        ("x.y.bed.gz", "x.y"),
        ("x.junc", "x"),
        ("x.bam.junc.txt", "x"),
        ("x.Aligned.sortedByCoord.out.bam", "x"),
        ("x_Aligned.sortedByCoord.out.bam", "x"),
        ("cellAligned.out.sorted.cram", "cell"),
        ("a.b.c", "a.b.c"),
        ("SJ.out.tab", "folder"),
        ("Aligned.sortedByCoord.out.bam", "folder"),
    ],
)
def test_cell_is_the_name_without_known_endings(name: str, expected: str, tmp_path: Path) -> None:
    assert cell_name(tmp_path / "folder" / name) == expected


def test_cell_of_a_relative_path_is_the_folder_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cell_7"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert cell_name("SJ.out.tab") == "cell_7"


@pytest.mark.parametrize("below", ["", "Solo.out", "Solo.out/SJ", "Solo.out/SJ/raw"])
def test_sample_of_starsolo(below: str, tmp_path: Path) -> None:
    raw = tmp_path / "sample" / "Solo.out" / "SJ" / "raw"
    raw.mkdir(parents=True)
    (raw / "matrix.mtx.gz").write_bytes(b"")
    place = tmp_path / "sample" / below
    assert cell_name(place) == "sample"
    assert detect_format(place) == "starsolo"


def test_sample_of_starsolo_with_a_prefix(tmp_path: Path) -> None:
    raw = tmp_path / "out" / "donor1_Solo.out" / "SJ" / "raw"
    raw.mkdir(parents=True)
    assert cell_name(raw) == "donor1"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.bed", REGTOOLS, "regtools"),
        ("a.bed", BARCODES, "regtools"),
        ("a.bed", INTRON, "junc"),
        ("a.bed", b"track name=x\n\n#c\n" + INTRON, "junc"),
        ("a.bed", b"track name=x\r\n" + INTRON.replace(b"\n", b"\r\n"), "junc"),
        ("a.junc", INTRON, "junc"),
        ("a.junc", REGTOOLS, "regtools"),
        ("a.junc.gz", gzip.compress(REGTOOLS, mtime=0), "regtools"),
        ("a.tab", SJ, "star"),
        ("a", gzip.compress(SJ, mtime=0), "star"),
        ("a.SJ.out.tab", b"", "star"),
        ("a.bed", b"", "regtools"),
        ("a.junc", b"", "junc"),
        ("a.junc.gz", gzip.compress(REGTOOLS, mtime=0)[:20], "junc"),
        ("a.bam", b"", "bam"),
        ("a.cram", b"CRAM\3", "bam"),
        ("reads", gzip.compress(b"BAM\1....", mtime=0), "bam"),
        ("reads.sam", b"@HD\tVN:1.6\n", "bam"),
    ],
)
def test_format(name: str, content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert detect_format(path) == expected


@pytest.mark.parametrize("content", [b"", b"a\tb\n", b"\xff\xfe\0\0", b"BZh91AY&SY\0"])
def test_unknown_format_names_the_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "something.dat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"something\.dat is of no known format"):
        detect_format(path)


def test_folder_without_junctions(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no Solo\.out/SJ/raw/matrix\.mtx"):
        detect_format(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        detect_format(tmp_path / "nowhere")


def test_real_files(data_dir: Path) -> None:
    bams = sorted((data_dir / "brie_ss2" / "bams_SS2").glob("*.bam"))
    assert detect_format(bams[0]) == "bam"
    assert cell_name(bams[0]) == "E6.5_c100"
    assert detect_format(data_dir / "regtools" / "expected_a8.bed") == "regtools"
    gtex = sorted((data_dir / "gtex_chr10").glob("*.bed.gz"))
    assert {detect_format(path) for path in gtex} == {"junc"}
    assert cell_name(gtex[0]) == "Brain-FrontalCortex_BA9.Sample1.chr10"
    tasic = sorted((data_dir / "tasic2016" / "sj").glob("*"))
    assert {detect_format(path) for path in tasic} == {"star"}
    assert len({cell_name(path) for path in tasic}) == 264


def test_every_format_has_a_row() -> None:
    assert tuple(FORMATS) == get_args(InputFormat)
