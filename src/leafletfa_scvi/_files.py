"""Files that appear whole, and several of them together, or not at all.

Files are written to a staging folder beside their target and then moved. Where several belong
together, a journal of the moves is written first: from then on they are done, if not by this
process then by the next one that calls :func:`recover` on one of the folders. A process that ends
before that has changed nothing, and its staging folder is removed by the next.

A staging folder is named ``.leafletfa-*`` and locked while its process lives. Where a file system
has no locks, one is taken for left behind after a day.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STAGING: Final = ".leafletfa-"
"""How names of staging folders begin."""


class UnfinishedMovesError(ValueError):
    """Files that belong together were moved in part, and the rest cannot be."""


_DONE: Final = f"{STAGING}done-"
_LOCK, _JOURNAL, _FIRST = "lock", "journal.json", "first.json"
_MINUTE, _DAY = 60.0, 86400.0


@contextmanager
def replacing(*targets: Path, remove: Iterable[Path] = ()) -> Iterator[list[Path]]:
    """Write files that replace others together, or change nothing.

    Parameters
    ----------
    *targets
        Files to write; links are followed. Folders that are missing are made.
    remove
        Files of an earlier version to remove with the same step; those missing are ignored.

    Yields
    ------
    list of Path
        Paths to write to, one per target, each in a folder of its own. If the block raises, the
        targets stay as they were.

    Raises
    ------
    OSError
        Something cannot be written.
    UnfinishedMovesError
        This or an earlier process was stopped amid its moves, and they cannot be completed.
    """
    finals = [target.resolve() for target in targets]
    gone = [path.resolve() for path in remove]
    homes = [_existing_folder(final.parent) for final in finals]
    for home in dict.fromkeys(homes):
        recover(home)
        recover(home.parent)
    for final in finals:
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(final))
    with ExitStack() as stack:
        staging = {home: _make_staging(stack, home) for home in dict.fromkeys(homes)}
        places = []
        for i, (home, final) in enumerate(zip(homes, finals, strict=True)):
            (staging[home] / str(i)).mkdir()
            places.append(staging[home] / str(i) / final.name)
        yield places
        moves = [(str(a), str(b)) for a, b in zip(places, finals, strict=True)]
        moves += [("", str(path)) for path in gone if path.exists()]
        for place in places:
            _sync(place)
        if len(moves) > 1:
            first, *others = staging.values()
            for other in others:
                _write_json(other / _FIRST, str(first))
            _write_json(first / _JOURNAL, moves)
            try:
                _move(moves)
            except OSError as error:
                raise _stopped(first, error) from error
            (first / _JOURNAL).unlink()
        else:
            _move(moves)


def recover(folder: Path) -> None:
    """Complete the moves of processes that were stopped, and remove what they left behind.

    Parameters
    ----------
    folder
        Folder with files that :func:`replacing` writes. One that does not exist is ignored.

    Raises
    ------
    UnfinishedMovesError
        Moves that were begun cannot be completed; the message says what is where.
    """
    try:
        found = sorted(folder.glob(f"{STAGING}*"))
    except OSError:  # not ours to read
        return
    for staging in found:
        if staging.is_symlink() or not staging.is_dir():
            continue
        if staging.name.startswith(_DONE):
            shutil.rmtree(staging, ignore_errors=True)
            continue
        with _lock_of_dead(staging) as is_dead:
            if is_dead:
                _recover_one(staging)


def _recover_one(staging: Path) -> None:
    try:
        journal = _journal_of(staging)
        if journal.exists():
            _move(json.loads(journal.read_text()))
            journal.unlink()
    except (OSError, ValueError) as error:
        raise _stopped(staging, error) from error
    _discard(staging)


def _stopped(staging: Path, error: Exception) -> UnfinishedMovesError:
    return UnfinishedMovesError(
        f"Writing stopped between files that belong together, and cannot be completed ({error}). "
        f"The new files are in {staging}: remove the cause and load or save again, or delete that "
        "folder and write the files anew."
    )


def _move(moves: Iterable[Iterable[str]]) -> None:
    """Move each file that is still staged onto its target; may be repeated after a stop."""
    for source, target in moves:
        if not source:
            Path(target).unlink(missing_ok=True)
        elif os.path.exists(source):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
        _sync(Path(target).parent)


def _existing_folder(folder: Path) -> Path:
    """The folder itself or the nearest above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _make_staging(stack: ExitStack, home: Path) -> Path:
    """A locked folder in ``home``, removed when ``stack`` closes unless moves are left to do."""
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=home))
    stack.callback(_remove_staging, staging)
    lock = stack.enter_context(open(staging / _LOCK, "w"))
    _lock(lock)
    lock.write(socket.gethostname())
    lock.flush()
    return staging


def _remove_staging(staging: Path) -> None:
    if not _journal_of(staging).exists():
        _discard(staging)


def _discard(staging: Path) -> None:
    """Remove a folder, under a name that lets any other process do so from here on."""
    done = staging.with_name(f"{_DONE}{staging.name.removeprefix(STAGING)}")
    with suppress(OSError):  # another process was faster, or nothing can be written here
        os.rename(staging, done)
        shutil.rmtree(done, ignore_errors=True)


def _journal_of(staging: Path) -> Path:
    """Journal of the moves that a staging folder has a part in, written or not."""
    try:
        first = Path(json.loads((staging / _FIRST).read_text()))
    except FileNotFoundError:
        return staging / _JOURNAL
    if not first.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {first.parent}")
    return first / _JOURNAL


@contextmanager
def _lock_of_dead(staging: Path) -> Iterator[bool]:
    """Hold the lock of a staging folder and yield True, if its process has ended."""
    try:
        age = time.time() - staging.stat().st_mtime
        file = open(staging / _LOCK, "r+")
    except FileNotFoundError:  # stopped before it had one, or gone by now
        yield staging.is_dir() and age > _MINUTE
        return
    except OSError:  # of another user, or in a folder that cannot be written
        yield os.path.exists(staging / _JOURNAL)
        return
    with file:
        locked = _lock(file)
        here = file.read() in ("", socket.gethostname())
        old = age > (_MINUTE if (staging / _JOURNAL).exists() else _DAY)
        yield old if locked is None else locked and (here or old)


def _lock(file: Any) -> bool | None:
    """Lock a file; False if another process holds it, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _write_json(path: Path, content: Any) -> None:
    """Write a small file whole."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content))
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have a file or folder on the disk, where the file system knows how."""
    file = os.open(path, os.O_RDONLY)
    with suppress(OSError):
        os.fsync(file)
    os.close(file)
