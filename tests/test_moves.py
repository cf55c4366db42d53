"""Moves of files in a folder that came from elsewhere, went elsewhere, or that others use."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading

import pytest

from leafletfa_scvi import _files, _staging
from leafletfa_scvi._files import UnfinishedMovesError, recover, replacing
from leafletfa_scvi._staging import STAGING, locked


def staging_in(folder, moves, run=None, journal=(), name="stopped"):
    """A staging folder as a stopped process leaves it, or as somebody makes it up."""
    staging = folder / f"{STAGING}{name}"
    (staging / "0").mkdir(parents=True)
    (staging / "0" / "a").write_text("new")
    (staging / "lock").write_text(socket.gethostname())
    (staging / "moves.json").write_text(json.dumps({"run": run, "moves": moves}))
    if journal is not None:
        (staging / "journal.json").write_text(json.dumps([str(path) for path in journal]))
    return staging


@pytest.fixture
def mine(tmp_path):
    """A file of the user, beside the folder of somebody else."""
    (tmp_path / "theirs").mkdir()
    file = tmp_path / "mine"
    file.write_text("mine")
    return file


class TestFoldersOfOthers:
    @pytest.mark.parametrize("source", ["", "0/a"])
    @pytest.mark.parametrize("name", ["whole", "../mine", "link/mine", "link/../mine", "."])
    def test_nothing_outside_of_them_is_touched(self, mine, source, name):
        theirs = mine.parent / "theirs"
        (theirs / "link").symlink_to(mine.parent)
        target = str(mine) if name == "whole" else name
        staging_in(theirs, [[source, target]])
        with pytest.raises(UnfinishedMovesError):
            recover(theirs)
        assert mine.read_text() == "mine"

    @pytest.mark.parametrize("source", ["../../mine", "whole"])
    def test_nothing_of_outside_is_moved_in(self, mine, source):
        theirs = mine.parent / "theirs"
        staging_in(theirs, [[str(mine) if source == "whole" else source, "b"]])
        with pytest.raises(UnfinishedMovesError):
            recover(theirs)
        assert mine.read_text() == "mine"

    def test_folders_that_do_not_name_the_run_take_no_part(self, mine):
        theirs = mine.parent / "theirs"
        of_user = staging_in(mine.parent, [["0/a", "mine"]], journal=None)
        staging_in(theirs, [["0/a", "b"]], journal=[of_user])
        with pytest.raises(UnfinishedMovesError, match="another run"):
            recover(theirs)
        assert mine.read_text() == "mine"
        plain = mine.parent / "plain"
        plain.mkdir()
        (plain / "moves.json").write_text(json.dumps({"run": None, "moves": [["", "../mine"]]}))
        (plain / "journal.json").write_text("[]")
        shutil.rmtree(theirs)
        theirs.mkdir()
        run = [str(plain), str(theirs / f"{STAGING}stopped")]
        staging_in(theirs, [["0/a", "b"]], run=run, journal=None)
        with pytest.raises(UnfinishedMovesError, match="the folder .* is missing"):
            recover(theirs)
        assert mine.read_text() == "mine"

    @pytest.mark.parametrize(
        "content",
        ["[]", "{}", "{", '{"run": 3, "moves": []}', '{"run": null, "moves": [3]}'],
    )
    def test_lists_that_are_none(self, tmp_path, content):
        staging = staging_in(tmp_path, [])
        (staging / "moves.json").write_text(content)
        with pytest.raises(UnfinishedMovesError, match="delete that folder"):
            recover(tmp_path)

    @pytest.mark.parametrize("name", ["lock", "moves.json", "journal.json"])
    def test_pipes_are_not_waited_for(self, tmp_path, name):
        staging = staging_in(tmp_path, [["0/a", "a"]])
        (staging / name).unlink()
        os.mkfifo(staging / name)
        os.utime(staging, (0, 0))
        try:
            recover(tmp_path)
        except UnfinishedMovesError as error:
            assert name in str(error)  # noqa: PT017

    def test_of_another_user(self, tmp_path, monkeypatch):
        staging_in(tmp_path, [["0/a", "a"]])
        monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
        with pytest.raises(UnfinishedMovesError, match="another user"):
            recover(tmp_path)
        assert not (tmp_path / "a").exists()


STOPPED = textwrap.dedent("""
    import os, pathlib, signal, sys
    from leafletfa_scvi import _files

    targets = [pathlib.Path(path) for path in sys.argv[1:]]
    moved = _files._move

    def move(*args):
        moved(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    _files._move = move
    with _files.replacing(*targets) as places:
        for place in places:
            place.write_text("new")
""")


def stop_between(*targets):
    """Write files in a process that is killed after the first move."""
    for target in targets:
        target.parent.mkdir(exist_ok=True)
        target.write_text("old")
    done = subprocess.run([sys.executable, "-c", STOPPED, *map(str, targets)], check=False)
    assert done.returncode == -signal.SIGKILL


def texts(*files):
    return [file.read_text() for file in files]


class TestFoldersThatMoved:
    """Between the stop and the next run; never a mixture without a word."""

    def test_a_folder_under_another_name_is_completed(self, tmp_path):
        stop_between(tmp_path / "model" / "a", tmp_path / "model" / "b")
        (tmp_path / "model").rename(tmp_path / "other")
        recover(tmp_path / "other")
        assert texts(tmp_path / "other" / "a", tmp_path / "other" / "b") == ["new", "new"]
        assert len(os.listdir(tmp_path / "other")) == 2

    def test_a_copy_is_completed(self, tmp_path):
        stop_between(tmp_path / "model" / "a", tmp_path / "model" / "b")
        shutil.copytree(tmp_path / "model", tmp_path / "copy")
        for name in ("copy", "model"):
            recover(tmp_path / name)
            assert texts(tmp_path / name / "a", tmp_path / name / "b") == ["new", "new"]

    @pytest.mark.parametrize("which", ["first", "second"])
    @pytest.mark.parametrize("how", ["moved", "copied"])
    def test_one_of_two_folders_is_refused(self, tmp_path, which, how):
        stop_between(tmp_path / "first" / "a", tmp_path / "second" / "b")
        if how == "moved":
            (tmp_path / which).rename(tmp_path / "other")
        else:
            shutil.copytree(tmp_path / which, tmp_path / "other")
        with pytest.raises(UnfinishedMovesError):
            recover(tmp_path / "other")
        if how == "copied":
            recover(tmp_path / which)
            assert texts(tmp_path / "first" / "a", tmp_path / "second" / "b") == ["new", "new"]

    def test_the_other_of_two_folders_is_refused_too(self, tmp_path):
        stop_between(tmp_path / "first" / "a", tmp_path / "second" / "b")
        (tmp_path / "second").rename(tmp_path / "other")
        with pytest.raises(UnfinishedMovesError, match="second"):
            recover(tmp_path / "first")


WRITER = textwrap.dedent("""
    import os, pathlib, sys
    from leafletfa_scvi._files import replacing

    folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
    for i in range(40):
        remove = [folder / "b"] if i % 3 == 0 else []
        targets = [folder / "a"] if remove else [folder / "a", folder / "b"]
        with replacing(*targets, remove=remove) as places:
            for place in places:
                place.write_text(f"{name}{i}")
""")


class TestSeveralProcesses:
    def test_files_of_two_writers_are_not_mixed(self, tmp_path):
        folder = tmp_path / "model"
        args = [sys.executable, "-c", WRITER, str(folder)]
        writers = [subprocess.Popen([*args, name]) for name in ("x", "y", "z")]
        while any(writer.poll() is None for writer in writers):
            with locked([tmp_path]):
                held = locked([folder]) if folder.exists() else None
                if held is not None:
                    with held:
                        recover(folder)
                        files = [path for path in (folder / "a", folder / "b") if path.exists()]
                        assert len(set(texts(*files))) < 2
        assert [writer.returncode for writer in writers] == [0, 0, 0]
        files = [path for path in (folder / "a", folder / "b") if path.exists()]
        assert len(set(texts(*files))) == 1
        assert not list(tmp_path.rglob(f"{STAGING}*"))

    def test_moves_of_a_process_that_stopped_meanwhile_come_first(self, tmp_path):
        with replacing(tmp_path / "a", tmp_path / "b") as places:
            for place in places:
                place.write_text("last")
            stop_between(tmp_path / "a", tmp_path / "b")
        assert texts(tmp_path / "a", tmp_path / "b") == ["last", "last"]
        assert sorted(os.listdir(tmp_path)) == ["a", "b"]

    def test_data_that_appeared_meanwhile_are_removed(self, tmp_path):
        with replacing(tmp_path / "a", remove=[tmp_path / "b"]) as (place,):
            place.write_text("last")
            (tmp_path / "b").write_text("other")
        assert os.listdir(tmp_path) == ["a"]

    def test_data_in_a_folder_that_appeared_meanwhile_are_removed(self, tmp_path):
        model = tmp_path / "model"
        with replacing(model / "a", remove=[model / "b"]) as (place,):
            place.write_text("last")
            with replacing(model / "a", model / "b") as others:
                for other in others:
                    other.write_text("other")
        assert os.listdir(model) == ["a"]
        assert (model / "a").read_text() == "last"

    def test_readers_wait_for_moves(self, tmp_path, monkeypatch):
        for name in ("a", "b"):
            (tmp_path / name).write_text("old")
        first, go, found = threading.Event(), threading.Event(), []
        moved = _files._move

        def slow(*args):
            moved(*args)
            first.set()
            go.wait(20)

        monkeypatch.setattr(_files, "_move", slow)

        def write():
            with replacing(tmp_path / "a", tmp_path / "b") as places:
                for place in places:
                    place.write_text("new")

        def read():
            recover(tmp_path)
            found.extend(texts(tmp_path / "a", tmp_path / "b"))

        threads = [threading.Thread(target=write), threading.Thread(target=read)]
        threads[0].start()
        assert first.wait(20)
        threads[1].start()
        threads[1].join(0.2)
        assert found == []
        go.set()
        for thread in threads:
            thread.join()
        assert found == ["new", "new"]

    def test_readers_do_not_wait_for_ever(self, tmp_path, monkeypatch):
        staging = staging_in(tmp_path, [["0/a", "a"]])
        monkeypatch.setattr(_staging, "PATIENCE", 0.1)
        with (staging / "lock").open("r+") as lock:
            _staging.lock(lock)
            with pytest.raises(UnfinishedMovesError, match="Try again when it has ended"):
                recover(tmp_path)


def test_a_folder_that_another_process_removes_before_it_is_locked_is_made_again(
    tmp_path, monkeypatch
):
    original, busy = _staging.lock, []

    def lock(file):
        if not busy:
            busy.append(file)
            recover(tmp_path)
        return original(file)

    monkeypatch.setattr(_staging, "lock", lock)
    with replacing(tmp_path / "a") as (place,):
        place.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("below", ["b", "b/c"])
def test_a_file_where_a_folder_is_wanted(tmp_path, below):
    (tmp_path / "a").write_text("old")
    with pytest.raises(NotADirectoryError), replacing(tmp_path / "a" / below, tmp_path / "c"):
        pass
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_where_a_file_is_to_be_removed(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "a", remove=[tmp_path / "b"]):
        pass
    assert os.listdir(tmp_path) == ["b"]


def test_links_that_go_in_circles(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with (
        pytest.raises(OSError, match=r"symbolic links|Not a directory"),
        replacing(tmp_path / "a" / "c"),
    ):
        pass


def test_of_a_link_that_is_removed_the_file_stays(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "b").symlink_to(tmp_path / "mine")
    with replacing(tmp_path / "model" / "a", remove=[tmp_path / "model" / "b"]) as (place,):
        place.write_text("new")
    assert os.listdir(tmp_path / "model") == ["a"]
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(("number", "raised"), [(errno.ENOSPC, True), (errno.EINVAL, False)])
def test_files_that_do_not_reach_the_disk(tmp_path, monkeypatch, number, raised):
    def fail(file):
        raise OSError(number, os.strerror(number))

    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    try:
        with replacing(tmp_path / "a") as (place,):
            place.write_text("new")
    except OSError as error:
        assert error.errno == number  # noqa: PT017
    assert (tmp_path / "a").read_text() == ("old" if raised else "new")
