"""What ``make-dataset`` says of a data set of known numbers, and its calls of pp."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from helpers.known_dataset import known_dataset

import leafletfa_scvi as lfa
from leafletfa_scvi._report._dataset import events, overview
from leafletfa_scvi.cli import main
from leafletfa_scvi.cli._dataset_summary import large_losses, summary_tables


@pytest.fixture
def adata():
    return known_dataset()


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
