from __future__ import annotations

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

import leafletfa_scvi as lfa
from leafletfa_scvi._colors import program_colors

PREVALENCE = np.array([0.4, 0.3, 0.2, 0.1])
MEAN_PSI = 0.5


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def planted(deviations: dict[str, list[float]], n_flat: int = 20) -> ad.AnnData:
    """Junctions named ``ATSE:junction``, with deviations from 0.5; flat ones besides.

    Exported posteriors are certain, but that of junctions with a name that ends with ``?``.
    """
    names = [*deviations, *(f"flat{i}:a" for i in range(n_flat))]
    psi = np.full((len(names), 4), MEAN_PSI)
    psi[: len(deviations)] += np.array([*deviations.values()])
    order = np.random.default_rng(0).permutation(len(names))
    var = pd.DataFrame({"atse_id": [n.split(":")[0] for n in names]}, index=names)
    var["gene_name"] = [f"Gene of {n.split(':')[0]}" for n in names]
    adata = ad.AnnData(var=var.iloc[order])
    adata.varm["psi_learned"] = psi[order]
    unsure = adata.var_names.str.endswith("?")
    adata.uns["leafletfa"] = {
        "programs": np.array(["SP_1", "SP_2", "SP_3", "SP_4"]),
        "pi": PREVALENCE,
        "params": {"atse_key": "atse_id"},
        "junctions": adata.var_names.to_numpy(),
        "psi_concentration": np.full((len(names), 4), 1e4),
        "psi_variance": np.where(unsure, 0.16, 1e-6)[:, None] * np.ones(4),
    }
    return adata


@pytest.fixture
def exported() -> ad.AnnData:
    return planted(
        {
            "x:inclusion": [0.45, 0, 0, 0],
            "x:exclusion": [-0.452, 0, 0, 0],
            "weak:a": [0.2, 0, 0, 0],
            "tiny:a": [0.05, 0, 0, 0],
            "y:a": [0, 0.4, 0, 0],
            "y:b": [0, 0.25, 0, 0],
            "y:c": [0, 0, -0.22, 0],
            "unsure:a?": [0, 0.42, 0, 0],
            "z:a": [0, 0, 0, -0.25],
        }
    )


def shown(ax) -> pd.DataFrame:
    """What is drawn, by the labels of rows and columns."""
    rows, columns = (
        [t.get_text() for t in x] for x in (ax.get_yticklabels(), ax.get_xticklabels())
    )
    return pd.DataFrame(np.asarray(ax.images[0].get_array()), rows, columns)


def blocks(ax) -> dict[str, list[str]]:
    """Junctions of each bracket, by the name beside it."""
    names = list(shown(ax).index)
    lines = [x for x in ax.artists if isinstance(x, Line2D)] or [
        x for x in ax.get_children() if isinstance(x, Line2D) and x.get_linewidth() == 3
    ]
    labels = {round(2 * t.xy[1]): t.get_text() for t in ax.texts if t.xyann[0] == 40}
    found = {}
    for line in lines:
        low, high = (round(y) for y in line.get_ydata() + np.array([0.35, -0.35]))
        found[labels[low + high]] = names[low : high + 1]
    return found


def test_rows_deviate_certainly_and_each_finding_is_drawn_once(exported):
    ax = lfa.pl.program_heatmap(exported)
    assert blocks(ax) == {
        "SP_1": ["x:inclusion", "weak:a"],  # not x:exclusion, and tiny:a is below delta
        "SP_2": ["y:a"],  # y:b is parallel, unsure:a? uncertain
        "SP_3": ["y:c"],  # another finding in the same ATSE
        "SP_4": ["z:a"],
    }
    psi = pd.DataFrame(exported.varm["psi_learned"], index=exported.var_names)
    mean = psi @ PREVALENCE
    drawn = shown(ax)
    np.testing.assert_allclose(drawn, psi.sub(mean, axis=0).loc[drawn.index])
    assert list(drawn.columns) == ["SP_1", "SP_2", "SP_3", "SP_4"]
    low, high = ax.images[0].get_clim()
    assert -low == high == pytest.approx(np.abs(drawn).to_numpy().max())
    means = [t.get_text() for t in ax.texts if t.xyann[0] == 4][:-1]
    assert all(len(text) == 4 for text in means)
    np.testing.assert_allclose([float(text) for text in means], mean[drawn.index], atol=0.00501)
    lines = [x for x in ax.get_children() if isinstance(x, Line2D) and x.get_linewidth() == 3]
    assert [to_hex(x.get_color()) for x in lines] == program_colors(4)


def test_numbers_of_junctions_and_the_smallest_difference(exported):
    ax = lfa.pl.program_heatmap(exported, 1, delta=0.01)
    assert blocks(ax)["SP_1"] == ["x:inclusion"]
    assert "tiny:a" in blocks(lfa.pl.program_heatmap(exported, delta=0.01))["SP_1"]
    with pytest.raises(ValueError, match="differs by more than delta=0.95, found none"):
        lfa.pl.program_heatmap(exported, delta=0.95)


def test_without_a_posterior_rows_are_ranked_by_the_difference(exported):
    del exported.uns["leafletfa"]
    ax = lfa.pl.program_heatmap(exported)
    assert blocks(ax)["SP_2"] == ["unsure:a?", "y:a"]
    drawn = shown(ax)
    rows = exported.var_names.get_indexer(drawn.index)
    psi = np.asarray(exported.varm["psi_learned"])[rows]
    np.testing.assert_allclose(drawn, psi - psi.mean(axis=1, keepdims=True))


def test_the_posterior_follows_the_junctions_of_a_subset(exported):
    part = exported[:, exported.var_names != "y:a"].copy()
    assert blocks(lfa.pl.program_heatmap(part))["SP_2"] == ["y:b"]


def test_without_labels_of_atses_both_halves_are_drawn(exported):
    del exported.var["atse_id"]
    assert blocks(lfa.pl.program_heatmap(exported))["SP_1"][:2] == ["x:inclusion", "x:exclusion"]


def markers() -> pd.DataFrame:
    rows = [
        ("x:inclusion", "SP_1", 1.0, 0.5, True),
        ("x:exclusion", "SP_1", 1.0, -0.503, True),
        ("weak:a", "SP_1", 0.97, 0.2, True),
        ("tiny:a", "SP_1", 0.4, 0.6, False),
        ("y:a", "SP_2", 1.0, 0.4, True),
        ("x:inclusion", "SP_2", 0.99, -0.45, True),
        ("y:b", "SP_2", 0.98, 0.25, True),
    ]
    columns = ["junction", "program", "proba_ds", "effect_size", "is_ds_fdr_0.05"]
    return pd.DataFrame(rows, columns=columns).set_index("junction")


def test_tables_of_markers(exported):
    expected = {"SP_1": ["x:inclusion", "weak:a"], "SP_2": ["y:a"]}
    assert blocks(lfa.pl.program_heatmap(exported, markers=markers())) == expected
    table = markers()
    by_atse = table.assign(junction=table.index).set_axis(table.index.str.split(":").str[0])
    assert blocks(lfa.pl.program_heatmap(exported, markers=by_atse)) == expected
    one = lfa.pl.program_heatmap(exported, 1, markers=markers())
    assert blocks(one) == {"SP_1": ["x:inclusion"], "SP_2": ["y:a"]}


def test_lists_and_dictionaries_of_junctions_are_drawn_as_given(exported):
    names = ["z:a", "x:exclusion", "x:inclusion", "flat3:a"]
    ax = lfa.pl.program_heatmap(exported, markers=names)
    assert list(shown(ax).index) == names
    assert blocks(ax) == {}
    given = {"exon of x": ["x:exclusion", "x:inclusion"], "none": [], "rest": ["tiny:a"]}
    ax = lfa.pl.program_heatmap(exported, markers=given)
    assert blocks(ax) == {name: rows for name, rows in given.items() if rows}


def test_labels_and_names_of_programs(exported):
    exported.var["gene_name"] = exported.var["gene_name"].astype("category")
    exported.var.loc["z:a", "gene_name"] = None
    exported.var["prefix"] = exported.var_names.str[0]
    values = exported.varm["psi_learned"]
    exported.varm["psi_learned"] = pd.DataFrame(values, exported.var_names, list("ABCD"))
    ax = lfa.pl.program_heatmap(exported, label="gene_name")
    assert "Gene of x  x:inclusion" in shown(ax).index
    assert "z:a" in shown(ax).index
    assert list(shown(ax).columns) == list("ABCD")
    assert list(blocks(ax)) == list("ABCD")
    # Not said twice where names of junctions begin with it.
    names = shown(lfa.pl.program_heatmap(exported, label="prefix")).index
    assert {"x:inclusion", "z:a"} <= set(names)


def test_twenty_programs_are_labeled_without_overlap():
    rng = np.random.default_rng(0)
    names = [f"chr10:{10_000_000 + i}-{10_100_000 + i}:+" for i in range(300)]
    adata = ad.AnnData(var=pd.DataFrame(index=names))
    adata.varm["psi_learned"] = rng.beta(0.5, 0.5, (300, 20))
    ax = lfa.pl.program_heatmap(adata)
    ax.figure.draw_without_rendering()
    assert len(shown(ax)) == 100
    page = ax.figure.bbox
    for labels, along in ((ax.get_yticklabels(), "y"), (ax.get_xticklabels(), "x")):
        boxes = [t.get_window_extent() for t in labels]
        ends = sorted((getattr(b, f"{along}0"), getattr(b, f"{along}1")) for b in boxes)
        assert all(a[1] <= b[0] + 1 for a, b in zip(ends, ends[1:], strict=False))
        assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= page.x1 and b.y1 <= page.y1 for b in boxes)


def test_axes_and_the_figure(exported, tmp_path):
    _, given = plt.subplots()
    assert lfa.pl.program_heatmap(exported, ax=given, cmap="PiYG", title="Programs") is given
    assert given.images[0].get_cmap().name == "PiYG"
    assert given.get_title() == "Programs"
    save = tmp_path / "a.pdf"
    figure = lfa.pl.program_heatmap(exported, figsize=(4, 3), return_fig=True, save=save)
    np.testing.assert_array_equal(figure.get_size_inches(), [4, 3])
    assert save.stat().st_size > 0


def test_a_model_gives_the_figure_of_what_it_exports(small, fit):
    model = fit(small, 3)
    model.export_posterior(small)
    of_model, of_data = (lfa.pl.program_heatmap(x, label="gene_name") for x in (model, small))
    pd.testing.assert_frame_equal(shown(of_model), shown(of_data), atol=1e-6)
    assert blocks(of_model) == blocks(of_data)
    table = model.program_markers(n_samples=50, delta=0.05, fdr_target=0.2)
    ax = lfa.pl.program_heatmap(model, markers=table)
    significant = table[table["is_ds_fdr_0.2"]]
    for program, junctions in blocks(ax).items():
        assert set(junctions) <= set(significant.index[significant["program"] == program])
        atses = small.var.loc[junctions, "atse_id"]
        assert len(junctions) <= 5
        assert atses.index.is_unique


def test_errors(exported):
    with pytest.raises(ValueError, match="n_junctions to be a whole number from 1, found 0"):
        lfa.pl.program_heatmap(exported, 0)
    with pytest.raises(ValueError, match=r"delta in \[0, 1\), found 1"):
        lfa.pl.program_heatmap(exported, delta=1)
    with pytest.raises(
        KeyError, match=r"among the 29 of the programs.*Did you mean 'x:inclusion'"
    ):
        lfa.pl.program_heatmap(exported, markers=["x:inclusio"])
    with pytest.raises(TypeError, match="lists of junctions, found a text"):
        lfa.pl.program_heatmap(exported, markers="x:inclusion")
    with pytest.raises(ValueError, match="names of junctions, found none"):
        lfa.pl.program_heatmap(exported, markers=[])
    with pytest.raises(ValueError, match="table of model.program_markers, found no column"):
        lfa.pl.program_heatmap(exported, markers=exported.var)
    none = markers().assign(**{"is_ds_fdr_0.05": False})
    with pytest.raises(ValueError, match="found none in 7 rows.*larger fdr_target"):
        lfa.pl.program_heatmap(exported, markers=none)
    other = markers().replace("SP_2", "SP_9")
    with pytest.raises(KeyError, match="found 'SP_9'"):
        lfa.pl.program_heatmap(exported, markers=other)
    with pytest.raises(KeyError, match=r"one of \['atse_id', 'gene_name'\], found 'nope'"):
        lfa.pl.program_heatmap(exported, label="nope")
    exported.varm["psi_learned"] = exported.varm["psi_learned"][:, :1]
    with pytest.raises(ValueError, match="at least 2 programs"):
        lfa.pl.program_heatmap(exported)
    del exported.varm["psi_learned"]
    with pytest.raises(KeyError, match=r"Call model.export_posterior\(adata\) first"):
        lfa.pl.program_heatmap(exported)
