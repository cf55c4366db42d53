from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

import leafletfa_scvi as lfa

N_PROGRAMS = 4


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def fitted() -> ad.AnnData:
    rng = np.random.default_rng(0)
    n_cells, n_junctions = 120, 60
    groups = pd.Categorical(
        rng.choice(["ES", "Epi", "Motor neuron"], n_cells),
        categories=["Motor neuron", "ES", "Epi", "unused"],
    )
    adata = ad.AnnData(
        obs=pd.DataFrame({"cell_type": groups}, index=[f"cell_{i}" for i in range(n_cells)]),
        var=pd.DataFrame(
            {"gene_name": [f"Gene{i // 3}" for i in range(n_junctions)]},
            index=[f"chr1:{100 * i}-{100 * i + 50}:+" for i in range(n_junctions)],
        ),
    )
    adata.obsm["X_PHI"] = rng.dirichlet(np.full(N_PROGRAMS, 0.4), n_cells)
    adata.varm["psi_learned"] = rng.beta(0.5, 0.5, (n_junctions, N_PROGRAMS))
    return adata


def drawn_activities(ax) -> np.ndarray:
    """Heights of the areas in the middle of each cell's interval, cells x programs."""
    n_cells = round(ax.get_xlim()[1])
    bounds = []
    for area in ax.collections:
        outline = area.get_paths()[0].vertices
        lower, upper = np.full(n_cells, np.nan), np.full(n_cells, np.nan)
        # The outline passes both edges of every cell at the cell's height, below then above.
        for (x0, y0), (x1, y1) in zip(outline[:-1], outline[1:], strict=True):
            if abs(abs(x1 - x0) - 1) < 1e-9 and y0 == y1:
                cell = int(min(x0, x1))
                side = lower if np.isnan(lower[cell]) else upper
                side[cell] = y0
        bounds.append(np.abs(upper - lower))
    return np.array(bounds).T


def test_structure_draws_each_cell_as_a_bar_of_height_one(fitted):
    ax = lfa.pl.structure(fitted)
    heights = drawn_activities(ax)
    assert heights.shape == (120, N_PROGRAMS)
    np.testing.assert_allclose(heights.sum(axis=1), 1)
    as_rows = lambda x: np.array(sorted(map(tuple, x.round(9))))  # noqa: E731
    np.testing.assert_allclose(as_rows(heights), as_rows(fitted.obsm["X_PHI"]), atol=1e-8)
    assert ax.get_xlabel() == "120 cells"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["SP_1", "SP_2", "SP_3", "SP_4"]


def test_structure_groups_cells_in_the_order_of_the_categories(fitted):
    ax = lfa.pl.structure(fitted, "cell_type")
    heights = drawn_activities(ax)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["Motor neuron", "ES", "Epi"]
    end = 0
    for name, tick in zip(["Motor neuron", "ES", "Epi"], ax.get_xticks(), strict=True):
        phi = fitted.obsm["X_PHI"][fitted.obs["cell_type"] == name]
        start, end = end, end + len(phi)
        assert tick == (start + end) / 2
        drawn = heights[start:end]
        np.testing.assert_allclose(drawn.mean(axis=0), phi.mean(axis=0))
        leader = drawn.argmax(axis=1)
        assert (leader[1:] != leader[:-1]).sum() == len(np.unique(leader)) - 1
        same = leader[1:] == leader[:-1]
        assert (np.diff(drawn.max(axis=1))[same] <= 1e-12).all()
        sizes = [np.sum(leader == k) for k in dict.fromkeys(leader)]
        assert sizes == sorted(sizes, reverse=True)


def test_structure_omits_cells_without_a_group(fitted):
    fitted.obs.loc["cell_3", "cell_type"] = None
    assert len(drawn_activities(lfa.pl.structure(fitted, "cell_type"))) == 119


def test_structure_subsamples_groups_in_proportion_but_keeps_small_ones(fitted):
    fitted.obs["size"] = np.where(np.arange(120) < 8, "few", "many")
    ax = lfa.pl.structure(fitted, "size", max_cells=60)
    ends = [0, *(line.get_xdata()[0] for line in ax.lines), ax.get_xlim()[1]]
    assert np.diff(ends).tolist() == [8, 56]
    assert lfa.pl.structure(fitted, max_cells=None).get_xlim()[1] == 120
    first, second = (lfa.pl.structure(fitted, max_cells=50, seed=1) for _ in range(2))
    np.testing.assert_array_equal(drawn_activities(first), drawn_activities(second))


def test_structure_uses_colors_and_axes(fitted):
    _, ax = plt.subplots()
    colors = ["#ff0000", "#00ff00", "#0000ff", "#aaaaaa"]
    assert lfa.pl.structure(fitted, colors=colors, ax=ax) is ax
    assert [to_hex(c.get_facecolor()[0]) for c in ax.collections] == colors
    with pytest.raises(ValueError, match="Expected colors with 4 colors, found 3"):
        lfa.pl.structure(fitted, colors=colors[:3])


@pytest.mark.parametrize("n_programs", [1, 10, 20, 50])
def test_every_program_has_a_distinct_color(n_programs):
    adata = ad.AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(5)]))
    adata.obsm["X_PHI"] = np.full((5, n_programs), 1 / n_programs)
    ax = lfa.pl.structure(adata)
    assert len({to_hex(c.get_facecolor()[0]) for c in ax.collections}) == n_programs


def test_errors_of_missing_slots(fitted):
    bare = fitted.copy()
    del bare.obsm["X_PHI"], bare.varm["psi_learned"]
    with pytest.raises(KeyError, match=r"Call model.export_posterior\(adata\) first"):
        lfa.pl.structure(bare)
    with pytest.raises(KeyError, match=r"Call model.export_posterior\(adata\) first"):
        lfa.pl.program_heatmap(bare)
    with pytest.raises(
        KeyError, match=r"column of adata.obs, one of \['cell_type'\], found 'nope'"
    ):
        lfa.pl.structure(fitted, "nope")
    with pytest.raises(
        KeyError, match=r"column of adata.var, one of \['gene_name'\], found 'nope'"
    ):
        lfa.pl.program_heatmap(fitted, label="nope")
    fitted.obs["empty"] = pd.Categorical([None] * 120, categories=["a"])
    with pytest.raises(ValueError, match="found missing values only"):
        lfa.pl.structure(fitted, "empty")


def test_heatmap_shows_the_psi_of_distinctive_junctions(fitted):
    ax = lfa.pl.program_heatmap(fitted, n_junctions=3)
    image = ax.images[0]
    names = [t.get_text() for t in ax.get_yticklabels()]
    psi = pd.DataFrame(fitted.varm["psi_learned"], index=fitted.var_names)
    np.testing.assert_array_equal(image.get_array(), psi.loc[names])
    assert image.get_clim() == (0, 1)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["SP_1", "SP_2", "SP_3", "SP_4"]
    for k in range(N_PROGRAMS):
        others = psi.drop(columns=k).mean(axis=1)
        gap = (psi[k] - others)[psi.idxmax(axis=1) == k]
        assert names[3 * k : 3 * k + 3] == gap.nlargest(3).index.tolist()


def test_heatmap_labels_junctions_and_reads_data_frames(fitted):
    fitted.varm["psi_learned"] = pd.DataFrame(
        fitted.varm["psi_learned"], index=fitted.var_names, columns=list("ABCD")
    )
    ax = lfa.pl.program_heatmap(fitted, n_junctions=1, label="gene_name")
    for text in ax.get_yticklabels():
        gene, junction = text.get_text().split("  ")
        assert fitted.var.loc[junction, "gene_name"] == gene
    assert [t.get_text() for t in ax.get_xticklabels()] == list("ABCD")


def test_heatmap_errors(fitted):
    with pytest.raises(ValueError, match="n_junctions to be a number from 1, found 0"):
        lfa.pl.program_heatmap(fitted, 0)
    fitted.varm["psi_learned"] = fitted.varm["psi_learned"][:, :1]
    with pytest.raises(ValueError, match="at least 2 programs"):
        lfa.pl.program_heatmap(fitted)


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


def record(values, name) -> pd.DataFrame:
    index = pd.Index(range(len(values)), name="epoch")
    return pd.DataFrame({name: pd.Series(values, index=index, dtype=object)})


def test_history_draws_losses_and_marks_the_lowest_held_out_loss():
    train, held_out = [9.0, 5.0, 4.0, 3.5], [3.0, 2.0, 2.5, np.nan]
    model = SimpleNamespace(
        history={
            "elbo_train": record(train, "elbo_train"),
            "reconstruction_loss_validation": record(held_out, "reconstruction_loss_validation"),
        }
    )
    ax = lfa.pl.history(model)
    assert ax.lines[0].get_ydata().tolist() == train
    (right,) = [other for other in ax.figure.axes if other is not ax]
    assert right.lines[0].get_ydata().tolist() == held_out[:3]
    assert right.lines[1].get_xydata().tolist() == [[1, 2.0]]
    assert "lowest, epoch 1" in [t.get_text() for t in ax.get_legend().get_texts()]
    assert lfa.pl.history(model, validation_key=None).figure.axes[0].get_legend() is None


def test_history_accepts_a_mapping_and_axes():
    _, ax = plt.subplots()
    assert lfa.pl.history({"loss": record([2e5], "loss")}, train_key="loss", ax=ax) is ax
    assert ax.lines[0].get_xydata().tolist() == [[0, 2e5]]
    assert ax.lines[0].get_marker() == "o"


def test_history_of_an_untrained_model_is_refused():
    with pytest.raises(ValueError, match=r"found no history. Call model.train"):
        lfa.pl.history(SimpleNamespace(history=None))
    with pytest.raises(KeyError, match=r"one of \['other'\], found 'elbo_train'"):
        lfa.pl.history({"other": record([1.0], "other")})


def em_record(values) -> pd.DataFrame:
    return pd.DataFrame({"em_objective": values}).rename_axis("cycle")


def test_history_of_em_rises_by_cycle():
    objective = [-3e4, -2e4, -1.9e4]
    ax = lfa.pl.history(SimpleNamespace(history={"em_objective": em_record(objective)}))
    assert ax.lines[0].get_ydata().tolist() == objective
    assert ax.get_xlabel() == "cycle of EM"
    assert ax.get_ylabel() == "EM objective (log posterior)"
    with pytest.raises(KeyError, match=r"one of \['em_objective'\], found 'elbo_train'"):
        lfa.pl.history({"em_objective": em_record(objective)}, train_key="elbo_train")


def test_history_of_both_is_the_loss_or_em_on_request():
    both = {
        "elbo_train": record([9.0, 5.0], "elbo_train"),
        "em_objective": em_record([-7.0, -6.0, -5.5]),
        "reconstruction_loss_validation": record([3.0, 2.0], "reconstruction_loss_validation"),
    }
    assert lfa.pl.history(both).lines[0].get_ydata().tolist() == [9.0, 5.0]
    ax = lfa.pl.history(both, train_key="em_objective")
    assert ax.lines[0].get_ydata().tolist() == [-7.0, -6.0, -5.5]
    assert len(ax.figure.axes) == 1  # held-out losses go by epoch
