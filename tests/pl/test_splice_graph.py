from __future__ import annotations

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from helpers.annotation import exon, gtf, read

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch, Rectangle

import leafletfa_scvi as lfa

# Gene A on the minus strand, with a cassette exon and an alternative end of one exon; gene B
# overlaps it. Introns of A: 201-300, 401-500 and 201-500; 601-700 and 601-750; 671-700 is novel.
LINES = [
    gtf("gene", "chr1", 101, 900, "-", gene_id="GA", gene_name="A"),
    *(
        exon("chr1", *ends, "-", "GA", "T1")
        for ends in [(101, 200), (301, 400), (501, 600), (701, 900)]
    ),
    *(exon("chr1", *ends, "-", "GA", "T2") for ends in [(101, 200), (501, 600), (751, 900)]),
    *(exon("chr1", *ends, "-", "GA", "T3") for ends in [(51, 200), (501, 600), (751, 980)]),
    gtf("gene", "chr1", 450, 2000, "+", gene_id="GB", gene_name="B"),
    *(exon("chr1", *ends, "+", "GB", "T4") for ends in [(450, 480), (1500, 2000)]),
]
INTRONS = [(201, 300), (201, 500), (401, 500), (601, 700), (601, 750), (671, 700)]
ATSES = ["A:1"] * 3 + ["A:2"] * 3


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def annotation(tmp_path):
    return read(tmp_path, LINES)


@pytest.fixture
def adata() -> ad.AnnData:
    """60 cells of three groups; none of "dark" has reads of A:2."""
    rng = np.random.default_rng(0)
    var = pd.DataFrame(INTRONS, columns=["start", "end"])
    var = var.assign(chrom="chr1", strand="-", atse_id=ATSES, gene_name="A", gene_id="GA")
    var.index = [f"chr1:{start}-{end}:-" for start, end in INTRONS]
    groups = np.repeat(["light", "dark", "one"], [40, 19, 1])
    obs = pd.DataFrame(
        {
            "group": pd.Categorical(groups, categories=["light", "dark", "one"]),
            "donor": np.tile(["d1", "d2", "d3"], 20),
        },
        index=[f"cell{i}" for i in range(60)],
    )
    y = rng.poisson(2, (60, 6)) * rng.integers(0, 2, (60, 1))
    y[40:59, 3:] = 0
    n = np.repeat(y.reshape(60, 2, 3).sum(2), 3, axis=1)
    layers = {"cell_by_junction_matrix": y, "cell_by_cluster_matrix": n}
    return ad.AnnData(obs=obs, var=var, layers=layers)


def arcs(ax) -> dict[str, PathPatch]:
    found = [p for p in ax.patches if isinstance(p, PathPatch)]
    return {patch.get_gid().removeprefix("junction "): patch for patch in found}


def ends(patch) -> tuple[float, float]:
    vertices = patch.get_path().vertices
    assert (vertices[[0, 3], 1] == 0).all()
    return tuple(vertices[[0, 3], 0].tolist())


def boxes(ax) -> set[tuple[float, float]]:
    found = [p for p in ax.patches if isinstance(p, Rectangle)]
    return {(p.get_x(), p.get_x() + p.get_width()) for p in found}


def labels(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_arcs_end_at_the_borders_of_exons(adata, annotation):
    axes = lfa.pl.splice_graph(adata, "A", "group", gtf=annotation)
    assert list(axes) == ["light", "dark", "one", "annotation"]
    for name in ("light", "dark", "one"):
        ax = axes[name]
        found = {junction: ends(patch) for junction, patch in arcs(ax).items()}
        assert found == {f"chr1:{start}-{end}:-": (start - 1, end) for start, end in INTRONS}
        starts, stops = (set(side) for side in zip(*boxes(ax), strict=True))
        for junction, (left, right) in found.items():
            assert right in starts, junction
            assert left in stops or junction == "chr1:671-700:-"
        assert (670.0 in stops) is False  # no exon is known to end there
        assert boxes(ax) == {(100, 200), (300, 400), (500, 600), (700, 900), (750, 900)}
    drawn = boxes(axes["annotation"])
    assert {(100, 200), (300, 400), (500, 600), (449, 480), (1499, 2000)} <= drawn
    names = [tick.get_text() for tick in axes["annotation"].get_yticklabels()]
    assert names == ["", "T1", "T2 +1", "B →"]  # T3 differs from T2 outside of the graph only


def test_labels_and_widths_are_those_of_the_table(adata):
    axes = lfa.pl.splice_graph(adata, "A:1", "group", sample_key="donor", level=0.8)
    table = lfa.tl.psi_by_group(
        adata, "group", list(adata.var_names[:3]), sample_key="donor", level=0.8
    )
    y, n = (adata.layers[f"cell_by_{name}_matrix"] for name in ("junction", "cluster"))
    for name, rows in table.groupby("group", observed=True):
        cells = (adata.obs["group"] == name).to_numpy()
        if not n[cells, :3].any():
            continue
        psi = y[cells, :3].sum(0) / n[cells, :3].sum(0)
        np.testing.assert_allclose(rows["psi"], psi)
        short = [[f"{x:.2f}".removeprefix("0") for x in rows[side]] for side in ("lower", "upper")]
        expected = [
            f"{p:.2f}\n{low}–{high}" if np.isfinite(rows["lower"].iloc[0]) else f"{p:.2f}"
            for p, low, high in zip(psi, *short, strict=True)
        ]
        assert labels(axes[name]) == expected
        widths = [patch.get_linewidth() for patch in arcs(axes[name]).values()]
        np.testing.assert_allclose(widths, 0.6 + 4.4 * psi)
        n_samples = rows["n_replicates"].max()
        total = n[cells, 0].sum()
        size = cells.sum()
        note = f"{size} {'cell' if size == 1 else 'cells'}, {n_samples} samples, {total} reads"
        assert axes[name].get_title("right") == note


def test_reads_are_widths_and_labels(adata):
    axes = lfa.pl.splice_graph(adata, "A:1", "group", by="reads")
    y = adata.layers["cell_by_junction_matrix"]
    sums = {
        name: y[(adata.obs["group"] == name).to_numpy(), :3].sum(0) for name in ("light", "dark")
    }
    most = max(values.max() for values in sums.values())
    for name, values in sums.items():
        assert labels(axes[name]) == [f"{value:,}" for value in values]
        widths = [patch.get_linewidth() for patch in arcs(axes[name]).values()]
        np.testing.assert_allclose(widths, 0.6 + 4.4 * values / most)


def test_labels_lie_on_their_arcs(adata):
    ax = lfa.pl.splice_graph(adata, "A", intervals=False)["all cells"]
    assert len(ax.texts) == 6
    for text, patch in zip(ax.texts, arcs(ax).values(), strict=True):
        curve = patch.get_path().vertices
        middle = ax.transData.transform(curve) @ np.eye(2)
        peak = (middle[0] + 3 * middle[1] + 3 * middle[2] + middle[3]) / 8
        np.testing.assert_allclose(ax.transData.transform(text.get_position()), peak, atol=0.01)


def test_novel_junctions_are_dashed(adata, annotation):
    novel = "chr1:671-700:-"
    for options in ({"gtf": annotation}, {}):
        if not options:
            adata.var["annotation_status"] = ["both"] * 5 + ["five_prime"]
        axes = lfa.pl.splice_graph(adata, "A", **options)
        styles = {name: patch.get_linestyle() for name, patch in arcs(axes["all cells"]).items()}
        assert [name for name, style in styles.items() if style not in ("-", "solid")] == [novel]
        legend = axes["annotation"].figure.legends[0]
        words = [text.get_text() for text in legend.get_texts()]
        assert any("novel" in word for word in words)
    del adata.var["annotation_status"]
    axes = lfa.pl.splice_graph(adata, "A")
    assert all(p.get_linestyle() in ("-", "solid") for p in arcs(axes["all cells"]).values())
    words = [text.get_text() for text in axes["annotation"].figure.legends[0].get_texts()]
    assert not any("known" in word or "novel" in word for word in words)


def test_without_annotation_no_exon_is_drawn(adata):
    axes = lfa.pl.splice_graph(adata, "A", "group")
    for ax in axes.values():
        assert not boxes(ax)
    ticks = {x for line in axes["light"].collections[0].get_segments() for x in line[:, 0]}
    assert ticks == {200, 300, 400, 500, 600, 670, 700, 750}


def test_a_group_without_reads_is_drawn_as_missing_and_said(adata):
    axes = lfa.pl.splice_graph(adata, "A:2", "group")
    assert labels(axes["dark"]) == ["no reads"]
    assert axes["dark"].get_title("right") == "19 cells, 0 reads"
    assert {to_hex(p.get_edgecolor()) for p in arcs(axes["dark"]).values()} == {"#999999"}
    legend = axes["annotation"].figure.legends[0]
    assert "no reads" in [text.get_text() for text in legend.get_texts()]
    whole = lfa.pl.splice_graph(adata, "A", "group")["dark"]
    assert whole.get_title("right").endswith("no reads of 1 of 2 ATSEs")
    assert len(whole.texts) == 3


def test_groups_have_their_colors_and_order(adata):
    adata.uns["group_colors"] = ["#112233", "#445566", "#778899"]
    axes = lfa.pl.splice_graph(adata, "A", "group", groups=["dark", "light"])
    assert list(axes) == ["dark", "light", "annotation"]
    for name, color in (("light", "#112233"), ("dark", "#445566")):
        assert color in {to_hex(p.get_edgecolor()) for p in arcs(axes[name]).values()}


def test_programs_show_the_table_of_programs(adata):
    rng = np.random.default_rng(1)
    adata.varm["psi_learned"] = psi = rng.beta(1, 1, (6, 20))
    adata.uns["leafletfa"] = {"pi": np.full(20, 0.05)}
    axes = lfa.pl.splice_graph(adata, "A", programs=True)
    assert len(axes) == 22
    for k in range(20):
        assert labels(axes[f"SP_{k + 1}"]) == [f"{x:.2f}" for x in psi[:, k]]
    assert axes["SP_7"].get_title("right") == "prevalence 5.0%"
    assert list(lfa.pl.splice_graph(adata, "A", programs=["SP_9"])) == ["SP_9", "annotation"]


def test_expected_psi_of_a_model(small, fit):
    model = fit(small)
    small.obs["group"] = np.where(np.arange(80) < 30, "a", "b")
    atse = small.var["atse_id"].iloc[5]
    axes = lfa.pl.splice_graph(small, atse, "group", model=model)
    own = small.var_names[small.var["atse_id"] == atse]
    expected = (
        model.get_normalized_splicing(junction_list=list(own))
        .groupby(small.obs["group"].to_numpy())
        .mean()
    )
    for name in "ab":
        drawn = dict(zip(arcs(axes[name]), labels(axes[name]), strict=True))
        assert drawn == {junction: f"{expected.loc[name, junction]:.2f}" for junction in own}


def test_panels_share_axes_and_forty_groups_are_in_columns(adata, annotation):
    names = [f"population {i} with a name of forty letters" for i in range(40)]
    adata.obs["many"] = pd.Categorical(np.resize(names, 60), categories=names)
    axes = lfa.pl.splice_graph(adata, "A", "many", gtf=annotation)
    assert list(axes)[:40] == names
    columns = {round(axes[name].get_position().x0, 3) for name in names}
    assert len(columns) == 4
    first = axes[names[0]]
    assert {ax.get_xlim() for ax in axes.values()} == {first.get_xlim()}
    assert {axes[name].get_ylim() for name in names} == {first.get_ylim()}
    first.figure.draw_without_rendering()
    title_ends = [
        text.get_window_extent().x1
        for name in names
        for text in [*axes[name].texts, axes[name].title]
        if text.get_text() == name
    ]
    assert max(title_ends) <= first.figure.bbox.x1


def test_axis_says_what_is_compressed_and_the_strand(adata, annotation):
    adata.var["start"] = [201, 201, 40_001, 60_001, 60_001, 60_071]
    adata.var["end"] = [30_000, 50_000, 50_000, 70_000, 75_000, 70_000]
    ax = lfa.pl.splice_graph(adata, "A")["annotation"]
    assert ax.get_xlabel().startswith("chr1, minus strand, distances over ")
    assert ax.get_xlabel().endswith("bases compressed")
    assert ax.get_xticklabels()[0].get_text() == "200"
    arrow = ax.texts[0]
    assert arrow.xyann[0] > arrow.xy[0]  # from 5' on the right to 3' on the left
    plain = lfa.pl.splice_graph(adata, "A", compress=False)["annotation"]
    assert plain.get_xlabel() == "chr1, minus strand, to scale"
    adata.var["strand"] = "+"
    arrow = lfa.pl.splice_graph(adata, "A")["annotation"].texts[0]
    assert arrow.xyann[0] < arrow.xy[0]
    del adata.var["strand"]
    ax = lfa.pl.splice_graph(adata, "A")["annotation"]
    assert "strand unknown" in ax.get_xlabel()
    assert not ax.texts


def test_rare_junctions_are_left_out_and_counted(adata):
    psi = lfa.tl.psi_by_group(adata)["psi"].to_numpy()
    bound = float(np.sort(psi)[1] + 1e-9)
    axes = lfa.pl.splice_graph(adata, "A", min_psi=bound)
    assert set(arcs(axes["all cells"])) == set(adata.var_names[psi >= bound])
    title = axes["annotation"].figure.get_suptitle()
    assert title.splitlines()[1].startswith("2 of 6 junctions have PSI <")
    with pytest.raises(ValueError, match="Lower min_psi"):
        lfa.pl.splice_graph(adata, "A", min_psi=1.5)


@pytest.mark.parametrize("name", ["A:2", "A", "GA", "chr1:601-750:-"])
def test_atses_genes_and_junctions_by_name(adata, name):
    axes = lfa.pl.splice_graph(adata, name)
    assert len(arcs(axes["all cells"])) == (6 if name in ("A", "GA") else 3)


def test_coordinates_may_be_in_the_names(adata):
    adata.var = adata.var[["atse_id"]]
    found = arcs(lfa.pl.splice_graph(adata, "A:1")["all cells"])
    assert [ends(patch) for patch in found.values()] == [(200, 300), (200, 500), (400, 500)]
    adata.var_names = [f"junction {i}" for i in range(6)]
    with pytest.raises(ValueError, match="found none for 'junction 0'. Store the introns"):
        lfa.pl.splice_graph(adata, "A:1")


def test_unknown_names_get_the_nearest(adata):
    with pytest.raises(KeyError, match=r"found 'A:3'. Did you mean 'A:"):
        lfa.pl.splice_graph(adata, "A:3")
    with pytest.raises(KeyError, match=r"found 'ga'. Did you mean 'GA'"):
        lfa.pl.splice_graph(adata, "ga")
    with pytest.raises(KeyError, match="Did you mean 'chr1:601-750:-'"):
        lfa.pl.splice_graph(adata, "chr1:601-751:-")


def test_bad_arguments(adata, annotation):
    with pytest.raises(TypeError, match="found a LeafletFAModel|Expected an AnnData"):
        lfa.pl.splice_graph(adata.var, "A")
    with pytest.raises(ValueError, match="by to be 'psi' or 'reads'"):
        lfa.pl.splice_graph(adata, "A", by="counts")
    with pytest.raises(ValueError, match="without groups.*groupby='group'"):
        lfa.pl.splice_graph(adata, "A", "group", programs=True)
    with pytest.raises(KeyError, match="export_posterior"):
        lfa.pl.splice_graph(adata, "A", programs=True)
    with pytest.raises(ValueError, match="max_transcripts"):
        lfa.pl.splice_graph(adata, "A", max_transcripts=0)
    with pytest.raises(FileNotFoundError):
        lfa.pl.splice_graph(adata, "A", gtf="missing.gtf")
    adata.var["chrom"] = ["chr1"] * 5 + ["chr2"]
    with pytest.raises(ValueError, match=r"one strand of one contig, found chr1:-, chr2:-"):
        lfa.pl.splice_graph(adata, "A")


def test_an_annotation_of_another_build_is_warned_of(adata, annotation):
    adata.var["start"] += 7
    adata.var["end"] += 7
    with pytest.warns(UserWarning, match="None of the splice sites of 'A' is in the annotation"):
        axes = lfa.pl.splice_graph(adata, "A", gtf=annotation)
    assert not boxes(axes["all cells"])


def test_at_most_some_transcripts_are_drawn_and_the_rest_counted(adata, annotation):
    ax = lfa.pl.splice_graph(adata, "A", gtf=annotation, max_transcripts=1)["annotation"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "", "T1", "B →", "2 more transcripts"
    ]  # fmt: skip


def test_transcripts_are_chosen_for_the_junctions_they_have(adata, tmp_path):
    """T1 has more exons than T2, but no junction that T5 lacks."""
    ends = [(101, 200), (301, 400), (501, 600), (701, 710), (721, 730), (741, 900)]
    more = [exon("chr1", *ends, "-", "GA", "T5") for ends in ends]
    annotation = read(tmp_path, [*LINES, *more])
    ax = lfa.pl.splice_graph(adata, "A", gtf=annotation, max_transcripts=2)["annotation"]
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names[1:3] == ["T5", "T2 +1"]


def test_gtex_genes_of_many_atses_on_the_minus_strand(data_dir):
    """KCNMA1 has more than twelve ATSEs with rare junctions, three genes in its introns."""
    folder = data_dir / "gtex_chr10"
    annotation = lfa.pp.read_annotation(folder / "chr10.gtf.gz")
    adata = lfa.pp.make_splicing_dataset(
        sorted(folder.glob("*.bed.gz")),
        gtf=annotation,
        format="junc",
        min_reads=1,
        min_cells=1,
        min_usage=0,
    )
    adata.obs["tissue"] = ["brain" if "Brain" in name else "LCL" for name in adata.obs_names]
    own = adata.var["gene_name"] == "KCNMA1"
    assert adata.var["atse_id"][own].nunique() >= 12
    assert adata.var["known_junction"][own].all()
    axes = lfa.pl.splice_graph(adata, "KCNMA1", "tissue", gtf=annotation)
    exons = annotation.exons
    exons = exons[(exons["chrom"] == "chr10") & (exons["strand"] == "-")]
    starts, stops = set(exons["start"] - 1), set(exons["end"])
    table = lfa.tl.psi_by_group(adata, "tissue", list(adata.var_names[own]))
    for tissue in ("brain", "LCL"):
        found = arcs(axes[tissue])
        assert set(found) == set(adata.var_names[own])
        for junction, patch in found.items():
            left, right = ends(patch)
            assert left in stops, junction
            assert right in starts, junction
        rows = table[(table["group"] == tissue) & (table["total"] > 0)].set_index("junction")
        observed = [name for name in found if name in rows.index]
        texts = [text.split("\n")[0] for text in labels(axes[tissue])]
        assert texts == [f"{rows['psi'][name]:.2f}" for name in observed]
