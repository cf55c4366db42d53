"""What kind of file an input is, and what its cell is called."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from leafletfa_scvi._choices import InputFormat as Format  # noqa: TC001 - imported from here
from leafletfa_scvi.pp._text import check_file, open_bytes, read_blocks
from leafletfa_scvi.pp.read._starsolo import find_solo
from leafletfa_scvi.pp.read._tables import content_lines

_START: Final = 1 << 16
"""Bytes of a file that are looked at at a time."""
_MAGIC: Final = 4
_FROM_COLUMNS: Final[dict[int, Format]] = {6: "junc", 9: "star", 12: "regtools", 14: "regtools"}
_FROM_NAME: Final[tuple[tuple[str, Format], ...]] = (
    (".bam", "bam"),
    (".cram", "bam"),
    ("SJ.out.tab", "star"),
    ("SJ.out.tab.gz", "star"),
)
_FROM_NAME_ONLY: Final[tuple[tuple[str, Format], ...]] = ((".bed", "regtools"), (".junc", "junc"))
_ENDING: Final = re.compile(
    r"[._]?SJ\.out\.tab|[._]?Aligned\.sortedByCoord\.out|[._]?Aligned\.out"
    r"|[._]?Processed\.out"
    r"|\.(?:b?gz|bam|cram|sam|bed|junc|txt|sorted)",
    re.IGNORECASE,
)
_EXPECTED: Final = (
    "expected BAM, CRAM, regtools' BED12, BED of introns in 6 columns, STAR's SJ.out.tab, a "
    "folder of STARsolo's junctions, or a table of files (.tsv, .txt, or .csv with commas) with "
    "the column path"
)


def detect_format(path: str | os.PathLike[str]) -> Format:
    """Tell the format of an input from its name and content.

    Names that end with ``.bam``, ``.cram`` or ``SJ.out.tab`` are taken at their word. Otherwise
    content decides: the magic bytes of BAM and CRAM, or the number of columns of the first line
    (6, 9, 12 or 14), so that a ``.junc`` from regtools, which is BED12, is known for what it is.
    Where a file is empty or damaged, ``.bed`` is regtools' and ``.junc`` of introns: reading says
    what is wrong.

    Returns
    -------
    str
        ``"bam"`` (and CRAM, SAM), ``"regtools"``, ``"junc"``, ``"star"`` or ``"starsolo"``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is none of these, damaged, or no file on disk (a named pipe, a device).
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        if find_solo(name) is not None:
            return "starsolo"
        raise ValueError(f"The folder {name} has no Solo.out/SJ/raw/matrix.mtx: {_EXPECTED}.")
    check_file(name)
    for ending, known in _FROM_NAME:
        if name.endswith(ending):
            return known
    damage = ""
    try:
        found = _from_content(name)
    except ValueError as error:
        found, damage = None, f" Read as text: {error}"
    if found is not None:
        return found
    plain = name.removesuffix(".gz").lower()
    for ending, known in _FROM_NAME_ONLY:
        if plain.endswith(ending):
            return known
    raise ValueError(f"{name} is of no known format: {_EXPECTED}.{damage}")


def _from_content(path: str) -> Format | None:
    """Format by the first bytes; None where they do not tell."""
    with open_bytes(path) as file:
        start = file.read(_MAGIC)
    if start.startswith((b"BAM\1", b"CRAM", b"@HD\t", b"@SQ\t")):
        return "bam"
    for block in read_blocks(path, _START):
        for _, line in content_lines(block):
            return _FROM_COLUMNS.get(line.count(b"\t") + 1)
    return None


def cell_name(path: str | os.PathLike[str]) -> str:
    """Name of the cell or sample of an input, from its path.

    The file's name without what is known of formats and aligners (``.bam``, ``.sorted``,
    ``.Aligned.sortedByCoord.out``, ``.SJ.out.tab``, ``.bed.gz``, ...). Where nothing else is in
    the name, as in a bare ``SJ.out.tab``, that of the folder. Of a STARsolo folder, the prefix of
    ``*Solo.out``, or the name of the folder above.
    """
    place = Path(os.path.abspath(path))
    if place.is_dir():
        inside = place
        while inside.name in ("raw", "SJ") and inside.parent != inside:
            inside = inside.parent
        if not inside.name.endswith("Solo.out"):
            return inside.name or place.name
        prefix = inside.name.removesuffix("Solo.out").rstrip("._")
        return prefix or inside.parent.name or place.name
    name = place.name
    while True:
        ends = [match for match in _ENDING.finditer(name) if match.end() == len(name)]
        if not ends:
            break
        name = name[: ends[0].start()]
    return name or place.parent.name or place.name
