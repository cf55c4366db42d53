"""Genome builds that coordinates of junctions fit, and species that gene ids are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

_HUMAN: Final = (*map(str, range(1, 23)), "X", "Y")
_MOUSE: Final = (*map(str, range(1, 20)), "X", "Y")

# Lengths of chromosomes in bp, from chromInfo of the UCSC Genome Browser
# (hgdownload.soe.ucsc.edu/goldenPath/<build>/bigZips/<build>.chrom.sizes).
# fmt: off
_LENGTHS: Final[Mapping[str, tuple[int, ...]]] = {
    "hg19 (GRCh37)": (
        249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022,
        141213431, 135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753,
        81195210, 78077248, 59128983, 63025520, 48129895, 51304566, 155270560, 59373566,
    ),
    "hg38 (GRCh38)": (
        248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636,
        138394717, 133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345,
        83257441, 80373285, 58617616, 64444167, 46709983, 50818468, 156040895, 57227415,
    ),
    "hs1 (T2T-CHM13v2.0)": (
        248387328, 242696752, 201105948, 193574945, 182045439, 172126628, 160567428, 146259331,
        150617247, 134758134, 135127769, 133324548, 113566686, 101161492, 99753195, 96330374,
        84276897, 80542538, 61707364, 66210255, 45090682, 51324926, 154259566, 62460029,
    ),
    "mm9 (NCBI37)": (
        197195432, 181748087, 159599783, 155630120, 152537259, 149517037, 152524553, 131738871,
        124076172, 129993255, 121843856, 121257530, 120284312, 125194864, 103494974, 98319150,
        95272651, 90772031, 61342430, 166650296, 15902555,
    ),
    "mm10 (GRCm38)": (
        195471971, 182113224, 160039680, 156508116, 151834684, 149736546, 145441459, 129401213,
        124595110, 130694993, 122082543, 120129022, 120421639, 124902244, 104043685, 98207768,
        94987271, 90702639, 61431566, 171031299, 91744698,
    ),
    "mm39 (GRCm39)": (
        195154279, 181755017, 159745316, 156860686, 151758149, 149588044, 144995196, 130127694,
        124359700, 130530862, 121973369, 120092757, 120883175, 125139656, 104073951, 98008968,
        95294699, 90720763, 61420004, 169476592, 91455967,
    ),
}
# fmt: on

BUILDS: Final[Mapping[str, Mapping[str, int]]] = {
    build: dict(zip(_HUMAN if len(lengths) == len(_HUMAN) else _MOUSE, lengths, strict=True))
    for build, lengths in _LENGTHS.items()
}
"""Length of each main chromosome, named without ``chr``, by genome build."""

# Builds of which the longest chromosomes are enough to tell a chain file.
_FURTHER: Final[Mapping[str, Mapping[str, int]]] = {
    "rn6 (Rnor_6.0)": {"1": 282763074, "2": 266435125},
    "rn7 (mRatBN7.2)": {"1": 260522016, "2": 249053267},
    "danRer11 (GRCz11)": {"1": 59578282, "2": 59640629},
}

# Prefixes of stable ids (ensembl.org/info/genome/stable_ids/prefixes.html).
_SPECIES: Final = {
    "ENSG": "human",
    "ENSMUSG": "mouse",
    "ENSRNOG": "rat",
    "ENSMMUG": "macaque",
    "ENSMFAG": "crab-eating macaque",
    "ENSPTRG": "chimpanzee",
    "ENSCJAG": "marmoset",
    "ENSSSCG": "pig",
    "ENSBTAG": "cow",
    "ENSGALG": "chicken",
    "ENSXETG": "Xenopus",
    "ENSDARG": "zebrafish",
    "FBgn": "fruit fly",
    "WBGene": "C. elegans",
}
_MIN_SHARE: Final = 0.8
"""Minimum share of gene ids of one species."""


def recognize_build(sizes: Mapping[str, int]) -> str | None:
    """Return the name of the build that has contigs of these sizes in bp; None if unknown.

    Parameters
    ----------
    sizes
        Size of each contig, named with or without ``chr``; those of no known build are ignored.
    """
    bare = {name.removeprefix("chr"): size for name, size in sizes.items()}
    for build, known in {**BUILDS, **_FURTHER}.items():
        found = [name for name in bare if name in known]
        if found and all(bare[name] == known[name] for name in found):
            return build
    return None


def fitting_builds(coordinates: pd.DataFrame) -> list[str]:
    """List the genome builds that have the chromosomes of junctions, at least as long.

    Scaffolds, the mitochondrial genome and other contigs are no main chromosomes and say nothing.

    Parameters
    ----------
    coordinates
        Columns ``chrom`` and ``end`` (1-based), as from :func:`junction_coordinates`.

    Returns
    -------
    list of str
        Names of builds; empty if there is no junction on a main chromosome, or no build known
        here fits.
    """
    bare = coordinates["chrom"].astype(str).str.replace("^[Cc][Hh][Rr]", "", regex=True)
    last = coordinates["end"].groupby(bare.to_numpy()).max()
    main = last[last.index.str.fullmatch("[0-9]{1,2}|X|Y")]
    if main.empty:
        return []
    return [
        build
        for build, lengths in BUILDS.items()
        if all(end <= lengths.get(str(contig), 0) for contig, end in main.items())
    ]


def species_of_genes(gene_ids: pd.Series) -> str | None:
    """Return the species that most gene ids are of, by their prefix; None if unknown.

    Parameters
    ----------
    gene_ids
        Stable ids of Ensembl, FlyBase or WormBase; others are of no known species.
    """
    ids = gene_ids.dropna().astype(str)
    prefix = ids.str.extract(r"^([A-Za-z]+)[0-9]", expand=False)
    species = prefix.map(_SPECIES).value_counts() / max(len(ids), 1)
    return str(species.index[0]) if len(species) and species.iloc[0] >= _MIN_SHARE else None


def moved_genes(
    coordinates: pd.DataFrame,
    gene_ids: pd.Series,
    other: pd.DataFrame,
    other_gene_ids: pd.Series,
) -> tuple[int, int]:
    """Count genes of two data sets, and those of them without a splice site in common.

    Versions of ids (``.12``) are left out. In one genome build, junctions of a gene in two data
    sets share splice sites nearly always; in two builds they do by chance only.

    Parameters
    ----------
    coordinates, other
        Columns ``chrom``, ``start``, ``end``.
    gene_ids, other_gene_ids
        Gene of each junction, in the order of these tables.

    Returns
    -------
    Number of genes in both, and number of these without a common splice site.
    """
    ours, theirs = _sites(coordinates, gene_ids), _sites(other, other_gene_ids)
    genes = np.intersect1d(ours["gene"].unique(), theirs["gene"].unique())
    together = ours.merge(theirs, on=["gene", "chrom", "position"])["gene"].nunique()
    return len(genes), len(genes) - together


def _sites(coordinates: pd.DataFrame, gene_ids: pd.Series) -> pd.DataFrame:
    """Return a row for each gene, contig and position of an end of a junction."""
    gene = gene_ids.astype(object).astype(str).str.replace(r"\.[0-9]+$", "", regex=True)
    known = gene_ids.notna().to_numpy()
    ends = [
        pd.DataFrame(
            {
                "gene": gene.to_numpy()[known],
                "chrom": coordinates["chrom"].to_numpy()[known],
                "position": coordinates[side].to_numpy()[known],
            }
        )
        for side in ("start", "end")
    ]
    return pd.concat(ends).drop_duplicates()
