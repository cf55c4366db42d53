"""Two genomes of one ancestor, whose junctions are known to be partners or not.

Each base has an identity. The genome of the target is the ancestor; that of the source is the
ancestor with lost, inserted, inverted, moved and copied bases. Alignments follow from identities
of bases, partners from identities of junctions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

EDITS = {
    "none": 30,
    "exon end lost": 6,
    "bases inserted at a site": 6,
    "site moved": 8,
    "intron lost": 6,
    "exon lost": 6,
    "exon split": 6,
    "exon inverted": 4,
    "gene inverted": 10,
    "gene moved": 6,
    "copy in source": 5,
    "copy in target": 5,
    "gene lost": 3,
    "not orthologous": 3,
    "antisense": 4,
}
"""What happens to a gene of the source, and how often."""
_EXON, _INTRON, _FLANK, _GAP = (60, 200), (120, 900), 150, 400


@dataclass
class Junction:
    """A junction by the identity of the first and last base of its intron, on its strand."""

    name: str
    donor: int
    acceptor: int


@dataclass
class Block:
    """A gene and the bases around it, in the direction of its transcription."""

    gene: str
    base: np.ndarray
    sign: np.ndarray
    junctions: list[Junction]
    exons: list[tuple[int, int]] = field(default_factory=list)
    strand: int = 1
    contig: int = 0
    is_copy: bool = False
    antisense: set[str] = field(default_factory=set)

    def where(self, base: int) -> int:
        """Index of a base."""
        return int(np.flatnonzero(self.base == base)[0])


@dataclass
class Genome:
    """Identity and orientation of each base of each contig, and where each junction is."""

    base: dict[str, np.ndarray]
    sign: dict[str, np.ndarray]
    is_copy: dict[str, np.ndarray]
    var: pd.DataFrame


@dataclass
class GenomePair:
    """The two genomes and what is true of them.

    Attributes
    ----------
    source, target
        Genomes; ``var`` has junctions by name, ``junction`` (their identity), coordinates
        (1-based, inclusive introns), ``gene_id`` and ``edit``.
    pairs
        True partners: ``source``, ``target``, ``shift`` (largest of its two sites, in bases) and
        ``edit``.
    orthologs
        Pairs of genes, those of copies among them.
    """

    source: Genome
    target: Genome
    pairs: pd.DataFrame
    orthologs: pd.DataFrame

    def write_chains(self, folder: Path) -> tuple[Path, Path]:
        """Write the chain file from source to target and the one back."""
        paths = folder / "sourceToTarget.over.chain", folder / "targetToSource.over.chain"
        write_chain(self.source, self.target, paths[0])
        write_chain(self.target, self.source, paths[1])
        return paths


def make_genome_pair(
    sizes: list[tuple[int, ...]], seed: int = 0, n_contigs: int = 5
) -> GenomePair:
    """Draw a pair of genomes.

    Parameters
    ----------
    sizes
        Number of junctions, from 2 to 5, of each ATSE of each gene. The junctions of the target
        are named ``{gene}.{atse}.{junction}`` in the column ``junction``, each counted from 0.
    seed
        Of the random numbers.
    n_contigs
        Number of contigs.
    """
    rng = np.random.default_rng(seed)
    names, weights = list(EDITS), np.array(list(EDITS.values()), float)
    fresh = 0
    ours: list[Block] = []
    theirs: list[Block] = []
    edits, rows = {}, []
    for number, atses in enumerate(sizes):
        block, fresh = draw_gene(f"T{number}", str(number), atses, rng, fresh)
        block.contig = number * n_contigs // len(sizes)
        block.strand = int(rng.choice([-1, 1]))
        edit = (
            names[number]
            if number < len(names)
            else str(rng.choice(names, p=weights / weights.sum()))
        )
        theirs.append(block)
        edits[str(number)] = edit
        copy = Block(
            f"S{number}",
            block.base,
            block.sign,
            list(block.junctions),
            block.exons,
            block.strand,
            block.contig,
        )
        fresh = diverge(copy, rng, fresh)
        shifts, fresh = apply(edit, copy, rng, fresh)
        for junction in copy.junctions:
            if junction.name not in shifts:
                shifts[junction.name] = 0
        rows += [(name, shift, edit) for name, shift in shifts.items() if shift is not None]
        if edit == "gene moved":
            copy.contig = (copy.contig + 1) % n_contigs
        if edit == "gene inverted":
            copy.strand = -copy.strand
        if edit != "gene lost":
            ours.append(copy)
        if edit == "copy in source":
            ours.append(_copied(copy, f"S{number}copy", n_contigs))
        if edit == "copy in target":
            theirs.append(_copied(block, f"T{number}copy", n_contigs))
    rng.shuffle(ours)  # type: ignore[arg-type]
    fresh += 1
    source, fresh = assemble(ours, rng, fresh, n_contigs, "s")
    target, fresh = assemble(theirs, rng, fresh, n_contigs, "chr")
    for genome in (source, target):
        number = genome.var["junction"].str.split(".").str[0]
        genome.var["edit"] = number.map(edits).fillna("")
    where = [
        dict(zip(genome.var["junction"], genome.var.index, strict=True))
        for genome in (source, target)
    ]
    pairs = pd.DataFrame(
        [
            (where[0][name], where[1][name], shift, edit)
            for name, shift, edit in rows
            if name in where[0] and edit not in ("not orthologous",)
        ],
        columns=["source", "target", "shift", "edit"],
    )
    genes = [
        (f"S{i}", f"T{i}") for i, edit in enumerate(edits.values()) if edit != "not orthologous"
    ]
    for i, edit in enumerate(edits.values()):
        if edit == "copy in source":
            genes.append((f"S{i}copy", f"T{i}"))
        if edit == "copy in target":
            genes.append((f"S{i}", f"T{i}copy"))
        if edit == "not orthologous":  # both have orthologs, but elsewhere
            genes += [(f"S{i}", "T0"), ("S0", f"T{i}")]
    return GenomePair(source, target, pairs, pd.DataFrame(genes, columns=["source", "target"]))


def draw_gene(
    gene: str, number: str, atses: tuple[int, ...], rng: np.random.Generator, fresh: int
) -> tuple[Block, int]:
    """Draw a gene in which each ATSE is an alternative site or a choice of exons."""
    cursor, exons, introns = _FLANK, [], []

    def exon() -> int:
        nonlocal cursor
        exons.append((cursor, cursor + int(rng.integers(*_EXON))))
        cursor = exons[-1][1] + int(rng.integers(*_INTRON))
        return len(exons) - 1

    for a, n in enumerate(atses):
        first = exon()
        inner = [exon() for _ in range({2: 0, 3: 1, 4: 2, 5: 2}[n])]
        last = exon()
        spans = [(exons[first][1], exons[last][0])]
        if n == 2:  # another 5' or 3' site, 3 bases (as NAGNAG) or more from the first
            shift = int(rng.choice([3, 12, 40]))
            start, end = spans[0]
            spans.append((start + shift, end) if rng.random() < 0.5 else (start, end - shift))
        for i in inner:
            spans += [(exons[first][1], exons[i][0]), (exons[i][1], exons[last][0])]
        introns += [(f"{number}.{a}.{j}", *span) for j, span in enumerate(spans[-n:])]
    length = cursor + _FLANK
    base = np.arange(fresh, fresh + length)
    junctions = [Junction(name, fresh + start, fresh + end - 1) for name, start, end in introns]
    ids = [(fresh + start, fresh + end - 1) for start, end in exons]
    return Block(gene, base, np.ones(length, np.int8), junctions, ids), fresh + length


def diverge(block: Block, rng: np.random.Generator, fresh: int) -> int:
    """Replace bases inside introns, some by more or by fewer, so that alignments have gaps."""
    for left, right in zip(block.exons, block.exons[1:], strict=False):
        start, stop = block.where(left[1]) + 1, block.where(right[0])
        low, high = start + 60, stop - 60  # beyond alternative sites
        if high - low < 20:
            continue
        cut = np.sort(rng.integers(low, high, 2))
        n_new = int(rng.integers(0, 60))
        fresh = splice(block, cut[0], cut[1], n_new, fresh)
    return fresh


def splice(block: Block, start: int, stop: int, n_new: int, fresh: int) -> int:
    """Replace bases ``start:stop`` by ``n_new`` new ones."""
    new = np.arange(fresh, fresh + n_new)
    block.base = np.concatenate([block.base[:start], new, block.base[stop:]])
    block.sign = np.concatenate([block.sign[:start], np.ones(n_new, np.int8), block.sign[stop:]])
    return fresh + n_new


def apply(
    edit: str, block: Block, rng: np.random.Generator, fresh: int
) -> tuple[dict[str, int | None], int]:
    """Change a gene of the source.

    Returns
    -------
    shifts
        By how many bases a junction differs from its lifted place; None if it has no partner.
    fresh
        First identity that no base has.
    """
    shifts: dict[str, int | None] = {}
    exon = int(rng.integers(1, len(block.exons) - 1)) if len(block.exons) > 2 else 0
    first, last = block.exons[exon]

    def lose(start: int, stop: int) -> None:
        """Drop junctions that have a site in bases ``start:stop``, or next to them."""
        gone = set(block.base[start - 1 : stop + 1].tolist())
        kept = []
        for junction in block.junctions:
            if {junction.donor, junction.acceptor} & gone:
                shifts[junction.name] = None
            else:
                kept.append(junction)
        block.junctions = kept

    sites = (
        sorted({j.donor for j in block.junctions}),
        sorted({j.acceptor for j in block.junctions}),
    )
    if edit == "exon end lost":
        for base, step in [(x, -3) for x in sites[0][::2]] + [(x, 1) for x in sites[1][1::2]]:
            at = block.where(base) + step
            if not {*sites[0], *sites[1]} & set(block.base[at : at + 3].tolist()):
                fresh = splice(block, at, at + 3, 0, fresh)
    elif edit == "bases inserted at a site":
        for base in sites[0]:
            fresh = splice(block, block.where(base), block.where(base), 5, fresh)
            for junction in block.junctions:
                if junction.donor == base:
                    junction_new = Junction(junction.name, fresh - 5, junction.acceptor)
                    block.junctions[block.junctions.index(junction)] = junction_new
    elif edit == "site moved":
        moves = {base: int(rng.choice([-7, -4, -1, 1, 2, 6])) for base in sites[0][::2]}
        taken = set(sites[0])
        for i, junction in enumerate(block.junctions):
            move = moves.get(junction.donor, 0)
            new = int(block.base[block.where(junction.donor) + move])
            if move and new not in taken:
                block.junctions[i] = Junction(junction.name, new, junction.acceptor)
                shifts[junction.name] = abs(move)
    elif edit == "intron lost":
        junction = block.junctions[int(rng.integers(len(block.junctions)))]
        start, stop = block.where(junction.donor), block.where(junction.acceptor) + 1
        lose(start, stop)
        fresh = splice(block, start, stop, 0, fresh)
    elif edit == "exon lost":
        start, stop = block.where(first) - 30, block.where(last) + 31
        lose(start, stop)
        fresh = splice(block, start, stop, 0, fresh)
    elif edit == "exon split":
        at = (block.where(first) + block.where(last)) // 2
        fresh = splice(block, at, at, 300, fresh)
        block.junctions.append(Junction(f"{block.gene}.gained", fresh - 300, fresh - 1))
        shifts[f"{block.gene}.gained"] = None
    elif edit == "exon inverted":
        start, stop = block.where(first) - 30, block.where(last) + 31
        lose(start, stop)
        block.base[start:stop] = block.base[start:stop][::-1].copy()
        block.sign[start:stop] = -block.sign[start:stop][::-1]
    elif edit == "antisense":  # the junction was not seen, one on the other strand was
        chosen = block.junctions[::2]
        block.antisense = {junction.name for junction in chosen}
        shifts.update(dict.fromkeys(block.antisense))
    return shifts, fresh


def _copied(block: Block, gene: str, n_contigs: int) -> Block:
    junctions = [Junction(f"{j.name}.{gene}", j.donor, j.acceptor) for j in block.junctions]
    return Block(
        gene,
        block.base,
        block.sign,
        junctions,
        block.exons,
        -block.strand,
        (block.contig + 2) % n_contigs,
        True,
    )


def assemble(
    blocks: list[Block], rng: np.random.Generator, fresh: int, n_contigs: int, prefix: str
) -> tuple[Genome, int]:
    """Join genes to contigs, with bases between them that nothing is aligned to."""
    parts: list[list[tuple[np.ndarray, np.ndarray, bool]]] = [[] for _ in range(n_contigs)]
    length = [0] * n_contigs
    rows = []
    for block in blocks:
        c = block.contig
        gap = int(rng.integers(_GAP, 2 * _GAP))
        parts[c].append((np.arange(fresh, fresh + gap), np.ones(gap, np.int8), False))
        fresh, offset = fresh + gap, length[c] + gap
        base, sign = block.base, block.sign
        if block.strand < 0:
            base, sign = base[::-1], -sign[::-1]
        at = {int(b): offset + i + 1 for i, b in enumerate(base)}
        for junction in block.junctions:
            ends = sorted((at[junction.donor], at[junction.acceptor]))
            strand = block.strand * (-1 if junction.name in block.antisense else 1)
            rows.append((junction.name, f"{prefix}{c + 1}", *ends, "+-"[strand < 0], block.gene))
        parts[c].append((base, sign, block.is_copy))
        length[c] = offset + len(base)
    names = [f"{prefix}{c + 1}" for c in range(n_contigs)]
    joined = [
        {
            name: np.concatenate([x[i] for x in part])
            for name, part in zip(names, parts, strict=True)
        }
        for i in (0, 1)
    ]
    is_copy = {
        name: np.concatenate([np.full(len(x[0]), x[2]) for x in part])
        for name, part in zip(names, parts, strict=True)
    }
    var = pd.DataFrame(rows, columns=["junction", "chrom", "start", "end", "strand", "gene_id"])
    var.index = [
        f"{c}:{s}-{e}:{t}"
        for c, s, e, t in zip(var["chrom"], var["start"], var["end"], var["strand"], strict=True)
    ]
    return Genome(joined[0], joined[1], is_copy, var), fresh


def alignment(source: Genome, target: Genome) -> pd.DataFrame:
    """Aligned bases: ``contig``, ``position`` (0-based) and ``strand`` in the two genomes.

    Each base of the source has one place at most: that of the original where there are copies.
    """
    tables = [
        pd.DataFrame(
            {
                "contig": np.repeat(list(g.base), [len(x) for x in g.base.values()]),
                "position": np.concatenate([np.arange(len(x)) for x in g.base.values()]),
                "base": np.concatenate(list(g.base.values())),
                "sign": np.concatenate(list(g.sign.values())).astype(int),
                "is_copy": np.concatenate(list(g.is_copy.values())),
            }
        )
        for g in (source, target)
    ]
    tables[1] = tables[1][~tables[1]["is_copy"]]
    both = tables[0].merge(tables[1], on="base", suffixes=("", "_to"))
    both["orientation"] = both["sign"] * both["sign_to"]
    return both.sort_values(["contig", "position"], ignore_index=True)


def write_chain(source: Genome, target: Genome, path: Path) -> None:
    """Write the alignment as chains: header, then sizes of blocks and of the gaps after them."""
    aligned = alignment(source, target)
    step = aligned["position"].diff().to_numpy()
    other = (aligned["position_to"].diff() * aligned["orientation"]).to_numpy()
    same = np.ones(len(aligned), bool)
    for column in ("contig", "contig_to", "orientation"):
        same &= (aligned[column] == aligned[column].shift()).to_numpy()
    in_chain = same & (other > 0) & (step < 2_000) & (other < 2_000)
    in_block = in_chain & (step == 1) & (other == 1)
    starts = np.flatnonzero(~in_block)
    sizes = np.diff(np.append(starts, len(aligned)))
    chain = np.cumsum(~in_chain)[starts]
    sums = {name: len(x) for name, x in (*source.base.items(), *target.base.items())}
    values = {name: aligned[name].to_numpy() for name in aligned}
    with path.open("w", newline="\n") as file:
        for number in np.unique(chain):
            (blocks,) = np.nonzero(chain == number)
            i, j = starts[blocks[0]], starts[blocks[-1]] + sizes[blocks[-1]] - 1
            to, forward = values["contig_to"][i], values["orientation"][i] > 0
            ends = values["position_to"][i], values["position_to"][j]
            begin, end = (
                (ends[0], ends[1] + 1) if forward else (sums[to] - 1 - ends[0], sums[to] - ends[1])
            )
            contig = values["contig"][i]
            file.write(
                f"chain 1000 {contig} {sums[contig]} + {values['position'][i]} "
                f"{values['position'][j] + 1} {to} {sums[to]} {'+' if forward else '-'} "
                f"{begin} {end} {number}\n"
            )
            for one, following in zip(blocks, blocks[1:], strict=False):
                at = starts[following]
                file.write(f"{sizes[one]}\t{int(step[at]) - 1}\t{int(other[at]) - 1}\n")
            file.write(f"{sizes[blocks[-1]]}\n\n")
