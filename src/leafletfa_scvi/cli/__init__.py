"""The ``leafletfa`` command.

Heavy packages are imported when a command runs, so that ``leafletfa --help`` answers at once.
"""

from leafletfa_scvi.cli._main import main

__all__ = ["main"]
