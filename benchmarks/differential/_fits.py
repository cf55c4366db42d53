"""Fits of the model to simulated cohorts, kept in a folder, and its differential splicing."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scvi
from benchmarks.differential._cases import DELTA, FDR_TARGET, GROUP1, GROUP2, N_PROGRAMS
from benchmarks.differential._scores import Found, ranked

from leafletfa_scvi import LeafletFAModel

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

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
    model: LeafletFAModel,
    samples: np.ndarray | None,
    level: Literal["junction", "atse"] = "junction",
) -> Found:
    """Results in the order of junctions, or of sorted ATSEs, these without intervals.

    Parameters
    ----------
    model
        Trained on cells with the group in ``obs["group"]``.
    samples
        ``(C,)`` label of the sample of each cell. If None, without ``sample_key``.
    level
        ``"junction"`` or ``"atse"``.
    """
    if samples is not None:
        model.adata.obs["sample"] = samples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = model.differential_splicing(
            groupby="group",
            group1=GROUP1,
            group2=GROUP2,
            sample_key=None if samples is None else "sample",
            delta=DELTA,
            fdr_target=FDR_TARGET,
            level=level,
            silent=True,
        )
    var = model.adata.var
    order = var.index if level == "junction" else np.unique(var["atse_id"].astype(str))
    table = table.reindex(order)
    called = table[_CALLED].eq(True).to_numpy(bool)  # False where not tested
    columns = ["proba_ds", "effect_size", "effect_lower", "effect_upper"]
    probability, effect, lower, upper = table[columns].to_numpy(float).T
    rank = ranked(probability, effect)
    if level != "junction":  # each interval is that of a junction
        return Found(called, rank)
    return Found(called, rank, lower, upper)


def _digest(adata: AnnData, seed: int) -> str:
    content = hashlib.sha256(json.dumps([seed, N_PROGRAMS, TRAINING]).encode())
    for layer in adata.layers.values():
        for part in (layer.indptr, layer.indices, layer.data):
            content.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
    return content.hexdigest()[:24]
