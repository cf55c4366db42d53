"""Files that MultiQC shows, beside the output of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leafletfa_scvi.cli._outputs import check_output

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def row_name(output: Path) -> str:
    """Return the name of the row of a data set, that of its file without ``.h5ad``."""
    return output.name.removesuffix(".h5ad")


def section_paths(output: Path, *sections: str) -> list[Path]:
    """Return a file for each section, ``OUTPUT.<section>_mqc.json``."""
    name = row_name(output)
    return [output.with_name(f"{name}.{section}_mqc.json") for section in sections]


def check_sections(paths: Iterable[Path], sources: Iterable[Path], overwrite: bool) -> None:
    """Raise an error for a file that cannot, or must not, be written."""
    known = list(sources)
    for path in paths:
        check_output(path, known, overwrite, "The file for MultiQC")
