"""The structure that docs/architecture.md describes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import leafletfa_scvi

SOURCE = Path(leafletfa_scvi.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"

BELOW = {
    "ops": "",
    "stats": "",
    "data": "ops",
    "pp": "ops data",
    "datasets": "ops data pp",
    "distributions": "ops",
    "likelihoods": "ops distributions",
    "priors": "ops distributions likelihoods",
    "inference": "ops distributions likelihoods priors",
    "module": "ops distributions likelihoods priors inference",
    "train": "ops data likelihoods module",
    "model": "ops stats data distributions likelihoods priors inference module train",
    "tl": "ops stats data pp likelihoods inference model",
    "pl": "pp model tl",
    "_report": "data pp model tl pl",
    "cli": "data pp datasets model tl pl _report",
}
"""Packages that each may import at run time. Modules beside them are for all."""


def imported(path: Path) -> set[str]:
    """Packages and modules of leafletfa_scvi that a file imports, but for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    names = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom | ast.Import)
        for name in (
            [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    ]
    parts = [name.split(".") for name in names if name.startswith("leafletfa_scvi.")]
    return {part[1] for part in parts}


@pytest.mark.parametrize("package", sorted(p.name for p in SOURCE.iterdir() if p.is_dir()))
def test_packages_import_only_those_below(package):
    if package == "__pycache__":
        return
    for path in (SOURCE / package).rglob("*.py"):
        packages = imported(path) & set(BELOW) - {package}
        assert packages <= set(BELOW[package].split()), path


def test_reading_files_needs_no_annotation_and_no_filters():
    for path in (SOURCE / "pp" / "read").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"leafletfa_scvi\.pp\.(annotate|atse|qc|combine)", text), path


def test_no_mixin_inherits_from_another():
    mixins = [c for c in leafletfa_scvi.LeafletFAModel.__mro__ if c.__name__.endswith("Mixin")]
    assert mixins
    for mixin in mixins:
        assert not any(base.__name__.endswith("Mixin") for base in mixin.__bases__), mixin


def test_files_that_the_page_names_exist():
    text = PAGE.read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:[a-z_]+/)*_[a-z_]+\.pyi?|(?:[a-z_]+/)+_*[a-z_]+\.pyi?)`", text))
    known = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py*")}
    missing = [
        p
        for p in paths
        if not p.startswith("tests/") and not any(f"/{k}".endswith(f"/{p}") for k in known)
    ]
    assert len(paths) > 30
    assert not missing
