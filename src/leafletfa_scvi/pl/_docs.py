"""Descriptions of parameters that several figures have.

``$name`` in a docstring stands for a description below. The templates are those of the standard
library, as docstrings are full of per cents and braces, which other ways of formatting interpret.
"""

from __future__ import annotations

import inspect
from string import Template
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Function = TypeVar("_Function", bound="Callable[..., Any]")

_TEXTS = {
    "cells": """
        adata
            AnnData with activities in ``obsm["X_PHI"]``, as ``model.export_posterior`` writes, or
            a trained model with its AnnData.
    """,
    "groupby": """
        groupby
            Column of ``obs`` with groups of cells, drawn in the order of its categories.
    """,
    "programs": """
        programs
            Name or names of programs, in the order to draw them. If None, all.
    """,
    "junctions": """
        junctions
            Names of junctions; or the name of one junction, ATSE (``var["atse_id"]``) or gene, all
            of whose junctions are drawn.
    """,
    "groups": """
        groups
            Groups to draw, in this order; all if None.
    """,
    "palette": """
        palette
            Colors of groups: a color map, colors in the order of the categories, or a color by
            category. If None, those of ``uns["{groupby}_colors"]``.
    """,
    "basis": """
        basis
            Key of the embedding in ``obsm``, with or without ``"X_"``.
    """,
    "diverging": """
        cmap
            Name of a diverging color map, whose middle is 0. If None, from blue to red through
            white, or through black on a dark background.
    """,
    "ncols": """
        ncols
            Maximum number of panels in a row.
    """,
    "title": """
        title
            Title of the axes.
    """,
    "title_of_panels": """
        title
            Title of the figure, or of the only panel.
    """,
    "figsize": """
        figsize
            Width and height of a new figure, in inches.
    """,
    "ax": """
        ax
            Axes to draw into. If None, a new figure is created.
    """,
    "output": """
        show
            Whether to call ``matplotlib.pyplot.show``. Nothing is returned then.
        save
            File to write the figure to; its ending is the format. Text in vector formats stays
            text.
        return_fig
            Whether to return the figure in place of the axes.
    """,
}
_PLAIN = {name: inspect.cleandoc(text) for name, text in _TEXTS.items()}
_PLAIN["figure"] = "\n".join(_PLAIN[name] for name in ("title", "figsize", "ax", "output"))
"""The last parameters of a figure of one axes."""


def shared_docs(function: _Function) -> _Function:
    """Fill in the descriptions that the docstring of a function refers to.

    Raises
    ------
    KeyError
        There is no description of a name.
    """
    if function.__doc__:  # there is none with `python -OO`
        docstring = inspect.cleandoc(function.__doc__)
        function.__doc__ = Template(docstring).substitute(_PLAIN)
    return function
