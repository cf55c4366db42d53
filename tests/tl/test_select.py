"""The number of programs by held-out likelihood and stability."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi._warnings import IdentifiabilityWarning
from leafletfa_scvi.tl import evaluate_holdout, holdout_splicing
from leafletfa_scvi.tl._select import _note, _problems, recommended, select_n_programs
from leafletfa_scvi.tl._stability import program_stability
from leafletfa_scvi.tl._staged_fits import undecided

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = {"accelerator": "cpu", "em_iterations": 30}


@pytest.fixture(scope="module")
def _data():
    return lfa.datasets.simulate_splicing(200, 80, 3, coverage=0.5, frac_differential=0.6, seed=1)


@pytest.fixture
def data(_data):
    return _data.copy()


@pytest.fixture(scope="module")
def result(_data):
    """All fits completed."""
    return select_n_programs(
        _data.copy(),
        [5, 1, 2, 3],
        n_seeds=2,
        train_kwargs=QUICK,
        seed=7,
        progress=False,
        share_starts=False,
    )


@pytest.fixture(scope="module")
def shared(_data):
    """Starts shared; the result, and those that were called back on the way."""
    seen = []
    result = select_n_programs(
        _data.copy(),
        [5, 1, 2, 3],
        n_seeds=2,
        train_kwargs={"accelerator": "cpu"},
        seed=7,
        progress=False,
        callback=seen.append,
    )
    return result, seen


def test_the_planted_number_is_recommended(result):
    assert result.n_programs == 3
    assert "K = 3" in result.note
    assert "3 of its 3 programs are reproducible" in result.note
    gain = result.summary["log_likelihood_gain"]
    assert gain.idxmax() == 3
    assert gain[3] > gain[2] > gain[1]
    assert gain[3] > gain[5] + result.summary["se"][3]
    # Splits share most noise, so that programs which describe it are much the same as well.
    assert result.summary["stability"][3] > 0.98 > result.summary["stability"][5]
    assert result.summary["n_reproducible"].tolist()[:3] == [1, 2, 3]


def test_tables(result):
    scores, summary = result.scores, result.summary
    assert scores["n_programs"].tolist() == [1, 1, 2, 2, 3, 3, 5, 5]
    assert scores["seed"].tolist() == [7, 8] * 4
    assert scores["n_entries"].nunique() == 2  # each split has its own hidden entries
    assert (scores["seconds"] > 0).all()
    grouped = scores.groupby("n_programs")
    np.testing.assert_allclose(
        summary["log_likelihood_gain"], grouped["log_likelihood_gain"].mean()
    )
    difference = grouped["log_likelihood_gain"].agg(lambda x: abs(x.iloc[0] - x.iloc[1]))
    np.testing.assert_allclose(summary["se"], difference / 2)  # sd / sqrt(2) of two values
    np.testing.assert_allclose(grouped["stability"].mean(), summary["stability"])
    assert summary.index[summary["recommended"]].tolist() == [3]
    assert list(scores.columns[-5:]) == [
        "stability",
        "converged",
        "identified",
        "seconds",
        "settled",
    ]
    assert result.problems == ()
    assert scores["identified"].all()
    assert not scores["stopped"].any()
    assert not summary["stopped"].any()


@pytest.mark.filterwarnings("default")
def test_a_number_that_cannot_be_trusted():
    data = lfa.datasets.simulate_splicing(100, 20, 3, coverage=0.2, frac_differential=0, seed=0)
    with pytest.warns(IdentifiabilityWarning, match="K = 2 cannot be trusted") as caught:
        result = select_n_programs(data, [2, 3], n_seeds=2, train_kwargs=QUICK, progress=False)
    own = [w for w in caught if issubclass(w.category, IdentifiabilityWarning)]
    assert len(own) == 1  # and not of each fit
    assert own[0].filename == __file__
    assert not result.scores["identified"].any()
    assert "In 2 of its 2 fits the data did not determine" in " ".join(result.problems)


def test_programs_that_no_other_seed_finds():
    scores = pd.DataFrame({"n_programs": [4, 4, 6, 6], "identified": True})
    table = {"log_likelihood_gain": [0.2, 0.1], "n_reproducible": [1, 6]}
    summary = pd.DataFrame(table, index=[4, 6])
    assert _problems(summary, scores, 6) == ()
    (problem,) = _problems(summary, scores, 4)
    assert problem == "Only 1 of its 4 programs are reproducible over seeds."
    summary["n_reproducible"] = pd.Series([2, pd.NA], index=[4, 6], dtype="Int64")
    assert _problems(summary, scores, 4) == _problems(summary, scores, 6) == ()
    (problem,) = _problems(summary - 0.5, scores, 6)
    assert "No K predicts held-out reads" in problem


@pytest.mark.filterwarnings("error:EM was still:UserWarning")
def test_unconverged_fits_are_reported_once_and_other_warnings_pass(data, monkeypatch):
    original = LeafletFAModel.train

    def train(self, **kwargs):
        if self.n_programs == 3:
            kwargs["em_iterations"] = 2
        warnings.warn("of something else", UserWarning, stacklevel=1)
        original(self, **kwargs)

    monkeypatch.setattr(LeafletFAModel, "train", train)
    with pytest.warns(UserWarning, match="of something else"):
        result = select_n_programs(
            data,
            [1, 3],
            n_seeds=1,
            train_kwargs={"accelerator": "cpu"},
            progress=False,
            share_starts=False,
        )
    assert result.scores["converged"].tolist() == [True, False]
    assert result.scores["settled"].tolist() == [True, False]  # the deprecated name
    assert "1 of 2 fits had not converged: increase em_iterations" in result.note


def test_a_row_equals_a_computation_with_public_functions(data, result):
    """Split, fit and scores of one K, done by hand for both seeds."""
    models = []
    for seed in (7, 8):
        training, hidden = holdout_splicing(data, 0.1, seed=seed)
        LeafletFAModel.setup_anndata(training)
        torch.manual_seed(seed)
        model = LeafletFAModel(training, 5)
        model.train(method="em", enable_progress_bar=False, **QUICK)
        models.append(model)
        wanted = evaluate_holdout(model, hidden).loc["all"]
        row = result.scores.query("n_programs == 5 and seed == @seed").iloc[0]
        for name, value in wanted.items():
            assert row[name] == value, name
    assert result.summary["stability"][5] == program_stability(models).score


class TestSharedStarts:
    def test_same_choice_and_nearly_the_same_fits(self, result, shared):
        found, _ = shared
        assert found.n_programs == result.n_programs == 3
        assert found.summary["stopped"].tolist() == [True, True, False, True]
        assert "Fits of K = 1, 2, 5 were stopped early" in found.note
        assert "not converged" not in found.note
        gain = found.summary["log_likelihood_gain"]
        assert gain[3] == pytest.approx(result.summary["log_likelihood_gain"][3], rel=0.03)
        assert gain.idxmax() == 3
        complete = found.scores.query("n_programs == 3")
        assert complete["converged"].all()
        assert complete["identified"].all()

    def test_stability_is_that_of_complete_fits(self, shared):
        found, _ = shared
        summary, scores = found.summary, found.scores
        assert summary["n_reproducible"][3] == 3
        assert summary["stability"][3] > 0.98
        stopped = [1, 2, 5]
        assert summary.loc[stopped, ["stability", "n_reproducible"]].isna().all(axis=None)
        rows = scores[scores["stopped"]]
        assert set(rows["n_programs"]) == set(stopped)
        assert rows[["stability", "identified"]].isna().all(axis=None)
        assert not rows["converged"].any()

    def test_first_figures_come_before_the_last_fit(self, shared):
        found, seen = shared
        assert [len(r.scores) for r in seen] == [4] + [8] * (len(seen) - 1)
        assert len(seen) >= 3
        assert seen[0].scores["stopped"].all()
        assert seen[1].scores["stopped"].all()
        assert seen[0].n_programs == 3
        pd.testing.assert_frame_equal(seen[-1].scores, found.scores)
        # Figures of a seed do not change when others are fitted.
        first = seen[1].scores.query("seed == 7")["log_likelihood_gain"]
        np.testing.assert_array_equal(seen[0].scores["log_likelihood_gain"], first)

    def test_seeds_share_nothing(self, data, shared):
        """Fits of a seed are the same with and without another seed before it."""
        alone = []
        select_n_programs(
            data,
            [1, 2, 3, 5],
            n_seeds=1,
            train_kwargs={"accelerator": "cpu"},
            seed=8,
            progress=False,
            callback=alone.append,
        )
        together = shared[1][1].scores.query("seed == 8").drop(columns=["seconds", "stability"])
        pd.testing.assert_frame_equal(
            alone[0].scores.drop(columns=["seconds", "stability"]),
            together.reset_index(drop=True),
        )

    def test_the_progress_bar_changes_nothing_and_shows_each_fit(self, data, shared, capsys):
        with_bar = select_n_programs(
            data, [1, 2, 3, 5], n_seeds=2, train_kwargs={"accelerator": "cpu"}, seed=7
        )
        out = capsys.readouterr().out
        for text in ("Fitting", "8/8", "Continuing K = 3", "K = 5, seed 8, iteration"):
            assert text in out
        pd.testing.assert_frame_equal(
            with_bar.scores.drop(columns="seconds"), shared[0].scores.drop(columns="seconds")
        )

    @pytest.mark.parametrize("likelihood", ["binomial", "dirichlet-multinomial"])
    def test_other_likelihoods(self, data, likelihood):
        options = {
            "n_seeds": 2,
            "model_kwargs": {"likelihood": likelihood},
            "train_kwargs": {"accelerator": "cpu", "em_iterations": 50},
            "progress": False,
        }
        found = select_n_programs(data, [2, 3], **options)
        complete = select_n_programs(data, [2, 3], **options, share_starts=False)
        assert found.n_programs == complete.n_programs == 3
        gains = (r.summary["log_likelihood_gain"][3] for r in (found, complete))
        assert next(gains) == pytest.approx(next(gains), rel=0.05)

    @pytest.mark.parametrize("argument", [{"n_restarts": 2}, {"validation_size": 0.1}])
    def test_arguments_that_need_starts_of_their_own(self, data, argument):
        found = select_n_programs(
            data, [2, 3], n_seeds=1, train_kwargs={**QUICK, **argument}, progress=False
        )
        assert not found.scores["stopped"].any()


class TestUndecided:
    """Gains of two seeds; the standard error of the best is 0.01."""

    @staticmethod
    def gain(*means):
        return [np.array([m - 0.01, m + 0.01]) for m in means]

    def test_all_that_may_be_chosen_go_on(self):
        # Chosen is 4, the smallest from 0.19 on, the best is 6. 3 is within half an error of that.
        means = {2: 0.18, 3: 0.187, 4: 0.191, 5: 0.193, 6: 0.2, 8: 0.194, 10: 0.197}
        gains = {k: self.gain(m) for k, m in means.items()}
        assert undecided(gains, set()) == [3, 4, 6, 10]
        assert undecided(gains, {4, 6}) == [3, 10]
        assert undecided(gains, {3, 4, 6, 10}) == []

    def test_compared_at_the_same_stage(self):
        # 3 is far behind what 4 became, but not what 4 was: it goes on.
        gains = {3: self.gain(0.1), 4: self.gain(0.105, 0.2), 6: self.gain(0.05)}
        assert undecided(gains, {4}) == [3]
        # And one that was behind goes on if the best has fallen to it.
        gains = {2: self.gain(0.1), 4: self.gain(0.2, 0.1)}
        assert undecided(gains, {4}) == [2]

    def test_one_seed(self):
        gains = {2: [np.array([0.1])], 3: [np.array([0.2])], 4: [np.array([0.1])]}
        assert undecided(gains, set()) == [3]
        assert undecided(gains | {4: [np.array([0.199])]}, set()) == [3, 4]


def test_data_and_random_states_are_not_changed(data):
    data.uns["mine"] = 1
    data.layers["more"] = data.layers["cell_by_junction_matrix"].copy()
    copy = data.copy()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    managers = len(LeafletFAModel._setup_adata_manager_store)
    results = [
        select_n_programs(data, [2, 5], n_seeds=1, train_kwargs=QUICK, seed=seed, progress=False)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]
    assert len(LeafletFAModel._setup_adata_manager_store) == managers  # no split is held on to
    assert list(data.uns) == list(copy.uns)
    assert list(data.layers) == list(copy.layers)
    assert data.obs.equals(copy.obs)
    assert data.var.equals(copy.var)
    for name in data.layers:
        assert (data.layers[name] != copy.layers[name]).nnz == 0
    torch.manual_seed(6)
    again = select_n_programs(data, [2, 5], n_seeds=1, train_kwargs=QUICK, progress=False)
    pd.testing.assert_frame_equal(
        results[0].scores.drop(columns="seconds"), again.scores.drop(columns="seconds")
    )
    timeless = [r.scores.drop(columns="seconds") for r in results]
    pd.testing.assert_frame_equal(timeless[0], timeless[1])
    assert not timeless[0].equals(timeless[2])


def test_one_seed_gives_no_standard_error_or_stability(data):
    result = select_n_programs(data, (3,), n_seeds=1, train_kwargs=QUICK, progress=False)
    assert result.n_programs == 3
    assert result.summary[["se", "stability", "n_reproducible"]].isna().all(axis=None)
    assert "no standard error or stability" in result.note


def test_options_reach_model_training_and_layers(data, monkeypatch):
    data.layers["y"] = data.layers.pop("cell_by_junction_matrix")
    data.layers["n"] = data.layers.pop("cell_by_cluster_matrix")
    data.var["label"] = data.var.pop("atse_id")
    seen = []

    def train(self, **kwargs):
        seen.append((self.module.model.likelihood.name, self._setup_args, kwargs))
        original(self, **kwargs)

    original = LeafletFAModel.train
    monkeypatch.setattr(LeafletFAModel, "train", train)
    names = {"junction_layer": "y", "cluster_layer": "n", "atse_key": "label"}
    select_n_programs(
        data,
        [2],
        n_seeds=1,
        fraction=0.2,
        **names,
        model_kwargs={"likelihood": "binomial"},
        train_kwargs={**QUICK, "em_iterations": 3},
        progress=False,
    )
    ((likelihood, setup, kwargs),) = seen
    assert likelihood == "binomial"
    assert {name: setup[name] for name in names} == names
    assert kwargs["em_iterations"] == 3
    assert kwargs["method"] == "em"
    select_n_programs(
        data,
        [2],
        n_seeds=1,
        method="svi",
        **names,
        train_kwargs={**QUICK, "max_epochs": 2},
        progress=False,
    )
    assert seen[1][2]["max_epochs"] == 2
    assert seen[1][2]["method"] == "svi"


def test_an_interruption_raises_and_has_no_side_effects(data, monkeypatch):
    original, calls = LeafletFAModel.train, []

    def train(self, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(self, **kwargs)

    monkeypatch.setattr(LeafletFAModel, "train", train)
    state = torch.get_rng_state()
    managers = len(LeafletFAModel._setup_adata_manager_store)
    with pytest.raises(KeyboardInterrupt):
        select_n_programs(data, [2, 3], n_seeds=2, train_kwargs=QUICK, progress=False)
    assert len(calls) == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert len(LeafletFAModel._setup_adata_manager_store) == managers
    assert "_scvi_uuid" not in data.uns


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n_programs": []}, ValueError, "at least one number, found none"),
        ({"n_programs": 5}, TypeError, "several numbers.*found 5"),
        ({"n_programs": "25"}, TypeError, "several numbers"),
        ({"n_programs": [2, 2.5]}, ValueError, "whole number from 1, found 2.5"),
        ({"n_programs": [True]}, ValueError, "whole number from 1, found True"),
        ({"n_programs": range(3)}, ValueError, "whole number from 1, found 0"),
        ({"n_programs": [2, 3, 2]}, ValueError, "without duplicates, found 2 more than once"),
        ({"n_programs": [2, 201]}, ValueError, r"number of cells \(200\), found 201"),
        ({"n_seeds": 0}, ValueError, "n_seeds to be a whole number from 1"),
        ({"n_seeds": 1.5}, ValueError, "n_seeds to be a whole number from 1"),
        ({"seed": -1}, ValueError, "seed to be a whole number from 0"),
        ({"fraction": 0}, ValueError, r"fraction in \(0, 1\), found 0"),
        ({"fraction": 1}, ValueError, r"fraction in \(0, 1\), found 1"),
        ({"threshold": 1.2}, ValueError, r"threshold in \(0, 1\), found 1.2"),
        ({"method": "vb"}, ValueError, "Expected method to be 'svi' or 'em', found 'vb'"),
        ({"model_kwargs": {"n_programs": 3}}, ValueError, "model_kwargs without 'n_programs'"),
        ({"model_kwargs": [1]}, TypeError, "model_kwargs to be a mapping, found a list"),
        ({"train_kwargs": {"method": "em"}}, ValueError, "train_kwargs without 'method'"),
        ({"junction_layer": "nowhere"}, KeyError, "nowhere"),
        ({"model_kwargs": {"likelihood": "poisson"}}, ValueError, "poisson"),
        ({"train_kwargs": {"no_such": 1}}, TypeError, "no argument 'no_such'"),
    ],
)
def test_invalid_arguments_are_refused_before_fitting(data, monkeypatch, change, error, message):
    def start(*_, **__):
        raise AssertionError("a fit has begun")

    monkeypatch.setattr("leafletfa_scvi.inference.EMRun", start)
    given = {"n_programs": [2, 3], "progress": False, **change}
    with pytest.raises(error, match=message):
        select_n_programs(data, given.pop("n_programs"), **given)


def test_cells_need_unique_names(data):
    data.obs_names = ["same", "same", *data.obs_names[2:]]
    with pytest.raises(ValueError, match="unique cell names"):
        select_n_programs(data, [2], progress=False)
    with pytest.raises(TypeError, match="Expected an AnnData, found a str"):
        select_n_programs("file.h5ad", [2], progress=False)


def table(gain, se=0.01, reproducible=None):
    numbers = range(2, 2 + len(gain))
    return pd.DataFrame(
        {
            "log_likelihood_gain": gain,
            "se": se,
            "stability": 0.9 if reproducible else np.nan,
            "n_reproducible": pd.array(reproducible or [pd.NA] * len(gain), "Int64"),
        },
        index=pd.Index(numbers, name="n_programs"),
    )


@pytest.mark.parametrize(
    ("gain", "se", "wanted"),
    [
        ([0.1, 0.2, 0.3, 0.29], 0.01, 4),
        ([0.1, 0.295, 0.3, 0.31], 0.01, 4),
        ([0.1, 0.295, 0.3, 0.31], 0.02, 3),
        ([0.1, 0.295, 0.3, 0.31], np.nan, 5),
        ([0.3, 0.2, 0.1], 0.01, 2),
        # The error is that of the best, not of the one compared with it.
        ([0.1, 0.295, 0.3, 0.31], [0.5, 0.5, 0.5, 0.001], 5),
    ],
)
def test_one_standard_error_rule(gain, se, wanted):
    assert recommended(table(gain, se)) == wanted


def test_notes():
    note = _note(table([0.1, 0.2, 0.3, 0.299], 0.01, [2, 3, 3, 2]), 4)
    assert "K = 4 is the best, and no smaller K" in note
    assert "3 of its 4 programs are reproducible" in note
    assert "largest K with all programs reproducible is 3" in note
    assert "smallest within one standard error of the best, K = 5" in _note(
        table([0.1, 0.2, 0.299, 0.3]), 4
    )
    assert "largest K that was tried" in _note(table([0.1, 0.2, 0.3]), 4)
    assert "smallest K that was tried" in _note(table([0.3, 0.2, 0.1]), 2)
    assert "no programs" in _note(table([-0.3, -0.2, -0.1]), 4)
    assert "tried" not in _note(table([0.3]), 2)
