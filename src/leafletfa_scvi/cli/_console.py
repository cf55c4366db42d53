"""What a user sees: one line for what is wrong, tidy progress, no noise of libraries."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator


class UserError(Exception):
    """Something that the user can put right; shown as one line, exit code 2."""


def one_line(error: BaseException) -> str:
    """Message of an error without line breaks, nor the quotes that a KeyError adds."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__


class Reporter:
    """Progress on stderr, results on stdout; ``quiet`` leaves out progress and results."""

    def __init__(self, quiet: bool = False) -> None:
        self.out = Console(quiet=quiet, highlight=False)
        self.err = Console(stderr=True, quiet=quiet, highlight=False)

    @property
    def progress_bar(self) -> bool:
        """Whether a bar that redraws itself makes sense."""
        return self.err.is_terminal and not self.err.quiet

    def stage(self, text: str) -> None:
        """Say what is done next."""
        self.err.print(f"[bold]{text}[/bold]", soft_wrap=True)

    @contextmanager
    def tidy(self) -> Iterator[None]:
        """Warnings of this package as one line each; libraries are heard from warnings on only.

        Deprecations and hints of libraries to their callers say nothing to who runs a command.
        """

        def show(message: Warning | str, category: type[Warning], *_: object) -> None:
            text = " ".join(str(message).split())
            self.err.print(f"[yellow]Warning:[/yellow] {_escaped(text)}", soft_wrap=True)

        with warnings.catch_warnings():
            warnings.showwarning = show  # type: ignore[assignment]
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", category=UserWarning, module=r"leafletfa_scvi\b")
            for name in (
                "lightning",
                "lightning.pytorch",
                "pytorch_lightning",
                "lightning.fabric",
            ):
                logging.getLogger(name).setLevel(logging.ERROR)
            yield


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
