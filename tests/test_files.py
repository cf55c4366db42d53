"""Files that are written together are moved together, also after a process was stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from leafletfa_scvi import _staging
from leafletfa_scvi._files import UnfinishedMovesError, recover, replacing
from leafletfa_scvi._staging import STAGING

STOPPED = textwrap.dedent("""
    import os, pathlib, signal, sys
    from leafletfa_scvi._files import replacing

    operation, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    count = 0

    def counted(original):
        def operate(*args, **kwargs):
            global count
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return original(*args, **kwargs)
        return operate

    targets = [folder / "a", folder / "new" / "b", folder / "other" / "c"]
    with replacing(*targets, remove=[folder / "other" / "d"]) as places:
        for place in places:
            place.write_text("new")
        for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "fsync"):
            setattr(os, name, counted(getattr(os, name)))
    print(count)
""")


def earlier(folder):
    """Files of an earlier run: the folder of one is missing, one is to be removed."""
    (folder / "other").mkdir(parents=True)
    for name in ("a", "other/c", "other/d"):
        (folder / name).write_text("old")
    return folder


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


OLD = {"a": "old", "other/c": "old", "other/d": "old"}
NEW = {"a": "new", "new/b": "new", "other/c": "new"}


def stop(folder, operation, script=STOPPED):
    """Run a script that is killed at one of its operations, or prints how many there are."""
    args = [sys.executable, "-c", script, str(operation), str(folder)]
    return subprocess.run(args, capture_output=True, text=True, check=False)


def test_everything_is_replaced(tmp_path):
    done = stop(earlier(tmp_path), -1)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path) == NEW


def test_a_process_that_is_killed_leaves_the_old_or_the_new_files(tmp_path):
    n_operations = int(stop(earlier(tmp_path / "whole"), -1).stdout)
    found = []
    for operation in range(n_operations):
        folder = earlier(tmp_path / str(operation))
        assert stop(folder, operation).returncode == -signal.SIGKILL
        for home in (folder / "other", folder):  # from a folder without the journal, too
            recover(home)
        found.append(content(folder))
        assert found[-1] in (OLD, NEW), operation
        assert not list(folder.rglob(f"{STAGING}*"))
    assert found[0] == OLD
    assert found[-1] == NEW
    assert OLD not in found[found.index(NEW) :]


PREPARING = STOPPED.split("targets =")[0] + textwrap.dedent("""
    for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    with replacing(folder / "a", folder / "other" / "c") as places:
        print(count)
""")


def test_a_process_that_is_killed_while_it_prepares_leaves_nothing(tmp_path, monkeypatch):
    n_operations = int(stop(earlier(tmp_path / "whole"), -1, PREPARING).stdout)
    assert n_operations >= 6  # a folder, its lock and a place, twice
    monkeypatch.setattr(_staging, "_MOMENT", 0.0)
    for operation in range(n_operations):
        folder = earlier(tmp_path / str(operation))
        assert stop(folder, operation, PREPARING).returncode == -signal.SIGKILL
        for home in (folder, folder / "other"):
            recover(home)
        assert content(folder) == OLD
        assert not list(folder.rglob(f"{STAGING}*"))


RECOVERING = STOPPED.split("targets =")[0] + textwrap.dedent("""
    for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    recover(folder)
    print(count)
""")
RECOVERING = RECOVERING.replace("import replacing", "import recover")


def test_a_process_that_is_killed_while_it_recovers_leaves_that_to_the_next(tmp_path):
    def is_mixed(folder):
        found = content(folder)
        return found["a"] == "new" and "other/d" in found

    operations = range(int(stop(earlier(tmp_path / "all"), -1).stdout))
    tried = ((i, tmp_path / f"try{i}") for i in operations)
    between = next(i for i, path in tried if stop(earlier(path), i) and is_mixed(path))

    def stopped(folder):
        """Killed after the first move."""
        assert stop(earlier(folder), between).returncode == -signal.SIGKILL
        assert is_mixed(folder)
        return folder

    n_operations = int(stop(stopped(tmp_path / "whole"), -1, RECOVERING).stdout)
    for operation in range(n_operations):
        folder = stopped(tmp_path / str(operation))
        assert stop(folder, operation, RECOVERING).returncode == -signal.SIGKILL
        for home in (folder, folder / "other"):
            recover(home)
        assert content(folder) == NEW
        assert not list(folder.rglob(f"{STAGING}*"))


def test_a_failure_leaves_the_earlier_files(tmp_path):
    folder = earlier(tmp_path)

    def fail():
        with replacing(folder / "a", folder / "new" / "b") as places:
            places[0].write_text("new")
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert content(folder) == OLD


def test_a_target_that_was_not_written_changes_nothing(tmp_path):
    folder = earlier(tmp_path)
    with pytest.raises(FileNotFoundError), replacing(folder / "a", folder / "other/c") as places:
        places[0].write_text("new")
    assert content(folder) == OLD


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError), replacing(tmp_path):
        pass


def test_links_are_followed(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    with replacing(tmp_path / "link") as (place,):
        place.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_another_writer_is_left_alone(tmp_path):
    with replacing(tmp_path / "a") as (first,):
        first.write_text("first")
        with replacing(tmp_path / "a") as (second,):
            second.write_text("second")
        assert first.read_text() == "first"
    assert content(tmp_path) == {"a": "first"}


def test_moves_that_cannot_be_completed_locate_the_files(tmp_path):
    staging = tmp_path / f"{STAGING}stopped"
    staging.mkdir()
    (staging / "new").write_text("new")
    target = tmp_path / "a"
    (target / "in the way").mkdir(parents=True)
    (staging / "lock").write_text(socket.gethostname())
    (staging / "moves.json").write_text(json.dumps({"run": None, "moves": [["new", "a"]]}))
    (staging / "journal.json").write_text("[]")
    with pytest.raises(UnfinishedMovesError, match=rf"{STAGING}stopped.*delete that folder"):
        recover(tmp_path)
    assert (staging / "new").read_text() == "new"
    (target / "in the way").rmdir()
    target.rmdir()
    recover(tmp_path)
    assert content(tmp_path) == {"a": "new"}
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_does_not_exist_is_nothing_to_recover(tmp_path):
    recover(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
