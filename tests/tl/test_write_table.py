"""Tables as text and Parquet files: what is written is read again by pandas."""

from __future__ import annotations

import gzip
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from helpers.junction_files import quick
from hypothesis import given
from hypothesis import strategies as st

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from pathlib import Path

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


@pytest.fixture
def table():
    """A table with every type that results have, and missing values."""
    return pd.DataFrame(
        {
            "comparison": pd.Categorical(["b vs a", "b vs a", "a vs rest"]),
            "effect_size": [0.1 + 0.2, -1 / 3, np.nan],
            "bayes_factor": [np.inf, -2.5e-300, 0.0],
            "is_ds_fdr_0.05": [True, False, False],
            "n_obs_group1": np.array([3, 0, 2**40], np.int64),
            "est_psi1": np.array([0.1, 0.2, 0.3], np.float32),
            "gene_name": ['Gene "1", a', None, "µ\tx"],
        },
        index=pd.Index(["chr1:5-9:+", "chr1:5-20:+", "chr2:1-7:?"], name="junction"),
    )


def test_csv_known_answer(table, tmp_path: Path) -> None:
    assert lfa.tl.write_table(table.iloc[:2], tmp_path / "x.csv") is None
    assert (tmp_path / "x.csv").read_text(encoding="utf-8").splitlines() == [
        "junction,comparison,effect_size,bayes_factor,is_ds_fdr_0.05,n_obs_group1,est_psi1,gene_name",
        'chr1:5-9:+,b vs a,0.30000000000000004,inf,True,3,0.1,"Gene ""1"", a"',
        "chr1:5-20:+,b vs a,-0.3333333333333333,-2.5e-300,False,0,0.2,",
    ]
    lfa.tl.write_table(table, tmp_path / "x.tsv")
    assert (tmp_path / "x.tsv").read_text(encoding="utf-8").startswith("junction\tcomparison\t")


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_is_read_again(table, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    before = table.copy()
    lfa.tl.write_table(table, path)
    pd.testing.assert_frame_equal(table, before)
    if ending == ".parquet":
        read = pd.read_parquet(path)
        pd.testing.assert_frame_equal(read, table.reset_index())
        assert read["comparison"].cat.categories.tolist() == ["a vs rest", "b vs a"]
        return
    sep = "\t" if ".tsv" in ending else ","
    exact = dict.fromkeys(["effect_size", "bayes_factor"], lambda text: float(text or "nan"))
    read = pd.read_csv(path, sep=sep, index_col="junction", converters=exact)
    read = read.astype({"comparison": table["comparison"].dtype, "est_psi1": np.float32})
    missing = table["gene_name"].isna()
    assert (read["gene_name"].isna() == missing).all()
    assert (read["gene_name"][~missing] == table["gene_name"][~missing]).all()
    pd.testing.assert_frame_equal(read.iloc[:, :-1], table.iloc[:, :-1])


columns = st.text("abc_ ", min_size=1, max_size=4)
values = st.one_of(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=3, max_size=3),
    st.lists(st.integers(-(2**53), 2**53), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.lists(st.text("aé,\"' \n\t;", min_size=1, max_size=4), min_size=3, max_size=3),
)


@quick
@given(st.dictionaries(columns, values, min_size=1, max_size=4), st.sampled_from(ENDINGS))
def test_any_table_is_read_again(tmp_path: Path, content, ending: str) -> None:
    table = pd.DataFrame(content, index=pd.Index(["x", "y", "z"], name="junction"))
    path = tmp_path / f"any{ending}"
    lfa.tl.write_table(table, path, overwrite=True)
    if ending == ".parquet":
        read = pd.read_parquet(path)
    else:
        sep = "\t" if ".tsv" in ending else ","
        read = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False)
        for name, kind in table.dtypes.items():
            parse = {"f": float, "i": int, "b": {"True": True, "False": False}.get}.get(kind.kind)
            if parse is not None:
                values = [parse(text or "nan") for text in read[name]]
                read[name] = pd.Series(values, dtype=kind)
    pd.testing.assert_frame_equal(read.set_index("junction"), table, check_exact=True)


def test_the_same_table_is_the_same_bytes_at_any_time(table, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a").mkdir()
    lfa.tl.write_table(table, tmp_path / "x.csv.gz")
    monkeypatch.setattr("time.time", lambda: 2e9)
    lfa.tl.write_table(table, tmp_path / "a" / "x.csv.gz")
    first, second = (tmp_path / name for name in ("x.csv.gz", "a/x.csv.gz"))
    assert first.read_bytes() == second.read_bytes()
    lfa.tl.write_table(table, tmp_path / "x.csv")
    assert gzip.decompress(first.read_bytes()) == (tmp_path / "x.csv").read_bytes()


def test_a_numbering_of_rows_is_left_out_and_other_indices_are_kept(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1, 2]})
    for index, line in (
        (None, "a"),
        (pd.RangeIndex(2, name="row"), "row,a"),
        (pd.Index(["x", "y"]), "index,a"),
        (pd.MultiIndex.from_tuples([("x", 1), ("x", 2)], names=["g", None]), "g,index,a"),
    ):
        changed = table if index is None else table.set_axis(index)
        lfa.tl.write_table(changed, tmp_path / "x.csv", overwrite=True)
        assert (tmp_path / "x.csv").read_text().splitlines()[0] == line


def test_tables_that_cannot_be_written(table, tmp_path: Path, monkeypatch) -> None:
    def refused(error, message, table=table, name="x.csv") -> None:
        with pytest.raises(error, match=message):
            lfa.tl.write_table(table, tmp_path / name)

    refused(ValueError, r"end with \.csv, .* or \.parquet, found '.*x\.xlsx'", name="x.xlsx")
    refused(ValueError, "found '.*csv'", name="csv")
    refused(TypeError, "pandas.DataFrame, found list", table=[1])
    refused(TypeError, "found Series", table=table["effect_size"])
    refused(ValueError, "'gene_name' twice", table=table.rename_axis("gene_name"))
    refused(ValueError, "found 0", table=pd.DataFrame([[1]]))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        refused(ImportError, r"pip install 'leafletfa-scvi\[parquet\]'", name="x.parquet")
    (tmp_path / "x.csv").write_text("mine")
    refused(FileExistsError, "already exists")
    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_csv", fail)
        with pytest.raises(OSError, match="full"):
            lfa.tl.write_table(table, tmp_path / "x.csv", overwrite=True)
    assert (tmp_path / "x.csv").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    lfa.tl.write_table(table, tmp_path / "x.csv", overwrite=True)
    assert (tmp_path / "x.csv").read_text(encoding="utf-8").startswith("junction,")


def fail(self, path, **_) -> None:
    path.write_text("half")
    raise OSError("full")
