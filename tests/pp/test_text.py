"""Special files, endless lines, encodings and numbers in every reader."""

from __future__ import annotations

import gzip
import os
import re
import socket
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from helpers.junction_files import BARCODES, BED6, BED12, SJ

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._console import UserError
from leafletfa_scvi.cli._h5ad import read_data
from leafletfa_scvi.pp._text import read_blocks, whole_number
from leafletfa_scvi.pp.annotate._genome import open_genome
from leafletfa_scvi.pp.read._barcodes import read_barcodes
from leafletfa_scvi.pp.read._bed import read_bed
from leafletfa_scvi.pp.read._sources import find_sources
from leafletfa_scvi.pp.read._star import read_sj
from leafletfa_scvi.pp.read.bam._count import count_bam
from leafletfa_scvi.pp.read.bam._options import BamOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def read_genome(path: Any) -> None:
    with open_genome(path):
        pass


READERS: dict[str, Callable[[Any], Any]] = {
    "c.SJ.out.tab": lambda path: read_sj(path, "c"),
    "c.bed": lambda path: read_bed(path, "c"),
    "c.junc": lambda path: read_bed(path, "c", layout="intron"),
    "a.gtf": lfa.pp.read_annotation,
    "barcodes.tsv": read_barcodes,
    "cells.tsv": find_sources,
    "c.bam": lambda path: count_bam(path, "c", BamOptions()),
    "g.fa": read_genome,
}


@pytest.mark.parametrize("name", READERS)
def test_pipes_sockets_devices_and_folders_are_refused_at_once(name: str, tmp_path: Path) -> None:
    pipe = tmp_path / name
    os.mkfifo(pipe)
    with pytest.raises(
        ValueError, match=rf"{re.escape(str(pipe))} is a named pipe: expected .* disk"
    ):
        READERS[name](pipe)
    pipe.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(pipe))
        with pytest.raises(ValueError, match="is a socket"):
            READERS[name](pipe)
    pipe.unlink()
    pipe.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="is a device"):
        READERS[name](pipe)
    pipe.unlink()
    pipe.mkdir()
    with pytest.raises(
        (ValueError, FileNotFoundError), match=f"folder .*{name}|{name} is a folder"
    ):
        READERS[name](pipe)


def test_the_command_refuses_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "c.SJ.out.tab"
    os.mkfifo(pipe)
    command = "from leafletfa_scvi.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "make-dataset", str(pipe), "-o", str(tmp_path / "x.h5ad")],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert "is a named pipe" in done.stderr


def endless(path: Path, start: bytes, filling: bytes) -> Path:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with open(path, "wb") as file:
        file.write(packer.compress(start))
        for _ in range(200):
            file.write(packer.compress(filling * 1_000_000))
        file.write(packer.flush())
    return path


@pytest.mark.parametrize("filling", [b"A", b"#", b"\t"])
@pytest.mark.parametrize("name", ["c.SJ.out.tab", "c.bed", "a.gtf", "barcodes.tsv", "cells.tsv"])
def test_an_endless_line_is_named_in_little_memory(
    name: str, filling: bytes, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    path = endless(tmp_path / name, b"# comment\n", filling)
    assert path.stat().st_size < 300_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        ValueError, match=rf"{re.escape(str(path))}.*line 2: is longer than 16,777,216"
    ):
        READERS[name](path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_an_endless_line_of_sam_is_named(tmp_path: Path) -> None:
    path = endless(tmp_path / "reads.bam", b"@HD\tVN:1.6\n@CO\t", b"A")
    with pytest.raises(ValueError, match=r"line 2: is longer than 134,217,728"):
        count_bam(path, "c", BamOptions())
    path = endless(tmp_path / "reads.bam", b"", b"A")
    with pytest.raises(ValueError, match="is not a BAM or CRAM file"):
        count_bam(path, "c", BamOptions())


NO_NUMBERS = ["1_000", "１２", "1e3", "+5", " 5", "5 ", "0x1F", "nan", "inf", "5.0", "\v5", "-0"]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_only_plain_digits_are_numbers(value: str, tmp_path: Path) -> None:
    assert whole_number(value) is None
    cases = {
        "c.SJ.out.tab": (SJ, (1, 2, 6, 7, 8)),
        "c.bed": (BED12, (1, 2, 4)),
        "c.junc": (BED6, (1, 2, 4)),
        "a.gtf": (b'1\t.\texon\t5\t9\t.\t+\t.\tgene_id "g"; transcript_id "t";\n', (3, 4)),
    }
    for name, (data, columns) in cases.items():
        for column in columns:
            fields = data.decode().splitlines()[0].split("\t")
            fields[column] = value
            path = tmp_path / name
            path.write_text(data.decode() + "\t".join(fields) + "\n")
            line = data.count(b"\n") + 1
            with pytest.raises(ValueError, match=rf"{name}, line {line}: "):
                READERS[name](path)
    for old in (b":3", b"10,10", b"0,160"):
        new = old[:-1] + value.encode() if old == b":3" else value.encode() + old[-3:]
        path.write_bytes(BARCODES.replace(old, new))
        with pytest.raises(ValueError, match="line 1: "):
            read_bed(path, "c")


def test_digits_alone_are_whole_numbers() -> None:
    assert [whole_number(text) for text in ("0", "007", b"12", "9" * 18)] == [0, 7, 12, 10**18 - 1]
    assert whole_number("") is whole_number("9" * 19) is whole_number(b"1_0") is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "mac"])
def test_any_encoding_and_line_end_reads_the_same(encoding: str, tmp_path: Path) -> None:
    text = "# c\n" + SJ.decode()
    plain, other = tmp_path / "a", tmp_path / "b"
    plain.write_text(text)
    other.write_bytes(
        text.replace("\n", "\r").encode() if encoding == "mac" else text.encode(encoding)
    )
    for size in (7, 1 << 24):
        blocks = [list(read_blocks(str(path), size)) for path in (plain, other)]
        found = [b"".join(block.data for block in some) for some in blocks]
        assert found[0] == found[1] == text.encode()
        lines = [number for block in blocks[1] for number, _ in block.lines()]
        assert lines == [1, 2, 3]


def test_a_last_number_that_may_be_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.bed"
    path.write_bytes(BED12.rstrip())
    assert read_bed(path, "c").report["rows"] == 1
    path.write_bytes(BARCODES.rstrip())
    with pytest.raises(ValueError, match="line 1: has no line end"):
        read_bed(path, "c")


def test_gzip_is_recognized_by_content(tmp_path: Path) -> None:
    path = tmp_path / "c.SJ.out.tab"
    path.write_bytes(gzip.compress(SJ) + b"rest")
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_sj(path, "c")


def test_a_pipe_is_no_data_set(tmp_path: Path) -> None:
    pipe = tmp_path / "x.h5ad"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="is a named pipe"):
        read_data(pipe)
