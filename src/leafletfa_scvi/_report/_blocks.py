"""What a page consists of: sections with texts, tables and figures, as plain values.

Templates escape every text; nothing here is HTML.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

SEARCHABLE: Final = 12
"""Number of rows from which a table can be searched."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Notice:
    """What a reader has to know before using the results."""

    kind: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True)
class Missing:
    """What is not on the page, why, and what would put it there."""

    kind: ClassVar[str] = "missing"
    what: str
    why: str


@dataclass(frozen=True)
class Facts:
    """Names and values, a table of two columns."""

    kind: ClassVar[str] = "facts"
    caption: str
    rows: Mapping[str, str]


@dataclass(frozen=True)
class Heading:
    """Heading within a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Listing:
    """Paragraphs of a list."""

    kind: ClassVar[str] = "listing"
    items: Sequence[tuple[str, str]]
    """Text and address (empty without one) of each."""


@dataclass(frozen=True)
class Figure:
    """A figure as a data URI.

    Attributes
    ----------
    source
        ``data:`` URI of the image.
    alt
        What is seen, in numbers.
    caption
        Text below the figure.
    width, height
        Size in CSS pixels.
    """

    kind: ClassVar[str] = "figure"
    source: str
    alt: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Gallery:
    """Figures side by side, where there is room."""

    kind: ClassVar[str] = "gallery"
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Column:
    """Column of a table.

    Attributes
    ----------
    name
        Heading.
    cells
        Text of each cell.
    keys
        Numbers to sort by; None to sort by the text. Missing ones come last.
    """

    name: str
    cells: Sequence[str]
    keys: Sequence[float] | None = None
    is_name: bool = False
    """Whether cells are names, which are not broken into lines."""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and searched.

    Attributes
    ----------
    caption
        What it shows.
    columns
        Columns, of the same length.
    note
        Text below, such as how many rows are left out.
    filter_by
        Heading of the column by which a reader chooses rows; None for none.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    note: str = ""
    filter_by: str | None = None

    @property
    def rows(self) -> Iterable[tuple[tuple[str, str | None, bool], ...]]:
        """Text and key of each cell, and whether it is a name, by row.

        There is no key where the text is its own.
        """
        parts = [
            [(text, None, column.is_name) for text in column.cells]
            if column.keys is None
            else [
                (text, _key(key), False)
                for text, key in zip(column.cells, column.keys, strict=True)
            ]
            for column in self.columns
        ]
        return zip(*parts, strict=True)

    def __len__(self) -> int:
        return len(self.columns[0].cells)

    @property
    def choices(self) -> list[str]:
        """Values of the column of ``filter_by``, in their order; empty with only one."""
        found = [column for column in self.columns if column.name == self.filter_by]
        values = list(dict.fromkeys(found[0].cells)) if found else []
        return values if len(values) > 1 else []

    @property
    def is_searchable(self) -> bool:
        """Whether there are enough rows to search for some."""
        return len(self) >= SEARCHABLE


def _key(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


Block: TypeAlias = Text | Notice | Missing | Facts | Heading | Listing | Figure | Gallery | Table


@dataclass(frozen=True)
class Section:
    """Section of a page.

    Attributes
    ----------
    id
        Anchor.
    title
        Heading.
    blocks
        Content in order.
    columns
        Whether blocks stand side by side where there is room.
    """

    id: str
    title: str
    blocks: Sequence[Block]
    columns: bool = False


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes
    ----------
    title
        Title and first heading.
    lead
        Sentence below it.
    sections
        Sections in order.
    tiles
        Main numbers by name.
    notices
        What a reader has to know first.
    facts
        The main numbers for programs.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    tiles: Mapping[str, str] = field(default_factory=dict)
    notices: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> list[Missing]:
        """What is not shown, in order."""
        blocks = [block for section in self.sections for block in section.blocks]
        return [block for block in blocks if isinstance(block, Missing)]


def number_column(
    name: str, values: Iterable[Any], text: Callable[[float], str], missing: str = "–"
) -> Column:
    """Return a column of numbers, sorted by their values and written by a function."""
    keys = [float(value) for value in values]
    return Column(name, [missing if math.isnan(k) else text(k) for k in keys], keys)


def text_column(name: str, values: pd.Series | Iterable[Any], *, is_name: bool = False) -> Column:
    """Return a column of text; missing values are empty."""
    texts = ["" if _is_missing(value) else str(value) for value in values]
    return Column(name, texts, is_name=is_name)


def interval_column(name: str, lower: Iterable[Any], upper: Iterable[Any]) -> Column:
    """Return a column of intervals, sorted by their lower ends."""
    low, high = [float(x) for x in lower], [float(x) for x in upper]
    texts = [
        "–" if math.isnan(a) else f"{signed(a)} to {signed(b)}"
        for a, b in zip(low, high, strict=True)
    ]
    return Column(name, texts, low)


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def count(value: float) -> str:
    """Write a whole number."""
    return f"{value:,.0f}"


def share(value: float) -> str:
    """Write a number between 0 and 1."""
    return f"{value:.2f}"


def signed(value: float) -> str:
    """Write a difference."""
    return f"{value:+.2f}"


def small(value: float) -> str:
    """Write a p value, of which small ones differ by orders of magnitude."""
    return f"{value:.2g}"
