"""A cell is never given another cell's activities."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from leafletfa_scvi import LeafletFAModel

EMPTY_CELL = 7
LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")
pytestmark = pytest.mark.filterwarnings("ignore:.*no observed entry:UserWarning")

LARGEST = 0.08
"""Tolerance for activities of a cell fitted in training and as a new cell."""
ROUNDING = 1e-3
"""Tolerance for a new cell fitted among other cells, and after steps of the fit."""


@pytest.fixture
def phi(trained):
    return trained.get_cell_activities()


def renamed(adata):
    """The same cells under other names."""
    adata = adata.copy()
    adata.obs_names = [f"new_{name}" for name in adata.obs_names]
    return adata


def as_new(adata, cells=None):
    """Cells with one read less of one junction, all but empty ones, under other names."""
    adata = renamed(adata)
    y = adata.layers[LAYERS[0]].tolil()
    for cell in range(adata.n_obs) if cells is None else cells:
        read = np.flatnonzero(y[cell].toarray().ravel())
        if len(read):
            y[cell, read[0]] -= 1
    adata.layers[LAYERS[0]] = y.tocsr()
    return adata


def observed_cells(adata):
    return np.asarray((adata.layers[LAYERS[1]] > 0).sum(1)).ravel() > 0


class TestKnownCells:
    def test_rows_sum_to_one_and_have_names(self, trained, phi):
        assert phi.shape == (90, 3)
        assert list(phi.columns) == ["SP_1", "SP_2", "SP_3"]
        assert list(phi.index) == list(trained.adata.obs_names)
        np.testing.assert_allclose(phi.sum(1), 1, atol=1e-6)
        assert (phi > 0).all(axis=None)
        assert phi.to_numpy().std(axis=0).min() > 0.1

    @pytest.mark.parametrize("chosen", [[4], [5, 3, 60], list(range(89, -1, -1)), range(20, 70)])
    def test_subset_and_permuted_copies_are_looked_up(self, trained, phi, chosen):
        chosen = list(chosen)
        for some in (trained.adata[chosen].copy(), trained.adata[chosen]):
            pd.testing.assert_frame_equal(trained.get_cell_activities(some), phi.iloc[chosen])

    def test_a_copy_that_was_never_set_up_is_looked_up(self, trained, gaps, phi):
        pd.testing.assert_frame_equal(trained.get_cell_activities(gaps), phi)
        assert "_scvi_uuid" not in gaps.uns

    def test_a_mixture_of_known_and_new_cells(self, trained, gaps, phi):
        mixed = as_new(gaps, cells=range(0, 90, 2))
        mixed.obs_names = gaps.obs_names
        found = trained.get_cell_activities(mixed)
        pd.testing.assert_frame_equal(found.iloc[1::2], phi.iloc[1::2])
        seen = observed_cells(gaps)
        assert (found.to_numpy() != phi.to_numpy()).all(1)[::2][seen[::2]].all()

    def test_renamed_cells_are_the_same_cells(self, trained, gaps, phi):
        found = trained.get_cell_activities(renamed(gaps))
        np.testing.assert_array_equal(found, phi)
        assert list(found.index) == [f"new_{name}" for name in gaps.obs_names]

    def test_junctions_in_another_order_are_aligned_by_name(self, trained, gaps, phi):
        order = np.random.default_rng(0).permutation(gaps.n_vars)
        shuffled = gaps[:, order].copy()
        pd.testing.assert_frame_equal(trained.get_cell_activities(shuffled), phi)
        pd.testing.assert_series_equal(
            trained.get_log_likelihood(shuffled), trained.get_log_likelihood()
        )
        new = as_new(gaps)
        np.testing.assert_array_equal(
            trained.get_latent_representation(new[:, order].copy()),
            trained.get_latent_representation(new),
        )
        trained.export_posterior(shuffled)
        psi = trained.get_splicing_programs().loc[shuffled.var_names]
        np.testing.assert_array_equal(shuffled.varm["psi_learned"], psi)
        kappa = trained.get_concentrations()[shuffled.var_names]
        np.testing.assert_array_equal(shuffled.uns["leafletfa"]["kappa"], kappa)

    def test_nothing_is_written(self, trained, gaps):
        before = gaps.copy()
        trained.get_cell_activities(as_new(gaps))
        trained.get_cell_activities(gaps)
        assert list(gaps.uns) == list(before.uns)
        pd.testing.assert_frame_equal(gaps.obs, before.obs)


class TestIndices:
    @pytest.mark.parametrize(
        "indices",
        [
            [0],
            [5, 3, 3, -1],
            np.array([2, 80]),
            np.arange(90) % 7 == 0,
            list(np.arange(90) < 4),
            pd.Series(np.arange(90) > 85, index=[f"x{i}" for i in range(90)]),
            slice(10, 20),
            slice(None, None, -2),
            [],
            11,
        ],
    )
    def test_positions_masks_and_slices(self, trained, gaps, phi, indices):
        mask_or_list = indices.to_numpy() if isinstance(indices, pd.Series) else indices
        want = phi.iloc[[indices] if isinstance(indices, int) else mask_or_list]
        pd.testing.assert_frame_equal(trained.get_cell_activities(indices=indices), want)
        pd.testing.assert_frame_equal(trained.get_cell_activities(gaps, indices), want)
        np.testing.assert_array_equal(trained.get_latent_representation(indices=indices), want)
        assert trained.get_normalized_splicing(indices=indices).index.equals(want.index)

    @pytest.mark.parametrize(
        "indices",
        [[90], [-91], [0, 1000], np.ones(89, bool), [True] * 91, ["cell_1"], [0.0, 1.0]],
    )
    def test_out_of_range_is_an_error(self, trained, gaps, indices):
        with pytest.raises(IndexError):
            trained.get_cell_activities(indices=indices)
        with pytest.raises(IndexError):
            trained.get_cell_activities(gaps, indices)


class TestChangedData:
    def test_the_models_own_data_permuted_in_place(self, gaps, fit):
        model = fit(gaps, 3, max_epochs=4)
        phi, adata = model.get_cell_activities(), model.adata
        order = np.random.default_rng(0).permutation(90)
        adata._inplace_subset_obs(order)
        pd.testing.assert_frame_equal(model.get_cell_activities(adata), phi.iloc[order])
        np.testing.assert_array_equal(model.get_latent_representation(adata), phi.iloc[order])
        model.export_posterior()
        np.testing.assert_array_equal(adata.obsm["X_PHI"], phi.iloc[order])
        np.testing.assert_array_equal(adata.obs["SP_2"], phi["SP_2"].iloc[order])
        found = model.differential_splicing(groupby="half", group1="first")
        at = order < 45
        total = adata.layers[LAYERS[1]].toarray()[at]
        np.testing.assert_array_equal(
            found.loc[adata.var_names, "n_obs_group1"], (total > 0).sum(0)
        )

    def test_the_models_own_data_filtered_in_place(self, gaps, fit):
        model = fit(gaps, 3, max_epochs=4)
        phi, adata = model.get_cell_activities(), model.adata
        adata._inplace_subset_obs(np.arange(90) % 3 == 0)
        pd.testing.assert_frame_equal(model.get_cell_activities(adata), phi.iloc[::3])
        model.export_posterior()
        np.testing.assert_array_equal(adata.obsm["X_PHI"], phi.iloc[::3])
        pd.testing.assert_frame_equal(model.get_cell_activities(), phi.iloc[::3])

    def test_the_models_own_junctions_filtered_in_place(self, gaps, fit):
        model = fit(gaps, 3, max_epochs=4)
        psi, adata = model.get_splicing_programs(), model.adata
        adata._inplace_subset_var(np.arange(adata.n_vars) < 30)
        pd.testing.assert_frame_equal(model.get_splicing_programs(), psi)
        before = adata.copy()
        with pytest.raises(ValueError, match="lacks"):
            model.export_posterior()
        assert list(adata.obs) == list(before.obs)
        assert list(adata.obsm) == list(before.obsm)


class TestNewCells:
    def test_new_cells_are_fitted_to_their_own_counts(self, trained, gaps, phi):
        found = trained.get_cell_activities(as_new(gaps)).to_numpy()
        seen, known = observed_cells(gaps), phi.to_numpy()
        error = np.abs(found - known)[seen]
        assert np.quantile(error.max(1), 0.9) < 0.1
        assert error.mean() < 0.03
        assert (error > 0).all(1).all()
        # A cell is far closer to itself than to any other one.
        distance = np.abs(found[seen, None] - known[None, seen]).sum(2)
        spread = distance.mean()
        assert np.diag(distance).mean() < 0.1 * spread
        assert (distance.argsort(1).argsort(1)[np.diag_indices_from(distance)] < 10).mean() > 0.9

    def test_swapped_names_do_not_swap_activities(self, trained, gaps, phi):
        apart = np.abs(phi.to_numpy()[:, None] - phi.to_numpy()[None]).sum(2)
        i, j = np.unravel_index(apart.argmax(), apart.shape)
        names = gaps.obs_names.to_numpy().copy()
        names[[i, j]] = names[[j, i]]
        gaps.obs_names = names
        found = trained.get_cell_activities(gaps)
        np.testing.assert_array_equal(found, phi)
        assert list(found.index) == list(names)

    def test_a_known_name_with_other_counts_is_a_new_cell(self, trained, gaps, phi):
        other = np.abs(phi.to_numpy() - phi.to_numpy()[0]).sum(1).argmax()
        for name in LAYERS:
            layer = gaps.layers[name].tolil()
            layer[0] = layer[int(other)]
            gaps.layers[name] = layer.tocsr()
        found = trained.get_cell_activities(gaps)
        np.testing.assert_allclose(found.iloc[0], phi.iloc[other], atol=LARGEST)
        pd.testing.assert_frame_equal(found.iloc[1:], phi.iloc[1:])

    def test_one_read_makes_a_new_cell(self, trained, gaps, phi):
        junction = gaps.layers[LAYERS[0]].tolil()
        junction[12, np.flatnonzero(junction[12].toarray().ravel())[0]] -= 1
        gaps.layers[LAYERS[0]] = junction.tocsr()
        found = trained.get_cell_activities(gaps)
        assert (found.iloc[12].to_numpy() != phi.iloc[12].to_numpy()).any()
        same = np.delete(np.arange(90), 12)
        pd.testing.assert_frame_equal(found.iloc[same], phi.iloc[same])

    def test_new_cells_do_not_influence_each_other(self, trained, gaps):
        new = as_new(gaps)
        together = trained.get_latent_representation(new)
        backwards = trained.get_latent_representation(new[::-1].copy())[::-1]
        alone = np.vstack([trained.get_latent_representation(new, [i]) for i in range(4)])
        for other, same in ((backwards, together), (alone, together[:4])):
            np.testing.assert_allclose(other, same, atol=ROUNDING)
        # Fitted again among the same cells, exactly the same.
        np.testing.assert_array_equal(trained.get_latent_representation(new), together)

    def test_the_order_of_junctions_does_not_matter(self, trained, gaps):
        new = as_new(gaps)
        turned = trained.get_latent_representation(new[:, ::-1].copy())
        together = trained.get_latent_representation(new)
        np.testing.assert_allclose(turned, together, atol=ROUNDING)

    def test_random_states_do_not_change(self, trained, gaps):
        torch.manual_seed(11)
        np.random.seed(11)  # noqa: NPY002
        state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        first = trained.get_latent_representation(as_new(gaps[:5]))
        assert torch.equal(torch.get_rng_state(), state)
        np.testing.assert_array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
        torch.manual_seed(12)
        np.testing.assert_array_equal(trained.get_latent_representation(as_new(gaps[:5])), first)

    def test_a_model_is_not_changed_by_new_cells(self, trained, gaps):
        before = {k: v.clone() for k, v in trained.module.state_dict().items()}
        gradients = [p.grad.clone() for p in trained.module.parameters()]
        trained.get_latent_representation(as_new(gaps))
        assert all(torch.equal(before[k], v) for k, v in trained.module.state_dict().items())
        now = [p.grad for p in trained.module.parameters()]
        assert all(torch.equal(*pair) for pair in zip(gradients, now, strict=True))

    def test_bad_counts_are_refused(self, trained, gaps):
        layer = gaps.layers[LAYERS[0]].astype(np.float32)
        layer.data[3] = -1
        gaps.layers[LAYERS[0]] = layer
        with pytest.raises(ValueError, match="negative"):
            trained.get_cell_activities(gaps)

    def test_other_junctions_are_refused(self, trained, gaps):
        with pytest.raises(ValueError, match="lacks 2 of the model's"):
            trained.get_cell_activities(gaps[:, 2:].copy())
        more = anndata.concat([gaps, gaps[:, :1].copy()], axis="var", merge="first")
        more.var_names = [*gaps.var_names, "unknown"]
        with pytest.raises(ValueError, match="1 junctions that the model lacks.*.*prepare_q"):
            trained.get_cell_activities(more)


class TestNothingObserved:
    def test_an_empty_training_cell_has_the_prevalence(self, trained, phi):
        assert not observed_cells(trained.adata)[EMPTY_CELL]
        np.testing.assert_allclose(
            phi.iloc[EMPTY_CELL], trained.get_program_prevalence(), rtol=1e-4
        )

    def test_an_empty_new_cell_has_the_prevalence(self, trained, gaps, phi):
        some = gaps[5:10].copy()
        for name in LAYERS:
            layer = some.layers[name].tolil()
            layer[0] = 0
            some.layers[name] = layer.tocsr()
        found = trained.get_cell_activities(as_new(some))
        for row in (0, EMPTY_CELL - 5):
            np.testing.assert_allclose(
                found.iloc[row], trained.get_program_prevalence(), rtol=1e-4
            )
        assert np.abs(found.iloc[1] - trained.get_program_prevalence()).max() > 0.05

    def test_an_unseen_junction_has_the_prior_mean_under_every_program(self, trained):
        psi = trained.get_splicing_programs()
        unseen = trained.adata.var["unseen"].to_numpy()
        y, n = (trained.adata.layers[name].toarray() for name in LAYERS)
        weight = n / (1 + 0.1 * (n - 1.0)) * (n > 0)
        overall = (weight * y / np.maximum(n, 1)).sum() / weight.sum()
        np.testing.assert_allclose(psi[unseen], overall, rtol=1e-3)
        assert (psi[~unseen].std(axis=1) > 0).all()

    def test_an_unseen_junction_has_the_mean_of_all_priors_of_junctions(self, gaps, fit):
        model = fit(gaps, 2, max_epochs=3, options={"junction_prior": "junction"})
        mean = model.posterior_summary()["mean"]
        psi = model.get_splicing_programs()[gaps.var["unseen"].to_numpy()]
        a, b = mean["a_shape"] / mean["a_rate"], mean["b_shape"] / mean["b_rate"]
        np.testing.assert_allclose(psi, (a + 1e-3) / (a + b + 2e-3), rtol=1e-4)

    def test_an_unseen_junction_has_the_global_prior(self, gaps, fit):
        model = fit(gaps, 2, max_epochs=3, options={"junction_prior": "global"})
        mean = model.posterior_summary()["mean"]
        psi = model.get_splicing_programs()[gaps.var["unseen"].to_numpy()]
        a, b = mean["a"] + 1e-3, mean["b"] + 1e-3
        np.testing.assert_allclose(psi, a / (a + b), rtol=1e-4)


def test_an_untrained_model_raises_an_error(small):
    LeafletFAModel.setup_anndata(small)
    model = LeafletFAModel(small, 2)
    for call in (
        model.get_cell_activities,
        model.get_splicing_programs,
        model.get_program_prevalence,
        model.get_normalized_splicing,
        model.get_log_likelihood,
        model.get_elbo,
        model.posterior_summary,
        model.export_posterior,
        model.program_markers,
        lambda: model.get_credible_intervals("psi"),
        lambda: model.differential_splicing(idx1=[0]),
    ):
        with pytest.raises(RuntimeError, match=r"model\.train\(\)"):
            call()
