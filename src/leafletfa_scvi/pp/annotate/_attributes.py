"""Attributes in column 9 of GTF and GFF3."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from leafletfa_scvi.pp._text import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

_GTF: Final = re.compile(rb'[;\s]*+(?:[^\s;"]++\s++(?:"[^"]*+"|[^\s;"]++)\s*+(?:;[;\s]*+|\Z))*+')
_GFF3: Final = re.compile(rb"[;\s]*+(?:[^\s=;]++=[^;]*+(?:;[;\s]*+|\Z))*+")
_GFF3_LOOSE: Final = re.compile(
    rb"[;\s]*+(?:(?:[^\s=;]++=[^;]*+|[^=;\s]*+\s[^=;]*+)(?:;[;\s]*+|\Z))*+"
)
"""As many files have it: text that follows a semicolon within a note."""
_KEYS: Final = {
    False: re.compile(rb'(?:^|;)\s*([^\s;"]+)\s'),
    True: re.compile(rb"(?:^|;)\s*([^\s;=]+)="),
}


class Attributes:
    """Find the value of an attribute; empty if absent.

    Parameters
    ----------
    is_gff3
        Syntax: ``ID=x;Parent=y`` of GFF3, or ``gene_id "x"; transcript_id "y";`` of GTF.
    """

    def __init__(self, is_gff3: bool) -> None:
        self.is_gff3 = is_gff3
        self.patterns: dict[str, re.Pattern[bytes]] = {}

    def get(self, text: bytes, key: str) -> bytes:
        """Return the value of the attribute ``key``."""
        pattern = self.patterns.get(key)
        if pattern is None:
            value = r"=([^;]*)" if self.is_gff3 else r'\s+(?:"([^"]*)"|([^\s;"]+))'
            pattern = self.patterns[key] = re.compile(rf"(?:^|;)\s*{key}{value}".encode())
        match = pattern.search(text)
        return b"" if match is None else (match[match.lastindex or 1] or b"").strip()

    def first(self, text: bytes, keys: tuple[str, ...]) -> bytes:
        """Return the value of the first attribute that is present."""
        return next((value for key in keys if (value := self.get(text, key))), b"")

    def problem(self, text: bytes) -> str | None:
        """Describe an error in the syntax of the attributes; None if they are valid."""
        pattern = _GFF3_LOOSE if self.is_gff3 else _GTF
        match = pattern.match(text)
        stop = match.end() if match is not None else 0
        if stop == len(text) or text.strip() == b".":
            return None
        form = "ID=x;" if self.is_gff3 else 'gene_id "x";'
        damaged = text[stop:].decode("utf-8", "backslashreplace")
        return (
            f"attributes are cut off or damaged from {shown(damaged)} on: expected such as {form} "
            "Copy the file again or regenerate it."
        )

    def problem_of_last(self, text: bytes, earlier: Sequence[bytes]) -> str | None:
        """Explain why a last line without a line end must be cut off; None if it may be complete.

        Parameters
        ----------
        text
            Its attributes.
        earlier
            Attributes of earlier lines of the same feature. The last line must have the ending
            and the attributes that all of them have.
        """
        if (problem := self.problem(text)) is not None:
            return problem
        pattern = _KEYS[self.is_gff3]
        if self.is_gff3 and _GFF3.fullmatch(text) is None:
            return f"ends in the middle of its attributes, {_end(text)}."
        if earlier and all(line.rstrip().endswith(b";") for line in earlier):
            if not text.rstrip().endswith(b";"):
                return f"ends in the middle of its attributes, {_end(text)}, without ';'."
        common = set.intersection(*(set(pattern.findall(line)) for line in earlier or [b""]))
        missing = sorted(common - set(pattern.findall(text)))
        if missing:
            return (
                f"ends in the middle of its attributes, {_end(text)}: it has no "
                f"{missing[0].decode(errors='replace')}, which earlier lines have."
            )
        return None


def _end(text: bytes) -> str:
    """Return the end of a text, for messages."""
    return shown(text[-40:].decode("utf-8", "backslashreplace"))
