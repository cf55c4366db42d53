"""Evidence about activities counts once, whatever the likelihood says."""

from __future__ import annotations

import numpy as np
import pytest
import scvi
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi.module import ClosedFormELBO
from leafletfa_scvi.module._gradient_scale import scale_gradient


def test_values_stay_and_derivatives_are_weighted():
    x = torch.tensor([0.3, 0.7], requires_grad=True)
    out = scale_gradient(x, torch.tensor(0.6))
    assert torch.equal(out, x)
    (out.square().sum()).backward()
    torch.testing.assert_close(x.grad, 0.6 * 2.0 * x.detach())


@pytest.fixture
def adata():
    return lfa.datasets.simulate_splicing(60, 40, 2, coverage=0.5, seed=1)


def fitted(adata, atse_key="atse_id", **options):
    scvi.settings.seed = 0
    data = adata.copy()
    lfa.LeafletFAModel.setup_anndata(data, atse_key=atse_key)
    model = lfa.LeafletFAModel(data, 2, **options)
    model.train(method="em")
    return model


def test_the_weight_is_the_share_of_independent_junctions(adata, tmp_path):
    model = fitted(adata)
    size = adata.var.groupby("atse_id", observed=True)["atse_id"].transform("size").to_numpy(float)
    seen = (adata.layers["cell_by_cluster_matrix"] > 0).sum(0).A1
    want = np.average((size - 1) / size, weights=seen)
    assert float(model.module.model.activity_weight) == pytest.approx(want, rel=1e-6)
    model.save(tmp_path / "model")
    loaded = lfa.LeafletFAModel.load(tmp_path / "model", adata=False)
    assert torch.equal(loaded.module.model.activity_weight, model.module.model.activity_weight)


def test_weight_1_if_nothing_is_shared_or_sharing_is_modeled(adata):
    for model in (fitted(adata, None), fitted(adata, likelihood="dirichlet-multinomial")):
        assert float(model.module.model.activity_weight) == 1.0


def test_only_activities_are_weighted(adata):
    """The loss is the same with and without weight, and so are all other gradients."""
    module = fitted(adata).module
    entries = lfa.data.observed_entries(adata)
    cells = torch.arange(60)

    def gradients(weight):
        module.model.activity_weight.fill_(weight)
        module.zero_grad()
        torch.manual_seed(0)
        loss = ClosedFormELBO().differentiable_loss(module.model, module.guide, cells, entries)
        loss.backward()
        return float(loss), {n: p.grad.clone() for n, p in module.named_parameters()}

    (loss, whole), (same, weighted) = gradients(1.0), gradients(0.5)
    assert loss == same
    for name, grad in whole.items():
        changed = not torch.allclose(grad, weighted[name])
        assert changed == name.endswith("phi_log"), name
