"""What a user sees: one line for what is wrong, tidy progress, no noise of libraries."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Iterator


class UserError(Exception):
    """Something that the user can put right; shown as one line, exit code 2."""


def one_line(error: BaseException) -> str:
    """Message of an error without line breaks, nor the quotes that a KeyError adds."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__


class Reporter:
    """Progress and warnings on stderr, results on stdout.

    Parameters
    ----------
    quiet
        Print neither progress nor results; warnings stay.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.out = Console(quiet=quiet, highlight=False)
        self.err = Console(stderr=True, highlight=False)

    @property
    def progress_bar(self) -> bool:
        """Whether a bar that redraws itself makes sense; scvi-tools draws it on stdout."""
        return self.out.is_terminal and not self.quiet

    def stage(self, text: str) -> None:
        """Say what is done next."""
        if not self.quiet:
            self.err.print(escape(text), style="bold", soft_wrap=True)

    @contextmanager
    def tidy(self) -> Iterator[None]:
        """Show warnings of this package as one line each, and none that libraries give callers.

        Deprecations inside libraries say nothing to someone who runs a command.
        """

        def show(message: Warning | str, *_: object) -> None:
            text = escape(" ".join(str(message).split()))
            self.err.print(f"[yellow]Warning:[/yellow] {text}", soft_wrap=True)

        with warnings.catch_warnings():
            warnings.showwarning = show  # type: ignore[assignment]
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", category=UserWarning, module=r"leafletfa_scvi\b")
            yield


def quiet_libraries() -> None:
    """Keep Lightning and scvi-tools from logging below warnings; call after importing them."""
    for name in (
        "lightning",
        "lightning.pytorch",
        "lightning.fabric",
        "pytorch_lightning",
        "scvi",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
