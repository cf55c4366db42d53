from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import leafletfa_scvi as lfa
from leafletfa_scvi.data._layers import named_layers
from leafletfa_scvi.datasets import simulate_splicing
from leafletfa_scvi.tl import evaluate_holdout, holdout_splicing

READS, TOTALS = "cell_by_junction_matrix", "cell_by_cluster_matrix"


def same(a, b):
    return (sp.csr_matrix(a) != sp.csr_matrix(b)).nnz == 0


def check_parts(adata, training, hidden):
    """Check that both parts add up to the data set, without splitting a pair."""
    for part in (training, hidden):
        reads, totals = part.layers[READS], part.layers[TOTALS]
        assert isinstance(reads, sp.csr_matrix)
        np.testing.assert_array_equal(reads.indices, totals.indices)
        np.testing.assert_array_equal(reads.indptr, totals.indptr)
        assert (totals.data > 0).all()
        assert same(part.X, reads)
        for a, b in ((part.X, reads), (part.X, totals), (reads, totals)):
            assert not np.shares_memory(a.indices, b.indices)
            assert not np.shares_memory(a.data, b.data)
    for name in (READS, TOTALS):
        whole = sp.csr_matrix(adata.layers[name])
        assert same(training.layers[name] + hidden.layers[name], whole)
        assert training.layers[name].dtype == adata.layers[name].dtype
    both = (training.layers[TOTALS] > 0).multiply(hidden.layers[TOTALS] > 0)
    assert both.nnz == 0
    codes = pd.factorize(adata.var["atse_id"])[0]
    member = sp.csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)))
    pairs = [((part.layers[TOTALS] > 0) @ member).toarray() > 0 for part in (training, hidden)]
    assert not (pairs[0] & pairs[1]).any()
    return pairs


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**62),
    fraction=st.floats(0.05, 0.95),
    layout=st.sampled_from([sp.csr_matrix, sp.csc_matrix, sp.csr_array, np.asarray]),
    dtype=st.sampled_from(["int32", "int64", "uint16", "float32", "float64"]),
)
def test_whole_atses_are_hidden_and_no_entry_is_lost(seed, fraction, layout, dtype):
    adata = simulate_splicing(40, 25, 2, coverage=0.4, seed=3)
    for name in (READS, TOTALS):
        dense = adata.layers[name].toarray().astype(dtype)
        adata.layers[name] = layout(dense)
    before = adata.copy()
    training, hidden = holdout_splicing(adata, fraction, seed=seed)
    kept, gone = check_parts(adata, training, hidden)
    assert (kept.any(1) == (kept | gone).any(1)).all()
    for name in (READS, TOTALS):
        assert type(adata.layers[name]) is type(before.layers[name])
        assert same(adata.layers[name], before.layers[name])
    assert adata.uns.keys() == before.uns.keys()
    assert "holdout" not in adata.uns["splicing"]


def test_fraction_seed_and_nesting(small):
    def pairs(fraction, seed):
        training, hidden = holdout_splicing(small, fraction, seed=seed)
        return check_parts(small, training, hidden)[1]

    adata = simulate_splicing(300, 150, 2, coverage=0.3, seed=3)
    kept, gone = check_parts(adata, *holdout_splicing(adata))
    n = (kept | gone).sum()
    assert abs(gone.sum() / n - 0.1) < 4 * np.sqrt(0.09 / n)
    one = pairs(0.2, 1)
    assert (pairs(0.2, 1) == one).all()
    assert (pairs(0.2, 2) != one).any()
    assert pairs(0.4, 1)[one].all()


def test_annotation_is_copied_and_slots_that_reveal_hidden_reads_are_dropped(small, tmp_path):
    small.obsm["frame"] = pd.DataFrame({"a": np.arange(80)}, index=small.obs_names)
    small.layers["psi"] = small.layers[READS].copy()
    small.raw = small
    small.uns["nested"] = {"list": ["a", "b"]}
    lfa.LeafletFAModel.setup_anndata(small)
    before = small.copy()
    training, hidden = holdout_splicing(small, 0.2, seed=4)
    for part, name in ((training, "training"), (hidden, "hidden")):
        pd.testing.assert_frame_equal(part.obs, small.obs)
        pd.testing.assert_frame_equal(part.var, small.var)
        assert set(part.obsm) == {"phi_true", "frame"}
        assert set(part.varm) == {"psi_true"}
        assert set(named_layers(part)) == {READS, TOTALS}
        assert part.raw is None
        assert not any(key.startswith("_scvi") for key in part.uns)
        assert part.uns["nested"] == {"list": ["a", "b"]}
        record = part.uns["splicing"]["holdout"]
        assert record["part"] == name
        assert (record["fraction"], record["seed"]) == (0.2, 4)
        assert record["n_hidden_entries"] == hidden.layers[TOTALS].nnz
        file = tmp_path / f"{name}.h5ad"
        part.write_h5ad(file)
        read = anndata.read_h5ad(file)
        assert read.uns["splicing"]["holdout"] == record
        assert same(read.layers[READS], part.layers[READS])
        lfa.LeafletFAModel.setup_anndata(read)
    # Copies: changing a part does not change the data set.
    training.obs["new"] = 1
    training.uns["nested"]["list"].append("c")
    training.obsm["phi_true"][:] = 0
    training.layers[READS].data[:] = 9
    assert (training.X.data != 9).any()
    assert (training.layers[TOTALS].data != 9).any()
    assert "new" not in small.obs
    assert small.uns["nested"] == {"list": ["a", "b"]}
    np.testing.assert_array_equal(small.obsm["phi_true"], before.obsm["phi_true"])
    assert same(small.layers[READS], before.layers[READS])
    assert "_scvi_uuid" in small.uns


def test_a_view_is_split_like_its_copy(small):
    view = small[10:60]
    parts = holdout_splicing(view, 0.3), holdout_splicing(view.copy(), 0.3)
    assert view.is_view
    check_parts(view.copy(), *parts[0])
    for a, b in zip(*parts, strict=True):
        assert not a.is_view
        assert same(a.layers[READS], b.layers[READS])


def test_without_labels_entries_are_hidden_independently_with_a_warning(small):
    with pytest.warns(UserWarning, match="Without ATSE labels"):
        _, hidden = holdout_splicing(small, 0.5, atse_key=None)
    labels = small.var["atse_id"].to_numpy()
    del small.var["atse_id"]
    with pytest.warns(UserWarning, match="Without ATSE labels"):
        _, again = holdout_splicing(small, 0.5)
    assert same(hidden.layers[TOTALS], again.layers[TOTALS])
    pair = pd.Series(
        list(
            zip(
                hidden.layers[TOTALS].tocoo().row,
                labels[hidden.layers[TOTALS].indices],
                strict=True,
            )
        )
    )
    assert (pair.value_counts() == 1).any()
    small.var["event"] = labels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training, hidden = holdout_splicing(small, 0.5, atse_key="event")
    small.var["atse_id"] = labels
    check_parts(small, training, hidden)


def test_layers_with_other_names(small):
    small.layers["y"], small.layers["n"] = small.layers.pop(READS), small.layers.pop(TOTALS)
    training, hidden = holdout_splicing(small, 0.3, junction_layer="y", cluster_layer="n")
    assert set(named_layers(training)) == {"y", "n"}
    assert same(training.layers["y"] + hidden.layers["y"], small.layers["y"])


def test_holdout_errors(small, tmp_path):
    for fraction in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"fraction in \(0, 1\)"):
            holdout_splicing(small, fraction)
    for seed in (-1, 0.5):
        with pytest.raises(ValueError, match="seed to be a whole number"):
            holdout_splicing(small, seed=seed)
    with pytest.raises(ValueError, match="hides at least one .* pair"):
        holdout_splicing(small, 1e-9)
    with pytest.raises(TypeError, match="Expected an AnnData"):
        holdout_splicing(small.X)
    with pytest.raises(KeyError, match="'event' is missing"):
        holdout_splicing(small, atse_key="event")
    small.write_h5ad(tmp_path / "small.h5ad")
    backed = anndata.read_h5ad(tmp_path / "small.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"adata\.to_memory\(\)"):
        holdout_splicing(backed)
    backed.file.close()
    small.layers[READS].data[0] = 10_000
    with pytest.raises(ValueError, match="holds 10000"):
        holdout_splicing(small)


def test_real_data(chen):
    training, hidden = holdout_splicing(chen, 0.1, seed=1)
    n = [part.layers[TOTALS].nnz for part in (training, hidden)]
    assert sum(n) == 3_965_894
    assert n[1] / sum(n) == pytest.approx(0.1, abs=0.002)
    assert n[1] % 2 == 0
    assert same(training.layers[READS] + hidden.layers[READS], chen.layers[READS])
    # Both junctions of an exon are hidden together, and their reads are its total.
    for part in (training, hidden):
        y, total = part.layers[READS], part.layers[TOTALS]
        atse = pd.factorize(chen.var["atse_id"])[0]
        member = sp.csr_matrix((np.ones(len(atse)), (np.arange(len(atse)), atse)))
        assert same(2 * (y @ member), total @ member)


@pytest.fixture(scope="module")
def split():
    adata = simulate_splicing(
        200, 80, 3, coverage=0.4, frac_differential=0.6, activity_concentration=0.6, seed=1
    )
    return holdout_splicing(adata, 0.15, seed=2)


@pytest.fixture(scope="module")
def model(split, fit):
    return fit(split.training.copy(), 3, max_epochs=0)


def by_hand(model, hidden):
    """Counts, totals, predictions and columns of hidden entries, computed with public methods."""
    totals = hidden.layers[TOTALS].tocoo()
    y = np.asarray(hidden.layers[READS].tocsr()[totals.row, totals.col]).ravel()
    phi = model.get_cell_activities().loc[hidden.obs_names].to_numpy(float)
    psi = model.get_splicing_programs().to_numpy(float)
    return y, totals.data, (phi[totals.row] * psi[totals.col]).sum(1), totals.col


def test_scores_use_the_predictions_of_the_model(model, split):
    table = evaluate_holdout(model, split.hidden)
    y, n, p, column = by_hand(model, split.hidden)
    kappa = model.get_concentrations().to_numpy()[column]
    value = stats.betabinom.logpmf(y, n, kappa * p, kappa * (1 - p)).mean()
    row = table.loc["all"]
    assert row["n_entries"] == len(y) == table["n_entries"].iloc[1:].sum()
    assert row["log_likelihood"] == pytest.approx(value, abs=1e-4)
    assert row["pearson"] == pytest.approx(stats.pearsonr(y / n, p)[0], abs=1e-5)
    assert row["l1"] == pytest.approx(np.abs(y / n - p).mean(), abs=1e-5)
    few = n <= 4
    assert table.loc["1-4", "rmse"] == pytest.approx(
        np.sqrt(((y / n - p)[few] ** 2).mean()), abs=1e-5
    )
    # A model finds what junction means cannot know.
    assert row["log_likelihood_gain"] > 0.1
    assert row["pearson_deviation"] > 0.4
    assert (table["pearson"] > 0.5).all()


def test_gain_is_relative_to_junction_means_of_training(model, split):
    y, n, _, column = by_hand(model, split.hidden)
    training = split.training
    total, reads = training.layers[TOTALS].tocoo(), training.layers[READS].data
    weight = total.data / (1 + 0.1 * (total.data - 1))
    used = np.bincount(total.col, weight * reads / total.data, training.n_vars)
    seen = np.bincount(total.col, weight, training.n_vars)
    mean = np.clip((used + 2 * used.sum() / seen.sum()) / (seen + 2), 1e-4, 1 - 1e-4)

    def value(y, n, m, kappa):
        return stats.betabinom.logpmf(y, n, kappa * m, kappa * (1 - m)).mean()

    grid = np.geomspace(1, 100, 400)
    fitted = [value(reads, total.data, mean[total.col], kappa) for kappa in grid]
    reference = value(y, n, mean[column], grid[np.argmax(fitted)])
    row = evaluate_holdout(model, split.hidden, bins=None).loc["all"]
    found = row["log_likelihood"] - row["log_likelihood_gain"]
    assert found == pytest.approx(reference, abs=1e-4)


def test_nothing_is_fitted_to_hidden_counts(model, split, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("activities were fitted")

    monkeypatch.setattr("leafletfa_scvi.model._cells.fit_new_cells", fail)
    state = {name: value.clone() for name, value in model.module.state_dict().items()}
    atse = split.hidden.var["atse_id"]
    pairs = (atse.map(atse.value_counts()) == 2).to_numpy(np.int32)
    hidden = split.hidden.copy()
    for name in (READS, TOTALS):
        hidden.layers[name] = hidden.layers[name].multiply(pairs).tocsr()
        hidden.layers[name].eliminate_zeros()
    swapped = hidden.copy()
    swapped.layers[READS] = (swapped.layers[TOTALS] - swapped.layers[READS]).tocsr()
    table, other = evaluate_holdout(model, hidden), evaluate_holdout(model, swapped)
    assert all((value == state[name]).all() for name, value in model.module.state_dict().items())
    # Had activities followed the hidden counts, the swapped ones would be predicted too.
    y, n, p, _ = by_hand(model, swapped)
    assert other.loc["all", "l1"] == pytest.approx(np.abs(y / n - p).mean(), abs=1e-5)
    assert other.loc["all", "pearson"] == pytest.approx(-table.loc["all", "pearson"], abs=1e-6)


def test_cells_are_matched_by_name(model, split, monkeypatch):
    order = np.random.default_rng(0).permutation(200)
    shuffled = split.hidden[order].copy()
    table = evaluate_holdout(model, split.hidden)
    monkeypatch.setattr("leafletfa_scvi.tl._holdout._BLOCK", 100)
    pd.testing.assert_frame_equal(evaluate_holdout(model, shuffled), table, rtol=1e-9)
    part = evaluate_holdout(model, split.hidden[50:90])  # a view, of some cells
    y, n, p, _ = by_hand(model, split.hidden[50:90].copy())
    assert part.loc["all", "n_entries"] == len(y)
    assert part.loc["all", "l1"] == pytest.approx(np.abs(y / n - p).mean(), abs=1e-5)


def test_no_warning_about_sparse_hidden_entries(model, split):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        evaluate_holdout(model, split.hidden[:20])


def test_binomial_models_are_scored_with_the_binomial(split, fit):
    model = fit(split.training.copy(), 3, max_epochs=0, options={"likelihood": "binomial"})
    assert np.isinf(model.get_concentrations()).all()
    y, n, p, _ = by_hand(model, split.hidden)
    row = evaluate_holdout(model, split.hidden, bins=None).loc["all"]
    value = stats.binom.logpmf(y, n, p).mean()
    assert row["log_likelihood"] == pytest.approx(value, abs=1e-3)


def test_concentrations_per_junction(model):
    kappa = model.get_concentrations()
    assert kappa.index.tolist() == list(model.junction_names)
    assert kappa.nunique() > 1
    np.testing.assert_allclose(kappa, model.module.site_mean("kappa").detach())
    assert kappa.dtype == np.float64


def test_evaluation_errors(model, split, small, fit, tmp_path):
    training, hidden = split
    with pytest.raises(TypeError, match=r"Pass its \.hidden"):
        evaluate_holdout(model, split)
    with pytest.raises(TypeError, match="found a csr_matrix"):
        evaluate_holdout(model, hidden.X)
    with pytest.raises(ValueError, match="lacks .* junctions"):
        evaluate_holdout(model, hidden[:, :50])
    renamed = hidden.copy()
    renamed.obs_names = [
        f"{name}_x" if i == 7 else name for i, name in enumerate(hidden.obs_names)
    ]
    with pytest.raises(ValueError, match="to be training cells, found 1 of 200 .*'cell_7_x'"):
        evaluate_holdout(model, renamed)
    with pytest.raises(ValueError, match="held out, found some that the model was trained"):
        evaluate_holdout(model, training)
    mixed = hidden.copy()
    for name in (READS, TOTALS):
        mixed.layers[name] = sp.vstack(
            [hidden.layers[name][:150], (hidden.layers[name] + training.layers[name])[150:]]
        ).tocsr()
    first = training.layers[TOTALS][150].indices[0]
    with pytest.raises(
        ValueError,
        match=f"'cell_150' and junction '{training.var_names[first]}'".replace("+", r"\+"),
    ):
        evaluate_holdout(model, mixed)
    with pytest.raises(ValueError, match="bins"):
        evaluate_holdout(model, hidden, bins=[5, 1])
    nothing = hidden.copy()
    nothing.layers[TOTALS] = nothing.layers[READS] = sp.csr_matrix(hidden.shape)
    with pytest.raises(ValueError, match="nothing is observed"):
        evaluate_holdout(model, nothing)
    lfa.LeafletFAModel.setup_anndata(small)
    with pytest.raises(RuntimeError, match="not trained"):
        evaluate_holdout(lfa.LeafletFAModel(small, 2), hidden)


def test_a_loaded_model_needs_its_data(model, split, tmp_path):
    model.save(tmp_path / "model")
    alone = lfa.LeafletFAModel.load(tmp_path / "model", adata=False, accelerator="cpu")
    with pytest.raises(ValueError, match="loaded without them"):
        evaluate_holdout(alone, split.hidden)
    loaded = lfa.LeafletFAModel.load(
        tmp_path / "model", adata=split.training.copy(), accelerator="cpu"
    )
    table = evaluate_holdout(loaded, split.hidden)
    pd.testing.assert_frame_equal(table, evaluate_holdout(model, split.hidden))
