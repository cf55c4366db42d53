"""Kernels against the float64 reference, the reference against scipy and finite differences."""

from __future__ import annotations

import re

import numba
import numpy as np
import pytest
import scipy.stats
import torch
from helpers.likelihood import random_atses, random_entries, random_factors, reference
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leafletfa_scvi import ops
from leafletfa_scvi.ops import _autograd, _cpu, _reference

F64 = torch.float64
TOLERANCE = 2e-6
"""Tolerance of float32 kernels, relative to the sum of absolute values of the summands."""


def random_case(shared, n_cells, n_junctions, density, max_total, seed):
    if not shared:
        return random_entries(n_cells, n_junctions, density, max_total, seed)
    return ops.multinomial_entries(*random_atses(n_cells, n_junctions, density, max_total, seed))


def random_kappa(entries, kappa, vector):
    if kappa is None or not vector:
        return None if kappa is None else torch.tensor(kappa, dtype=F64)
    shared = isinstance(entries, ops.MultinomialEntries)
    size = entries.n_atses if shared else entries.n_junctions
    return kappa * torch.linspace(0.5, 2.0, size, dtype=F64)


def assert_within(found, expected, size):
    """Finite, and as near as float32 arithmetic on terms of that size comes."""
    assert torch.isfinite(found).all()
    excess = (found.double() - expected).abs() - TOLERANCE * size
    assert (excess <= 0).all(), f"off by {excess.max():.2e} more than allowed"


SHAPES = st.tuples(
    st.integers(1, 12), st.integers(1, 15), st.sampled_from([1, 2, 3, 5, 8, 20, 33, 70, 128])
)
KAPPA = st.sampled_from([None, 0.01, 0.7, 5.0, 300.0, 1e6])


@settings(max_examples=200, deadline=None)
@given(
    shape=SHAPES,
    density=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    max_total=st.sampled_from([1, 7, 60, 5000, 1_000_000]),
    narrow=st.booleans(),
    kappa=KAPPA,
    vector=st.booleans(),
    shared=st.booleans(),
    extreme=st.booleans(),
    weighted=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_numba_equals_float64_reference(
    shape, density, max_total, narrow, kappa, vector, shared, extreme, weighted, seed
):
    n_cells, n_junctions, n_programs = shape
    entries = random_case(shared, n_cells, n_junctions, density, max_total, seed)
    if narrow and not shared:
        entries = entries.narrowed()
    phi, psi = random_factors(entries, n_programs, seed, torch.float32, extreme)
    concentration = random_kappa(entries, kappa, vector)
    weight = torch.ones(n_cells, dtype=F64)
    if weighted:
        weight = torch.linspace(-1.0, 2.0, n_cells, dtype=F64)
    expected = reference(entries, phi, psi, concentration, weight)

    leaves = [phi.requires_grad_(), psi.requires_grad_()]
    if concentration is not None:
        leaves.append(concentration.clone().requires_grad_())
    at = leaves[2] if kappa is not None else None
    value = ops.log_likelihood(entries, *leaves[:2], at, backend="numba")
    assert value.dtype == F64
    assert_within(value.detach(), expected.value, expected.value_size)
    alone = _cpu.log_likelihood(entries, phi, psi, concentration)
    assert torch.equal(alone, value.detach())
    gradients = torch.autograd.grad((value * weight).sum(), leaves)
    for ours, theirs, size in zip(
        gradients, expected.gradients, expected.gradient_sizes, strict=True
    ):
        assert_within(ours, theirs, size)


@settings(max_examples=100, deadline=None)
@example(shape=(1, 10, 2), max_total=1, kappa=None, vector=False, shared=False, seed=1)
@given(
    shape=SHAPES,
    max_total=st.sampled_from([1, 30, 1000]),
    kappa=KAPPA,
    vector=st.booleans(),
    shared=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_expected_counts_of_numba_equal_reference(shape, max_total, kappa, vector, shared, seed):
    n_cells, n_junctions, n_programs = shape
    entries = random_case(shared, n_cells, n_junctions, 0.6, max_total, seed)
    phi, psi = random_factors(entries, n_programs, seed, torch.float32)
    concentration = random_kappa(entries, kappa, vector)
    expected = _reference.expected_counts(entries, phi.double(), psi.double(), concentration)
    found = ops.expected_counts(entries, phi, psi, concentration, backend="numba")
    reads = (entries.totals.total if shared else entries.total).double()
    if not shared:
        # Sums of reads against a junction, each by the complement of its PSI, which cancel.
        p = (phi[entries.rows()] * psi[entries.column.long()]).double().sum(1)
        reads = reads / (1.0 - p).clamp(min=1e-6)
    for name in ("activity", "inclusion", "exclusion"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == torch.float32
        assert (ours >= 0).all()
        assert_within(ours, theirs, theirs + reads.sum())
    unit = torch.ones(n_cells, dtype=F64)
    sized = reference(entries, phi, psi, concentration, unit)
    assert_within(found.log_likelihood, sized.value, sized.value_size)
    if kappa is None:
        assert found.concentration_grad == 0
    else:
        assert_within(found.concentration_grad, sized.gradients[2], sized.gradient_sizes[2])


@pytest.mark.parametrize("shared", [False, True])
def test_cell_by_cell_other_cells_change_nothing(shared):
    """In chunks that span cells, sums of a cell are cut where the cells before it end."""
    entries = random_case(shared, 40, 60, 0.6, 300, 0)
    phi, psi = random_factors(entries, 5, 0, torch.float32)
    kappa = torch.tensor(20.0)

    def of_cells(cells):
        part = entries.select(cells).cell_by_cell()
        value, grad, *_ = _cpu.gradients(part, phi[cells], psi, kappa)
        counts = _cpu.expected_counts(part, phi[cells], psi, kappa)
        return torch.cat([value[:, None], grad, counts.activity], dim=1)

    whole = of_cells(torch.arange(40))
    for cells in (torch.arange(39, -1, -1), torch.tensor([17]), torch.arange(3, 30)):
        assert torch.equal(of_cells(cells), whole[cells])


@pytest.mark.parametrize("kappa", [None, 0.05, 4.0, 1e4])
def test_expected_counts_of_torch_equal_reference(kappa):
    entries = random_entries(9, 11, 0.6, 80, 3)
    phi, psi = random_factors(entries, 4, 3)
    concentration = None if kappa is None else torch.tensor(kappa, dtype=F64)
    expected = _reference.expected_counts(entries, phi, psi, concentration)
    found = ops.expected_counts(entries, phi, psi, concentration, backend="torch")
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("shared", [False, True])
def test_infinite_kappa_is_none(shared):
    entries = random_case(shared, 6, 9, 0.8, 30, 2)
    phi, psi = random_factors(entries, 3, 2, torch.float32)
    none = _cpu.gradients(entries, phi, psi, None)
    infinite = _cpu.gradients(entries, phi, psi, torch.tensor(torch.inf))
    for one, two in zip(none, infinite, strict=True):
        assert torch.equal(one, two)
    vector = random_kappa(entries, torch.inf, True)
    large = ops.log_likelihood(entries, phi, psi, vector, backend="numba")
    torch.testing.assert_close(large, none[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("n_junctions", [1, 40, 1000])
@pytest.mark.parametrize("shared", [False, True])
def test_chunks_tiles_and_groups_change_nothing(monkeypatch, n_junctions, shared):
    """Tiles of 64 columns, blocks of few cells, rows longer than a chunk."""
    entries = random_case(shared, 30, n_junctions, 0.9, 20, 8)
    phi, psi = random_factors(entries, 5, 8, torch.float32)
    weight = torch.linspace(0.5, 1.0, 30, dtype=F64)
    for kappa in (None, torch.tensor(3.0)):
        expected = reference(entries, phi, psi, kappa, weight)
        for tile_bytes in (1, 1 << 30):
            monkeypatch.setattr(_cpu, "_TILE_BYTES", tile_bytes)
            value, *gradients = _cpu.gradients(entries, phi, psi, kappa, weight)
            assert_within(value, expected.value, expected.value_size)
            for ours, theirs, size in zip(
                gradients, expected.gradients, expected.gradient_sizes, strict=False
            ):
                assert_within(ours.reshape(theirs.shape), theirs, size)


@pytest.mark.parametrize("kappa", [None, 6.0])
@pytest.mark.parametrize("shared", [False, True])
def test_expected_counts_are_gradients_of_the_likelihood(kappa, shared):
    """T1 / psi - T0 / (1 - psi) and N / phi are gradients (on the simplex, up to a constant)."""
    entries = random_case(shared, 8, 7, 0.7, 40, 5)
    phi, psi = random_factors(entries, 3, 5)
    psi = psi.clamp(1e-9, 1 - 1e-9)
    concentration = None if kappa is None else torch.tensor(kappa, dtype=F64)
    dphi, dpsi = reference(entries, phi, psi, concentration, torch.ones(8)).gradients[:2]
    counts = _reference.expected_counts(entries, phi, psi, concentration)
    torch.testing.assert_close(counts.inclusion / psi - counts.exclusion / (1 - psi), dpsi)
    own = counts.activity / phi
    constant = (own - dphi).mean(1, keepdim=True)
    torch.testing.assert_close(own - constant, dphi)


def test_binomial_counts_are_the_reads():
    entries = random_entries(6, 6, 0.8, 30, 1)
    phi, psi = random_factors(entries, 3, 1, torch.float32)
    counts = ops.expected_counts(entries, phi, psi, backend="numba")
    torch.testing.assert_close(counts.activity.sum(), entries.total.sum(), rtol=1e-4, atol=0.0)
    by_junction = torch.zeros(6).index_add_(0, entries.column.long(), entries.count)
    torch.testing.assert_close(counts.inclusion.sum(1), by_junction, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("kappa", [None, 0.3, 8.0])
def test_value_equals_scipy(backend, kappa):
    entries = random_entries(7, 9, 0.6, 50, 11)
    phi, psi = random_factors(entries, 3, 11)
    rows, column = entries.rows().numpy(), entries.column.numpy()
    p = ops.MISASSIGNMENT_RATE + (1 - 2 * ops.MISASSIGNMENT_RATE) * (
        phi.numpy()[rows] * psi.numpy()[column]
    ).sum(1)
    y, n = entries.count.double().numpy(), entries.total.double().numpy()
    if kappa is None:
        logs = scipy.stats.binom.logpmf(y, n, p)
    else:
        logs = scipy.stats.betabinom.logpmf(y, n, kappa * p, kappa * (1 - p))
    concentration = None if kappa is None else torch.tensor(kappa, dtype=F64)
    value = ops.log_likelihood(entries, phi, psi, concentration, backend=backend)
    rtol = 1e-9 if backend == "torch" else 1e-5
    np.testing.assert_allclose(value, np.bincount(rows, logs, 7), rtol=rtol)


@pytest.mark.parametrize("kappa", ["none", "scalar", "vector"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("function", [_reference.log_likelihood, ops.log_likelihood])
def test_gradcheck(kappa, shared, function):
    entries = random_case(shared, 4, 5, 0.8, 20, 7)
    phi, psi = random_factors(entries, 3, 7)
    inputs = [phi.requires_grad_(), psi.clamp(0.1, 0.9).requires_grad_()]
    if kappa != "none":
        inputs.append(random_kappa(entries, 3.0, kappa == "vector").requires_grad_())
    assert torch.autograd.gradcheck(lambda *x: function(entries, *x), inputs)


def test_results_do_not_depend_on_threads(set_threads):
    entries = random_entries(300, 40, 0.5, 60, 4)
    phi, psi = random_factors(entries, 6, 4, torch.float32)
    kappa = torch.tensor(5.0)
    results = []
    for n_threads in (1, 2):
        set_threads(n_threads)
        results.append(_cpu.gradients(entries, phi, psi, kappa))
        assert torch.get_num_threads() == n_threads
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_torch_backend_in_blocks(monkeypatch):
    entries = random_entries(20, 8, 0.7, 30, 9)
    phi, psi = random_factors(entries, 3, 9)
    kappa = torch.tensor(4.0, dtype=F64)
    weight = torch.linspace(0.5, 1.0, 20, dtype=F64)
    expected = reference(entries, phi, psi, kappa, weight)
    whole = ops.expected_counts(entries, phi, psi, kappa, backend="torch")
    monkeypatch.setattr(_autograd, "_TORCH_BLOCK", 15)
    leaves = [x.clone().requires_grad_() for x in (phi, psi, kappa)]
    blocked = ops.log_likelihood(entries, *leaves, backend="torch")
    torch.testing.assert_close(blocked, expected.value)
    found = torch.autograd.grad((blocked * weight).sum(), leaves)
    torch.testing.assert_close(list(found), expected.gradients)
    torch.testing.assert_close(
        ops.expected_counts(entries, phi, psi, kappa, backend="torch"), whole
    )


def test_choice_of_backend(monkeypatch):
    cpu = torch.device("cpu")
    assert ops.choose_backend(cpu) == "numba"
    assert ops.choose_backend(cpu, dtype=F64) == "torch"
    assert ops.choose_backend(cpu, "numba", F64) == "numba"
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


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("function", [ops.log_likelihood, ops.expected_counts])
def test_shapes_that_do_not_fit_are_refused(shared, function):
    entries = random_case(shared, 6, 9, 0.8, 30, 2)
    phi, psi = random_factors(entries, 3, 2, torch.float32)
    found = f"expected ({len(psi)}, 3), junctions x programs"
    with pytest.raises(ValueError, match=re.escape(found)):
        function(entries, phi, psi[1:])
    with pytest.raises(ValueError, match=r"phi has shape \(5, 3\): expected \(6, 3\)"):
        function(entries, phi[1:], psi)
    with pytest.raises(ValueError, match=r"phi has shape \(6, 2\): expected \(6, 3\)"):
        function(entries, phi[:, 1:], psi)
    with pytest.raises(ValueError, match="psi has shape"):
        function(entries, phi, psi[:, 0])
    one_for_each = "one value for each ATSE" if shared else "one value for each junction"
    with pytest.raises(ValueError, match=one_for_each):
        function(entries, phi, psi, torch.ones(2))
    with pytest.raises(ValueError, match="psi is on meta, the entries on cpu"):
        function(entries, phi, psi.to("meta"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_reference():
    entries = random_entries(50, 40, 0.5, 60, 4)
    phi, psi = random_factors(entries, 6, 4)
    kappa = torch.tensor(5.0, dtype=F64)
    weight = torch.ones(50, dtype=F64)
    expected = reference(entries, phi, psi, kappa, weight)
    leaves = [x.cuda().requires_grad_() for x in (phi, psi, kappa)]
    found = ops.log_likelihood(entries.to("cuda"), *leaves)
    torch.testing.assert_close(found.cpu(), expected.value)
    gradients = torch.autograd.grad(found.sum(), leaves)
    torch.testing.assert_close([g.cpu() for g in gradients], expected.gradients)


@pytest.mark.parametrize("kappa", [1e3, 1e5])
def test_torch_backend_keeps_digits_in_float32(kappa):
    """In float32, lgamma(1e5 + y) - lgamma(1e5) is wrong by whole nats."""
    entries = random_entries(20, 10, 0.8, 40, 2)
    phi, psi = random_factors(entries, 3, 2, torch.float32)
    concentration = torch.tensor(kappa)
    fused = ops.log_likelihood(entries, phi, psi, concentration, backend="numba")
    plain = ops.log_likelihood(entries, phi, psi, concentration, backend="torch")
    torch.testing.assert_close(plain, fused, rtol=1e-4, atol=1e-3)


def test_thread_settings_are_unchanged(set_threads):
    entries = random_entries(20, 10, 0.8, 40, 2)
    phi, psi = random_factors(entries, 3, 2)
    numba_threads = numba.get_num_threads()
    for n_threads in (2, 1):
        set_threads(n_threads)
        ops.log_likelihood(entries, phi, psi, backend="numba")
        assert (torch.get_num_threads(), numba.get_num_threads()) == (n_threads, numba_threads)
