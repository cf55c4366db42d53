"""References that learn from a second study: both orders, and both studies together.

    nox -s benchmarks -- extend [--data-sets 2] [--no-results]

Studies A and B are halves of simulated cells of the same programs. Each is fitted alone, both
together, and one after the other in both orders (``freeze_programs=False``).
"""

from __future__ import annotations

import argparse
import warnings
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scvi
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

if TYPE_CHECKING:
    import anndata as ad

N_CELLS, N_ATSES, N_PROGRAMS = 1_000, 150, 6
COVERAGES = (0.2, 0.07)
QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}
LEGEND = f"""
- {N_CELLS:,} cells, {N_ATSES} ATSEs, {N_PROGRAMS} programs; halves of the cells are A and B. A+B
  is a reference of A, then trained on B with its posterior as prior.
- Correlation and root mean square difference of programs (psi) over all junctions and programs,
  correlation of activities (phi) of all cells; programs are matched by correlation.
""".strip()


class Fit(NamedTuple):
    """Programs and activities in the order of the true programs."""

    psi: np.ndarray
    phi: np.ndarray


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-sets", type=int, default=2)
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device("cpu")
    facts = {"command": "nox -s benchmarks -- extend", "device": device_name(device)}
    facts |= versions(device) | {"date": now(), "load before": load()}
    truth, agreement = orders(args.data_sets)
    print(f"\n{LEGEND}")
    facts["load after"] = load()
    if not args.no_results:
        tables = {"Truth": truth, "Agreement": agreement}
        path = write("extend", "References that learn from a second study", facts, tables)
        path.write_text(path.read_text().replace("\n## Truth", f"\n{LEGEND}\n\n## Truth", 1))
        print(f"\nWritten to {path}")


def orders(n_data_sets: int) -> tuple[Table, Table]:
    """Compare fits of one study, of both, and of one after the other."""
    named = {"coverage": 8, "data set": 8, "fit": 20, "psi r": 8, "psi RMS": 8, "phi r": 8}
    truth, agreement = Table(named), Table(named)
    for coverage in COVERAGES:
        for seed in range(n_data_sets):
            both = lfa.datasets.simulate_splicing(
                N_CELLS, N_ATSES, N_PROGRAMS, coverage=coverage, frac_differential=0.5, seed=seed
            )
            fits = studies(both, seed)
            true = Fit(both.varm["psi_true"], both.obsm["phi_true"])
            case = {"coverage": f"{coverage:.0%}", "data set": seed}
            truth.start()
            for name, fit in fits.items():
                truth.add(**case, fit=name, **compared(fit, true))
            agreement.start()
            chosen = {name: fit for name, fit in fits.items() if name != "B"}
            for one, other in combinations(chosen, 2):
                name = f"{one} and {other}"
                agreement.add(**case, fit=name, **compared(fits[one], fits[other]))
    return truth, agreement


def studies(both: ad.AnnData, seed: int) -> dict[str, Fit]:
    """Fit the studies alone, together, and one after the other."""
    first, second = both[: N_CELLS // 2].copy(), both[N_CELLS // 2 :].copy()
    models = {"A": trained(first, seed), "B": trained(second, seed), "joint": trained(both, seed)}
    models["A+B"] = extended(second, models["A"], seed)
    models["B+A"] = extended(first, models["B"], seed)
    return {name: in_true_order(model, both) for name, model in models.items()}


def trained(adata: ad.AnnData, seed: int, n_programs: int = N_PROGRAMS) -> LeafletFAModel:
    """Train a model with the defaults."""
    scvi.settings.seed = seed
    LeafletFAModel.setup_anndata(adata)
    model = LeafletFAModel(adata, n_programs=n_programs)
    model.train(**QUIET)
    return model


def extended(
    adata: ad.AnnData, reference: LeafletFAModel, seed: int, **options: Any
) -> LeafletFAModel:
    """Train a reference further on new cells, or on the programs it lacks."""
    scvi.settings.seed = seed
    options = options or {"freeze_programs": False}
    model = LeafletFAModel.load_query_data(adata, reference, **options)
    model.train(**QUIET)
    return model


def in_true_order(model: LeafletFAModel, both: ad.AnnData) -> Fit:
    """Programs of a model, and activities of all cells, in the order of the true programs."""
    psi = model.get_splicing_programs().to_numpy()
    order = lfa.tl.match_programs(both.varm["psi_true"], psi)["learned"]
    return Fit(psi[:, order], model.get_latent_representation(both)[:, order])


def compared(fit: Fit, other: Fit) -> dict[str, float]:
    """Correlations of programs and activities, and the difference of programs."""
    return {
        "psi r": float(np.corrcoef(fit.psi.ravel(), other.psi.ravel())[0, 1]),
        "psi RMS": float(np.sqrt(np.mean((fit.psi - other.psi) ** 2))),
        "phi r": float(np.corrcoef(fit.phi.ravel(), other.phi.ravel())[0, 1]),
    }


if __name__ == "__main__":
    main()
