"""Format of an input, and the name of its cell."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from leafletfa_scvi._arguments import check_file
from leafletfa_scvi.pp._text import open_bytes, read_blocks
from leafletfa_scvi.pp.read._formats import FORMATS, endings_of
from leafletfa_scvi.pp.read._solo_folder import find_solo
from leafletfa_scvi.pp.read._tables import content_lines

if TYPE_CHECKING:
    from leafletfa_scvi.pp.read._formats import InputFormat

_BLOCK: Final = 1 << 16
"""Bytes of text that are read at once in search of the first line."""
_MAGIC: Final = 4
_OF_ALIGNERS: Final = (
    r"[._]?Aligned\.sortedByCoord\.out",
    r"[._]?Aligned\.out",
    r"[._]?Processed\.out",
    r"\.(?:b?gz|sam|txt|sorted)",
    r"[._](?:splice_junction|intron)_grouped_[^/]*_counts",
)
_OF_FORMATS: Final = tuple(
    re.escape(ending) if ending.startswith(".") else rf"[._]?{re.escape(ending)}"
    for ending in endings_of("auto")
)
_ENDING: Final = re.compile("|".join((*_OF_FORMATS, *_OF_ALIGNERS)), re.IGNORECASE)
"""Endings of file names that are no part of the name of a cell."""
_EXPECTED: Final = (
    f"expected {', '.join(row.description for row in FORMATS.values())}, or a table of files "
    "(.tsv, .txt, or .csv with commas) with the column path"
)


def detect_format(path: str | os.PathLike[str]) -> InputFormat:
    """Detect the format of an input from its name and content.

    Names that end with ``.bam``, ``.cram``, ``SJ.out.tab`` or leafcutter's ``perind.counts`` are
    trusted. Otherwise the content decides: the first bytes of BAM and CRAM, or the first line,
    by its number of columns (6, 9, 12 or 14) or the names of columns, so that a ``.junc``
    file of regtools, which is BED12, is recognized. If a file is empty or damaged, ``.bed`` is
    taken for regtools' and ``.junc`` for a BED of introns, so that reading it reports the error.

    Returns
    -------
    str
        One of the formats of :func:`read_junctions`; ``"bam"`` also for SAM.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it has none of these formats, is damaged, or is no file on disk (a named pipe, a
        device).
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        if find_solo(name) is not None:
            return "starsolo"
        raise ValueError(f"The folder {name} has no Solo.out/SJ/raw/matrix.mtx: {_EXPECTED}.")
    check_file(name)
    for format, row in FORMATS.items():
        if row.is_known_by_name and name.endswith(row.endings):
            return format
    damage = ""
    try:
        recognized = _from_content(name)
    except ValueError as error:
        recognized, damage = None, f" Read as text: {error}"
    if recognized is not None:
        return recognized
    plain = name.removesuffix(".gz").lower()
    for format, row in FORMATS.items():
        if row.fallback_ending is not None and plain.endswith(row.fallback_ending):
            return format
    raise ValueError(f"{name} is of no known format: {_EXPECTED}.{damage}")


def _from_content(path: str) -> InputFormat | None:
    """Format by the first bytes or the first line; None if neither is known."""
    with open_bytes(path) as file:
        start = file.read(_MAGIC)
    for format, row in FORMATS.items():
        if start.startswith(row.magic):
            return format
    for block in read_blocks(path, _BLOCK):
        if block.first == 1:
            header = next((line for _, line in block.lines() if line.strip()), b"")
            fields = header.decode(errors="replace").split("\t")
            for format, row in FORMATS.items():
                if row.sniff_header(fields):
                    return format
        for _, line in content_lines(block):
            fields = line.decode(errors="replace").split("\t")
            return next((format for format, row in FORMATS.items() if row.sniff(fields)), None)
    return None


def cell_name(path: str | os.PathLike[str], more: tuple[str, ...] = ()) -> str:
    """Name of the cell or sample of an input, from its path.

    This is the name of the file without endings of formats and aligners (``.bam``, ``.sorted``,
    ``.Aligned.sortedByCoord.out``, ``.SJ.out.tab``, ``.bed.gz``, ...). If nothing else is in the
    name, as in a bare ``SJ.out.tab``, it is the name of the folder. For a STARsolo folder it is
    the prefix of ``*Solo.out``, or the name of the folder above.

    Parameters
    ----------
    path
        The file or folder.
    more
        Further endings that are no part of the name.
    """
    absolute = Path(os.path.abspath(path))
    if absolute.is_dir():
        inside = absolute
        while inside.name in ("raw", "SJ") and inside.parent != inside:
            inside = inside.parent
        if not inside.name.endswith("Solo.out"):
            return inside.name or absolute.name
        prefix = inside.name.removesuffix("Solo.out").rstrip("._")
        return prefix or inside.parent.name or absolute.name
    name = absolute.name
    while True:
        ends = [match.start() for match in _ENDING.finditer(name) if match.end() == len(name)]
        ends += [len(name) - len(ending) for ending in more if name.endswith(ending)]
        if not ends:
            break
        name = name[: ends[0]]
    return name or absolute.parent.name or absolute.name
