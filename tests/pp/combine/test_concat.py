from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import event, given, settings
from hypothesis import strategies as st

from leafletfa_scvi.data import check_splicing
from leafletfa_scvi.pp import filter_junctions, make_splicing_dataset, read_junc
from leafletfa_scvi.pp.combine._concat import concat_splicing

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"

# A cassette exon, an alternative 3' splice site and one junction alone, of two genes.
PLACES = [
    ("chr2", 101, 200, "+", "g1"),
    ("chr2", 101, 400, "+", "g1"),
    ("chr2", 301, 400, "+", "g1"),
    ("chr10", 101, 200, "-", "g2"),
    ("chr10", 150, 200, "-", "g2"),
    ("chr10", 900, 990, "-", "g2"),
]


def counts_of(rows, places=None, prefix="cell", gene=True):
    """Junction counts as readers make them."""
    places = PLACES if places is None else places
    var = pd.DataFrame(places, columns=["chrom", "start", "end", "strand", "gene_id"])
    var.index = [f"{c}:{s}-{e}:{t}" for c, s, e, t, _ in places]
    if not gene:
        del var["gene_id"]
    rows = np.asarray(rows, np.int32).reshape(-1, len(places))
    obs = pd.DataFrame(index=[f"{prefix}{i}" for i in range(len(rows))])
    return anndata.AnnData(sp.csr_matrix(rows), obs=obs, var=var)


def seen(adata):
    """Only the junctions that have reads, as if read from separate files."""
    reads = np.asarray(adata.X.sum(axis=0)).ravel()
    return adata[:, reads > 0].copy()


def assert_same(a, b):
    assert a.obs_names.tolist() == b.obs_names.tolist()
    pd.testing.assert_frame_equal(a.var, b.var)
    for name in (JUNCTION, CLUSTER):
        assert (a.layers[name] != b.layers[name]).nnz == 0
        np.testing.assert_array_equal(a.layers[name].indices, b.layers[name].indices)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 7), gene=st.booleans())
def test_apart_or_at_once_is_the_same(seed, cut, gene):
    rng = np.random.default_rng(seed)
    rows = rng.poisson(0.6, (8, 6))
    rows[0, :5] += 1  # so that there are ATSEs
    whole = counts_of(rows, gene=gene)
    parts = [seen(whole[:cut]), seen(whole[cut:])]
    order = rng.permutation(parts[1].n_vars)
    parts[1] = parts[1][:, order].copy()
    joint = concat_splicing([seen(whole)])
    apart = concat_splicing(parts)
    assert_same(apart, joint)
    check_splicing_quietly(apart)
    # Data sets with their own ATSEs: the same if each still has all its reads of the result.
    made = [concat_splicing([part], label=None) for part in parts if has_atse(part)]
    reads = [joint[part.obs_names].layers[JUNCTION].sum() for part in parts]
    if [part.layers[JUNCTION].sum() for part in made] == reads:
        assert_same(concat_splicing(made), joint)
        event("made apart")


def has_atse(part):
    try:
        concat_splicing([part])
    except ValueError:
        return False
    return True


def check_splicing_quietly(adata):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        check_splicing(adata)


def test_known_answer():
    a = counts_of([[3, 1], [2, 0]], PLACES[:2], "a")
    b = counts_of([[0, 4, 5, 1, 7]], [PLACES[i] for i in (0, 1, 2, 4, 3)], "b")
    adata = concat_splicing({"A": a, "B": b})
    assert adata.var_names.tolist() == [
        "chr2:101-200:+", "chr2:101-400:+", "chr2:301-400:+", "chr10:101-200:-", "chr10:150-200:-"
    ]  # fmt: skip
    assert adata.obs["dataset"].tolist() == ["A", "A", "B"]
    assert adata.layers[JUNCTION].toarray().tolist() == [
        [3, 1, 0, 0, 0], [2, 0, 0, 0, 0], [0, 4, 5, 7, 1]
    ]  # fmt: skip
    assert adata.layers[CLUSTER].toarray().tolist() == [
        [4, 4, 4, 0, 0], [2, 2, 2, 0, 0], [9, 9, 9, 8, 8]
    ]  # fmt: skip
    assert adata.var["atse_label"].tolist() == ["g1:ATSE_1"] * 3 + ["g2:ATSE_1"] * 2
    assert adata.var["event_type"].tolist() == ["cassette_exon"] * 3 + ["alternative_3ss"] * 2
    record = adata.uns["splicing"]["concat"]
    assert (record["junctions_united"], record["junctions_in_all"]) == (5, 2)
    assert a.var_names.tolist() == ["chr2:101-200:+", "chr2:101-400:+"]
    check_splicing(adata)


def test_an_event_grows():
    """Two junctions that were an alternative 5' splice site are part of a cassette exon."""
    one = concat_splicing([counts_of([[1, 2]], PLACES[:2])])
    two = concat_splicing([counts_of([[1, 2]], PLACES[1:3], "other")])
    assert set(one.var["event_type"]) == {"alternative_3ss"}
    both = concat_splicing([one, two], label="batch")
    assert set(both.var["event_type"]) == {"cassette_exon"}
    assert both.var["atse_id"].nunique() == 1
    assert both.obs["batch"].tolist() == ["0", "1"]


def test_reads_of_a_junction_alone_are_lost_as_documented():
    a, b = counts_of([[9, 0, 0, 1, 1, 0]]), counts_of([[1, 1, 1, 0, 0, 0]], prefix="b")
    a, b = seen(a), seen(b)
    assert concat_splicing([a, b])[:, "chr2:101-200:+"].X.toarray().ravel().tolist() == [9, 1]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*junctions of the result")
        made = concat_splicing([a])
    message = r"Of the 5 junctions .* data set '0' lacks 3, at which the others have 3 reads\. .*"
    with pytest.warns(UserWarning, match=f"{message}reference=first"):
        again = concat_splicing([made, b], label="batch")
    assert again.uns["splicing"]["concat"]["junctions_filtered_out_or_unseen"] == [3, 0]
    assert again[:, "chr2:101-200:+"].X.toarray().ravel().tolist() == [0, 1]


def test_counts_that_were_filtered_are_warned_of_too():
    a, b = counts_of([[9, 5, 5, 1, 4, 0]], prefix="a"), counts_of([[1, 1, 1, 3, 3, 0]])
    few = filter_junctions(a, min_reads=2)
    with pytest.warns(UserWarning, match="data set '0' lacks 1, at which the others have 3 reads"):
        concat_splicing([few, b])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*junctions of the result")
        concat_splicing([a, b])
        concat_splicing([filter_junctions(a, min_reads=1), seen(b)])
        one = concat_splicing([a], label=None)
        concat_splicing([one, one], index_unique="-")


def test_data_sets_on_one_reference_are_exact(data_dir):
    files = sorted((data_dir / "gtex_chr10").glob("*.bed.gz"))
    annotation = data_dir / "gtex_chr10" / "chr10.gtf.gz"
    first = make_splicing_dataset(files[:3], gtf=annotation)
    apart = {"a": first, "b": make_splicing_dataset(files[3:6], gtf=annotation)}
    with pytest.warns(UserWarning, match="data set 'a' lacks"):
        concat_splicing(apart)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*junctions of the result")
        warnings.filterwarnings("ignore", message=".*reads at the splice sites")
        second = make_splicing_dataset(files[3:6], reference=first)
        both = concat_splicing([first, second])
    assert list(both.var_names) == list(first.var_names)
    counts = read_junc(files[:6]).to_df()[first.var_names]
    np.testing.assert_array_equal(both.to_df(JUNCTION), counts.loc[both.obs_names])
    sums = counts.T.groupby(first.var["atse_id"].astype(str).to_numpy()).transform("sum").T
    np.testing.assert_array_equal(both.to_df(CLUSTER), sums.loc[both.obs_names])


def test_columns_of_var():
    a, b = counts_of([[1] * 6]), counts_of([[1] * 6], prefix="b")
    a, b = a[:, :4].copy(), b[:, 1:].copy()
    a.var["motif"] = pd.Categorical(["GT-AG", "unknown", "unknown", "GT-AG"])
    b.var["motif"] = pd.Categorical(["GC-AG", "unknown", "GT-AG", "GT-AG", "GT-AG"])
    a.var["mappable"], b.var["score"] = True, 0.5
    a.var["reads"], b.var["reads"] = 1, 2
    a.var["rank"], b.var["rank"] = range(4), range(5)
    adata = concat_splicing([a, b])
    assert adata.var["motif"].tolist() == ["GT-AG", "GC-AG", "unknown", "GT-AG", "GT-AG"]
    assert adata.var["gene_id"].tolist() == ["g1"] * 3 + ["g2"] * 2
    assert adata.var["mappable"].isna().sum() == 1
    assert np.isnan(adata.var["score"].iloc[0])
    assert "reads" not in adata.var
    assert adata.uns["splicing"]["concat"]["columns_left_out"] == ["rank"]


def test_columns_of_obs_and_saving(tmp_path):
    a, b = counts_of([[1] * 6]), counts_of([[1] * 6])
    a.obs["type"] = pd.Categorical(["x"])
    b.obs["type"], b.obs["depth"] = pd.Categorical(["y"]), 3.0
    b.var["flag"] = False
    a = a[:, 1:].copy()
    adata = concat_splicing({"a": a, "b": b}, index_unique="-")
    assert adata.obs_names.tolist() == ["cell0-a", "cell0-b"]
    assert adata.obs["type"].tolist() == ["x", "y"]
    assert np.isnan(adata.obs["depth"].iloc[0])
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert back.uns["splicing"]["source"] == "concat_splicing"
    assert back.uns["splicing"]["atses"]["atses"] == 2


def test_options_reach_the_search_for_atses():
    several = [(c, s, e, t, "g1,g2") for c, s, e, t, _ in PLACES[3:5]]
    adata = concat_splicing([counts_of([[1, 1, 1, 2, 2]], PLACES[:3] + several)])
    assert adata.n_vars == 3
    adata = concat_splicing(
        [counts_of([[1, 1, 1, 2, 2]], PLACES[:3] + several)], multi_gene="keep"
    )
    assert adata.n_vars == 5
    split = concat_splicing([counts_of([[9, 1, 9, 1, 1, 0]])], max_junctions=2)
    assert split.uns["splicing"]["atses"]["atses_split"] == 1
    with pytest.raises(ValueError, match="None of the 2 junctions"):
        concat_splicing([counts_of([[1, 2]], several)])


def test_genes_are_assigned_again(tmp_path):
    gtf = tmp_path / "a.gtf"
    lines = [
        f'chr2\tx\texon\t{s}\t{e}\t.\t+\t.\tgene_id "new"; transcript_id "{t}"; gene_name "N";'
        for t, s, e in [("t1", 1, 100), ("t1", 201, 300), ("t1", 401, 500), ("t2", 1, 100),
                        ("t2", 401, 500)]
    ]  # fmt: skip
    gtf.write_text("\n".join(lines) + "\n")
    a, b = counts_of([[1] * 6]), counts_of([[1] * 6], prefix="b", gene=False)
    with pytest.raises(ValueError, match="var of data set '0' has 'gene_id', that of '1' has not"):
        concat_splicing([a, b])
    adata = concat_splicing([a, b], annotation=gtf)
    assert adata.var["gene_id"].unique().tolist() == ["new"]
    assert adata.var["known_junction"].all()
    assert adata.n_vars == 3


def test_errors():
    a, b = counts_of([[1] * 6]), counts_of([[1] * 6], prefix="b")
    with pytest.raises(
        ValueError, match="Cell 'cell0' is in data set '0' and in '1'.*index_unique"
    ):
        concat_splicing([a, a])
    with pytest.raises(ValueError, match="No data set"):
        concat_splicing([])
    with pytest.raises(TypeError, match="several"):
        concat_splicing(a)
    with pytest.raises(TypeError, match="'x' is a DataFrame"):
        concat_splicing({"x": a.obs})
    b.var["gene_id"] = "other"
    with pytest.raises(ValueError, match="gene_id.*'g1' in data set '0' and 'other' in '1', 6 "):
        concat_splicing([a, b])
    b.obs["dataset"] = 1
    with pytest.raises(ValueError, match="'dataset': choose another label"):
        concat_splicing([a, b])
    moved = counts_of([[1] * 6], prefix="b")
    moved.var["start"] += 1
    with pytest.raises(ValueError, match="'chr2:101-200:\\+' of data set '1' is at 'chr2:102-200"):
        concat_splicing([a, moved])
    bare = counts_of([[1, 1]], [("2", 101, 200, "+", "g1"), ("2", 101, 300, "+", "g1")], "b")
    with pytest.raises(ValueError, match="contig '2', data set '0' 'chr2'"):
        concat_splicing([a, bare])
    del bare.var["strand"]
    with pytest.raises(KeyError, match="data set '1' has no column 'strand'"):
        concat_splicing([a, bare])
