"""Readers of junction files: known answers, real files, any order of lines, clear errors."""

from __future__ import annotations

import gzip
import random
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers.junction_files import BARCODES, BED6, BED12, SJ, quick, write
from helpers.parts import counts
from hypothesis import assume, given
from hypothesis import strategies as st

from leafletfa_scvi.pp._codes import MOTIFS, STRANDS
from leafletfa_scvi.pp._text import read_blocks
from leafletfa_scvi.pp.read._bed import read_bed
from leafletfa_scvi.pp.read._star import read_sj

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from leafletfa_scvi.pp.read._file_counts import FileCounts


def same(a: FileCounts, b: FileCounts) -> bool:
    arrays = ("contig", "start", "end", "strand", "motif", "cell", "junction", "count")
    return (
        a.contigs == b.contigs
        and a.cells == b.cells
        and a.report == b.report
        and all(np.array_equal(getattr(a, x), getattr(b, x)) for x in arrays)
        and all(getattr(a, x).dtype == getattr(b, x).dtype for x in arrays)
    )


# Known answers.


def test_sj(tmp_path: Path) -> None:
    path = write(tmp_path / "a.SJ.out.tab", SJ)
    part = read_sj(path, "a")
    assert counts(part) == {("a", "chr1", 101, 250, "+"): 5, ("a", "chr1", 301, 390, "-"): 1}
    assert [MOTIFS[code] for code in part.motif] == ["GT-AG", "GT-AG"]
    assert part.report["reads_multimapped"] == 2
    every = read_sj(path, "a", reads="all")
    assert every.count.tolist() == [7, 1]
    assert every.report["reads"] == 8
    with pytest.raises(ValueError, match="reads to be 'unique' or 'all', found 'most'"):
        read_sj(path, "a", reads="most")  # type: ignore[arg-type]


def test_sj_motifs_and_strands(tmp_path: Path) -> None:
    lines = [f"1\t{1 + i}\t100\t{i % 3}\t{i}\t0\t1\t0\t9\n" for i in range(7)]
    part = read_sj(write(tmp_path / "a", "".join(lines).encode()), "a")
    names = ["non-canonical", "GT-AG", "GT-AG", "GC-AG", "GC-AG", "AT-AC", "AT-AC"]
    assert [MOTIFS[code] for code in part.motif] == names
    assert [STRANDS[code] for code in part.strand] == ["?", "+", "-", "?", "+", "-", "?"]


def test_sj_without_unique_reads_is_counted_in_the_report(tmp_path: Path) -> None:
    path = write(tmp_path / "a", b"1\t5\t9\t0\t0\t0\t0\t4\t9\n" + SJ)
    assert read_sj(path, "a").report["rows_without_reads"] == 1
    assert read_sj(path, "a").report["rows"] == 3
    assert read_sj(path, "a", reads="all").report["rows_without_reads"] == 0


def test_bed_of_regtools(tmp_path: Path) -> None:
    part = read_bed(write(tmp_path / "a.bed", BED12), "a")
    assert counts(part) == {("a", "chr1", 101, 250, "+"): 5}


def test_bed_of_introns(tmp_path: Path) -> None:
    data = BED6 + b"2\t7\t8\t.\t1\t.\n2\t9\t30\tx\t0\t-\n2\t9\t30\tx\t2\t?\n"
    part = read_bed(write(tmp_path / "a.junc", data), "a")
    assert counts(part) == {
        ("a", "chr1", 101, 250, "+"): 5,
        ("a", "2", 8, 8, "?"): 1,
        ("a", "2", 10, 30, "?"): 2,
    }
    assert (part.report["rows"], part.report["rows_without_reads"]) == (4, 1)


def test_bed_lines_of_a_junction(tmp_path: Path) -> None:
    other = b"chr1\t500\t600\t.\t1\t+\n"
    again = read_bed(write(tmp_path / "a", BED6 + other + BED6), "a")
    assert again.count.tolist() == [5, 1]  # listed twice
    assert (again.report["rows_repeated"], again.report["reads"]) == (1, 6)
    summed = read_bed(write(tmp_path / "b", BED6 + other + BED6.replace(b"5\t+", b"4\t+")), "a")
    assert summed.count.tolist() == [9, 1]  # of two files
    assert (summed.report["rows_summed"], summed.report["reads"]) == (1, 10)
    assert read_bed(write(tmp_path / "c", BED12 * 2), "a").count.tolist() == [10]


def test_bed_with_commas_after_the_blocks(tmp_path: Path) -> None:
    data = BED12.replace(b"10,10\t0,160", b"10,10,\t0,160,")
    assert counts(read_bed(write(tmp_path / "a", data + BED12), "a")) == {
        ("a", "chr1", 101, 250, "+"): 10
    }


def test_bed_with_barcodes(tmp_path: Path) -> None:
    lines = BARCODES + BED12.replace(b"chr1\t90", b"chrM\t90").rstrip() + b"\t3\tGT:1,?:1,AA:1\n"
    path = write(tmp_path / "a.bed.gz", lines)
    part = read_bed(path, "a")
    assert part.cells == ("AA", "AC", "GT")
    assert counts(part) == {
        ("AC", "chr1", 101, 250, "+"): 2,
        ("GT", "chr1", 101, 250, "+"): 3,
        ("GT", "chrM", 101, 250, "+"): 1,
        ("AA", "chrM", 101, 250, "+"): 1,
    }
    # One read of regtools' barcode "?", two more that the score has and no barcode.
    assert part.report["reads_without_barcode"] == 3
    assert part.report["reads"] == 7
    some = read_bed(path, "a", barcodes=["GT", "AA", "TT"])
    assert some.cells == ("AA", "GT")
    assert counts(some) == {key: n for key, n in counts(part).items() if key[0] != "AC"}
    assert some.report["barcodes_left_out"] == 1
    assert some.report["reads_of_other_barcodes"] == 2
    assert some.report["barcodes_not_found"] == 1
    with pytest.raises(ValueError, match=r"a\.bed\.gz holds none of the barcodes .*'GT-1'"):
        read_bed(path, "a", barcodes=["GT-1"])


def test_barcodes_may_hold_colons(tmp_path: Path) -> None:
    data = BARCODES.replace(b"AC:2,GT:3", b"s1:AC:2,GT:3,")
    assert read_bed(write(tmp_path / "a", data), "a").cells == ("GT", "s1:AC")


@pytest.mark.parametrize("contig", ["ERCC-00002", "MT", "chr1_KI270706v1_random", "HLA:A|1", "NA"])
def test_odd_contigs_are_kept(contig: str, tmp_path: Path) -> None:
    sj = read_sj(write(tmp_path / "a", SJ.replace(b"chr1", contig.encode())), "a")
    bed = read_bed(write(tmp_path / "b", BED6.replace(b"chr1", contig.encode())), "a")
    assert sj.contigs == bed.contigs == (contig,)


@pytest.mark.parametrize("data", [b"", b"\n", b"# nothing\n\n"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_empty_files_have_no_junctions(data: bytes, ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{ending}", data)
    for part in (read_sj(path, "a"), read_bed(path, "a"), read_bed(path, "a", layout="regtools")):
        assert (part.n_junctions, part.cells) == (0, ("a",))
        assert part.report["rows"] == 0
        assert part.report["lines_skipped"] == data.count(b"\n")


def test_lines_without_junctions_are_skipped_and_counted(tmp_path: Path) -> None:
    head = b"browser position chr1\ntrack name=x\n#comment\n\nchrom\tchromStart\tchromEnd\n"
    for data in (BED6, BED12):
        part = read_bed(write(tmp_path / "a", head + data + b"  \n" + data), "a")
        assert part.n_junctions == 1
        assert part.report["lines_skipped"] == 6
    assert read_sj(write(tmp_path / "a", b"\n" + SJ), "a").report["lines_skipped"] == 1


def test_windows_line_ends_byte_order_mark_and_bgzip(tmp_path: Path) -> None:
    plain = read_sj(write(tmp_path / "a", SJ), "a")
    windows = b"\xef\xbb\xbf" + SJ.replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    assert same(read_sj(write(tmp_path / "b", windows), "a"), plain)
    half = SJ.index(b"\n") + 1  # bgzip writes many gzip members and an empty one
    members = gzip.compress(SJ[:half]) + gzip.compress(SJ[half:]) + gzip.compress(b"")
    (tmp_path / "c").write_bytes(members)
    assert same(read_sj(tmp_path / "c", "a"), plain)


# Real files.


def test_tasic(data_dir: Path) -> None:
    paths = sorted((data_dir / "tasic2016" / "sj").glob("*"))
    assert len(paths) == 264
    junctions: set[tuple[Any, ...]] = set()
    reads = 0
    for path in paths:
        part = read_sj(path, "a", reads="all")
        junctions |= {key[1:4] for key in counts(part)}
        reads += int(part.count.sum())
        lines = [line.split("\t") for line in path.read_text().splitlines()]
        assert part.count.sum() == sum(int(line[6]) + int(line[7]) for line in lines)
    assert len(junctions) == 703


def test_regtools(data_dir: Path) -> None:
    part = read_bed(data_dir / "regtools" / "expected_a8.bed", "a")
    found = counts(part)
    assert len(found) == 25
    # 22379140 + 95 + 1, 22405020 - 99; 22379198 + 37 + 1, 22400683 - 97; 22379367 + 42 + 1, ...
    assert found[("a", "1", 22379236, 22404921, "+")] == 742
    assert found[("a", "1", 22379236, 22400586, "+")] == 41
    assert found[("a", "1", 22379410, 22404921, "+")] == 1
    stranded = read_bed(data_dir / "regtools" / "expected_stranded_rf_a8.bed", "a")
    assert stranded.n_junctions == 49
    assert (stranded.strand == 0).sum() == 12
    assert len({key[1:4] for key in counts(stranded)}) == 24
    assert counts(stranded)[("a", "1", 22379236, 22404921, "?")] == 245


def test_gtex(data_dir: Path) -> None:
    total: Counter[tuple[Any, ...]] = Counter()
    rows = 0
    for path in sorted((data_dir / "gtex_chr10").glob("*.bed.gz")):
        part = read_bed(path, "a")
        total.update({key[1:4]: n for key, n in counts(part).items()})
        rows += part.report["rows"]
    assert rows == 164_208
    assert len(total) == 10_343
    introns = _introns(data_dir / "gtex_chr10" / "chr10.gtf.gz")
    assert len(introns & set(total)) == 10_316


def _introns(path: Path) -> set[tuple[str, int, int]]:
    exons: dict[str, list[tuple[int, int]]] = {}
    with gzip.open(path, "rt") as file:
        for line in file:
            fields = line.split("\t")
            if len(fields) > 8 and fields[2] == "exon":
                name = re.search(r'transcript_id "([^"]+)"', fields[8])
                assert name is not None
                exons.setdefault(name[1], []).append((int(fields[3]), int(fields[4])))
    return {
        ("chr10", a[1] + 1, b[0] - 1)
        for one in exons.values()
        for a, b in zip(sorted(one), sorted(one)[1:], strict=False)
    }


# Any junctions, written and read back in any order.

NAMES = st.sampled_from(["chr1", "chr10", "2", "MT", "ERCC-1", "a:b|c"])
JUNCTIONS = st.dictionaries(
    st.tuples(NAMES, st.integers(1, 10**9), st.integers(1, 10**6), st.sampled_from("+-?")),
    st.integers(0, 10**6),
    max_size=12,
)


def _as_sj(junctions: dict[tuple[Any, ...], int]) -> list[str]:
    return [
        f"{c}\t{s}\t{s + n - 1}\t{STRANDS.index(d)}\t1\t0\t{k}\t0\t9"
        for (c, s, n, d), k in junctions.items()
    ]


def _as_intron(junctions: dict[tuple[Any, ...], int]) -> list[str]:
    return [f"{c}\t{s - 1}\t{s + n - 1}\t.\t{k}\t{d}" for (c, s, n, d), k in junctions.items()]


def _as_regtools(junctions: dict[tuple[Any, ...], int]) -> list[str]:
    lines = []
    for (c, s, n, d), k in junctions.items():
        left, right = min(s - 1, 1 + s % 50), 1 + n % 40
        if left == 0:
            s, left = s + 1, 1  # a block before needs room
        begin = s - 1 - left
        end = s + n - 1 + right
        lines.append(
            f"{c}\t{begin}\t{end}\tJ\t{k}\t{d}\t{begin}\t{end}\t0\t2\t{left},{right}\t0,{left + n}"
        )
    return lines


@pytest.mark.parametrize("ending", [".txt", ".gz"])
@pytest.mark.parametrize(
    ("lines_of", "read"),
    [(_as_sj, read_sj), (_as_intron, read_bed), (_as_regtools, read_bed)],
)
@quick
@given(junctions=JUNCTIONS, seed=st.integers(0, 99), size=st.sampled_from([1, 40, 1 << 24]))
def test_round_trip_in_any_order(
    junctions: dict[tuple[Any, ...], int],
    seed: int,
    size: int,
    lines_of: Callable[[Any], list[str]],
    read: Callable[[Any, str], FileCounts],
    ending: str,
    tmp_path: Path,
) -> None:
    if lines_of is _as_regtools:
        assume(all(key[1] > 1 for key in junctions))
    lines = lines_of(junctions)
    part = read(write(tmp_path / f"a{ending}", _text(lines)), "a")
    assert counts(part) == {
        ("a", c, s, s + n - 1, d): k for (c, s, n, d), k in junctions.items() if k
    }
    random.Random(seed).shuffle(lines)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("_star", "_bed"):
            patch.setattr(
                f"leafletfa_scvi.pp.read.{module}.read_blocks",
                lambda path: read_blocks(path, size),
            )
        again = read(write(tmp_path / f"b{ending}", _text(lines)), "a")
    assert same(part, again)


def _text(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@quick
@given(
    pairs=st.dictionaries(
        st.tuples(st.integers(1, 5), st.sampled_from(["AC", "GT", "s:1", "T#"])),
        st.integers(1, 50),
        min_size=1,
    ),
    seed=st.integers(0, 99),
)
def test_barcodes_in_any_order(
    pairs: dict[tuple[int, str], int], seed: int, tmp_path: Path
) -> None:
    shuffle = random.Random(seed).shuffle
    lines = []
    for junction in {j for j, _ in pairs}:
        found = [(b, n) for (j, b), n in pairs.items() if j == junction]
        shuffle(found)
        score = sum(n for _, n in found)
        lines.append(
            f"1\t{100 * junction}\t{100 * junction + 50}\tJ\t{score}\t+\t0\t0\t0\t2\t10,10\t0,40\t"
            f"{len(found)}\t" + ",".join(f"{b}:{n}" for b, n in found)
        )
    shuffle(lines)
    part = read_bed(write(tmp_path / "a", _text(lines)), "a")
    assert part.cells == tuple(sorted({b for _, b in pairs}))
    assert counts(part) == {
        (b, "1", 100 * j + 11, 100 * j + 40, "+"): n for (j, b), n in pairs.items()
    }
    assert part.report["reads_without_barcode"] == 0
