"""Output to the user: errors as one line, progress, and no messages of other libraries."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from leafletfa_scvi._version import package_version
from leafletfa_scvi.cli._json import plain
from leafletfa_scvi.cli._words import flags_of, for_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from rich.progress import TaskID

    from leafletfa_scvi.cli._shared_options import DisplayOptions

_SECONDS_BETWEEN_LINES: Final = 30.0
"""Seconds between lines of progress where it is not drawn as a bar."""
_STAGES: Final = {
    "files": ("Files", "files"),
    "start": ("Clusters of cells", "rounds"),
    "EM": ("EM", "iterations"),
    "variational inference": ("Variational inference", "epochs"),
    "variances": ("Variances", ""),
    "activities": ("Activities", "steps"),
    "report": ("Page", "sections"),
}
"""Stages of training: title and what is counted."""


class UserError(Exception):
    """Error that the user can correct; shown as one line, with exit code 2."""


def one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks or the quotes that a KeyError adds."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__


class Reporter:
    """Progress and warnings on stderr, results on stdout.

    Parameters
    ----------
    display
        ``quiet``: print neither progress nor results nor warnings. ``json``: print the results as
        one JSON object. If None, neither.
    command
        Name of the command.
    flags
        Options of the command by the argument of the library that each is for.
    paths
        Files and folders of the command, whose names are never changed.

    Attributes
    ----------
    warnings
        Text of the warnings so far.
    """

    def __init__(
        self,
        display: DisplayOptions | None = None,
        command: str = "",
        flags: Mapping[str, str] | None = None,
        paths: Iterable[str] = (),
    ) -> None:
        self.quiet = display is not None and display.quiet
        self.json = display is not None and display.json
        self.out = Console(quiet=self.quiet or self.json, highlight=False)
        self.err = Console(stderr=True, quiet=self.quiet, highlight=False)
        self.warnings: list[str] = []
        self._command, self._flags, self._paths = command, flags or {}, tuple(paths)
        self._started = time.perf_counter()

    @classmethod
    def of(
        cls, command: Callable[..., None], display: DisplayOptions, *paths: Path | str | None
    ) -> Reporter:
        """Return the reporter of a command, which knows its options, files and folders."""
        name, given = command.__name__.replace("_", "-"), [str(path) for path in paths if path]
        return cls(display, name, flags_of(command), given)

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return time.perf_counter() - self._started

    @property
    def progress_bar(self) -> bool:
        """True if stderr, to which bars are drawn, is a terminal."""
        return self.err.is_terminal and not self.quiet

    def words(self, text: str) -> str:
        """Name options in a message of the library, which names its arguments."""
        return for_command(text, self._flags, self._paths)

    def writes(self, *paths: Path | None) -> None:
        """Say where the results will be, in full."""
        given = [os.path.abspath(path) for path in paths if path is not None]
        heads = ["Results will be in", *["               and"] * len(given)]
        for head, path in zip(heads, given, strict=False):
            style = None if head.startswith(" ") else "bold"
            self.err.print(escape(f"{head} {path}"), style=style, soft_wrap=True)

    def stage(self, text: str) -> None:
        """Announce the next step; indented text is a detail of the one before."""
        style = None if text.startswith(" ") else "bold"
        self.err.print(escape(text), style=style, soft_wrap=True)

    def library_stage(self, text: str) -> None:
        """Announce a step in the words of the command, if the text is the library's."""
        self.stage(self.words(text))

    def warn(self, text: str) -> None:
        """Warn of what the user should know before using the results."""
        text = self.words(" ".join(text.split()))
        self.warnings.append(text)
        self.err.print(f"[yellow]Warning:[/yellow] {escape(text)}", soft_wrap=True)

    def result(self, facts: Mapping[str, Any]) -> None:
        """Print the facts, command, version, time and warnings as JSON, if that is asked for."""
        if self.json:
            head = {"command": self._command, "version": package_version()}
            last = {"warnings": self.warnings, "seconds": round(self.seconds, 1)}
            json.dump(plain({**head, **facts, **last}), sys.stdout, indent=2, ensure_ascii=False)
            sys.stdout.write("\n")

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int | None], None]]:
        """Yield a function of stage, steps done and of how many, which shows how far they are.

        On a terminal they are a bar, which vanishes at the end; elsewhere a line every half
        minute.
        """
        if not self.progress_bar:
            yield self._lines()
            return
        columns = (TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.fields[n]}"))
        bars = Progress(*columns, TimeElapsedColumn(), console=self.err, transient=True)
        shown: dict[str, TaskID] = {}

        def show(stage: str, done: int, of: int | None) -> None:
            title, unit = _STAGES.get(stage, (stage, ""))
            if stage not in shown:
                for task in shown.values():
                    bars.remove_task(task)
                shown.clear()
                shown[stage] = bars.add_task(title, total=of, n="")
            count = f"{done:,}" if of is None else f"{done:,}/{of:,}"
            text = f"{count} {unit}" if done or of else ""
            is_done = of is not None and done >= of
            bars.update(shown[stage], completed=done, total=of, n=text, visible=not is_done)

        with bars:
            yield show

    def _lines(self) -> Callable[[str, int, int | None], None]:
        """Return a function that prints a line where half a minute has passed."""
        last = time.monotonic()

        def show(stage: str, done: int, of: int | None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < _SECONDS_BETWEEN_LINES:
                return
            last = now
            title, unit = _STAGES.get(stage, (stage, ""))
            count = f"{done:,}" + ("" if of is None else f" of {of:,}")
            self.stage(f"  {title}" + (f": {count} {unit}" if done or of else ""))

        return show

    @contextmanager
    def tidy(self) -> Iterator[None]:
        """Show warnings and logged messages of this package as one line each, no others.

        Deprecations inside libraries mean nothing to someone who runs a command. Errors of the
        user name the options of the command.
        """

        def show(message: Warning | str, *_: object) -> None:
            self.warn(str(message))

        logger, handler = logging.getLogger("leafletfa_scvi"), _Handler(self)
        propagate = logger.propagate
        logger.addHandler(handler)
        logger.propagate = False
        try:
            with warnings.catch_warnings():
                warnings.showwarning = show  # type: ignore[assignment]
                warnings.simplefilter("ignore")
                warnings.filterwarnings(
                    "default", category=UserWarning, module=r"leafletfa_scvi\b"
                )
                yield
        except UserError as error:
            raise UserError(self.words(str(error))) from error
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagate


class _Handler(logging.Handler):
    """Show what the package logs as details of a stage."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message."""
        self._reporter.library_stage(f"  {' '.join(record.getMessage().split())}")


def quiet_libraries() -> None:
    """Keep Lightning and scvi-tools from logging below warnings."""
    import scvi  # noqa: F401 - its import sets the levels that are changed here

    for name in (
        "lightning",
        "lightning.pytorch",
        "lightning.fabric",
        "pytorch_lightning",
        "scvi",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)


def set_seed(seed: int) -> None:
    """Set the seed of scvi-tools without its message."""
    import scvi

    quiet_libraries()
    scvi.settings.seed = seed
    quiet_libraries()  # setting the seed resets the level of Lightning's logger
