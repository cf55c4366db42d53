"""Kernels against the float64 reference, the reference against scipy and finite differences."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi import ops
from leafletfa_scvi.ops import _autograd, _cpu, _reference

F64 = torch.float64


def random_entries(n_cells, n_junctions, density, max_total, seed):
    """Entries with empty cells, y = 0 and y = n among them."""
    rng = np.random.default_rng(seed)
    observed = rng.random((n_cells, n_junctions)) < density
    observed[rng.random(n_cells) < 0.2] = False
    rows, column = observed.nonzero()
    total = rng.integers(1, max_total + 1, len(rows))
    share = rng.choice([0.0, 1.0, 0.5], len(rows))
    count = np.where(share == 0.5, rng.integers(0, total + 1), share * total)
    indptr = np.r_[0, observed.sum(1).cumsum()]
    return ops.ObservedEntries(
        torch.tensor(indptr),
        torch.tensor(column, dtype=torch.int32),
        torch.tensor(count, dtype=torch.float32),
        torch.tensor(total, dtype=torch.float32),
        n_junctions,
    )


def random_factors(entries, n_programs, seed, dtype=F64, extreme=False):
    generator = torch.Generator().manual_seed(seed)
    phi = torch.rand(entries.n_cells, n_programs, generator=generator, dtype=F64) ** 3 + 1e-9
    psi = torch.rand(entries.n_junctions, n_programs, generator=generator, dtype=F64)
    if extreme:
        psi = psi.round()
    return (phi / phi.sum(1, keepdim=True)).to(dtype), psi.to(dtype)


def reference_gradients(entries, phi, psi, kappa, weight):
    phi, psi = phi.double().requires_grad_(), psi.double().requires_grad_()
    inputs = [phi, psi]
    if kappa is not None:
        kappa = kappa.double().requires_grad_()
        inputs.append(kappa)
    value = _reference.log_likelihood(entries, phi, psi, kappa)
    return value.detach(), torch.autograd.grad((value * weight).sum(), inputs)


SHAPES = st.tuples(
    st.integers(1, 12), st.integers(1, 15), st.sampled_from([1, 2, 3, 5, 20, 33, 128])
)


@settings(max_examples=150, deadline=None)
@given(
    shape=SHAPES,
    density=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    max_total=st.sampled_from([1, 7, 60, 5000, 1_000_000]),
    kappa=st.sampled_from([None, 0.01, 0.7, 5.0, 300.0, 1e6]),
    per_junction=st.booleans(),
    extreme=st.booleans(),
    double=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_numba_equals_float64_reference(
    shape, density, max_total, kappa, per_junction, extreme, double, seed
):
    n_cells, n_junctions, n_programs = shape
    entries = random_entries(n_cells, n_junctions, density, max_total, seed)
    dtype = F64 if double else torch.float32
    phi, psi = random_factors(entries, n_programs, seed, dtype, extreme)
    concentration = None
    if kappa is not None:
        concentration = torch.tensor(kappa, dtype=F64)
        if per_junction:
            concentration = concentration * torch.linspace(0.5, 2.0, n_junctions, dtype=F64)
    weight = torch.linspace(-1.0, 2.0, n_cells, dtype=F64)
    value, grads = reference_gradients(entries, phi, psi, concentration, weight)

    leaves = [phi.clone().requires_grad_(), psi.clone().requires_grad_()]
    if concentration is not None:
        leaves.append(concentration.clone().requires_grad_())
    fused = ops.log_likelihood(
        entries, leaves[0], leaves[1], leaves[2] if len(leaves) > 2 else None, backend="numba"
    )
    found = torch.autograd.grad((fused * weight).sum(), leaves)
    # Rounding of p to float32 moves a probability near 0 or 1 by up to 6e-8 of 1, 6 % of the leak.
    loose = not double
    size = 1.0 + entries.total.sum().item()
    scale = value.abs().max().item() + 1.0 if n_cells else 1.0
    assert fused.dtype == F64
    assert torch.isfinite(fused).all()
    tolerance = 1e-9 * size + 1e-8 * scale if double else 1e-4 * scale
    if not (loose and extreme):
        torch.testing.assert_close(fused.detach(), value, atol=tolerance, rtol=1e-6)
    for ours, theirs in zip(found, grads, strict=True):
        assert torch.isfinite(ours).all()
        if loose and extreme:
            continue
        # lgamma(1e6 + y) - lgamma(1e6) has lost nine digits in the reference, not in the kernel.
        lost = 1e-4 if kappa == 1e6 else 1e-7
        bound = (lost if double else 1e-3) * (theirs.abs().max().item() + 1.0) if size > 1 else 0
        torch.testing.assert_close(ours.double(), theirs, atol=bound, rtol=1e-6)


@pytest.mark.parametrize("kappa", [None, 0.05, 4.0, 1e4])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_expected_counts_equal_reference(kappa, backend):
    entries = random_entries(9, 11, 0.6, 80, 3)
    phi, psi = random_factors(entries, 4, 3)
    concentration = None if kappa is None else torch.tensor(kappa, dtype=F64)
    expected = _reference.expected_counts(entries, phi, psi, concentration)
    found = ops.expected_counts(entries, phi, psi, concentration, backend=backend)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kappa", [None, 6.0])
def test_counts_are_the_gradient_of_the_likelihood(kappa):
    """T1 / psi - T0 / (1 - psi) and N / phi are gradients (on the simplex, up to a constant)."""
    entries = random_entries(8, 7, 0.7, 40, 5)
    phi, psi = random_factors(entries, 3, 5)
    concentration = None if kappa is None else torch.tensor(kappa, dtype=F64)
    _, (dphi, dpsi, *_) = reference_gradients(
        entries, phi, psi, concentration, torch.ones(8, dtype=F64)
    )
    counts = ops.expected_counts(entries, phi, psi, concentration)
    torch.testing.assert_close(counts.inclusion / psi - counts.exclusion / (1 - psi), dpsi)
    own = counts.activity / phi
    constant = (own - dphi).mean(1, keepdim=True)
    torch.testing.assert_close(own - constant, dphi)


def test_binomial_counts_are_the_reads():
    entries = random_entries(6, 6, 0.8, 30, 1)
    phi, psi = random_factors(entries, 3, 1)
    counts = ops.expected_counts(entries, phi, psi)
    torch.testing.assert_close(
        counts.activity.sum(), entries.total.double().sum(), rtol=1e-4, atol=0.0
    )
    by_junction = torch.zeros(6, dtype=F64).index_add_(
        0, entries.column.long(), entries.count.double()
    )
    torch.testing.assert_close(counts.inclusion.sum(1), by_junction, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("kappa", [None, 0.3, 8.0])
def test_value_is_scipys(backend, kappa):
    entries = random_entries(7, 9, 0.6, 50, 11)
    phi, psi = random_factors(entries, 3, 11)
    rows, column = entries.rows().numpy(), entries.column.numpy()
    p = ops.LEAK + (1 - 2 * ops.LEAK) * (phi.numpy()[rows] * psi.numpy()[column]).sum(1)
    y, n = entries.count.double().numpy(), entries.total.double().numpy()
    if kappa is None:
        logs = scipy.stats.binom.logpmf(y, n, p)
    else:
        logs = scipy.stats.betabinom.logpmf(y, n, kappa * p, kappa * (1 - p))
    concentration = None if kappa is None else torch.tensor(kappa, dtype=F64)
    value = ops.log_likelihood(entries, phi, psi, concentration, backend=backend)
    np.testing.assert_allclose(value, np.bincount(rows, logs, 7), rtol=1e-9)


@pytest.mark.parametrize("kappa", [None, torch.tensor(3.0, dtype=F64), torch.ones(5, dtype=F64)])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_gradcheck(kappa, backend):
    entries = random_entries(4, 5, 0.8, 20, 7)
    phi, psi = random_factors(entries, 3, 7)
    psi = psi.clamp(0.1, 0.9)
    inputs = [phi.requires_grad_(), psi.requires_grad_()]
    if kappa is not None:
        inputs.append(kappa.clone().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda *x: ops.log_likelihood(entries, *x, backend=backend), inputs, atol=1e-5
    )


def test_large_kappa_tends_to_the_binomial():
    entries = random_entries(6, 6, 0.8, 30, 2)
    phi, psi = random_factors(entries, 3, 2)
    near = ops.log_likelihood(entries, phi, psi, torch.tensor(1e9, dtype=F64), backend="numba")
    torch.testing.assert_close(near, ops.log_likelihood(entries, phi, psi), rtol=1e-5, atol=1e-4)


def test_results_do_not_depend_on_threads():
    entries = random_entries(300, 40, 0.5, 60, 4)
    phi, psi = random_factors(entries, 6, 4, torch.float32)
    kappa = torch.tensor(5.0)
    before = torch.get_num_threads()
    try:
        results = []
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            results.append(_cpu.gradients(entries, phi, psi, kappa))
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_torch_backend_in_blocks(monkeypatch):
    entries = random_entries(20, 8, 0.7, 30, 9)
    phi, psi = random_factors(entries, 3, 9)
    kappa = torch.tensor(4.0, dtype=F64)
    weight = torch.linspace(0.5, 1.0, 20, dtype=F64)
    value, grads = reference_gradients(entries, phi, psi, kappa, weight)
    whole = ops.expected_counts(entries, phi, psi, kappa, backend="torch")
    monkeypatch.setattr(_autograd, "_TORCH_BLOCK", 15)
    leaves = [x.clone().requires_grad_() for x in (phi, psi, kappa)]
    blocked = ops.log_likelihood(entries, *leaves, backend="torch")
    torch.testing.assert_close(blocked, value)
    found = torch.autograd.grad((blocked * weight).sum(), leaves)
    torch.testing.assert_close(found, grads)
    torch.testing.assert_close(
        ops.expected_counts(entries, phi, psi, kappa, backend="torch"), whole
    )


def test_choice_of_backend(monkeypatch):
    cpu = torch.device("cpu")
    assert ops.choose_backend(cpu) == "numba"
    assert ops.choose_backend(torch.device("meta")) == "torch"
    assert ops.choose_backend(cpu, "torch") == "torch"
    with pytest.raises(ValueError, match="found 'jax'"):
        ops.choose_backend(cpu, "jax")
    with pytest.raises(ValueError, match="runs on the CPU"):
        ops.choose_backend(torch.device("meta"), "numba")
    monkeypatch.setattr(_autograd.importlib.util, "find_spec", lambda name: None)
    assert ops.choose_backend(cpu) == "torch"
    with pytest.raises(ImportError, match="pip install numba"):
        ops.choose_backend(cpu, "numba")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_reference():
    entries = random_entries(50, 40, 0.5, 60, 4)
    phi, psi = random_factors(entries, 6, 4)
    kappa = torch.tensor(5.0, dtype=F64)
    weight = torch.ones(50, dtype=F64)
    value, grads = reference_gradients(entries, phi, psi, kappa, weight)
    leaves = [x.cuda().requires_grad_() for x in (phi, psi, kappa)]
    found = ops.log_likelihood(entries.to("cuda"), *leaves)
    torch.testing.assert_close(found.cpu(), value)
    torch.testing.assert_close(
        [g.cpu() for g in torch.autograd.grad(found.sum(), leaves)], list(grads)
    )


@pytest.mark.parametrize("kappa", [1e3, 1e5])
def test_torch_backend_keeps_digits_in_float32(kappa):
    """In float32, lgamma(1e5 + y) - lgamma(1e5) is wrong by whole nats."""
    entries = random_entries(20, 10, 0.8, 40, 2)
    phi, psi = random_factors(entries, 3, 2, torch.float32)
    concentration = torch.tensor(kappa)
    fused = ops.log_likelihood(entries, phi, psi, concentration, backend="numba")
    plain = ops.log_likelihood(entries, phi, psi, concentration, backend="torch")
    torch.testing.assert_close(plain, fused, rtol=1e-4, atol=1e-3)


def test_thread_settings_are_left_alone():
    entries = random_entries(20, 10, 0.8, 40, 2)
    phi, psi = random_factors(entries, 3, 2)
    threads = torch.get_num_threads(), numba.get_num_threads()
    try:
        torch.set_num_threads(1)
        ops.log_likelihood(entries, phi, psi, backend="numba")
        assert (torch.get_num_threads(), numba.get_num_threads()) == (1, threads[1])
    finally:
        torch.set_num_threads(threads[0])
