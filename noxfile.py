"""Everyday tasks: ``nox -s demo``, ``tests``, ``lint``, ``docs``, ``gallery``, ``benchmarks``.

Each session has a virtual environment of its own, with the versions of ``constraints.txt``;
``tests-oldest`` and ``tests-newest`` have the oldest and newest that are supported. pip's own
settings (indexes, mirrors, proxies) apply unchanged; nothing here needs a GPU.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "tests"]

CONSTRAINTS, OLDEST = "constraints.txt", "constraints-oldest.txt"
PYPROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str, constraints: str | None = CONSTRAINTS) -> None:
    """Install PyTorch, then this package and the dependency groups, in the given versions.

    ``constraints=None`` takes the newest of everything.

    ``LEAFLETFA_TORCH_INDEX`` names the index of the PyTorch build to take, for example
    ``https://download.pytorch.org/whl/cpu``; without it pip's own settings decide.
    """
    if constraints is None:
        versions, torch = ["--upgrade", "--upgrade-strategy", "eager"], "torch"
    else:
        versions, lines = ["-c", constraints], Path(constraints).read_text().splitlines()
        torch = next(line for line in lines if line.startswith("torch=="))
    index = os.environ.get("LEAFLETFA_TORCH_INDEX")
    session.install(torch, *(["--index-url", index] if index else []))
    requirements = [r for g in groups for r in nox.project.dependency_groups(PYPROJECT, g)]
    session.install(*versions, "-e", ".", *requirements)


def pytest(session: nox.Session, *options: str) -> None:
    """Run pytest in a process per core, at most four; arguments after ``--`` may change that."""
    workers = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "worksteal"]
    session.run("pytest", *workers, *options, *session.posargs, env={"MPLBACKEND": "Agg"})


@nox.session
def demo(session: nox.Session) -> None:
    """Simulate cells, find the planted programs again, write data and figures to demo/."""
    install(session)
    session.run("leafletfa", "demo", "--output-dir", "demo", "--overwrite", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments after ``--`` go to pytest.

    ``-- --cov`` also measures coverage, with the threshold of pyproject.toml, and takes half as
    long again; bodies of numba kernels, which run as machine code, are left out of its count.
    ``-- -m slow`` runs the tests that are marked as slow, which are left out otherwise.
    """
    install(session, "test")
    pytest(session, "-m", "not slow")


@nox.session(name="tests-oldest", python="3.11")
def tests_oldest(session: nox.Session) -> None:
    """Run the tests with the oldest versions supported; arguments after ``--`` go to pytest."""
    install(session, "test", constraints=OLDEST)
    pytest(session)


@nox.session(name="tests-newest")
def tests_newest(session: nox.Session) -> None:
    """Run the tests with the newest versions that pip takes on the Python that runs nox."""
    install(session, "test", constraints=None)
    session.run("pip", "list")
    pytest(session)


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
def gallery(session: nox.Session) -> None:
    """Draw the pictures of the docs, or those of the functions named after ``--``.

    Real cells are read from the folder in ``LEAFLETFA_TEST_DATA``, as in the tests.
    """
    install(session)
    session.run("python", "docs/make_gallery.py", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Time the numerical core, or run the benchmark named after ``--``, with its arguments.

    ``nox -s benchmarks -- step --steps 20`` runs ``benchmarks/training/step.py``. What only one
    benchmark needs is the dependency group of its name.
    """
    scripts = {path.stem: path for path in Path("benchmarks").rglob("[!_]*.py")}
    named = session.posargs and session.posargs[0].removesuffix(".py") in scripts
    name, *arguments = session.posargs if named else ["ops", *session.posargs]
    script = scripts[name.removesuffix(".py")]
    install(session, *({script.stem} & set(PYPROJECT["dependency-groups"])))
    module = ".".join(script.with_suffix("").parts)
    session.run("python", "-m", module, *arguments)
