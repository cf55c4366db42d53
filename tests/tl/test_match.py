from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import leafletfa_scvi as lfa


@pytest.fixture
def psi() -> np.ndarray:
    return np.random.default_rng(0).beta(1, 1, size=(200, 5))


def test_correlation_is_pearson_of_centered_columns(psi):
    other = np.random.default_rng(1).beta(1, 1, size=(200, 3))
    found = lfa.tl.program_correlation(psi, other)
    a, b = psi - psi.mean(1, keepdims=True), other - other.mean(1, keepdims=True)
    np.testing.assert_allclose(found, np.corrcoef(a.T, b.T)[:5, 5:], atol=1e-12)
    found = lfa.tl.program_correlation(psi, other, center=False)
    np.testing.assert_allclose(found, np.corrcoef(psi.T, other.T)[:5, 5:], atol=1e-12)


def test_a_permutation_is_undone(psi):
    order = [3, 0, 4, 1, 2]
    match = lfa.tl.match_programs(psi, psi[:, order])
    assert match["reference"].tolist() == [0, 1, 2, 3, 4]
    assert match["learned"].tolist() == [order.index(k) for k in range(5)]
    np.testing.assert_allclose(match["correlation"], 1)


def test_the_assignment_is_optimal_not_greedy():
    # Greedy takes a-x (0.8) and is left with b-y (-0.7); the best total is a-y + b-x.
    x, y = np.array([1.0, -1, 0, 0]), np.array([0, 0, 1.0, -1])
    reference = np.column_stack([0.8 * x + 0.6 * y, 0.7 * x - 0.7 * y])
    learned = np.column_stack([x, y])
    correlation = lfa.tl.program_correlation(reference, learned, center=False)
    assert correlation.to_numpy().argmax() == 0
    assert lfa.tl.match_programs(reference, learned, center=False)["learned"].tolist() == [1, 0]


@pytest.mark.parametrize("keep", [[4, 2], [0, 1, 2, 3]])
def test_different_numbers_of_programs(psi, keep):
    # Not centered: the mean over a part of the programs is another one.
    match = lfa.tl.match_programs(psi, psi[:, keep], center=False)
    assert match["reference"].tolist() == sorted(keep)
    assert [keep[k] for k in match["learned"]] == sorted(keep)
    match = lfa.tl.match_programs(psi[:, keep], psi, center=False)
    assert match["learned"].tolist() == keep


def test_centering_distinguishes_programs_with_common_junction_means():
    rng = np.random.default_rng(0)
    mean = rng.beta(0.3, 0.3, size=(500, 1))
    truth = mean + 0.02 * rng.normal(size=(500, 4))
    learned = truth[:, ::-1] + 0.005 * rng.normal(size=(500, 4))
    plain = lfa.tl.program_correlation(truth, learned, center=False)
    centered = lfa.tl.program_correlation(truth, learned)
    assert plain.to_numpy().min() > 0.98
    assert (centered.to_numpy() > 0.9).sum() == 4
    assert lfa.tl.match_programs(truth, learned)["learned"].tolist() == [3, 2, 1, 0]


def test_centering_does_not_change_activities():
    rng = np.random.default_rng(0)
    phi, other = rng.dirichlet(np.ones(4), 100), rng.dirichlet(np.ones(3), 100)
    np.testing.assert_allclose(
        lfa.tl.program_correlation(phi, other),
        lfa.tl.program_correlation(phi, other, center=False),
        atol=1e-12,
    )


def test_a_constant_column_has_correlation_zero(psi):
    flat = psi.copy()
    flat[:, 1] = 0.3
    with np.errstate(all="raise"):
        found = lfa.tl.program_correlation(flat, psi, center=False).to_numpy()
    assert np.isfinite(found).all()
    assert (found[1] == 0).all()
    np.testing.assert_allclose(np.diag(found)[[0, 2, 3, 4]], 1)


def test_a_single_program_is_not_centered(psi):
    match = lfa.tl.match_programs(psi[:, [2]], psi)
    assert match["learned"].tolist() == [2]
    assert match["correlation"].iloc[0] == pytest.approx(1)


def test_frames_are_aligned_by_row_names_and_keep_column_names(psi):
    names = [f"j{i}" for i in range(len(psi))]
    reference = pd.DataFrame(psi, index=names, columns=list("abcde"))
    learned = reference.sample(frac=1, random_state=0)
    learned.columns = [f"SP_{k}" for k in range(1, 6)]
    match = lfa.tl.match_programs(reference, learned)
    assert match["reference"].tolist() == list("abcde")
    assert match["learned"].tolist() == ["SP_1", "SP_2", "SP_3", "SP_4", "SP_5"]
    np.testing.assert_allclose(match["correlation"], 1)


def test_invalid_input_is_refused(psi):
    with pytest.raises(ValueError, match="found 200 and 199"):
        lfa.tl.match_programs(psi, psi[1:])
    with pytest.raises(ValueError, match="2 dimensions, found 1"):
        lfa.tl.match_programs(psi[:, 0], psi)
    with pytest.raises(ValueError, match=r"shape \(1, 5\)"):
        lfa.tl.match_programs(psi[:1], psi[:1])
    holed = psi.copy()
    holed[3, 2] = np.nan
    with pytest.raises(ValueError, match="finite values in learned"):
        lfa.tl.match_programs(psi, holed)
    frame = pd.DataFrame(psi, index=[f"j{i}" for i in range(200)])
    with pytest.raises(ValueError, match="same row names .* found 1 that are in one only.*'j0'"):
        lfa.tl.match_programs(frame, frame.iloc[1:])
    twice = frame.rename(index={"j1": "j0"})
    with pytest.raises(ValueError, match="equal or unique row names, found duplicates"):
        lfa.tl.match_programs(frame, twice)
