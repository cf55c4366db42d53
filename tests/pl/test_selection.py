from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba

import leafletfa_scvi as lfa
from leafletfa_scvi.tl._select import ProgramSelection
from leafletfa_scvi.tl._stability import program_stability


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def selection(n_seeds=3, stopped=()):
    rng = np.random.default_rng(0)
    numbers = np.repeat([2, 4, 6, 8], n_seeds)
    gain = 0.1 + 0.01 * rng.normal(size=len(numbers))
    scores = pd.DataFrame({"n_programs": numbers, "log_likelihood_gain": gain})
    grouped = scores.groupby("n_programs")["log_likelihood_gain"]
    summary = pd.DataFrame({"log_likelihood_gain": grouped.mean(), "se": grouped.sem()})
    summary["stability"] = [0.9, 0.95, 0.6, -0.1] if n_seeds > 1 else np.nan
    summary["stopped"] = summary.index.isin(stopped)
    return ProgramSelection(4, "a note", summary, scores, 0.7)


def test_gain_and_stability_by_number_of_programs():
    result = selection()
    panels = lfa.pl.program_selection(result, title="Choice")
    assert list(panels) == ["gain", "stability"]
    ax, below = panels.values()
    ax.figure.draw_without_rendering()
    assert ax.figure.get_suptitle() == "Choice"
    chosen, points, mean = ax.lines[:3]
    assert list(chosen.get_xdata()) == [4, 4]
    np.testing.assert_array_equal(points.get_xdata(), result.scores["n_programs"])
    np.testing.assert_array_equal(points.get_ydata(), result.scores["log_likelihood_gain"])
    np.testing.assert_array_equal(mean.get_ydata(), result.summary["log_likelihood_gain"])
    bars = ax.collections[0].get_segments()
    ends = result.summary["log_likelihood_gain"] - result.summary["se"]
    np.testing.assert_allclose([bar[0, 1] for bar in bars], ends)
    assert list(below.lines[0].get_xdata()) == [4, 4]
    np.testing.assert_array_equal(below.lines[1].get_ydata(), result.summary["stability"])
    assert below.get_ylim() == pytest.approx((-0.15, 1.05))
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert texts == ["mean ± standard error", "single seed", "recommended: 4"]
    assert (ax.get_xlabel(), below.get_xlabel()) == ("", "number of programs")
    assert ax.get_xlim() == below.get_xlim()
    assert len(ax.figure.axes) == 2


def test_stopped_fits_are_hollow():
    result = selection(stopped=[2, 8])
    result.summary.loc[[2, 8], "stability"] = np.nan
    ax = lfa.pl.program_selection(result)["gain"]
    ax.figure.draw_without_rendering()
    (hollow,) = [line for line in ax.lines if line.get_markerfacecolor() == ax.get_facecolor()]
    assert list(hollow.get_xdata()) == [2, 8]
    gain = result.summary["log_likelihood_gain"]
    np.testing.assert_array_equal(hollow.get_ydata(), gain[[2, 8]])
    assert "stopped early" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_one_seed_has_one_panel():
    ax = lfa.pl.program_selection(selection(1))
    ax.figure.draw_without_rendering()
    assert len(ax.figure.axes) == 1
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "held-out gain",
        "recommended: 4",
    ]


@pytest.fixture
def stability():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(300, 4))
    models = {}
    for name, n in (("first", 4), ("second", 4), ("third", 3)):
        psi = base + rng.normal(size=base.shape) * [0.1, 0.2, 0.3, 0.0]
        psi[:, 3] = rng.normal(size=300)  # another one in each
        models[name] = pd.DataFrame(psi[:, :n]).set_axis([f"SP_{k + 1}" for k in range(n)], axis=1)
    return program_stability(models, reference="first", threshold=0.6)


def test_stability_of_programs(stability):
    ax = lfa.pl.program_stability(stability)
    ax.figure.draw_without_rendering()
    shown = ax.images[0].get_array()
    np.testing.assert_array_equal(shown.filled(np.nan), stability.correlation)
    assert np.isnan(stability.correlation.loc["SP_4", "third"])
    found = stability.correlation.to_numpy() >= 0.6
    np.testing.assert_array_equal(ax.images[0].get_alpha() == 1, found)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["second", "third"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["SP_1", "SP_2", "SP_3", "SP_4"]
    black = [to_rgba(t.get_color()) == to_rgba("black") for t in ax.get_yticklabels()]
    assert black == stability.programs["reproducible"].tolist() == [True, True, True, False]
    assert ax.get_title() == "3 of 4 programs reproducible"
    assert lfa.pl.program_stability(stability, title="Seeds").get_title() == "Seeds"
    assert len(ax.texts) == 7
    assert "first" in ax.get_ylabel()


def test_figures_are_returned_and_saved(stability, tmp_path):
    for draw, result in (
        (lfa.pl.program_selection, selection()),
        (lfa.pl.program_stability, stability),
    ):
        save = tmp_path / f"{draw.__name__}.png"
        figure = draw(result, figsize=(4, 3), return_fig=True, save=save)
        np.testing.assert_array_equal(figure.get_size_inches(), [4, 3])
        assert save.stat().st_size > 0


def test_axes_are_used(stability):
    _, (left, right) = plt.subplots(1, 2)
    assert lfa.pl.program_selection(selection(), ax=left) is left
    _, pair = plt.subplots(2)
    assert list(lfa.pl.program_selection(selection(), ax=pair).values()) == list(pair)
    assert lfa.pl.program_stability(stability, ax=right, cmap="magma") is right
    assert right.images[0].get_cmap().name == "magma"


def test_the_old_name_warns():
    with pytest.warns(FutureWarning, match="n_programs is deprecated; use program_selection"):
        panels = lfa.pl.n_programs(selection())
    assert panels["stability"].get_xlabel() == "number of programs"
