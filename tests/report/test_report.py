"""Content of the report: numbers of the methods, in full, and what is missing."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from helpers.pages import read_page

import leafletfa_scvi as lfa
from leafletfa_scvi._report._dataset import overview


def table(page, caption):
    """The only table with a caption."""
    (found,) = (t for t in page.tables if t.caption == caption)
    return found


def numbers(found, name):
    return [np.nan if key == "" else float(key) for key in found.sort_keys(name)]


def compared(reported):
    return reported.model.differential_splicing(
        reported.adata,
        groupby="kind",
        group1=list(reported.adata.obs["kind"].cat.categories),
        sample_key="donor",
        level="atse",
        silent=True,
    )


def test_differential_splicing_is_that_of_the_model(reported):
    expected = compared(reported)
    tested = expected[expected["is_tested"]]
    rows = tested.groupby("comparison", sort=False).head(40)
    found = table(reported.page, "Differential splicing by ATSEs")
    assert len(rows) < len(tested)
    assert found.column("Comparison") == rows["comparison"].tolist()
    assert found.column("Junction") == rows["junction"].tolist()
    assert found.column("Gene") == rows["gene_name"].tolist()
    columns = {
        "Effect": "effect_size",
        "90 % interval": "effect_lower",
        "Probability": "proba_ds",
        "PSI in group": "est_psi1",
        "PSI in others": "est_psi2",
        "Cells in group": "n_obs_group1",
        "Cells in others": "n_obs_group2",
    }
    for name, column in columns.items():
        np.testing.assert_allclose(numbers(found, name), rows[column], rtol=1e-5)
    assert found.column("Effect") == [f"{x:+.2f}" for x in rows["effect_size"]]
    lower, upper = rows["effect_lower"], rows["effect_upper"]
    assert found.column("90 % interval") == [
        f"{a:+.2f} to {b:+.2f}" for a, b in zip(lower, upper, strict=True)
    ]
    called = expected["is_ds_fdr_0.05"]
    assert found.column("Called") == ["yes" if x else "no" for x in rows["is_ds_fdr_0.05"]]
    assert called.any()
    counts = table(reported.page, "Calls by comparison")
    for name, calls, more, less, n in counts.rows:
        own = expected[expected["comparison"] == name]
        up = own["is_ds_fdr_0.05"] & (own["effect_size"] > 0)
        down = own["is_ds_fdr_0.05"] & (own["effect_size"] < 0)
        assert [int(calls), int(more), int(less)] == [up.sum() + down.sum(), up.sum(), down.sum()]
        assert int(n) == own["is_tested"].sum()
    assert f"{len(rows):,} of {len(tested):,} tested ATSEs" in reported.page.text


def test_activities_of_groups_are_means_of_samples(reported):
    found = table(reported.page, "Mean activity by kind")
    phi = pd.DataFrame(reported.adata.obsm["X_PHI"], reported.adata.obs_names)
    keys = [reported.adata.obs["kind"], reported.adata.obs["donor"]]
    by_sample = phi.groupby(keys, observed=True).mean()
    mean = by_sample.groupby(level=0, observed=True).mean()
    assert found.column("kind") == list(mean.index)
    n_samples = by_sample.groupby(level=0, observed=True).size()
    assert [int(n) for n in found.column("Samples")] == n_samples.tolist()
    for k, name in enumerate(reported.model.program_names):
        np.testing.assert_allclose(numbers(found, name), mean[k], rtol=1e-5)


def test_differential_activity_is_that_of_tl(reported):
    found = table(reported.page, "Differential activity")
    groups = list(reported.adata.obs["kind"].cat.categories)
    expected = lfa.tl.differential_activity(reported.adata, "kind", groups, sample_key="donor")
    assert found.column("Comparison") == expected["comparison"].tolist()
    assert found.column("Program") == expected["program"].tolist()
    for name, column in {"Effect (log ratio)": "effect", "P": "pvalue", "FDR": "padj"}.items():
        np.testing.assert_allclose(numbers(found, name), expected[column], rtol=1e-5)


def test_programs_are_those_of_identifiability(reported):
    found = table(reported.page, "Programs, by prevalence")
    expected = reported.model.identifiability(reported.adata)
    programs = expected.programs
    assert found.column("Program") == list(programs.index)
    assert found.column("Nearest program") == programs["nearest"].tolist()
    columns = {
        "Prevalence": "prevalence",
        "Cells it leads": "n_cells",
        "Effective cells": "effective_cells",
        "Reliability": "reliability",
        "Largest difference from it in PSI": "max_difference",
    }
    for name, column in columns.items():
        np.testing.assert_allclose(numbers(found, name), programs[column], rtol=1e-5)
    shown = dict(table(reported.page, "Model and training").rows)
    prior = expected.cells["prior_share"].mean()
    assert shown["Activities"] == f"{1 - prior:.0%} data, {prior:.0%} prior"
    assert shown["Converged"] == ("yes" if reported.model._has_converged else "no")
    for problem in expected.problems:
        assert problem in reported.page.text


def test_markers_are_those_of_the_model_each_finding_once(reported):
    found = table(reported.page, "Markers of programs")
    markers = reported.model.program_markers()
    called = markers[markers["is_ds_fdr_0.05"]]
    by_pair = called.set_index([called["program"], called.index])
    pairs = list(zip(found.column("Program"), found.column("Junction"), strict=True))
    assert pairs
    assert len(set(pairs)) == len(pairs)
    np.testing.assert_allclose(
        numbers(found, "Effect"), by_pair.loc[pairs, "effect_size"], rtol=1e-5
    )
    assert f"of {len(called):,} markers" in reported.page.text
    n = pd.Series(called["program"]).value_counts()
    shown = table(reported.page, "Programs, by prevalence")
    programs = shown.column("Program")
    assert [int(x) for x in shown.column("Marker junctions")] == [n.get(p, 0) for p in programs]


def test_the_data_set_and_its_groups(reported):
    assert dict(table(reported.page, "Size and coverage").rows) == overview(reported.adata)
    found = table(reported.page, "Groups of cells by kind")
    cells = reported.adata.obs["kind"].value_counts(sort=False)
    assert dict(zip(found.column("kind"), map(int, found.column("Cells")), strict=True)) == (
        cells.to_dict()
    )


def test_graphs_show_the_leading_calls(reported):
    expected = compared(reported)
    called = expected[expected["is_ds_fdr_0.05"]]
    leading = called.iloc[0]
    alts = [a["alt"] for tag, a in reported.page.elements if tag == "img"]
    graphs = [alt for alt in alts if alt.startswith("Splice graph of")]
    assert len(graphs) == min(2, len(called))
    assert f"of {leading['junction']} differs by {leading['effect_size']:+.2f}" in graphs[0]


def test_methods_name_model_parameters_versions_and_citations(reported):
    text = " ".join(reported.page.sections["methods"].split())
    assert f"leafletfa-scvi {lfa.__version__}" in text
    assert "K = 2 programs were fitted with a beta-binomial likelihood" in text
    assert "samples (donor) as replicates" in text
    assert "10.64898/2025.12.30.697080" in text
    import torch

    assert f"PyTorch {torch.__version__.split('+')[0]}" in text


def test_progress_counts_the_sections(reported):
    n = len(reported.page.sections)
    assert reported.progress == [("report", i, n) for i in range(n + 1)]


def test_without_model_and_groups_the_page_says_what_is_missing(fitted, tmp_path):
    adata = fitted[0].copy()
    del adata.obsm["X_umap"], adata.uns["splicing"]
    before = adata.copy()
    page = read_page(lfa.report(adata, tmp_path / "page.html", n_graphs=1).read_text("utf-8"))
    missing = {
        "fit": ["model (--model", "selection=", "stability="],
        "programs": ["gene_sets (--gene-sets"],
        "activities": ["groupby (--groupby", "sc.tl.umap"],
        "splicing": ["groupby (--groupby"],
        "data": ["make-dataset"],
    }
    for section, remedies in missing.items():
        for remedy in remedies:
            assert remedy in page.sections[section], remedy
    assert page.text.count("not shown.") == 9
    assert table(page, "Markers of programs").rows
    assert any("Splice graph" in (a.get("alt") or "") for _, a in page.elements)
    assert set(before.obs) == set(adata.obs)
    assert set(before.uns) == set(adata.uns)


def test_groups_without_model_are_described_but_not_tested(fitted, tmp_path):
    adata = fitted[0]
    path = lfa.report(adata, tmp_path / "page.html", groupby="kind", n_graphs=0)
    page = read_page(path.read_text("utf-8"))
    assert "pass model (--model" in page.sections["splicing"]
    assert "pass sample_key (--sample" in page.sections["activities"]
    assert table(page, "Mean activity by kind").rows
    assert "n_graphs is 0" in page.sections["graphs"]


def test_cells_as_replicates_are_said_at_the_top_and_at_the_test(fitted, tmp_path):
    adata, model = fitted
    path = lfa.report(adata, tmp_path / "page.html", model=model, groupby="kind", delta=0.95)
    page = read_page(path.read_text("utf-8"))
    assert page.text.count("Cells are the replicates") == 2
    assert set(table(page, "Calls by comparison").column("Calls")) == {"0"}
    assert "No ATSE is called between groups." in page.sections["graphs"]


def test_groups_of_one_sample_are_left_out_and_named(fitted, tmp_path):
    adata, model = fitted[0].copy(), fitted[1]
    first = adata.obs["donor"] == adata.obs["donor"].iloc[0]
    adata.obs["mixed"] = np.where(first & (np.arange(adata.n_obs) % 2 == 0), "lone", "rest of it")
    adata.obs.loc[adata.obs["group"] == "B", "mixed"] = "b"
    path = lfa.report(
        adata,
        tmp_path / "page.html",
        model=model,
        groupby="mixed",
        sample_key="donor",
        n_graphs=0,
    )
    page = read_page(path.read_text("utf-8"))
    assert table(page, "Calls by comparison").column("Comparison") == [
        "b vs rest",
        "rest of it vs rest",
    ]
    assert "Comparisons of lone: not shown." in page.sections["splicing"]


def test_enrichment_choice_of_k_and_stability_are_shown_if_given(fitted, tmp_path):
    adata, model = fitted
    genes = adata.var["gene_name"].unique()
    net = pd.DataFrame(
        {"source": np.repeat(["one<s>", "other"], 12), "target": np.r_[genes[:12], genes[8:20]]}
    )
    summary = pd.DataFrame(
        {
            "log_likelihood_gain": [0.1, 0.125],
            "se": [0.01, 0.01],
            "stability": [0.9, 0.8],
            "n_reproducible": [2, 3],
            "recommended": [False, True],
            "stopped": [False, False],
        },
        index=pd.Index([2, 3], name="n_programs"),
    )
    scores = pd.DataFrame(
        {"n_programs": [2, 2, 3, 3], "log_likelihood_gain": [0.09, 0.11, 0.12, 0.13]}
    )
    selection = lfa.tl.ProgramSelection(3, "K = 3 is <best>.", summary, scores, 0.7, ("Beware.",))
    stability = lfa.tl.program_stability([model, model])
    path = lfa.report(
        adata,
        tmp_path / "page.html",
        model=model,
        gene_sets=net,
        selection=selection,
        stability=stability,
        n_graphs=0,
    )
    page = read_page(path.read_text("utf-8"))
    markers = model.program_markers().assign(
        gene_name=lambda t: adata.var["gene_name"].reindex(t.index)
    )
    expected = lfa.tl.marker_enrichment(markers, net)
    found = table(page, "Gene sets by program")
    assert found.column("Gene set") == expected["source"].tolist()
    np.testing.assert_allclose(numbers(found, "P"), expected["pvalue"], rtol=1e-5)
    assert "K = 3 is <best>." in page.text
    assert "Beware." in page.text
    assert any("2: 0.1, 3: 0.125" in (a.get("alt") or "") for _, a in page.elements)
    assert table(page, "Programs over fits").column("Reproducible") == ["yes"] * 2


def test_effects_of_batches(small, tmp_path):
    small.obs["plate"] = np.where(np.arange(small.n_obs) % 2, "p1", "p2")
    lfa.LeafletFAModel.setup_anndata(small, batch_key="plate")
    model = lfa.LeafletFAModel(small, 3)
    model.train(method="em", em_iterations=20, accelerator="cpu")
    model.export_posterior(small)
    path = lfa.report(small, tmp_path / "page.html", model=model, n_graphs=0)
    page = read_page(path.read_text("utf-8"))
    effects = model.get_batch_effects()
    found = table(page, "Batches")
    assert found.column("Batch") == ["p1", "p2"]
    largest = effects["shift"].abs().groupby(effects["batch"], observed=True).max()
    np.testing.assert_allclose(
        numbers(found, "Largest shift (log odds)"), largest, rtol=1e-5, atol=1e-12
    )
    assert "Shifts of PSI between batches (plate) were modeled" in page.text
    assert ("Training had not converged" in page.text) == (not model._has_converged)


def test_data_of_other_names_without_labels_of_atses(small, fit, tmp_path):
    del small.var["atse_id"]
    small.layers["y"] = small.layers.pop("cell_by_junction_matrix")
    small.layers["n"] = small.layers.pop("cell_by_cluster_matrix")
    small.obs["half"] = pd.Categorical(np.arange(small.n_obs) % 2)
    lfa.LeafletFAModel.setup_anndata(small, junction_layer="y", cluster_layer="n")
    model = lfa.LeafletFAModel(small, 3)
    model.train(method="em", em_iterations=20, accelerator="cpu")
    model.export_posterior(small)
    path = lfa.report(small, tmp_path / "page.html", model=model, groupby="half", n_graphs=1)
    page = read_page(path.read_text("utf-8"))
    assert dict(table(page, "Size and coverage").rows)["ATSEs"] == "no labels given"
    assert table(page, "Differential splicing by junctions").rows
    assert "There are no ATSE labels" in page.sections["data"]


def test_figures_are_closed_and_the_style_of_the_caller_does_not_matter(fitted, tmp_path):
    adata, _ = fitted
    mine = plt.figure()
    open_before = plt.get_fignums()
    with plt.style.context("dark_background"):
        path = lfa.report(adata, tmp_path / "dark.html", n_graphs=1)
        assert plt.rcParams["axes.facecolor"] == "black"
    assert plt.get_fignums() == open_before
    plt.close(mine)
    light = lfa.report(adata, tmp_path / "light.html", n_graphs=1)
    assert images(path) == images(light)


def images(path):
    return re.findall(r'src="(data:[^"]*)"', path.read_text("utf-8"))
