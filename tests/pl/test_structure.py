from __future__ import annotations

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

import leafletfa_scvi as lfa
from leafletfa_scvi.pl._spread import spread

N_PROGRAMS = 4


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def cells(groups: list[str], categories: list[str], n_programs: int = N_PROGRAMS) -> ad.AnnData:
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(groups, categories=categories)},
        index=[f"cell_{i}" for i in range(len(groups))],
    )
    adata = ad.AnnData(obs=obs)
    concentration = np.full(n_programs, 0.4)
    adata.obsm["X_PHI"] = np.random.default_rng(0).dirichlet(concentration, len(groups))
    return adata


@pytest.fixture
def fitted() -> ad.AnnData:
    groups = np.random.default_rng(0).choice(["ES", "Epi", "Motor neuron"], 120)
    return cells(list(groups), ["Motor neuron", "ES", "Epi", "unused"])


def drawn(ax) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Start, lower and upper ends (cells x programs) of the bars of each group."""
    groups = []
    for paths in zip(*(area.get_paths() for area in ax.collections), strict=True):
        sides = [_sides(path.vertices) for path in paths]
        (start,) = {round(side[0], 6) for side in sides}
        groups.append((start, *(np.array([side[i] for side in sides]).T for i in (1, 2))))
    return groups


def _sides(outline: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Start of a filled area, and its lower and upper ends in each interval of width 1."""
    start, n = outline[:, 0].min(), round(np.ptp(outline[:, 0]))
    ends: list[list[float]] = [[] for _ in range(n)]
    for (x0, y0), (x1, y1) in zip(outline[:-1], outline[1:], strict=True):
        if abs(abs(x1 - x0) - 1) < 1e-6 and y0 == y1:
            ends[round(min(x0, x1) - start)].append(y0)
    return start, np.array([min(e) for e in ends]), np.array([max(e) for e in ends])


def heights(ax) -> np.ndarray:
    return np.concatenate([upper - lower for _, lower, upper in drawn(ax)])


def as_rows(values: np.ndarray) -> np.ndarray:
    return np.array(sorted(map(tuple, values.round(9))))


def test_each_cell_is_a_bar_of_height_one(fitted):
    ax = lfa.pl.structure(fitted)
    assert heights(ax).shape == (120, N_PROGRAMS)
    np.testing.assert_allclose(as_rows(heights(ax)), as_rows(fitted.obsm["X_PHI"]), atol=1e-8)
    assert ax.get_xlabel() == "120 cells"


def test_the_legend_is_in_the_order_of_the_stack(fitted):
    ax = lfa.pl.structure(fitted)
    ax.figure.draw_without_rendering()
    ((_, lower, upper),) = drawn(ax)
    np.testing.assert_allclose(upper[:, 0], 1)
    np.testing.assert_allclose(lower[:, :-1], upper[:, 1:], atol=1e-9)
    np.testing.assert_allclose(lower[:, -1], 0, atol=1e-9)
    entries = ax.get_legend().get_texts()
    assert [t.get_text() for t in entries] == ["SP_1", "SP_2", "SP_3", "SP_4"]
    places = [t.get_window_extent().y0 for t in entries]
    assert places == sorted(places, reverse=True)
    colors = [to_hex(c.get_facecolor()) for c in ax.get_legend().legend_handles]
    assert colors == [to_hex(c.get_facecolor()[0]) for c in ax.collections]


def test_groups_are_in_the_order_of_the_categories_and_sorted(fitted):
    ax = lfa.pl.structure(fitted, "cell_type")
    counts = fitted.obs["cell_type"].value_counts()
    names = ["Motor neuron", "ES", "Epi"]
    assert [t.get_text() for t in ax.get_xticklabels()] == [f"{n}\n({counts[n]})" for n in names]
    assert ax.get_xlabel() == "cell_type (number of cells)"
    end = 0.0
    for name, tick, (start, lower, upper) in zip(names, ax.get_xticks(), drawn(ax), strict=True):
        phi = fitted.obsm["X_PHI"][fitted.obs["cell_type"] == name]
        bars = upper - lower
        np.testing.assert_allclose(as_rows(bars), as_rows(phi), atol=1e-8)
        assert tick == pytest.approx(start + len(phi) / 2)
        assert start == 0 or 0.2 < start - end < 0.1 * 120  # a gap
        end = start + len(phi)
        leader = bars.argmax(axis=1)
        assert (leader[1:] != leader[:-1]).sum() == len(np.unique(leader)) - 1
        same = leader[1:] == leader[:-1]
        assert (np.diff(bars.max(axis=1))[same] <= 1e-8).all()
        sizes = [np.sum(leader == k) for k in dict.fromkeys(leader)]
        assert sizes == sorted(sizes, reverse=True)
    assert ax.get_xlim() == (0, pytest.approx(end))


def test_cells_without_a_group_are_omitted(fitted):
    fitted.obs.loc["cell_3", "cell_type"] = None
    assert len(heights(lfa.pl.structure(fitted, "cell_type"))) == 119


def test_groups_are_subsampled_in_proportion_but_small_ones_kept(fitted):
    fitted.obs["size"] = np.where(np.arange(120) < 8, "few", "many")
    ax = lfa.pl.structure(fitted, "size", max_cells=60)
    assert [len(lower) for _, lower, _ in drawn(ax)] == [8, 56]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["few\n(8)", "many\n(112)"]
    assert ax.get_xlabel() == "size (number of cells); 64 of 120 cells"
    assert lfa.pl.structure(fitted, max_cells=50).get_xlabel() == "50 of 120 cells"
    assert len(heights(lfa.pl.structure(fitted, max_cells=None))) == 120
    first, second = (lfa.pl.structure(fitted, max_cells=50, seed=1) for _ in range(2))
    np.testing.assert_array_equal(heights(first), heights(second))


@pytest.mark.parametrize("n_groups", [8, 40])
def test_long_labels_are_turned_and_do_not_overlap(n_groups):
    names = [f"{i:02d} excitatory neuron of layer 5, number" for i in range(n_groups)]
    sizes = np.where(np.arange(n_groups) % 4 == 0, 30, 1 + np.arange(n_groups) % 3)
    adata = cells(list(np.repeat(names, sizes)), names, 20)
    ax = lfa.pl.structure(adata, "cell_type", title="Cortex")
    ax.figure.draw_without_rendering()
    labels = ax.get_xticklabels()
    assert [t.get_text() for t in labels] == [
        f"{n} ({s})" for n, s in zip(names, sizes, strict=True)
    ]
    boxes = [t.get_window_extent() for t in labels]
    assert all(
        a.x1 < b.x1 and a.x1 - b.x0 < 0.15 * a.width
        for a, b in zip(boxes, boxes[1:], strict=False)
    )
    page = ax.figure.bbox
    assert all(box.y0 >= 0 and box.x0 >= 0 and box.x1 <= page.x1 for box in boxes)
    assert ax.get_window_extent().height > 150  # not squeezed by the labels
    legend = ax.get_legend().get_window_extent()
    assert legend.x0 > ax.get_window_extent().x1
    assert legend.x1 <= page.x1
    lines = [text for text in ax.texts if isinstance(text, Annotation)]
    starts = [start for start, *_ in drawn(ax)]
    np.testing.assert_allclose([a.xy[0] for a in lines], starts + sizes / 2)
    np.testing.assert_allclose([a.xyann[0] for a in lines], ax.get_xticks())


def test_short_labels_are_level(fitted):
    ax = lfa.pl.structure(fitted, "cell_type")
    assert {t.get_rotation() for t in ax.get_xticklabels()} == {0}
    assert not ax.texts


def test_places_of_labels():
    np.testing.assert_allclose(spread(np.array([0, 5, 10.0]), 2, 0, 10), [0, 5, 10])
    np.testing.assert_allclose(spread(np.array([5, 5, 5.0]), 2, 0, 10), [3, 5, 7])
    np.testing.assert_allclose(spread(np.array([0, 0, 9.0]), 2, 0, 10), [0, 2, 9])
    np.testing.assert_allclose(spread(np.array([9, 9.5, 10]), 2, 0, 10), [6, 8, 10])
    np.testing.assert_allclose(spread(np.array([1, 2, 3.0]), 20, 0, 10), [0, 5, 10])
    np.testing.assert_allclose(spread(np.array([4.0]), 20, 0, 10), [4])


@pytest.mark.parametrize(
    "palette",
    [
        "Set1",
        list(mpl.colormaps["Set1"].colors[:4]),
        {f"SP_{k + 1}": mpl.colormaps["Set1"].colors[k] for k in range(4)},
    ],
    ids=["name", "list", "dict"],
)
def test_palettes(fitted, palette):
    ax = lfa.pl.structure(fitted, palette=palette)
    expected = [to_hex(c) for c in mpl.colormaps["Set1"].colors[:4]]
    assert [to_hex(c.get_facecolor()[0]) for c in ax.collections] == expected


def test_wrong_palettes(fitted):
    with pytest.raises(ValueError, match="each of 4 programs, found none for 'SP_4'"):
        lfa.pl.structure(fitted, palette=["red", "green", "blue"])
    with pytest.raises(ValueError, match="found 'set1'. Did you mean 'Set1'"):
        lfa.pl.structure(fitted, palette="set1")


def test_the_old_name_of_palette_warns(fitted):
    with pytest.warns(FutureWarning, match="'colors' of structure is deprecated; use 'palette'"):
        ax = lfa.pl.structure(fitted, colors=["red", "green", "blue", "k"])
    assert to_hex(ax.collections[0].get_facecolor()[0]) == to_hex("red")


def test_axes_title_and_size(fitted, tmp_path):
    _, given = plt.subplots()
    assert lfa.pl.structure(fitted, "cell_type", ax=given, title="Cells") is given
    assert given.get_title() == "Cells"
    figure = lfa.pl.structure(fitted, figsize=(4, 3), return_fig=True, save=tmp_path / "a.svg")
    np.testing.assert_array_equal(figure.get_size_inches(), [4, 3])
    assert "SP_1</text>" in (tmp_path / "a.svg").read_text()


def test_errors(fitted):
    with pytest.raises(KeyError, match=r"column of adata.obs, one of \['cell_type'\], found 'no'"):
        lfa.pl.structure(fitted, "no")
    fitted.obs["empty"] = pd.Categorical([None] * 120, categories=["a"])
    with pytest.raises(ValueError, match="found missing values only"):
        lfa.pl.structure(fitted, "empty")
    del fitted.obsm["X_PHI"]
    with pytest.raises(KeyError, match=r"Call model.export_posterior\(adata\) first"):
        lfa.pl.structure(fitted)
