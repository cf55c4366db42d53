"""Results with a seed are the same from several threads at once as from one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

import leafletfa_scvi as lfa

LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")


@pytest.fixture(scope="module")
def new(_gaps):
    """Cells that the model was not trained on, whose activities are fitted with draws."""
    adata = _gaps[10:30].copy()
    for name in LAYERS:
        adata.layers[name] = adata.layers[name] * 2
    return adata


@pytest.fixture(scope="module")
def tasks(trained, new):
    """Functions without arguments, each of which draws."""
    half = range(30)
    return [
        lambda: trained.differential_splicing(idx1=half),
        lambda: trained.program_markers(n_samples=40, seed=4),
        lambda: trained.get_cell_activities(new),
        lambda: trained.get_credible_intervals("phi", adata=new)[0],
    ]


def test_getters(tasks):
    alone = [task() for task in tasks]
    torch.manual_seed(8)
    state = torch.get_rng_state()
    with ThreadPoolExecutor(8) as pool:
        together = [f.result() for f in [pool.submit(t) for t in tasks * 4]]
    for i, found in enumerate(together):
        np.testing.assert_array_equal(found.index, alone[i % len(tasks)].index)
        for name, column in alone[i % len(tasks)].items():
            np.testing.assert_array_equal(found[name], column)
    assert torch.equal(torch.get_rng_state(), state)


class _Meanwhile(Callback):
    """Hands tasks to other threads once training has begun."""

    def __init__(self, pool, tasks):
        super().__init__()
        self.pool, self.tasks, self.found = pool, tasks, []

    def on_train_start(self, *_):
        self.found = [self.pool.submit(task) for task in self.tasks]


def test_getters_during_training(tasks, small, fit):
    alone, model = [task() for task in tasks], fit(small.copy(), 3)
    parameters = model.module.state_dict()
    with ThreadPoolExecutor(4) as pool:
        meanwhile = _Meanwhile(pool, tasks)
        again = fit(small.copy(), 3, callbacks=[meanwhile])
        for one, other in zip(alone, meanwhile.found, strict=True):
            np.testing.assert_array_equal(one.index, other.result().index)
    for name, value in again.module.state_dict().items():
        assert torch.equal(value, parameters[name])


def test_choices_of_k(small):
    def choose(seed):
        return lfa.tl.select_n_programs(
            small,
            [2, 3],
            n_seeds=2,
            seed=seed,
            train_kwargs={"em_iterations": 20, "init": "random"},
            progress=False,
        )

    seeds = [0, 7, 7, 0]
    alone = {seed: choose(seed).scores for seed in set(seeds)}
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(2)
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(choose, seeds))
    for seed, found in zip(seeds, together, strict=True):
        same = [c for c in found.scores if c != "seconds"]
        np.testing.assert_array_equal(found.scores[same], alone[seed][same])
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
