"""Defaults of options, taken from the functions that the options are for."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Final

from leafletfa_scvi import _constants

_PACKAGE: Final = Path(__file__).parents[1]


def defaults_of(file: str, name: str) -> dict[str, Any]:
    """Return the defaults of a function's arguments, read from its source.

    Importing the function would bring torch along and make ``--help`` wait for seconds.

    Parameters
    ----------
    file
        Source file, relative to the package.
    name
        The function, as ``Class.method`` if it is one.

    Returns
    -------
    dict
        Defaults that are literals or names of :mod:`leafletfa_scvi._constants`, by argument.
    """
    node: Any = ast.parse((_PACKAGE / file).read_text(encoding="utf-8"))
    for part in name.split("."):
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
