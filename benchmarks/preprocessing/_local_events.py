"""Local events of planted genes among noise junctions, their PSI, known events and speed."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

import leafletfa_scvi as lfa
from leafletfa_scvi.datasets._genome import Gene, Genome, plant_genome, write_gtf
from leafletfa_scvi.pp.atse._local_forms import CODES

if TYPE_CHECKING:
    from leafletfa_scvi.pp.annotate._annotation import Annotation

KINDS = {code: kind for kind, code in CODES.items()}
NOISE = 0.015
"""Reads of a noise junction, as a share of those of a gene at one of its introns."""


class Planted(NamedTuple):
    """A planted local event: its junctions as (first base, last base), 1-based."""

    event_type: str
    inclusion: tuple[tuple[int, int], ...]
    exclusion: tuple[tuple[int, int], ...]


def planted_events(gene: Gene) -> set[Planted]:
    """Compare the transcripts of a gene in pairs, as ASTALAVISTA does.

    Two transcripts are rows of splice sites. Between two neighboring sites that both have, the
    rows differ or do not; each such difference is an event, if it is of one of the types.
    """
    found = set()
    for one, other in itertools.combinations(gene.transcripts, 2):
        rows = [_sites(transcript.exons) for transcript in (one, other)]
        shared = [site for site in rows[0] if site in set(rows[1])]
        for before, after in itertools.pairwise([None, *shared, None]):
            forms = [_between(row, before, after) for row in rows]
            if forms[0] != forms[1]:
                found.add(_named(forms, before, after, gene.strand, (one.exons, other.exons)))
    return found - {None}


def _sites(exons):
    """Return the ends of introns in order, as ("left" or "right", position)."""
    row = []
    for (_, end), (start, _) in itertools.pairwise(exons):
        row += [("left", end + 1), ("right", start)]
    return row


def _between(row, before, after):
    first = 0 if before is None else row.index(before) + 1
    return row[first : len(row) if after is None else row.index(after)]


def _named(forms, before, after, strand, exons):
    shorter, longer = sorted(range(2), key=lambda i: len(forms[i]))
    sizes = len(forms[shorter]), len(forms[longer])
    whole = [[*filter(None, [before]), *form, *filter(None, [after])] for form in forms]
    introns = [
        tuple((a[1], b[1]) for a, b in itertools.pairwise(row) if a[0] == "left") for row in whole
    ]
    if before and after and before[0] == "left" and after[0] == "right":
        if sizes == (2, 2):
            leftmost = min(range(2), key=lambda i: forms[i][0][1])
            return Planted(KINDS["MX"], introns[leftmost], introns[1 - leftmost])
        if sizes[0]:
            return None
        return Planted(KINDS["SE" if sizes[1] == 2 else "MES"], introns[longer], introns[shorter])
    if sizes != (1, 1):
        return None
    length = [introns[i][0][1] - introns[i][0][0] for i in range(2)]
    near, far = int(length[1] < length[0]), int(length[1] >= length[0])
    is_left = forms[0][0][0] == "left"
    side = 0 if is_left else -1  # the terminal exons, where the two rows have no site before
    (a, b), (c, d) = exons[0][side], exons[1][side]
    if (before is None or after is None) and (b <= c or d <= a):
        kind = "AF" if is_left == (strand == "+") else "AL"
        return Planted(KINDS[kind], introns[far], introns[near])
    kind = "A5" if is_left == (strand == "+") else "A3"
    return Planted(KINDS[kind], introns[near], introns[far])


def noisy_counts(genome: Genome, n_cells: int, n_noise: int, rng: np.random.Generator) -> AnnData:
    """Draw the reads of planted junctions, and of novel junctions that few reads support."""
    rows, columns = [], []
    for gene in genome.genes:
        share = rng.dirichlet(np.full(len(gene.transcripts), 20.0), n_cells)
        depth = rng.gamma(2, 20, n_cells)
        for intron in gene.introns:
            of = [intron in transcript.introns for transcript in gene.transcripts]
            rows.append((gene.chrom, intron[0] + 1, intron[1], gene.strand))
            columns.append(rng.poisson(depth * (share @ np.array(of, float))))
        for intron in _noise(gene, n_noise, rng):
            rows.append((gene.chrom, intron[0] + 1, intron[1], gene.strand))
            columns.append(rng.poisson(depth * NOISE))
    var = pd.DataFrame(rows, columns=["chrom", "start", "end", "strand"])
    var.index = [f"{row.chrom}:{row.start}-{row.end}:{row.strand}" for row in var.itertuples()]
    order = var.reset_index().sort_values(["chrom", "start", "end", "strand"]).index
    counts = np.stack(columns, axis=1)[:, order]
    obs = pd.DataFrame(index=[f"cell_{i}" for i in range(n_cells)])
    return AnnData(sp.csr_matrix(counts.astype(np.float32)), obs, var.iloc[order])


def _noise(gene: Gene, n_noise: int, rng: np.random.Generator) -> set[tuple[int, int]]:
    """Draw novel introns: between sites of the gene, or from one to anywhere, or anywhere."""
    starts, ends = zip(*gene.introns, strict=True)
    low, high = min(starts), max(ends)
    found: set[tuple[int, int]] = set()
    while len(found) < n_noise:
        kind = rng.integers(3)
        start = int(rng.choice(starts)) if kind < 2 else int(rng.integers(low, high))
        end = int(rng.choice(ends)) if kind < 1 else int(rng.integers(low, high))
        if end - start >= 70 and (start, end) not in gene.introns:
            found.add((start, end))
    return found


def simulate(
    n_genes: int, n_cells: int, seed: int, n_noise: int = 3
) -> tuple[AnnData, Annotation, dict[tuple[str, str], set[Planted]]]:
    """Return junction counts with noise, the annotation, and planted events by gene.

    Each gene has ``n_noise`` novel junctions of few reads.
    """
    rng = np.random.default_rng(seed)
    genome = plant_genome(rng, n_genes, n_overlapping=n_genes // 6, n_novel=n_genes // 9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotation.gtf"
        write_gtf(genome, path)
        annotation = lfa.pp.read_annotation(path)
    planted = {
        (gene.gene_id, f"{gene.chrom}:{{}}-{{}}:{gene.strand}"): planted_events(gene)
        for gene in genome.genes
    }
    return noisy_counts(genome, n_cells, n_noise, rng), annotation, planted


def as_rows(planted: dict[tuple[str, str], set[Planted]], names: pd.Index) -> set[tuple[str, ...]]:
    """Return gene, type and junctions of planted events, of those that the data have."""
    known = set(names)
    return {
        (
            gene,
            event.event_type,
            *(
                ",".join(x for x in (name.format(*intron) for intron in form) if x in known)
                for form in (event.inclusion, event.exclusion)
            ),
        )
        for (gene, name), events in planted.items()
        for event in events
    }


def rows_of(events: pd.DataFrame) -> set[tuple[str, ...]]:
    """Return gene, type and junctions of the events that were found."""
    columns = ["gene_id", "event_type", "inclusion_junctions", "exclusion_junctions"]
    return set(events[columns].itertuples(index=False, name=None))


def slow_psi(adata: AnnData, event: tuple[str, str], cell: int) -> float:
    """Return PSI by its definition, from one cell at a time."""
    means = []
    for form in event:
        reads = [adata.X[cell, adata.var_names.get_loc(name)] for name in form.split(",")]
        means.append(sum(map(float, reads)) / len(reads))
    return means[0] / sum(means) if sum(means) else float("nan")


def rows() -> list[tuple[str, str, str]]:
    """Measure recall, precision, PSI, known events and time."""
    result = []
    # Noise: novel junctions of each gene.
    for name, n_noise in (("junction counts", 3), ("data set", 3), ("data set", 10)):
        found_all, planted_all, right, worst = 0, 0, 0, 0.0
        for seed in range(3):
            counts, annotation, planted = simulate(540, 60, seed, n_noise)
            adata = counts
            lfa.pp.annotate_junctions(counts, annotation)
            if name == "data set":
                adata = lfa.pp.make_splicing_dataset(
                    counts[:, :].copy(), gtf=annotation, min_reads=1, min_cells=1, min_usage=0
                )
            events = lfa.pp.find_local_events(adata, annotation)
            found, expected = rows_of(events), as_rows(planted, adata.var_names)
            found_all, planted_all = found_all + len(found), planted_all + len(expected)
            right += len(found & expected)
            psi = lfa.pp.event_psi(adata, events).X
            forms = events[["inclusion_junctions", "exclusion_junctions"]].to_numpy()
            for cell in range(3):
                slow = [slow_psi(adata, tuple(pair), cell) for pair in forms]
                np.testing.assert_array_equal(np.isnan(psi[cell]), np.isnan(slow))
                worst = max(worst, float(np.nanmax(np.abs(psi[cell] - slow))))
        result += [
            (
                f"events, {name}, {n_noise} noise",
                f"precision {right / found_all:.4f}, recall {right / planted_all:.4f} "
                f"of {planted_all:,}",
                ">= 0.98",
            ),
            (
                f"PSI, {name}, {n_noise} noise",
                f"off by {worst:.0e}",
                "equal to its definition",
            ),
        ]
    return [*result, *_real_rows(), _speed_row()]


def _real_rows() -> list[tuple[str, str, str]]:
    data = Path(os.environ["LEAFLETFA_TEST_DATA"])
    folder = data / "tasic2016"
    annotation = lfa.pp.read_annotation(folder / "gencode.vM10.annotation.subset.gtf")
    adata = lfa.pp.make_splicing_dataset(folder / "sj", gtf=annotation)
    events = lfa.pp.find_local_events(adata, annotation)
    known = events[events["gene_name"].isin(["Snap25", "Myl6"])]
    text = ", ".join(f"{row.gene_name} {row.event_type}" for row in known.itertuples())
    annotation = lfa.pp.read_annotation(data / "gtex_chr10" / "chr10.gtf.gz")
    adata = lfa.pp.make_splicing_dataset(data / "gtex_chr10" / "*.bed.gz", gtf=annotation)
    started = time.perf_counter()
    events = lfa.pp.find_local_events(adata, annotation)
    seconds = time.perf_counter() - started
    is_complex = events["inclusion_junctions"].map(
        lambda names: (adata.var.loc[names.split(","), "event_type"] == "complex").all()
    )
    return [
        ("mouse visual cortex", text, "exclusive exons of Snap25, cassette exon of Myl6"),
        (
            "GTEx chr10",
            f"{len(events)} events, {is_complex.sum()} in ATSEs of type complex, {seconds:.1f} s",
            "",
        ),
    ]


def _speed_row() -> tuple[str, str, str]:
    """Time PSI of 200,000 cells, as sparse matrices."""
    counts, annotation, _ = simulate(1800, 4, seed=0)
    lfa.pp.annotate_junctions(counts, annotation)
    events = lfa.pp.find_local_events(counts, annotation)
    n_cells, per_cell = 200_000, 200
    rng = np.random.default_rng(0)
    indices = rng.integers(0, counts.n_vars, n_cells * per_cell, np.int32)
    indptr = np.arange(n_cells + 1) * per_cell
    data = rng.integers(1, 9, n_cells * per_cell).astype(np.float32)
    matrix = sp.csr_matrix((data, indices, indptr), (n_cells, counts.n_vars))
    big = AnnData(matrix, var=counts.var)
    started = time.perf_counter()
    psi = lfa.pp.event_psi(big, events, sparse=True)
    seconds = time.perf_counter() - started
    return (
        f"PSI of {n_cells:,} cells, {len(events):,} events",
        f"{seconds:.1f} s, {psi.X.nnz / 1e6:.0f} million observed pairs",
        "seconds",
    )
