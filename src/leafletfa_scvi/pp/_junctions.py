"""Tables of junctions: checked coordinates and reads, splice sites, and names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from natsort import natsorted

from leafletfa_scvi._name_index import name_index
from leafletfa_scvi.pp._codes import STRANDS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_NAME: Final = r"(?P<chrom>.+):(?P<start>[0-9]+)-(?P<end>[0-9]+):(?P<strand>[-+?])"


@dataclass(frozen=True, eq=False)
class Introns:
    """Checked coordinates of J junctions, as numbers.

    Attributes
    ----------
    chroms
        Names of contigs in natural order (chr2 before chr10).
    chrom
        ``(J,)`` int64, position in ``chroms``.
    strand
        ``(J,)`` int64, position in ``STRANDS``.
    start, end
        ``(J,)`` int64, first and last base of the intron, 1-based and inclusive.
    """

    chroms: list[str]
    chrom: np.ndarray
    strand: np.ndarray
    start: np.ndarray
    end: np.ndarray

    @property
    def contig(self) -> np.ndarray:
        """``(J,)`` names of contigs, object."""
        names: np.ndarray = np.array(self.chroms, object)[self.chrom]
        return names

    @property
    def strand_key(self) -> np.ndarray:
        """``(J,)`` one number for each contig and strand, in order of the genome."""
        key: np.ndarray = self.chrom * len(STRANDS) + self.strand
        return key


def introns(junctions: pd.DataFrame) -> Introns:
    """Check the columns ``chrom``, ``start``, ``end`` and ``strand`` of a table.

    Raises
    ------
    ValueError
        If a column is missing, a contig has no name, a strand is not ``+``, ``-`` or ``?``, a
        coordinate is not a whole number from 1 to 2,147,483,647, or an intron ends before it
        starts.
    """
    missing = [name for name in ("chrom", "start", "end", "strand") if name not in junctions]
    if missing:
        raise ValueError(
            f"The table of junctions has no column {missing[0]!r}: expected chrom, start, end "
            "(1-based, both inclusive) and strand."
        )
    start, end = whole_numbers(junctions, "start"), whole_numbers(junctions, "end")
    wrong = (start < 1) | (end < start) | (end > np.iinfo(np.int32).max)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"Junction {name_of(junctions, i)} is the intron {start[i]}-{end[i]}: expected its "
            "first and last base, 1-based, the first not after the last."
        )
    chrom, names = pd.factorize(junctions["chrom"].to_numpy(object))
    strand, strands = pd.factorize(junctions["strand"].to_numpy(object))
    known = np.array([STRANDS.index(name) if name in STRANDS else -1 for name in strands], int)
    strand = np.append(known, -1)[strand]
    for column, codes in (("chrom", chrom), ("strand", strand)):
        if (codes < 0).any():
            i = int((codes < 0).argmax())
            raise ValueError(
                f"Junction {name_of(junctions, i)} has {column} {junctions[column].iloc[i]!r}: "
                f"expected {'a name' if column == 'chrom' else 'one of +, - and ?'}."
            )
    chroms = natsorted(sorted(map(str, names)))
    rank = {name: i for i, name in enumerate(chroms)}
    rank_of = np.array([rank[str(name)] for name in names], np.int64)
    return Introns(chroms, rank_of[chrom], strand.astype(np.int64), start, end)


def whole_numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of whole numbers as int64."""
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.isfinite(values) | (values != np.rint(values)) | (np.abs(values) >= 2**53)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"Junction {name_of(table, i)} has {column} {table[column].tolist()[i]!r}: expected a "
            "whole number."
        )
    return values.astype(np.int64)


def junction_name(chrom: str, start: int, end: int, strand: str) -> str:
    """Return the name of one junction, ``chrom:start-end:strand``."""
    return f"{chrom}:{start}-{end}:{strand}"


def junction_names(junctions: pd.DataFrame) -> pd.Index:
    """Return the names of junctions, from ``chrom``, ``start``, ``end`` and ``strand``."""
    columns = (junctions[name].astype(str) for name in ("chrom", "start", "end", "strand"))
    return name_index([junction_name(*row) for row in zip(*columns, strict=True)])


def coordinates_in_names(names: pd.Index) -> pd.DataFrame:
    """Return ``chrom``, ``start``, ``end`` and ``strand`` from names ``chrom:start-end:strand``.

    Values are texts, and missing for names of another form. Rows have positions as their index.
    """
    return names.astype(str).to_series().str.extract(f"^{_NAME}$").reset_index(drop=True)


def name_of(table: pd.DataFrame, i: int) -> str:
    """Return the name of a row, for messages."""
    return repr(table.index[i : i + 1].tolist()[0])


def read_numbers(reads: ArrayLike, junctions: pd.DataFrame) -> np.ndarray:
    """Return the reads of each junction as float64, checked against the table.

    Raises
    ------
    ValueError
        If their number or their index is not that of the table, or one is negative or not finite.
    """
    if isinstance(reads, pd.Series) and not reads.index.equals(junctions.index):
        raise ValueError(
            "reads is a Series whose index is not that of the junctions. Reindex it, or pass "
            "reads.to_numpy() to take it in order."
        )
    values = np.asarray(reads, np.float64).reshape(-1)
    if len(values) != len(junctions):
        raise ValueError(f"reads has {len(values)} values for {len(junctions)} junctions.")
    wrong = ~np.isfinite(values) | (values < 0)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"Junction {name_of(junctions, i)} has {values[i]:g} reads: expected a count."
        )
    return values


def splice_sites(group: np.ndarray, start: np.ndarray, end: np.ndarray) -> list[np.ndarray]:
    """Number the left and the right splice sites, separately.

    Sites are identical if the group (contig, strand and optionally genes) and the position are.
    On one strand, left and right ends are donors and acceptors or the reverse.
    """
    size = int(end.max(initial=0)) + 1
    return [pd.factorize(group * size + position)[0] for position in (start, end)]
