"""Messages of the library, which name its arguments, in the words of a command."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final

from typer.models import OptionInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_BOTH: Final = re.compile(r"\b[a-z]\w*(?:=(?:'[^']*'|\w+))? \((--[a-z][^()]*)\)")
"""An argument with its option behind it: ``min_reads (--min-reads)``."""
_CALL: Final = re.compile(r"(\w+\([^()]*\))")
"""Call of a function, whose arguments are those of Python."""
_VALUE: Final = re.compile(r"\b([a-z][a-z_]*)=('[^']*'|\w+(?:\.\w+)*)?")
_NAME: Final = re.compile(r"(?<![\w\['./-])([a-z]+(?:_[a-z]+)+)(?![\w(\]'=/-]|\.\w)")


def flags_of(command: Callable[..., None]) -> dict[str, str]:
    """Return the options of a command by the names of its parameters."""
    flags = {}
    for name, parameter in inspect.signature(command).parameters.items():
        for option in getattr(parameter.annotation, "__metadata__", ()):
            if not isinstance(option, OptionInfo):  # an argument
                continue
            # Of an annotation, Typer takes the first name for a default.
            declared = [str(text) for text in (option.default, *(option.param_decls or ()))]
            long = [text.split("/")[0] for text in declared if text.startswith("--")]
            flags[name] = long[0] if long else f"--{name.replace('_', '-')}"
    return flags


def for_command(text: str, flags: Mapping[str, str], paths: Iterable[str] = ()) -> str:
    """Name options in place of the arguments that they are for.

    Parameters
    ----------
    text
        Message of the library, such as ``"Lower min_reads (--min-reads), or pass
        cell_tag='CB'."``
    flags
        Option of each argument; others are left as they are.
    paths
        Files and folders, which are left as they are with what follows up to a space. One that is
        named as an argument is taken for the argument.

    Examples
    --------
    >>> for_command("Pass cell_tag='CB'.", {"cell_tag": "--cell-tag"})
    'Pass --cell-tag CB.'
    """

    def with_value(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in flags or value in ("False", "None"):
            return match.group()
        if value is None or value == "True":
            return flags[name] + (" " if value is None else "")
        return f"{flags[name]} {value.strip(chr(39))}"

    def alone(match: re.Match[str]) -> Any:
        return flags.get(match.group(1), match.group())

    def translated(text: str) -> str:
        return "".join(
            part if _CALL.fullmatch(part) else _NAME.sub(alone, _VALUE.sub(with_value, part))
            for part in _CALL.split(_BOTH.sub(r"\1", text))
        )

    names = sorted({path for path in paths if path not in flags}, key=len, reverse=True)
    if not names:
        return translated(text)
    kept = re.compile(rf"(?<![\w./-])((?:{'|'.join(map(re.escape, names))})(?!\w)\S*)")
    return "".join(part if i % 2 else translated(part) for i, part in enumerate(kept.split(text)))
