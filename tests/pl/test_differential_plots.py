"""Volcano and coverage of differential splicing, and the forest plot of activities."""

from __future__ import annotations

import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

import leafletfa_scvi as lfa
from leafletfa_scvi.pl._differential_splicing import DOWN, OTHER, UP


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def splicing_table(comparison: str = "A vs rest", seed: int = 0, n_atses: int = 40):
    """Junctions of cassette exons: both sides have opposite effects."""
    rng = np.random.default_rng(seed)
    effect = np.repeat(rng.uniform(-0.9, 0.9, n_atses), 2) * np.tile([1, -1], n_atses)
    not_ds = np.repeat(10.0 ** -rng.uniform(0, 8, n_atses), 2)
    effect[-2:], not_ds[-2:] = np.nan, np.nan  # not tested
    atse = np.repeat([f"g{i // 2}_{i % 2}" for i in range(n_atses)], 2)
    names = [f"{a}:{side}" for a, side in zip(atse, ["in", "out"] * n_atses, strict=True)]
    with np.errstate(invalid="ignore"):
        called = (not_ds < 1e-3) & (np.abs(effect) > 0.1)
    return pd.DataFrame(
        {
            "comparison": comparison,
            "group1": comparison.split(" vs ")[0],
            "group2": "rest",
            "proba_ds": 1 - not_ds,
            "proba_not_ds": not_ds,
            "effect_size": effect,
            "is_ds_fdr_0.05": called,
            "n_obs_group1": rng.integers(1, 200, 2 * n_atses),
            "n_obs_group2": rng.integers(1, 200, 2 * n_atses),
            "reads_disagree": np.repeat(np.arange(n_atses) % 5 == 0, 2),
            "is_tested": np.isfinite(effect),
            "atse_id": atse,
            "gene_name": [a.split("_")[0] for a in atse],
        },
        index=pd.Index(names, name="junction"),
    )


def drawn(ax) -> pd.DataFrame:
    """Points of a panel, by color."""
    frames = []
    for dots in ax.collections:
        xy = pd.DataFrame(dots.get_offsets(), columns=["x", "y"])
        edges = dots.get_edgecolors() if len(dots.get_edgecolors()) else dots.get_facecolors()
        faces = dots.get_facecolors()
        xy["color"] = to_hex(edges[0]) if len(xy) else ""
        xy["hollow"] = False if len(faces) < len(xy) else (faces[:, 3] == 0)[: len(xy)]
        frames.append(xy)
    return pd.concat(frames, ignore_index=True)


def texts(ax) -> list[str]:
    return [t.get_text() for t in ax.texts]


def legend(ax) -> list[str]:
    return [t.get_text() for t in ax.get_legend().get_texts()]


def test_volcano_draws_effect_and_probability_of_each_tested_junction():
    table = splicing_table()
    ax = lfa.pl.differential_splicing(table)
    points = drawn(ax)
    up = table[table["is_ds_fdr_0.05"] & (table["effect_size"] > 0)]
    down = table[table["is_ds_fdr_0.05"] & (table["effect_size"] < 0)]
    others = table[~table["is_ds_fdr_0.05"] & table["is_tested"]]
    for rows, color in ((up, UP), (down, DOWN), (others, OTHER)):
        found = points[points["color"] == color]
        np.testing.assert_allclose(found["x"], rows["effect_size"])
        np.testing.assert_allclose(found["y"], -np.log10(rows["proba_not_ds"]))
    called = points[points["color"] != OTHER]
    assert called["hollow"].sum() == (up["reads_disagree"].sum() + down["reads_disagree"].sum())
    assert legend(ax) == [
        f"more in A: {len(up)}",
        f"more in rest: {len(down)}",
        "reads disagree",
        "not tested, no reads: 2",
    ]
    assert ax.get_legend().get_title().get_text() == "selected, FDR 0.05"
    assert ax.get_title() == "A vs rest"
    ticks = dict(zip(ax.get_yticks(), (t.get_text() for t in ax.get_yticklabels()), strict=True))
    assert (ticks[0], ticks[2]) == ("0", "0.99")
    assert "10^{-6}" in ticks[6]


def test_the_top_atses_are_labeled_once_each_by_gene():
    table = splicing_table()
    ax = lfa.pl.differential_splicing(table, labels=6)
    called = table[table["is_ds_fdr_0.05"]].sort_values("proba_not_ds", kind="stable")
    expected = called.drop_duplicates("atse_id")["gene_name"].head(6)
    assert sorted(texts(ax)) == sorted(expected)
    assert not texts(lfa.pl.differential_splicing(table, labels=0))


def test_labels_do_not_collide_and_stay_inside():
    rng = np.random.default_rng(0)
    table = splicing_table(n_atses=200)
    table["gene_name"] = [f"Longgenename{i}" for i in range(len(table))]
    table["effect_size"] *= 0.1 + 0.02 * rng.random(len(table))
    table["is_ds_fdr_0.05"] = table["is_tested"]
    ax = lfa.pl.differential_splicing(table, labels=30)
    ax.figure.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.texts]
    assert len(boxes) > 5
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert ax.bbox.x0 - 6 <= box.x0
        assert box.x1 <= ax.bbox.x1 + 6


def test_names_wider_than_the_axes_are_left_out(caplog, capsys):
    table = splicing_table()
    table["gene_name"] = ["G" * 300 if name == "g3" else name for name in table["gene_name"]]
    ax = lfa.pl.differential_splicing(table, labels=["g5_0:out", "G" * 300])
    assert texts(ax) == ["g5"]
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


def test_names_to_label_are_genes_atses_or_junctions():
    table = splicing_table()
    ax = lfa.pl.differential_splicing(table, labels=["g3", "g5_0:out"])
    assert sorted(texts(ax)) == ["g3", "g3", "g5"]  # two ATSEs of g3, each once
    with pytest.raises(KeyError, match="labels to name what there is, found 'g333'. The nearest"):
        lfa.pl.differential_splicing(table, labels=["g333"])


def test_junctions_without_a_gene_are_named():
    table = splicing_table()
    table["gene_name"] = None
    ax = lfa.pl.differential_splicing(table, labels=1)
    assert texts(ax)[0] in table.index
    ax = lfa.pl.differential_splicing(table.drop(columns="gene_name"), labels=1)
    assert texts(ax)[0] in table.index


def test_tables_of_atses_and_of_probabilities_of_the_sign():
    table = splicing_table().iloc[::2]
    by_atse = table.reset_index().set_index("atse_id")
    ax = lfa.pl.differential_splicing(by_atse, labels=["g4_1"])
    assert texts(ax) == ["g4"]
    vanilla = table.drop(columns=["proba_ds", "proba_not_ds", "is_ds_fdr_0.05"])
    vanilla["proba_m1"] = np.linspace(0.001, 0.9, len(vanilla))
    ax = lfa.pl.differential_splicing(vanilla, labels=3)
    tested = vanilla["is_tested"]
    p = np.minimum(vanilla["proba_m1"], 1 - vanilla["proba_m1"])[tested]
    np.testing.assert_allclose(drawn(ax)["y"], -np.log10(p))
    assert ax.get_ylabel() == "probability of the sign of the difference"
    assert len(texts(ax)) == 3
    p_values = vanilla.drop(columns="proba_m1").assign(padj=np.linspace(0, 1, len(vanilla)))
    ax = lfa.pl.differential_splicing(p_values)
    assert "FDR" in ax.get_ylabel()
    smallest = p_values["padj"].iloc[1]
    assert drawn(ax)["y"].max() == pytest.approx(-np.log10(smallest / 2))  # of P = 0


def test_coverage_is_that_of_the_group_with_fewer_cells():
    table = splicing_table()
    ax = lfa.pl.differential_splicing(table, kind="coverage", labels=4)
    tested = table[table["is_tested"]]
    points = drawn(ax).sort_values(["x", "y"])
    least = tested[["n_obs_group1", "n_obs_group2"]].min(axis=1)
    want = pd.DataFrame({"x": least, "y": tested["effect_size"]}).sort_values(["x", "y"])
    np.testing.assert_allclose(points[["x", "y"]], want)
    assert ax.get_xscale() == "log"
    called = table[table["is_ds_fdr_0.05"]].drop_duplicates("atse_id")
    assert sorted(texts(ax)) == sorted(called["gene_name"].head(4))  # in the order of the table


def test_several_comparisons_share_their_limits():
    table = pd.concat([splicing_table(), splicing_table("B vs rest", 1)])
    panels = lfa.pl.differential_splicing(table, labels=2)
    assert list(panels) == ["A vs rest", "B vs rest"]
    assert panels["A vs rest"].get_xlim() == panels["B vs rest"].get_xlim()
    assert len(drawn(panels["B vs rest"])) == 78
    ax = lfa.pl.differential_splicing(table, "B vs rest")
    assert ax.get_title() == "B vs rest"
    (box,) = panels["A vs rest"].figure.legends
    assert [t.get_text() for t in box.get_texts()] == [
        "more in the first group, FDR 0.05",
        "more in the second group, FDR 0.05",
        "reads disagree",
    ]


def test_limits_of_coverage_are_those_of_all_panels():
    """The last panel has the fewest cells."""
    many, few = splicing_table(), splicing_table("B vs rest", 1)
    columns = ["n_obs_group1", "n_obs_group2"]
    many[columns] = many[columns].astype(float) * 50
    panels = lfa.pl.differential_splicing(pd.concat([many, few]), kind="coverage", labels=0)
    low, high = panels["B vs rest"].get_xlim()
    assert panels["A vs rest"].get_xlim() == (low, high)
    for rows in (many, few):
        cells = rows[columns].min(axis=1)
        assert low < cells[cells > 0].min()
        assert high > cells.max()
    panels["A vs rest"].figure.draw_without_rendering()
    ticks = [t.get_text() for t in panels["B vs rest"].get_xticklabels() if t.get_text()]
    assert all(re.fullmatch(r"[125]?0*k?", text) for text in ticks)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"comparisons": "A vs resr"}, KeyError, "The nearest is 'A vs rest'"),
        ({"comparisons": []}, ValueError, "comparisons to have at least one name"),
        ({"kind": "ma"}, ValueError, "Expected kind to be 'volcano' or 'coverage'"),
        ({"label": "symbol"}, KeyError, "label to be a column of table.*found 'symbol'"),
        ({"labels": -1}, ValueError, "labels to be a whole number from 0"),
        ({"table": 3}, TypeError, "table of model.differential_splicing, found a int"),
        ({"table": pd.DataFrame({"a": [1]})}, KeyError, "with a column 'effect_size', found 'a'"),
        ({"table": splicing_table().iloc[:0]}, ValueError, "Expected table to have rows"),
        (
            {"table": splicing_table().drop(columns="n_obs_group2"), "kind": "coverage"},
            KeyError,
            "with a column 'n_obs_group2'",
        ),
    ],
)
def test_wrong_tables_and_arguments(change, error, message):
    with pytest.raises(error, match=message):
        lfa.pl.differential_splicing(**{"table": splicing_table(), **change})
    assert not plt.get_fignums()


def test_a_real_table_of_junctions(small, fit):
    small.obs["group"] = np.where(np.arange(80) < 40, "one", "two")
    model = fit(small, 3)
    table = model.differential_splicing(groupby="group", group1="one", silent=True)
    ax = lfa.pl.differential_splicing(table)
    assert len(drawn(ax)) == table["is_tested"].sum()
    lfa.pl.differential_splicing(table, kind="coverage")


def activity_table() -> pd.DataFrame:
    rows = []
    for comparison, shift in (("A vs rest", 0.0), ("B vs rest", 1.0)):
        for k in (10, 2, 1):  # the table is sorted by P
            effect = np.nan if (k, shift) == (1, 1.0) else k / 5 - 1 + shift
            rows.append(
                {
                    "comparison": comparison,
                    "group1": comparison[0],
                    "group2": "rest",
                    "program": f"SP_{k}",
                    "effect": effect,
                    "effect_lower": effect - 0.3,
                    "effect_upper": effect + 0.3,
                    "padj": np.nan if np.isnan(effect) else 0.001 * k,
                    "is_da_fdr_0.05": bool(abs(effect) > 0.7),
                }
            )
    return pd.DataFrame(rows)


def forest(ax, names=None) -> dict[str, tuple[float, float, float, str, bool]]:
    """Effect, bounds, color and whether it is filled, by program."""
    names = names or [t.get_text() for t in ax.get_yticklabels()]
    out = {}
    for container in ax.containers:
        line, _, (bars,) = container.lines
        filled = to_hex(line.get_markerfacecolor()) == to_hex(line.get_color())
        for (x, y), bar in zip(line.get_xydata(), bars.get_segments(), strict=True):
            low, high = bar[:, 0]
            out[names[round(y)]] = (x, low, high, line.get_color(), filled)
    return out


def test_forest_draws_effects_and_intervals_by_number_of_the_program():
    table = activity_table()
    panels = lfa.pl.differential_activity(table)
    assert list(panels) == ["A vs rest", "B vs rest"]
    for name, ax in panels.items():
        rows = table[(table["comparison"] == name) & table["effect"].notna()]
        found = forest(ax, ["SP_1", "SP_2", "SP_10"])
        assert set(found) == set(rows["program"])
        for row in rows.to_dict("records"):
            x, low, high, color, filled = found[row["program"]]
            want = [row[c] for c in ("effect", "effect_lower", "effect_upper")]
            np.testing.assert_allclose([x, low, high], want)
            called = row["is_da_fdr_0.05"]
            assert color == ((UP if x > 0 else DOWN) if called else OTHER)
            assert filled == called
    ax = panels["A vs rest"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["SP_1", "SP_2", "SP_10"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    assert ax.get_xlim() == panels["B vs rest"].get_xlim()
    crosses = [line for line in panels["B vs rest"].lines if line.get_marker() == "x"]
    assert [tuple(p) for line in crosses for p in line.get_xydata()] == [(0, 0)]
    (box,) = ax.figure.legends
    assert "not tested" in [t.get_text() for t in box.get_texts()]


def test_one_comparison_has_the_adjusted_p_values():
    ax = lfa.pl.differential_activity(activity_table(), "B vs rest")
    assert texts(ax) == ["not tested", "0.002", "0.01", "FDR"]
    assert "more in B, FDR 0.05" in legend(ax)
    ax = lfa.pl.differential_activity(activity_table(), "A vs rest", programs=["SP_10", "SP_1"])
    assert list(forest(ax)) == ["SP_10", "SP_1"]


def test_terms_of_a_formula():
    table = activity_table().drop(columns=["group1", "group2"])
    table = table.rename(columns={"comparison": "term"})
    panels = lfa.pl.differential_activity(table)
    (box,) = panels["A vs rest"].figure.legends
    assert box.get_texts()[0].get_text() == "rises, FDR 0.05"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"programs": "SP_11"}, KeyError, "programs to name what there is, found 'SP_11'"),
        ({"programs": []}, ValueError, "programs to have at least one name"),
        ({"comparisons": "C vs rest"}, KeyError, "The nearest are"),
        ({"table": splicing_table()}, KeyError, "of tl.differential_activity, with a column"),
        ({"table": None}, TypeError, "found a NoneType"),
    ],
)
def test_forest_errors(change, error, message):
    with pytest.raises(error, match=message):
        lfa.pl.differential_activity(**{"table": activity_table(), **change})
    assert not plt.get_fignums()


def test_the_table_of_the_test_itself():
    adata = lfa.datasets.simulate_cohort((5, 5), n_cells=400, n_atses=60, seed=1)
    adata.obsm["X_PHI"] = adata.obsm["phi_true"]
    table = lfa.tl.differential_activity(adata, "group", "A", "B", sample_key="donor")
    ax = lfa.pl.differential_activity(table)
    effects = table.set_index("program")["effect"].dropna()
    assert {name: v[0] for name, v in forest(ax).items()} == effects.to_dict()
    table = lfa.tl.differential_activity(adata, formula="~ group", sample_key="donor")
    assert forest(lfa.pl.differential_activity(table))
