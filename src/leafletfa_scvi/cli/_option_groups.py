"""Groups of options, each one class whose fields become options of a command.

Commands that take the same group share its options: a field added to the class is an option of
all of them, and reaches the library under the name of the field.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True)
class OptionGroup:
    """Base of groups: dataclasses whose fields are annotated as Typer expects of parameters."""

    panel: ClassVar[str | None] = None
    """Heading of the options in the help."""

    def arguments(self) -> dict[str, Any]:
        """Return arguments for the library by name, without those that are None."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in given.items() if value is not None}


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the groups that it takes as parameters.

    Typer reads options from the signature of a function, so the function returned has each group
    replaced with its fields.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[OptionGroup]] = {
        name: hint
        for name, hint in hints.items()
        if isinstance(hint, type) and issubclass(hint, OptionGroup)
    }
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters.extend(_options(groups[name]))
        else:
            kind = inspect.Parameter.KEYWORD_ONLY  # so that defaults may come in any order
            parameters.append(parameter.replace(annotation=hints[name], kind=kind))

    @functools.wraps(command)
    def expanded(**options: Any) -> None:
        for name, group in groups.items():
            fields = dataclasses.fields(group)
            options[name] = group(**{field.name: options.pop(field.name) for field in fields})
        command(**options)

    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {p.name: p.annotation for p in parameters}
    return expanded


def _options(group: type[OptionGroup]) -> Iterator[inspect.Parameter]:
    """Yield the parameters of a command for the fields of a group."""
    hints = get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        hint = hints[field.name]
        if group.panel is not None:
            (option,) = hint.__metadata__
            option.rich_help_panel = group.panel
        missing = field.default is dataclasses.MISSING
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if missing else field.default,
            annotation=hint,
        )
