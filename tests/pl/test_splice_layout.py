from __future__ import annotations

import numpy as np
import pytest

from leafletfa_scvi.pl._splice_layout import arc_levels, axis_scale, spaced

SITES = np.array([1000, 51_000, 51_100, 90_000])
EXONS = np.array([[900, 1000], [51_000, 51_100], [90_000, 90_200]])


def drawn_length(scale, left, right):
    return float(scale.forward(right) - scale.forward(left))


def test_exons_are_to_scale_and_introns_shortened():
    scale = axis_scale(SITES, EXONS, compress=True)
    assert drawn_length(scale, 51_000, 51_100) == pytest.approx(100)
    assert drawn_length(scale, 51_020, 51_040) == pytest.approx(20)
    first, second = drawn_length(scale, 1000, 51_000), drawn_length(scale, 51_100, 90_000)
    c = scale.limit
    assert first == pytest.approx(c * (1 + np.log(50_000 / c)))
    assert second == pytest.approx(c * (1 + np.log(38_900 / c)))
    # Within an intron distances are in proportion; beyond the ends they are to scale.
    assert drawn_length(scale, 1000, 26_000) == pytest.approx(first / 2)
    assert drawn_length(scale, 900, 1000) == pytest.approx(100)
    assert drawn_length(scale, 90_000, 90_150) == pytest.approx(150)


def test_scale_is_inverted_and_monotone():
    scale = axis_scale(SITES, EXONS, compress=True)
    positions = np.linspace(0, 95_000, 1001)
    assert (np.diff(scale.forward(positions)) > 0).all()
    np.testing.assert_allclose(scale.inverse(scale.forward(positions)), positions, atol=1e-6)
    middle = scale.middle(1000, 90_000)
    assert drawn_length(scale, 1000, middle) == pytest.approx(drawn_length(scale, middle, 90_000))


def test_nothing_is_compressed_unless_asked_for_or_needed():
    plain = axis_scale(SITES, EXONS, compress=False)
    assert plain.limit is None
    assert drawn_length(plain, 1000, 51_000) == 50_000
    short = axis_scale(np.array([100, 190, 300, 380]), np.array([[190, 300]]), compress=True)
    assert short.limit is None
    assert drawn_length(short, 100, 190) == 90


def test_without_exons_long_distances_are_compressed_alike():
    scale = axis_scale(SITES, np.empty((0, 2), int), compress=True)
    assert drawn_length(scale, 51_000, 51_100) == pytest.approx(
        scale.limit * (1 + np.log(100 / scale.limit))
    )
    assert drawn_length(scale, 1000, 51_000) < 10 * drawn_length(scale, 51_000, 51_100)


def test_enclosing_arcs_lie_higher_and_neighbors_at_one_level():
    left, right = np.array([0, 0, 60, 100]), np.array([100, 40, 100, 150])
    levels = arc_levels(left, right, 1)
    np.testing.assert_array_equal(levels, [1, 0, 0, 0])
    # The second lies above the first for its label, and so the third above both.
    levels = arc_levels(np.array([-1, 5, 5]), np.array([1, 8, 100]), 10)
    np.testing.assert_array_equal(levels, [0, 1, 2])


def test_labels_of_one_level_do_not_overlap():
    narrow = np.array([0, 20, 200]), np.array([10, 30, 210])
    np.testing.assert_array_equal(arc_levels(*narrow, 5), [0, 0, 0])
    np.testing.assert_array_equal(arc_levels(*narrow, 30), [0, 1, 0])
    rng = np.random.default_rng(0)
    left = rng.uniform(0, 1000, 40)
    right = left + rng.uniform(5, 300, 40)
    width = 60
    levels = arc_levels(left, right, width)
    middle = (left + right) / 2
    for level in np.unique(levels):
        at = np.flatnonzero(levels == level)
        at = at[np.argsort(middle[at])]
        assert (np.diff(middle[at]) >= width).all()
        assert (left[at][1:] >= right[at][:-1]).all()
    for i in range(40):
        inside = (left >= left[i]) & (right <= right[i]) & (np.arange(40) != i)
        assert (levels[inside] < levels[i]).all()


def test_spaced_keeps_both_ends_and_the_distance():
    np.testing.assert_array_equal(spaced([0, 1, 5, 9.5, 10], 3), [0, 5, 10])
    np.testing.assert_array_equal(spaced([0, 1], 3), [0])
    np.testing.assert_array_equal(spaced([4, 4], 3), [4])
