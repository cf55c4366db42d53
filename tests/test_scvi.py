"""Private names of scvi-tools stay in one file, and scvi-tools still has them."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
import scvi.train
from scvi.model.base import BaseModelClass
from scvi.module.base import PyroBaseModuleClass

import leafletfa_scvi
from leafletfa_scvi import _scvi

PACKAGE = Path(leafletfa_scvi.__file__).parent
HOME = PACKAGE / "_scvi.py"
CLASSES = (
    BaseModelClass,
    PyroBaseModuleClass,
    scvi.train.LowLevelPyroTrainingPlan,
    scvi.train.Trainer,
    scvi.train.TrainRunner,
)


def is_private(path: str) -> bool:
    return any(part.startswith("_") for part in path.split("."))


def private_imports(source: str) -> list[str]:
    """Private names of scvi-tools that a module imports or reaches by attributes."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            paths = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            paths = [ast.unparse(node)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            paths = [node.value] if re.fullmatch(r"scvi(\.\w+)+", node.value) else []
        else:
            continue
        found += [path for path in paths if path.startswith("scvi.") and is_private(path)]
    return found


def members(cls: type) -> set[str]:
    """Private members of scvi's class and its bases in scvi, those that methods set too."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("scvi.")]
    names = {name for base in own for name in vars(base)}
    for base in own:
        names |= set(re.findall(r"self\.(_\w+)", inspect.getsource(base)))
    return {name for name in names if re.match(r"_[a-z]", name)}


@pytest.mark.parametrize(
    "source",
    [
        "from scvi.model._utils import parse_device_args",
        "from scvi.model.base import _base_model",
        "import scvi.train._logger as logger",
        "import scvi\nscvi.model.base._constants.SAVE_KEYS",
        "importlib.import_module('scvi.train._logger')",
    ],
)
def test_private_names_are_seen_however_they_are_reached(source):
    assert private_imports(source)


def test_public_names_are_none():
    assert not private_imports("from scvi.train import Trainer\nimport scvi\nscvi.settings.seed")


def test_private_names_of_scvi_tools_are_imported_in_one_file():
    elsewhere = {
        str(file.relative_to(PACKAGE)): found
        for file in sorted(PACKAGE.rglob("*.py"))
        if file != HOME and (found := private_imports(file.read_text()))
    }
    assert elsewhere == {}
    assert private_imports(HOME.read_text())


def test_private_members_that_are_used_are_listed():
    words = set()
    for file in PACKAGE.rglob("*.py"):
        if file != HOME:
            words |= set(re.findall(r"\b_[a-z]\w*", file.read_text()))
    used = {cls: members(cls) & words for cls in CLASSES}
    listed = {cls: set(_scvi.PRIVATE_MEMBERS.get(cls, ())) for cls in CLASSES}
    assert used == listed


@pytest.mark.parametrize("cls", _scvi.PRIVATE_MEMBERS)
def test_scvi_tools_still_has_them(cls):
    assert set(_scvi.PRIVATE_MEMBERS[cls]) <= members(cls)


def test_versions_checked_are_stated():
    assert scvi.__version__ in _scvi.__doc__
