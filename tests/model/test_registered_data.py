"""Values of a model's own AnnData are those of what it holds now."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import leafletfa_scvi as lfa

Y, N = "cell_by_junction_matrix", "cell_by_cluster_matrix"
pytestmark = pytest.mark.filterwarnings("ignore:.*no observed entry:UserWarning")
QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


def methods(model, adata):
    """Results of every method for an AnnData."""
    low, high = model.get_credible_intervals("phi", adata=adata)
    return {
        "activities": model.get_cell_activities(adata),
        "latent": pd.DataFrame(model.get_latent_representation(adata)),
        "expected": model.get_normalized_splicing(adata),
        "shrunken": model.get_normalized_splicing(adata, shrink=True),
        "observed": pd.DataFrame(
            model.get_normalized_splicing(adata, observed_only=True).toarray()
        ),
        "likelihood": model.get_log_likelihood(adata).to_frame(),
        "low": low,
        "high": high,
        "differential": model.differential_splicing(adata, "half", "first"),
    }


def assert_same(found, wanted):
    for name, frame in wanted.items():
        pd.testing.assert_frame_equal(found[name], frame, obj=name)


def hide(adata):
    """Take the reads of a third of the ATSEs from the first 30 cells, in place."""
    labels = adata.var["atse_id"].unique()
    at = np.flatnonzero(adata.var["atse_id"].isin(labels[::3]))
    for name in (Y, N):
        layer = adata.layers[name].tolil()
        layer[:30, at] = 0
        adata.layers[name] = layer.tocsr()


def zero_layer(adata):
    adata.layers[Y] = adata.layers[Y] * 0


def zero_in_place(adata):
    adata.layers[Y].data[:50] = 0


def other_reads_of_one_cell(adata):
    for name in (Y, N):
        layer = adata.layers[name].tolil()
        layer[3] = layer[40]
        adata.layers[name] = layer.tocsr()


def dense(adata):
    for name in (Y, N):
        adata.layers[name] = adata.layers[name].toarray()
    adata.layers[Y][5] = 0


CHANGES = {
    "hidden": hide,
    "zero layer": zero_layer,
    "zeros in place": zero_in_place,
    "one cell": other_reads_of_one_cell,
    "dense": dense,
    "filtered": lambda a: a._inplace_subset_obs(np.arange(90) % 3 == 1),
    "reordered": lambda a: a._inplace_subset_obs(np.arange(90)[::-1]),
    "junctions reordered": lambda a: a._inplace_subset_var(np.arange(a.n_vars)[::-1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_models_data_are_treated_as_any_other(gaps, fit, change):
    model = fit(gaps, 3, max_epochs=3)
    before = model.get_log_likelihood(gaps)
    CHANGES[change](gaps)
    wanted = methods(model, gaps.copy())
    assert_same(methods(model, gaps), wanted)
    assert_same(methods(model, None), wanted)
    if change in ("hidden", "zero layer", "zeros in place", "one cell", "dense"):
        assert model.get_log_likelihood().sum() != before.sum()


def test_reads_hidden_from_training_and_shown_again(gaps, fit):
    full = {name: gaps.layers[name].copy() for name in (Y, N)}
    hide(gaps)
    model = fit(gaps, 3, max_epochs=3)
    training = model.get_log_likelihood()
    gaps.layers.update(full)
    scored = model.get_log_likelihood(gaps)
    pd.testing.assert_series_equal(scored, model.get_log_likelihood(gaps.copy()))
    assert (scored.iloc[:30].drop("cell_7") != training.iloc[:30].drop("cell_7")).all()
    np.testing.assert_array_equal(scored.iloc[30:], training.iloc[30:])


@pytest.mark.parametrize("layout", [sp.csr_matrix, sp.csc_matrix, np.array, np.asfortranarray])
@pytest.mark.parametrize("layer", [Y, N])
def test_an_edit_in_place_of_any_layout_is_noticed(gaps, fit, layout, layer):
    """One value, in the array that the layer itself holds."""
    for name in (Y, N):
        values = gaps.layers[name].astype(np.int32)
        gaps.layers[name] = layout(values.toarray() if layout is not sp.csr_matrix else values)
    model = fit(gaps, 2, max_epochs=1, options={"likelihood": "binomial"})
    y, n = (sp.csr_matrix(gaps.layers[name]).toarray() for name in (Y, N))
    atse = gaps.var["atse_id"].to_numpy()
    row, column = np.argwhere((y > 0) & (y < n))[0]
    same = np.flatnonzero(atse == atse[column])
    before = model.get_log_likelihood()
    held = gaps.layers[layer]
    if layer == Y:
        change(held, row, [column], -1)
    else:
        change(held, row, same, +1)
    assert gaps.layers[layer] is held
    now = model.get_log_likelihood()
    assert now.iloc[row] != before.iloc[row]
    pd.testing.assert_series_equal(now, model.get_log_likelihood(gaps.copy()))
    pd.testing.assert_series_equal(now.drop(now.index[row]), before.drop(now.index[row]))


def change(matrix, row, columns, by):
    """Add to stored values without a new array."""
    if not sp.issparse(matrix):
        matrix[row, columns] += by
        return
    of_rows = matrix.format == "csr"
    for column in columns:
        major, minor = (row, column) if of_rows else (column, row)
        part = slice(matrix.indptr[major], matrix.indptr[major + 1])
        matrix.data[part][matrix.indices[part] == minor] += by


def test_indices_and_masks_address_the_data_in_hand(gaps, fit):
    model = fit(gaps, 3, max_epochs=2)
    phi = model.get_cell_activities()
    gaps._inplace_subset_obs(np.arange(90) >= 60)
    for given in (None, gaps):
        pd.testing.assert_frame_equal(
            model.get_cell_activities(given, [0, 29]), phi.iloc[[60, 89]]
        )
        mask = np.arange(30) < 2
        pd.testing.assert_frame_equal(model.get_cell_activities(given, mask), phi.iloc[60:62])
        assert list(model.get_log_likelihood(given, slice(0, 3)).index) == list(phi.index[60:63])
        for wrong in ([30], np.arange(90) < 5):
            with pytest.raises(IndexError):
                model.get_cell_activities(given, wrong)
    table = model.differential_splicing(idx1=[0, 1])
    assert table["n_obs_group1"].max() <= 2
    assert table["n_obs_group2"].max() <= 28


@pytest.mark.parametrize("dtype", [bool, "boolean"])
def test_masks_by_name_are_of_the_cells_in_hand(gaps, fit, dtype):
    model = fit(gaps, 2, max_epochs=1)
    mask = pd.Series(np.arange(90) < 5, gaps.obs_names, dtype=dtype)
    wanted = model.get_cell_activities(indices=mask)
    assert list(wanted.index) == list(gaps.obs_names[:5])
    gaps._inplace_subset_obs(np.arange(90)[::-1])
    for call in (
        lambda m: model.get_cell_activities(indices=m),
        lambda m: model.differential_splicing(idx1=m),
        lambda m: model.differential_splicing(idx1=[3], idx2=m),
    ):
        with pytest.raises(IndexError, match="found cell 'cell_0' at position 0.*'cell_89'"):
            call(mask)
    found = model.get_cell_activities(indices=mask[gaps.obs_names])
    pd.testing.assert_frame_equal(found, wanted[::-1])
    unlabelled = mask.reset_index(drop=True)
    assert list(model.get_cell_activities(indices=unlabelled).index) == list(gaps.obs_names[:5])
    alone = pd.Series(np.array([7, 2]), ["a", "b"])  # positions, whatever their labels
    assert list(model.get_cell_activities(indices=alone).index) == list(gaps.obs_names[[7, 2]])


def test_renamed_in_place_are_the_same_cells_under_their_new_names(gaps, fit):
    model = fit(gaps, 3, max_epochs=2)
    phi = model.get_latent_representation()
    gaps.obs_names = [f"x_{i}" for i in range(90)]
    found = model.get_cell_activities()
    np.testing.assert_array_equal(found, phi)
    assert list(found.index) == list(gaps.obs_names)
    assert model.get_log_likelihood().index[4] == "x_4"


def test_cells_of_the_same_counts_are_matched_by_name_then_order(gaps, fit):
    for name in (Y, N):
        layer = gaps.layers[name].tolil()
        layer[50] = layer[10]
        layer[51] = layer[10]
        gaps.layers[name] = layer.tocsr()
    model = fit(gaps, 3, max_epochs=5)
    phi = model.get_latent_representation()
    assert (phi[50] != phi[10]).any()
    twins = gaps[[51, 50, 10]].copy()
    np.testing.assert_array_equal(model.get_latent_representation(twins), phi[[51, 50, 10]])
    twins.obs_names = ["a", "b", gaps.obs_names[10]]
    np.testing.assert_array_equal(model.get_latent_representation(twins), phi[[50, 51, 10]])


@pytest.mark.filterwarnings("ignore:.*not unique")
@pytest.mark.parametrize("slot", ["obs_names", "var_names"])
def test_names_repeated_after_setup_are_refused(gaps, fit, slot):
    model = fit(gaps, 2, max_epochs=1)
    names = list(getattr(gaps, slot))
    setattr(gaps, slot, [names[1], *names[1:]])
    calls = [
        model.get_cell_activities,
        model.get_log_likelihood,
        model.get_normalized_splicing,
        model.export_posterior,
        lambda: model.differential_splicing(groupby="half"),
        lambda: model.get_credible_intervals("phi"),
        lambda: model.program_markers(n_samples=2),
    ]
    for call in calls:
        with pytest.raises(
            ValueError, match=rf"{slot} holds {re.escape(repr(names[1]))} more than once"
        ):
            call()


def test_bad_values_written_after_training_are_refused(gaps, fit):
    model = fit(gaps, 2, max_epochs=1)
    gaps.layers[Y] = -gaps.layers[Y]
    with pytest.raises(ValueError, match="negative"):
        model.get_cell_activities()


def test_markers_scores_and_figures_of_a_filtered_data_set(gaps, fit):
    training, hidden = lfa.tl.holdout_splicing(gaps, 0.1)
    model = fit(training, 3, max_epochs=3)
    wanted = lfa.tl.evaluate_holdout(model, hidden)
    markers = model.program_markers(n_samples=3)
    found = model.waypoints_["cells"]
    training._inplace_subset_obs(np.arange(90)[::-2])
    pd.testing.assert_frame_equal(lfa.tl.evaluate_holdout(model, hidden), wanted)
    pd.testing.assert_frame_equal(model.program_markers(n_samples=3), markers)
    training.obs["number"] = np.arange(90.0)[::-2]
    shown = lfa.pl._waypoints._from_obs(model, "number", found).values
    at = np.asarray(found) if np.asarray(found).dtype != bool else np.flatnonzero(found)
    np.testing.assert_array_equal(shown, np.where(at % 2, at, np.nan))
    assert len(lfa.pl.waypoints(model).collections)


def test_elbo_is_of_the_training_data(gaps, fit):
    import torch

    model = fit(gaps, 2, max_epochs=1)
    values = []
    for _ in range(2):
        torch.manual_seed(0)
        values.append(model.get_elbo(1))
        zero_layer(gaps)
    assert values[0] == values[1]


def test_training_uses_the_checked_data(gaps, fit):
    """Changes between the constructor and train change no program, not in the last bit."""
    wanted = fit(gaps.copy(), 3, max_epochs=3, batch_size=40)
    import scvi

    scvi.settings.seed = 0
    lfa.LeafletFAModel.setup_anndata(gaps)
    model = lfa.LeafletFAModel(gaps, 3)
    gaps.layers[Y].data[:] = 0
    gaps.layers[N] = gaps.layers[N].astype(float) * np.nan
    gaps.var["atse_id"] = np.random.default_rng(0).permutation(gaps.var["atse_id"])
    gaps._inplace_subset_obs(np.arange(20))
    gaps.obs_names = ["same"] * 20
    model.train(max_epochs=3, em_iterations=30, batch_size=40, **QUIET)
    for name, value in wanted.module.state_dict().items():
        np.testing.assert_array_equal(model.module.state_dict()[name], value, err_msg=name)
    pd.testing.assert_frame_equal(model.get_splicing_programs(), wanted.get_splicing_programs())


@pytest.mark.parametrize("shrink", [False, True])
def test_expected_psi_follow_the_junctions_of_the_data(gaps, fit, shrink):
    """So that they can be stored as a layer; names of junctions ask for another order."""
    model = fit(gaps, 2, max_epochs=1)
    options = {"shrink": shrink}
    wanted = model.get_normalized_splicing(**options)
    observed = model.get_normalized_splicing(**options, observed_only=True).toarray()
    other = gaps[:, ::-1].copy()
    listed = list(gaps.var_names[[5, 2, 5]])
    gaps._inplace_subset_var(np.arange(gaps.n_vars)[::-1])
    for adata in (None, gaps, other):
        pd.testing.assert_frame_equal(
            model.get_normalized_splicing(adata, **options), wanted.iloc[:, ::-1]
        )
        found = model.get_normalized_splicing(adata, **options, return_numpy=True)
        np.testing.assert_array_equal(found, wanted.iloc[:, ::-1])
        found = model.get_normalized_splicing(adata, **options, observed_only=True)
        np.testing.assert_array_equal(found.toarray(), observed[:, ::-1])
        assert found.has_sorted_indices
        found = model.get_normalized_splicing(adata, None, listed, **options)
        pd.testing.assert_frame_equal(found, wanted[listed])
        found = model.get_normalized_splicing(adata, None, listed, **options, observed_only=True)
        np.testing.assert_array_equal(found.toarray(), observed[:, [5, 2, 5]])


def test_unchanged_data_are_not_read_again(gaps, fit, monkeypatch):
    model = fit(gaps, 2, max_epochs=1)
    monkeypatch.setattr("leafletfa_scvi.model._base.splicing_data", None)
    for adata in (None, gaps, gaps.copy()):
        assert len(model.get_log_likelihood(adata)) == 90


def zeroed(model, adata):
    """Log-likelihoods after the first cells lose their junction reads in place."""
    before = model.get_log_likelihood()
    adata.layers[Y].data[:200] = 0
    now = model.get_log_likelihood()
    assert now.sum() != before.sum()
    pd.testing.assert_series_equal(now, model.get_log_likelihood(adata))
    pd.testing.assert_series_equal(now, model.get_log_likelihood(adata.copy()))


@pytest.mark.filterwarnings("ignore::FutureWarning:mudata")
def test_a_modality_of_a_mudata(gaps, fit):
    import mudata

    mdata = mudata.MuData({"splicing": gaps})
    model = fit(mdata.mod["splicing"], 2, max_epochs=1)
    zeroed(model, mdata.mod["splicing"])
    with pytest.raises(TypeError, match=r"mdata\.mod\['splicing'\]"):
        model.get_cell_activities(mdata)


def test_views_show_the_data_of_their_parent(gaps, fit):
    model = fit(gaps, 2, max_epochs=1)
    view = gaps[10:40, ::-1]
    before = model.get_log_likelihood(view)
    gaps.layers[Y].data[:] = 0
    assert view.is_view
    now = model.get_log_likelihood(view)
    assert (now.drop("cell_23", errors="ignore") <= before.drop("cell_23", errors="ignore")).all()
    assert now.sum() != before.sum()
    pd.testing.assert_series_equal(now, model.get_log_likelihood(gaps[10:40].copy()))


@pytest.mark.parametrize("dense", [False, True])
def test_a_backed_file(gaps, fit, tmp_path, dense):
    import anndata
    import h5py
    from anndata.io import sparse_dataset

    if dense:
        for name in (Y, N):
            gaps.layers[name] = gaps.layers[name].toarray()
    gaps.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        stored = file["layers"]
        layers = {n: stored[n] if dense else sparse_dataset(stored[n]) for n in (Y, N)}
        adata = anndata.AnnData(obs=gaps.obs, var=gaps.var, layers=layers)
        model = fit(adata, 2, max_epochs=1)
        before = model.get_log_likelihood()
        pd.testing.assert_series_equal(model.get_log_likelihood(gaps), before)
        values = stored[Y] if dense else stored[Y]["data"]
        values[:30] = 0
        now = model.get_log_likelihood()
        assert now.sum() != before.sum()
        pd.testing.assert_series_equal(model.get_log_likelihood(adata.to_memory()), now)


NAMES = {
    "categorical": pd.CategoricalIndex,
    "string": lambda names: pd.Index(names, dtype="string"),
    "bytes": lambda names: pd.Index([name.encode() for name in names]),
    "numbers": lambda names: pd.RangeIndex(len(names)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", NAMES)
def test_names_of_any_type(gaps, fit, kind):
    gaps.obs.index, gaps.var.index = (
        NAMES[kind](list(x)) for x in (gaps.obs_names, gaps.var_names)
    )
    model = fit(gaps, 2, max_epochs=1)
    phi = model.get_cell_activities()
    assert phi.index.equals(pd.Index(gaps.obs_names.astype(str)))
    pd.testing.assert_frame_equal(model.get_cell_activities(gaps[::-1].copy()), phi[::-1])
    psi = model.get_normalized_splicing(gaps[:, ::-1].copy())
    pd.testing.assert_frame_equal(psi, model.get_normalized_splicing().iloc[:, ::-1])
    zeroed(model, gaps)


@pytest.mark.filterwarnings("ignore:.*not unique")
def test_names_that_are_equal_as_text_are_refused(gaps, fit):
    gaps.obs.index = pd.Index([1, "1", *gaps.obs_names[2:]], dtype=object)
    with pytest.raises(ValueError, match="obs_names holds '1' more than once"):
        fit(gaps, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint64, np.float32, bool])
def test_layers_of_any_dtype(gaps, fit, dtype):
    for name in (Y, N):
        gaps.layers[name] = gaps.layers[name].minimum(1).astype(dtype)
    del gaps.var["atse_id"]
    zeroed(fit(gaps, 2, max_epochs=1), gaps)


def test_two_models_of_two_setups_of_one_data_set(gaps, fit):
    first = fit(gaps, 2, max_epochs=1)
    wanted = first.get_log_likelihood()
    gaps.layers["other"] = gaps.layers[Y].copy()
    gaps.layers["other"].data[:200] = 0
    lfa.LeafletFAModel.setup_anndata(gaps, junction_layer="other")
    second = lfa.LeafletFAModel(gaps, 2)
    second.train(max_epochs=1, em_iterations=10, **QUIET)
    pd.testing.assert_series_equal(first.get_log_likelihood(), wanted)
    likelihood = second.get_log_likelihood()
    gaps.layers[Y] = gaps.layers[Y] * 0
    pd.testing.assert_series_equal(second.get_log_likelihood(), likelihood)
    assert first.get_log_likelihood().sum() < wanted.sum()


def test_a_setup_between_constructor_and_training_does_not_matter(gaps):
    lfa.LeafletFAModel.setup_anndata(gaps)
    model = lfa.LeafletFAModel(gaps, 2)
    reads = int(gaps.layers[Y].sum())
    gaps.layers[Y].data[:200] = 0
    lfa.LeafletFAModel.setup_anndata(gaps)
    model.train(max_epochs=1, em_iterations=10, **QUIET)
    assert int(model._entries.count.sum()) == reads > gaps.layers[Y].sum()
    pd.testing.assert_series_equal(
        model.get_log_likelihood(), model.get_log_likelihood(gaps.copy())
    )


@pytest.mark.parametrize("how", ["copy", "deepcopy"])
def test_copies_of_a_model_belong_to_their_data(gaps, fit, how):
    import copy

    model = fit(gaps, 2, max_epochs=1)
    wanted = model.get_log_likelihood()
    other = getattr(copy, how)(model)
    gaps.layers[Y].data[:200] = 0
    changed = model.get_log_likelihood()
    assert changed.sum() != wanted.sum()
    pd.testing.assert_series_equal(
        other.get_log_likelihood(), changed if how == "copy" else wanted
    )
    assert (other.adata is gaps) == (how == "copy")


def test_data_that_are_set_again_belong_to_the_model(gaps, fit):
    model = fit(gaps, 2, max_epochs=1)
    other = gaps.copy()
    other.obs_names = [f"other_{i}" for i in range(90)]
    model.adata = other
    assert list(model.get_cell_activities().index) == list(other.obs_names)
    zeroed(model, other)
    with pytest.raises(ValueError, match="cells that the model was built on"):
        model.adata = other.copy()
    with pytest.raises(ValueError, match="cells that the model was built on"):
        model.adata = gaps[:50].copy()


def merge(adata):
    adata.var["atse_id"] = "one"


def unlabel(adata):
    adata.var.loc[adata.var_names[3], "atse_id"] = None


@pytest.mark.parametrize("change", [merge, unlabel])
def test_data_of_other_atses_are_not_saved_with_a_model(gaps, fit, change, tmp_path):
    model = fit(gaps, 3)
    change(gaps)
    with pytest.raises(ValueError, match=r"has changed since the model was built.*atse_id"):
        model.save(tmp_path / "model", save_anndata=True)
    assert not (tmp_path / "model").exists()
    model.save(tmp_path / "model")
    lfa.LeafletFAModel.load(tmp_path / "model", adata=False)


@pytest.mark.parametrize("rename", [True, False])
def test_data_with_renamed_or_removed_labels_are_saved(gaps, fit, rename, tmp_path):
    model = fit(gaps, 3)
    if rename:
        gaps.var["atse_id"] = [f"atse_{name}" for name in gaps.var["atse_id"]]
    else:
        del gaps.var["atse_id"]
    model.save(tmp_path / "model", save_anndata=True)
    again = lfa.LeafletFAModel.load(tmp_path / "model")
    np.testing.assert_array_equal(again.atse_codes_, model.atse_codes_)
    pd.testing.assert_frame_equal(again.get_cell_activities(), model.get_cell_activities())
