"""Progress of commands, and messages in the words of a command."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from leafletfa_scvi.cli import _console
from leafletfa_scvi.cli._console import Reporter, UserError
from leafletfa_scvi.cli._json import plain, rows
from leafletfa_scvi.cli._shared_options import DisplayOptions
from leafletfa_scvi.cli._words import flags_of, for_command
from leafletfa_scvi.cli.choose_k import choose_k
from leafletfa_scvi.cli.fit import fit
from leafletfa_scvi.cli.make_dataset import make_dataset


@pytest.mark.parametrize(("is_terminal", "quiet"), [(True, False), (True, True), (False, False)])
def test_progress_is_a_bar_on_a_terminal_only(is_terminal, quiet):
    reporter = Reporter(DisplayOptions(quiet=quiet))
    reporter.err = Console(force_terminal=is_terminal, record=True, width=80, quiet=quiet)
    for stage, done, of in (("start", 0, None), ("EM", 1, 3), ("activities", 7, None)):
        with reporter.progress() as show:
            show("variances", 0, None)
            show(stage, done, of)
    text = reporter.err.export_text()
    for part in ("EM", "1/3 iterations", "7 steps"):
        assert (part in text) == (is_terminal and not quiet)


def test_paths_are_written_as_they_are(tmp_path, capsys):
    """Also where a part of them is an argument of the command."""
    folder = tmp_path / "of min_reads and n_programs=8 runs"
    Reporter.of(make_dataset, DisplayOptions()).writes(folder / "a.h5ad", None, folder / "b")
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"Results will be in {folder}/a.h5ad"
    assert second == f"               and {folder}/b"


def test_only_what_the_library_says_is_in_the_words_of_the_command(tmp_path, capsys):
    folder = tmp_path / "of min_reads and min_cells=8 runs"
    bam, cells, gtf = folder / "cell_tag='CB'.bam", "min_reads", folder.with_name("a (gtf=1).gtf")
    reporter = Reporter.of(make_dataset, DisplayOptions(), folder, cells, gtf, None)
    reporter.stage(f"Reading {cells} and {folder}")
    with reporter.tidy():
        reporter.library_stage(f"Reading {bam}: min_mapq=3")
        reporter.warn(f"Is min_cells=2 right for {gtf}, min_reads=3?")
    assert capsys.readouterr().err.splitlines() == [
        f"Reading {cells} and {folder}",
        f"Reading {bam}: --min-mapq 3",
        f"Warning: Is --min-cells 2 right for {gtf}, --min-reads 3?",
    ]
    with pytest.raises(UserError) as error, reporter.tidy():
        raise UserError(f"Lower min_cells, not of {folder}, nor {folder} (min_reads).")
    assert str(error.value) == f"Lower --min-cells, not of {folder}, nor {folder} (--min-reads)."


@pytest.mark.parametrize("command", ["fit", "choose-k", "report", "make-dataset"])
def test_commands_name_their_files_as_they_are(run, tmp_path, command):
    """In what they say first, while they read, and in the error of a file that is no data set."""
    folder = tmp_path / "of n_programs=8, delta=0.1, seed=1 and min_cells=3 runs"
    folder.mkdir()
    data = folder / "a.h5ad"
    with h5py.File(data, "w") as file:
        file["x"] = 1
    output = folder / f"b.{'html' if command == 'report' else 'h5ad'}"
    code, _, err = run(command, data, "--output", output)
    assert code == 2
    lines = err.splitlines()
    assert len(lines) == 1 or lines[0] == f"Results will be in {output}"
    assert str(data) in lines[-1]
    assert err.count(str(folder)) == err.count(" runs/")


@pytest.mark.parametrize("path", ["min", "a", ".", "reads", "min_reads", "m/min_reads", "r=1"])
def test_short_names_of_files_do_not_hide_arguments(path):
    flags = {"min_reads": "--min-reads"}
    said = for_command(f"Lower min_reads=3 for {path}, or min_reads.", flags, [path])
    kept = "--min-reads" if path == "min_reads" else path
    assert said == f"Lower --min-reads 3 for {kept}, or --min-reads."


def test_progress_is_a_line_every_half_minute_elsewhere(capsys, monkeypatch):
    times = iter([100.0, 101.0, 131.0, 132.0, 165.0, 200.0])
    monkeypatch.setattr(_console.time, "monotonic", lambda: next(times))
    with Reporter().progress() as show:
        for stage, done, of in (
            ("EM", 10, 600),
            ("EM", 20, 600),
            ("EM", 21, 600),
            ("variances", 0, None),
            ("activities", 1_500, None),
        ):
            show(stage, done, of)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "  EM: 20 of 600 iterations\n  Variances\n  Activities: 1,500 steps\n"


def test_options_of_a_command():
    assert flags_of(make_dataset)["n_jobs"] == "--jobs"
    assert flags_of(make_dataset)["cram_reference"] == "--cram-reference"
    assert flags_of(fit)["n_programs"] == "--n-programs"
    assert flags_of(fit)["n_restarts"] == "--restarts"
    assert flags_of(fit)["batch_key"] == "--batch"
    assert flags_of(choose_k)["overwrite"] == "--overwrite"
    assert "data" not in flags_of(fit)
    assert "inputs" not in flags_of(make_dataset)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Lower min_reads (--min-reads).", "Lower --min-reads."),
        (
            "umi_missing='keep' (--umi-missing keep), umi_tag=None (--no-umi)",
            "--umi-missing keep, --no-umi",
        ),
        ("Pass cell_tag='CB' to count cells.", "Pass --cell-tag CB to count cells."),
        ("Is min_reads right? See min_cells.", "Is --min-reads right? See --min-cells."),
        ("a share below min_reads=0.05.", "a share below --min-reads 0.05."),
        ("or pass skip_duplicates=True.", "or pass --skip-duplicates."),
        # Neither columns, files and functions, nor arguments that are no options.
        ("obs['cell_tag'] of /tmp/cell_tag/min_reads.bam", None),
        ("Call min_reads() with overwrite=False, inplace=True.", None),
        ("Use read_bam(path, cell_tag='CB', min_reads=2).", None),
    ],
)
def test_messages_in_the_words_of_the_command(message, said):
    names = ("min_reads", "min_cells", "cell_tag", "skip_duplicates", "overwrite")
    flags = {name: f"--{name.replace('_', '-')}" for name in names}
    assert for_command(message, flags) == (message if said is None else said)


def test_errors_name_options_too():
    reporter = Reporter.of(fit, DisplayOptions())
    with pytest.raises(UserError, match=r"^Lower --batch-size\.$"), reporter.tidy():
        raise UserError("Lower batch_size.")


def test_values_that_json_has_no_type_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {
        1: np.float32(0.5),
        "n": np.int64(3),
        "yes": np.bool_(True),
        "nan": [float("nan"), np.inf, pd.NA, None],
        "array": np.array([[1, 2]]),
        "path": tmp_path.relative_to(tmp_path) / "a.h5ad",
        "table": rows(pd.DataFrame({"a": [1, 2], "b": ["x", None]})),
    }
    assert json.loads(json.dumps(plain(values))) == {
        "1": 0.5,
        "n": 3,
        "yes": True,
        "nan": [None] * 4,
        "array": [[1, 2]],
        "path": str(tmp_path / "a.h5ad"),
        "table": [{"a": 1, "b": "x"}, {"a": 2, "b": None}],
    }
