"""Files of a STARsolo folder: the matrix of junctions, its barcodes and its features."""

from __future__ import annotations

import os
from pathlib import Path

from leafletfa_scvi.pp._text import open_bytes


def find_solo(path: str | os.PathLike[str]) -> Path | None:
    """Return the folder with STARsolo's junction matrix, at ``path`` or below, or None."""
    top = Path(path)
    for below in ("", "raw", "SJ/raw", "Solo.out/SJ/raw"):
        if any((top / below / f"matrix.mtx{gz}").is_file() for gz in ("", ".gz")):
            return top / below
    return None


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file, plain or gzip."""
    plain = Path(path)
    for found in (plain, plain.with_name(f"{plain.name}.gz")):
        if found.is_file():
            return found
    raise FileNotFoundError(f"There is no file {plain}, nor {plain.name}.gz.")


def find_features(folder: Path) -> Path:
    """Find the file that names the matrix rows: ``features.tsv``, or ``SJ.out.tab`` above."""
    for path in (folder / "features.tsv", folder / "features.tsv.gz"):
        if path.is_file() and not _is_no_table(path):
            return path
    raw = Path(os.path.abspath(folder))
    above = [raw, *raw.parents][:4]
    outs = [place.name for place in above if place.name.endswith("Solo.out")]
    prefixes = [name.removesuffix("Solo.out") for name in outs]
    for place in above:
        for name in dict.fromkeys(f"{prefix}SJ.out.tab" for prefix in (*prefixes, "")):
            for path in (place / name, place / f"{name}.gz"):
                if path.is_file():
                    return path
    for place in above:
        found = sorted({*place.glob("*SJ.out.tab"), *place.glob("*SJ.out.tab.gz")})
        found = [path for path in found if path.is_file()]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(
                f"{folder / 'features.tsv'} is missing, and {place} has several SJ.out.tab, such "
                f"as {found[0].name} and {found[1].name}. Copy the one of this run to "
                "features.tsv."
            )
    link = folder / "features.tsv"
    what = f"is a link to {os.readlink(link)}, which is missing" if link.is_symlink() else ""
    raise FileNotFoundError(
        f"{link} {what or 'is missing or empty'}, and no SJ.out.tab is above it. Copy the "
        "SJ.out.tab of this run to features.tsv."
    )


def _is_no_table(path: Path) -> bool:
    """Return whether the file is empty, or holds the path of a link in place of its target."""
    with open_bytes(str(path)) as file:
        start = file.read(4096).strip()
    return b"\t" not in start and (not start or start.endswith(b"SJ.out.tab"))
