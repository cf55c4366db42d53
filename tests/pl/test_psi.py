from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    import anndata as ad


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def groups(small) -> ad.AnnData:
    """Groups b, a and one without reads of the first ATSE; four donors; an embedding."""
    rng = np.random.default_rng(3)
    small.obs["group"] = pd.Categorical(
        np.resize(["b", "b", "a", "empty"], 80), categories=["b", "empty", "a"]
    )
    small.obs["donor"] = pd.Categorical(rng.choice(["d1", "d2", "d3", "d4"], 80))
    first = np.flatnonzero(small.var["atse_id"] == small.var["atse_id"].iloc[0])
    for name in ("cell_by_junction_matrix", "cell_by_cluster_matrix"):
        layer = small.layers[name].toarray()
        layer[np.ix_(small.obs["group"] == "empty", first)] = 0
        small.layers[name] = layer
    small.obsm["X_umap"] = rng.normal(size=(80, 3))
    return small


def points(ax, marker) -> list[tuple[float, float]]:
    return [
        (x, y)
        for line in ax.lines
        if line.get_marker() == marker and line.get_markersize() > 4
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def bars(ax) -> list[tuple[float, float]]:
    return [tuple(line.get_xdata()) for line in ax.lines if line.get_marker() == "None"]


def test_points_and_intervals_are_those_of_the_table(groups):
    name = groups.var_names[9]
    ax = lfa.pl.psi(groups, [name], "group", level=0.9)
    table = lfa.tl.psi_by_group(groups, "group", [name], level=0.9)
    np.testing.assert_allclose(points(ax, "o"), list(zip(table["psi"], range(3), strict=True)))
    np.testing.assert_allclose(bars(ax), table[["lower", "upper"]])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "empty", "a"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first group on top
    assert name in ax.get_title().replace("\n", "")
    legend = ax.figure.legends[0].get_texts()[0].get_text()
    assert legend == "reads of the group, 90% interval over cells"


def test_an_atse_has_a_panel_for_each_junction_and_missing_groups_are_said(groups):
    atse = groups.var["atse_id"].iloc[0]
    own = list(groups.var_names[groups.var["atse_id"] == atse])
    axes = lfa.pl.psi(groups, atse, "group")
    assert list(axes) == own
    for ax in axes.values():
        assert [text.get_text() for text in ax.texts] == ["no reads"]
        assert len(points(ax, "o")) == 2
        assert ax.texts[0].get_position()[1] == 1  # in the row of the group


def test_samples_and_model_beside_the_reads(groups, fit):
    model = fit(groups)
    name = groups.var_names[9]
    ax = lfa.pl.psi(groups, name, "group", sample_key="donor", model=model)
    table = lfa.tl.psi_by_group(groups, "group", [name], sample_key="donor", model=model)
    np.testing.assert_allclose([x for x, _ in points(ax, "o")], table["psi"])
    np.testing.assert_allclose([x for x, _ in points(ax, "D")], table["psi_model"])
    by_sample = lfa.tl.psi_by_group(groups, "group", [name], sample_key="donor", by_sample=True)
    small = [line for line in ax.lines if line.get_marker() == "o" and line.get_markersize() < 4]
    for i, (group, line) in enumerate(zip(["b", "empty", "a"], small, strict=True)):
        expected = by_sample["psi"][by_sample["group"] == group].dropna()
        np.testing.assert_allclose(line.get_xdata(), expected)
        assert (np.abs(line.get_ydata() - i) <= 0.1 + 1e-9).all()
    words = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert words[1:] == ["donor", "model, mean of cells"]
    assert words[0].endswith("interval over samples")


def test_groups_have_their_colors(groups):
    groups.uns["group_colors"] = ["#102030", "#405060", "#708090"]
    ax = lfa.pl.psi(groups, groups.var_names[9], "group", groups=["a", "b"])
    drawn = [line for line in ax.lines if line.get_marker() == "o"]
    assert [to_hex(line.get_color()) for line in drawn] == ["#708090", "#102030"]


def test_axes_of_the_user_take_one_junction(groups):
    _, ax = plt.subplots()
    assert lfa.pl.psi(groups, groups.var_names[9], "group", ax=ax, title="T") is ax
    assert ax.get_title() == "T"
    for draw in (lfa.pl.psi, lfa.pl.psi_embedding):
        with pytest.raises(ValueError, match="Expected one junction with ax, found 2"):
            draw(groups, list(groups.var_names[:2]), ax=ax)


def test_nothing_overlaps_or_leaves_the_figure(groups):
    atse = groups.var["atse_id"].value_counts().index[0]
    names = [f"population {i} with a name of forty letters" for i in range(40)]
    groups.obs["many"] = pd.Categorical(np.resize(names, 80), categories=names)
    axes = lfa.pl.psi(groups, atse, "many", ncols=2)
    figure = next(iter(axes.values())).figure
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in axes.values()]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:i])
    ticks = next(iter(axes.values())).get_yticklabels()
    spans = [tick.get_window_extent() for tick in ticks]
    assert not any(one.overlaps(other) for one, other in zip(spans, spans[1:], strict=False))


def test_embedding_shows_the_observed_cells_above_the_others(groups):
    name = groups.var_names[0]
    ax = lfa.pl.psi_embedding(groups, name, "umap", min_reads=2)
    psi = lfa.tl.observed_psi(groups, [name], min_reads=2)[name].to_numpy()
    missing, shown = ax.collections[:2]
    xy = groups.obsm["X_umap"][:, :2]
    as_rows = lambda x: sorted(map(tuple, np.round(x, 9)))  # noqa: E731
    assert as_rows(missing.get_offsets()) == as_rows(xy[np.isnan(psi)])
    value = dict(zip(map(tuple, xy.round(9)), psi, strict=True))
    expected = [value[tuple(point)] for point in shown.get_offsets().data.round(9)]
    np.testing.assert_allclose(shown.get_array(), expected)
    assert len(expected) == np.isfinite(psi).sum() > 5
    assert shown.get_zorder() > missing.get_zorder()
    assert to_hex(missing.get_facecolor()[0]) == "#d3d3d3"
    assert shown.get_clim() == (0, 1)
    words = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert words == ["fewer than 2 reads"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("UMAP1", "UMAP2")
    assert not len(ax.get_xticks())
    other = lfa.pl.psi_embedding(groups, groups.var_names[0], "umap", components=(1, 0))
    assert (other.get_xlabel(), other.get_ylabel()) == ("UMAP2", "UMAP1")


def test_embedding_of_a_model_shows_all_cells(groups, fit):
    model = fit(groups)
    names = list(groups.var_names[[0, 9]])
    axes = lfa.pl.psi_embedding(groups, names, model=model, components=(2, 1))
    expected = model.get_normalized_splicing(junction_list=names)
    xy = groups.obsm["X_umap"][:, [2, 1]]
    for name, ax in axes.items():
        assert not len(ax.collections[0].get_offsets())
        shown = ax.collections[1]
        value = dict(zip(map(tuple, xy.round(9)), expected[name], strict=True))
        np.testing.assert_allclose(
            shown.get_array(), [value[tuple(p)] for p in shown.get_offsets().data.round(9)]
        )
    assert not ax.figure.legends


def test_embedding_errors(groups):
    name = groups.var_names[0]
    with pytest.raises(KeyError, match=r"adata.obsm, one of .*found 'X_umpa'. Did you mean"):
        lfa.pl.psi_embedding(groups, name, "X_umpa")
    with pytest.raises(ValueError, match=r"components 0 and 3.*shape \(80, 3\)"):
        lfa.pl.psi_embedding(groups, name, components=(0, 3))
    with pytest.raises(ValueError, match="min_reads"):
        lfa.pl.psi_embedding(groups, name, min_reads=0)
    with pytest.raises(KeyError, match="Expected the name of an ATSE or gene.*found 'nothing'"):
        lfa.pl.psi_embedding(groups, "nothing")
    with pytest.raises(KeyError, match="Did you mean"):
        lfa.pl.psi(groups, [name[:-1]], "group")


def test_motor_neurons_of_chen_differ(chen):
    ax = lfa.pl.psi(chen, "Ncam1_2:inclusion", "cell_type")
    psi = dict(zip([t.get_text() for t in ax.get_yticklabels()], points(ax, "o"), strict=True))
    assert psi["Motor neuron"][0] > 0.8
    assert max(psi[name][0] for name in ("ES", "ES2i", "Epi")) < 0.3
