"""Public names are listed once, in stubs, and imported on first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import leafletfa_scvi as lfa

SLOW = ["anndata", "lightning", "matplotlib", "numba", "pandas", "pyro", "scanpy", "scvi", "torch"]
"""Libraries that take from a tenth of a second to several seconds to import."""


@pytest.mark.parametrize("package", [lfa, lfa.datasets, lfa.pl, lfa.pp, lfa.tl])
def test_every_listed_name_is_imported_on_first_use(package):
    assert package.__all__ == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        thing = getattr(package, name)
        assert thing.__name__.rsplit(".", 1)[-1] == name


@pytest.mark.parametrize("package", [lfa, lfa.datasets, lfa.pl, lfa.pp, lfa.tl])
def test_other_names_are_refused(package):
    with pytest.raises(AttributeError, match=rf"{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_readers_show_every_argument_in_their_help():
    import pydoc

    text = pydoc.render_doc(lfa.pp.read_star)
    for name in ("reads", "n_jobs", "client", "work_dir", "on_error", "progress"):
        assert name in text
    assert "**" not in text


@pytest.mark.parametrize(
    "statement",
    [
        "pass",
        *(f"lfa.{name}, dir(lfa.{name})" for name in ("datasets", "pl", "pp", "tl")),
        "import leafletfa_scvi.cli._main as cli; cli.app",
    ],
)
def test_no_slow_library_is_imported_before_it_is_needed(statement):
    code = f"import sys, leafletfa_scvi as lfa; {statement}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(SLOW) & set(ran.stdout.split())
