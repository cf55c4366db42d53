"""Chain files: alignments of two genomes, by which single bases are lifted."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from leafletfa_scvi.data import recognize_build
from leafletfa_scvi.pp._text import line_error, read_blocks, whole_number

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER: Final = re.compile(rb"^chain[ \t].*$", re.MULTILINE)


class LiftedBases(NamedTuple):
    """Bases of one genome in another.

    Attributes
    ----------
    n_places
        ``(n,)`` number of places that each base is aligned to.
    contig
        ``(n,)`` position of the contig in ``Chain.to_contigs``; -1 unless there is one place.
    position
        ``(n,)`` 1-based position; 0 unless there is one place.
    orientation
        ``(n,)`` 1 if the strands of the genomes are aligned as they are, -1 if one is reversed.
    """

    n_places: np.ndarray
    contig: np.ndarray
    position: np.ndarray
    orientation: np.ndarray


class Chain:
    """A chain file, as UCSC's liftOver takes.

    Parameters
    ----------
    path
        Chain file, plain or gzip.
    name
        Name of the argument, for messages.

    Attributes
    ----------
    from_sizes, to_sizes
        Number of bases of each contig of the genome that is lifted from, and of that lifted to.
    to_contigs
        Names of the contigs of ``to_sizes``.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        There is no such file, the package liftover is not installed, or the file is damaged or no
        chain file.
    """

    def __init__(self, path: str | os.PathLike[str], name: str) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(
                f"Expected {name} to be the path of a chain file, found a {type(path).__name__}."
            )
        self.path, self.name = os.fspath(path), name
        liftover = import_liftover()
        self.from_sizes, self.to_sizes = _read_sizes(self.path, name)
        self.to_contigs = list(self.to_sizes)
        try:
            self._file = liftover.ChainFile(self.path, one_based=True)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{name} {self.path} is truncated or damaged: {str(error)!r}. Copy it again."
            ) from error
        self._codes = {contig: i for i, contig in enumerate(self.to_contigs)}

    def __str__(self) -> str:
        """Say which genomes the file is of."""
        ends = [
            recognize_build(sizes) or f"a genome whose {next(iter(sizes))!r} has {size:,} bases"
            for sizes in (self.from_sizes, self.to_sizes)
            for size in [next(iter(sizes.values()))]
        ]
        return f"{self.name} {self.path} lifts from {ends[0]} to {ends[1]}"

    def lift(self, contig: str, position: np.ndarray) -> LiftedBases:
        """Lift bases of one contig, ``(n,)`` 1-based positions, named as in ``from_sizes``."""
        # The package takes "1" for "chr1"; names were matched, and are those of the file.
        aligned = self._file[contig]
        unique, inverse = np.unique(position, return_inverse=True)
        places = [aligned[base] for base in unique.tolist()]
        n_places = np.array([len(x) for x in places], np.int64)
        single = np.flatnonzero(n_places == 1)
        code, lifted = np.full(len(unique), -1), np.zeros(len(unique), np.int64)
        orientation = np.ones(len(unique), np.int64)
        if len(single):
            names, bases, strands = zip(*(places[i][0] for i in single), strict=True)
            code[single] = [self._codes[name] for name in names]
            lifted[single] = bases
            orientation[single] = np.where(np.array(strands) == "-", -1, 1)
        return LiftedBases(*(x[inverse] for x in (n_places, code, lifted, orientation)))


def import_liftover() -> Any:
    """Import liftover, or say how to install it."""
    try:
        import liftover
    except ImportError as error:
        raise ImportError(
            "Chain files need the package liftover from 1.4.0: "
            'pip install "leafletfa-scvi[liftover]".'
        ) from error
    return liftover


def check_reciprocal(chain: Chain, reciprocal: Chain) -> None:
    """Check that a second chain file leads back, from and to the same builds.

    Raises
    ------
    ValueError
        A contig of both files has two sizes, or they share none.
    """
    for forward, back in (
        (chain.to_sizes, reciprocal.from_sizes),
        (chain.from_sizes, reciprocal.to_sizes),
    ):
        shared = [name for name in forward if name in back]
        wrong = [name for name in shared if forward[name] != back[name]]
        if wrong or not shared:
            example = (
                f"contig {wrong[0]!r} has {forward[wrong[0]]:,} bases in one and "
                f"{back[wrong[0]]:,} in the other"
                if wrong
                else f"no contig is in both, as {next(iter(forward))!r} and {next(iter(back))!r}"
            )
            raise ValueError(
                f"Expected reciprocal_chain to lead back from where chain leads to: {chain}, "
                f"{reciprocal}; {example}. Use the two files of one pair of builds."
            )


def _read_sizes(path: str, name: str) -> tuple[dict[str, int], dict[str, int]]:
    """Read the contigs of both genomes from the headers of a chain file."""
    sizes: tuple[dict[str, int], dict[str, int]] = {}, {}
    for block in read_blocks(path):
        for found in _HEADER.finditer(block.data):
            fields = found.group().split()
            whole = [whole_number(fields[i]) for i in (3, 8)] if len(fields) > 11 else [None] * 2
            for known, contig, size in zip(sizes, (2, 7), whole, strict=True):
                text = fields[contig].decode() if size is not None else ""
                if size is None or known.setdefault(text, size) != size:
                    line = block.first + block.data.count(b"\n", 0, found.start())
                    what = (
                        "is no header of a chain: expected 'chain', a score, and name, size, "
                        "strand, start and end of two contigs"
                        if size is None
                        else f"gives contig {text!r} {size:,} bases, a line before "
                        f"{known[text]:,}: chains of two builds have been mixed"
                    )
                    raise line_error(path, line, f"{what}. Download {name} again.")
    if not sizes[0]:
        raise ValueError(
            f"Expected {name} to be a chain file of UCSC's liftOver, found no line that begins "
            f"with 'chain' in {path}."
        )
    return sizes


def check_sizes(
    chain: Chain,
    sizes: Mapping[str, int],
    ends: Mapping[str, tuple[int, str]],
    what: str,
    other: Mapping[str, int],
) -> None:
    """Check that junctions end within the contigs of a chain file.

    Parameters
    ----------
    chain
        The chain file.
    sizes
        Size of each contig on the side of the junctions.
    ends
        Largest end of the junctions of a contig, and the name of that junction, by the contig's
        name in ``sizes``.
    what
        What the junctions are of: ``source`` or ``target``.
    other
        Size of each contig on the other side of the file.

    Raises
    ------
    ValueError
        A junction ends beyond its contig.
    """
    wrong = [name for name, (end, _) in ends.items() if end > sizes[name]]
    if not wrong:
        return
    end, junction = ends[wrong[0]]
    is_swapped = all(end <= other.get(name, 0) for name, (end, _) in ends.items())
    remedy = (
        "They fit the other side of the file: chain leads from source to target, "
        "reciprocal_chain back."
        if is_swapped
        else "Use the chain file of the build that the junctions were read with."
    )
    raise ValueError(
        f"Expected junctions of {what} within the contigs of {chain.name}, found {junction!r}, "
        f"where contig {wrong[0]!r} has {sizes[wrong[0]]:,} bases. They are of another build: "
        f"{chain}. {remedy}"
    )
