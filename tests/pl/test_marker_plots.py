"""Dot plot of markers, the query and its reference, and batch effects."""

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

import leafletfa_scvi as lfa
from leafletfa_scvi.pl._differential_splicing import DOWN, OTHER, UP
from leafletfa_scvi.pl._groups import MISSING, missing_color

N_ATSES = 12


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def marker_table(seed: int = 0) -> pd.DataFrame:
    """Cassette exons of three programs, in the order of ``program_markers``."""
    rng = np.random.default_rng(seed)
    atses = [f"g{i // 2}_{i % 2}" for i in range(N_ATSES)]
    frames = []
    for k in range(3):
        effect = np.repeat(rng.uniform(-0.6, 0.6, N_ATSES), 2) * np.tile([1, -0.99], N_ATSES)
        proba = np.repeat(rng.random(N_ATSES), 2)
        frame = pd.DataFrame(
            {
                "program": f"SP_{k + 1}",
                "proba_ds": proba,
                "effect_size": effect,
                "is_ds_fdr_0.05": proba > 0.4,
                "atse_id": np.repeat(atses, 2),
                "gene_name": [a.split("_")[0] for a in np.repeat(atses, 2)],
            },
            index=pd.Index([f"{a}:{s}" for a in atses for s in ("in", "out")], name="junction"),
        )
        frames.append(frame.iloc[np.lexsort((-np.abs(effect), -proba))])
    return pd.concat(frames)


def drawn_dots(ax) -> pd.DataFrame:
    """Deviation and area by row and label of the column."""
    rows = [t.get_text() for t in ax.get_yticklabels()]
    columns = dict(zip(ax.get_xticks(), (t.get_text() for t in ax.get_xticklabels()), strict=True))
    dots = ax.collections[0]
    x, y = np.asarray(dots.get_offsets()).T
    return pd.DataFrame(
        {
            "row": [rows[round(v)] for v in y],
            "column": [columns[v] for v in x],
            "effect": dots.get_array(),
            "area": dots.get_sizes(),
            "ring": np.asarray(dots.get_linewidths()) == 1.0,
        }
    )


def test_markers_are_the_best_of_their_program_one_junction_of_each_atse():
    table = marker_table()
    ax = lfa.pl.markers(table, n_junctions=2, label="atse_id")
    shown = [t.get_text() for t in ax.get_xticklabels()]
    assert len(set(shown)) == len(shown)
    called = table[table["is_ds_fdr_0.05"]]
    size = called["effect_size"].abs()
    owner = called.loc[:, "program"].to_numpy()
    best: dict[str, tuple[float, str]] = {}
    for atse, s, name in zip(called["atse_id"], size, owner, strict=True):
        best[atse] = max(best.get(atse, (0.0, "")), (s, name))
    expected = []
    for k in (1, 2, 3):
        own = called[called["program"] == f"SP_{k}"]
        mine = [a for a in own["atse_id"].unique() if best[a][1] == f"SP_{k}"]
        expected += mine[:2]
    assert shown == expected
    assert [t.get_text() for t in ax.get_yticklabels()] == ["SP_1", "SP_2", "SP_3"]


def test_dots_are_deviations_and_probabilities_and_markers_are_used_more():
    table = marker_table()
    table["own_name"] = table.index
    ax = lfa.pl.markers(table, n_junctions=2, label="own_name")
    found = drawn_dots(ax)
    lookup = table.set_index("program", append=True)
    assert len(found) == 3 * len(ax.get_xticks())
    largest = ax.child_axes[1].collections[0].get_sizes()[-1]
    for row in found.to_dict("records"):
        want = lookup.loc[(row["column"], row["row"])]
        assert row["effect"] == want["effect_size"]
        assert row["area"] == pytest.approx(largest * want["proba_ds"])
        assert row["ring"] == want["is_ds_fdr_0.05"]
    low, high = ax.collections[0].get_clim()
    assert low == -high == -found["effect"].abs().max()
    titles = [t.get_text() for a in ax.child_axes for t in a.get_xticklabels() if t.get_text()]
    assert titles == ["SP_1", "SP_2", "SP_3"]
    # Both sides differ as much: the one that is used more under the program is drawn.
    called = table[table["is_ds_fdr_0.05"]]
    for junction in found["column"].unique():
        rows = called.loc[[junction]]
        assert rows["effect_size"].iloc[int(rows["effect_size"].abs().to_numpy().argmax())] > 0


def test_labels_are_genes_and_junctions_where_genes_repeat():
    table = marker_table()
    ax = lfa.pl.markers(table, junctions=["g0_0:in", "g0_1:out", "g4_0:in"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["g0_0:in", "g0_1:out", "g4"]
    table["gene_name"] = "x" + table["gene_name"]
    ax = lfa.pl.markers(table, junctions=["g0_0:in", "g0_1:out", "g4_0:in"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["xg0 g0_0:in", "xg0 g0_1:out", "xg4"]


def test_programs_without_a_value_are_crosses():
    table = marker_table()
    ax = lfa.pl.markers(table[table["is_ds_fdr_0.05"]], n_junctions=2)
    dots, crosses = ax.collections
    n = 3 * len(ax.get_xticks())
    assert len(dots.get_offsets()) + len(crosses.get_offsets()) == n
    assert len(crosses.get_offsets()) > 0
    assert any("not in the table" in t.get_text() for t in ax.child_axes[1].texts)


@pytest.fixture
def cells() -> ad.AnnData:
    """Reads of the junctions of ``marker_table``; the third group has none in one ATSE."""
    rng = np.random.default_rng(1)
    names = marker_table().index[marker_table()["program"] == "SP_1"].sort_values()
    n = np.repeat(rng.integers(0, 4, (60, N_ATSES)), 2, axis=1)
    n[40:, :2] = 0
    y = rng.binomial(n[:, ::2], 0.3)
    counts = np.column_stack([y, n[:, ::2] - y])[
        :, np.arange(2 * N_ATSES).reshape(2, -1).T.ravel()
    ]
    adata = ad.AnnData(
        obs=pd.DataFrame(
            {"group": pd.Categorical(np.repeat(["b", "a", "c"], 20), ["b", "a", "c", "empty"])},
            index=[f"cell_{i}" for i in range(60)],
        ),
        var=pd.DataFrame({"atse_id": [j.split(":")[0] for j in names]}, index=names),
    )
    adata.layers["cell_by_junction_matrix"] = counts.astype(np.float32)
    adata.layers["cell_by_cluster_matrix"] = n.astype(np.float32)
    return adata


def test_groups_have_the_psi_of_their_reads_and_the_share_of_cells_with_reads(cells):
    table = marker_table()
    junctions = ["g0_0:in", "g2_1:out", "g4_0:in"]
    ax = lfa.pl.markers(table, "group", adata=cells, junctions=junctions)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b", "a", "c"]
    found = drawn_dots(ax).set_index(["row", "column"])
    label = dict(zip(junctions, (t.get_text() for t in ax.get_xticklabels()), strict=True))
    largest = ax.child_axes[1].collections[0].get_sizes()[-1]
    for junction in junctions:
        y = cells[:, junction].layers["cell_by_junction_matrix"].ravel()
        n = cells[:, junction].layers["cell_by_cluster_matrix"].ravel()
        for group in "bac":
            own = (cells.obs["group"] == group).to_numpy()
            if not n[own].sum():
                assert (group, label[junction]) not in found.index
                continue
            want = y[own].sum() / n[own].sum() - y[~own].sum() / n[~own].sum()
            dot = found.loc[(group, label[junction])]
            assert dot["effect"] == pytest.approx(want, abs=1e-6)
            assert dot["area"] == pytest.approx(largest * (n[own] > 0).mean())
    crosses = ax.collections[1].get_offsets()
    assert crosses.tolist() == [[0, 2]]  # group c in the first junction
    assert any("no reads" in t.get_text() for t in ax.child_axes[1].texts)


def test_programs_without_own_markers_are_said(caplog):
    table = marker_table()
    table.loc[table["program"] == "SP_2", "is_ds_fdr_0.05"] = False
    with caplog.at_level(logging.INFO, logger="leafletfa_scvi"):
        ax = lfa.pl.markers(table)
    assert "Programs without markers of their own: SP_2." in caplog.text
    assert "SP_2" in [t.get_text() for t in ax.get_yticklabels()]


def test_markers_of_a_model_and_of_its_anndata(small, fit):
    model = fit(small, 3)
    found = drawn_dots(lfa.pl.markers(model, n_junctions=2))
    table = model.program_markers()
    pd.testing.assert_frame_equal(found, drawn_dots(lfa.pl.markers(table, n_junctions=2)))
    model.export_posterior(small)
    ax = lfa.pl.markers(small, n_junctions=2)
    assert len(drawn_dots(ax)) == 3 * len(ax.get_xticks())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"programs": "SP_33"}, KeyError, "The nearest are 'SP_3'"),
        ({"programs": []}, ValueError, "programs to have at least one name"),
        ({"junctions": ["g0_0:inn"]}, KeyError, "The nearest are 'g0_0:in'"),
        ({"junctions": []}, ValueError, "junctions to have at least one name"),
        ({"n_junctions": 0}, ValueError, "n_junctions to be a whole number from 1"),
        ({"label": "symbol"}, KeyError, "label to be a column of the table"),
        ({"groupby": "group"}, ValueError, "adata with the cells for groupby, found None"),
        ({"groupby": "group", "adata": 3}, TypeError, "adata to be an AnnData"),
        ({"data": marker_table().assign(junctions="")}, ValueError, "a table of junctions"),
        ({"data": "file"}, TypeError, "table of model.program_markers, found a str"),
        (
            {"data": marker_table().assign(**{"is_ds_fdr_0.05": False})},
            ValueError,
            "found none within FDR 0.05",
        ),
    ],
)
def test_marker_errors(change, error, message):
    with pytest.raises(error, match=message):
        lfa.pl.markers(**{"data": marker_table(), **change})
    assert not plt.get_fignums()


def labeled(n: int, labels: list, seed: int, prefix: str) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    adata = ad.AnnData(obs=pd.DataFrame(index=[f"{prefix}{i}" for i in range(n)]))
    adata.obs["cell_type"] = pd.Categorical(rng.choice(labels, n), labels)
    adata.obsm["X_PHI"] = rng.dirichlet(np.ones(4), n)
    adata.obsm["X_umap"] = rng.normal(size=(n, 2))
    return adata


@pytest.fixture
def pair() -> tuple[ad.AnnData, ad.AnnData]:
    reference, query = labeled(50, ["B", "A"], 0, "r"), labeled(30, ["A", "new"], 1, "q")
    reference.uns["cell_type_colors"] = ["#ff0000", "#00ff00"]
    query.uns["junction_overlap"] = {
        "n_shared": 80,
        "n_lost": 20,
        "n_extra": 7,
        "share_of_reads": 0.9,
        "n_atses_complete": 30,
        "n_atses_partial": 5,
        "n_atses_absent": 15,
    }
    return reference, query


def fit_table(query: ad.AnnData) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    table = pd.DataFrame(
        {"z": rng.normal(size=query.n_obs), "p_value": rng.random(query.n_obs)},
        index=query.obs_names,
    )
    return table.iloc[::-1]  # any order


def cells_of(dots) -> dict[tuple[float, float], str]:
    colors = dots.get_facecolors()
    colors = np.broadcast_to(colors, (len(dots.get_offsets()), 4))
    return {tuple(p): to_hex(c) for p, c in zip(dots.get_offsets(), colors, strict=True)}


def test_query_and_reference_are_on_one_embedding_with_the_same_colors(pair):
    reference, query = pair
    panels = lfa.pl.query(*pair, "cell_type", basis="umap")
    assert list(panels) == ["reference", "query", "overlap"]
    colors = {"B": "#ff0000", "A": "#00ff00"}
    (dots,) = panels["reference"].collections
    want = zip(reference.obsm["X_umap"], reference.obs["cell_type"], strict=True)
    assert cells_of(dots) == {tuple(p): colors[name] for p, name in want}
    behind, dots = panels["query"].collections
    assert set(cells_of(behind)) == set(map(tuple, reference.obsm["X_umap"]))
    assert set(cells_of(behind).values()) == {MISSING}
    found = cells_of(dots)
    for point, name in zip(query.obsm["X_umap"], query.obs["cell_type"], strict=True):
        assert found[tuple(point)] == colors.get(name, found[tuple(point)])
        assert name == "A" or found[tuple(point)] not in colors.values()
    assert panels["reference"].get_xlim() == panels["query"].get_xlim()
    (box,) = panels["query"].figure.legends
    assert [t.get_text() for t in box.get_texts()] == ["B", "A", "new"]
    assert panels["query"].get_title() == "query, 30 cells"


def test_pale_groups_of_a_query_have_an_edge_also_in_the_legend(pair):
    palette = {"B": "#ffff00", "A": "#0072b2", "new": "#d55e00"}
    panels = lfa.pl.query(*pair, "cell_type", palette=palette, query_fit=fit_table(pair[1]))
    (dots,) = panels["reference"].collections
    is_pale = np.array([to_hex(c) == "#ffff00" for c in dots.get_facecolors()])
    np.testing.assert_array_equal(np.array(dots.get_linewidths()) > 0, is_pale)
    assert is_pale.any()
    assert not is_pale.all()
    (box,) = panels["query"].figure.legends
    edges = [to_hex(handle.get_markeredgecolor()) for handle in box.legend_handles]
    assert edges == [to_hex(mpl.rcParams["axes.edgecolor"]), "#0072b2", "#d55e00"]
    assert [dots.get_linewidths() for dots in panels["fit"].collections] == [[0], [0]]


def test_reference_cells_are_faint_on_black(pair):
    with plt.style.context("dark_background"):
        behind = lfa.pl.query(*pair, "cell_type")["query"].collections[0]
    assert set(cells_of(behind).values()) == {missing_color("black")} != {MISSING}


def test_without_an_embedding_it_is_the_pca_of_the_reference(pair):
    reference, query = pair
    panels = lfa.pl.query(*pair)
    from sklearn.decomposition import PCA

    pca = PCA(2).fit(np.sqrt(reference.obsm["X_PHI"]))
    for ax, adata in ((panels["reference"], reference), (panels["query"], query)):
        drawn = np.array(sorted(map(tuple, np.abs(ax.collections[-1].get_offsets()))))
        want = np.abs(pca.transform(np.sqrt(adata.obsm["X_PHI"])))
        np.testing.assert_allclose(drawn, sorted(map(tuple, want)), atol=1e-9)
    assert not panels["query"].figure.legends


def test_fit_shows_scores_medians_and_the_share_below_alpha(pair):
    _, query = pair
    fit = fit_table(query)
    panels = lfa.pl.query(*pair, "cell_type", query_fit=fit, alpha=0.3)
    ax = panels["fit"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["A", "new"]
    for y, name in enumerate(["A", "new"]):
        own = fit.loc[query.obs_names[query.obs["cell_type"] == name]]
        drawn = np.asarray(ax.collections[y].get_offsets())
        np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(own["z"]))
        assert np.abs(drawn[:, 1] - y).max() <= 0.3
        medians = [line.get_xdata()[0] for line in ax.lines[1:]]
        assert medians[y] == pytest.approx(own["z"].median())
        assert ax.texts[y].get_text() == f"{(own['p_value'] < 0.3).mean():.0%}"
    assert ax.texts[2].get_text() == "P < 0.3"


def test_many_groups_leave_no_empty_quarter(pair):
    """Scores of forty groups are beside the other panels, not above an empty space."""
    reference, query = pair
    names = [f"a type of cells with a long name, no. {i:03d}" for i in range(40)]
    query = ad.concat([query] * 4, index_unique="-")
    query.uns["junction_overlap"] = pair[1].uns["junction_overlap"]
    query.obs["cell_type"] = pd.Categorical([names[i % 40] for i in range(query.n_obs)])
    panels = lfa.pl.query(reference, query, "cell_type", query_fit=fit_table(query))
    figure = panels["fit"].figure
    figure.draw_without_rendering()
    fit, *others = (panels[key].get_position() for key in ("fit", "reference", "query", "overlap"))
    assert all(box.x0 > fit.x1 for box in others)
    assert fit.height > 0.85
    assert sum(box.height for box in others) > 0.7
    boxes = [t.get_window_extent() for t in panels["fit"].get_yticklabels()]
    assert len(boxes) == 40
    assert all(a.y0 > b.y1 for a, b in zip(boxes, boxes[1:], strict=False))
    assert boxes[0].x0 > 0


def test_a_group_without_reads_is_said(pair):
    _, query = pair
    fit = fit_table(query)
    fit.loc[query.obs_names[query.obs["cell_type"] == "new"]] = np.nan
    ax = lfa.pl.query(*pair, "cell_type", query_fit=fit)["fit"]
    assert ax.texts[1].get_text() == "no reads"


def test_overlap_is_what_the_query_has_of_the_reference(pair):
    ax = lfa.pl.query(*pair)["overlap"]
    widths = [p.get_width() for p in ax.patches]
    np.testing.assert_allclose(widths, [0.8, 0.2, 0.6, 0.1, 0.3, 0.9, 0.1])
    assert [t.get_text() for t in ax.texts] == [
        "junctions of the reference: 80 shared, 20 absent",
        "its ATSEs: 30 complete, 5 partial, 15 absent",
        "reads of the query: 90.0% at these, 7 other junctions",
    ]


def test_queries_without_a_record_or_groups_of_the_reference(pair):
    reference, query = pair
    del query.uns["junction_overlap"], reference.obs["cell_type"]
    panels = lfa.pl.query(reference, query, "cell_type")
    assert list(panels) == ["reference", "query"]
    assert set(cells_of(panels["reference"].collections[0]).values()) == {MISSING}
    (box,) = panels["query"].figure.legends
    assert [t.get_text() for t in box.get_texts()] == ["A", "new", "reference"]


def test_a_query_with_extra_programs(pair):
    reference, query = pair
    query.obsm["X_PHI"] = np.random.default_rng(0).dirichlet(np.ones(5), query.n_obs)
    lfa.pl.query(reference, query)
    with pytest.raises(ValueError, match="query with the programs of reference, 5 from 'SP_1'"):
        lfa.pl.query(query, reference)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"groupby": "nope"}, KeyError, "groupby to be a column of query.obs.*found 'nope'"),
        ({"basis": "tsne"}, KeyError, r"Expected reference.obsm to have the embedding 'tsne'"),
        ({"query_fit": 3}, TypeError, "query_fit to be the table of tl.query_fit"),
        ({"alpha": 2}, ValueError, r"alpha in \[0, 1\]"),
        ({"reference": 3}, TypeError, "reference to be an AnnData"),
    ],
)
def test_query_errors(pair, change, error, message):
    arguments = {"reference": pair[0], "query": pair[1], **change}
    with pytest.raises(error, match=message):
        lfa.pl.query(**arguments)
    assert not plt.get_fignums()


def test_fit_of_other_cells_is_refused(pair):
    with pytest.raises(ValueError, match="all 30 query cells, found 1 missing, .* 'q29'"):
        lfa.pl.query(*pair, query_fit=fit_table(pair[1]).iloc[1:])


def effects_table(called: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n, batches = 30, ["late", "early"]
    shift = rng.normal(0, 1, n)
    junctions = [f"g{i // 2}:{i % 2}" for i in range(n)]
    frames = []
    for sign, batch in zip((1, -1), batches, strict=True):
        frames.append(
            pd.DataFrame(
                {
                    "batch": batch,
                    "shift": sign * shift,
                    "lower": sign * shift - 0.2,
                    "upper": sign * shift + 0.2,
                    "proba_zero": 1 / (1 + np.abs(shift)),
                    "is_shifted_fdr_0.05": called & (sign * shift > 0.5),
                    "atse_id": [j.split(":")[0] for j in junctions],
                    "gene_name": [j.split(":")[0] for j in junctions],
                },
                index=pd.Index(junctions, name="junction"),
            )
        )
    table = pd.concat(frames)
    table["batch"] = pd.Categorical(table["batch"], batches)
    return table


def test_called_shifts_and_their_number_by_batch():
    table = effects_table()
    ax = lfa.pl.batch_effects(table)["batches"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["late", "early"]
    for y, batch in enumerate(["late", "early"]):
        own = table[table["batch"] == batch]
        called = own[own["is_shifted_fdr_0.05"]]
        np.testing.assert_allclose(ax.collections[y].get_offsets()[:, 0], called["shift"])
        bar = ax.lines[y].get_xdata()
        np.testing.assert_allclose(bar, own["shift"].quantile([0.005, 0.995]))
        assert ax.texts[y].get_text() == f"{len(called)} of 30"


def test_the_largest_called_shifts_one_of_each_atse_with_intervals():
    table = effects_table()
    ax = lfa.pl.batch_effects(table, n_junctions=5)["junctions"]
    called = table[table["is_shifted_fdr_0.05"]]
    top = called.iloc[np.argsort(-called["shift"].abs().to_numpy(), kind="stable")]
    top = top.drop_duplicates("atse_id").head(5)
    assert [t.get_text() for t in ax.get_yticklabels()] == top["gene_name"].tolist()
    assert [t.get_text() for t in ax.texts] == top["batch"].tolist()
    others, *pairs = ax.lines[:-1]
    for y, (row, bar, point) in enumerate(
        zip(top.to_dict("records"), pairs[::2], pairs[1::2], strict=True)
    ):
        assert bar.get_xydata().tolist() == [[row["lower"], y], [row["upper"], y]]
        assert point.get_xydata().tolist() == [[row["shift"], y]]
        assert point.get_color() == UP
    assert len(others.get_xdata()) == 10  # both batches of each


def test_negative_shifts_have_the_other_color():
    table = effects_table()
    table["is_shifted_fdr_0.05"] = table["shift"] < -0.5
    ax = lfa.pl.batch_effects(table, "early", n_junctions=2)["junctions"]
    assert {line.get_color() for line in ax.lines[1:-1]} == {DOWN}


def test_without_called_shifts_the_most_probable_are_hollow():
    table = effects_table(called=False)
    panels = lfa.pl.batch_effects(table, n_junctions=3)
    ax = panels["junctions"]
    assert ax.get_title() == "no shift is called; most probable"
    best = table.sort_values(["proba_zero"], kind="stable").drop_duplicates("atse_id").head(3)
    assert [t.get_text() for t in ax.get_yticklabels()] == best["gene_name"].tolist()
    assert {line.get_color() for line in ax.lines[1:-1]} == {OTHER}
    assert [t.get_text() for t in panels["batches"].texts] == ["0 of 30", "0 of 30"]


def test_effects_of_a_model(small, fit):
    small.obs["plate"] = np.where(np.arange(80) % 2, "x", "y")
    lfa.LeafletFAModel.setup_anndata(small, batch_key="plate")
    model = lfa.LeafletFAModel(small, 3)
    quick = {"max_epochs": 3, "em_iterations": 10, "accelerator": "cpu"}
    model.train(enable_progress_bar=False, **quick)
    panels = lfa.pl.batch_effects(model.get_batch_effects(), label="atse_id", title="plates")
    assert [t.get_text() for t in panels["batches"].get_yticklabels()] == ["x", "y"]
    assert panels["batches"].figure.get_suptitle() == "plates"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"batches": "lat"}, KeyError, "The nearest is 'late'"),
        ({"batches": []}, ValueError, "batches to have at least one name"),
        ({"n_junctions": 0}, ValueError, "n_junctions to be a whole number from 1"),
        ({"effects": marker_table()}, KeyError, "of model.get_batch_effects, with a column"),
        ({"label": "symbol"}, KeyError, "label to be a column of the table"),
    ],
)
def test_batch_errors(change, error, message):
    with pytest.raises(error, match=message):
        lfa.pl.batch_effects(**{"effects": effects_table(), **change})
    assert not plt.get_fignums()
