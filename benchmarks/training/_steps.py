"""A model on random data, and the time of its training steps; needs the whole package."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from benchmarks._entries import atse_of
from benchmarks._machine import synchronize

from leafletfa_scvi import ops
from leafletfa_scvi.train import SplicingDataSplitter

if TYPE_CHECKING:
    from leafletfa_scvi import LeafletFAModel

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"


def anndata_of(
    entries: ops.ObservedEntries, dtype: type = np.int32, store_zeros: bool = True
) -> AnnData:
    """Both layers as CSR that share no array, with the ATSE of each junction, without ``X``.

    Without ``store_zeros`` the junction layer leaves out counts of 0, as other tools write it.
    """
    indptr, column = entries.indptr.numpy(), entries.column.numpy()
    shape = (entries.n_cells, entries.n_junctions)
    layers = {}
    for name, values in ((JUNCTION, entries.count), (CLUSTER, entries.total)):
        data = values.numpy().astype(dtype)
        layers[name] = sp.csr_matrix((data, column.copy(), indptr), shape=shape)
    if not store_zeros:
        layers[JUNCTION].eliminate_zeros()
    cells = pd.DataFrame(index=pd.Index([f"cell_{i}" for i in range(shape[0])]))
    atse = [f"ATSE_{i}" for i in atse_of(shape[1]).tolist()]
    names = pd.Index([f"chr1:{1000 * i}-{1000 * i + 500}:+" for i in range(shape[1])])
    junctions = pd.DataFrame({"atse_id": pd.Categorical(atse)}, index=names)
    return AnnData(obs=cells, var=junctions, layers=layers, shape=shape)


class StepTimes(pl.Callback):
    """Seconds of each step, and from the start of one to the start of the next."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps: list[float] = []
        self.starts: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """The batch is loaded and moved."""
        synchronize(self.device)
        self.starts.append(time.perf_counter())

    def on_train_batch_end(self, *_: Any) -> None:
        """Loss, gradients and the optimizer's step are done."""
        synchronize(self.device)
        self.steps.append(time.perf_counter() - self.starts[-1])

    def step(self) -> float:
        """Fastest step but the first."""
        return min(self.steps[1:])

    def between(self) -> float:
        """Least time from the end of a step to the start of the next: the loop and the data."""
        gaps = np.diff(self.starts) - self.steps[:-1]
        return float(gaps.min())


def train_steps(
    model: LeafletFAModel, device: torch.device, batch_size: int | None, n_steps: int
) -> StepTimes:
    """Train through the real plan from a random start, without EM."""
    times = StepTimes(device)
    splits = 1 if batch_size is None else -(-model.adata.n_obs // batch_size)
    model.train(
        max_epochs=max(1, -(-n_steps // splits)),
        accelerator="cpu" if device.type == "cpu" else "gpu",
        batch_size=batch_size,
        init="random",
        em_iterations=0,
        callbacks=[times],
        enable_progress_bar=False,
        limit_train_batches=min(n_steps, splits),
    )
    return times


def batches(
    model: LeafletFAModel, device: torch.device, batch_size: int | None, n_batches: int
) -> tuple[float, Any]:
    """Least seconds to load and move one batch as training did, and the last batch."""
    splitter = SplicingDataSplitter(model._training_entries(), None, batch_size)
    splitter.trainer = model.trainer
    best, batch = float("inf"), None
    passed = 0
    while passed < n_batches:
        start = time.perf_counter()
        for batch in splitter.train_dataloader():
            batch = splitter.transfer_batch_to_device(batch, device, 0)
            synchronize(device)
            now = time.perf_counter()
            best, start = min(best, now - start), now
            passed += 1
            if passed == n_batches:
                break
    return best, batch


def likelihood_call(model: LeafletFAModel, batch: Any) -> Any:
    """The likelihood and its gradients on a batch, at the guide's means."""
    guide = model.module.guide
    with torch.no_grad():
        leaves = [
            guide.phi(batch["cells"]).mean,
            guide.psi().mean,
            model.module.site_mean("kappa"),
        ]
    leaves = [x.detach().clone().requires_grad_() for x in leaves]

    def call() -> object:
        total = ops.log_likelihood(batch["entries"], *leaves).sum()
        return torch.autograd.grad(total, leaves)

    return call
