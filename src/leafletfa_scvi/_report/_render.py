"""Pages from templates: one file that loads nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, FunctionLoader, StrictUndefined

from leafletfa_scvi._report import templates

if TYPE_CHECKING:
    from leafletfa_scvi._report._blocks import Page


def rendered(page: Page) -> str:
    """Return a page as HTML.

    Everything of the page is escaped. Style and script stand in the page, and its content security
    policy names their digests, so that a browser loads nothing and runs no other script.
    """
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    style, script = _source("style.css"), _source("tables.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("page.html.j2").render(
        page=page, policy=policy, style=style, script=script
    )


def _prose(text: str) -> str:
    """Escape text, and keep lines from breaking after the dashes of an option."""
    option = r'<span class="option">\g<0></span>'
    return re.sub(r"(?<![\w-])--[a-z][\w-]{,30}", option, html.escape(text))


def _source(name: str) -> str:
    return (resources.files(templates) / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
