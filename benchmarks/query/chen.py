"""Query cells of Chen et al.: which do not belong to the reference, and labels of those that do.

``query_fit``: the reference has 70 % of the cells, but no Motor neurons; the query has the others
and all Motor neurons. AUROC of z for Motor neurons, and the share of cells with
p < 0.05 among these (found) and among the others (false).

``transfer_labels``: the reference has 70 % of all cells, the query the others. Accuracy of the
transferred cell types, beside that of logistic regression on components of PSI.
"""

from __future__ import annotations

import argparse
import time
import warnings

import anndata
import numpy as np
import scvi
import torch
from benchmarks._machine import device_name, load, versions
from benchmarks._report import Table, now, write
from benchmarks.quality._cases import CLUSTER, JUNCTION, chen_path
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import leafletfa_scvi as lfa

LABELS, MISSING = "cell_type", "Motor neuron"
SHARE = 0.7
ALPHA = 0.05


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="splits of the cells")
    parser.add_argument("--programs", type=int, default=8, help="number of programs")
    parser.add_argument("--method", choices=("svi", "em"), default="svi", help="fit")
    parser.add_argument("--no-results", action="store_true", help="print without writing files")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scvi.settings.verbosity = 40
    adata = anndata.read_h5ad(chen_path())
    fit = Table({"seed": 4, "AUROC": 6, "found": 6, "false": 6, "false, posterior": 16, "s": 5})
    columns = {"seed": 4, "knn": 6, "logistic": 8, "PCA, K": 7, "PCA, 20": 7}
    labels = Table({**columns, "unknown": 7, "s": 5})
    command = f"nox -s benchmarks -- chen --seeds {args.seeds} --programs {args.programs}"
    facts = {
        "command": f"{command} --method {args.method}",
        "targets": "AUROC >= 0.9, false 5 % +- 2 %; knn or logistic at least as accurate as PCA",
        "device": device_name(torch.device("cpu")),
    }
    facts |= versions(torch.device("cpu")) | {"date": now(), "load before": load()}
    for seed in range(args.seeds):
        fit.start()
        fit.add(seed=seed, **missing_type(adata, seed, args))
        labels.start()
        labels.add(seed=seed, **transferred(adata, seed, args))
        if not args.no_results:
            tables = {"Cells that do not belong": fit, "Transferred labels": labels}
            write("chen", "Query cells of Chen et al.", facts, tables)


def missing_type(adata: anndata.AnnData, seed: int, args: argparse.Namespace) -> dict:
    """Fit without the missing type, and test its cells and held-out cells of the others."""
    started = time.perf_counter()
    is_missing = (adata.obs[LABELS] == MISSING).to_numpy()
    known, new = split(np.flatnonzero(~is_missing), seed)
    reference = trained(adata[known].copy(), seed, args)
    cells = np.r_[new, np.flatnonzero(is_missing)]
    query = lfa.LeafletFAModel.load_query_data(adata[cells].copy(), reference)
    query.train(accelerator="cpu", enable_progress_bar=False, logger=False)
    found = lfa.tl.query_fit(query, reference=reference)
    posterior = lfa.tl.query_fit(query)
    rejected = found["p_value"] < ALPHA
    return {
        "AUROC": float(roc_auc_score(is_missing[cells], found["z"])),
        "found": float(rejected[is_missing[cells]].mean()),
        "false": float(rejected[~is_missing[cells]].mean()),
        "false, posterior": float((posterior["p_value"] < ALPHA)[~is_missing[cells]].mean()),
        "s": time.perf_counter() - started,
    }


def transferred(adata: anndata.AnnData, seed: int, args: argparse.Namespace) -> dict:
    """Accuracy of labels of held-out cells of all types."""
    started = time.perf_counter()
    known, new = split(np.arange(adata.n_obs), seed)
    reference = trained(adata[known].copy(), seed, args)
    query = lfa.LeafletFAModel.load_query_data(adata[new].copy(), reference)
    query.train(accelerator="cpu", enable_progress_bar=False, logger=False)
    truth = query.adata.obs[LABELS].astype(str)
    scores = {}
    for method in ("knn", "logistic"):
        table = lfa.tl.transfer_labels(reference, query, LABELS, method=method)
        scores[method] = float((table["predicted"].astype(str) == truth).mean())
    fit = lfa.tl.query_fit(query, reference=reference)
    table = lfa.tl.transfer_labels(reference, query, LABELS, query_fit=fit)
    labels = adata.obs[LABELS].astype(str).to_numpy()
    for name, n in (("PCA, K", args.programs), ("PCA, 20", 20)):
        first, second = components(adata[known], adata[new], n)
        classifier = LogisticRegression(max_iter=5000).fit(first, labels[known])
        scores[name] = float(classifier.score(second, labels[new]))
    return {
        **scores,
        "unknown": float((table["label"] == "unknown").mean()),
        "s": time.perf_counter() - started,
    }


def split(cells: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells of the reference and of the query, each in ascending order."""
    shuffled = np.random.default_rng(seed).permutation(cells)
    n = int(SHARE * len(cells))
    return np.sort(shuffled[:n]), np.sort(shuffled[n:])


def trained(adata: anndata.AnnData, seed: int, args: argparse.Namespace) -> lfa.LeafletFAModel:
    """Reference model."""
    scvi.settings.seed = seed
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, args.programs)
    options = {"method": "em"} if args.method == "em" else {}
    model.train(accelerator="cpu", enable_progress_bar=False, logger=False, **options)
    return model


def components(
    known: anndata.AnnData, new: anndata.AnnData, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of PSI minus the mean over reference cells, 0 where not observed.

    The new cells are projected; scores are divided by their standard deviation.
    """
    first, second = psi(known), psi(new)
    mean = np.nan_to_num(np.nanmean(first, 0))
    first, second = (np.where(np.isnan(x), 0.0, x - mean) for x in (first, second))
    pca = PCA(n, random_state=0).fit(first)
    scores = pca.transform(first)
    sd = scores.std(0)
    return scores / sd, pca.transform(second) / sd


def psi(adata: anndata.AnnData) -> np.ndarray:
    """Observed PSI, NaN where there is none."""
    y, n = (np.asarray(adata.layers[x].todense(), float) for x in (JUNCTION, CLUSTER))
    return np.divide(y, n, out=np.full(y.shape, np.nan), where=n > 0)


if __name__ == "__main__":
    main()
