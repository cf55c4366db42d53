"""Tables of files as people and their programs write them."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from leafletfa_scvi.pp.read._sources import find_sources

STAR = "chr1\t100\t200\t1\t1\t1\t5\t0\t20\n"


@pytest.fixture
def table(tmp_path):
    """Write a table of files beside two STAR files, ``a b.SJ.out.tab`` and ``c.SJ.out.tab``."""
    for name in ("a b", "c"):
        (tmp_path / f"{name}.SJ.out.tab").write_text(STAR)

    def write(text: str, name: str = "cells.tsv", encoding: str = "utf-8"):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("path\tcell\tcell\nc.SJ.out.tab\tc1\tc2\n", "cell"),
        ("path\tpath\nc.SJ.out.tab\tc.SJ.out.tab\n", "path"),
        ("donor\tpath\tdonor\na\tc.SJ.out.tab\tb\n", "donor"),
    ],
)
def test_a_column_that_comes_twice_is_refused(table, text, name):
    with pytest.raises(ValueError, match=f"cells.tsv has the column '{name}' twice"):
        find_sources(table(text))
    header, row = (line.split("\t") for line in text.splitlines())
    with pytest.raises(ValueError, match=f"the table of files has the column '{name}' twice"):
        find_sources(pd.DataFrame([row], columns=header))


def test_hard_links_to_one_file_are_one_file(table, tmp_path):
    os.link(tmp_path / "c.SJ.out.tab", tmp_path / "d.SJ.out.tab")
    for inputs in (tmp_path, [tmp_path / "c.SJ.out.tab", tmp_path / "d.SJ.out.tab"]):
        with pytest.raises(ValueError, match="c.SJ.out.tab and .*d.SJ.out.tab are hard links"):
            find_sources(inputs)
    (tmp_path / "c.SJ.out.tab").unlink()
    assert len(find_sources(tmp_path).sources) == 2


PLAIN = "path\tcell\nc.SJ.out.tab\tc1\na b.SJ.out.tab\tc2\n"


@pytest.mark.parametrize(
    ("text", "name", "encoding"),
    [
        (PLAIN, "cells.tsv", "utf-8-sig"),
        (PLAIN.replace("\n", "\r\n"), "cells.txt", "utf-8"),
        (PLAIN.split("\n", 1)[1], "cells.tsv", "utf-8-sig"),
        ('"path","cell"\n"c.SJ.out.tab","c1"\n"a b.SJ.out.tab","c2"\n', "cells.csv", "utf-8"),
        ('"c.SJ.out.tab","c1"\n"a b.SJ.out.tab","c2"\n', "cells.csv", "utf-8"),
        ("path\tcell\nc.SJ.out.tab\tc1\t\na b.SJ.out.tab\tc2\t\n", "cells.tsv", "utf-8"),
    ],
    ids=["mark", "windows", "mark, no header", "quotes", "quotes, no header", "trailing tab"],
)
def test_tables_written_by_spreadsheets(table, text, name, encoding):
    found = find_sources(table(text, name, encoding))
    assert [source.cell for source in found.sources] == ["c1", "c2"]
    assert list(found.annotation) == []


@pytest.mark.parametrize(
    "rows",
    ["c.SJ.out.tab\tc1\tx\n", "a b.SJ.out.tab\tc2\nc.SJ.out.tab\tc1\tx\n"],
    ids=["every row", "one row"],
)
def test_rows_longer_than_the_header_are_an_error(table, rows):
    with pytest.raises(ValueError, match=r"cells\.tsv, line [23]: has 3 fields, the first line 2"):
        find_sources(table("path\tcell\n" + rows))


@pytest.mark.parametrize("text", ["File\tcell\nc.SJ.out.tab\tc1\n", "path,cell\nc.SJ.out.tab,x\n"])
def test_invalid_tables_of_files_are_explained(table, text):
    with pytest.raises(ValueError, match=r"cells\.tsv is of no known format.* column path"):
        find_sources(table(text))
