"""Writing files whole, and several of them together or not at all.

:func:`replacing` writes files to a staging folder beside their target and then moves them. If
several belong together, their moves are first written to a journal: from then on they are
completed, if not by this process then by the next one that calls :func:`recover` on one of the
folders. A process that ends earlier has changed nothing, and the next one removes its staging
folder. Processes that write into one folder take turns to move their files.

A staging folder may have come with files of somebody else. Moves out of it therefore stay within
the folder that holds it, and the staging folders of one run in several folders have to name each
other.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from leafletfa_scvi import _staging
from leafletfa_scvi._staging import (
    DONE,
    MAX_LIST,
    MOVES,
    PAUSE,
    STAGING,
    discard,
    lock_of_ended,
    locked,
    make_staging,
    sync,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set


class UnfinishedMovesError(ValueError):
    """Only some of the files that belong together were moved, and the others cannot be."""


_JOURNAL: Final = "journal.json"


@contextmanager
def replacing(*targets: Path, remove: Iterable[Path] = ()) -> Iterator[list[Path]]:
    """Write files that replace others together, or change nothing.

    Parameters
    ----------
    *targets
        Files to write; links are followed. Missing folders are created.
    remove
        Files of an earlier version to remove in the same step; missing ones are ignored. If one
        is a link, the link itself is removed.

    Yields
    ------
    list of Path
        Paths to write to, one per target, each in a separate folder. If the block raises, the
        targets stay as they were.

    Raises
    ------
    OSError
        A file cannot be written.
    UnfinishedMovesError
        This or an earlier process was stopped between its moves, and they cannot be completed.
    """
    finals = [_resolved(target) for target in targets]
    gone = [_resolved(path.parent) / path.name for path in remove]
    # A missing folder that files are written to may appear, with such files, until they are moved.
    parents = {final.parent for final in finals}
    gone = [path for path in gone if path.parent in parents or path.parent.is_dir()]
    homes = {path: _existing_folder(path.parent) for path in (*finals, *gone)}
    distinct = list(dict.fromkeys(homes.values()))
    for home in distinct:
        recover(home)
        recover(home.parent)
    for final in (*finals, *gone):
        if final.is_dir() and not (final in gone and final.is_symlink()):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(final))
    with ExitStack() as stack:
        staging = {home: make_staging(stack, home, _remove_staging) for home in distinct}
        staged = []
        for i, final in enumerate(finals):
            (staging[homes[final]] / str(i)).mkdir()
            staged.append(staging[homes[final]] / str(i) / final.name)
        yield staged
        for path in staged:
            sync(path)
        held = stack.enter_context(locked(distinct))
        appeared = {path.parent for path in (*finals, *gone) if path.parent.is_dir()} - held
        held = stack.enter_context(locked(appeared, held))
        for home in held:  # another process may have been stopped in the meantime
            _recover(home, held)
            _recover(home.parent, held)
        moves: dict[Path, list[tuple[str, str]]] = {home: [] for home in distinct}
        for path, final in zip(staged, finals, strict=True):
            home = homes[final]
            source = str(path.relative_to(staging[home]))
            moves[home].append((source, str(final.relative_to(home))))
        for path in gone:
            if os.path.lexists(path):
                moves[homes[path]].append(("", str(path.relative_to(homes[path]))))
        if sum(map(len, moves.values())) == 1:
            _move(staged[0], finals[0])
            return
        first, *others = staging.values()
        for home, folder in staging.items():
            run = None if folder == first else [str(first), str(folder)]
            _write_json(folder / MOVES, {"run": run, "moves": moves[home]})
        _write_json(first / _JOURNAL, [str(other) for other in others])
        try:
            _complete(first, held)
        except (OSError, ValueError) as error:
            raise _stopped(first, error) from error


@contextmanager
def writing_whole(target: Path) -> Iterator[Path]:
    """Write one file whole or not at all, without locks.

    Cheaper than :func:`replacing` for many small files, such as those of a cache; a killed
    process leaves its temporary file.

    Yields
    ------
    Path
        Path to write to, beside the target.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def recover(folder: Path) -> None:
    """Complete the moves of stopped processes, and remove their staging folders.

    Waits while another process is moving files.

    Parameters
    ----------
    folder
        Folder with files that :func:`replacing` writes. Ignored if it does not exist.

    Raises
    ------
    UnfinishedMovesError
        Moves that were begun cannot be completed; the message names the folder with the new files.
    """
    _recover(_resolved(folder), frozenset())


def _recover(folder: Path, held: Set[Path]) -> None:
    try:
        stagings = sorted(folder.glob(f"{STAGING}*"))
    except OSError:  # the folder cannot be read
        return
    for staging in stagings:
        if staging.is_symlink() or not staging.is_dir():
            continue
        if staging.name.startswith(DONE):
            shutil.rmtree(staging, ignore_errors=True)
            continue
        until = time.monotonic() + _staging.PATIENCE
        while not _recovered(staging, held):
            if time.monotonic() > until:
                raise UnfinishedMovesError(
                    f"Another process is moving files that belong together, from {staging}. Try "
                    "again when it has ended."
                )
            time.sleep(PAUSE)


def _recovered(staging: Path, held: Set[Path]) -> bool:
    """Complete the moves of an ended process; return False while a running one makes its own."""
    with lock_of_ended(staging) as has_ended:
        try:
            first = _first_of(staging)
            if not has_ended:
                return first is None
            if first is not None:
                _complete(first, held)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not staging.is_dir():  # recovered by another process
                return True
            raise _stopped(staging, error) from error
        discard(staging)
    return True


def _stopped(staging: Path, error: Exception) -> UnfinishedMovesError:
    return UnfinishedMovesError(
        f"Writing stopped between files that belong together, and cannot be completed ({error}). "
        f"The new files are in {staging}. Remove the cause and load or save again, or delete that "
        "folder and write the files again."
    )


def _first_of(staging: Path) -> Path | None:
    """Return the staging folder with the journal of this one's moves; None if none is written."""
    try:
        run = _read_json(staging / MOVES, dict)["run"]
    except FileNotFoundError:
        return None
    if run is not None and run[1] != str(staging):
        raise ValueError(f"it was {run[1]} when it was written")
    first = staging if run is None else Path(run[0])
    if not first.parent.is_dir():
        raise FileNotFoundError(f"the folder {first.parent} is missing")
    return first if (first / _JOURNAL).exists() else None


def _complete(first: Path, held: Set[Path]) -> None:
    """Make the moves of a run that remain; may be repeated if it is stopped."""
    folders = [first, *map(Path, _read_json(first / _JOURNAL, list))]
    moves = [move for folder in folders for move in _moves_of(folder, first)]
    homes = {folder.parent for folder in folders}
    with locked(homes, held) as held:
        for origin, target in moves:
            if origin is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
        with locked({target.parent for _, target in moves if target.parent.is_dir()}, held):
            for origin, target in moves:
                _move(origin, target)
            (first / _JOURNAL).unlink(missing_ok=True)


def _moves_of(staging: Path, first: Path) -> list[tuple[Path | None, Path]]:
    """Return the moves out of a staging folder, into the folder that holds it."""
    if not staging.name.startswith(STAGING) or staging.is_symlink() or not staging.is_dir():
        raise FileNotFoundError(f"the folder {staging}, which holds some of them, is missing")
    if hasattr(os, "geteuid") and staging.stat().st_uid != os.geteuid():
        raise PermissionError(f"{staging} belongs to another user")
    content = _read_json(staging / MOVES, dict)
    if content["run"] != (None if staging == first else [str(first), str(staging)]):
        raise ValueError(f"{staging} belongs to another run")
    home = staging.parent.resolve()
    moves: list[tuple[Path | None, Path]] = []
    for source, target in content["moves"]:
        path = home / target
        final = path.parent.resolve() / path.name  # a link in its place is replaced, not followed
        if ".." in (*Path(source).parts, *Path(target).parts) or Path(source).is_absolute():
            raise ValueError(f"{target} is not a path relative to {home}")
        if final == home or not final.is_relative_to(home):
            raise ValueError(f"{target} is not within {home}")
        moves.append((staging / source if source else None, final))
    return moves


def _move(origin: Path | None, target: Path) -> None:
    """Move a file that is still staged onto its target, or remove the target."""
    if origin is None:
        target.unlink(missing_ok=True)
    elif os.path.lexists(origin):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(origin, target)
    sync(target.parent)


def _resolved(path: Path) -> Path:
    """Return a path without links."""
    try:
        return path.resolve()
    except RuntimeError:  # raised before Python 3.13 for links in a circle
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def _existing_folder(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    for path in (folder, *folder.parents):
        if path.is_dir():
            return path
        if os.path.lexists(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))


def _remove_staging(staging: Path) -> None:
    with suppress(OSError, ValueError):
        if _first_of(staging) is None:
            discard(staging)


def _read_json(path: Path, kind: type) -> Any:
    """Read a small file of a staging folder."""
    if path.exists() and (not path.is_file() or path.stat().st_size > MAX_LIST):
        raise ValueError(f"{path} is not a list of moves")
    content = json.loads(path.read_text())
    if not isinstance(content, kind):
        raise ValueError(f"{path} is not a list of moves")
    return content


def _write_json(path: Path, content: Any) -> None:
    """Write a small file whole."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content))
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)
