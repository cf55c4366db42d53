"""Junctions of one species mapped to those of another, and activities through the mapping.

    nox -s benchmarks -- species [--genes 500] [--cells 2000] [--seeds 3] [--no-results]

Two genomes are made of one ancestor, so that partners are known: genes are inverted, moved, copied
and lost, introns and exons lost, exons split, splice sites moved, bases lost and inserted next to
them. A model is trained on cells of the target, and places cells of the source, whose reads on its
own genome are known, too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write
from benchmarks.query._genome_pair import make_genome_pair

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    import anndata as ad
    from benchmarks.query._genome_pair import GenomePair

TOLERANCES = (0, 7)
LEGEND = """
- Mapping: "partners" are pairs of junctions of one origin, "mappable" those of them whose splice
  sites moved by the tolerance at most; precision is the share of mapped pairs that are partners,
  recall that of mappable pairs that are mapped. Without the second chain file, genes that were
  copied are dropped, as several junctions map to one.
- Activities: 30 % of the cells are placed by a model of the others, with their reads on all
  junctions of the target ("without"), and with their reads on junctions of the source through the
  mapping (tolerance 0, both chain files). The correlation of the two over cells is that of the
  mean and of the worst program; "on shared junctions" is that with the same cells' reads on those
  junctions of the target that have a partner. That with the true activities is the mean over
  programs.
""".strip()


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genes", type=int, default=500)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--programs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device("cpu")
    facts = {"command": "nox -s benchmarks -- species", "device": device_name(device)}
    facts |= versions(device) | {"date": now(), "load before": load()}
    mapped = Table(
        {
            "seed": 4,
            "from": 6,
            "chain files": 11,
            "tolerance": 9,
            "junctions": 9,
            "partners": 8,
            "mappable": 8,
            "mapped": 7,
            "precision": 9,
            "recall": 8,
            "seconds": 7,
        }
    )
    placed = Table(
        {
            "coverage": 8,
            "cells": 6,
            "junctions": 9,
            "mapped": 7,
            "correlation": 11,
            "on shared junctions": 19,
            "worst program": 13,
            "with truth": 10,
            "with truth, without mapping": 27,
        }
    )
    mapped.start()
    for seed in range(args.seeds):
        for row in map_both_ways(args.genes, seed):
            mapped.add(seed=seed, **row)
    size = Table({"junctions": 9, "aligned blocks": 14, "mapped": 8, "seconds": 7})
    size.start()
    size.add(**large())
    placed.start()
    for coverage in (0.2, 0.07):
        placed.add(**activities(coverage, args))
    print(f"\n{LEGEND}")
    facts["load after"] = load()
    if not args.no_results:
        tables = {"Mapping": mapped, "Activities": placed, "Size": size}
        path = write("species", "Cells of another species on a reference", facts, tables)
        path.write_text(path.read_text().replace("\n## Mapping", f"\n{LEGEND}\n\n## Mapping", 1))
        print(f"\nWritten to {path}")


def map_both_ways(n_genes: int, seed: int) -> list[dict[str, object]]:
    """Precision and recall in both directions, with one chain file and with two."""
    rng = np.random.default_rng(seed)
    pair = make_genome_pair([tuple(rng.integers(2, 6, 2)) for _ in range(n_genes)], seed)
    rows = []
    swap = {"source": "target", "target": "source"}
    with tempfile.TemporaryDirectory() as folder:
        chains = pair.write_chains(Path(folder))
        for is_back in (False, True):
            step = -1 if is_back else 1
            source, target = (pair.source.var, pair.target.var)[::step]
            truth, orthologs = (
                x.rename(columns=swap) if is_back else x for x in (pair.pairs, pair.orthologs)
            )
            chain, back = chains[::step]
            partners = set(zip(truth["source"], truth["target"], strict=True))
            for reciprocal in (None, back):
                for tolerance in TOLERANCES:
                    started = time.perf_counter()
                    table = lfa.pp.map_junctions(
                        source,
                        target,
                        orthologs=orthologs,
                        chain=chain,
                        reciprocal_chain=reciprocal,
                        tolerance=tolerance,
                    ).dropna(subset=["target"])
                    seconds = time.perf_counter() - started
                    found = set(zip(table["source"], table["target"], strict=True))
                    near = truth[truth["shift"] <= tolerance]
                    mappable = set(zip(near["source"], near["target"], strict=True))
                    rows.append(
                        {
                            "from": "target" if is_back else "source",
                            "chain files": 1 if reciprocal is None else 2,
                            "tolerance": tolerance,
                            "junctions": len(source),
                            "partners": len(partners),
                            "mappable": len(mappable),
                            "mapped": len(found),
                            "precision": f"{len(found & partners) / len(found):.4f}",
                            "recall": f"{len(found & mappable) / len(mappable):.4f}",
                            "seconds": seconds,
                        }
                    )
    return rows


def activities(coverage: float, args: argparse.Namespace) -> dict[str, object]:
    """Activities of cells of the source through the mapping, against those without it."""
    adata = lfa.datasets.simulate_splicing(
        args.cells, 2 * args.genes, args.programs, coverage=coverage, seed=1
    )
    pair = pair_of(adata, seed=1)
    of_gene = pair.target.var[~pair.target.var["gene_id"].str.endswith("copy")]
    adata.var_names = of_gene.index[of_gene["junction"].argsort(kind="stable")]
    is_query = np.random.default_rng(2).random(adata.n_obs) < 0.3
    reference, query = adata[~is_query].copy(), adata[is_query].copy()
    foreign = counted_on_source(query, pair)
    with tempfile.TemporaryDirectory() as folder:
        chain, back = pair.write_chains(Path(folder))
        mapping = lfa.pp.map_junctions(
            pair.source.var,
            of_gene,
            orthologs=pair.orthologs,
            chain=chain,
            reciprocal_chain=back,
        )
    scvi.settings.seed = 0
    lfa.LeafletFAModel.setup_anndata(reference)
    model = lfa.LeafletFAModel(reference, n_programs=args.programs)
    model.train(enable_progress_bar=False)
    results = []
    partner = dict.fromkeys(pair.pairs.loc[pair.pairs["shift"] == 0, "target"])
    shared = {"mapping": {name: name for name in partner}}
    for cells, options in ((query, {}), (foreign, {"mapping": mapping}), (query, shared)):
        placed = lfa.LeafletFAModel.load_query_data(cells, model, **options)
        placed.train(enable_progress_bar=False)
        results.append(placed.get_cell_activities().to_numpy())
    match = lfa.tl.match_programs(adata.varm["psi_true"], model.get_splicing_programs().to_numpy())
    learned = match["learned"].to_numpy()
    truth = query.obsm["phi_true"]
    same = [np.corrcoef(*(x[:, k] for x in results[:2]))[0, 1] for k in range(args.programs)]
    on_shared = [np.corrcoef(*(x[:, k] for x in results[1:]))[0, 1] for k in range(args.programs)]
    right = [
        np.mean([np.corrcoef(x[:, j], truth[:, i])[0, 1] for i, j in enumerate(learned)])
        for x in results
    ]
    return {
        "coverage": coverage,
        "cells": query.n_obs,
        "junctions": adata.n_vars,
        "mapped": int(mapping["target"].notna().sum()),
        "correlation": f"{np.mean(same):.3f}",
        "on shared junctions": f"{np.mean(on_shared):.3f}",
        "worst program": f"{np.min(same):.3f}",
        "with truth": f"{right[1]:.3f}",
        "with truth, without mapping": f"{right[0]:.3f}",
    }


def pair_of(adata: ad.AnnData, seed: int) -> GenomePair:
    """Make genomes whose target has the ATSEs of a data set; junctions sort as those of it."""
    label = adata.var["atse_id"].astype(str)
    sizes = label.groupby(label, sort=False).size().to_numpy().reshape(-1, 2)
    pair = make_genome_pair([tuple(x) for x in sizes.tolist()], seed)
    for genome in (pair.source, pair.target):
        parts = genome.var["junction"].str.split(".", expand=True)
        is_plain = parts[2].notna() & parts[0].str.isdigit()
        code = [
            f"{int(gene):08d}.{atse}.{junction}"
            for gene, atse, junction in parts.loc[is_plain, [0, 1, 2]].to_numpy()
        ]
        genome.var["atse"] = genome.var["gene_id"] + "." + parts[1].fillna("")
        genome.var.loc[is_plain, "junction"] = code
    return pair


def counted_on_source(query: ad.AnnData, pair: GenomePair) -> ad.AnnData:
    """Move reads to the source's junctions; those without partner get reads of other cells."""
    rng = np.random.default_rng(3)
    counts = sp.csc_matrix(query.X)
    partner = dict(zip(pair.pairs["source"], pair.pairs["target"], strict=True))
    columns = []
    for name in pair.source.var.index:
        if name in partner:
            columns.append(counts[:, query.var_names.get_loc(partner[name])])
        else:
            column = counts[:, int(rng.integers(query.n_vars))]
            columns.append(column[rng.permutation(query.n_obs)])
    obs = query.obs.copy()
    var = pair.source.var.drop(columns=["junction"])
    return lfa.pp.splicing_from_counts(sp.hstack(columns, format="csr"), var["atse"], obs, var)


def large(n_junctions: int = 200_000, n_blocks: int = 50_000, n_contigs: int = 20) -> dict:
    """Seconds for as many junctions as an atlas has, with a chain file of a million blocks."""
    rng = np.random.default_rng(0)
    block = np.sort(rng.integers(0, n_blocks - 60, (n_junctions, 1)), axis=0)
    block = np.hstack([block, block + rng.integers(1, 60, (n_junctions, 1))])
    offset = rng.integers(10, 890, (n_junctions, 2))
    contig = np.arange(n_junctions) % n_contigs
    strand = np.array(["+", "-"])[rng.integers(0, 2, n_junctions)]
    names = [
        pd.unique(
            pd.Series(
                [
                    f"chr{c + 1}:{a}-{b}:{s}"
                    for c, (a, b), s in zip(contig, block * each + offset, strand, strict=True)
                ]
            )
        )
        for each in (1000, 1020)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.chain"
        lines = "900\t100\t120\n" * (n_blocks - 1) + "900\n\n"
        ends = [(n_blocks - 1) * each + 900 for each in (1000, 1020)]
        with path.open("w") as file:
            for c in range(1, n_contigs + 1):
                file.write(
                    f"chain 1 chr{c} {ends[0]} + 0 {ends[0]} chr{c} {ends[1]} + 0 {ends[1]} {c}\n"
                    + lines
                )
        started = time.perf_counter()
        table = lfa.pp.map_junctions(*names, orthologs=None, chain=path)
        seconds = time.perf_counter() - started
    assert (table["target"].to_numpy() == names[1]).all()
    return {
        "junctions": len(table),
        "aligned blocks": n_blocks * n_contigs,
        "mapped": int(table["target"].notna().sum()),
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
