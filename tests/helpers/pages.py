"""What a reader finds in an HTML page: headings, texts, tables, figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "input", "br"}


@dataclass
class ReadTable:
    """Caption, headings of columns, and text of the cells of each row."""

    caption: str = ""
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    keys: list[list[str | None]] = field(default_factory=list)

    def column(self, name: str) -> list[str]:
        at = self.header.index(name)
        return [row[at] for row in self.rows]

    def sort_keys(self, name: str) -> list[str | None]:
        at = self.header.index(name)
        return [row[at] for row in self.keys]


class ReadPage(HTMLParser):
    """Content of a page; fails on elements that are not closed in order.

    Attributes
    ----------
    elements
        Tag and attributes of each element, in order.
    headings
        Level and text of each heading.
    text
        All text outside of style and script.
    """

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[tuple[int, str]] = []
        self.tables: list[ReadTable] = []
        self.sections: dict[str, str] = {}
        self.text = ""
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._cell: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in _VOID:
            return
        self._open.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append(ReadTable())
        elif tag == "tr" and "tbody" in self._tags():
            self.tables[-1].rows.append([])
            self.tables[-1].keys.append([])
        elif tag in ("td", "th", "caption", "h1", "h2", "h3"):
            self._cell = []

    def handle_endtag(self, tag):
        name, attributes = self._open.pop()
        assert name == tag, (name, tag)
        text = "".join(self._cell)
        if tag == "caption":
            self.tables[-1].caption = text
        elif tag in ("td", "th") and "thead" in self._tags():
            self.tables[-1].header.append(text)
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append(text)
            self.tables[-1].keys[-1].append(attributes.get("data-v"))
        elif tag in ("h1", "h2", "h3"):
            self.headings.append((int(tag[1]), text))

    def handle_data(self, data):
        self._cell.append(data)
        tags = self._tags()
        if "style" in tags or "script" in tags:
            return
        self.text += data
        for tag, attributes in self._open:
            if tag == "section" and attributes.get("id"):
                key = str(attributes["id"])
                self.sections[key] = self.sections.get(key, "") + data

    def _tags(self) -> list[str]:
        return [tag for tag, _ in self._open]


def read_page(text: str) -> ReadPage:
    """Read a page; all of its elements have to be closed."""
    page = ReadPage()
    page.feed(text)
    page.close()
    assert not page._open
    return page
