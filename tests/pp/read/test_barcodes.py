"""Lists of barcodes as tools, spreadsheets and R write them."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from helpers.junction_files import quick
from hypothesis import given
from hypothesis import strategies as st

from leafletfa_scvi.pp.read._barcodes import read_barcodes

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = "AAAC-1\nAAAG-1\n"
WRITTEN = {
    "byte order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16, big end first": ("\ufeff" + PLAIN).encode("utf-16-be"),
    "Windows": PLAIN.replace("\n", "\r\n").encode(),
    "old Mac": PLAIN.replace("\n", "\r").encode(),
    "old Mac without last line end": b"AAAC-1\rAAAG-1",
    "gzip": gzip.compress(b"\xef\xbb\xbfbarcode\r\nAAAC-1\r\nAAAG-1\r\n", mtime=0),
    "quotes and blank lines": b'"AAAC-1"\r\n\r\n"AAAG-1"\r\n\r\n\r\n',
    "header": b"barcode\nAAAC-1\nAAAG-1\n",
    "header with a mark": b"#Cell Barcode\nAAAC-1\nAAAG-1\n",
    "R, no row names": b'"x"\n"AAAC-1"\n"AAAG-1"\n',
    "R's write.csv": b'"","x"\n"1","AAAC-1"\n"2","AAAG-1"\n',
    "R's write.table": b'"x"\n"1" "AAAC-1"\n"2" "AAAG-1"\n',
    "R, cells as row names": b'"orig.ident" "nCount"\n"AAAC-1" "a" 5\n"AAAG-1" "b" 6\n',
    "R, no header": b'"1"\t"AAAC-1"\n"2"\t"AAAG-1"\n',
    "pandas": b",0\n0,AAAC-1\n1,AAAG-1\n",
    "empty columns at the end": b"AAAC-1,,,\nAAAG-1,,,\n,,,\n",
    "semicolons": b"barcode;type\nAAAC-1;T\nAAAG-1;\n",
    "separator named": b"sep=;\r\nbarcode;n\r\nAAAC-1;2\r\nAAAG-1;3\r\n",
    "column in the middle": b"type,cell,n\nT,AAAC-1,1\nB,AAAG-1,2\n",
    "columns without a header": b"AAAC-1\tT\nAAAG-1\tB\n",
    "spaces": b"  AAAC-1  \nAAAG-1\t\n",
}


@pytest.mark.parametrize("data", WRITTEN.values(), ids=WRITTEN)
def test_every_way_of_writing_is_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "cells.csv"
    path.write_bytes(data)
    assert read_barcodes(path) == ("AAAC-1", "AAAG-1")


@pytest.mark.parametrize(
    "text", ["AAAC-1\n", "AAAC-1,5\n", "1,AAAC-1\n", "barcode,type\nAAAC-1,T\n", "x\n1 AAAC-1"]
)
def test_one_cell_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cells.csv"
    path.write_text(text)
    assert read_barcodes(path) == ("AAAC-1",)


def test_two_columns_of_barcodes_are_a_table(tmp_path: Path) -> None:
    path = tmp_path / "cells.tsv"
    path.write_text("AAAC\tCCCA\nAAAG\tCCCT\n")
    assert read_barcodes(path) == ("AAAC", "AAAG")


def test_barcodes_may_be_numbers_or_named_as_columns_are(tmp_path: Path) -> None:
    path = tmp_path / "cells.txt"
    path.write_text("1\n2\n3\n")
    assert read_barcodes(path) == ("1", "2", "3")
    path.write_text("A1,cell\nA2,cell\n")
    assert read_barcodes(path) == ("A1", "A2")


REFUSED = [
    (b"AAAC-1,AAAG-1,AAAT-1\n", "line 1: has 3 fields, such as 'AAAC-1' and 'AAAG-1'"),
    (b"AAAC-1;AAAG-1", "line 1: has 2 fields"),
    (b"AAAC-1 AAAG-1 AAAT-1\n", "line 1: has 3 fields"),
    (b"cell_a\tcell_b\n", "line 1: has 2 fields, such as 'cell_a' and 'cell_b'"),
    (b"barcode\nAAAC-1,AAAG-1,AAAT-1\n", "line 2: has 3 fields, and the header names 1"),
    (b"AAAC,AAAG,AAAT\nCAAC,CAAG,CAAT\nGAAC\n", "line 1: has 3 fields"),
    (b"AAAC\nCAAC,CAAG,CAAT\n", "line 2: has 3 fields"),
    (b"\n\n", "holds no barcode"),
    (b"barcode\n", "holds no barcode"),
    (b"barcode\nA-1\nB-1\nA-1\n", "line 4: the barcode 'A-1' is on line 2 already"),
    (b"Well\nAAAC-1\nAAAG-1\n", "line 1: 'Well' is not like all other"),
    (b"AAAC-1\nAAAG-1\nAAAT", "line 3: 'AAAT' has no line end and is shorter"),
    (b"barcode\nAAAC-1\nAAAG-1\nAAAT", "line 4: 'AAAT' has no line end and is shorter"),
    (b"AAAC-1\nAA\0G-1\n", "line 2: holds a zero byte"),
    (b"AAAC-1\n\xff\n", "line 2: is no text in UTF-8"),
    (b'AAAC-1\n"AAAG-1\n', "line 2: .* cannot be read"),
    (b'"","x"\n"1","AAAC-1"\n"2",NA\n', "line 3: 'NA' is no barcode"),
    (b"barcode,n\nAAAC-1,1\n,2\n", "line 3: '' is no barcode"),
    (b"AAAC-1\n\xef\xbb\xbfAAAG-1\n", "line 2: .* is no barcode"),
    (PLAIN.encode("utf-16-le"), "line 1: holds a zero byte: expected a text file in UTF-8"),
    (gzip.compress(PLAIN.encode(), mtime=0)[:-9], "truncated"),
    (b"PK\3\4.......", "workbooks of Excel"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED)
def test_invalid_lists_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "cells.csv"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"cells\.csv,? ?.*{message}"):
        read_barcodes(path)


@quick
@given(
    names=st.lists(st.text("ACGT", min_size=8, max_size=8), min_size=1, unique=True),
    mark=st.sampled_from(["\t", ",", ";"]),
    quote=st.sampled_from(["", '"']),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    numbered=st.booleans(),
    header=st.booleans(),
)
def test_names_come_back(tmp_path, names, mark, quote, end, encoding, numbered, header) -> None:
    rows = [[str(i), name, ""] if numbered else [name, ""] for i, name in enumerate(names, 1)]
    if header:
        rows.insert(0, ["", "barcode", ""] if numbered else ["barcode", ""])
    text = "".join(mark.join(quote + x + quote for x in row) + end for row in rows)
    path = tmp_path / "cells"
    path.write_bytes(text.encode(encoding))
    assert read_barcodes(path) == tuple(names)
