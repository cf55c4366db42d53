"""Defaults of options, taken from the functions that the options are for."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import Any, Final

from leafletfa_scvi import _constants

_PACKAGE: Final = Path(__file__).parents[1]


def defaults_of(package: str, name: str) -> dict[str, Any]:
    """Return the defaults of a function's arguments, read from its source.

    Importing the function would bring torch along and make ``--help`` wait for seconds.

    Parameters
    ----------
    package
        Subpackage that defines it, in whichever file.
    name
        The function, or ``Class.method``.

    Returns
    -------
    dict
        Defaults that are literals or names of :mod:`leafletfa_scvi._constants`, by argument.
    """
    outer, *inner = name.split(".")
    definition = re.compile(rf"^(?:def|class) {outer}\b", re.MULTILINE)
    (source,) = [text for text in _sources(package) if definition.search(text)]
    node: Any = ast.parse(source)
    for part in (outer, *inner):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    arguments, positional = node.args, node.args.defaults
    names = [*arguments.args[len(arguments.args) - len(positional) :], *arguments.kwonlyargs]
    found: dict[str, Any] = {}
    for argument, default in zip(names, [*positional, *arguments.kw_defaults], strict=True):
        if isinstance(default, ast.Name):
            found[argument.arg] = getattr(_constants, default.id)
        elif default is not None:  # None: the argument has no default
            try:
                found[argument.arg] = ast.literal_eval(default)
            except ValueError:  # a call such as range(2, 17)
                continue
    return found


@functools.cache
def _sources(package: str) -> list[str]:
    paths = sorted((_PACKAGE / package).rglob("*.py"))
    return [path.read_text(encoding="utf-8") for path in paths]
