"""Reading many files: in parallel, on a cluster, and on from where an interrupted run stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import warnings
from typing import TYPE_CHECKING, Any, Final
from zipfile import is_zipfile

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi._choices import OnError
from leafletfa_scvi.pp.read._file_counts import COUNTS_VERSION, FileCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from leafletfa_scvi.pp.read._sources import Source

READ_ERRORS: Final = (ValueError, OSError, EOFError)
"""What a reader raises for a file that cannot be read; anything else is a fault of ours."""


_ENDED: Final = (
    "A process that read files was ended by the system, most likely because memory ran out. Use "
    "fewer n_jobs (--jobs); with a work_dir the files that are done are not read again."
)


@dataclasses.dataclass(frozen=True)
class Failure:
    """A file that could not be read, and why."""

    path: str
    message: str


def count_files(
    sources: Sequence[Source],
    read: Callable[[Source], FileCounts],
    signature: Any,
    folder: Path,
    *,
    n_jobs: int = 1,
    client: Any = None,
    on_error: OnError = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Path | None], list[Failure]]:
    """Read every file into a part of its own in ``folder``; parts that are there are kept.

    A part belongs to the file's path, size and time of change, and to the options of reading. So
    a run with the same folder goes on where an earlier one stopped, and a file that has changed
    is read anew.

    Parameters
    ----------
    sources
        The files.
    read
        Reads one; it and what it returns can be pickled.
    signature
        Options of reading, as JSON can hold them: parts of other options are not used.
    folder
        Where parts are kept; it exists.
    n_jobs
        Processes on this machine, as joblib takes it: -1 is one for each core.
    client
        A ``dask.distributed.Client``: files are read by its workers, which must see them under
        the same paths; parts come back over the network, so ``folder`` need not be shared.
    on_error
        What to do about a file that cannot be read: ``"raise"``, or ``"skip"`` and report it.
    progress
        Called with the number of files done and of all.

    Returns
    -------
    paths
        Part of each file; None where it could not be read.
    failures
        Files that could not be read.

    Raises
    ------
    ValueError
        A file cannot be read and ``on_error="raise"``; parts made so far stay.
    ChildProcessError
        A process was ended from outside; parts made so far stay.
    """
    check_one_of("on_error", on_error, OnError)
    if n_jobs == 0:
        raise ValueError(
            "Expected n_jobs to be a number of processes, found 0. Pass -1 for all cores."
        )
    places = [folder / _part_name(source, signature) for source in sources]
    missing = [i for i, place in enumerate(places) if not is_zipfile(place)]
    paths: list[Path | None] = [*places]
    failures = []
    done = len(sources) - len(missing)
    if progress is not None:
        progress(done, len(sources))
    jobs = [(i, read, sources[i], places[i]) for i in missing]
    for i, message in _results(jobs, n_jobs, client):
        if message is not None:
            if on_error == "raise":
                raise ValueError(message)
            failures.append(Failure(sources[i].path, message))
            paths[i] = None
        done += 1
        if progress is not None:
            progress(done, len(sources))
    failures.sort(key=lambda failure: failure.path)
    return paths, failures


def _results(
    jobs: list[tuple[int, Any, Source, Path]], n_jobs: int, client: Any
) -> Iterator[tuple[int, str | None]]:
    """Number and error of each job, as they end."""
    if client is not None:
        yield from _on_cluster(jobs, client)
    elif n_jobs == 1 or len(jobs) < 2:
        for job in jobs:
            yield _save_part(*job)
    else:
        import joblib
        from joblib.externals.loky import get_reusable_executor
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        # loky's processes need no guard around the caller's main module, and start without torch.
        results = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
            joblib.delayed(_save_part)(*job) for job in jobs
        )
        try:
            # "yield from" would close the results itself, before the warnings are silenced.
            for result in results:  # noqa: UP028
                yield result
        except TerminatedWorkerError as error:
            raise ChildProcessError(_ENDED) from error
        finally:
            with warnings.catch_warnings():  # after an error, of tasks whose results are not used
                warnings.simplefilter("ignore", UserWarning)
                results.close()
            get_reusable_executor().shutdown()  # else they wait for more work, and hold memory


def _on_cluster(
    jobs: list[tuple[int, Any, Source, Path]], client: Any
) -> Iterator[tuple[int, str | None]]:
    """As :func:`_results`, read by Dask's workers and saved here."""
    from distributed import KilledWorker, as_completed

    if getattr(client, "asynchronous", False):
        raise TypeError("client is asynchronous: expected a dask.distributed.Client that is not.")
    if not hasattr(client, "submit"):
        raise TypeError(
            f"client is a {type(client).__name__}: expected a dask.distributed.Client."
        )
    futures = [
        client.submit(_read_part, i, read, source, pure=False) for i, read, source, _ in jobs
    ]
    place = {i: path for i, _, _, path in jobs}
    try:
        for future, (i, part, message) in as_completed(futures, with_results=True):
            if part is not None:
                part.save(place[i])
            future.release()
            yield i, message
    except KilledWorker as error:
        raise ChildProcessError(_ENDED) from error
    finally:
        client.cancel(futures)


def _read_part(
    i: int, read: Callable[[Source], FileCounts], source: Source
) -> tuple[int, FileCounts | None, str | None]:
    """Number, part and error of one job."""
    try:
        return i, read(source), None
    except READ_ERRORS as error:
        text = str(error) or type(error).__name__
        return i, None, text if source.path in text else f"{source.path}: {text}"


def _save_part(
    i: int, read: Callable[[Source], FileCounts], source: Source, path: Path
) -> tuple[int, str | None]:
    """Read one file and save its part; number and error."""
    _, part, message = _read_part(i, read, source)
    if part is not None:
        part.save(path)
    return i, message


def _part_name(source: Source, signature: Any) -> str:
    """Name of the part of a file as it is now, read with these options."""
    identity = {
        "version": COUNTS_VERSION,
        "source": dataclasses.asdict(source),
        "files": [
            _fingerprint(path) for place in (source.path, *source.lanes) for path in _files(place)
        ],
        "options": signature,
    }
    text = json.dumps(identity, sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"


def _files(path: str) -> list[str]:
    """The file, or those of the folder."""
    if not os.path.isdir(path):
        return [path]
    return sorted(
        os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names
    )


def _fingerprint(path: str) -> tuple[str, int, int]:
    """Path, size in bytes and time of change in nanoseconds; zeros where a link leads nowhere."""
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return path, 0, 0
    return path, state.st_size, state.st_mtime_ns
