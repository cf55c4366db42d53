"""Steps that used to take a table of junctions and take an AnnData now."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def accepts_table(of_table: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a step accept a table of junctions in place of the AnnData, with a FutureWarning.

    Parameters
    ----------
    of_table
        Function of a table, with the arguments and the result that the step used to have.
    """

    def decorate(step: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(step)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given = args[0] if args else kwargs.get("junctions")
            if not isinstance(given, pd.DataFrame):
                return step(*args, **kwargs)
            warnings.warn(
                f"{step.__name__} of a table of junctions is deprecated: pass the AnnData whose "
                "var is that table.",
                FutureWarning,
                stacklevel=2,
            )
            return cast("R", of_table(*args, **kwargs))

        return call

    return decorate
