"""The Pyro distributions of psi and phi against Pyro's own."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch.distributions import kl_divergence

from leafletfa_scvi import ops
from leafletfa_scvi.distributions import Beta, Dirichlet


def _beta(*shape, seed=0, kind=Beta):
    generator = torch.Generator().manual_seed(seed)
    return kind(*(0.1 + 5 * torch.rand(shape, generator=generator) for _ in range(2)))


@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (2, 3, 4)])
def test_beta_is_pyros(shape):
    ours, pyros = _beta(*shape), _beta(*shape, kind=dist.Beta)
    assert ours.batch_shape == pyros.batch_shape == shape
    assert ours.event_shape == ()
    x = pyros.sample((5,))
    for name in ("mean", "variance", "mode", "concentration1", "concentration0"):
        torch.testing.assert_close(getattr(ours, name), getattr(pyros, name))
    torch.testing.assert_close(ours.log_prob(x), pyros.log_prob(x))
    torch.testing.assert_close(ours.entropy(), pyros.entropy())
    assert ours.rsample((5, 2)).shape == pyros.rsample((5, 2)).shape
    larger = ours.expand((7, *shape))
    assert larger.batch_shape == (7, *shape)
    assert larger.rsample().shape == (7, *shape)
    torch.testing.assert_close(larger.log_prob(x[0]), pyros.expand((7, *shape)).log_prob(x[0]))
    assert isinstance(larger, Beta)


def test_dirichlet_is_pyros():
    alpha = torch.rand(3, 5) + 0.1
    ours, pyros = Dirichlet(alpha), dist.Dirichlet(alpha)
    assert (ours.batch_shape, ours.event_shape) == ((3,), (5,))
    x = pyros.sample((4,))
    torch.testing.assert_close(ours.log_prob(x), pyros.log_prob(x))
    larger = ours.expand((2, 3))
    assert larger.rsample((6,)).shape == (6, 2, 3, 5)
    torch.testing.assert_close(larger.mean, pyros.expand((2, 3)).mean)
    torch.testing.assert_close(larger.log_prob(x[0]), pyros.expand((2, 3)).log_prob(x[0]))


@pytest.mark.parametrize("given", [(6, 4), (6, 1), (1, 1), (1, 4), (4,), ()])
def test_beta_divergence_from_whatever_was_expanded(given):
    q, p = _beta(6, 4), _beta(*given, seed=1)
    expected = kl_divergence(
        dist.Beta(q.concentration1, q.concentration0),
        dist.Beta(p.concentration1, p.concentration0).expand((6, 4)),
    )
    torch.testing.assert_close(kl_divergence(q, p.expand((6, 4))), expected)
    torch.testing.assert_close(kl_divergence(q, p), expected)
    torch.testing.assert_close(
        kl_divergence(_beta(6, 1).expand((6, 4)), p.expand((6, 4))),
        kl_divergence(_beta(6, 1, kind=dist.Beta), _beta(*given, seed=1, kind=dist.Beta)).expand(
            6, 4
        ),
    )


@pytest.mark.parametrize("given", [(5,), (3, 5)])
def test_dirichlet_divergence_from_whatever_was_expanded(given):
    q, p = torch.rand(3, 5) + 0.1, torch.rand(given) + 0.1
    expected = kl_divergence(dist.Dirichlet(q), dist.Dirichlet(p.expand(3, 5)))
    torch.testing.assert_close(kl_divergence(Dirichlet(q), Dirichlet(p)), expected)
    prior = Dirichlet(p).expand((3,))
    torch.testing.assert_close(kl_divergence(Dirichlet(q), prior), expected)


def test_arguments_are_validated():
    bad, good = torch.tensor([1.0, float("nan")]), torch.ones(2)
    with pytest.raises(ValueError, match="invalid values"):
        Beta(good, bad)
    with pytest.raises(ValueError, match="invalid values"):
        Dirichlet(bad)


def test_plates_expand_without_copies():
    """The prior of a row reaches the divergence as one number, not as K."""
    a = torch.rand(6, 1) + 0.1

    def model():
        with pyro.plate("rows", 6, dim=-2), pyro.plate("columns", 4, dim=-1):
            return pyro.sample("x", Beta(a, 2 * a))

    site = poutine.trace(model).get_trace().nodes["x"]
    assert site["value"].shape == (6, 4)
    assert site["fn"].unexpanded[0].shape == (6, 1)


def test_sites_use_the_fused_draws(monkeypatch):
    calls = []
    for name in ("draw_beta", "draw_dirichlet", "beta_divergence", "dirichlet_divergence"):
        whole = getattr(ops, name)
        monkeypatch.setattr(
            ops, name, lambda *args, _f=whole, _n=name: (calls.append(_n), _f(*args))[1]
        )
    from leafletfa_scvi.module import ClosedFormELBO, LeafletFAModule

    monkeypatch.setattr(ops, "log_likelihood", lambda entries, phi, psi, kappa: phi.sum(1))
    module = LeafletFAModule(5, 4, 3)
    ClosedFormELBO().loss(module.model, module.guide, torch.arange(5), None)
    assert sorted(calls) == [
        "beta_divergence",
        "dirichlet_divergence",
        "draw_beta",
        "draw_dirichlet",
    ]
