"""Activities of groups of cells, as violins, matrix, dots and heat map, and on an embedding."""

from __future__ import annotations

import logging

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from scipy.cluster.hierarchy import leaves_list, linkage

import leafletfa_scvi as lfa
from leafletfa_scvi.pl._activity_kinds import SPAN

GROUPS = ["Motor neuron", "ES", "Epi"]
K = 4


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    labels = np.repeat(["ES", "Motor neuron", "Epi"], [50, 6, 30])
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(labels, [*GROUPS, "unused"]),
            "donor": rng.choice(["d2", "d1", "d3"], len(labels)),
        },
        index=[f"cell_{i}" for i in range(len(labels))],
    )
    adata = ad.AnnData(obs=obs)
    adata.obsm["X_PHI"] = rng.dirichlet(np.full(K, 0.6), len(labels))
    adata.obsm["X_umap"] = rng.normal(size=(len(labels), 2))
    return adata


def means(adata: ad.AnnData, sample_key: str | None = None) -> pd.DataFrame:
    """Mean activities of groups, by pandas."""
    table = pd.DataFrame(adata.obsm["X_PHI"], columns=[f"SP_{k + 1}" for k in range(K)])
    keys = [adata.obs["cell_type"].astype(str).to_numpy()]
    if sample_key:
        by_sample = table.groupby([*keys, adata.obs[sample_key].to_numpy()]).mean()
        return by_sample.groupby(level=0).mean()
    return table.groupby(keys).mean()


def row_names(ax) -> list[str]:
    return [t.get_text() for t in ax.get_yticklabels()]


def column_names(ax) -> list[str]:
    return [t.get_text() for t in ax.get_xticklabels()]


def numbers_beside(ax) -> list[str]:
    return [t.get_text() for t in ax.texts if t.get_text().isdigit()]


def violin_means(ax, n_programs: int = K) -> np.ndarray:
    """Activities at the mean lines of violins, groups x programs."""
    (lines,) = [c for c in ax.collections if isinstance(c, mpl.collections.LineCollection)]
    x = np.array([segment[0, 0] for segment in lines.get_segments()])
    return (x.reshape(-1, n_programs) - np.arange(n_programs)) / SPAN


def test_violins_show_the_range_and_the_mean_of_cells(adata):
    adata.uns["cell_type_colors"] = ["#ff0000", "#00ff00", "#0000ff", "#aaaaaa"]
    ax = lfa.pl.activity(adata, "cell_type")
    assert row_names(ax) == GROUPS
    assert column_names(ax) == ["SP_1", "SP_2", "SP_3", "SP_4"]
    assert numbers_beside(ax) == ["6", "50", "30"]
    np.testing.assert_allclose(violin_means(ax), means(adata).loc[GROUPS])
    violins = ax.collections[:3]
    assert [to_hex(c.get_facecolor()[0]) for c in violins] == ["#ff0000", "#00ff00", "#0000ff"]
    for y, (name, violin) in enumerate(zip(GROUPS, violins, strict=True)):
        phi = adata.obsm["X_PHI"][adata.obs["cell_type"] == name]
        for k, path in enumerate(violin.get_paths()):
            x = (path.vertices[:, 0] - k) / SPAN
            assert x.min() == pytest.approx(phi[:, k].min())
            assert x.max() == pytest.approx(phi[:, k].max())
            assert np.abs(path.vertices[:, 1] - y).max() == pytest.approx(0.4)


def test_violins_are_widest_where_most_cells_are(adata):
    values = np.where(np.arange(len(adata)) % 10 == 0, 0.2, 0.9)
    adata.obsm["X_PHI"] = np.column_stack([values, 1 - values])
    ax = lfa.pl.activity(adata, "cell_type", programs="SP_1")
    outline = ax.collections[1].get_paths()[0].vertices
    at_peak = outline[np.abs(outline[:, 1] - 1).argmax(), 0] / SPAN
    assert at_peak == pytest.approx(0.9, abs=0.01)


def test_with_samples_groups_have_the_means_of_samples_and_a_point_for_each(adata):
    ax = lfa.pl.activity(adata, "cell_type", sample_key="donor")
    expected = means(adata, "donor").loc[GROUPS]
    np.testing.assert_allclose(violin_means(ax), expected)
    assert np.abs(expected - means(adata).loc[GROUPS]).to_numpy().max() > 0.01
    points = [c for c in ax.collections if isinstance(c, mpl.collections.PathCollection)]
    assert len(points) == 3
    for name, drawn in zip(GROUPS, points, strict=True):
        cells = adata.obs["cell_type"] == name
        table = pd.DataFrame(adata.obsm["X_PHI"][cells])
        want = table.groupby(adata.obs["donor"][cells].to_numpy()).mean()
        x = drawn.get_offsets()[:, 0].reshape(len(want), K)
        np.testing.assert_allclose((x - np.arange(K)) / SPAN, want)
    assert "samples" in ax.get_xlabel()


def test_the_means_of_samples_are_those_of_differential_activity(adata):
    table = lfa.tl.differential_activity(adata, "cell_type", "ES", "Epi", sample_key="donor")
    ax = lfa.pl.activity(adata, "cell_type", sample_key="donor", kind="matrix")
    drawn = pd.DataFrame(ax.images[0].get_array(), row_names(ax), column_names(ax))
    table = table.set_index("program").loc[column_names(ax)]
    np.testing.assert_allclose(drawn.loc["ES"], table["mean_activity1"])
    np.testing.assert_allclose(drawn.loc["Epi"], table["mean_activity2"])


def test_matrix_shows_means_as_colors_and_numbers(adata):
    ax = lfa.pl.activity(adata, "cell_type", kind="matrix", programs=["SP_3", "SP_1"])
    expected = means(adata).loc[GROUPS, ["SP_3", "SP_1"]].to_numpy()
    np.testing.assert_allclose(ax.images[0].get_array(), expected)
    assert ax.images[0].get_clim() == (0, expected.max())
    assert column_names(ax) == ["SP_3", "SP_1"]
    written = [float(t.get_text()) for t in ax.texts if t.get_text().startswith(".")]
    np.testing.assert_allclose(written, expected.ravel(), atol=0.005)


def test_dots_have_the_share_of_cells_that_a_program_leads_as_area(adata):
    ax = lfa.pl.activity(adata, "cell_type", kind="dotplot")
    (dots,) = ax.collections
    expected = means(adata).loc[GROUPS].to_numpy()
    np.testing.assert_allclose(dots.get_array(), expected.ravel())
    main = adata.obsm["X_PHI"].argmax(1)
    shares = [np.bincount(main[adata.obs["cell_type"] == name], minlength=K) for name in GROUPS]
    shares = np.array([s / s.sum() for s in shares])
    areas = dots.get_sizes().reshape(shares.shape)
    legend = ax.child_axes[-1]
    full = legend.collections[0].get_sizes()[-1]
    np.testing.assert_allclose(areas, full * shares)
    assert [t.get_text() for t in legend.get_yticklabels()] == ["10%", "50%", "100%"]


def test_heatmap_has_each_cell_once_in_its_group(adata):
    ax = lfa.pl.activity(adata, "cell_type", kind="heatmap")
    assert row_names(ax) == GROUPS
    ends = 0.0
    heights = []
    for name, image in zip(GROUPS, ax.images, strict=True):
        phi = adata.obsm["X_PHI"][adata.obs["cell_type"] == name]
        drawn = np.asarray(image.get_array())
        want = phi[leaves_list(linkage(np.sqrt(phi), "average", optimal_ordering=True))]
        np.testing.assert_allclose(drawn, want)
        _, _, bottom, top = image.get_extent()
        assert top == pytest.approx(ends)
        ends = bottom
        heights.append(bottom - top)
    assert ends == pytest.approx(1)
    assert heights[1] > heights[2] > heights[0] > 0.03
    ticks = ax.get_yticks()
    np.testing.assert_allclose(ticks, np.cumsum(heights) - np.array(heights) / 2)


def test_heatmap_of_samples_and_of_few_cells(adata):
    ax = lfa.pl.activity(adata, "cell_type", kind="heatmap", sample_key="donor")
    for name, image in zip(GROUPS, ax.images, strict=True):
        donors = adata.obs["donor"][adata.obs["cell_type"] == name].nunique()
        assert image.get_array().shape == (donors, K)
    ax = lfa.pl.activity(adata, "cell_type", kind="heatmap", max_cells=40)
    assert [len(image.get_array()) for image in ax.images] == [6, 23, 14]


@pytest.mark.parametrize("kind", ["violin", "matrix", "dotplot", "heatmap"])
def test_dendrogram_orders_groups_and_their_numbers(adata, kind):
    phi = adata.obsm["X_PHI"]
    near = (adata.obs["cell_type"] != "ES").to_numpy()  # Motor neuron and Epi alike
    phi[near] = [0.9, 0.1, 0.0, 0.0]
    ax = lfa.pl.activity(adata, "cell_type", kind=kind, dendrogram=True)
    names = row_names(ax)
    assert names in (["Motor neuron", "Epi", "ES"], ["ES", "Motor neuron", "Epi"]) or names in (
        ["Epi", "Motor neuron", "ES"],
        ["ES", "Epi", "Motor neuron"],
    )
    sizes = {"Motor neuron": "6", "ES": "50", "Epi": "30"}
    assert numbers_beside(ax) == [sizes[name] for name in names]
    tree = ax.child_axes[0]
    at = dict(zip(names, ax.get_yticks(), strict=True))
    joined = min(tree.lines, key=lambda line: line.get_xdata().max())
    assert sorted(set(joined.get_ydata())) == sorted((at["Motor neuron"], at["Epi"]))
    if kind == "violin":
        np.testing.assert_allclose(violin_means(ax), means(adata).loc[names])


def test_a_category_without_cells_is_said(adata, caplog):
    with caplog.at_level(logging.INFO, logger="leafletfa_scvi"):
        lfa.pl.activity(adata, "cell_type", kind="matrix")
    assert "have no cells and are left out, the first of them 'unused'" in caplog.text


def test_one_cell_and_one_group(adata):
    one = adata[[0]].copy()
    for kind in ("violin", "matrix", "dotplot", "heatmap"):
        ax = lfa.pl.activity(one, "cell_type", kind=kind, dendrogram=True)
        ax.figure.canvas.draw()
        assert row_names(ax) == ["ES"]


def test_names_of_40_characters_and_40_groups_do_not_collide(adata):
    rng = np.random.default_rng(1)
    names = [f"intratelencephalic glutamatergic type {i:02d}" for i in range(40)]
    big = ad.AnnData(
        obs=pd.DataFrame({"g": pd.Categorical(np.repeat(names, 5))}, map(str, range(200)))
    )
    big.obsm["X_PHI"] = rng.dirichlet(np.ones(20), 200)
    for kind in ("violin", "matrix", "dotplot", "heatmap"):
        ax = lfa.pl.activity(big, "g", kind=kind)
        ax.figure.draw_without_rendering()
        for labels in (ax.get_yticklabels(), ax.get_xticklabels()):
            boxes = [t.get_window_extent() for t in labels]
            assert not any(a.overlaps(b) for a, b in zip(boxes, boxes[1:], strict=False)), kind
            frame = ax.figure.bbox
            assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 for b in boxes)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"programs": "SP_9"}, KeyError, "found 'SP_9'. The nearest are 'SP_4', 'SP_3', 'SP_2'"),
        ({"programs": []}, ValueError, "programs to have at least one name, found an empty list"),
        ({"programs": ["SP_1", "SP_1"]}, ValueError, "found 'SP_1' twice"),
        ({"kind": "bars"}, ValueError, "Expected kind to be 'violin'.*found 'bars'"),
        ({"groupby": "nope"}, KeyError, "column of adata.obs"),
        ({"sample_key": "nope"}, KeyError, "sample_key to name columns"),
        ({"max_cells": 0}, ValueError, "max_cells to be a whole number from 1"),
    ],
)
def test_wrong_arguments(adata, change, error, message):
    with pytest.raises(error, match=message):
        lfa.pl.activity(adata, **{"groupby": "cell_type", **change})
    assert not plt.get_fignums()


def test_no_activities(adata):
    del adata.obsm["X_PHI"]
    with pytest.raises(ValueError, match=r"found none. Write them with model.export_posterior"):
        lfa.pl.activity(adata, "cell_type")


def test_a_group_without_samples_is_refused(adata):
    adata.obs["donor"] = adata.obs["donor"].where(adata.obs["cell_type"] != "Epi")
    with pytest.raises(ValueError, match="missing values only for 'Epi'"):
        lfa.pl.activity(adata, "cell_type", sample_key="donor")


def test_figure_arguments(adata, tmp_path):
    _, own = plt.subplots()
    ax = lfa.pl.activity(adata, "cell_type", ax=own, title="mine", save=tmp_path / "a.svg")
    assert ax is own
    assert ax.get_title() == "mine"
    assert "Motor neuron</text>" in (tmp_path / "a.svg").read_text()
    figure = lfa.pl.activity(adata, "cell_type", figsize=(5, 3), return_fig=True)
    assert figure.get_size_inches().tolist() == [5, 3]


def test_embedding_draws_all_programs_on_one_scale(adata):
    panels = lfa.pl.activity_embedding(adata)
    assert list(panels) == ["SP_1", "SP_2", "SP_3", "SP_4"]
    phi = adata.obsm["X_PHI"]
    for k, (name, ax) in enumerate(panels.items()):
        (dots,) = ax.collections
        order = np.argsort(phi[:, k], kind="stable")
        np.testing.assert_array_equal(dots.get_offsets(), adata.obsm["X_umap"][order])
        np.testing.assert_array_equal(dots.get_array(), phi[order, k])
        assert dots.get_clim() == (0, phi.max())
        assert ax.get_title() == name
        assert dots.get_rasterized()
    assert panels["SP_1"].get_ylabel() == "UMAP2"


@pytest.mark.parametrize("basis", ["umap", "X_umap"])
def test_embedding_of_one_program_returns_its_axes(adata, basis):
    _, own = plt.subplots()
    ax = lfa.pl.activity_embedding(adata, "SP_2", basis=basis, ax=own, vmax=0.5)
    assert ax is own
    assert ax.collections[0].get_clim() == (0, 0.5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"basis": "tsne"}, KeyError, r"found 'X_PHI', 'X_umap'. Compute one.*use_rep='X_PHI'"),
        ({"basis": "X_umapp"}, KeyError, "The nearest is 'X_umap'"),
        ({"programs": ["SP_1", "SP9"]}, KeyError, "found 'SP9'. There are 'SP_1', 'SP_2'"),
        ({"programs": []}, ValueError, "empty list"),
        ({"ncols": 0}, ValueError, "ncols to be a whole number from 1"),
        ({"ax": 1}, ValueError, "Expected one panel for ax, found 4"),
    ],
)
def test_embedding_errors(adata, arguments, error, message):
    with pytest.raises(error, match=message):
        lfa.pl.activity_embedding(adata, **arguments)
