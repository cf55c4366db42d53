"""Tables of cells are added to obs, by any column of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from helpers.junction_files import quick
from hypothesis import given
from hypothesis import strategies as st

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.read._cell_table import read_cell_table

if TYPE_CHECKING:
    from pathlib import Path

STAR = "chr1\t101\t250\t1\t1\t1\t5\t2\t30\nchr1\t101\t390\t1\t1\t1\t5\t2\t30\n"
PHENO = "sample.id\tcell.type\tage\tkept\nc2\tB\t30\tTrue\nc1\tA\t20\tFalse\nc9\tA\t1\tTrue\n"


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    for name in ("c1", "c2", "007"):
        (tmp_path / f"{name}.SJ.out.tab").write_text(STAR)
    (tmp_path / "pheno.txt").write_text(PHENO)
    return tmp_path


def test_a_table_is_matched_by_name(cells: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 3 cells, such as '007'"):
        adata = lfa.pp.make_splicing_dataset(
            f"{cells}/*.SJ.out.tab",
            cell_table=cells / "pheno.txt",
            cell_column="sample.id",
        )
    obs = adata.obs.loc[["c1", "c2"]]
    assert obs["cell.type"].tolist() == ["A", "B"]
    assert obs["age"].tolist() == [20, 30]
    assert obs["kept"].tolist() == [False, True]
    assert adata.obs.loc["007", ["cell.type", "age", "kept"]].isna().all()
    assert "sample.id" not in adata.obs
    adata.write_h5ad(cells / "a.h5ad")


def test_a_frame_is_matched_by_its_index_or_column(cells: Path) -> None:
    frame = pd.DataFrame({"n": [7, 1, 2]}, index=["007", "c1", "c2"])
    for table in (frame, frame.rename_axis("cell").reset_index()):
        adata = lfa.pp.read_star(f"{cells}/*.SJ.out.tab")
        assert lfa.pp.annotate_cells(adata, table) is None
        assert adata.obs["n"].to_dict() == {"007": 7, "c1": 1, "c2": 2}
        assert adata.obs["n"].dtype == np.int64
    (cells / "t.csv").write_text("cell,n\n007,7\nc1,1\nc2,2\n")
    del adata.obs["n"]
    lfa.pp.annotate_cells(adata, cells / "t.csv")
    assert adata.obs.loc["007", "n"] == 7
    with pytest.raises(ValueError, match="already has the column 'n'"):
        lfa.pp.annotate_cells(adata, cells / "t.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PHENO.replace("c1", "c2"), "lists the cell 'c2' twice in sample.id"),
        (PHENO.replace("c1", ""), "has no name of a cell in row 2"),
        (PHENO.replace("sample.id", "id"), r"\['id', 'cell.type', 'age', 'kept'\]: expected 'sa"),
        (PHENO.replace("age", "cell.type"), "has the column 'cell.type' twice"),
        (PHENO.replace("age", "n_junctions"), "'n_junctions', the name of a measure"),
        (PHENO.replace("\t20", ""), "line 3: has 3 fields, the first line 4: expected a table of"),
        (PHENO.replace("c1", "d1").replace("c2", "d2"), "None of the 3 cells, such as '007'"),
        ("", "is empty: expected a table of cells"),
    ],
)
def test_wrong_tables_change_nothing(text: str, message: str, cells: Path) -> None:
    (cells / "pheno.txt").write_text(text)
    adata = lfa.pp.read_star(f"{cells}/*.SJ.out.tab")
    before = adata.obs.copy()
    with pytest.raises(ValueError, match=message):
        lfa.pp.annotate_cells(adata, cells / "pheno.txt", cell_column="sample.id")
    pd.testing.assert_frame_equal(adata.obs, before)


def test_a_wrong_table_is_told_before_files_are_read(cells: Path) -> None:
    with pytest.raises(ValueError, match="expected 'cell' with the names of cells"):
        lfa.pp.read_junctions("nowhere.bam", cell_table=cells / "pheno.txt")
    with pytest.raises(ValueError, match="no cell_table"):
        lfa.pp.read_junctions("nowhere.bam", cell_column="x")


text = st.text("abcXYZ0123456789_-. ", min_size=1, max_size=8).filter(str.strip)
words = text.map(str.strip).filter(lambda word: word.lower() not in ("na", "nan", "-nan"))


@quick
@given(st.dictionaries(words, st.tuples(words, st.integers(-5, 10**9)), min_size=1, max_size=9))
def test_what_is_written_is_read(tmp_path: Path, data) -> None:
    frame = pd.DataFrame(
        [(f"x{word}", name, number) for name, (word, number) in data.items()],
        columns=["type", "barcode", "n"],
    )
    frame.to_csv(tmp_path / "cells.tsv", sep="\t", index=False)
    found = read_cell_table(tmp_path / "cells.tsv", "barcode")
    assert found["n"].to_dict() == {name: number for name, (_, number) in data.items()}
    assert found["type"].to_dict() == {name: f"x{word}" for name, (word, _) in data.items()}
