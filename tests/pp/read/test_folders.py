"""Inputs of folders as STAR leaves them: what it writes beside its results is no cell."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest
from helpers.bam import make_read, write

import leafletfa_scvi as lfa
from leafletfa_scvi.pp import list_files
from leafletfa_scvi.pp.read._folders import by_product

ROWS = "".join(f"chr1\t121\t{end}\t1\t1\t1\t9\t0\t30\n" for end in (220, 320))


def junctions(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ROWS)
    return path


def alignments(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, [make_read("r")])


def solo(folder):
    """A STARsolo folder of three barcodes."""
    raw = folder / "SJ" / "raw"
    raw.mkdir(parents=True)
    (raw / "barcodes.tsv").write_text("AA\nCC\nGG\n")
    (raw / "features.tsv").write_text(ROWS)
    entries = "1 1 5\n2 2 3\n1 3 2\n"
    (raw / "matrix.mtx").write_text(
        f"%%MatrixMarket matrix coordinate integer general\n2 3 3\n{entries}"
    )
    return folder


def cells(inputs, format="auto"):
    """Names of the cells that are read, and what was warned of."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        adata = lfa.pp.read_junctions(str(inputs), format=format)
    return adata.obs_names.tolist(), " ".join(str(one.message) for one in seen)


@pytest.mark.parametrize("name", ["Solo.out", "S1_Solo.out", "S1.Solo.out"])
def test_a_starsolo_folder_with_any_prefix(tmp_path, name):
    junctions(tmp_path / name.replace("Solo.out", "SJ.out.tab"))
    solo(tmp_path / name)
    found, said = cells(tmp_path)
    assert [one.rpartition("_")[2] for one in found] == ["AA", "CC", "GG"]
    assert "SJ.out.tab (beside a folder of STARsolo)" in said


def test_several_starsolo_folders_in_one(tmp_path):
    for name in ("S1_Solo.out", "S2_Solo.out"):
        solo(tmp_path / name)
    assert len(cells(tmp_path)[0]) == 6


def test_a_starsolo_folder_without_junctions_is_reported(tmp_path):
    (tmp_path / "S1_Solo.out" / "Gene").mkdir(parents=True)
    junctions(tmp_path / "S1_SJ.out.tab")
    with pytest.raises(ValueError, match="--soloFeatures SJ"):
        cells(tmp_path)


@pytest.mark.parametrize("name", ["Solo.out", "{}_Solo.out"])
@pytest.mark.parametrize("format", ["auto", "starsolo"])
def test_a_folder_of_starsolo_runs(tmp_path, name, format):
    """Each run in a folder of its own, beside what STAR writes for all of its cells."""
    for run in ("S1", "S2", "S10"):
        solo(tmp_path / run / name.format(run))
        junctions(tmp_path / run / name.format(run).replace("Solo.out", "SJ.out.tab"))
    (tmp_path / "logs").mkdir()
    found, said = cells(tmp_path, format)
    assert len(found) == 9
    if format == "auto":
        assert "S1/" in said
        assert "(beside a folder of STARsolo)" in said
    assert found[::3] == ["S1_AA", "S2_AA", "S10_AA"]
    one = lfa.pp.read_starsolo([tmp_path / run for run in ("S1", "S2", "S10")])
    assert (one.X != lfa.pp.read_starsolo(tmp_path).X).nnz == 0
    lacking = name.format("S3")
    (tmp_path / "S3" / lacking / "Gene").mkdir(parents=True)
    found, said = cells(tmp_path, format)
    assert len(found) == 9
    assert f"S3/{lacking} (a folder of STARsolo without SJ/raw)" in said


def test_runs_of_starsolo_without_junctions_are_reported(tmp_path):
    (tmp_path / "S1" / "Solo.out" / "Gene").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"S1/Solo\.out has no SJ/raw.*--soloFeatures SJ"):
        cells(tmp_path)


def test_files_of_unknown_endings_are_named(tmp_path):
    junctions(tmp_path / "a.SJ.out.tab")
    beside = ["a.bam.bai", "a.Log.final.out", "README", ".hidden.x", "md5.md5", "notes.md"]
    for name in beside:
        (tmp_path / name).write_text("x")
    assert "Skipped" not in cells(tmp_path)[1]
    for name in ("b.sj.tab", "c.BAM"):
        junctions(tmp_path / name)
    found, said = cells(tmp_path)
    assert found == ["a"]
    assert "b.sj.tab (unknown ending: name it to read it)" in said
    assert "c.BAM (unknown ending" in said
    assert cells(tmp_path, "star")[0] == ["a"]
    assert lfa.pp.read_star([tmp_path / "b.sj.tab"]).n_obs == 1
    (tmp_path / "a.SJ.out.tab").unlink()
    with pytest.raises(FileNotFoundError, match=r"It has .*b\.sj\.tab: name a file"):
        cells(tmp_path)


BY_PRODUCTS = [
    "a__STARpass1/SJ.out.tab",
    "a_STARgenome/sjdbList.out.tab",
    "a_STARtmp/x.bam",
    "a.Aligned.toTranscriptome.out.bam",
    "a.Chimeric.out.junction",
    "a.Chimeric.out.sam",
    "a.ReadsPerGene.out.tab",
    "a.Signal.Unique.str1.out.bg",
    "a.Unmapped.out.mate1",
    "a.Log.final.out",
    "a.Log.progress.out",
    "a_Solo.out/Gene/raw/matrix.mtx",
]


@pytest.mark.parametrize("name", BY_PRODUCTS)
def test_by_products_are_refused_where_they_are_named(tmp_path, name):
    path = junctions(tmp_path / name)
    assert by_product(path) is not None
    for inputs in (str(path), [str(path)]):
        with pytest.raises(ValueError, match="is not an input"):
            list_files(inputs)


@pytest.mark.parametrize("name", BY_PRODUCTS[:-1])
def test_by_products_are_no_cells_of_a_folder_or_pattern(tmp_path, name):
    junctions(tmp_path / name)
    junctions(tmp_path / "a_SJ.out.tab")
    assert cells(tmp_path)[0] == ["a"]
    assert cells(tmp_path / "**/*SJ.out.tab")[0] == ["a"]


def test_skipped_files_are_reported(tmp_path):
    alignments(tmp_path / "a.Aligned.sortedByCoord.out.bam")
    alignments(tmp_path / "a.Aligned.toTranscriptome.out.bam")
    alignments(tmp_path / "a.Aligned.out.bam")
    found, said = cells(tmp_path)
    assert found == ["a"]
    assert "toTranscriptome.out.bam (alignments to transcripts)" in said
    assert "Aligned.out.bam (the same alignments as those sorted by position)" in said


@pytest.mark.parametrize("name", ["SJ.out.tab", "Aligned.out.bam", "x_Log/SJ.out.tab", "Solo.bam"])
def test_inputs_are_no_by_products(tmp_path, name):
    assert by_product(tmp_path / name) is None


def test_a_pattern_of_by_products_only(tmp_path):
    alignments(tmp_path / "a.Aligned.toTranscriptome.out.bam")
    with (
        pytest.warns(UserWarning, match="Skipped"),
        pytest.raises(FileNotFoundError, match="matches only files that are no input"),
    ):
        list_files(str(tmp_path / "*.bam"))


class TestAlignmentsBesideJunctions:
    @pytest.fixture
    def folder(self, tmp_path):
        alignments(tmp_path / "a.Aligned.sortedByCoord.out.bam")
        junctions(tmp_path / "a.SJ.out.tab")
        return tmp_path

    def test_they_need_a_format(self, folder):
        with pytest.raises(ValueError, match=r"counted twice.*--format bam.*--format star"):
            list_files(folder)
        with pytest.raises(ValueError, match="counted twice"):
            list_files(str(folder / "a.*"))

    @pytest.mark.parametrize(("format", "reads"), [("star", 18), ("bam", 1)])
    def test_a_format_chooses(self, folder, format, reads):
        for inputs in (folder, folder / "a.*"):
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                adata = lfa.pp.read_junctions(str(inputs), format=format)
            assert adata.X.sum() == reads

    def test_the_reader_of_a_format_chooses(self, folder):
        assert lfa.pp.read_star(str(folder)).X.sum() == 18
        assert lfa.pp.read_bam(str(folder)).X.sum() == 1


def test_a_list_of_files_is_a_table_of_files(tmp_path):
    for cell in ("a", "b"):
        junctions(tmp_path / f"{cell}.SJ.out.tab")
    table = list_files(tmp_path)
    assert table["cell"].tolist() == ["a", "b"]
    assert table["format"].tolist() == ["star", "star"]
    assert lfa.pp.read_junctions(table).obs_names.tolist() == ["a", "b"]


def test_one_naming_of_contigs_in_a_run(tmp_path):
    a, b = (junctions(tmp_path / f"{cell}.SJ.out.tab") for cell in "ab")
    b.write_text(ROWS.replace("chr1", "1"))
    with pytest.raises(ValueError, match=r"b\.SJ\.out\.tab has the contig '1'.*a\.SJ.*'chr1'"):
        lfa.pp.read_junctions([str(a), str(b)])
    b.write_text(ROWS.replace("chr1", "1") + ROWS)  # two genomes in each file
    a.write_text(ROWS.replace("chr1", "1") + ROWS)
    assert lfa.pp.read_junctions([str(a), str(b)]).n_vars == 4


@pytest.mark.parametrize(
    ("contigs", "named"),
    [
        (["chrM", "MT"], "chrM"),
        (["chr1 M", "chr1 MT"], "MT"),
        (["1 chrM", "1 chrMT"], "chrMT"),
        (["Chr1", "chr1"], "Chr1"),
        (["1", "CHR1"], "CHR1"),
        (["chrM chrMT", "chrM", "chrMT"], None),  # two sequences of hg19
        (["chrM", "chrMT", "chrM chrMT"], None),
        (["chr1 chr2", "KI270728.1"], None),
        (["1", "KI270728.1 2", "ERCC-00002"], None),
        (["chrUn_KI270742v1", "chr1"], None),
    ],
)
def test_a_contig_has_one_name_in_a_run(tmp_path, contigs, named):
    for i, names in enumerate(contigs):
        lines = "".join(f"{name}\t101\t200\t1\t1\t0\t5\t0\t30\n" for name in names.split())
        (tmp_path / f"cell{i}.SJ.out.tab").write_text(lines)
    if named is None:
        assert lfa.pp.read_junctions(tmp_path).n_obs == len(contigs)
    else:
        with pytest.raises(ValueError, match=f"has the contig .*'{named}'.*counted as different"):
            lfa.pp.read_junctions(tmp_path)


class TestColumnsOfTheUser:
    def test_a_table_with_the_name_of_a_measure_is_refused(self, tmp_path):
        table = list_files(junctions(tmp_path / "a.SJ.out.tab")).assign(n_junctions=7)
        with pytest.raises(ValueError, match="column 'n_junctions', the name of a measure"):
            lfa.pp.read_junctions(table)

    def test_a_column_of_counts_with_the_name_of_a_measure_is_refused(self, tmp_path):
        counts = lfa.pp.read_junctions(str(junctions(tmp_path / "a.SJ.out.tab")))
        options = {"min_reads": 0, "min_cells": 0, "min_usage": 0}
        counts.obs["n_junctions"] = 7
        with pytest.raises(ValueError, match=r"obs\['n_junctions'\] has the name of a measure"):
            lfa.pp.make_splicing_dataset(counts, **options)
        assert counts.obs["n_junctions"].tolist() == [7]
        lfa.pp.qc_metrics(counts)
        assert lfa.pp.make_splicing_dataset(counts, **options).obs["n_junctions"].tolist() == [2]


@pytest.mark.parametrize("name", ["Gene/raw", "SJ/raw/features.tsv"])
def test_other_parts_of_starsolo_are_refused(tmp_path, name):
    path = solo(tmp_path / "Solo.out") / name
    if not path.exists():
        path.mkdir(parents=True)
        (path / "matrix.mtx").write_text("")
    with pytest.raises(ValueError, match="STARsolo"):
        list_files(path)


def test_of_both_orders_of_alignments_the_sorted_one_is_read(tmp_path):
    unsorted = alignments(tmp_path / "A.Aligned.out.bam")
    in_order = alignments(tmp_path / "A.Aligned.sortedByCoord.out.bam")
    only = alignments(tmp_path / "B.Aligned.out.bam")
    with pytest.warns(UserWarning, match="same alignments as those sorted"):
        found = list_files(tmp_path)
    assert found["path"].tolist() == [str(in_order), str(only)]
    with pytest.raises(ValueError, match="would both be the cell 'A'"):
        lfa.pp.read_bam([unsorted, in_order])


def test_alignments_and_junctions_of_one_cell_are_not_summed(tmp_path):
    files = [str(alignments(tmp_path / "A.bam")), str(junctions(tmp_path / "A.SJ.out.tab"))]
    lanes = pd.DataFrame({"path": files, "cell": "A", "sample": "s"})
    for inputs in (files, lanes):
        with pytest.raises(ValueError, match="of the formats 'bam' and 'star'"):
            lfa.pp.read_junctions(inputs)
