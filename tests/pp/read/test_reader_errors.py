"""Files that are damaged or of another format: which file, which line, what was expected."""

from __future__ import annotations

import gzip
import random
import re
from typing import TYPE_CHECKING, Any

import pytest
from helpers.junction_files import BARCODES, BED6, BED12, SJ, quick, write
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp._text import read_blocks
from leafletfa_scvi.pp.read._bed import read_bed
from leafletfa_scvi.pp.read._star import read_sj

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from leafletfa_scvi.pp.read._file_counts import FileCounts


WRONG = [
    ("read_sj", SJ + BED6, 3, "6 columns: expected 9, of STAR's SJ.out.tab"),
    ("read_sj", SJ + SJ.replace(b"\t101\t", b"\t1e2\t"), 3, r"column 2 \(first base\) is '1e2'"),
    ("read_sj", SJ.replace(b"\t101\t", b"\t101.0\t"), 1, "'101.0'"),
    ("read_sj", SJ.replace(b"\t101\t", b"\t0\t"), 1, "'0': expected a whole number from 1 to"),
    ("read_sj", SJ.replace(b"\t250\t", b"\t99\t"), 1, "first base 101, last base 99: expected"),
    ("read_sj", b"\n" + SJ.replace(b"\t390\t", b"\t9\t"), 3, "first base 301, last base 9"),
    ("read_sj", SJ.replace(b"\t2\t2\t0", b"\t3\t2\t0"), 2, r"column 4 \(strand\) is '3'"),
    ("read_sj", SJ.replace(b"\t1\t5\t", b"\t1\tNaN\t"), 1, "'NaN'"),
    ("read_sj", SJ.replace(b"\t1\t5\t", b"\t1\t-5\t"), 1, "'-5'"),
    ("read_sj", SJ.replace(b"\t1\t5\t", b"\t1\t5.5\t"), 1, "'5.5'"),
    ("read_sj", SJ.replace(b"\t101\t", b"\t%d\t" % 2**70), 1, "from 1 to 2,147,483,647"),
    ("read_sj", SJ + b"\tx" + SJ, 3, r"column 1 \(contig\) is ''|10 columns"),
    ("read_sj", SJ + b"chr\xff" + SJ, 3, "not UTF-8"),
    ("read_sj", SJ + b"\0" + SJ, 3, "zero byte"),
    ("read_sj", SJ.replace(b"\t101", b"\r\t101"), 1, "carriage return"),
    ("read_bed", BED6 + BED12, 2, "12 columns: expected 6"),
    ("read_bed", BED12 + BED6, 2, "6 columns: expected 12"),
    ("read_bed", BED12 + BARCODES, 2, "14 columns: expected 12"),
    ("read_bed", SJ, 1, "9 columns: expected 6 columns: introns"),
    ("read_bed", b"a b c\n", 1, "1 column: expected 6"),
    ("read_bed", b"#x\n" + BED6.replace(b"\t+", b"\tx"), 2, r"column 6 \(strand\) is 'x'"),
    ("read_bed", BED6.replace(b"\t5\t", b"\t0.5\t"), 1, r"column 5 \(score\) is '0.5'"),
    ("read_bed", BED6.replace(b"\t5\t", b"\t-1\t"), 1, "'-1'"),
    ("read_bed", BED6.replace(b"\t250\t", b"\t100\t"), 1, "start 100, end 100: expected an end"),
    ("read_bed", BED12.replace(b"\t2\t10", b"\t1\t10"), 1, r"column 10 \(blockCount\) is '1'"),
    ("read_bed", BED12 + BED12.replace(b"10,10", b"10,1x"), 2, "blockSizes 10,1x"),
    ("read_bed", BED12.replace(b"10,10", b"10,11"), 1, "two blocks"),
    ("read_bed", BED12.replace(b"10,10\t0,160", b"160,10\t0,160"), 1, "intron between"),
    ("read_bed", BARCODES.replace(b"GT:3", b"GT:4"), 1, "score 5, reads of barcodes 6"),
    ("read_bed", BARCODES.replace(b"GT:3", b"GT3"), 1, "expected a barcode, a colon"),
    ("read_bed", BARCODES.replace(b"GT:3", b":3"), 1, "expected a barcode, a colon"),
    ("read_bed", BARCODES.replace(b"\t2\tAC", b"\t3\tAC"), 1, "number of barcodes 3"),
]


@pytest.mark.parametrize(("name", "data", "line", "message"), WRONG)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_errors_name_file_and_line(
    name: str, data: bytes, line: int, message: str, ending: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"x{ending}", data)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}, line {line}: .*({message})"):
        globals()[name](path, "a")


def test_line_numbers_go_on_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "leafletfa_scvi.pp.read._star.read_blocks", lambda path: read_blocks(path, 50)
    )
    path = write(tmp_path / "x", SJ * 30 + b"\n# c\n" + SJ * 5 + SJ.replace(b"250", b"25"))
    assert len(list(read_blocks(str(path), 50))) > 20
    with pytest.raises(ValueError, match="line 73: first base 101, last base 25"):
        read_sj(path, "a")


def test_layout_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 1: has 12 columns: expected 6 columns"):
        read_bed(write(tmp_path / "x", BED12), "a", layout="intron")
    with pytest.raises(ValueError, match="line 1: has 6 columns: expected 12 columns"):
        read_bed(write(tmp_path / "x", BED6), "a", layout="regtools")
    with pytest.raises(ValueError, match="layout to be 'auto', .*, found 'bed'"):
        read_bed(tmp_path / "x", "a", layout="bed")  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [5, 30, -9, -1])
def test_truncated_gzip_names_the_file(cut: int, tmp_path: Path) -> None:
    rng = random.Random(0)
    data = b"".join(b"1\t%d\t%d\t1\t1\t1\t1\t0\t9\n" % (i, 10**6) for i in range(1, 2000))
    path = tmp_path / "x.SJ.out.tab.gz"
    path.write_bytes(gzip.compress(data)[:cut])
    with pytest.raises(ValueError, match=r"x\.SJ\.out\.tab\.gz is truncated or damaged"):
        read_sj(path, "a")
    damaged = bytearray(gzip.compress(data))
    for _ in range(20):
        damaged[rng.randrange(20, len(damaged) - 8)] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"x\.SJ\.out\.tab\.gz"):
        read_sj(path, "a")


def test_other_compression_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\x28\xb5\x2f\xfd....")
    with pytest.raises(ValueError, match="compressed by zstd"):
        read_sj(path, "a")


def outcome(read: Callable[[Any, str], FileCounts], path: Path) -> FileCounts | str:
    """Return the result, or the message of a ValueError; any other error fails the test."""
    try:
        return read(path, "a")
    except ValueError as error:
        return str(error)


FIELDS = st.one_of(
    st.sampled_from(
        ["", "-1", "1.5", "nan", "NA", "?", "+", "1e9", " 7", "99999999999", '"', "1,2"]
    ),
    st.text(st.characters(exclude_characters="\t\n", exclude_categories=["Cs"]), max_size=5),
    st.integers(-(2**70), 2**70).map(str),
)


@pytest.mark.parametrize("data", [SJ * 3, BED6 * 3, BED12 * 3, BARCODES * 3])
@settings(parent=quick, max_examples=150)
@given(data_st=st.data())
def test_one_changed_field_is_read_or_named(
    data: bytes, data_st: st.DataObject, tmp_path: Path
) -> None:
    lines = [line.split("\t") for line in data.decode().splitlines()]
    i = data_st.draw(st.integers(0, len(lines) - 1))
    k = data_st.draw(st.integers(0, len(lines[0]) - 1))
    lines[i][k] = data_st.draw(FIELDS)
    path = tmp_path / "x"
    path.write_bytes("".join("\t".join(line) + "\n" for line in lines).encode())
    part = outcome(read_sj if data.startswith(SJ) else read_bed, path)
    if isinstance(part, str):
        assert f"{path}, line {i + 1}: " in part
    else:
        assert part.report["rows"] + part.report["lines_skipped"] == len(lines)


@quick
@given(data=st.binary(max_size=60), read=st.sampled_from([read_sj, read_bed]))
def test_any_bytes_are_read_or_named(
    data: bytes, read: Callable[[Any, str], FileCounts], tmp_path: Path
) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    part = outcome(read, path)
    assert not isinstance(part, str) or str(path) in part
