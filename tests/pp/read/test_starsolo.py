"""STARsolo's folder of junctions: any layout of its files, and files that do not fit."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.parts import counts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp._text import read_blocks
from leafletfa_scvi.pp.read import _matrix_market
from leafletfa_scvi.pp.read._starsolo import read_solo

if TYPE_CHECKING:
    from pathlib import Path

BARCODES = ["AC", "GT", "CC", "TT"]
# Contigs come in the order of the genome, which is not that of their names.
SJ = [
    ("chr2", 101, 250, 1, 20),
    ("chr2", 101, 300, 2, 3),
    ("chr10", 50, 60, 0, 9),
    ("chr1", 5, 90, 1, 4),
]
ENTRIES = [(1, 1, 5), (3, 1, 2), (1, 3, 7), (4, 3, 4), (3, 4, 0)]


def sj_text(junctions: list[tuple[Any, ...]] = SJ) -> str:
    return "".join(f"{c}\t{s}\t{e}\t{d}\t1\t1\t{n}\t0\t30\n" for c, s, e, d, n in junctions)


def mtx_text(
    entries: list[tuple[int, int, int]] = ENTRIES, n_rows: int = 4, head: str | None = None
) -> str:
    head = "%%MatrixMarket matrix coordinate integer general\n%\n" if head is None else head
    lines = [f"{n_rows} {len(BARCODES)} {len(entries)}", *(f"{i} {j} {n}" for i, j, n in entries)]
    return head + "".join(f"{line}\n" for line in lines)


def make(
    top: Path,
    *,
    matrix: str | None = None,
    features: str | None = None,
    barcodes: list[str] = BARCODES,
    out: str = "Solo.out",
    gz: bool = False,
) -> Path:
    """A folder of STARsolo; ``features=""`` for none."""
    raw = top / out / "SJ" / "raw"
    raw.mkdir(parents=True)
    files = {
        "matrix.mtx": mtx_text() if matrix is None else matrix,
        "features.tsv": sj_text() if features is None else features,
        "barcodes.tsv": "".join(f"{name}\n" for name in barcodes),
    }
    for name, text in files.items():
        if name == "features.tsv" and not text:
            continue
        if gz:
            (raw / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (raw / name).write_text(text)
    return raw


EXPECTED = {
    ("AC", "chr2", 101, 250, "+"): 5,
    ("AC", "chr10", 50, 60, "?"): 2,
    ("CC", "chr2", 101, 250, "+"): 7,
    ("CC", "chr1", 5, 90, "+"): 4,
}


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("below", ["", "Solo.out", "Solo.out/SJ", "Solo.out/SJ/raw"])
def test_known_answer(gz: bool, below: str, tmp_path: Path) -> None:
    make(tmp_path, gz=gz)
    part = read_solo(tmp_path / below)
    assert counts(part) == EXPECTED
    assert part.cells == tuple(BARCODES)
    assert part.contigs == ("chr1", "chr10", "chr2")
    assert part.n_junctions == 3
    arrays = (part.contig, part.start, part.end, part.cell, part.junction, part.count)
    assert {array.dtype for array in arrays} == {np.dtype(np.int32)}
    expected = {
        "rows": 4,
        "rows_kept": 3,
        "rows_without_reads": 1,
        "reads": 18,
        "barcodes": 4,
        "barcodes_left_out": 0,
        "barcodes_without_reads": 2,
        "reads_of_other_barcodes": 0,
        "rows_above_star_reads": 0,
    }
    assert dict(part.report) == expected


def test_barcodes_are_chosen(tmp_path: Path) -> None:
    raw = make(tmp_path)
    part = read_solo(raw, barcodes=["TT", "CC", "GG"])
    assert part.cells == ("CC", "TT")
    assert counts(part) == {key: n for key, n in EXPECTED.items() if key[0] == "CC"}
    assert part.n_junctions == 2
    assert part.report["barcodes_left_out"] == 2
    assert part.report["barcodes_not_found"] == 1
    assert part.report["reads_of_other_barcodes"] == 7
    assert read_solo(raw, drop_empty=True).cells == ("AC", "CC")
    assert counts(read_solo(raw, drop_empty=True)) == EXPECTED
    with pytest.raises(ValueError, match=r"none of the barcodes listed, such as 'AC-1'; it has"):
        read_solo(raw, barcodes=["AC-1"])


def test_features_are_a_link(tmp_path: Path) -> None:
    raw = make(tmp_path, features="")
    (tmp_path / "SJ.out.tab").write_text(sj_text())
    (raw / "features.tsv").symlink_to("../../../SJ.out.tab")
    assert counts(read_solo(raw)) == EXPECTED


@pytest.mark.parametrize("prefix", ["", "s1_"])
@pytest.mark.parametrize("instead", ["nothing", "link", "empty", "text"])
@pytest.mark.parametrize("gz", ["", ".gz"])
def test_features_are_found_above(prefix: str, instead: str, gz: str, tmp_path: Path) -> None:
    raw = make(tmp_path, features="", out=f"{prefix}Solo.out")
    if instead == "link":  # as STAR makes it, whatever the prefix
        (raw / "features.tsv").symlink_to("../../../missing_SJ.out.tab")
    elif instead != "nothing":
        text = "" if instead == "empty" else "../../../SJ.out.tab"
        (raw / "features.tsv").write_text(text)
    data = sj_text().encode()
    path = tmp_path / f"{prefix}SJ.out.tab{gz}"
    path.write_bytes(gzip.compress(data) if gz else data)
    (tmp_path / "s2_SJ.out.tab").write_text(sj_text()[:20])  # of another sample
    assert counts(read_solo(raw)) == EXPECTED


def test_features_of_several_samples_are_not_guessed(tmp_path: Path) -> None:
    raw = make(tmp_path, features="")
    with pytest.raises(FileNotFoundError, match=r"features\.tsv is missing or empty, and no SJ"):
        read_solo(raw)
    (raw / "features.tsv").symlink_to("../nowhere")
    with pytest.raises(FileNotFoundError, match=r"is a link to \.\./nowhere, which is missing"):
        read_solo(raw)
    for name in ("a", "b"):
        (tmp_path / f"{name}_SJ.out.tab").write_text(sj_text())
    with pytest.raises(ValueError, match=r"several SJ\.out\.tab, such as a_SJ\.out\.tab and b_"):
        read_solo(raw)
    (tmp_path / "b_SJ.out.tab").unlink()
    assert counts(read_solo(raw)) == EXPECTED


@pytest.mark.parametrize("name", ["matrix.mtx", "barcodes.tsv"])
def test_missing_files(name: str, tmp_path: Path) -> None:
    raw = make(tmp_path)
    (raw / name).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(name)):
        read_solo(raw)


def test_row_beyond_the_features(tmp_path: Path) -> None:
    """Old versions of STAR wrote one row more than junctions."""
    assert counts(read_solo(make(tmp_path / "a", matrix=mtx_text(n_rows=5)))) == EXPECTED
    for i, text in enumerate([mtx_text([(5, 1, 1)], n_rows=5), mtx_text(n_rows=6)]):
        raw = make(tmp_path / f"b{i}", matrix=text)
        with pytest.raises(ValueError, match="rows, and .*features.tsv 4 junctions: .*different"):
            read_solo(raw)


def test_features_of_another_run(tmp_path: Path) -> None:
    more = make(tmp_path / "a", features=sj_text([*SJ, ("chr3", 1, 90, 1, 40)]))
    with pytest.raises(ValueError, match="4 rows, and .*features.tsv 5 junctions: .*different"):
        read_solo(more)
    order = make(tmp_path / "b", features=sj_text(sorted(SJ)))
    with pytest.raises(ValueError, match="more counts in 2 of 3 junctions .*in another order"):
        read_solo(order)


def test_same_junction_twice_is_refused(tmp_path: Path) -> None:
    """Which of its rows of the matrix is meant cannot be known."""
    for name, junctions in (
        ("a", [SJ[0], SJ[1], SJ[0], SJ[3]]),
        ("b", [SJ[0], SJ[1], (*SJ[0][:4], 7), SJ[2], SJ[3]]),
    ):
        text = "# c\n" + sj_text(junctions)
        where = r"features\.tsv, line 4: repeats the junction chr2:101-250:\+ of line 2"
        with pytest.raises(ValueError, match=where):
            read_solo(make(tmp_path / name, features=text))
    other = [SJ[0], SJ[1], (*SJ[0][:3], 2, 9), SJ[3]]
    assert read_solo(make(tmp_path / "c", features=sj_text(other))).n_junctions == 3


def test_entries_twice_or_cut_are_refused(tmp_path: Path) -> None:
    twice = [*ENTRIES, (3, 1, 1)]
    with pytest.raises(ValueError, match=r"matrix\.mtx has an entry twice, of row 3 and .* AC"):
        read_solo(make(tmp_path / "a", matrix=mtx_text(twice)))
    with pytest.raises(ValueError, match=r"matrix\.mtx, line 8: has no line end"):
        read_solo(make(tmp_path / "b", matrix=mtx_text().rstrip()))
    with pytest.raises(ValueError, match=r"matrix\.mtx has 4 entries: expected 5"):
        read_solo(make(tmp_path / "c", matrix=mtx_text().removesuffix("3 4 0\n")))


def test_a_list_of_barcodes_cut_or_with_a_mark(tmp_path: Path) -> None:
    raw = make(tmp_path)
    names = raw / "barcodes.tsv"
    names.write_bytes(b"\xef\xbb\xbf" + names.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert counts(read_solo(raw)) == EXPECTED
    names.write_text("".join(f"{name}\n" for name in BARCODES[:3]) + "T")
    with pytest.raises(ValueError, match=r"barcodes\.tsv, line 4: 'T' has no line end"):
        read_solo(raw)
    names.write_text("".join(f"{name}\n" for name in BARCODES[:3]))
    with pytest.raises(ValueError, match=r"barcodes\.tsv beside it 3 lines"):
        read_solo(raw)
    names.write_text("AC\n\nGT\nCC\nTT\n")
    with pytest.raises(ValueError, match=r"line 2: is blank"):
        read_solo(raw)


@pytest.mark.parametrize("head", ["%%\n%\n", "%%MatrixMarket  matrix coordinate real general\n"])
def test_old_heads(head: str, tmp_path: Path) -> None:
    assert counts(read_solo(make(tmp_path, matrix=mtx_text(head=head)))) == EXPECTED


def test_tabs_in_the_matrix(tmp_path: Path) -> None:
    first, _, rest = mtx_text().partition("%\n")
    raw = make(tmp_path, matrix=first + "%\n" + rest.replace(" ", "\t"))
    assert counts(read_solo(raw)) == EXPECTED


def test_no_junctions_at_all(tmp_path: Path) -> None:
    raw = make(tmp_path, matrix=mtx_text([], n_rows=0), features="")
    (raw / "features.tsv").touch()
    (tmp_path / "SJ.out.tab").touch()
    part = read_solo(raw)
    assert (part.n_junctions, part.cells) == (0, tuple(BARCODES))


GOOD = mtx_text()
BROKEN = [
    (GOOD + "1 2 3\n", "has 6 entries: expected 5"),
    (GOOD[: GOOD.rindex("3 4")], "has 4 entries: expected 5, .*truncated"),
    (GOOD.replace("1 3 7", "1 3"), r"line 6: has 2 columns: expected 3"),
    (GOOD.replace("1 3 7", "1 3 7 2"), r"line 6: has 4 columns: expected 3"),
    (GOOD.replace("1 3 7", "1 5 7"), r"line 6: column 2 \(column\) is '5': .* 1 to 4"),
    (GOOD.replace("1 3 7", "0 3 7"), r"line 6: column 1 \(row\) is '0'"),
    (GOOD.replace("1 3 7", "1 3 -7"), r"line 6: column 3 \(count\) is '-7'"),
    (GOOD.replace("1 3 7", "1 3 0.5"), r"line 6: column 3 \(count\) is '0.5'"),
    (GOOD.replace("1 3 7", "1 3 nan"), r"line 6: column 3 \(count\) is 'nan'"),
    (GOOD.replace("4 4 5", "4 3 5"), r"has 3 columns, and barcodes.tsv beside it 4 lines"),
    (GOOD.replace("4 4 5", "4 4"), r"line 3: is '4 4': expected the number of rows"),
    (GOOD.replace("general", "symmetric"), "line 1: is .*symmetric"),
    ("", "no line of rows, columns and entries"),
    ("%%\n", "no line of rows, columns and entries"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
@pytest.mark.parametrize("gz", [False, True])
def test_broken_matrix(text: str, message: str, gz: bool, tmp_path: Path) -> None:
    raw = make(tmp_path, matrix=text, gz=gz)
    with pytest.raises(ValueError, match=rf"{re.escape(str(raw))}/matrix\.mtx.*({message})"):
        read_solo(raw)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["AC", "GT", "AC", "TT"], "line 3: repeats the barcode 'AC' of line 1"),
        (["AC", "", "GT", "TT"], "line 2: is blank"),
    ],
)
def test_broken_barcodes(names: list[str], message: str, tmp_path: Path) -> None:
    raw = make(tmp_path, barcodes=names)
    with pytest.raises(ValueError, match=rf"barcodes\.tsv, {message}"):
        read_solo(raw)


def test_broken_features_and_truncated_gzip(tmp_path: Path) -> None:
    raw = make(tmp_path / "a", features=sj_text().replace("chr10\t50", "chr10\tx"))
    with pytest.raises(ValueError, match=r"features\.tsv, line 3: column 2"):
        read_solo(raw)
    raw = make(tmp_path / "b", features="ENSG1\tName\tGene Expression\n")
    with pytest.raises(ValueError, match=r"features\.tsv, line 1: has 3 columns: expected 9"):
        read_solo(raw)
    raw = make(tmp_path / "c", gz=True)
    path = raw / "matrix.mtx.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"matrix\.mtx\.gz is truncated"):
        read_solo(raw)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    entries=st.dictionaries(
        st.tuples(st.integers(1, 4), st.integers(1, 4)), st.integers(0, 9), max_size=16
    ),
    order=st.randoms(use_true_random=False),
    size=st.sampled_from([8, 64, 1 << 24]),
)
def test_any_order_of_entries(
    entries: dict[tuple[int, int], int],
    order: Any,
    size: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lines = [(i, j, n) for (i, j), n in entries.items()]
    order.shuffle(lines)
    plenty = sj_text([(*junction[:4], 100) for junction in SJ])
    raw = make(tmp_path_factory.mktemp("solo"), matrix=mtx_text(lines), features=plenty)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_matrix_market, "read_blocks", lambda path: read_blocks(path, size))
        part = read_solo(raw)
    assert counts(part) == {
        (BARCODES[j - 1], *SJ[i - 1][:3], STRANDS[SJ[i - 1][3]]): n
        for (i, j), n in entries.items()
        if n
    }
    pairs = np.stack([part.cell, part.junction])
    assert (np.lexsort(pairs[::-1]) == np.arange(len(part.cell))).all()
    matrix = sp.coo_array((part.count, pairs), shape=(4, part.n_junctions)).tocsr()
    assert part.n_junctions == 0 or (matrix.sum(0) > 0).all()
