"""Names of the files of tracks, and the session that opens them in IGV."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST: Final = 120
"""Longest name of a file in bytes, without its ending."""
_RESERVED: Final = re.compile(r"(?i:con|prn|aux|nul|com\d|lpt\d)(\.|$)")
"""Names of devices in Windows."""


def file_names(names: Iterable[str], ending: str) -> list[str]:
    """Return a distinct name of a file for each name of a group, safe on every system.

    Characters other than letters, digits, ``.``, ``_``, ``+`` and ``-`` become ``_``. Upper and
    lower case are the same, as they are on some systems; names that are the same get numbers.
    """
    taken: set[str] = set()
    files = []
    for name in names:
        stem = re.sub(r"[^\w.+-]+", "_", unicodedata.normalize("NFC", name)).strip(".") or "_"
        stem = stem.encode()[:_LONGEST].decode(errors="ignore")
        stem = f"_{stem}" if _RESERVED.match(stem) else stem
        found, number = stem, 1
        while found.casefold() in taken:
            number += 1
            found = f"{stem}_{number}"
        taken.add(found.casefold())
        files.append(f"{found}{ending}")
    return files


def igv_session(files: Iterable[str], genome: str | None, locus: str) -> str:
    """Return a session of IGV that opens files beside it, at a locus."""
    # Without a genome IGV keeps the one that is open.
    of_genome = "" if genome is None else f" genome={quoteattr(genome)}"
    resources = "".join(f'        <Resource path={quoteattr(f)} type="bed"/>\n' for f in files)
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
        f'<Session{of_genome} locus={quoteattr(locus or "All")} version="8">\n'
        f"    <Resources>\n{resources}    </Resources>\n"
        "</Session>\n"
    )
