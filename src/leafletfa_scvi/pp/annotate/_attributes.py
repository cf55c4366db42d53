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
        """Value of the attribute ``key``."""
        pattern = self.patterns.get(key)
        if pattern is None:
            value = r"=([^;]*)" if self.is_gff3 else r'\s+(?:"([^"]*)"|([^\s;"]+))'
            pattern = self.patterns[key] = re.compile(rf"(?:^|;)\s*{key}{value}".encode())
        found = pattern.search(text)
        return b"" if found is None else (found[found.lastindex or 1] or b"").strip()

    def first(self, text: bytes, keys: tuple[str, ...]) -> bytes:
        """Return the value of the first attribute that is present."""
        return next((value for key in keys if (value := self.get(text, key))), b"")

    def problem(self, text: bytes) -> str | None:
        """Say what is wrong with the syntax of all attributes, or None."""
        pattern = _GFF3_LOOSE if self.is_gff3 else _GTF
        found = pattern.match(text)
        place = found.end() if found is not None else 0
        if place == len(text) or text.strip() == b".":
            return None
        form = "ID=x;" if self.is_gff3 else 'gene_id "x";'
        rest = text[place:].decode("utf-8", "backslashreplace")
        return (
            f"attributes are cut off or damaged from {shown(rest)} on: expected such as {form} "
            "Copy the file again or regenerate it."
        )

    def problem_of_last(self, text: bytes, earlier: Sequence[bytes]) -> str | None:
        """Say why the last line of a file, which has no line end, must be cut off; or None.

        Parameters
        ----------
        text
            Its attributes.
        earlier
            Attributes of earlier lines of the same feature: what ends them all and what they
            all have, the last line must have too.
        """
        if (problem := self.problem(text)) is not None:
            return problem
        pattern = _KEYS[self.is_gff3]
        if self.is_gff3 and _GFF3.fullmatch(text) is None:
            return f"ends in the middle of its attributes, {_end(text)}."
        if earlier and all(one.rstrip().endswith(b";") for one in earlier):
            if not text.rstrip().endswith(b";"):
                return f"ends in the middle of its attributes, {_end(text)}, without ';'."
        common = set.intersection(*(set(pattern.findall(one)) for one in earlier or [b""]))
        missing = sorted(common - set(pattern.findall(text)))
        if missing:
            return (
                f"ends in the middle of its attributes, {_end(text)}: it has no "
                f"{missing[0].decode(errors='replace')}, which earlier lines have."
            )
        return None


def _end(text: bytes) -> str:
    """The end of a text, for messages."""
    return shown(text[-40:].decode("utf-8", "backslashreplace"))
