"""References that new cells extend: programs with a prior, and further programs."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch
from scipy.stats import beta

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi.data import align_junctions
from leafletfa_scvi.model._extend import reference_reads

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
pytestmark = pytest.mark.filterwarnings("ignore")
LIKELIHOODS = ("betabinomial", "dirichlet-multinomial")


@pytest.fixture(scope="module")
def _both():
    return lfa.datasets.simulate_splicing(300, 60, 3, coverage=0.4, frac_differential=0.6, seed=4)


@pytest.fixture
def both(_both):
    """300 cells, of which the first 150 are those of the reference."""
    return _both.copy()


@pytest.fixture
def second(_both):
    """150 cells of a second study."""
    return _both[150:].copy()


def fitted(adata, n_programs=3, **options):
    lfa.LeafletFAModel.setup_anndata(adata)
    scvi.settings.seed = 0
    model = LeafletFAModel(adata, n_programs=n_programs, **options)
    model.train(max_epochs=60, **QUIET)
    return model


@pytest.fixture(scope="module")
def reference(_both):
    """Trained on the other 150 cells; for reading only."""
    return fitted(_both[:150].copy())


def extended(adata, reference, train=None, **options):
    scvi.settings.seed = 0
    options = options or {"freeze_programs": False}
    model = LeafletFAModel.load_query_data(adata, reference, **options)
    model.train(**(train or {"max_epochs": 60}), **QUIET)
    return model


def state(model):
    return {k: v.clone() for k, v in model.module.state_dict().items()}


def difference(one, other):
    """RMS difference of programs."""
    a, b = (m.get_splicing_programs().to_numpy() for m in (one, other))
    return float(np.sqrt(((a - b) ** 2).mean()))


class TestReads:
    @pytest.mark.parametrize("kind", ["mixture", "junction", "global"])
    @pytest.mark.parametrize("likelihood", LIKELIHOODS)
    def test_prior_and_reads_are_the_posterior(self, both, kind, likelihood):
        """Also where the variance of the curvature is larger than that of the guide."""
        adata = both[:60].copy()
        model = fitted(adata, likelihood=likelihood, junction_prior=kind)
        up, against = (x.numpy() for x in reference_reads(model))
        assert (up >= 0).all()
        assert (against >= 0).all()
        prior = model.module.model.prior.trained_fit(model.module.model, model.module.guide)
        if kind == "mixture":
            # The table of reads alone decides on the concentration of an ATSE.
            for_it, rest = (torch.from_numpy(x) for x in (up, against))
            prior = prior.refit(for_it, rest)
        mean = prior.mean.detach().numpy()[:, None]
        c = prior.concentration.detach().numpy()
        seen = up.sum(1) + against.sum(1) > 0
        psi = model.module.guide.psi().mean.detach().numpy()
        a = c * mean + up
        if likelihood == "dirichlet-multinomial":
            total = pd.DataFrame(a + 0 * psi).groupby(model.module.model.program_atse.numpy())
            got = (a + 0 * psi) / total.transform("sum").to_numpy()
        else:
            got = a / (a + c * (1 - mean) + against)
        assert seen.mean() > 0.9
        assert np.median(np.abs(got - psi)[seen]) < 0.01
        # The mixture is narrower where the reads alone do not show that programs differ.
        if kind != "mixture":
            assert np.quantile(np.abs(got - psi)[seen], 0.9) < 0.06

    def test_they_are_no_more_than_the_reads_of_the_cells(self, reference, both):
        """Reads of a cell agree, and it does not say which program they are from."""
        total = np.asarray(both[:150].layers["cell_by_cluster_matrix"].sum(0)).ravel()
        up, against = (x.numpy() for x in reference_reads(reference))
        # Pseudo-reads of all programs of a junction.
        given = (up + against).sum(1)
        assert (given <= 1.2 * total + 3).mean() > 0.95
        assert given.sum() < 0.8 * total.sum()
        assert given.sum() > 0.02 * total.sum()

    def test_twice_the_cells_are_worth_about_twice_the_reads(self, both, reference):
        one, two = (sum(reference_reads(m)) for m in (reference, fitted(both)))
        assert 1.4 < float(two.sum() / one.sum()) < 2.8

    def test_unobserved_junctions_have_none(self, gaps, trained):
        unseen = gaps.var["unseen"].to_numpy()
        up, against = reference_reads(trained)
        assert unseen.any()
        assert not (up + against)[unseen].any()
        assert (up + against)[~unseen].any()


class TestPrior:
    def test_known_answer_of_one_junction(self):
        """EM finds the maximum of prior x pseudo-reads x binomial likelihood, by a grid."""
        from leafletfa_scvi.priors import ReferenceFit, program_prior

        base = program_prior("junction", torch.tensor([0.3, 0.6]))
        fields = {k: getattr(base, k) for k in ("prior", "mean", "concentration", "atse")}
        up, against = torch.tensor([[5.0], [1.0]]), torch.tensor([[2.0], [9.0]])
        fit = ReferenceFit(
            **fields, weights=base.weights, inclusion_reads=up, exclusion_reads=against
        )
        y, rest = torch.tensor([[3.0], [0.0]]), torch.tensor([[4.0], [7.0]])
        got = fit.programs(y, rest)[:, 0].numpy()
        grid = np.linspace(1e-4, 1 - 1e-4, 100_001)
        for j in range(2):
            a, b = float(base.inclusion[j]), float(base.exclusion[j])
            # In the logit coordinates of the EM, densities have a and b, not a - 1 and b - 1.
            log_density = beta.logpdf(grid, a + 1, b + 1) + np.log(grid) * float(up[j] + y[j])
            log_density += np.log1p(-grid) * float(against[j] + rest[j])
            assert got[j] == pytest.approx(grid[log_density.argmax()], abs=2e-5)

    def test_two_studies_are_worth_more_than_one(self, reference, second, both):
        """One after the other is nearly as both together, and much nearer to it than alone."""
        joint, alone = fitted(both), fitted(second.copy())
        continued = extended(second, reference)
        match = lfa.tl.match_programs(
            joint.get_splicing_programs().to_numpy(), continued.get_splicing_programs().to_numpy()
        )
        order = match["learned"].to_numpy()
        want = joint.get_splicing_programs().to_numpy()
        got = continued.get_splicing_programs().to_numpy()[:, order]
        own = lfa.tl.match_programs(want, alone.get_splicing_programs().to_numpy())["learned"]
        apart = alone.get_splicing_programs().to_numpy()[:, own]
        rms = [float(np.sqrt(((x - want) ** 2).mean())) for x in (got, apart)]
        assert rms[0] < 0.05
        assert rms[0] < 0.8 * rms[1]
        assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.97
        one, both = (sum(reference_reads(m)).sum() for m in (reference, continued))
        assert 1.3 < float(both / one) < 3.0

    def test_strength_leads_from_a_fresh_fit_to_the_reference(self, reference, second):
        far = [
            difference(
                extended(
                    second.copy(),
                    reference,
                    {"method": "em"},
                    freeze_programs=False,
                    prior_strength=strength,
                ),
                reference,
            )
            for strength in (0.0, 1.0, 5.0, 100.0)
        ]
        assert far[0] > far[1] > far[2] > far[3]
        assert far[3] < 0.01

    def test_infinity_is_frozen(self, reference, second):
        frozen, infinite = (
            state(extended(second.copy(), reference, **options))
            for options in (
                {"freeze_programs": True},
                {"freeze_programs": False, "prior_strength": float("inf")},
            )
        )
        assert frozen.keys() == infinite.keys()
        assert all(torch.equal(frozen[name], infinite[name]) for name in frozen)

    def test_strength_0_is_a_fresh_fit_with_the_prior_of_the_data(self, reference, second):
        em = {"method": "em"}
        model = extended(second, reference, em, freeze_programs=False, prior_strength=0)
        assert not model.module.model.has_reference
        assert not torch.equal(
            model.module.site_mean("kappa"), reference.module.site_mean("kappa")
        )
        # From the start of the reference, a fit of the same cells has the same maximum.
        psi = reference.get_splicing_programs().to_numpy()
        phi = reference.get_latent_representation(second)
        lfa.LeafletFAModel.setup_anndata(second)
        own = LeafletFAModel(second, n_programs=3)
        own.train(**em, init=(phi, psi), **QUIET)
        order = lfa.tl.match_programs(
            model.get_splicing_programs().to_numpy(), own.get_splicing_programs().to_numpy()
        )["learned"]
        apart = own.get_splicing_programs().to_numpy()[:, order]
        assert np.abs(apart - model.get_splicing_programs().to_numpy()).mean() < 0.02

    def test_order_and_kappa_are_those_of_the_reference(self, reference, second):
        rare = reference.program_names[-1]
        phi = reference.get_cell_activities(second)
        second = second[(phi[rare] > 0.4).to_numpy()].copy()
        model = extended(second, reference)
        assert model.get_program_prevalence().idxmax() == rare
        for name in ("_guide.kappa.loc", "_guide.kappa.log_scale"):
            assert torch.equal(state(model)[name], state(reference)[name])
        assert not model.frozen_programs_

    def test_what_new_cells_lack_stays_as_it_was(self, reference, second):
        seen = second.layers["cell_by_cluster_matrix"].toarray()
        unseen = np.zeros(second.n_vars, bool)
        unseen[(second.var["atse_id"] == second.var["atse_id"].iloc[0]).to_numpy()] = True
        for name in ("cell_by_junction_matrix", "cell_by_cluster_matrix"):
            layer = second.layers[name].tolil()
            layer[:, np.flatnonzero(unseen)] = 0
            second.layers[name] = layer.tocsr()
        assert seen[:, unseen].any()
        model = extended(second, reference)
        now, before = (m.get_splicing_programs().to_numpy() for m in (model, reference))
        assert np.abs(now - before)[unseen].mean() < 0.05

    @pytest.mark.parametrize("likelihood", [*LIKELIHOODS, "binomial"])
    @pytest.mark.parametrize("kind", ["mixture", "junction", "global"])
    def test_all_likelihoods_and_priors(self, both, second, likelihood, kind):
        first = both[:60].copy()
        reference = fitted(first, likelihood=likelihood, junction_prior=kind)
        for extra in (0, 1):
            options = {"freeze_programs": False, "n_extra_programs": extra}
            model = extended(second[:50].copy(), reference, {"max_epochs": 5}, **options)
            assert model.n_programs == 3 + extra
            assert np.isfinite(model.get_elbo(2))
            assert difference_of_first(model, reference) > 0
            if likelihood == "dirichlet-multinomial":
                atse = model.module.model.program_atse
                sums = torch.zeros(int(atse.max()) + 1, 3 + extra)
                sums.index_add_(0, atse, model.module.guide.psi().mean.detach())
                torch.testing.assert_close(sums, torch.ones_like(sums))

    def test_em_alone_and_a_second_training(self, reference, second):
        model = extended(second, reference, {"method": "em"})
        assert model.is_trained_
        assert difference(model, reference) < 0.1
        kappa = state(model)["_guide.kappa.loc"]
        model.train(max_epochs=3, **QUIET)
        assert torch.equal(state(model)["_guide.kappa.loc"], kappa)


def difference_of_first(model, reference):
    k = reference.n_programs
    both = model.get_splicing_programs().iloc[:, :k].to_numpy()
    return np.abs(both - reference.get_splicing_programs().to_numpy()).max()


class TestSaved:
    def test_save_load_and_extend_again(self, reference, second, both, tmp_path):
        model = extended(second.copy(), reference)
        model.save(tmp_path / "model", save_anndata=True)
        loaded = LeafletFAModel.load(tmp_path / "model")
        for name, value in state(model).items():
            assert torch.equal(state(loaded)[name], value), name
        assert loaded.n_reference_programs_ == 3
        # Further training has the same prior, and the same parameters are free.
        free = [
            {k for k, v in m.module.named_parameters() if v.requires_grad} for m in (model, loaded)
        ]
        assert free[0] == free[1]
        assert not any("kappa" in name for name in free[1])
        for again in (model, loaded):
            scvi.settings.seed = 1
            again.train(max_epochs=3, **QUIET)
        assert difference(model, loaded) == 0
        # A reference again, for a query and for a third study.
        query = extended(both[:20].copy(), tmp_path / "model", freeze_programs=True)
        assert query.n_reference_programs_ is None
        third = extended(both[:150].copy(), tmp_path / "model", freeze_programs=False)
        reads = [float(sum(reference_reads(m)).sum()) for m in (reference, model, third)]
        assert reads[0] < reads[1] < reads[2]

    def test_pruned(self, reference, second):
        model = extended(second, reference, freeze_programs=False, n_extra_programs=1)
        use = model.get_cell_activities().mean()
        dropped = model.prune(float(use.sort_values().iloc[:2].mean()))
        assert len(dropped) == 1
        assert model.module.model.reference_inclusion.shape[1] == 3
        assert model.n_reference_programs_ == 3 - (dropped[0] != "SP_4")
        model.train(max_epochs=2, **QUIET)
        kappa = [state(m)["_guide.kappa.loc"] for m in (model, reference)]
        assert torch.equal(*kappa)

    def test_a_failed_training_leaves_the_model_as_it_was(self, reference, second, monkeypatch):
        model = LeafletFAModel.load_query_data(
            second, reference, freeze_programs=True, n_extra_programs=1
        )
        before = state(model)

        def fail(*_):
            raise RuntimeError("stopped")

        monkeypatch.setattr(type(model), "_run", fail)
        with pytest.raises(RuntimeError, match="stopped"):
            model.train(**QUIET)
        after = state(model)
        assert all(torch.equal(before[name], after[name]) for name in before)


class TestExtraPrograms:
    @pytest.fixture(scope="class")
    def new_type(self):
        """A reference without the cells that mainly use program 2, and all cells."""
        adata = lfa.datasets.simulate_splicing(
            300, 80, 3, coverage=0.4, frac_differential=0.6, activity_concentration=0.3, seed=2
        )
        main = adata.obsm["phi_true"].argmax(1) == 2
        return fitted(adata[~main].copy(), 2), adata, main

    @pytest.mark.parametrize("train", [{"max_epochs": 60}, {"method": "em"}, {"batch_size": 70}])
    def test_a_new_cell_type_has_its_program(self, new_type, train):
        reference, adata, main = new_type
        model = extended(adata.copy(), reference, train, n_extra_programs=1)
        before, after = state(reference), state(model)
        for name, value in before.items():
            if "phi" in name or name == "_guide.pi_log":
                continue
            kept = after[name]
            if model.module.has_axis(name, "programs"):
                kept = kept[:, :2]
            assert torch.equal(kept, value), name
        assert model.program_names == ["SP_1", "SP_2", "SP_3"]
        activity = model.get_cell_activities()["SP_3"].to_numpy()
        assert activity[main].mean() > 0.6
        assert activity[~main].mean() < 0.25

    def test_beside_programs_without_their_uncertainty(self, new_type, tmp_path):
        """Such as a published atlas: programs that do not change need none."""
        reference, adata, main = new_type
        psi = reference.get_splicing_programs()
        atlas = LeafletFAModel.from_programs(psi, atse_id=adata.var["atse_id"])
        assert not atlas.has_program_posterior_
        model = extended(adata.copy(), atlas, {"method": "em"}, n_extra_programs=1)
        found = model.get_splicing_programs().iloc[:, :2]
        np.testing.assert_array_equal(found, atlas.get_splicing_programs())
        activity = model.get_cell_activities()["SP_3"].to_numpy()
        assert activity[main].mean() > 0.6
        assert activity[~main].mean() < 0.25
        model.save(tmp_path / "model")
        loaded = LeafletFAModel.load(tmp_path / "model", adata=False)
        with pytest.raises(ValueError, match="uncertainty of the programs is unknown"):
            loaded.program_markers()
        psi = model.get_splicing_programs()["SP_3"].to_numpy()
        want = adata.varm["psi_true"][:, 2]
        assert np.corrcoef(psi, want)[0, 1] > 0.9
        assert np.corrcoef(activity, adata.obsm["phi_true"][:, 2])[0, 1] > 0.9
        prevalence = model.get_program_prevalence()
        assert prevalence["SP_3"] == pytest.approx(activity.mean(), abs=0.1)

    def test_weight_decay_and_a_second_training_leave_the_reference_as_it_is(self, new_type):
        reference, adata, _ = new_type
        plan = {"optim": torch.optim.AdamW, "optim_kwargs": {"weight_decay": 0.1}}
        model = extended(
            adata.copy(), reference, {"max_epochs": 3, "plan_kwargs": plan}, n_extra_programs=2
        )
        model.train(max_epochs=3, **QUIET)
        assert difference_of_first(model, reference) == 0
        for name in ("psi_log_inclusion", "psi_log_exclusion", "psi_variance"):
            name = f"_guide.{name}"
            assert torch.equal(state(model)[name][:, :2], state(reference)[name])

    def test_saved_and_loaded(self, new_type, tmp_path):
        reference, adata, _ = new_type
        model = extended(adata.copy(), reference, {"max_epochs": 5}, n_extra_programs=1)
        model.save(tmp_path / "model", save_anndata=True)
        loaded = LeafletFAModel.load(tmp_path / "model")
        assert loaded.frozen_programs_
        loaded.train(max_epochs=3, **QUIET)
        assert difference_of_first(loaded, reference) == 0
        with pytest.raises(RuntimeError, match="prune the reference"):
            loaded.prune(0.9)
        query = extended(adata[:20].copy(), loaded, {"max_epochs": 2}, freeze_programs=True)
        assert difference(query, loaded) == 0

    def test_more_programs_than_cells_differ(self, reference, second):
        model = extended(second[:2].copy(), reference, {"max_epochs": 2}, n_extra_programs=5)
        assert model.n_programs == 8
        assert np.isfinite(model.get_latent_representation()).all()


class TestArguments:
    @pytest.mark.parametrize("value", [-1, 1.5, "2", None])
    def test_number_of_programs(self, reference, second, value):
        with pytest.raises(ValueError, match="n_extra_programs to be a whole number from 0"):
            LeafletFAModel.load_query_data(second, reference, n_extra_programs=value)

    @pytest.mark.parametrize("value", [-0.1, float("nan"), "1"])
    def test_strength(self, reference, second, value):
        with pytest.raises(ValueError, match="prior_strength to be a number from 0"):
            LeafletFAModel.load_query_data(
                second, reference, freeze_programs=False, prior_strength=value
            )

    @pytest.mark.parametrize("options", [{}, {"freeze_programs": True, "n_extra_programs": 1}])
    def test_strength_of_frozen_programs(self, reference, second, options):
        with pytest.raises(ValueError, match="Expected no prior_strength with freeze_programs=Tr"):
            LeafletFAModel.load_query_data(second, reference, prior_strength=1.0, **options)

    def test_frozen_is_yes_or_no(self, reference, second):
        with pytest.raises(ValueError, match="freeze_programs to be True or False, found 'no'"):
            LeafletFAModel.load_query_data(second, reference, freeze_programs="no")

    @pytest.mark.parametrize("options", [{"freeze_programs": False}, {"n_extra_programs": 1}])
    def test_a_reference_of_one_program(self, small, second, options):
        single = fitted(small.copy(), 1)
        with pytest.raises(ValueError, match="reference of at least 2 programs to extend, found"):
            LeafletFAModel.load_query_data(small, single, **options)


class TestNewJunctions:
    @pytest.fixture(scope="class", params=LIKELIHOODS)
    def smaller(self, _both, request):
        """A reference of 40 of the 60 ATSEs, one junction of another of which it lacks."""
        atse = _both.var["atse_id"].astype(str)
        labels = pd.unique(atse)
        first = _both[:150, atse.isin(labels[:40]).to_numpy()].copy()
        lacks = first.var_names[atse[first.var_names].eq(labels[0]).to_numpy().argmax()]
        keep = first.var_names != lacks
        names = first.var_names[keep][np.random.default_rng(0).permutation(keep.sum())]
        first = select_junctions(first, names)
        return fitted(first, likelihood=request.param), lacks, labels

    def test_new_atses_are_learned(self, smaller, both, tmp_path):
        reference, lacks, labels = smaller
        p = len(reference.junction_names)
        ready = LeafletFAModel.prepare_query_anndata(
            both, reference, inplace=False, keep_new_atses=True
        )
        new = both.var_names[both.var["atse_id"].astype(str).isin(labels[40:]).to_numpy()]
        assert list(ready.var_names[:p]) == list(reference.junction_names)
        assert list(ready.var_names[p:]) == list(new)
        assert lacks not in ready.var_names
        for name in ("cell_by_junction_matrix", "cell_by_cluster_matrix"):
            got, want = ready[:, new].layers[name], both[:, new].layers[name]
            assert (got != want).nnz == 0
        model = extended(ready, reference)
        assert list(model.junction_names) == list(ready.var_names)
        assert np.isfinite(model.get_elbo(1))
        truth = pd.DataFrame(both.varm["psi_true"], both.var_names)
        known = truth.loc[reference.junction_names].to_numpy()
        match = lfa.tl.match_programs(known, reference.get_splicing_programs().to_numpy())
        psi = model.get_splicing_programs().iloc[:, match["learned"]]
        got, want = psi.loc[new].to_numpy(), truth.loc[new].to_numpy()
        assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.9
        apart = got - got.mean(1, keepdims=True), want - want.mean(1, keepdims=True)
        assert np.corrcoef(*(x.ravel() for x in apart))[0, 1] > 0.7
        reads = sum(getattr(model.module.model, f"reference_{x}clusion") for x in ("in", "ex"))
        assert not reads[p : len(ready.var_names)].any()
        assert (reads[:p].sum(1) > 0).float().mean() > 0.9
        # Saved, loaded, and a reference of all junctions.
        model.save(tmp_path / "model")
        loaded = LeafletFAModel.load(tmp_path / "model", adata=ready)
        assert all(torch.equal(v, state(loaded)[k]) for k, v in state(model).items())
        query = LeafletFAModel.load_query_data(ready[:9].copy(), loaded)
        query.train(max_epochs=1, **QUIET)
        assert difference(query, model) == 0

    def test_the_column_of_atses_is_that_of_the_first_reference(self, both, tmp_path):
        """A second study is prepared by the labels of its own column, also after saving."""
        named = both.copy()
        named.var = named.var.rename(columns={"atse_id": "event"})
        labels = pd.unique(named.var["event"].astype(str))
        first = named[:150, named.var["event"].astype(str).isin(labels[:40]).to_numpy()].copy()
        LeafletFAModel.setup_anndata(first, atse_key="event")
        reference = LeafletFAModel(first, 2)
        reference.train(method="em", **QUIET)
        query = LeafletFAModel.load_query_data(first[:20].copy(), reference)
        query.train(max_epochs=1, **QUIET)
        query.save(tmp_path / "query")
        loaded = LeafletFAModel.load(tmp_path / "query", adata=first[:20].copy())
        for model in (query, loaded):
            overlap = LeafletFAModel.compare_junctions(named, model)
            assert overlap.junctions["query_atse"].notna().all()
            ready = LeafletFAModel.prepare_query_anndata(
                named, model, inplace=False, keep_new_atses=True
            )
            assert ready.n_vars == named.n_vars
            assert list(ready.var["event"].astype(str)) == list(
                named.var["event"].astype(str)[ready.var_names]
            )
            assert "atse_id" not in ready.var

    def test_frozen_programs_have_no_new_junctions(self, reference, second):
        more = anndata_with_a_junction(second)
        with pytest.raises(ValueError, match="1 junctions that the model lacks"):
            LeafletFAModel.load_query_data(more, reference, n_extra_programs=1)

    def test_a_new_junction_of_a_known_atse(self, reference, second):
        more = anndata_with_a_junction(second, label=str(second.var["atse_id"].iloc[0]))
        with pytest.raises(ValueError, match="ATSEs of their own, found 'new' in "):
            LeafletFAModel.load_query_data(more, reference, freeze_programs=False)

    def test_junctions_in_another_order(self, reference, second):
        more = anndata_with_a_junction(second)[:, ::-1].copy()
        with pytest.raises(ValueError, match="junctions of the reference first, in its order"):
            LeafletFAModel.load_query_data(more, reference, freeze_programs=False)

    def test_a_label_that_the_reference_uses_for_others(self, reference, second):
        """Numbers of ATSEs are those of a data set."""
        more = anndata_with_a_junction(second[:, 5:].copy(), str(second.var["atse_id"].iloc[0]))
        kept = ~more.var["atse_id"].isin(second.var["atse_id"].iloc[:5])
        kept["new"] = True
        more = more[:, kept.to_numpy()].copy()
        ready = LeafletFAModel.prepare_query_anndata(
            more, reference, inplace=False, keep_new_atses=True
        )
        assert ready.var_names[-1] == "new"
        assert ready.var["atse_id"].iloc[-1] == f"{second.var['atse_id'].iloc[0]}_new"
        extended(ready, reference, {"max_epochs": 1})

    def test_labels_are_needed(self, reference, second):
        more = anndata_with_a_junction(second)
        more.var["atse_id"] = more.var["atse_id"].astype(object)
        more.var.loc["new", "atse_id"] = None
        with pytest.raises(ValueError, match="found none for 'new'"):
            LeafletFAModel.load_query_data(more, reference, freeze_programs=False)
        del more.var["atse_id"]
        with pytest.raises(ValueError, match="found no such column"):
            LeafletFAModel.load_query_data(more, reference, freeze_programs=False)


def select_junctions(adata, names):
    """Select junctions, and sum totals again."""
    codes = pd.factorize(adata.var["atse_id"].loc[names])[0]
    return align_junctions(adata, names, codes)


def anndata_with_a_junction(adata, label="another"):
    """Add the junction ``new``, with 2 of 3 reads in each cell."""
    var = adata.var[["atse_id"]].astype(str)
    var.loc["new"] = label
    layers = {
        name: sp.hstack([adata.layers[name], np.full((adata.n_obs, 1), n)], format="csr")
        for name, n in (("cell_by_junction_matrix", 2), ("cell_by_cluster_matrix", 3))
    }
    return anndata.AnnData(obs=adata.obs, var=var, layers=layers)
