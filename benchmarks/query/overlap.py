"""Measure activities of new cells whose data lack junctions of the reference, or have others.

Cells of one simulation are split into a reference and a query. The query then has all junctions,
part of them, with totals of all (columns of a complete data set) or as made by filters that
dropped the reads of the others, or junctions in addition that the reference lacks. Columns are the
correlation of true and found activities, programs matched, their mean absolute difference from
those of the complete query, the mean largest activity, and the number of observed entries with the
share of these whose PSI is more than 0.05 off.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scvi
from benchmarks._report import Table, now, write

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from anndata import AnnData

COUNTS, TOTALS = "cell_by_junction_matrix", "cell_by_cluster_matrix"
N_REFERENCE, N_QUERY, N_ATSES, N_PROGRAMS = 700, 300, 400, 5
COVERAGE = 0.2
EXTRA = 0.3
"""Number of further junctions, as a share of those of the reference."""


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2, help="simulations")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scvi.settings.verbosity = 40
    widths = {"junctions of the query": 32, "atse_totals": 11, "phi correlation": 15}
    widths |= {"difference": 10, "largest activity": 16, "entries": 8, "PSI off": 7}
    table = Table(widths)
    table.start()
    facts = {
        "command": f"nox -s benchmarks -- overlap --seeds {args.seeds}",
        "cells of reference and query": f"{N_REFERENCE} and {N_QUERY}",
        "ATSEs, programs, coverage": f"{N_ATSES}, {N_PROGRAMS}, {COVERAGE}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "date": now(),
    }
    start = time.perf_counter()
    rows = pd.concat([measure(seed) for seed in range(args.seeds)])
    means = rows.groupby(list(widths)[:2], sort=False).mean().reset_index()
    for row in means.to_dict("records"):
        table.add(**row)
    facts["s"] = round(time.perf_counter() - start)
    if not args.no_results:
        title = "Activities of new cells that lack junctions of the reference"
        write("overlap", title, facts, {"Means over simulations": table})


def measure(seed: int) -> pd.DataFrame:
    """Fit a reference, and place the query as each of the data sets."""
    adata = lfa.datasets.simulate_splicing(
        N_REFERENCE + N_QUERY, N_ATSES, N_PROGRAMS, coverage=COVERAGE, seed=seed
    )
    reference, query = adata[:N_REFERENCE].copy(), adata[N_REFERENCE:].copy()
    scvi.settings.seed = seed
    lfa.LeafletFAModel.setup_anndata(reference)
    model = lfa.LeafletFAModel(reference, N_PROGRAMS)
    model.train(method="em", accelerator="cpu", enable_progress_bar=False)
    match = lfa.tl.match_programs(
        reference.varm["psi_true"], model.get_splicing_programs().to_numpy()
    )
    order = match["learned"].to_numpy()
    complete = model.get_latent_representation(query)
    psi = usage(query)
    rows = []
    for name, other in data_sets(query, np.random.default_rng(seed)).items():
        for totals in ("query", "shared"):
            aligned = lfa.LeafletFAModel.prepare_query_anndata(
                other, model, inplace=False, atse_totals=totals
            )
            found = model.get_latent_representation(aligned)
            off = np.abs(usage(aligned) - psi)
            rows.append(
                {
                    "junctions of the query": name,
                    "atse_totals": totals,
                    "phi correlation": np.corrcoef(
                        found[:, order].ravel(), query.obsm["phi_true"].ravel()
                    )[0, 1],
                    "difference": np.abs(found - complete).mean(),
                    "largest activity": found.max(axis=1).mean(),
                    "entries": float(np.isfinite(off).sum()),
                    "PSI off": np.nanmean(np.where(np.isfinite(off), off > 0.05, np.nan)),
                }
            )
    return pd.DataFrame(rows)


def data_sets(query: AnnData, rng: np.random.Generator) -> dict[str, AnnData]:
    """The query with all junctions, half of them, or more."""
    counts = query.to_df(COUNTS).astype(int)
    labels = query.var["atse_id"].astype(str).to_numpy()
    shuffled = rng.permutation(query.n_vars)
    half, most = (np.sort(shuffled[: int(share * query.n_vars)]) for share in (0.5, 0.9))
    common = np.sort(np.argsort(counts.sum().to_numpy())[query.n_vars // 2 :])
    more = rng.permutation(query.n_vars)[: int(EXTRA * query.n_vars)]
    extra = counts.iloc[:, more].add_prefix("extra ")
    return {
        "all": query,
        "half, totals of all": query[:, half].copy(),
        "half, reads of others dropped": made(counts.iloc[:, half], labels[half]),
        "90 %, reads of others dropped": made(counts.iloc[:, most], labels[most]),
        "half with most reads": made(counts.iloc[:, common], labels[common]),
        "all and 30 % extra": made(
            pd.concat([counts, extra], axis=1), np.append(labels, labels[more])
        ),
    }


def made(counts: pd.DataFrame, labels: np.ndarray) -> AnnData:
    """A data set whose totals are sums of these counts."""
    return lfa.pp.splicing_from_counts(counts, list(labels))


def usage(adata: AnnData) -> np.ndarray:
    """PSI of observed entries, NaN at others."""
    y, n = (adata.to_df(layer).to_numpy(float) for layer in (COUNTS, TOTALS))
    return np.divide(y, n, out=np.full_like(y, np.nan), where=n > 0)


if __name__ == "__main__":
    main()
