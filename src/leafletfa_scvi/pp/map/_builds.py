"""Genome builds, recognized by the sizes of their contigs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Sizes of UCSC's chrom.sizes; one chromosome would do, but files of single chromosomes exist.
_SIZES: Final[dict[str, dict[str, int]]] = {
    "hg19 (GRCh37)": {"1": 249250621, "2": 243199373, "X": 155270560},
    "hg38 (GRCh38)": {"1": 248956422, "2": 242193529, "X": 156040895},
    "hs1 (T2T-CHM13)": {"1": 248387328, "2": 242696752, "X": 154259566},
    "mm9 (NCBI37)": {"1": 197195432, "2": 181748087, "X": 166650296},
    "mm10 (GRCm38)": {"1": 195471971, "2": 182113224, "X": 171031299},
    "mm39 (GRCm39)": {"1": 195154279, "2": 181755017, "X": 169476592},
    "rn6 (Rnor_6.0)": {"1": 282763074, "2": 266435125},
    "rn7 (mRatBN7.2)": {"1": 260522016, "2": 249053267},
    "danRer11 (GRCz11)": {"1": 59578282, "2": 59640629},
}


def recognize_build(sizes: Mapping[str, int]) -> str | None:
    """Return the name of the build that has contigs of these sizes in bases; None if unknown.

    Contigs may be named with or without ``chr``.
    """
    for build, known in _SIZES.items():
        found = [size for name, size in sizes.items() if known.get(name.removeprefix("chr"))]
        same = [known.get(name.removeprefix("chr")) == size for name, size in sizes.items()]
        if found and sum(same) == len(found):
            return build
    return None
