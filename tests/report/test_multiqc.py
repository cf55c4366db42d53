"""Sections for MultiQC: their numbers, names that a page may show, and the rules of the format."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from helpers.known_dataset import known_dataset

from leafletfa_scvi._report._multiqc import dataset_sections, fit_section, write_sections

FIT = {
    "n_programs": 3,
    "converged": False,
    "n_cells": 40,
    "n_junctions": 200,
    "prior_share": 0.25,
    "prevalence": np.array([0.5, 0.3, 0.2]),
    "likelihood": "not shown",
}


@pytest.fixture
def adata():
    return known_dataset()


def test_numbers_of_a_data_set_are_a_row(adata):
    table, _ = dataset_sections(adata, "d")
    reads = adata.X.sum(axis=1)
    assert table["plot_type"] == "table"
    assert table["data"] == {
        "d": {
            "n_cells": 4,
            "n_atses": 3,
            "n_junctions": 6,
            "n_reads": adata.X.sum(),
            "median_reads_per_cell": np.median(np.asarray(reads)),
            "observed": pytest.approx(1000 / 24),
            "n_cells_without_atse": 1,
        }
    }
    titles = [column["title"] for column in table["headers"].values()]
    assert len(set(titles)) == len(titles)


def test_a_bar_is_all_reads_by_where_they_went(adata):
    record = adata.uns["splicing"]
    record["junction_qc"]["reads_before"] = 9_000
    record["atses"] |= {"junctions": 8, "reads": 7_500, "reads_alone": 6_490, "junctions_alone": 2}
    for key in (
        "unstranded_dropped",
        "without_gene_dropped",
        "joining_genes_dropped",
        "of_several_genes_dropped",
        "dropped_by_splitting",
    ):
        record["atses"] |= {f"junctions_{key}": 0, f"reads_{key}": 0}
    _, graph = dataset_sections(adata, "d")
    assert graph["plot_type"] == "bargraph"
    (bar,) = graph["data"].values()
    assert bar == {
        "In ATSEs": 1_010,
        "Too few reads": 1_500,
        "No other junction at their splice sites, so not alternative": 6_490,
    }
    assert list(bar)[0] == "In ATSEs"
    assert sum(bar.values()) == 9_000


def test_numbers_of_a_fit_are_a_row():
    table = fit_section(FIT, "d")
    assert table["data"] == {
        "d": {
            "n_programs": 3,
            "converged": "no",
            "n_cells": 40,
            "n_junctions": 200,
            "data": 75.0,
            "largest": 50.0,
        }
    }
    row = fit_section({**FIT, "converged": True}, "d")["data"]["d"]
    assert row["converged"] == "yes"


def test_sections_keep_the_rules_of_the_format(adata, tmp_path):
    """Of MultiQC's custom content: a section for each id, below one parent; columns by key."""
    sections = [*dataset_sections(adata, "d"), fit_section(FIT, "d")]
    paths = [tmp_path / f"{i}_mqc.json" for i in range(3)]
    write_sections(sections, paths)
    assert [json.loads(path.read_text()) for path in paths] == sections
    ids = [section["id"] for section in sections]
    ids += [section["pconfig"]["id"] for section in sections]
    assert len({*ids, "leafletfa"}) == 7  # MultiQC renames what has the id of something else
    assert {section["parent_id"] for section in sections} == {"leafletfa"}
    for section in sections:
        assert re.fullmatch(r"[a-z_]+", section["id"])
        (row,) = section["data"].values()
        assert list(section.get("headers", row)) == list(row)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("donor_1.rep", "donor_1.rep"),
        ("Größe 5 & 6", "Größe 5 & 6"),
        ("<script>alert(1)</script>", "_script_alert(1)_/script_"),
        ("a\"b'c\\d", "a_b_c\\d"),
    ],
)
def test_names_are_no_tags_on_the_page(adata, tmp_path, name, row):
    """MultiQC writes names of rows to its page as they are."""
    sections = [*dataset_sections(adata, name), fit_section(FIT, name)]
    for section in sections:
        write_sections([section], [tmp_path / "x_mqc.json"])
        assert list(json.loads((tmp_path / "x_mqc.json").read_text())["data"]) == [row]
