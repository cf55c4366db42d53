"""Processes that read files: order, failures, kills, and the report to the user."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.junction_files import SJ, write
from helpers.readers import end_process, read

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.read import _parallel
from leafletfa_scvi.pp.read._file_counts import FileCounts
from leafletfa_scvi.pp.read._parallel import Failure, count_files
from leafletfa_scvi.pp.read._sources import Source


def times_read(source: Source) -> int:
    log = Path(f"{source.path}.log")
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def sources(tmp_path) -> list[Source]:
    found = []
    for i in range(5):
        path = tmp_path / f"file{i}"
        path.write_text(str(i + 1))
        found.append(Source(str(path), "star", f"cell{i}"))
    return found


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "parts"
    path.mkdir()
    return path


def counts(paths) -> list:
    return [None if path is None else FileCounts.load(path).count.tolist() for path in paths]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_parts_come_in_the_order_of_the_files(sources, folder, n_jobs):
    seen = []
    paths, failures = count_files(
        sources, read, {}, folder, n_jobs=n_jobs, progress=lambda done, n: seen.append((done, n))
    )
    assert counts(paths) == [[1], [2], [3], [4], [5]]
    assert failures == []
    assert seen == [(i, 5) for i in range(6)]


def test_a_dask_client_gives_the_same(sources, folder, tmp_path):
    from distributed import Client

    Path(sources[1].path).write_text("broken")
    with Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None
    ) as client:
        other = tmp_path / "other"
        other.mkdir()
        paths, failures = count_files(sources, read, {}, folder, client=client, on_error="skip")
        with pytest.raises(ValueError, match="'broken' is no number"):
            count_files(sources, read, {}, other, client=client)
    assert counts(paths) == [[1], None, [3], [4], [5]]
    assert [failure.path for failure in failures] == [sources[1].path]
    assert [times_read(source) >= 1 for source in sources] == [True] * 5


def test_files_that_are_done_are_not_read_again(sources, folder):
    count_files(sources[:3], read, {"a": 1}, folder)
    paths, _ = count_files(sources, read, {"a": 1}, folder)
    assert counts(paths) == [[1], [2], [3], [4], [5]]
    assert [times_read(source) for source in sources] == [1] * 5


def test_a_changed_file_and_other_options_are_read_again(sources, folder):
    count_files(sources, read, {"a": 1}, folder)
    Path(sources[2].path).write_text("30")
    paths, _ = count_files(sources, read, {"a": 1}, folder)
    assert counts(paths)[2] == [30]
    assert [times_read(source) for source in sources] == [1, 1, 2, 1, 1]
    count_files(sources, read, {"a": 2}, folder)
    assert [times_read(source) for source in sources] == [2, 2, 3, 2, 2]


def test_a_change_that_keeps_the_size_is_seen(sources, folder):
    count_files(sources, read, {}, folder)
    Path(sources[2].path).write_text("9")
    os.utime(sources[2].path, ns=(0, 0))
    paths, _ = count_files(sources, read, {}, folder)
    assert counts(paths) == [[1], [2], [9], [4], [5]]


def test_a_cell_of_another_name_is_read_again(sources, folder):
    count_files(sources, read, {}, folder)
    paths, _ = count_files([replace(sources[0], cell="other")], read, {}, folder)
    assert FileCounts.load(paths[0]).cells == ("other",)


def test_parts_of_another_version_are_not_used(sources, folder, monkeypatch):
    count_files(sources[:1], read, {}, folder)
    monkeypatch.setattr(_parallel, "COUNTS_VERSION", _parallel.COUNTS_VERSION + 1)
    count_files(sources[:1], read, {}, folder)
    assert times_read(sources[0]) == 2


def test_a_changed_file_in_an_input_folder_is_seen(tmp_path, folder):
    inside = tmp_path / "solo" / "raw" / "matrix"
    inside.parent.mkdir(parents=True)
    inside.write_text("1")
    source = Source(str(tmp_path / "solo"), "starsolo", "a")

    def read_inside(source):
        return read(replace(source, path=str(inside)))

    (tmp_path / "solo" / "gone").symlink_to("nowhere")
    assert counts(count_files([source], read_inside, {}, folder)[0]) == [[1]]
    inside.write_text("20")
    assert counts(count_files([source], read_inside, {}, folder)[0]) == [[20]]


def test_damaged_counts_are_made_again(sources, folder):
    paths, _ = count_files(sources, read, {}, folder)
    paths[3].write_bytes(paths[3].read_bytes()[:-30])
    paths, _ = count_files(sources, read, {}, folder)
    assert counts(paths) == [[1], [2], [3], [4], [5]]
    assert [times_read(source) for source in sources] == [1, 1, 1, 2, 1]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_broken_file_is_named_and_the_others_stay_done(sources, folder, n_jobs):
    Path(sources[4].path).write_text("broken")
    with pytest.raises(ValueError, match=r"file4: 'broken' is no number"):
        count_files(sources, read, {}, folder, n_jobs=n_jobs)
    Path(sources[4].path).write_text("5")
    paths, _ = count_files(sources, read, {}, folder, n_jobs=n_jobs)
    assert counts(paths) == [[1], [2], [3], [4], [5]]
    assert times_read(sources[0]) == 1


def test_broken_files_are_left_out_on_request(sources, folder):
    for i in (3, 1):
        Path(sources[i].path).write_text("broken")
    paths, failures = count_files(sources, read, {}, folder, on_error="skip")
    assert counts(paths) == [[1], None, [3], None, [5]]
    assert [failure.path for failure in failures] == [sources[1].path, sources[3].path]
    _, failures = count_files(sources[::-1], read, {}, folder, on_error="skip")
    assert [failure.path for failure in failures] == [sources[1].path, sources[3].path]
    with pytest.raises(ValueError, match="on_error to be 'raise' or 'skip', found 'ignore'"):
        count_files(sources, read, {}, folder, on_error="ignore")


@pytest.mark.parametrize(
    ("error", "message"),
    [(ValueError("no."), "no."), (OSError("no."), "no."), (EOFError(), "EOFError")],
)
def test_errors_that_do_not_name_the_file_are_made_to(sources, folder, error, message):
    def broken(source):
        raise error

    _, failures = count_files(sources[:1], broken, {}, folder, on_error="skip")
    assert failures == [Failure(sources[0].path, f"{sources[0].path}: {message}")]


def test_an_asynchronous_client_is_refused(sources, folder):
    client = SimpleNamespace(asynchronous=True)
    with pytest.raises(TypeError, match="client is asynchronous"):
        count_files(sources, read, {}, folder, client=client)


def test_a_fault_of_the_program_is_not_taken_for_a_bad_file(sources, folder):
    def faulty(source):
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        count_files(sources, faulty, {}, folder, on_error="skip")


KILLED = """
import sys, time
from pathlib import Path
from helpers.readers import read
from leafletfa_scvi.pp.read._parallel import count_files
from leafletfa_scvi.pp.read._sources import Source

def slow(source):
    part = read(source)
    if source.cell == "cell3":
        Path(source.path + ".started").touch()
        time.sleep(600)
    return part

folder = Path(sys.argv[1])
sources = [Source(str(folder / f"file{i}"), "star", f"cell{i}") for i in range(5)]
count_files(sources, slow, {}, folder / "parts")
"""


def test_a_killed_run_goes_on_where_it_stopped(sources, folder, tmp_path):
    folders = [str(Path(__file__).parents[2]), *sys.path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=env)
    started = Path(f"{sources[3].path}.started")
    deadline = time.monotonic() + 60
    while not started.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(folder.iterdir())) == 3
    paths, _ = count_files(sources, read, {}, folder)
    assert counts(paths) == [[1], [2], [3], [4], [5]]
    assert [times_read(source) for source in sources] == [1, 1, 1, 2, 1]


def test_a_process_that_is_ended(tmp_path):
    sources = [Source(str(tmp_path / f"file{i}"), "star", f"cell{i}") for i in range(4)]
    with pytest.raises(ChildProcessError, match=r"memory.*fewer n_jobs"):
        count_files(sources, end_process, {}, tmp_path, n_jobs=2)


def test_an_error_among_many_files_comes_without_warnings(tmp_path):
    for i in range(30):
        write(tmp_path / f"c{i}.SJ.out.tab", b"bad\n" if i == 0 else SJ)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match=r"c0\.SJ\.out\.tab, line 1"):
            lfa.pp.read_star(tmp_path, n_jobs=2)
        gc.collect()
    assert [str(one.message) for one in seen if "tasks" in str(one.message)] == []
