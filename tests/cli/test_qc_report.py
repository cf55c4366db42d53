"""Report of ``make-dataset`` for a data set of known numbers, and its calls of pp."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from html.parser import HTMLParser

import numpy as np
import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi.cli import main
from leafletfa_scvi.cli._qc_report import (
    events,
    large_losses,
    losses,
    overview,
    steps,
    summary_tables,
    write_report,
)

COUNTS = [[3, 1, 0, 0, 0, 0], [0, 2, 0, 0, 1, 1], [0] * 6, [1, 0, 1000, 1, 0, 0]]


@pytest.fixture
def adata():
    adata = lfa.pp.splicing_from_counts(COUNTS, list("aabbcc"))
    adata.var["event_type"] = ["cassette_exon"] * 4 + ["complex"] * 2
    adata.var["gene_id"] = ["g", "g", "g", "g", "", ""]
    lfa.pp.qc_metrics(adata)
    adata.uns["splicing"] |= {
        "reading": {"rows": 12_345, "rows_without_reads": 0, "of": "text"},
        "junction_qc": {
            "junctions_before": np.int64(8),
            "reads_before": np.int64(9_000),
            "junctions_kept": np.int64(6),
            "dropped": {
                "min_reads": {"junctions": 2, "reads": 1_500},
                "max_length": {"junctions": 0, "reads": 0},
            },
        },
        "atses": {"largest_giant_atses": {"g:ATSE_1": 1_234}},
        "parameters": {"min_reads": 10, "gtf": "a<b>.gtf"},
        "failed_files": ["/x/<bad>.bam"],
    }
    return adata


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


class Cells(HTMLParser):
    """Text of all cells of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = False

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "td"
        if self.inside:
            self.found.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.found[-1] += data


def test_the_page_holds_every_number_and_escapes_names(adata, tmp_path):
    write_report(adata, tmp_path / "qc.html")
    page = (tmp_path / "qc.html").read_text(encoding="utf-8")
    cells = Cells()
    cells.feed(page)
    for row in losses(adata):
        at = cells.found.index(row[0])
        assert tuple(cells.found[at : at + 4]) == row
        del cells.found[at : at + 4]
    rows = dict(zip(cells.found[::2], cells.found[1::2], strict=True))
    for section in (overview(adata), events(adata), *steps(adata).values()):
        assert section.items() <= rows.items()
    assert rows["gtf"] == "a<b>.gtf"
    assert "/x/<bad>.bam" in rows
    assert "<bad>" not in page
    assert re.search(r'src="data:image/png;base64,[A-Za-z0-9+/=]{1000,}"', page)
    again = adata[:3].copy()
    again.uns["splicing"] |= {"failed_files": []}
    write_report(again, tmp_path / "qc.html")
    assert "could not be read" not in (tmp_path / "qc.html").read_text(encoding="utf-8")


def test_the_terminal_gets_numbers_types_and_time(adata):
    first, second = summary_tables(adata, 12.4)
    values = [
        dict(zip(*(column.cells for column in t.columns), strict=True)) for t in (first, second)
    ]
    assert values == [{**overview(adata), "Time": "12 s"}, events(adata)]


@pytest.fixture
def call(adata, monkeypatch, tmp_path, capsys):
    """Run make-dataset over a stand-in for pp: exit code, its arguments, stdout, stderr."""

    def call(*options, error=None, output="data.h5ad"):
        given = {}

        def stand_in(inputs, **arguments):
            given.update(arguments, inputs=inputs)
            arguments["progress"](1, 2)
            if error is not None:
                raise error
            return adata

        monkeypatch.setattr(lfa.pp, "make_splicing_dataset", stand_in)
        (tmp_path / "in.bam").touch()
        with pytest.raises(SystemExit) as stop:
            main(
                ["make-dataset", str(tmp_path / "in.bam"), "-o", str(tmp_path / output), *options]
            )
        return stop.value.code or 0, given, *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "Out of memory; raise --min-reads"),
        (KeyError("no column"), "no column"),
        (TypeError("of a wrong\nkind"), "of a wrong kind"),
        (OSError("no space"), "no space"),
    ],
)
def test_errors_become_one_line(call, tmp_path, error, message):
    code, _, out, err = call(error=error)
    assert (code, out) == (2, "")
    assert f"Error: {message}" in err
    assert not (tmp_path / "data.h5ad").exists()


def test_the_dask_client_and_the_folder_of_parts_are_passed_on(call, monkeypatch, tmp_path):
    client = nullcontext("the client")
    monkeypatch.setattr("distributed.Client", lambda address, **_: client)
    code, given, _, err = call("--dask", "tcp://there:1", "--no-report")
    assert code == 0, err
    assert given["client"] is client
    assert given["work_dir"] == tmp_path / "data.h5ad.parts"
    code, given, _, err = call("--work-dir", str(tmp_path), "--no-report", "--overwrite")
    assert code == 0, err
    assert given["client"] is None
    assert given["work_dir"] == tmp_path


def test_an_output_whose_name_looks_like_markup_is_named_in_full(call, tmp_path):
    code, _, out, err = call("--no-report", output="data[bold].h5ad")
    assert code == 0, err
    assert f"leafletfa fit {tmp_path / 'data[bold].h5ad'}\n" in out
    assert f"The data set is in {tmp_path / 'data[bold].h5ad'}. Next" in out
    assert err.startswith(f"Results will be in {tmp_path / 'data[bold].h5ad'}\n")


ATSE_LOSSES = (
    "junctions_unstranded_dropped",
    "junctions_without_gene_dropped",
    "junctions_joining_genes_dropped",
    "junctions_of_several_genes_dropped",
    "junctions_dropped_by_splitting",
    "junctions_alone",
)


def test_large_losses_are_repeated_with_the_options_of_the_command(adata, call):
    record = adata.uns["splicing"]
    record["atses"] |= dict.fromkeys(ATSE_LOSSES, 0) | {"junctions": 9}
    record["atses"] |= {"junctions_unstranded_dropped": 5, "junctions_alone": 4}
    record["junction_qc"]["dropped"]["max_length"] |= {"junctions": 1, "reads": 100}
    code, _, out, err = call("--no-report")
    assert code == 0, err
    assert out.split("left out:\n")[1].splitlines()[:2] == [
        "  2 of 8 junctions (1,500 of 9,000 reads): too few reads; option: --min-reads",
        "  5 of 9 junctions: unknown strand; option: --gtf, --genome, --strand FR or --unstranded "
        "keep",
    ]  # neither what is small nor junctions that are not alternative
    assert len(large_losses(adata)) == 3
    record["atses"]["junctions_unstranded_dropped"] = 4
    record["junction_qc"]["dropped"]["min_reads"]["reads"] = 800
    assert large_losses(adata) == []


def test_the_data_set_as_json(adata, call, tmp_path):
    code, _, out, err = call("--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["output"] == str(tmp_path / "data.h5ad")
    assert found["report"] == str(tmp_path / "data.qc.html")
    counts = adata.layers["cell_by_junction_matrix"]
    assert found["n_reads"] == counts.sum()
    assert (found["n_cells"], found["n_junctions"]) == adata.shape
    assert found["n_atses"] == adata.var["atse_id"].nunique() == sum(found["event_types"].values())
    reasons = [loss["reason"] for loss in found["losses"]]
    assert reasons == lfa.pp.list_losses(adata)["reason"].tolist()
