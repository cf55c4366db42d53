"""The ``leafletfa`` command.

Heavy packages are imported inside the functions that use them: ``--help`` answers at once.
"""

from leafletfa_scvi.cli._main import main

__all__ = ["main"]
