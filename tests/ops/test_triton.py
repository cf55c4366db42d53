"""Triton kernels against the float64 reference, interpreted if there is no GPU."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi import ops
from leafletfa_scvi.ops import _autograd, _reference, _triton, _triton_config, _triton_segments

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
F64 = torch.float64
INF = math.inf
DTYPES = [torch.uint8, torch.int16, torch.int32, torch.float32]


def random_entries(n_cells, n_junctions, density, max_total, seed, dtype=torch.float32):
    """Observed entries with equal totals in ATSEs of up to 3 junctions, and the ATSEs.

    Empty cells, y = 0, y = n and totals above the sum of the counts are among them.
    """
    rng = np.random.default_rng(seed)
    atse = np.arange(n_junctions) // 3
    share = max_total // 4
    count = rng.integers(0, share + 1, (n_cells, n_junctions)) + (max_total == 1)
    count *= rng.random(count.shape) < 0.5
    total = np.zeros((n_cells, atse[-1] + 1), dtype=int)
    np.add.at(total, (slice(None), atse), count)
    total += rng.integers(0, share + 1, total.shape) * (rng.random(total.shape) < 0.3)
    total *= rng.random(total.shape) < density
    total[rng.random(n_cells) < 0.2] = 0
    total = total[:, atse]
    rows, column = total.nonzero()
    entries = ops.ObservedEntries(
        torch.tensor(np.r_[0, (total > 0).sum(1).cumsum()]),
        torch.tensor(column, dtype=torch.int32),
        torch.tensor(count[rows, column]).to(dtype),
        torch.tensor(total[rows, column]).to(dtype),
        n_junctions,
    )
    return entries, torch.tensor(atse)


def random_factors(entries, n_programs, seed, ends=False):
    """Factors in float32; with ``ends``, of ones and zeros, so that each p is at an end."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (entries.n_cells, n_programs), (entries.n_junctions, n_programs)
    phi, psi = (torch.rand(shape, generator=generator, dtype=F64) for shape in shapes)
    if ends:
        return torch.eye(n_programs)[phi.argmax(1)], psi.round().float()
    phi = phi**3 + 1e-9
    return (phi / phi.sum(1, keepdim=True)).float(), psi.float()


def reference(entries, phi, psi, kappa, weight):
    """Value and gradients in float64; an infinite kappa is none."""
    leaves = [x.double().requires_grad_() for x in (phi, psi)]
    if kappa is not None and bool(kappa.isfinite().all()):
        leaves.append(kappa.double().requires_grad_())
    value = _reference.log_likelihood(entries, *leaves)
    return value.detach(), torch.autograd.grad((value * weight).sum(), leaves)


def assert_near(found, expected, tolerance, scale=0.0):
    found = found.detach().cpu().double()
    assert torch.isfinite(found).all()
    size = max(expected.abs().max().item(), scale) if expected.numel() else 0.0
    torch.testing.assert_close(found, expected.double(), rtol=0.0, atol=tolerance * size + 1e-30)


def kappa_scale(entries, kappa):
    """Size of the terms whose difference is the derivative for kappa."""
    scored = entries.scored
    n = scored.total.double()
    smallest = kappa.double().min()
    return torch.minimum(n / smallest, 1 / smallest + torch.log1p(n / smallest)).sum().item()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    shape=st.sampled_from([(1, 1), (5, 7), (3, 12), (1, 75)]),
    n_programs=st.sampled_from([1, 3, 20, 33, 128]),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    max_total=st.sampled_from([1, 60, 5000, 1_000_000]),
    kappa=st.sampled_from([None, 0.01, 0.7, 5.0, 300.0, 1e6, INF]),
    vector=st.booleans(),
    atses=st.booleans(),
    ends=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    deterministic=st.sampled_from([True, False, None]),
    weighted=st.booleans(),
    kappa_grad=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_triton_equals_float64_reference(
    shape,
    n_programs,
    density,
    max_total,
    kappa,
    vector,
    atses,
    ends,
    dtype,
    deterministic,
    weighted,
    kappa_grad,
    seed,
):
    dtype = torch.promote_types(dtype, ops._entries.smallest_int_dtype(max_total))
    entries, atse = random_entries(*shape, density, max_total, seed, dtype)
    n_kappas = entries.n_junctions
    if atses:
        entries = ops.multinomial_entries(entries, atse)
        n_kappas = entries.n_atses
    phi, psi = random_factors(entries, n_programs, seed, ends)
    concentration = None if kappa is None else torch.tensor(kappa)
    if kappa is not None and kappa < INF and vector and n_kappas:
        concentration = concentration * torch.linspace(0.5, 2.0, n_kappas)
    weight = torch.linspace(-1.0, 2.0, shape[0], dtype=F64) if weighted else torch.full((), 0.7)
    value, grads = reference(entries, phi, psi, concentration, weight)

    leaves = [x.to(DEVICE).requires_grad_() for x in (phi, psi)]
    if concentration is not None:
        concentration = concentration.to(DEVICE).requires_grad_(kappa_grad)
    args = (entries.to(DEVICE), *leaves, concentration)
    found = ops.log_likelihood(*args, backend="triton", deterministic=deterministic)
    if kappa_grad and concentration is not None:
        leaves.append(concentration)
    found_grads = torch.autograd.grad((found * weight.to(DEVICE)).sum(), leaves)
    assert found.dtype == F64
    reads = float(entries.scored.total.sum())
    assert_near(found, value, 1e-6, scale=reads)
    assert_near(found_grads[0], grads[0], 1e-5)
    assert_near(found_grads[1], grads[1], 1e-5)
    for ours, theirs in zip(found_grads[2:], grads[2:], strict=False):
        assert_near(ours, theirs, 1e-6, scale=kappa_scale(entries, concentration.detach().cpu()))
    with torch.no_grad():
        assert_near(ops.log_likelihood(*args, backend="triton"), value, 1e-6, scale=reads)


@pytest.mark.parametrize("atses", [False, True])
@pytest.mark.parametrize("kappa", ["none", "scalar", "vector"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_expected_counts_equal_reference(atses, kappa, deterministic):
    entries, atse = random_entries(6, 11, 0.7, 80, 3, torch.uint8)
    entries = ops.multinomial_entries(entries, atse) if atses else entries
    phi, psi = random_factors(entries, 5, 3)
    n_kappas = entries.n_atses if atses else entries.n_junctions
    concentration = {
        "none": None,
        "scalar": torch.tensor(4.0),
        "vector": torch.linspace(0.5, 90.0, n_kappas),
    }[kappa]
    wide = None if concentration is None else concentration.double()
    expected = _reference.expected_counts(entries, phi.double(), psi.double(), wide)
    on_device = [None if x is None else x.to(DEVICE) for x in (phi, psi, concentration)]
    found = ops.expected_counts(
        entries.to(DEVICE), *on_device, backend="triton", deterministic=deterministic
    )
    scales = [0.0] * 4 + [0.0 if wide is None else kappa_scale(entries, wide)]
    for ours, theirs, scale in zip(found, expected, scales, strict=True):
        assert ours.shape == theirs.shape
        assert_near(ours, theirs, 1e-6, scale)


@pytest.mark.parametrize("atses", [False, True])
@pytest.mark.parametrize("vector", [False, True])
def test_deterministic_results_repeat_bitwise(atses, vector):
    entries, atse = random_entries(40, 9, 0.9, 60, 5, torch.uint8)
    entries = ops.multinomial_entries(entries, atse) if atses else entries
    entries = entries.to(DEVICE)
    phi, psi = (x.to(DEVICE) for x in random_factors(entries, 7, 5))
    n_kappas = entries.n_atses if atses else entries.n_junctions
    kappa = torch.full((n_kappas,) if vector else (), 6.0, device=DEVICE)
    for sweep in (_triton.gradients, _triton.expected_counts):
        one, two = (sweep(entries, phi, psi, kappa, deterministic=True) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("atses", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_rows_and_columns_in_many_segments(atses, deterministic, monkeypatch):
    """Cut every 3 entries; some cells and columns have none, some many."""
    entries, atse = random_entries(12, 10, 0.6, 60, 8, torch.uint8)
    entries = ops.multinomial_entries(entries, atse) if atses else entries
    phi, psi = random_factors(entries, 4, 8)
    n_kappas = entries.n_atses if atses else entries.n_junctions
    kappa = torch.linspace(1.0, 9.0, n_kappas)
    weight = torch.linspace(-1.0, 1.0, 12)
    value, grads = reference(entries, phi, psi, kappa, weight)
    monkeypatch.setattr(_triton_segments, "MIN_LENGTH", 3)
    monkeypatch.setattr(_triton_segments, "N_SEGMENTS", 1 << 30)
    args = (x.to(DEVICE) for x in (entries, phi, psi, kappa, weight))
    found = _triton.gradients(*args, deterministic=deterministic)
    scales = (0.0, 0.0, 0.0, kappa_scale(entries, kappa))
    for ours, theirs, scale in zip(found, (value, *grads), scales, strict=True):
        assert_near(ours, theirs, 1e-6, scale)


def test_work_is_cut_into_segments(monkeypatch):
    monkeypatch.setattr(_triton_segments, "MIN_LENGTH", 3)
    cut = _triton_segments.cut_rows(torch.tensor([0, 0, 7, 8, 8]), 8)
    assert cut.first.tolist() == [0, 0, 3, 4, 4]
    used = cut.table[:, :4].T.tolist()
    assert used == [[1, 0, 3], [1, 3, 6], [1, 6, 7], [2, 7, 8]]
    assert (cut.table[1, 4:] == cut.table[2, 4:]).all()


def test_infinite_concentrations_tend_to_the_binomial():
    """A scalar one is the binomial; one of many is taken as 1e9."""
    entries, _ = random_entries(6, 6, 1.0, 30, 2, torch.uint8)
    phi, psi = (x.to(DEVICE) for x in random_factors(entries, 3, 2))
    entries = entries.to(DEVICE)
    binomial = _triton.gradients(entries, phi, psi, None)
    for kappa in (torch.tensor(INF), torch.full((6,), INF), torch.tensor(1e9), torch.tensor(1e30)):
        found = _triton.gradients(entries, phi, psi, kappa.to(DEVICE))
        for ours, theirs in zip(found[:3], binomial[:3], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
        assert found[3].abs().max() < 1e-12


def test_extremes_are_finite():
    """Totals up to 2^24, kappa from 0.01 to infinity, p at both ends and between."""
    total = torch.tensor([1, 2, 30, 1000, 1 << 20, (1 << 24) - 1], dtype=torch.int32)
    total = total.repeat_interleave(3)
    count = torch.stack([torch.zeros(6).int(), total[::3] // 2, total[::3]], 1).reshape(-1)
    n = len(total)
    entries = ops.ObservedEntries(
        torch.arange(4) * n, torch.arange(n).int().repeat(3), count.repeat(3), total.repeat(3), n
    ).to(DEVICE)
    phi = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], device=DEVICE)
    psi = torch.tensor([[0.0, 1.0]], device=DEVICE).repeat(n, 1)
    for size in (0.01, 1.0, 1e6, 1e9, INF):
        for kappa in (torch.tensor(size), torch.full((n,), size)):
            for result in (
                _triton.gradients(entries, phi, psi, kappa.to(DEVICE)),
                _triton.expected_counts(entries, phi, psi, kappa.to(DEVICE)),
            ):
                assert all(torch.isfinite(x).all() for x in result)


def test_column_order_from_the_second_call():
    entries, _ = random_entries(6, 6, 1.0, 30, 2, torch.uint8)
    entries = entries.to(DEVICE)
    phi, psi = (x.to(DEVICE) for x in random_factors(entries, 3, 2))
    ops.log_likelihood(entries, phi, psi, backend="triton")
    _triton.gradients(entries, phi, psi, None)
    assert "by_column" not in entries._derived
    _triton.gradients(entries, phi, psi, None)
    assert "by_column" in entries._derived
    fresh = entries.select(torch.arange(6))
    assert not fresh._derived
    torch.use_deterministic_algorithms(True)
    try:
        _triton.gradients(fresh, phi, psi, None)
    finally:
        torch.use_deterministic_algorithms(False)
    assert "by_column" in fresh._derived


def test_float64_results_for_float64_factors():
    entries, _ = random_entries(4, 6, 1.0, 30, 2)
    phi, psi = (x.double().to(DEVICE) for x in random_factors(entries, 3, 2))
    kappa = torch.tensor(3.0, dtype=F64, device=DEVICE)
    leaves = [x.requires_grad_() for x in (phi, psi, kappa)]
    value = ops.log_likelihood(entries.to(DEVICE), *leaves, backend="triton")
    assert all(g.dtype == F64 for g in torch.autograd.grad(value.sum(), leaves))
    assert all(
        x.dtype == F64 for x in ops.expected_counts(entries.to(DEVICE), *leaves, backend="triton")
    )


@pytest.mark.parametrize("atses", [False, True])
def test_no_cells(atses):
    entries, atse = random_entries(3, 6, 1.0, 30, 2)
    entries = ops.multinomial_entries(entries, atse) if atses else entries
    none = entries.select(torch.zeros(0, dtype=torch.int64)).to(DEVICE)
    psi = torch.rand(entries.n_junctions, 3, device=DEVICE)
    kappa = torch.tensor(3.0, device=DEVICE)
    value, dphi, dpsi, dkappa = _triton.gradients(none, psi[:0], psi, kappa, deterministic=True)
    assert value.shape == (0,)
    assert dphi.shape == (0, 3)
    assert not dpsi.any()
    assert not dkappa.any()


def test_choice_of_triton(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert ops.choose_backend(cuda) == "triton"
    assert ops.choose_backend(cuda, "triton") == "triton"
    assert ops.choose_backend(cuda, dtype=F64) == "torch"
    assert ops.choose_backend(torch.device("mps")) == "torch"
    assert ops.choose_backend(torch.device("xpu")) == "torch"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert ops.choose_backend(cpu) == "numba"
    assert ops.choose_backend(cpu, "triton") == "triton"
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ValueError, match="'triton' runs on CUDA devices, found entries on cpu"):
        ops.choose_backend(cpu, "triton")
    monkeypatch.setattr(_autograd.importlib.util, "find_spec", lambda name: None)
    assert ops.choose_backend(cuda) == "torch"
    with pytest.raises(ImportError, match="pip install triton"):
        ops.choose_backend(cuda, "triton")


def test_tuning_keeps_the_fastest(monkeypatch, capsys):
    configs = {name: dict(table) for name, table in _triton_config.CONFIGS.items()}
    monkeypatch.setattr(_triton_config, "CONFIGS", configs)
    monkeypatch.setattr("triton.testing.do_bench", lambda sweep: sweep())
    fast = _triton_config.Config(64, 2, 1)
    _triton_config.tune(lambda: 3.0 - sum(table.get(32) == fast for table in configs.values()), 20)
    assert configs["rows"][32] == configs["columns"][32] == fast
    assert "columns 32: Config(entries=64, warps=2, stages=1), 1.000 ms" in capsys.readouterr().out


@pytest.mark.parametrize("config", [(16, 1, 1), (64, 2, 1), (128, 4, 2)])
def test_results_do_not_depend_on_block_sizes(config, monkeypatch):
    entries, _ = random_entries(3, 75, 0.9, 60, 1, torch.uint8)
    phi, psi = (x.to(DEVICE) for x in random_factors(entries, 5, 1))
    entries = entries.to(DEVICE)
    usual = _triton.gradients(entries, phi, psi, None, deterministic=True)
    for name in ("rows", "columns"):
        monkeypatch.setitem(_triton_config.CONFIGS[name], 8, _triton_config.Config(*config))
    found = _triton.gradients(entries, phi, psi, None, deterministic=True)
    torch.testing.assert_close(found, usual, rtol=1e-5, atol=1e-4)
