from __future__ import annotations

import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from leafletfa_scvi._report._dataset import events, overview
from leafletfa_scvi.datasets import simulate_splicing
from leafletfa_scvi.pl._qc import _readable, dataset_qc
from leafletfa_scvi.pl._slots import short_number
from leafletfa_scvi.pp import qc_metrics
from leafletfa_scvi.pp._counts import splicing_from_counts


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


METRICS = ["junction_reads", "n_atses", "pct_atses_observed", "atse_n_cells", "atse_n_junctions"]


def heights(ax):
    return [bar.get_height() for bar in ax.patches]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def title(ax):
    return ax.get_title(loc="right")


@pytest.fixture
def known():
    counts = np.array(
        [[3, 1, 0, 0, 0], [0, 2, 0, 4, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [9, 0, 0, 0, 9]]
    )
    var = pd.DataFrame({"event_type": pd.Categorical(["alternative_5ss"] * 2 + ["complex"] * 3)})
    var.index = [f"j{i}" for i in range(5)]
    return splicing_from_counts(counts, ["p", "p", "q", "q", "q"], var=var)


def test_panels_show_the_metrics(known):
    before = known.copy()
    panels = dataset_qc(known, title="A title")
    assert list(panels) == [*METRICS, "event_type"]
    reads, atses, observed, cells, sizes, types = panels.values()
    figure = reads.figure
    assert figure.get_suptitle() == (
        "A title\n5 cells   ·   5 junctions in 2 ATSEs   ·   33 junction reads   ·   "
        "68.0 % of entries observed"
    )
    assert sum(heights(reads)) == sum(heights(atses)) == 5
    assert sum(heights(cells)) == 2
    assert title(reads) == "median 5"
    points = observed.collections[0].get_offsets()
    expected = [(4, 50), (5, 100), (6, 100), (18, 100)]
    np.testing.assert_allclose(sorted(map(tuple, points)), expected)
    assert heights(sizes) == [1, 1]
    assert [t.get_text() for t in sizes.get_xticklabels()] == ["2", "3"]
    assert [t.get_text() for t in types.get_yticklabels()] == [
        "alternative 5ss",
        "complex",
    ]
    assert texts(types) == ["1", "1"]
    for ax in figure.axes:
        assert ax.get_xlabel()
    pd.testing.assert_frame_equal(known.obs, before.obs)
    pd.testing.assert_frame_equal(known.var, before.var)


def test_words_and_numbers_are_those_of_the_tables(known):
    panels = dataset_qc(known)
    numbers, types = overview(known), events(known)
    heading = panels["n_atses"].figure.get_suptitle()
    assert f"{numbers['Cells']} cells" in heading
    assert f"{numbers['Junctions']} junctions in {numbers['ATSEs']} ATSEs" in heading
    assert f"{numbers['Junction reads']} junction reads" in heading
    share = re.search(r"\((.*)%\)", numbers["Observed entries"]).group(1)
    assert f"{share} % of entries observed" in heading
    reads = panels["junction_reads"]
    assert title(reads) == f"median {numbers['Junction reads per cell, median']}"
    assert reads.get_xlabel() == "junction reads per cell"
    bars = panels["event_type"]
    labels = [t.get_text() for t in bars.get_yticklabels()]
    assert dict(zip(labels, texts(bars), strict=True)) == types


def test_without_event_types_the_use_of_minor_junctions_is_drawn(known):
    del known.var["event_type"]
    panels = dataset_qc(known)
    assert list(panels) == [*METRICS, "atse_minor_usage"]
    ax = panels["atse_minor_usage"]
    _, junctions = qc_metrics(known, inplace=False)
    usage = 100 * junctions["atse_minor_usage"].iloc[[0, 2]].to_numpy()
    edges = [*(bar.get_x() for bar in ax.patches), ax.patches[-1].get_x() + 1e9]
    np.testing.assert_array_equal(heights(ax), np.histogram(usage, edges)[0])
    assert title(ax) == f"median {np.median(usage):.1f} %"


def test_the_figure_is_returned_and_saved(known, tmp_path):
    figure = dataset_qc(known, figsize=(8, 5), return_fig=True, save=tmp_path / "a.svg")
    np.testing.assert_array_equal(figure.get_size_inches(), [8, 5])
    assert "junction reads per cell</text>" in (tmp_path / "a.svg").read_text()


def overlaps(figure):
    """Find pairs of texts in a figure whose boxes overlap."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    shown = []
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            shown += [label for place, label in labels if low <= place <= high]
        shown += [ax.xaxis.label, ax.yaxis.label, ax._right_title, *ax.texts]
    shown.append(figure._suptitle)
    boxes = [
        (text.get_text(), text.get_window_extent(renderer).padded(-1))
        for text in shown
        if text.get_text() and text.get_visible()
    ]
    return [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[i + 1 :] if x.overlaps(y)]


TYPES = [
    "cassette_exon",
    "mutually_exclusive_exons",
    "alternative_5ss",
    "alternative_3ss",
    "alternative_first_exon",
    "alternative_last_exon",
    "multi_exon_skip",
    "complex",
]


@pytest.mark.parametrize("n_cells", [1, 3, 200, 5000])
def test_texts_do_not_overlap_at_any_size(n_cells, tmp_path):
    adata = simulate_splicing(
        n_cells, 60, 2, coverage=0.3, junctions_per_atse=(2, 30), mean_depth=40, seed=0
    )
    codes = adata.var["atse_id"].cat.codes
    adata.var["event_type"] = np.array(TYPES)[codes % len(TYPES)]
    figure = dataset_qc(adata, title="Some cells", return_fig=True)
    assert overlaps(figure) == []
    assert len(figure.axes) == 6 + (n_cells == 5000)  # a color bar
    assert [t.get_text() for t in figure.axes[4].get_xticklabels()][-1] == "11+"
    figure.savefig(tmp_path / "a.png")


def test_zeros_on_logarithmic_axes_are_reported():
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.geomspace(0.5, 5e4, 60)[:, None] * [1, 1])
    counts[:7] = 0
    reads = dataset_qc(splicing_from_counts(counts, ["a", "a"]))["junction_reads"]
    assert reads.get_xscale() == "log"
    assert sum(heights(reads)) == 53
    assert title(reads).endswith("7 cells with 0 not shown")


def test_errors_and_empty_data(known):
    empty = splicing_from_counts(np.zeros((4, 3), int), ["a", "a", "b"])
    figure = dataset_qc(empty, return_fig=True)
    assert texts(figure.axes[0]) == ["no reads in any of 4 cells"]
    assert texts(figure.axes[3]) == ["no reads in any of 2 ATSEs"]
    assert texts(figure.axes[5]) == ["no reads in any of 2 ATSEs"]
    figure.canvas.draw()
    with pytest.raises(ValueError, match=r"shape \(5, 0\)"):
        dataset_qc(known[:, :0].copy())
    with pytest.raises(KeyError, match="'cluster' is missing"):
        dataset_qc(known, atse_key="cluster")
    del known.layers["cell_by_cluster_matrix"]
    with pytest.raises(KeyError, match="cell_by_cluster_matrix"):
        dataset_qc(known)


def test_rare_event_types_are_combined(known):
    adata = splicing_from_counts(np.ones((2, 40), int), np.repeat(np.arange(20), 2))
    adata.var["event_type"] = np.repeat([f"type_{i}" for i in range(20)], 2)
    adata.var.loc["junction_0", "event_type"] = None
    types = dataset_qc(adata)["event_type"]
    labels = [t.get_text() for t in types.get_yticklabels()]
    assert len(labels) == 10
    assert labels[-1] == "other"
    assert texts(types)[-1] == "11"


def test_labels():
    assert short_number(1_500_000) == "1.5M"
    assert short_number(2000) == "2k"
    assert short_number(7) == "7"
    assert _readable("cassette_exon") == "cassette exon"
    assert _readable("alternative_5ss") == "alternative 5ss"
    assert _readable("mutually_exclusive_exons") == "mutually exclusive\nexons"
    assert _readable("retention_of_introns_x") == "retention of introns\nx"
    assert _readable("averyveryverylongword") == "averyveryverylongword"
