"""Compare the activities of query cells with those of a joint fit and with the truth.

Placement: 70 % of simulated cells are the reference, 30 % the query; a tenth of the (cell, ATSE)
pairs is hidden. Query cells are compared with the same cells in a joint fit of all cells:
correlation with true activities (programs matched), mean largest activity, and log-likelihood of
hidden entries above junction means. The same comparison of the reference cells, in the reference
and in the joint fit, shows what is due to programs that were learned from fewer cells. Reference
cells are also placed as a query.

Other cells: largest difference of activities from those in the whole query. One type: accuracy of
types, named by nearest neighbors in the reference, in the mixed query and in a query for each
type.
"""

from __future__ import annotations

import argparse
import platform
import resource
import warnings
from importlib.metadata import version
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from benchmarks._report import Table, now, write
from benchmarks.query._placement import Setting, Split, placed

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

SETTINGS = (
    "0.2,8,4000",
    "0.07,8,4000",
    "0.2,12,4000",
    "0.07,12,4000",
    "0.2,15,4000",
    "0.07,15,4000",
    "0.07,8,1200",
    "0.07,8,12000",
)
"""The last two show what more reference cells change."""
N_ATSES, MANY_ATSES = 1000, 150


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--settings",
        nargs="+",
        default=SETTINGS,
        metavar="COVERAGE,K,CELLS",
        help="what is simulated",
    )
    parser.add_argument("--seeds", type=int, default=1, help="simulations of each setting")
    parser.add_argument("--many", type=int, default=50_000, help="cells of the large query")
    parser.add_argument("--cache", type=Path, help="folder to keep trained models in")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    facts = {
        "command": f"nox -s benchmarks -- query --settings {' '.join(args.settings)} "
        f"--seeds {args.seeds} --many {args.many}",
        "processor": platform.processor() or platform.machine(),
        "models": "trained in this run" if args.cache is None else "of earlier runs where kept",
        "ATSEs": N_ATSES,
        "python": platform.python_version(),
        "torch": version("torch"),
        "date": now(),
    }
    placement = Table(
        {
            "coverage": 8,
            "K": 3,
            "all cells": 9,
            "cells": 21,
            "phi r": 6,
            "joint phi r": 11,
            "difference": 10,
        }
        | {"max / joint": 11, "max / true": 10, "gain / joint": 12, "mean change": 11, "s": 5}
    )
    others = Table(
        {"query": 26, "cells": 7, "largest difference": 18, "phi r": 6, "s": 6, "MB": 6}
    )
    types = Table(
        {
            "coverage": 8,
            "K": 3,
            "all cells": 9,
            "prevalence": 10,
            "mixed query": 11,
            "one type each": 13,
        }
        | {"largest fall of a type": 22}
    )
    tables = {"Placement": placement, "Other cells and junctions": others, "One type": types}

    def save() -> None:
        if not args.no_results:
            write("query", "Activities of query cells", facts, tables)

    placement.start()
    splits = []
    for setting in args.settings:
        coverage, n_programs, n_cells = setting.split(",")
        for seed in range(args.seeds):
            split = Split(
                Setting(float(coverage), int(n_programs), int(n_cells), N_ATSES, seed), args.cache
            )
            add_placement(placement, split)
            splits.append(split)
            save()
    others.start()
    add_junctions(others, splits[0])
    save()
    add_cells(others, args.many)
    save()
    types.start()
    for split in splits:
        add_types(types, split)
        save()


def add_placement(table: Table, split: Split) -> None:
    """Add rows of query cells, of reference cells, and of these as a query."""
    joint = split.joint.get_latent_representation()
    query, seconds = placed(split.cells(split.new), split.reference)
    again, _ = placed(split.cells(split.own), split.reference)
    own = split.reference.get_latent_representation()
    found = {
        "query": (query.get_latent_representation(), split.new),
        "reference": (own, split.own),
        "reference as a query": (again.get_latent_representation(), split.own),
    }
    for name, (phi, rows) in found.items():
        together = joint[rows]
        r = split.correlation(split.reference, phi, rows)
        joint_r = split.correlation(split.joint, together, rows)
        largest = phi.max(1).mean()
        gains = split.gain(split.reference, phi, rows), split.gain(split.joint, together, rows)
        table.add(
            **simulated(split.setting),
            **{"cells": name, "phi r": round(r, 4), "joint phi r": round(joint_r, 4)},
            **{"difference": f"{r - joint_r:.4f}"},
            **{"max / joint": f"{largest / together.max(1).mean():.3f}"},
            **{"max / true": f"{largest / split.true_activities[rows].max(1).mean():.3f}"},
            **{"gain / joint": f"{gains[0] / gains[1]:.3f}"},
            **{"mean change": float(np.abs(phi - own).mean()) if rows is split.own else None},
            **{"s": seconds if name == "query" else None},
        )


def simulated(setting: Setting) -> dict[str, float]:
    """Columns of a table that say what was simulated."""
    return {
        "coverage": setting.coverage,
        "K": setting.n_programs,
        "all cells": setting.n_cells,
    }


def add_types(table: Table, split: Split) -> None:
    """Add a row for each prevalence: named types in the mixed query and in queries of one."""
    true = split.types(split.new)
    for prevalence in ("reference", "query"):
        query, _ = placed(split.cells(split.new), split.reference, prevalence)
        right = split.named(query.get_latent_representation()) == true
        alone = np.zeros(len(true), dtype=bool)
        for each in np.unique(true):
            rows = true == each
            only, _ = placed(split.cells(split.new[rows]), split.reference, prevalence)
            alone[rows] = split.named(only.get_latent_representation()) == each
        by_type = pd.DataFrame({"mixed": right, "alone": alone}).groupby(true).mean()
        table.add(
            **simulated(split.setting),
            **{"prevalence": prevalence, "mixed query": f"{right.mean():.3f}"},
            **{"one type each": f"{alone.mean():.3f}"},
            **{"largest fall of a type": f"{(by_type['mixed'] - by_type['alone']).max():.3f}"},
        )


def add_junctions(table: Table, split: Split) -> None:
    """Add queries of other cells and junctions, compared with the whole query."""
    new = split.cells(split.new)
    query, seconds = placed(new, split.reference)
    whole = query.get_cell_activities()

    def add(name: str, adata: anndata.AnnData, seconds: float | None = None) -> None:
        if seconds is None:
            found, seconds = placed(adata, split.reference)
            phi = found.get_cell_activities()
        else:
            phi = whole
        rows = split.new[whole.index.get_indexer(phi.index)]
        r = split.correlation(split.reference, phi.to_numpy(), rows) if len(phi) > 1 else None
        difference = float(np.abs(phi - whole.loc[phi.index]).to_numpy().max())
        table.add(
            **{"query": name, "cells": len(phi), "largest difference": difference},
            **{"phi r": None if r is None else round(r, 4), "s": seconds},
        )

    add("whole", new, seconds)
    add("one cell", new[:1].copy())
    add("reversed", new[::-1].copy())
    codes = pd.factorize(new.var["atse_id"])[0]
    half = new[:, codes % 2 == 0].copy()
    LeafletFAModel.prepare_query_anndata(half, split.reference)
    add("half of the junctions", half)
    extra = new[:, codes < 0.3 * codes.max()].copy()
    extra.var_names = [f"extra_{name}" for name in extra.var_names]
    extra.var["atse_id"] = "extra_" + extra.var["atse_id"].astype(str)
    more = anndata.concat([extra, new], axis="var", merge="first")
    LeafletFAModel.prepare_query_anndata(more, split.reference)
    add("30 % extra junctions", more)


def add_cells(table: Table, n_cells: int) -> None:
    """Add a large query, and a part of it on its own."""
    adata = lfa.datasets.simulate_splicing(1000 + n_cells, MANY_ATSES, 8, coverage=0.1)
    split = Split(Setting(0.1, 8, 1000, MANY_ATSES))
    reference = split.reference
    adata = adata[1000:].copy()
    adata.var_names = reference.junction_names
    part, _ = placed(adata[-300:].copy(), reference)
    before = _megabytes()
    query, seconds = placed(adata, reference)
    change = np.abs(
        part.get_latent_representation()
        - query.get_latent_representation(indices=slice(-300, None))
    )
    table.add(
        **{"query": f"many cells, {MANY_ATSES} ATSEs", "cells": n_cells},
        **{"largest difference": float(change.max()), "s": seconds},
        **{"MB": float(_megabytes() - before)},
    )


def _megabytes() -> float:
    """Largest memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
