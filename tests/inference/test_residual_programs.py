"""Start of programs that a reference lacks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leafletfa_scvi import datasets
from leafletfa_scvi.data import atse_codes, splicing_data
from leafletfa_scvi.inference import residual_programs
from leafletfa_scvi.likelihoods import Factors


@pytest.fixture(scope="module")
def planted():
    """400 cells, each nearly of one of 4 programs."""
    adata = datasets.simulate_splicing(
        400, 60, 4, coverage=0.3, frac_differential=0.6, activity_concentration=0.2, seed=3
    )
    atse = torch.from_numpy(atse_codes(adata)[0])
    return splicing_data(adata), atse, adata.obsm["phi_true"], adata.varm["psi_true"]


def start(planted, known, n_extra):
    entries, atse, phi, psi = planted
    given = torch.from_numpy(phi[:, known].copy()).float() + 1e-3
    given /= given.sum(1, keepdim=True)
    factors = Factors(given, torch.from_numpy(psi[:, known].copy()).float())
    return factors, residual_programs(entries, factors, n_extra, atse, 0)


@pytest.mark.parametrize("lacking", [[0], [3], [1, 2]])
def test_they_are_those_that_were_left_out(planted, lacking):
    _, _, phi, psi = planted
    known = [k for k in range(4) if k not in lacking]
    factors, got = start(planted, known, len(lacking))
    assert torch.equal(got.psi[:, : len(known)], factors.psi)
    torch.testing.assert_close(got.phi.sum(1), torch.ones(400))
    learned, found = got.psi[:, len(known) :].numpy(), got.phi[:, len(known) :].numpy()
    r = np.corrcoef(learned.T, psi[:, lacking].T)[: len(lacking), len(lacking) :]
    assert sorted(r.argmax(1)) == list(range(len(lacking)))
    assert (r.max(1) > 0.9).all()
    for k, best in enumerate(r.argmax(1)):
        own = phi[:, lacking[best]] > 0.8
        assert found[own, k].mean() > 0.5
        assert found[phi[:, lacking[best]] < 0.05, k].mean() < 0.1


def test_no_reads(planted):
    entries, atse, *_ = planted
    none = entries.keep(torch.zeros(entries.n_entries, dtype=torch.bool))
    factors = Factors(torch.full((400, 2), 0.5), torch.full((len(atse), 2), 0.5))
    got = residual_programs(none, factors, 2, atse, 0)
    assert got.phi.shape == (400, 4)
    assert bool(got.psi.isfinite().all())
