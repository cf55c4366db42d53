"""Reading many files: in parallel, on a cluster, and resuming an interrupted run."""

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
"""Exceptions that readers raise for a file that cannot be read; others are bugs."""


_ENDED: Final = (
    "A process that read files was ended by the system, most likely because memory ran out. Use "
    "fewer n_jobs (--jobs); with a work_dir the files that are done are not read again."
)


@dataclasses.dataclass(frozen=True)
class Failure:
    """A file that could not be read, and the reason."""

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
    """Read every file and save its counts in ``folder``, unless they are saved already.

    Counts are named after the path, size and modification time of the file and the options of
    reading. So a run with the same folder resumes where an earlier one stopped, and a file that
    has changed is read again.

    Parameters
    ----------
    sources
        The files.
    read
        Function that reads one file; it and its result can be pickled.
    signature
        Options of reading, serializable as JSON: counts made with other options are not used.
    folder
        Existing folder for the counts.
    n_jobs
        Number of processes on this machine, as for joblib: -1 for one per core.
    client
        A ``dask.distributed.Client``: files are read by its workers, on which they must have the
        same paths; counts come back over the network, so ``folder`` need not be shared.
    on_error
        ``"raise"``, or ``"skip"`` to report files that cannot be read.
    progress
        Called with the number of files done and of all files.

    Returns
    -------
    paths
        Saved counts of each file; None if it could not be read.
    failures
        Files that could not be read.

    Raises
    ------
    ValueError
        If a file cannot be read and ``on_error="raise"``; counts saved so far are kept.
    ChildProcessError
        If a process was ended from outside; counts saved so far are kept.
    """
    check_one_of("on_error", on_error, OnError)
    if n_jobs == 0:
        raise ValueError(
            "Expected n_jobs to be a number of processes, found 0. Pass -1 for all cores."
        )
    targets = [folder / _counts_name(source, signature) for source in sources]
    missing = [i for i, target in enumerate(targets) if not is_zipfile(target)]
    paths: list[Path | None] = [*targets]
    failures = []
    done = len(sources) - len(missing)
    if progress is not None:
        progress(done, len(sources))
    jobs = [(i, read, sources[i], targets[i]) for i in missing]
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
    """Yield the number and error of each job, as they end."""
    if client is not None:
        yield from _on_cluster(jobs, client)
    elif n_jobs == 1 or len(jobs) < 2:
        for job in jobs:
            yield _save_counts(*job)
    else:
        import joblib
        from joblib.externals.loky import get_reusable_executor
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        # loky's processes need no guard around the caller's main module, and start without torch.
        results = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
            joblib.delayed(_save_counts)(*job) for job in jobs
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
    """Yield as :func:`_results`: files are read by Dask's workers and saved here."""
    from distributed import KilledWorker, as_completed

    if getattr(client, "asynchronous", False):
        raise TypeError("client is asynchronous: expected a dask.distributed.Client that is not.")
    if not hasattr(client, "submit"):
        raise TypeError(
            f"client is a {type(client).__name__}: expected a dask.distributed.Client."
        )
    futures = [
        client.submit(_read_counts, i, read, source, pure=False) for i, read, source, _ in jobs
    ]
    targets = {i: path for i, _, _, path in jobs}
    try:
        for future, (i, counts, message) in as_completed(futures, with_results=True):
            if counts is not None:
                counts.save(targets[i])
            future.release()
            yield i, message
    except KilledWorker as error:
        raise ChildProcessError(_ENDED) from error
    finally:
        client.cancel(futures)


def _read_counts(
    i: int, read: Callable[[Source], FileCounts], source: Source
) -> tuple[int, FileCounts | None, str | None]:
    """Read one file; return the number of the job, and the counts or an error."""
    try:
        return i, read(source), None
    except READ_ERRORS as error:
        text = str(error) or type(error).__name__
        return i, None, text if source.path in text else f"{source.path}: {text}"


def _save_counts(
    i: int, read: Callable[[Source], FileCounts], source: Source, path: Path
) -> tuple[int, str | None]:
    """Read one file and save its counts; return the number of the job and an error, if any."""
    _, counts, message = _read_counts(i, read, source)
    if counts is not None:
        counts.save(path)
    return i, message


def _counts_name(source: Source, signature: Any) -> str:
    """Name the counts of a file, as it is now and with these options."""
    identity = {
        "version": COUNTS_VERSION,
        "source": dataclasses.asdict(source),
        "files": [
            _fingerprint(path) for input in (source.path, *source.lanes) for path in _files(input)
        ],
        "options": signature,
    }
    text = json.dumps(identity, sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"


def _files(path: str) -> list[str]:
    """List the file, or those of the folder."""
    if not os.path.isdir(path):
        return [path]
    return sorted(
        os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names
    )


def _fingerprint(path: str) -> tuple[str, int, int]:
    """Return path, size in bytes and modification time in nanoseconds; zeros for a broken link."""
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return path, 0, 0
    return path, state.st_size, state.st_mtime_ns
