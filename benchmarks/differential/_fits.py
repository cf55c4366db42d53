"""Fits of the model to simulated cohorts, kept in a folder, and its differential splicing."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import shutil
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import scvi
from benchmarks.differential._cases import DELTA, FDR_TARGET, GROUP1, GROUP2, N_PROGRAMS
from benchmarks.differential._scores import Found, ranked

from leafletfa_scvi import LeafletFAModel

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

PARAMETERS = inspect.signature(LeafletFAModel.differential_splicing).parameters
TRAINING: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}
"""Arguments of ``train``; all else is default."""
_CALLED = f"is_ds_fdr_{FDR_TARGET}"


def fit(adata: AnnData, seed: int, cache: Path | None) -> tuple[LeafletFAModel, float]:
    """A trained model and the seconds of training, 0 if it was in ``cache``.

    The name of a fit in the cache is a digest of its counts and of the arguments of the fit;
    remove the folder when training has changed.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    folder = cache / _digest(adata, seed) if cache is not None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LeafletFAModel.setup_anndata(adata)
        if folder is not None and folder.exists():
            return LeafletFAModel.load(str(folder), adata=adata), 0.0
        scvi.settings.seed = seed
        model = LeafletFAModel(adata, N_PROGRAMS)
        started = time.perf_counter()
        model.train(**TRAINING)
        seconds = time.perf_counter() - started
    if folder is not None:
        unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        model.save(str(unfinished))
        try:
            os.replace(unfinished, folder)
        except OSError:  # cases with equal counts are fitted at the same time
            if not folder.exists():
                raise
            shutil.rmtree(unfinished)
    return model, seconds


def differential_splicing(
    model: LeafletFAModel, samples: np.ndarray | None, level: str = "junction"
) -> Found:
    """Results in the order of junctions, or of sorted ATSEs.

    Parameters
    ----------
    model
        Trained on cells with the group in ``obs["group"]``.
    samples
        ``(C,)`` label of the sample of each cell. If None, without ``sample_key``.
    level
        ``"junction"`` or ``"atse"``.
    """
    arguments: dict[str, Any] = {"groupby": "group", "group1": GROUP1, "group2": GROUP2}
    arguments |= {"delta": DELTA, "fdr_target": FDR_TARGET}
    if "silent" in PARAMETERS:
        arguments["silent"] = True
    if samples is not None:
        model.adata.obs["sample"] = samples
        arguments["sample_key"] = "sample"
    if level != "junction":
        arguments["level"] = level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = model.differential_splicing(**arguments)
    var = model.adata.var
    order = var.index if level == "junction" else np.unique(var["atse_id"].astype(str))
    return _found(table.reindex(order))


def _found(table: pd.DataFrame) -> Found:
    rank = table["proba_ds"].to_numpy(float)
    ends = [
        table[name].to_numpy(float) if name in table else None
        for name in ("effect_lower", "effect_upper")
    ]
    called = table[_CALLED].eq(True).to_numpy(bool)  # False where not tested
    return Found(called, ranked(rank, table["effect_size"].to_numpy(float)), *ends)


def _digest(adata: AnnData, seed: int) -> str:
    content = hashlib.sha256(json.dumps([seed, N_PROGRAMS, TRAINING]).encode())
    for layer in adata.layers.values():
        for part in (layer.indptr, layer.indices, layer.data):
            content.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
    return content.hexdigest()[:24]
