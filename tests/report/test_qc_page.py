"""Page of ``make-dataset`` for a data set of known numbers."""

from __future__ import annotations

import re

import pytest
from helpers.known_dataset import known_dataset
from helpers.pages import read_page

from leafletfa_scvi._report._dataset import events, losses, overview, steps
from leafletfa_scvi._report._qc_page import write_qc_report


@pytest.fixture
def adata():
    return known_dataset()


def test_numbers_of_the_data_set(adata):
    assert overview(adata) == {
        "Cells": "4",
        "Cells without any ATSE": "1",
        "Junctions": "6",
        "ATSEs": "3",
        "Observed entries": "10 (41.7%)",
        "Junction reads": "1,010",
        "Junction reads per cell, median": "4",
        "Genes": "1",
    }
    del adata.var["gene_id"]
    assert "Genes" not in overview(adata)


def test_atses_are_counted_by_type_not_their_junctions(adata):
    assert list(events(adata).items()) == [("cassette exon", "2"), ("complex", "1")]


def test_losses_name_the_option_that_keeps_them(adata):
    numbers = "2 of 8 junctions (1,500 of 9,000 reads)"
    loss = ("Junction filters", "too few reads", numbers, "min_reads (--min-reads)")
    assert losses(adata) == [loss]


def test_steps_are_reported_without_zeros(adata):
    assert steps(adata) == {
        "Reading": {"rows": "12,345"},
        "Junction filters": {
            "junctions before": "8",
            "reads before": "9,000",
            "junctions kept": "6",
        },
        "Largest ATSEs, junctions": {"g:ATSE_1": "1,234"},
    }


def test_the_page_holds_every_number_and_escapes_names(adata, tmp_path):
    write_qc_report(adata, tmp_path / "qc.html")
    text = (tmp_path / "qc.html").read_text(encoding="utf-8")
    page = read_page(text)
    (lost,) = (table for table in page.tables if table.header)
    assert [tuple(row) for row in lost.rows] == losses(adata)
    rows = dict(pair for table in page.tables if not table.header for pair in table.rows)
    for section in (overview(adata), events(adata), *steps(adata).values()):
        assert section.items() <= rows.items()
    assert rows["gtf"] == "a<b>.gtf"
    assert "/x/<bad>.bam" in rows
    assert "<bad>" not in text
    assert re.search(r'src="data:image/(png|svg\+xml);base64,[A-Za-z0-9+/=]{1000,}"', text)
    again = adata[:3].copy()
    again.uns["splicing"] |= {"failed_files": []}
    write_qc_report(again, tmp_path / "qc.html")
    assert "could not be read" not in (tmp_path / "qc.html").read_text(encoding="utf-8")


def test_a_name_that_ends_with_png_gets_the_figure_alone(adata, tmp_path):
    write_qc_report(adata, tmp_path / "qc.png")
    assert (tmp_path / "qc.png").read_bytes().startswith(b"\x89PNG")
