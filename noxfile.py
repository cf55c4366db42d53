"""Everyday tasks: ``nox -s demo``, ``tests``, ``lint``, ``docs``, ``benchmarks``.

Each session has a virtual environment of its own, with the versions of ``constraints.txt``.
pip's own settings (indexes, mirrors, proxies) apply unchanged; nothing here needs a GPU.
"""

from __future__ import annotations

import os

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "tests"]

CONSTRAINTS = "constraints.txt"
TORCH = "torch==2.13.0"
PYPROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str) -> None:
    """Install PyTorch, then this package and the dependency groups, as constraints.txt has it.

    ``LEAFLETFA_TORCH_INDEX`` names the index of the PyTorch build to take, for example
    ``https://download.pytorch.org/whl/cpu``; without it pip's own settings decide.
    """
    index = os.environ.get("LEAFLETFA_TORCH_INDEX")
    session.install(TORCH, *(["--index-url", index] if index else []))
    requirements = [r for g in groups for r in nox.project.dependency_groups(PYPROJECT, g)]
    session.install("-c", CONSTRAINTS, "-e", ".", *requirements)


@nox.session
def demo(session: nox.Session) -> None:
    """Simulate cells, find the planted programs again, write data and figures to demo/."""
    install(session)
    session.run("leafletfa", "demo", "--output-dir", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests with coverage; arguments after ``--`` go to pytest.

    Bodies of numba kernels run as machine code, which coverage cannot trace: they are left out
    of its count (``exclude_also`` in pyproject.toml). With arguments the coverage threshold does
    not apply, as a part of the tests covers a part of the code.
    """
    install(session, "test")
    threshold = ["--cov-fail-under=0"] if session.posargs else []
    session.run(
        "pytest",
        "--cov",
        "--cov-report=term-missing",
        *threshold,
        *session.posargs,
        env={"MPLBACKEND": "Agg"},
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and types."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation to docs/_build/html; warnings are errors."""
    install(session, "docs")
    session.run(
        "sphinx-build",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "docs",
        "docs/_build/html",
        *session.posargs,
    )


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Time the numerical core; arguments after ``--`` go to benchmarks/ops.py.

    Another script of that folder is run by its name: ``nox -s benchmarks -- step.py --steps 20``.
    """
    install(session)
    named = session.posargs and session.posargs[0].endswith(".py")
    script, *arguments = session.posargs if named else ["ops.py", *session.posargs]
    session.run("python", f"benchmarks/{script}", *arguments)
