"""Data of the gallery: real cells, and simulated ones for what these lack.

Each function returns the names that the calls use.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scvi

import leafletfa_scvi as lfa

FOLDER = Path(os.environ.get("LEAFLETFA_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
"""Public data, as of the tests."""
FITTED: tuple[Path, Path] | None = None
"""Output of ``leafletfa fit`` of the mouse cells: an AnnData and a folder; None to fit here."""


def _trained(adata: ad.AnnData, n_programs: int, **options: Any) -> lfa.LeafletFAModel:
    batch_key = options.pop("batch_key", None)
    lfa.LeafletFAModel.setup_anndata(adata, batch_key=batch_key)
    scvi.settings.seed = options.pop("seed", 0)
    model = lfa.LeafletFAModel(adata, n_programs=n_programs)
    model.train(**({"method": "em"} | options))
    model.export_posterior(adata)
    return model


@cache
def mouse_cells() -> dict[str, Any]:
    """Cells of Chen et al. with the fit of eight programs by EM, and a UMAP of activities."""
    if FITTED is None:
        adata = ad.read_h5ad(FOLDER / "chen_mesc.h5ad")
        model = _trained(adata, 8)
    else:
        adata = ad.read_h5ad(FITTED[0])
        model = lfa.LeafletFAModel.load(str(FITTED[1]), adata=adata)
    sc.pp.neighbors(adata, use_rep="X_PHI")
    sc.tl.umap(adata)
    return {"adata": adata, "model": model}


@cache
def query() -> dict[str, Any]:
    """A reference without motor neurons, and a query with them, on the most variable ATSEs."""
    adata = ad.read_h5ad(FOLDER / "chen_mesc.h5ad")
    lfa.pp.select_variable_atses(adata, 1500, subset=True)
    rng, names = np.random.default_rng(0), adata.var["atse_id"].unique()
    is_new = rng.random(adata.n_obs) < 0.25
    is_new |= (adata.obs["cell_type"] == "Motor neuron").to_numpy()
    # As if both had been counted apart: each lacks some exons of the other.
    share = pd.Series(rng.random(len(names)), names).loc[adata.var["atse_id"]].to_numpy()
    model = _trained(adata[~is_new, share < 0.9].copy(), 6)
    other = adata[is_new, share > 0.15].copy()
    placed = lfa.LeafletFAModel.prepare_query_anndata(other, model, inplace=False)
    query_model = lfa.LeafletFAModel.load_query_data(placed, model)
    query_model.train()
    return {"model": model, "query_model": query_model}


@cache
def neurons() -> dict[str, Any]:
    """Junctions of a few genes of single neurons, with the annotation of these genes."""
    gtf = FOLDER / "tasic2016" / "gencode.vM10.annotation.subset.gtf"
    annotation = lfa.pp.read_annotation(gtf)
    adata = lfa.pp.make_splicing_dataset(FOLDER / "tasic2016" / "sj", gtf=annotation)
    known = {"CAV": "projection neurons", "Rbp4_tdTp": "Rbp4+", "Rbp4_tdTn": "Rbp4-"}
    kind = [next((k for k in known if name.startswith(k)), None) for name in adata.obs_names]
    adata.obs["cells"] = pd.Categorical([known.get(k) for k in kind])  # None: pools of RNA
    return {"adata": adata, "annotation": annotation}


@cache
def donors() -> dict[str, Any]:
    """Two groups of donors, of which group B has more of one program and less of another."""
    adata = lfa.datasets.simulate_cohort((6, 6), 900, 200, 6, shift=0.25, coverage=0.5, seed=1)
    return {"adata": adata, "model": _trained(adata, 6)}


@cache
def batches() -> dict[str, Any]:
    """Cells of three batches."""
    adata = lfa.datasets.simulate_splicing(
        450, 200, 5, n_batches=3, frac_batch=0.15, coverage=0.5, seed=2
    )
    return {"adata": adata, "model": _trained(adata, 5, batch_key="batch")}


@cache
def five_programs() -> dict[str, Any]:
    """Cells of five programs, their true PSI, and three fits from other random numbers."""
    adata = lfa.datasets.simulate_splicing(400, 150, 5, coverage=0.4, seed=3)
    models = [_trained(adata.copy(), 6, seed=seed, init="random") for seed in range(3)]
    columns = [f"true {k}" for k in range(1, 6)]
    truth = pd.DataFrame(adata.varm["psi_true"], adata.var_names, columns)
    return {"adata": adata, "model": models[0], "models": models, "truth": truth}


@cache
def stochastic() -> dict[str, Any]:
    """A fit by stochastic variational inference, with pairs held out."""
    adata = lfa.datasets.simulate_splicing(400, 150, 5, coverage=0.4, seed=3)
    options = {"method": "svi", "validation_size": 0.1, "max_epochs": 150, "init": "random"}
    return {"adata": adata, "model": _trained(adata, 5, **options)}
