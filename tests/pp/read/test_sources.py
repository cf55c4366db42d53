from __future__ import annotations

import gzip
import os

import pandas as pd
import pytest

from leafletfa_scvi.pp.read._sources import check_cells, find_sources

STAR = "chr1\t100\t200\t1\t1\t1\t5\t0\t20\n"


@pytest.fixture
def folder(tmp_path):
    """Ten STAR files, c1 to c10, and something else."""
    for i in range(1, 11):
        (tmp_path / f"c{i}.SJ.out.tab").write_text(STAR)
    (tmp_path / "README").write_text("not an input")
    (tmp_path / "c1.Log.final.out").write_text("nor this")
    return tmp_path


def cells(inputs, format="auto"):
    return [source.cell for source in find_sources(inputs, format).sources]


def test_a_folder_gives_its_files_in_natural_order(folder):
    assert cells(folder) == [f"c{i}" for i in range(1, 11)]
    assert {source.format for source in find_sources(folder).sources} == {"star"}


def test_a_pattern_a_list_and_a_file(folder):
    assert cells(f"{folder}/c1*.SJ.out.tab") == ["c1", "c10"]
    assert cells([folder / "c3.SJ.out.tab", f"{folder}/c2*"]) == ["c3", "c2"]
    assert cells(str(folder / "c3.SJ.out.tab")) == ["c3"]
    assert cells(f"{folder}/*.SJ.out.tab") == [f"c{i}" for i in range(1, 11)]


def test_paths_are_absolute_whatever_the_working_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    frame = pd.DataFrame({"path": ["c3.SJ.out.tab"]})
    for inputs in ("c3.SJ.out.tab", "c3.*", ["./c3.SJ.out.tab"], frame):
        assert [s.path for s in find_sources(inputs).sources] == [str(folder / "c3.SJ.out.tab")]


def test_compressed_files_of_a_folder_are_found(folder):
    (folder / "c11.SJ.out.tab.gz").write_bytes(gzip.compress(STAR.encode()))
    (folder / "c12.junc.gz").write_bytes(gzip.compress(b"chr1\t99\t200\t.\t5\t+\n"))
    assert cells(folder) == [f"c{i}" for i in range(1, 13)]


@pytest.mark.parametrize("below", ["", "raw", "SJ/raw", "Solo.out/SJ/raw"])
def test_a_folder_of_starsolo_is_one_input(tmp_path, below):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    (tmp_path / below / "matrix.mtx.gz").touch()
    (tmp_path / "Aligned.out.bam").touch()
    (source,) = find_sources(tmp_path).sources
    assert (source.path, source.format) == (str(tmp_path), "starsolo")


def test_a_folder_said_to_be_of_starsolo_is_left_to_its_reader(folder):
    (source,) = find_sources(folder, "starsolo").sources
    assert (source.path, source.format) == (str(folder), "starsolo")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\tB\n", b""])
def test_a_text_that_is_no_table_of_files_is_named(folder, content):
    (folder / "odd.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\.txt is of no known format"):
        find_sources(folder / "odd.txt")


def test_a_table_names_cells_samples_and_more(folder):
    text = "path\tcell\tsample\tage\nc2.SJ.out.tab\tB\ts\t3\nc1.SJ.out.tab\tA\ts\t4\n"
    (folder / "cells.tsv").write_text(text)
    listed = find_sources(folder / "cells.tsv")
    assert [(s.cell, s.sample) for s in listed.sources] == [("B", "s"), ("A", "s")]
    assert listed.annotation.to_dict("list") == {"age": ["3", "4"]}
    frame = pd.DataFrame({"path": [folder / "c5.SJ.out.tab"], "cell": ["five"]})
    assert cells(frame) == ["five"]
    (folder / "cells.csv").write_text("path,cell\nc2.SJ.out.tab,B\n")
    assert cells(folder / "cells.csv") == ["B"]


def test_a_table_without_header_has_paths_and_cells(folder):
    (folder / "cells.tsv").write_text("./c2.SJ.out.tab\tB\nc1.SJ.out.tab\tA\n")
    assert cells(folder / "cells.tsv") == ["B", "A"]
    (folder / "list.txt").write_text("c2.SJ.out.tab\nc9.SJ.out.tab\n")
    assert cells(folder / "list.txt") == ["c2", "c9"]


def test_missing_cells_in_a_table_are_named_after_their_files(folder):
    (folder / "cells.tsv").write_text("path\tcell\nc2.SJ.out.tab\tB\nc1.SJ.out.tab\t\n")
    assert cells(folder / "cells.tsv") == ["B", "c1"]


def test_real_table_of_cells(data_dir):
    names = cells(data_dir / "brie_ss2" / "cell_table.tsv")
    assert len(names) == 130
    assert names[:2] == ["E6.5_c100", "E6.5_c21"]


def test_missing_files_are_named(folder):
    for missing in (folder / "no.bam", f"{folder}/*.bam", [folder / "c1.SJ.out.tab", "nowhere"]):
        with pytest.raises(FileNotFoundError, match="There is no file or folder"):
            find_sources(missing)
    with pytest.raises(FileNotFoundError, match="There is no input file"):
        find_sources([])
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no file that ends with any of .*\.bam"):
        find_sources(folder / "empty")
    (folder / "cells.tsv").write_text("path\tcell\nc2.SJ.out.tab\tB\ngone.SJ.out.tab\tA\n")
    with pytest.raises(FileNotFoundError, match=r"gone\.SJ\.out\.tab"):
        find_sources(folder / "cells.tsv")


def test_tables_without_paths_are_refused(folder):
    with pytest.raises(ValueError, match=r"has the columns \['file'\]: expected 'path'"):
        find_sources(pd.DataFrame({"file": ["x"]}))
    with pytest.raises(ValueError, match="names no path in row 1"):
        find_sources(pd.DataFrame({"path": [str(folder / "c1.SJ.out.tab"), None]}))


def test_a_file_named_twice_is_refused(folder):
    with pytest.raises(ValueError, match=r"c1\.SJ\.out\.tab is named more than once"):
        find_sources([folder, folder / "c1.SJ.out.tab"])
    os.symlink(folder / "c1.SJ.out.tab", folder / "d1.SJ.out.tab")
    with pytest.raises(ValueError, match="is named more than once"):
        find_sources(folder)


def test_two_files_of_one_name_are_no_cell(folder):
    (folder / "b").mkdir()
    (folder / "b" / "c1.SJ.out.tab").write_text(STAR)
    both = [folder / "c1.SJ.out.tab", folder / "b" / "c1.SJ.out.tab"]
    with pytest.raises(ValueError, match="would both be the cell 'c1'"):
        check_cells(find_sources(both).sources)
    lanes = pd.DataFrame({"path": both, "cell": "c1", "sample": "mouse"})
    check_cells(find_sources(lanes).sources)


def test_bare_names_of_star_are_named_after_their_folders(tmp_path):
    for name in ("cellA", "cellB"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "SJ.out.tab").write_text(STAR)
    assert cells(f"{tmp_path}/*/SJ.out.tab") == ["cellA", "cellB"]


def test_unknown_formats_are_refused(folder):
    with pytest.raises(ValueError, match="format to be .*, found 'sam'"):
        find_sources(folder, "sam")
