"""Data loaders of training and hidden entries."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi.module import ClosedFormELBO, LeafletFAModule
from leafletfa_scvi.train import SplicingDataSplitter, fits_on_device


@pytest.fixture
def entries(small):
    return lfa.data.observed_entries(small)


def seen(loader):
    return [batch["cells"].tolist() for batch in loader]


def test_the_full_batch_is_the_entries_themselves(entries):
    splitter = SplicingDataSplitter(entries)
    (batch,) = splitter.train_dataloader()
    assert batch["entries"] is entries
    assert batch["cells"].tolist() == list(range(80))
    assert splitter.n_train == 80


@pytest.mark.parametrize(("batch_size", "sizes"), [(27, [27, 27, 26]), (79, [79, 1]), (100, [80])])
def test_each_cell_is_seen_once_with_its_own_entries(entries, batch_size, sizes):
    splitter = SplicingDataSplitter(entries, None, batch_size)
    batches = list(splitter.train_dataloader())
    assert [len(b["cells"]) for b in batches] == sizes
    assert sorted(c for b in batches for c in b["cells"].tolist()) == list(range(80))
    for batch in batches:
        want = entries.select(batch["cells"])
        assert torch.equal(batch["entries"].count, want.count)
        assert torch.equal(batch["entries"].column, want.column)
        assert torch.equal(batch["entries"].indptr, want.indptr)


def test_minibatches_are_shuffled_at_each_pass_by_the_seed(entries):
    loader = SplicingDataSplitter(entries, None, 16).train_dataloader()
    torch.manual_seed(0)
    first, second = seen(loader), seen(loader)
    assert first != second
    torch.manual_seed(0)
    assert seen(loader) == first


def test_hidden_entries_come_in_order(entries):
    hidden = entries.keep(torch.arange(entries.n_entries) % 5 == 0)
    loader = SplicingDataSplitter(entries, hidden, 30).val_dataloader()
    assert seen(loader) == [list(range(30)), list(range(30, 60)), list(range(60, 80))]
    assert sum(batch["entries"].n_entries for batch in loader) == hidden.n_entries
    assert SplicingDataSplitter(entries).val_dataloader() == []


def test_entries_move_to_the_device_of_the_trainer_once(entries):
    hidden = entries.keep(torch.arange(entries.n_entries) % 5 == 0)
    splitter = SplicingDataSplitter(entries, hidden)
    splitter.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))
    for loader in (splitter.train_dataloader, splitter.val_dataloader):
        (first,), (second,) = loader(), loader()
        assert first["entries"].device.type == "meta"
        assert first["entries"] is second["entries"]
    splitter.trainer.strategy.root_device = torch.device("cpu")
    (batch,) = SplicingDataSplitter(entries).train_dataloader()
    assert batch["entries"] is entries


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-2, False)])
def test_entries_stay_on_the_cpu_if_they_exceed_half_of_the_free_memory(
    entries, monkeypatch, spare, fits
):
    free = 2 * entries.nbytes() + spare
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    assert fits_on_device(torch.device("cuda", 0), entries) is fits
    assert fits_on_device(torch.device("cpu"), entries)


@pytest.mark.parametrize("batch_size", [80, 27, 1])
def test_losses_of_a_pass_average_to_that_of_the_full_batch(entries, batch_size):
    """Weighted by their cells, with draws of phi so narrow that they are its mean."""
    torch.manual_seed(0)
    module = LeafletFAModule(entries.n_cells, entries.n_junctions, 3)
    with torch.no_grad():
        module.guide.phi_log.copy_(13.0 + torch.rand_like(module.guide.phi_log))

    def loss(cells, part):
        torch.manual_seed(1)  # the same draws of psi and kappa, which come first
        return ClosedFormELBO().loss(module.model, module.guide, cells, part)

    full = loss(torch.arange(80), entries)
    loader = SplicingDataSplitter(entries, None, batch_size).train_dataloader()
    values = [(len(b["cells"]), loss(b["cells"], b["entries"])) for b in loader]
    assert sum(n for n, _ in values) == 80
    assert sum(n * x for n, x in values) / 80 == pytest.approx(full, rel=1e-4)
    if batch_size == 1:
        assert np.std([x for _, x in values]) > 1e-2 * abs(full)
