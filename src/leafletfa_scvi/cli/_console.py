"""Output to the user: errors as one line, progress, and no messages of other libraries."""

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
    """Error that the user can correct; shown as one line, with exit code 2."""


def one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks or the quotes that a KeyError adds."""
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
        """True if stdout, to which scvi-tools draws its bar, is a terminal."""
        return self.out.is_terminal and not self.quiet

    def stage(self, text: str) -> None:
        """Announce the next step; indented text is a detail of the one before."""
        if not self.quiet:
            style = None if text.startswith(" ") else "bold"
            self.err.print(escape(text), style=style, soft_wrap=True)

    @contextmanager
    def tidy(self) -> Iterator[None]:
        """Show warnings of this package as one line each, and hide those of libraries.

        Deprecations inside libraries mean nothing to someone who runs a command.
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
