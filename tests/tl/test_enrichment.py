"""Enrichment of gene sets among markers: planted sets, statistics by hand, what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import leafletfa_scvi as lfa

N_GENES = 60
CHANGED = [f"Gene{i}" for i in range(15)]


@pytest.fixture
def table():
    """Two programs, two junctions per gene; the first 15 genes are markers of SP_1."""
    rng = np.random.default_rng(0)
    frames = []
    for program, changed in (("SP_1", CHANGED), ("SP_2", [])):
        genes = np.repeat([f"Gene{i}" for i in range(N_GENES)], 2)
        effect = rng.normal(0, 0.03, len(genes))
        is_changed = np.isin(genes, changed)
        effect[is_changed] = np.tile([0.6, -0.5], is_changed.sum() // 2) + effect[is_changed]
        frame = pd.DataFrame(
            {
                "program": program,
                "effect_size": effect,
                "is_ds_fdr_0.05": is_changed & (rng.random(len(genes)) < 0.9),
                "gene_id": [f"ENSG{i:03d}.4" for i in range(N_GENES) for _ in range(2)],
                "gene_name": genes,
            },
            index=[f"chr1:{i}-{i + 90}:+" for i in range(len(genes))],
        )
        frames.append(frame)
    return pd.concat(frames)


@pytest.fixture
def net():
    """Set "hit" has 10 of the marker genes of SP_1, "half" 5 of 10, "none" no marker."""
    sets = {
        "hit": CHANGED[:10],
        "half": [*CHANGED[:5], *(f"Gene{i}" for i in range(40, 45))],
        "none": [f"Gene{i}" for i in range(30, 42)],
        "small": ["Gene1", "Gene2", "absent"],
    }
    pairs = [(source, gene) for source, genes in sets.items() for gene in genes]
    return pd.DataFrame(pairs, columns=["source", "target"])


def largest(table, program):
    """Effect with the largest size of each gene, by a loop."""
    out = {}
    for gene, effect in table.loc[
        table["program"] == program, ["gene_name", "effect_size"]
    ].values:
        if gene not in out or abs(effect) > abs(out[gene]):
            out[gene] = effect
    return pd.Series(out)


# The first call of "mlm" and "gsea" compiles decoupler's kernels, once per environment.
@pytest.mark.parametrize("method", ["ulm", "mlm", "zscore", "gsea", "ora"])
def test_a_planted_set_is_found_in_its_program(table, net, method):
    found = lfa.tl.marker_enrichment(table, net, method)
    assert list(found.columns) == [
        *("program", "source", "score", "pvalue", "padj", "n_targets", "n_markers")
    ]
    assert set(found["source"]) == {"hit", "half", "none"}
    assert list(found["program"].unique()) == ["SP_1", "SP_2"]
    by_source = found[found["program"] == "SP_1"].set_index("source")
    assert by_source["score"]["hit"] > max(by_source["score"]["half"], by_source["score"]["none"])
    assert by_source["n_targets"].to_dict() == {"hit": 10, "half": 10, "none": 12}
    markers = set(table.loc[(table["program"] == "SP_1") & table["is_ds_fdr_0.05"], "gene_name"])
    assert by_source["n_markers"]["hit"] == len(markers & set(CHANGED[:10]))
    if method != "zscore":
        assert by_source["padj"]["hit"] < 0.01
    if method != "mlm":
        assert found.iloc[0]["source"] == "hit"
    other = found[found["program"] == "SP_2"]
    assert (other["n_markers"] == 0).all()
    if method != "zscore":
        assert (other["padj"] > 0.05).all()


def test_univariate_model_by_hand(table, net):
    for effect in ("absolute", "signed"):
        found = lfa.tl.marker_enrichment(table, net, "ulm", effect=effect)
        pvalues = []
        for row in found.itertuples():
            value = largest(table, row.program)
            value = value.abs() if effect == "absolute" else value
            member = value.index.isin(net.loc[net["source"] == row.source, "target"])
            fit = stats.linregress(member.astype(float), value)
            np.testing.assert_allclose(row.score, fit.slope / fit.stderr, rtol=1e-6)
            np.testing.assert_allclose(row.pvalue, fit.pvalue, rtol=1e-5)
            pvalues.append(fit.pvalue)
        adjusted = stats.false_discovery_control(pvalues)
        np.testing.assert_allclose(found["padj"], adjusted, rtol=1e-5)


def test_overlap_by_hand(table, net):
    found = lfa.tl.marker_enrichment(table, net, "ora").set_index(["program", "source"])
    for program, part in table.groupby("program"):
        markers = set(part.loc[part["is_ds_fdr_0.05"], "gene_name"])
        for source in ("hit", "half", "none"):
            genes = set(net.loc[net["source"] == source, "target"])
            a, b, c = len(genes & markers), len(genes - markers), len(markers - genes)
            d = N_GENES - a - b - c
            p = stats.fisher_exact([[a, b], [c, d]], alternative="greater").pvalue
            np.testing.assert_allclose(found["pvalue"][program, source], p)
            odds = np.log((a + 0.5) * (d + 0.5) / ((b + 0.5) * (c + 0.5)))
            np.testing.assert_allclose(found["score"][program, source], odds)


def test_weights_and_names_of_columns(table, net):
    weighted = net.assign(mor=1.0).rename(columns={"source": "rbp", "target": "gene"})
    names = {"source": "rbp", "target": "gene", "weight": "mor"}
    want = lfa.tl.marker_enrichment(table, net)
    pd.testing.assert_frame_equal(lfa.tl.marker_enrichment(table, weighted, **names), want)
    weighted["mor"] = -1.0
    found = lfa.tl.marker_enrichment(table, weighted, **names)
    np.testing.assert_allclose(found["score"], -want["score"])


def test_several_genes_of_a_junction_each_count_and_none_is_left_out(table, net):
    table.loc[table["gene_name"] == "Gene0", "gene_name"] = "Gene0,Other"
    table.loc[table["gene_name"] == "Gene59", "gene_name"] = ""
    table.loc[table["gene_name"] == "Gene58", "gene_name"] = np.nan
    extended = pd.concat([net, pd.DataFrame({"source": ["hit"], "target": ["Other"]})])
    found = lfa.tl.marker_enrichment(table, extended, "ora", min_targets=1)
    assert found.set_index(["program", "source"])["n_targets"]["SP_1", "hit"] == 11
    only = pd.DataFrame({"source": "x", "target": ["Gene59", "Gene58", "nan", ""]})
    with pytest.raises(ValueError, match="Expected targets of net among the 59 genes"):
        lfa.tl.marker_enrichment(table, only)


def test_comparisons_have_their_own_background(table, net):
    """Rows without coverage in one comparison are NaN, and not tested there."""
    table = table.rename(columns={"program": "comparison"})
    untested = (table["comparison"] == "SP_2") & table["gene_name"].isin(CHANGED[:7])
    table.loc[untested, "effect_size"] = np.nan
    found = lfa.tl.marker_enrichment(table, net, "ora")
    assert found.columns[0] == "comparison"
    number = found.set_index(["comparison", "source"])["n_targets"]
    assert number["SP_1", "hit"] == 10
    assert ("SP_2", "hit") not in number
    assert number["SP_2", "half"] == 5
    table["gene_name"] = ""
    by_id = pd.DataFrame({"source": "x", "target": [f"ENSG{i:03d}.4" for i in range(9)]})
    assert (lfa.tl.marker_enrichment(table, by_id)["n_targets"].iloc[0]) == 9


def test_model_and_its_tables_of_junctions_and_atses(recovered_model):
    var = recovered_model.adata.var
    changed = var.loc[var["differs"], "gene_name"].unique()
    others = np.setdiff1d(var["gene_name"].astype(str).unique(), changed)
    sets = pd.DataFrame(
        {
            "source": np.repeat(["changed", "others"], [len(changed), len(others)]),
            "target": [*changed, *others],
        }
    )
    found = lfa.tl.marker_enrichment(recovered_model, sets, "ora")
    best = found.groupby("program").first()
    assert (best["source"] == "changed").all()
    atses = recovered_model.program_markers(level="atse")
    by_atse = lfa.tl.marker_enrichment(atses, sets, "ora")
    assert (by_atse.groupby("program").first()["source"] == "changed").all()
    assert set(by_atse["n_targets"]) == set(found["n_targets"])
    groups = recovered_model.differential_splicing(groupby="program_true")
    compared = lfa.tl.marker_enrichment(groups, sets, "ora")
    assert list(compared["comparison"].unique()) == list(groups["comparison"].unique())
    assert (compared.groupby("comparison").first()["source"] == "changed").all()


@pytest.fixture
def recovered_model(fit):
    adata = lfa.datasets.simulate_splicing(80, 60, 2, coverage=0.5, frac_differential=0.4, seed=1)
    return fit(adata, 2, max_epochs=30)


class TestErrors:
    def test_without_decoupler(self, table, net, monkeypatch):
        monkeypatch.setitem(sys.modules, "decoupler", None)
        with pytest.raises(ImportError, match=r'pip install "leafletfa-scvi\[enrichment\]"'):
            lfa.tl.marker_enrichment(table, net)

    def test_networks(self, table, net):
        run = lfa.tl.marker_enrichment
        with pytest.raises(TypeError, match="Expected net to be a DataFrame"):
            run(table, {"hit": CHANGED})
        with pytest.raises(KeyError, match=r"column 'gene' in net, found \['source', 'target'\]"):
            run(table, net, target="gene")
        with pytest.raises(KeyError, match=r"column 'mor' in net.*weight=\.\.\."):
            run(table, net, weight="mor")
        with pytest.raises(ValueError, match="found none"):
            run(table, net.iloc[:0])
        with pytest.raises(ValueError, match=r"in row 28 \(0-based\)"):
            run(
                table, pd.concat([net, pd.DataFrame({"source": ["x"], "target": [None]})]).iloc[7:]
            )
        with pytest.raises(ValueError, match="'hit' and 'Gene0' in several rows"):
            run(table, pd.concat([net, net.iloc[:1]]))
        with pytest.raises(ValueError, match="finite weights .* found nan in row 3"):
            run(table, net.assign(weight=[1.0] * 3 + [np.nan] * (len(net) - 3)))
        with pytest.raises(ValueError, match="min_targets=20 .* found at most 12"):
            run(table, net, min_targets=20)
        with pytest.raises(ValueError, match="method to be 'ulm'"):
            run(table, net, "auc")

    def test_names_that_do_not_match(self, table, net):
        upper = net.assign(target=net["target"].str.upper())
        with pytest.raises(ValueError, match="Upper and lower case differ"):
            lfa.tl.marker_enrichment(table, upper)
        ids = pd.DataFrame({"source": "x", "target": [f"ENSG{i:03d}.4" for i in range(9)]})
        with pytest.raises(ValueError, match="another kind: gene_key='gene_id' takes them"):
            lfa.tl.marker_enrichment(table, ids)
        found = lfa.tl.marker_enrichment(table, ids, gene_key="gene_id")
        assert (found["n_targets"] == 9).all()
        bare = ids.assign(target=ids["target"].str[:-2])
        with pytest.raises(ValueError, match="Versions of ids differ"):
            lfa.tl.marker_enrichment(table, bare, gene_key="gene_id")
        with pytest.raises(ValueError, match="the first target is 'unknown'.$"):
            lfa.tl.marker_enrichment(table, net.assign(target="unknown").iloc[:1])

    def test_tables(self, table, net):
        with pytest.raises(TypeError, match="a LeafletFAModel or a table"):
            lfa.tl.marker_enrichment(["Gene1"], net)
        with pytest.raises(KeyError, match="'effect_size'"):
            lfa.tl.marker_enrichment(table.drop(columns="effect_size"), net)
        with pytest.raises(KeyError, match="found 'symbol'"):
            lfa.tl.marker_enrichment(table, net, gene_key="symbol")
        with pytest.raises(ValueError, match="annotate_junctions"):
            lfa.tl.marker_enrichment(table.drop(columns=["gene_id", "gene_name"]), net)
        with pytest.raises(ValueError, match="only_significant=False"):
            lfa.tl.marker_enrichment(table[table["is_ds_fdr_0.05"]], net)
