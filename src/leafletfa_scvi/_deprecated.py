"""Old names of arguments and functions, accepted with a warning for one version."""

from __future__ import annotations

import functools
import sys
import warnings
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def renamed_arguments(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Accept old names of keyword arguments, with a FutureWarning.

    Parameters
    ----------
    names
        New name of each old one.

    Examples
    --------
    >>> @renamed_arguments(marked="frac_flagged")
    ... def simulate(frac_flagged=0.1):
    ...     return frac_flagged
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def accept_old(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in [name for name in names if name in kwargs]:
                new = names[old]
                if new in kwargs:
                    raise TypeError(
                        f"{function.__name__}() got both {new!r} and its deprecated name {old!r}. "
                        f"Pass {new!r} only."
                    )
                warnings.warn(
                    f"The argument {old!r} of {function.__name__} is deprecated; use {new!r}.",
                    FutureWarning,
                    stacklevel=2,
                )
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return accept_old

    return decorate


def renamed_choice(
    old: str, new: str, **values: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Accept the old name of a keyword argument whose values had other names too.

    Parameters
    ----------
    old, new
        Names of the argument.
    values
        New name of each old value that has one; others stay.

    Examples
    --------
    >>> @renamed_choice("reads", "multimapped", unique="drop")
    ... def count(multimapped="drop"):
    ...     return multimapped
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def accept_old(*args: P.args, **kwargs: P.kwargs) -> R:
            if old in kwargs:
                if new in kwargs:
                    raise TypeError(
                        f"{function.__name__}() got both {new!r} and its deprecated name {old!r}. "
                        f"Pass {new!r} only."
                    )
                given: Any = kwargs.pop(old)
                value = values.get(given, given) if isinstance(given, str) else given
                warnings.warn(
                    f"{old}={given!r} of {function.__name__} is deprecated; use {new}={value!r}.",
                    FutureWarning,
                    stacklevel=2,
                )
                kwargs[new] = value
            return function(*args, **kwargs)

        return accept_old

    return decorate


def removed_arguments(reason: str, *names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Ignore keyword arguments that have no effect any more, with a FutureWarning.

    Parameters
    ----------
    reason
        Why they have none, as a clause.
    names
        Names of the arguments.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def ignore_old(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in [name for name in names if name in kwargs]:
                warnings.warn(
                    f"The argument {name!r} of {function.__name__} has no effect any more: "
                    f"{reason}. Leave it out.",
                    FutureWarning,
                    stacklevel=2,
                )
                del kwargs[name]
            return function(*args, **kwargs)

        return ignore_old

    return decorate


def renamed_function(function: Callable[P, R], old: str) -> Callable[P, R]:
    """Return ``function`` under its old name, with a FutureWarning at each call."""

    @functools.wraps(function)
    def call_new(*args: P.args, **kwargs: P.kwargs) -> R:
        warnings.warn(
            f"{old} is deprecated; use {function.__name__}.", FutureWarning, stacklevel=2
        )
        return function(*args, **kwargs)

    call_new.__name__ = call_new.__qualname__ = old
    call_new.__doc__ = f"Deprecated name of :func:`{function.__name__}`."
    return call_new


def renamed_attributes(module: str, **names: str) -> Callable[[str], Any]:
    """Make a ``__getattr__`` that finds old names of a module, with a FutureWarning.

    Parameters
    ----------
    module
        Name of the module.
    names
        New name of each old one.
    """

    def find_old(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(
            f"{module}.{name} is deprecated; use {names[name]}.", FutureWarning, stacklevel=2
        )
        return getattr(sys.modules[module], names[name])

    return find_old
