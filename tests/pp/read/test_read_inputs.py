"""Arguments of the readers, with files of several formats."""

from __future__ import annotations

import errno
import gzip
import inspect
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.bam import make_read
from helpers.bam import write as write_bam
from helpers.junction_files import BARCODES, SJ, write

import leafletfa_scvi as lfa
from leafletfa_scvi.pp import (
    read_bam,
    read_junctions,
    read_regtools,
    read_star,
    read_starsolo,
)
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_junctions import ReadArguments
from leafletfa_scvi.pp.read.bam._options import BamOptions

STAR = "chr1\t101\t250\t1\t1\t1\t{}\t2\t30\n"
BARCODED = "chr1\t90\t260\tJ1\t5\t+\t90\t260\t255,0,0\t2\t10,10\t0,160\t2\tAC:2,GT:3\n"


def is_reader(name):
    return name.startswith("read_") and name != "read_annotation"


@pytest.fixture
def star(tmp_path):
    for i in range(6):
        (tmp_path / f"c{i}.SJ.out.tab").write_text(STAR.format(i + 1))
    return tmp_path


@pytest.fixture
def options(monkeypatch):
    """Options that a reader passes on for its arguments."""

    def options(reader, **arguments):
        passed = []
        monkeypatch.setattr(
            f"{reader.__module__}.read_inputs", lambda *given, **run: passed.append(given)
        )
        reader("nowhere", **arguments)
        return passed[0][1]

    return options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strand", "RF"),
        ("strand_tag", "XX"),
        ("min_anchor", 3),
        ("min_intron", 40),
        ("max_intron", 999),
        ("min_mapq", 7),
        ("skip_duplicates", True),
        ("regtools", True),
        ("cram_reference", "g.fa"),
    ],
)
@pytest.mark.parametrize("reader", [read_bam, read_junctions])
def test_every_argument_of_counting_is_passed_on(options, reader, name, value):
    bam = options(reader, **{name: value}).bam
    name = name.removeprefix("cram_")
    assert getattr(bam, name) == value
    assert bam == BamOptions(**{name: value})


@pytest.mark.parametrize("reader", [read_bam, read_junctions])
def test_defaults_are_those_of_the_counter(reader):
    assert read_options().bam == BamOptions()
    for name, parameter in inspect.signature(reader).parameters.items():
        if name in BamOptions.__dataclass_fields__ and name != "umi_tag":
            assert parameter.default == getattr(BamOptions(), name), name


OF_ONE_FORMAT = {
    "reads": "star_reads",
    "columns": "table_columns",
    "zero_based": "table_zero_based",
}


@pytest.mark.parametrize(
    "reader", [getattr(lfa.pp, name) for name in lfa.pp.__all__ if is_reader(name)]
)
def test_every_argument_of_a_reader_has_a_name_and_the_same_default(reader):
    reference = inspect.signature(read_junctions).parameters
    parameters = inspect.signature(reader).parameters
    assert {"n_jobs", "client", "work_dir", "on_error", "progress"} <= set(parameters)
    for name, parameter in parameters.items():
        assert parameter.kind is not parameter.VAR_KEYWORD
        same = reference[OF_ONE_FORMAT.get(name, name)]
        assert (parameter.default, parameter.annotation) == (same.default, same.annotation), name


def test_making_a_data_set_passes_on_all_arguments_of_reading():
    own = inspect.signature(lfa.pp.make_splicing_dataset).parameters
    arguments = set(inspect.signature(read_junctions).parameters) - set(own)
    assert arguments - {"annotated_introns"} == set(ReadArguments.__annotations__)  # from gtf


@pytest.mark.parametrize("reader", [read_bam, read_junctions])
def test_barcodes_count_with_a_cell_tag_only_and_umis_where_a_tag_is_named(
    options, reader, tmp_path
):
    assert options(reader, barcodes=["A"]).bam == BamOptions()
    assert options(reader, umi_tag="UB", barcodes=["A"]).bam == BamOptions(umi_tag="UB")
    bam = options(reader, cell_tag="CB", barcodes=["B", "A"]).bam
    assert (bam.cell_tag, bam.umi_tag, bam.barcodes) == ("CB", "UB", ("B", "A"))
    assert options(reader, cell_tag="CB", umi_tag=None).bam.umi_tag is None
    (tmp_path / "barcodes.tsv").write_text("B-1\nA-1\n")
    for path in (tmp_path / "barcodes.tsv", str(tmp_path / "barcodes.tsv")):
        assert options(reader, cell_tag="CB", barcodes=path).bam.barcodes == ("B-1", "A-1")
    reference = options(reader, cram_reference=Path("g.fa")).bam.reference
    assert isinstance(reference, str)
    with pytest.warns(FutureWarning, match="'reference' of read_.* use 'cram_reference'"):
        assert options(reader, reference="g.fa").bam.reference == "g.fa"


def test_unique_or_all_reads_of_star(star):
    assert read_star(star).X.sum() == 21
    assert read_star(star, reads="all").X.sum() == read_junctions(star, star_reads="all").X.sum()
    assert read_star(star, reads="all").X.sum() == 21 + 12


def test_barcodes_of_regtools(tmp_path):
    (tmp_path / "a.bed").write_text(BARCODED)
    assert read_regtools(tmp_path / "a.bed").obs_names.tolist() == ["AC", "GT"]
    some = read_regtools(tmp_path / "a.bed", barcodes=["GT"])
    assert some.obs_names.tolist() == ["GT"]
    assert some.X.toarray().tolist() == [[3]]


def test_barcodes_of_starsolo_are_kept_when_listed(tmp_path):
    head = "%%MatrixMarket matrix coordinate integer general\n%\n"
    for name, text in {
        "matrix.mtx": f"{head}1 3 1\n1 2 4\n",
        "features.tsv": "chr1\t101\t250\t1\t1\t1\t4\t0\t30\n",
        "barcodes.tsv": "AA\nCC\nGG\n",
    }.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    assert read_starsolo(tmp_path).obs_names.tolist() == ["CC"]
    listed = read_starsolo(tmp_path, barcodes=["GG", "CC"])
    reads = np.asarray(listed.X.sum(axis=1)).ravel()
    assert dict(zip(listed.obs_names, reads, strict=True)) == {"GG": 0, "CC": 4}


def test_two_files_of_one_cell_are_refused(star, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c1.SJ.out.tab").write_text(STAR.format(1))
    with pytest.raises(ValueError, match="would both be the cell 'c1'"):
        read_star([star / "c1.SJ.out.tab", tmp_path / "b"])


def test_cells_keep_their_annotation_where_files_are_left_out(star):
    names = [f"c{i}" for i in range(6)]
    table = pd.DataFrame({"path": [star / f"{name}.SJ.out.tab" for name in names]})
    table["cell"], table["age"] = [name.upper() for name in names], range(6)
    table.index = table.index + 50
    for i in (0, 1, 3, 4):
        (star / f"c{i}.SJ.out.tab").write_text("nonsense\n")
    with pytest.warns(UserWarning, match=r"4 of 6 files .*c0.*; and 1 more\.") as caught:
        adata = read_star(table, on_error="skip")
    assert "c4" not in str(caught[0].message)
    assert adata.obs["age"].to_dict() == {"C2": 2, "C5": 5}
    assert adata.X.toarray().ravel().tolist() == [3, 6]
    record = adata.uns["splicing"]
    assert (record["reading"]["files"], record["reading"]["files_failed"]) == (6, 4)
    assert record["failed_files"] == [str(star / f"c{i}.SJ.out.tab") for i in (0, 1, 3, 4)]


def test_an_empty_folder_of_the_user_stays_where_nothing_can_be_read(tmp_path):
    bad = write(tmp_path / "a.SJ.out.tab", b"not a table\n")
    (tmp_path / "mine").mkdir()
    for name in ("mine", "ours"):
        with pytest.raises(ValueError, match="a.SJ.out.tab, line 1"):
            lfa.pp.read_star(bad, work_dir=tmp_path / name)
    assert (tmp_path / "mine").is_dir()
    assert not (tmp_path / "ours").exists()


def test_a_file_is_no_folder_for_counts(tmp_path):
    good = write(tmp_path / "a.SJ.out.tab", SJ)
    with pytest.raises(ValueError, match=r"work_dir=.*a\.SJ\.out\.tab.* is a file"):
        lfa.pp.read_star(good, work_dir=good)
    assert good.read_bytes() == SJ


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    good = write(tmp_path / "a.SJ.out.tab", SJ)
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"No space left on device.*parts"):
        lfa.pp.read_star(good, work_dir=tmp_path / "parts")


def test_barcodes_that_no_input_has_are_an_error(tmp_path):
    bam = write_bam(tmp_path / "a.bam", [make_read(tags=[("CB", "AC"), ("UB", "A")])])
    star = write(tmp_path / "b.SJ.out.tab", SJ)
    with pytest.raises(ValueError, match=r"barcodes .*cell_tag"):
        lfa.pp.read_junctions(bam, barcodes=["AC"])
    with pytest.raises(ValueError, match="barcodes"):
        lfa.pp.read_junctions([bam, star], barcodes=["AC"])


def test_barcodes_that_one_input_has_are_used(tmp_path):
    bam = write_bam(tmp_path / "a.bam", [make_read(tags=[("CB", "AC"), ("UB", "A")])])
    regtools = write(tmp_path / "b.bed", BARCODES)
    star = write(tmp_path / "c.SJ.out.tab", SJ)
    counts = lfa.pp.read_junctions(bam, barcodes=["AC"], cell_tag="CB")
    assert list(counts.obs_names) == ["AC"]
    counts = lfa.pp.read_junctions([regtools, star], barcodes=["AC"])
    assert list(counts.obs_names) == ["b_AC", "c"]
