from __future__ import annotations

import copy

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

import leafletfa_scvi as lfa
from leafletfa_scvi._colors import OKABE_ITO, program_colors
from leafletfa_scvi.pl._groups import MISSING


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def _fitted(_small, fit):
    return fit(_small.copy(), 4, method="em", max_epochs=None, em_iterations=300)


@pytest.fixture
def model(_fitted):
    """A model of 80 cells and 4 programs, whose obs and waypoints tests may modify."""
    changed = copy.copy(_fitted)
    changed.waypoints_ = copy.deepcopy(_fitted.waypoints_)
    changed._adata = _fitted.adata.copy()
    return changed


def drawn(ax):
    """Return the points and colors of cells, and of waypoints."""
    cells, marks = ax.collections
    return (
        np.asarray(cells.get_offsets()),
        np.array([to_hex(c) for c in cells.get_facecolors()]),
        np.asarray(marks.get_offsets()),
        [to_hex(c) for c in marks.get_facecolors()],
    )


def colors_by_cell(ax, scores):
    """Return the color of each cell, found by its position."""
    xy, colors, *_ = drawn(ax)
    at = {tuple(point): color for point, color in zip(xy, colors, strict=True)}
    assert len(at) == len(scores)
    return np.array([at[tuple(point)] for point in scores])


def legend(ax):
    entries = ax.get_legend()
    shown = zip(entries.get_texts(), entries.legend_handles, strict=True)
    return {text.get_text(): to_hex(handle.get_color()) for text, handle in shown}


@pytest.mark.parametrize("components", [(0, 1), (2, 0)])
def test_cells_by_main_program_and_waypoints_by_name(model, components):
    ax = lfa.pl.waypoints(model, components=components)
    ax.figure.draw_without_rendering()
    found, chosen = model.waypoints_, list(components)
    scores = found["scores"][:, chosen]
    main = model.get_cell_activities().to_numpy().argmax(1)[found["cells"]]
    palette = np.array(program_colors(4))
    np.testing.assert_array_equal(colors_by_cell(ax, scores), palette[main])
    np.testing.assert_array_equal(drawn(ax)[2], found["positions"][:, chosen])
    assert drawn(ax)[3] == palette.tolist()
    names = {text.get_text(): text.xy for text in ax.texts}
    assert sorted(names) == model.program_names
    for name, position in zip(model.program_names, found["positions"][:, chosen], strict=True):
        assert tuple(names[name]) == tuple(position)
    assert legend(ax) == {f"SP_{k + 1}": palette[k] for k in np.unique(main)}
    first, second = (f"{100 * found['explained'][i]:.1f} % of variance" for i in components)
    assert ax.get_xlabel() == f"component {components[0]} of centered PSI ({first})"
    assert ax.get_ylabel() == f"component {components[1]} ({second})"


def test_a_waypoint_lies_among_the_cells_of_its_program(model):
    """The order of waypoints follows that of programs after training."""
    phi = model.get_cell_activities().to_numpy()
    center = [model.waypoints_["scores"][phi.argmax(1) == k].mean(0) for k in range(4)]
    distance = np.linalg.norm(model.waypoints_["positions"][:, None] - np.array(center), axis=2)
    assert distance.argmin(1).tolist() == [0, 1, 2, 3]


def test_colors_of_categories(model):
    kind = np.array(["b", "a", "c", None], dtype=object)[np.arange(80) % 4]
    model.adata.obs["kind"] = pd.Categorical(kind, categories=["b", "a", "unused", "c"])
    ax = lfa.pl.waypoints(model, color="kind")
    wanted = dict(zip("ba-c", map(str.lower, OKABE_ITO), strict=False)) | {"none": MISSING}
    wanted.pop("-")
    wanted = {name: wanted[name] for name in ("b", "a", "c", "none")}
    assert legend(ax) == wanted
    assert list(legend(ax)) == ["b", "a", "c", "none"]
    scores = model.waypoints_["scores"][:, :2]
    assert colors_by_cell(ax, scores).tolist() == [wanted[k or "none"] for k in kind]
    assert set(drawn(ax)[3]) == {"#ffffff"}
    assert ax.get_legend().get_title().get_text() == "kind"

    model.adata.uns["kind_colors"] = ["#000001", "#000002", "#000003", "#000004"]
    assert legend(lfa.pl.waypoints(model, color="kind"))["c"] == "#000004"
    shades = mpl.colormaps["Set1"].colors
    found = legend(lfa.pl.waypoints(model, color="kind", palette="Set1"))
    assert found["c"] == to_hex(shades[3])
    found = legend(lfa.pl.waypoints(model, palette="Set1"))
    assert found["SP_1"] == to_hex(shades[0])


def test_colors_of_numbers_and_booleans(model):
    model.adata.obs["reads"] = np.arange(80.0)
    ax = lfa.pl.waypoints(model, color="reads")
    ax.figure.draw_without_rendering()
    xy = np.asarray(ax.collections[0].get_offsets())
    order = [np.flatnonzero((model.waypoints_["scores"][:, :2] == p).all(1))[0] for p in xy]
    np.testing.assert_array_equal(ax.collections[0].get_array(), np.array(order, float))
    assert ax.get_legend() is None
    assert ax.figure.axes[1].get_ylabel() == "reads"
    model.adata.obs["deep"] = np.arange(80) > 20
    assert list(legend(lfa.pl.waypoints(model, color="deep"))) == ["False", "True"]


def number(label) -> float:
    return float(label.get_text().replace("\N{MINUS SIGN}", "-"))


def test_a_far_program_does_not_squeeze_the_others(model):
    """A twentieth of the cells is 30 times as far away as the others are apart."""
    found = model.waypoints_
    assert lfa.pl.waypoints(model).get_xscale() == "linear"
    rng = np.random.default_rng(0)
    found["scores"][:, :2] = rng.normal(size=(80, 2))
    found["scores"][:4, 0] += 60
    ax = lfa.pl.waypoints(model, title="Far")
    ax.figure.draw_without_rendering()
    assert (ax.get_xscale(), ax.get_yscale()) == ("asinh", "linear")
    assert ax.get_xlabel().endswith("% of variance, asinh scale)")
    assert ax.get_title() == "Far"
    x = ax.transData.transform(found["scores"][:, :2])[:, 0]
    assert np.ptp(x[4:]) > 0.35 * np.ptp(x)
    labels = [t for t in ax.get_xticklabels() if t.get_text()]
    at = ax.transData.transform([(number(t), 0) for t in labels])[:, 0]
    np.testing.assert_allclose(at, [ax.transData.transform((p, 0))[0] for p in ax.get_xticks()])
    boxes = [t.get_window_extent() for t in labels]
    assert len(boxes) > 3
    assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))


def test_models_saved_before_have_no_shares(model):
    del model.waypoints_["explained"]
    assert lfa.pl.waypoints(model).get_xlabel() == "component 0 of centered PSI"


def test_a_legend_of_many_long_names_has_room(model):
    names = [f"{i:02d} excitatory neuron of layer 5, number" for i in range(40)]
    model.adata.obs["kind"] = pd.Categorical(np.repeat(names, 2), categories=names)
    ax = lfa.pl.waypoints(model, color="kind")
    ax.figure.draw_without_rendering()
    box, page = ax.get_legend().get_window_extent(), ax.figure.bbox
    assert page.x0 <= ax.get_window_extent().x1 < box.x0 < box.x1 <= page.x1
    assert page.y0 <= box.y0 < box.y1 <= page.y1
    assert ax.get_window_extent().width > 300
    assert len(legend(ax)) == 40


def test_only_cells_used_for_waypoints_are_drawn(model):
    found = model.waypoints_
    found["cells"], found["scores"] = found["cells"][10:30], found["scores"][10:30]
    model.adata.obs["place"] = np.where(np.arange(80) < 30, "here", "there")
    ax = lfa.pl.waypoints(model, color="place")
    assert len(drawn(ax)[0]) == 20
    assert list(legend(ax)) == ["here"]


def test_a_program_without_a_cluster_has_no_mark(model):
    model.waypoints_["positions"][1] = 0.0
    ax = lfa.pl.waypoints(model)
    assert len(drawn(ax)[2]) == 3
    assert sorted(t.get_text() for t in ax.texts) == ["SP_1", "SP_3", "SP_4"]
    assert drawn(ax)[3] == [program_colors(4)[k] for k in (0, 2, 3)]


def test_labels_of_close_waypoints_do_not_overlap(model):
    rng = np.random.default_rng(0)
    model.waypoints_["positions"][:, :2] = rng.normal(0, 0.1, (4, 2))
    ax = lfa.pl.waypoints(model)
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    area = [a.width * a.height for a in boxes]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            high = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert max(wide, 0) * max(high, 0) < 0.1 * area[i]


def test_axes_are_used_and_a_model_without_data_is_drawn(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = lfa.LeafletFAModel.load(tmp_path / "model", adata=False)
    for name, value in model.waypoints_.items():
        np.testing.assert_array_equal(loaded.waypoints_[name], value)
    _, ax = plt.subplots()
    assert lfa.pl.waypoints(loaded, ax=ax) is ax
    same = lfa.pl.waypoints(model)
    for one, two in zip(drawn(ax), drawn(same), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="found one that was loaded without them"):
        lfa.pl.waypoints(loaded, color="cell_type")


@pytest.mark.parametrize(
    ("components", "words"),
    [
        ((0, 6), "from 0 to 5, found 6"),
        ((-1, 0), "found -1"),
        ((0, 1, 2), "two integers"),
        ((0.0, 1), "two integers"),
        ((False, True), "two integers"),
        (1, "two integers, found 1"),
    ],
)
def test_components_out_of_range(model, components, words):
    assert model.waypoints_["scores"].shape[1] == 6
    with pytest.raises(ValueError, match=words):
        lfa.pl.waypoints(model, components=components)


def test_errors(model, small, fit):
    with pytest.raises(TypeError, match="found an AnnData. Waypoints are kept in the model"):
        lfa.pl.waypoints(model.adata)
    with pytest.raises(KeyError, match="column of model.adata.obs, one of .*, found 'nope'"):
        lfa.pl.waypoints(model, color="nope")
    model.waypoints_ = None
    with pytest.raises(ValueError, match="initialized from waypoints, found another"):
        lfa.pl.waypoints(model)
    elsewhere = fit(
        small.copy(), 3, init="random", method="em", max_epochs=None, em_iterations=300
    )
    with pytest.raises(ValueError, match="initialized from waypoints, found another"):
        lfa.pl.waypoints(elsewhere)
    lfa.LeafletFAModel.setup_anndata(small)
    with pytest.raises(RuntimeError, match="not trained yet"):
        lfa.pl.waypoints(lfa.LeafletFAModel(small, 3))
