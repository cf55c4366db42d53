from __future__ import annotations

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from leafletfa_scvi._colors import LEAST_CONTRAST, OKABE_ITO, contrast, group_colors
from leafletfa_scvi.pl._figures import finish, new_axes
from leafletfa_scvi.pl._groups import cells_by_group, diverging_map, edge_widths


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def cells(labels: list, categories: list) -> ad.AnnData:
    adata = ad.AnnData(np.zeros((len(labels), 1)))
    adata.obs["group"] = pd.Categorical(labels, categories=categories)
    return adata


def test_save_writes_the_format_of_the_ending_with_text_as_text(tmp_path):
    ax = new_axes(2, 2)
    assert finish(ax, title="Nrxn1 β", save=tmp_path / "figure.svg") is ax
    assert "Nrxn1 β</text>" in (tmp_path / "figure.svg").read_text()
    finish(ax, save=str(tmp_path / "figure.pdf"))
    assert (tmp_path / "figure.pdf").read_bytes()[:4] == b"%PDF"
    assert {path.name for path in tmp_path.iterdir()} == {"figure.svg", "figure.pdf"}


@pytest.mark.parametrize("name", ["figure", "figure.docx"])
def test_save_needs_a_known_ending(tmp_path, name):
    with pytest.raises(ValueError, match=r"Expected save to end with a format.*'figure.pdf'"):
        finish(new_axes(2, 2), save=tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_save_names_the_path_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="Cannot save the figure.*missing/figure.png"):
        finish(new_axes(2, 2), save=tmp_path / "missing" / "figure.png")


def test_show_and_return_fig(monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    ax = new_axes(2, 2)
    assert finish(ax, return_fig=True) is ax.figure
    assert finish(ax, show=False) is ax
    assert not shown
    assert finish(ax, show=True) is None
    assert shown == [True]


def test_the_title_of_several_axes_is_that_of_the_figure():
    axes = plt.subplots(1, 2)[1]
    assert finish(axes, title="both") is axes
    assert axes[0].figure.get_suptitle() == "both"
    assert not axes[0].get_title()


def test_groups_are_in_the_order_of_their_categories():
    groups = cells_by_group(cells(["b", None, "a", "b"], ["b", "unused", "a"]), "group")
    assert list(groups) == ["b", "a"]
    np.testing.assert_array_equal(groups["b"], [0, 3])
    np.testing.assert_array_equal(groups["a"], [2])


def test_colors_are_those_that_scanpy_wrote_also_with_unused_categories():
    adata = cells(["b", "a"], ["b", "unused", "a"])
    adata.uns["group_colors"] = ["red", "green", "blue"]
    found = group_colors(adata, "group")
    assert found == {
        name: to_hex(c) for name, c in zip("b unused a".split(), ["r", "green", "b"], strict=True)
    }
    adata.uns["group_colors"] = ["red"]  # of before a category was added
    assert list(group_colors(adata, "group").values()) == list(OKABE_ITO[:3])
    assert list(adata.uns["group_colors"]) == ["red"]


@pytest.mark.parametrize("number", [3, 8, 9, 20, 28, 40, 150])
def test_colors_differ(number):
    names = [f"type {i}" for i in range(number)]
    colors = group_colors(cells(names, names), "group")
    assert list(colors) == names
    assert len(set(colors.values())) == number


@pytest.mark.parametrize("number", [21, 28, 40, 80])
def test_colors_of_many_groups_are_visible_on_white_and_on_black(number):
    names = [f"type {i}" for i in range(number)]
    for color in group_colors(cells(names, names), "group").values():
        assert contrast(color, "white") >= LEAST_CONTRAST
        assert contrast(color, "black") >= LEAST_CONTRAST


def test_contrast_is_that_of_the_guidelines():
    assert contrast("black", "white") == contrast("white", "black") == pytest.approx(21)
    assert contrast("#777777", "white") == pytest.approx(4.48, abs=0.005)  # as WebAIM has it
    assert contrast("red", "red") == 1


def test_the_middle_of_a_diverging_map_is_about_the_background():
    for background, other in (("white", "black"), ("black", "white")):
        shades = mpl.colormaps.get_cmap(diverging_map(None, background))
        assert contrast(shades(0.5), background) < 1.5
        for end, name in ((shades(0.0), "blue"), (shades(1.0), "red")):
            assert contrast(end, background) > 8
            assert (end[2] > end[0]) == (name == "blue")
        assert contrast(shades(0.5), other) > 12
    assert diverging_map("PiYG", "black") == "PiYG"


def test_only_dots_that_are_hardly_visible_have_an_edge():
    colors = ["#FFFF00", "#DDEFFF", "#0072B2", "#000000"]
    np.testing.assert_array_equal(edge_widths(colors, "white") > 0, [True, True, False, False])
    np.testing.assert_array_equal(edge_widths(colors, "black") > 0, [False, False, False, True])


@pytest.mark.parametrize(
    "palette", ["Set1", "viridis", ["red", "blue"], {"a": "blue", "b": "red", "c": "k"}]
)
def test_palettes(palette):
    colors = group_colors(cells(["b", "a"], ["b", "a"]), "group", palette)
    expected = {"b": "red", "a": "blue"}
    if isinstance(palette, str):
        shades = mpl.colormaps[palette]
        pair = shades.colors[:2] if palette == "Set1" else shades([0.03, 0.97])
        expected = dict(zip("ba", pair, strict=True))
    assert colors == {name: to_hex(color) for name, color in expected.items()}


@pytest.mark.parametrize(
    ("palette", "message"),
    [
        ("Sat1", "color map of matplotlib, found 'Sat1'"),
        (["red"], "each of 2 categories, found none for 'a'"),
        ({"a": "red"}, "found none for 'b'"),
        (["red", "rde"], "colors of matplotlib, found 'rde'"),
    ],
)
def test_wrong_palettes(palette, message):
    with pytest.raises(ValueError, match=message):
        group_colors(cells(["b", "a"], ["b", "a"]), "group", palette)


def test_axes_in_a_subfigure_are_saved_with_their_figure(tmp_path):
    whole = plt.figure()
    ax = whole.subfigures(1, 2)[0].subplots()
    assert finish(ax, save=tmp_path / "figure.svg", return_fig=True) is whole
    assert (tmp_path / "figure.svg").exists()


def test_save_that_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, axes = plt.subplots()
    with pytest.raises(TypeError, match="save to be the name of a file, found True"):
        finish(axes, save=True)
    assert list(tmp_path.iterdir()) == []
