"""Staging folders, locked while their process lives, and locks of folders that files move into.

A staging folder is named ``.leafletfa-*``. If its lock can be taken, its process has ended. On
file systems without locks, its age decides.
"""

from __future__ import annotations

import errno
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
    from collections.abc import Callable, Iterable, Iterator, Set

STAGING: Final = ".leafletfa-"
"""Prefix of the names of staging folders."""
DONE: Final = f"{STAGING}done-"
"""Prefix of those that any process may remove."""
MOVES: Final = "moves.json"
"""File of a staging folder with the moves out of it, if they have been decided on."""
PATIENCE, PAUSE = 60.0, 0.01
"""Seconds to wait for another process, and between two attempts."""
MAX_LIST: Final = 1 << 20
"""Maximum size of a small file in a staging folder, in bytes."""

_LOCK: Final = "lock"
_MOMENT, _MINUTE, _DAY = 2.0, 60.0, 86400.0  # seconds
_TRIES: Final = 10


def make_staging(stack: ExitStack, home: Path, remove: Callable[[Path], None]) -> Path:
    """Make a locked folder in ``home``, passed to ``remove`` when ``stack`` closes."""
    for _ in range(_TRIES):
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=home))
        stack.callback(remove, staging)
        # Until it is locked, another process may mistake it for an abandoned one and remove it.
        with suppress(FileNotFoundError):
            file = stack.enter_context(open(staging / f"{_LOCK}.new", "w"))
            if lock(file) is not False:
                file.write(socket.gethostname())
                file.flush()
                os.replace(file.name, staging / _LOCK)
                return staging
    raise FileNotFoundError(errno.ENOENT, "folders made there disappear at once", str(home))


def discard(staging: Path) -> None:
    """Remove a folder, renamed first so that any other process may finish the removal."""
    done = staging.with_name(f"{DONE}{staging.name.removeprefix(STAGING)}")
    with suppress(OSError):  # another process was faster, or nothing can be written here
        os.rename(staging, done)
        shutil.rmtree(done, ignore_errors=True)


@contextmanager
def lock_of_ended(staging: Path) -> Iterator[bool]:
    """Hold the lock of a staging folder and yield True, if its process has ended."""
    moves = staging / MOVES
    locks = [staging / name for name in (_LOCK, f"{_LOCK}.new") if (staging / name).is_file()]
    try:
        age = time.time() - staging.stat().st_mtime
        file = open(locks[0], "r+") if locks else None
    except FileNotFoundError:  # removed in the meantime
        yield False
        return
    except OSError:  # owned by another user, or in a read-only folder
        yield os.path.exists(moves)
        return
    if file is None:  # stopped before it was locked
        yield staging.is_dir() and age > _MOMENT
        return
    with file:
        acquired = lock(file)
        if locks[0].name != _LOCK:  # stopped before the lock was complete
            yield age > _MINUTE if acquired is None else acquired
            return
        # Some network file systems grant a lock on each host: trust only those of this one.
        is_local = file.read(MAX_LIST) == socket.gethostname()
        is_old = age > (_MINUTE if moves.exists() else _DAY)
        yield is_old if acquired is None else acquired and (is_local or is_old)


def lock(file: Any) -> bool | None:
    """Lock a file; False if another process holds the lock, None if locks are not supported."""
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
def locked(folders: Iterable[Path], held: Set[Path] = frozenset()) -> Iterator[Set[Path]]:
    """Hold the locks of folders while files are moved into them; yield all folders held."""
    until = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        wanted = sorted(set(folders) - held) if fcntl is not None else []
        for folder in wanted:
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            while lock(descriptor) is False:
                if time.monotonic() > until:
                    raise TimeoutError(
                        errno.ETIMEDOUT, "another process is moving files there", str(folder)
                    )
                time.sleep(PAUSE)
        yield held | set(folders)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk, if the file system supports that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(descriptor)
