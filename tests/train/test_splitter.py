"""Loaders of training and hidden entries."""

from __future__ import annotations

import pytest
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi.train import SplicingDataSplitter


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


def test_minibatches_are_shuffled_anew_and_by_the_seed(entries):
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


def test_the_full_batch_is_moved_once(entries):
    splitter = SplicingDataSplitter(entries)
    (batch,) = splitter.train_dataloader()
    device = torch.device("meta")
    first = splitter.transfer_batch_to_device(batch, device, 0)
    assert first["entries"].device == device
    assert splitter.transfer_batch_to_device(batch, device, 0) is first
    (part, *_) = SplicingDataSplitter(entries, None, 30).train_dataloader()
    moved = [splitter.transfer_batch_to_device(part, device, 0) for _ in range(2)]
    assert moved[0] is not moved[1]
