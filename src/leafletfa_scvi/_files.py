"""Files that appear whole, and several of them together, or not at all.

Files are written to a staging folder beside their target and then moved. Where several belong
together, their moves are written down first: from then on they are done, if not by this process
then by the next one that calls :func:`recover` on one of the folders. A process that ends before
that has changed nothing, and its staging folder is removed by the next. Processes that write into
one folder do their moves one after the other.

A staging folder is named ``.leafletfa-*`` and locked while its process lives. Where a file system
has no locks, one is taken for left behind after a day. It may have come with the files of
somebody else, so it moves files within the folder that it lies in and nowhere else; the staging
folders of one run in several folders have to name each other.
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
    from collections.abc import Iterable, Iterator, Set

STAGING: Final = ".leafletfa-"
"""How names of staging folders begin."""


class UnfinishedMovesError(ValueError):
    """Files that belong together were moved in part, and the rest cannot be."""


_DONE: Final = f"{STAGING}done-"
_LOCK, _JOURNAL, _MOVES = "lock", "journal.json", "moves.json"
_MOMENT, _MINUTE, _DAY = 2.0, 60.0, 86400.0  # seconds
_PATIENCE, _PAUSE = 60.0, 0.01
_TRIES: Final = 10
_LARGEST = 1 << 20  # bytes of a list of moves


@contextmanager
def replacing(*targets: Path, remove: Iterable[Path] = ()) -> Iterator[list[Path]]:
    """Write files that replace others together, or change nothing.

    Parameters
    ----------
    *targets
        Files to write; links are followed. Folders that are missing are made.
    remove
        Files of an earlier version to remove with the same step; those missing are ignored. Of a
        link, the link itself is removed.

    Yields
    ------
    list of Path
        Paths to write to, one per target, each in a separate folder. If the block raises, the
        targets stay as they were.

    Raises
    ------
    OSError
        Something cannot be written.
    UnfinishedMovesError
        This or an earlier process was stopped amid its moves, and they cannot be completed.
    """
    finals = [_resolved(target) for target in targets]
    gone = [_resolved(path.parent) / path.name for path in remove]
    gone = [path for path in gone if path.parent.is_dir()]
    homes = {path: _existing_folder(path.parent) for path in (*finals, *gone)}
    distinct = list(dict.fromkeys(homes.values()))
    for home in distinct:
        recover(home)
        recover(home.parent)
    for final in (*finals, *gone):
        if final.is_dir() and not (final in gone and final.is_symlink()):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(final))
    with ExitStack() as stack:
        staging = {home: _make_staging(stack, home) for home in distinct}
        places = []
        for i, final in enumerate(finals):
            (staging[homes[final]] / str(i)).mkdir()
            places.append(staging[homes[final]] / str(i) / final.name)
        yield places
        for place in places:
            _sync(place)
        held = stack.enter_context(_locked(distinct))
        for home in distinct:  # another process may have been stopped since
            _recover(home, held)
            _recover(home.parent, held)
        moves: dict[Path, list[tuple[str, str]]] = {home: [] for home in distinct}
        for place, final in zip(places, finals, strict=True):
            home = homes[final]
            source = str(place.relative_to(staging[home]))
            moves[home].append((source, str(final.relative_to(home))))
        for path in gone:
            if os.path.lexists(path):
                moves[homes[path]].append(("", str(path.relative_to(homes[path]))))
        if sum(map(len, moves.values())) == 1:
            _move(places[0], finals[0])
            return
        first, *others = staging.values()
        for home, folder in staging.items():
            run = None if folder == first else [str(first), str(folder)]
            _write_json(folder / _MOVES, {"run": run, "moves": moves[home]})
        _write_json(first / _JOURNAL, [str(other) for other in others])
        try:
            _complete(first, held)
        except (OSError, ValueError) as error:
            raise _stopped(first, error) from error


def recover(folder: Path) -> None:
    """Complete the moves of processes that were stopped, and remove what they left behind.

    While another process is at its moves, wait for it.

    Parameters
    ----------
    folder
        Folder with files that :func:`replacing` writes. One that does not exist is ignored.

    Raises
    ------
    UnfinishedMovesError
        Moves that were begun cannot be completed; the message says what is where.
    """
    _recover(_resolved(folder), frozenset())


def _recover(folder: Path, held: Set[Path]) -> None:
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
        until = time.monotonic() + _PATIENCE
        while not _recovered(staging, held):
            if time.monotonic() > until:
                raise UnfinishedMovesError(
                    f"Another process is moving files that belong together, from {staging}: try "
                    "again when it has ended."
                )
            time.sleep(_PAUSE)


def _recovered(staging: Path, held: Set[Path]) -> bool:
    """Recover what an ended process left; False while a living one is at its moves."""
    with _lock_of_dead(staging) as is_dead:
        try:
            first = _first_of(staging)
            if not is_dead:
                return first is None
            if first is not None:
                _complete(first, held)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not staging.is_dir():  # by another process
                return True
            raise _stopped(staging, error) from error
        _discard(staging)
    return True


def _stopped(staging: Path, error: Exception) -> UnfinishedMovesError:
    return UnfinishedMovesError(
        f"Writing stopped between files that belong together, and cannot be completed ({error}). "
        f"The new files are in {staging}: remove the cause and load or save again, or delete that "
        "folder and write the files again."
    )


def _first_of(staging: Path) -> Path | None:
    """Staging folder with the journal of the moves that one has a part in, if that is written."""
    try:
        run = _read_json(staging / _MOVES, dict)["run"]
    except FileNotFoundError:
        return None
    if run is not None and run[1] != str(staging):
        raise ValueError(f"it was {run[1]} when it was written")
    first = staging if run is None else Path(run[0])
    if not first.parent.is_dir():
        raise FileNotFoundError(f"the folder {first.parent} does not exist")
    return first if (first / _JOURNAL).exists() else None


def _complete(first: Path, held: Set[Path]) -> None:
    """Do the moves of a run that are still to be done; may be repeated after a stop."""
    folders = [first, *map(Path, _read_json(first / _JOURNAL, list))]
    moves = [move for folder in folders for move in _moves_of(folder, first)]
    homes = {folder.parent for folder in folders}
    with _locked(homes, held) as held:
        for origin, target in moves:
            if origin is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
        with _locked({target.parent for _, target in moves if target.parent.is_dir()}, held):
            for origin, target in moves:
                _move(origin, target)
            (first / _JOURNAL).unlink(missing_ok=True)


def _moves_of(staging: Path, first: Path) -> list[tuple[Path | None, Path]]:
    """Moves out of a staging folder, into the folder that it lies in."""
    if not staging.name.startswith(STAGING) or staging.is_symlink() or not staging.is_dir():
        raise FileNotFoundError(f"the folder {staging} with a part of them does not exist")
    if hasattr(os, "geteuid") and staging.stat().st_uid != os.geteuid():
        raise PermissionError(f"{staging} is of another user")
    content = _read_json(staging / _MOVES, dict)
    if content["run"] != (None if staging == first else [str(first), str(staging)]):
        raise ValueError(f"{staging} is of another run")
    home = staging.parent.resolve()
    moves: list[tuple[Path | None, Path]] = []
    for source, target in content["moves"]:
        path = home / target
        whole = path.parent.resolve() / path.name
        if ".." in (*Path(source).parts, *Path(target).parts) or Path(source).is_absolute():
            raise ValueError(f"{target} is not named from {home}")
        if whole == home or not whole.is_relative_to(home):
            raise ValueError(f"{target} is not within {home}")
        moves.append((staging / source if source else None, whole))
    return moves


def _move(origin: Path | None, target: Path) -> None:
    """Move a file that is still staged onto its target, or remove the target."""
    if origin is None:
        target.unlink(missing_ok=True)
    elif os.path.lexists(origin):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(origin, target)
    _sync(target.parent)


def _resolved(path: Path) -> Path:
    """Path without links."""
    try:
        return path.resolve()
    except RuntimeError:  # how Python before 3.13 says that links go in circles
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def _existing_folder(folder: Path) -> Path:
    """The folder itself or the nearest above it that exists."""
    for path in (folder, *folder.parents):
        if path.is_dir():
            return path
        if os.path.lexists(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))


def _make_staging(stack: ExitStack, home: Path) -> Path:
    """A locked folder in ``home``, removed when ``stack`` closes unless moves are left to do."""
    for _ in range(_TRIES):
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=home))
        stack.callback(_remove_staging, staging)
        # Before it is locked, another process may take it for left behind and remove it.
        with suppress(FileNotFoundError):
            lock = stack.enter_context(open(staging / f"{_LOCK}.new", "w"))
            if _lock(lock) is not False:
                lock.write(socket.gethostname())
                lock.flush()
                os.replace(lock.name, staging / _LOCK)
                return staging
    raise FileNotFoundError(errno.ENOENT, "folders created in it disappear at once", str(home))


def _remove_staging(staging: Path) -> None:
    with suppress(OSError, ValueError):
        if _first_of(staging) is None:
            _discard(staging)


def _discard(staging: Path) -> None:
    """Remove a folder, under a name that lets any other process do so from here on."""
    done = staging.with_name(f"{_DONE}{staging.name.removeprefix(STAGING)}")
    with suppress(OSError):  # another process was faster, or nothing can be written here
        os.rename(staging, done)
        shutil.rmtree(done, ignore_errors=True)


@contextmanager
def _lock_of_dead(staging: Path) -> Iterator[bool]:
    """Hold the lock of a staging folder and yield True, if its process has ended."""
    moves = staging / _MOVES
    locks = [staging / name for name in (_LOCK, f"{_LOCK}.new") if (staging / name).is_file()]
    try:
        age = time.time() - staging.stat().st_mtime
        file = open(locks[0], "r+") if locks else None
    except FileNotFoundError:  # gone by now
        yield False
        return
    except OSError:  # of another user, or in a folder that cannot be written
        yield os.path.exists(moves)
        return
    if file is None:  # stopped before it had one
        yield staging.is_dir() and age > _MOMENT
        return
    with file:
        locked = _lock(file)
        if locks[0].name != _LOCK:  # stopped before it was written
            yield age > _MINUTE if locked is None else locked
            return
        here = file.read(_LARGEST) == socket.gethostname()
        old = age > (_MINUTE if moves.exists() else _DAY)
        yield old if locked is None else locked and (here or old)


def _lock(file: Any) -> bool | None:
    """Lock a file; False if another process holds it, None if the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def _locked(folders: Iterable[Path], held: Set[Path] = frozenset()) -> Iterator[Set[Path]]:
    """Hold the locks of folders, for as long as files are moved into them; yield all held."""
    until = time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        wanted = sorted(set(folders) - held) if fcntl is not None else []
        for folder in wanted:
            number = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, number)
            while _lock(number) is False:
                if time.monotonic() > until:
                    raise TimeoutError(
                        errno.ETIMEDOUT,
                        "another process is moving files in this folder",
                        str(folder),
                    )
                time.sleep(_PAUSE)
        yield held | set(folders)


def _read_json(path: Path, kind: type) -> Any:
    """Content of a small file."""
    if path.exists() and (not path.is_file() or path.stat().st_size > _LARGEST):
        raise ValueError(f"{path} is not a list of moves")
    content = json.loads(path.read_text())
    if not isinstance(content, kind):
        raise ValueError(f"{path} is not a list of moves")
    return content


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
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(file)
