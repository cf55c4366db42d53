"""Cells of several barcodes: the map in any form, and counts summed in every format."""

from __future__ import annotations

import dataclasses
import gzip
import re
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from helpers.bam import make_read
from helpers.bam import write as write_bam
from helpers.junction_files import BED12, quick
from hypothesis import given, settings
from hypothesis import strategies as st

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.read._barcode_map import barcode_map_of, read_barcode_map
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs
from leafletfa_scvi.pp.read.bam._crossings import Positions

if TYPE_CHECKING:
    from pathlib import Path

# Two primers of the wells of a plate: oligo-dT (first) and random hexamers.
WELLS = {"AACG": "A1", "CATT": "A1", "GGTA": "A2", "TTCC": "A2"}
OTHER = "CCCC"


def reads(barcode, umis, name="r", **options):
    """A read of each UMI of a barcode."""
    return [
        make_read(f"{name}{barcode}{i}", tags=[("CB", barcode), ("UB", umi)], **options)
        for i, umi in enumerate(umis)
    ]


@pytest.fixture
def bam(tmp_path):
    """The well A1 has two UMIs of one primer and one of the other; its GT occurs with both."""
    return write_bam(
        tmp_path / "cells.bam",
        [
            *reads("AACG", ["AC", "GT", "AC"]),
            *reads("CATT", ["GT"]),
            *reads("TTCC", ["AA"]),
            *reads(OTHER, ["AA", "CC"]),
        ],
    )


def table(adata):
    """Counts above 0 by cell and junction."""
    x = adata.X.tocoo()
    keys = zip(adata.obs_names[x.row], adata.var_names[x.col], strict=True)
    return dict(zip(keys, x.data.tolist(), strict=True))


def test_molecules_of_both_primers_of_a_cell_are_summed(bam):
    with pytest.warns(UserWarning, match=r"lacks the barcodes of 2 reads, which are left out"):
        adata = lfa.pp.read_bam(bam, cell_tag="CB", barcode_map=WELLS)
    assert adata.obs_names.tolist() == ["A1", "A2"]
    assert adata.X.toarray().tolist() == [[3], [1]]
    reading = adata.uns["splicing"]["reading"]
    assert reading["umi_copies"] == 1
    assert reading["reads_other_barcode"] == 2
    assert reading["barcodes_with_reads"] == 3
    assert reading["cells_of_several_barcodes"] == 1
    losses = lfa.pp.list_losses(adata).set_index("reason")
    assert losses.loc["barcodes not in the list or map", "dropped"] == 2


def test_without_unknown_barcodes_nothing_is_said(bam):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adata = lfa.pp.read_bam(bam, cell_tag="CB", barcode_map={**WELLS, OTHER: "B1"})
    assert table(adata) == {
        (cell, "chr1:121-220:?"): n for cell, n in (("A1", 3), ("A2", 1), ("B1", 2))
    }


def test_listed_cells_are_those_of_the_map(bam):
    with pytest.warns(UserWarning, match="lacks the barcodes of 2 reads"):
        adata = lfa.pp.read_bam(
            bam, cell_tag="CB", barcode_map={**WELLS, "GGGG": "A3"}, barcodes=["A3", "A2"]
        )
    assert adata.obs_names.tolist() == ["A3", "A2"]
    assert adata.X.toarray().tolist() == [[0], [1]]
    assert adata.uns["splicing"]["reading"]["reads_of_other_cells"] == 3
    with pytest.raises(
        ValueError, match="to list cells of barcode_map, such as 'A1', found 'AACG'"
    ):
        lfa.pp.read_bam(bam, cell_tag="CB", barcode_map=WELLS, barcodes=["AACG", "A1"])


def test_a_map_of_other_barcodes_is_refused(bam, tmp_path):
    with pytest.raises(ValueError, match=r"cells\.bam holds none of the barcodes of barcode_map"):
        lfa.pp.read_bam(bam, cell_tag="CB", barcode_map={"TTTT": "A1"})
    path = tmp_path / "t.csv"
    path.write_text("cell,chrom,start,end,count\nAACG,chr1,1,9,2\n")
    with pytest.raises(ValueError, match="holds none of the barcodes listed, such as 'TTTT'"):
        lfa.pp.read_long_table(path, barcode_map={"TTTT": "A1"})


def test_a_file_of_one_cell_has_no_barcodes(bam, tmp_path):
    with pytest.raises(ValueError, match="barcode_map is given, but each input, .* as one cell"):
        lfa.pp.read_bam(bam, barcode_map=WELLS)
    one = tmp_path / "one.bed"
    one.write_bytes(BED12)
    many = tmp_path / "many.bed"
    many.write_bytes(BED12.rstrip() + b"\t2\tAACG:2,CATT:3\n")
    adata = lfa.pp.read_regtools([one, many], barcode_map=WELLS)
    assert table(adata) == {("one", "chr1:101-250:+"): 5, ("many_A1", "chr1:101-250:+"): 5}


def test_lanes_and_samples(tmp_path):
    for name in ("lane1", "lane2", "other"):
        write_bam(tmp_path / f"{name}.bam", reads("AACG", ["AC"]) + reads("CATT", ["AC"]))
    files = pd.DataFrame(
        {
            "path": [str(tmp_path / f"{name}.bam") for name in ("lane1", "lane2", "other")],
            "sample": ["s", "s", "t"],
        }
    )
    adata = lfa.pp.read_bam(files, cell_tag="CB", barcode_map=WELLS)
    assert table(adata) == {(f"{s}_A1", "chr1:121-220:?"): 2 for s in "st"}


def test_counts_of_another_map_are_not_taken(bam, tmp_path):
    def cells(**options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adata = lfa.pp.read_bam(bam, cell_tag="CB", work_dir=tmp_path / "parts", **options)
        return adata.obs_names.tolist()

    assert cells(barcode_map=WELLS) == ["A1", "A2"]
    assert cells(barcode_map={**WELLS, "TTCC": "A9"}) == ["A1", "A9"]
    assert cells(barcode_map=WELLS, barcodes=["A2"]) == ["A2"]
    assert cells(barcode_map=WELLS) == ["A1", "A2"]
    assert cells() == ["AACG", "CATT", OTHER, "TTCC"]


def test_reads_across_positions_are_of_the_same_cells(bam):
    options = dataclasses.replace(
        read_options(cell_tag="CB", barcode_map=WELLS),
        positions=Positions({"chr1": np.array([110])}),
    )
    adata = read_inputs(bam, options, "bam")
    assert table(adata) == {("A1", "chr1:110-111:?"): 3, ("A2", "chr1:110-111:?"): 1}


counts = st.dictionaries(
    st.tuples(st.sampled_from([*WELLS, OTHER]), st.sampled_from([101, 301, 501])),
    st.integers(1, 9),
    min_size=1,
    max_size=15,
)


def write_files(folder: Path, data) -> dict[str, Path]:
    """The same counts by barcode in several formats."""
    barcodes, starts = sorted({b for b, _ in data}), sorted({s for _, s in data})
    rows = [f"{b},chr1,{s},{s + 98},+,{n}\n" for (b, s), n in data.items()]
    (folder / "long.csv").write_text("cell,chrom,start,end,strand,count\n" + "".join(rows))
    lines = [
        "\t".join([f"chr1:{s}-{s + 98}:+", *(str(data.get((b, s), 0)) for b in barcodes)])
        for s in starts
    ]
    (folder / "columns.txt").write_text(
        "\n".join(["\t".join(["coord.intron", *barcodes]), *lines, ""])
    )
    bed = []
    for s in starts:
        pairs = [f"{b}:{n}" for (b, start), n in data.items() if start == s]
        total = sum(n for (_, start), n in data.items() if start == s)
        bed.append(
            f"chr1\t{s - 11}\t{s + 108}\tJ\t{total}\t+\t{s - 11}\t{s + 108}\t0\t2\t10,10\t0,109\t"
            f"{len(pairs)}\t{','.join(pairs)}\n"
        )
    (folder / "regtools.bed").write_text("".join(bed))
    raw = folder / "Solo.out" / "SJ" / "raw"
    raw.mkdir(parents=True)
    (raw / "barcodes.tsv").write_text("".join(f"{b}\n" for b in barcodes))
    (raw / "features.tsv").write_text(
        "".join(f"chr1\t{s}\t{s + 98}\t1\t1\t1\t999\t0\t9\n" for s in starts)
    )
    entries = [
        f"{starts.index(s) + 1} {barcodes.index(b) + 1} {n}\n" for (b, s), n in data.items()
    ]
    size = f"{len(starts)} {len(barcodes)} {len(entries)}\n"
    (raw / "matrix.mtx").write_text(
        "%%MatrixMarket matrix coordinate integer general\n" + size + "".join(entries)
    )
    return {
        "long_table": folder / "long.csv",
        "counts_table": folder / "columns.txt",
        "regtools": folder / "regtools.bed",
        "starsolo": raw,
    }


@settings(quick, max_examples=10)
@given(data=counts)
def test_every_format_has_the_sums_of_barcodes(tmp_path_factory, data) -> None:
    expected: dict[tuple[str, str], int] = {}
    for (barcode, s), n in data.items():
        if barcode in WELLS:
            key = (WELLS[barcode], f"chr1:{s}-{s + 98}:+")
            expected[key] = expected.get(key, 0) + n
    unknown = sum(n for (barcode, _), n in data.items() if barcode == OTHER)
    if not expected:
        return
    for format, path in write_files(tmp_path_factory.mktemp("files"), data).items():
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            adata = lfa.pp.read_junctions(path, format=format, barcode_map=WELLS)
        said = [str(one.message) for one in seen if "barcode_map" in str(one.message)]
        assert table(adata) == expected, format
        assert adata.obs_names.tolist() == sorted({cell for cell, _ in expected})
        reading = adata.uns["splicing"]["reading"]
        assert reading["reads_of_other_barcodes"] == unknown
        assert reading["reads"] == sum(expected.values())
        assert len(said) == bool(unknown)
        if unknown:
            assert f"lacks the barcodes of {unknown} reads (1 barcodes), which" in said[0]


FRAME = pd.DataFrame({"cell": list(WELLS.values()), "barcode": list(WELLS), "row": range(4)})
LINES = [f"{barcode}\t{cell}" for barcode, cell in WELLS.items()]


@pytest.mark.parametrize(
    "given",
    [
        WELLS,
        pd.Series(WELLS),
        FRAME,
        FRAME.set_index("barcode"),
        FRAME.astype("category"),
        "\n".join([*LINES, ""]),
        "\r\n".join(["barcode\tcell", *LINES, "", ""]),
        "\n".join([*LINES, ""]).replace("\t", ","),
        "\n".join([*LINES, ""]).replace("\t", " "),
        FRAME.to_csv(index=False),
        FRAME.to_csv(),
        FRAME.to_csv(sep="\t", quoting=1),
    ],
)
def test_a_map_may_have_any_form(given, tmp_path: Path) -> None:
    if isinstance(given, str):
        path = tmp_path / "map.gz"
        path.write_bytes(gzip.compress(given.encode()))
        given = path
    assert barcode_map_of(given, None).cells == WELLS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "barcode_map is empty"),
        ({"AC": None}, "found the cell None in row 1"),
        ({"AC": "A1", "": "A2"}, "found the barcode '' in row 2"),
        (FRAME.drop(columns="cell"), r"columns 'barcode' and 'cell', found \['barcode', 'row'\]"),
        (
            pd.concat([FRAME, FRAME.assign(cell="B9")]),
            r"found 'AACG' in rows 1 \(cell 'A1'\) and 5 \(cell 'B9'\)",
        ),
    ],
)
def test_wrong_maps_are_refused(given, message) -> None:
    with pytest.raises(ValueError, match=message):
        barcode_map_of(given, None)


def test_a_map_is_no_list() -> None:
    with pytest.raises(TypeError, match="a dict, a Series, a DataFrame or a file, found a list"):
        barcode_map_of([("AC", "A1")], None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no barcode"),
        ("barcode\tcell\n", "holds no barcode"),
        ("barcode\twell\nAC\tA1\n", r"line 1: names the columns \['barcode', 'well'\]"),
        ("AACG\tA1\nCATT\n", "line 2: has 'CATT': expected a barcode and its cell"),
        ("AACG\tA1\nCATT\tNA\n", "line 2: has 'CATT NA'"),
        ("AACG\tA1\tx\n", "line 1: has 'AACG A1 x'"),
        (
            "AACG\tA1\nCATT\tA1\nAACG\tA2\n",
            "line 3: the barcode 'AACG' is on line 1 already, of the cell 'A1'",
        ),
        ("AACG\tA1\nCATT\tA", "line 2: has no line end"),
        ("bc\twell\nAACG\tA1\nCATT\tA1\nGGTA\tA2\n", "line 1: 'bc' is not like all other"),
        ("AACG\tA1\nCA\u00e9T\tA1\n", "line 2: .* is no barcode"),
    ],
)
def test_errors_name_file_and_line(text, message, tmp_path: Path) -> None:
    path = tmp_path / "map.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*{message}"):
        read_barcode_map(path)


def test_real_cells_of_pairs_of_barcodes(data_dir) -> None:
    folder = data_dir / "brie_ss2" / "10xData"
    (path,) = folder.glob("*.bam")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = lfa.pp.read_bam(path, cell_tag="CB")
        barcodes = one.obs_names.tolist()
        cells = [f"cell_{i // 2:05}" for i in range(len(barcodes))]
        both = lfa.pp.read_bam(
            path, cell_tag="CB", barcode_map=dict(zip(barcodes, cells, strict=True))
        )
    assert len(barcodes) > 100
    assert both.obs_names.tolist() == sorted(set(cells))
    assert both.var_names.tolist() == one.var_names.tolist()
    expected = pd.DataFrame(one.X.toarray()).groupby(cells).sum()
    assert (both.X.toarray() == expected.to_numpy()).all()
