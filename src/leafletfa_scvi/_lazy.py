"""Packages whose public names are listed once, in a stub, and imported on first use."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def attach_stub(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package, from its ``__init__.pyi``.

    Type checkers read the same stub, so that each public name is written once. This is
    ``lazy_loader.attach_stub`` of scientific-python.org (SPEC 1), without the dependency.

    Parameters
    ----------
    package
        ``__name__`` of the package.
    file
        ``__file__`` of the package. The stub beside it consists of imports from the package, as
        ``from ._module import name as name`` and ``from . import subpackage as subpackage``.
    """
    tree = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    modules = {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    names = sorted(modules)

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if modules[name] is None:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get, lambda: names, names
