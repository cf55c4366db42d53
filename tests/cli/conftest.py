from __future__ import annotations

import pytest

from leafletfa_scvi.cli import main


@pytest.fixture
def run(capsys):
    """Run the command: exit code, stdout, stderr."""

    def run(*args) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run
