from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

import leafletfa_scvi as lfa


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_match_orders_and_frames_matched_pairs():
    values = np.array([[0.1, 0.9, -0.2], [0.2, 0.3, 0.8]])
    frame = pd.DataFrame(values, index=["planted 1", "planted 2"], columns=["a", "b", "c"])
    ax = lfa.pl.program_match(frame)
    np.testing.assert_array_equal(ax.images[0].get_array(), values[:, [1, 2, 0]])
    assert ax.images[0].get_clim() == (-1, 1)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["b", "c", "a"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["planted 1", "planted 2"]
    assert [p.get_xy() for p in ax.patches] == [(-0.5, -0.5), (0.5, 0.5)]
    assert [t.get_text() for t in ax.texts][:3] == ["0.90", "-0.20", "0.10"]


def test_match_frames_pairs_with_more_reference_programs():
    rng = np.random.default_rng(0)
    reference, learned = rng.normal(size=(100, 5)), rng.normal(size=(100, 3))
    ax = lfa.pl.program_match(lfa.tl.program_correlation(reference, learned))
    match = lfa.tl.match_programs(reference, learned)
    columns = [int(t.get_text()) for t in ax.get_xticklabels()]
    framed = [(round(p.get_y() + 0.5), columns[round(p.get_x() + 0.5)]) for p in ax.patches]
    assert framed == list(zip(match["reference"], match["learned"], strict=True))


def test_match_refuses_non_finite_values():
    with pytest.raises(ValueError, match="to be a finite matrix"):
        lfa.pl.program_match(np.array([[np.nan, 1.0]]))


def test_axes_title_and_the_figure(tmp_path):
    _, ax = plt.subplots()
    values = np.array([[0.96, -0.001], [-0.97, 0.2]])
    assert lfa.pl.program_match(values, ax=ax, title="Seeds", cmap="PiYG") is ax
    assert ax.get_title() == "Seeds"
    assert ax.images[0].get_cmap().name == "PiYG"
    assert [t.get_text() for t in ax.texts] == ["0.96", "0.00", "-0.97", "0.20"]
    assert [t.get_color() for t in ax.texts] == ["white", "black", "white", "black"]
    figure = lfa.pl.program_match(values, figsize=(3, 2), return_fig=True, save=tmp_path / "a.png")
    np.testing.assert_array_equal(figure.get_size_inches(), [3, 2])
    assert (tmp_path / "a.png").stat().st_size > 0
