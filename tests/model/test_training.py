"""Training: hidden entries, early stopping, logging, initialization and continuation."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from lightning.pytorch.loggers import CSVLogger
from scipy.stats import betabinom
from scvi.train import TrainRunner

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel, inference, ops
from leafletfa_scvi.model import _training
from leafletfa_scvi.module import LeafletFAModule
from leafletfa_scvi.train import SplicingDataSplitter, SplicingTrainingPlan

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
STILL = {"lr": 1e-12, "max_epochs": 1}


@pytest.fixture
def model(small):
    scvi.settings.seed = 0
    LeafletFAModel.setup_anndata(small)
    return LeafletFAModel(small, 3)


def spy(monkeypatch, owner, name):
    """Record the arguments and results of a function while it works as before."""
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        result = original(*args, **kwargs)
        calls.append((args, kwargs, result))
        return result

    monkeypatch.setattr(owner, name, wrapped)
    return calls


class TestValidation:
    @pytest.fixture
    def split(self, model, monkeypatch):
        seen = {}

        class Splitter(SplicingDataSplitter):
            def __init__(self, training, hidden=None, batch_size=None):
                seen["training"], seen["hidden"] = training, hidden
                super().__init__(training, hidden, batch_size)

        monkeypatch.setattr(LeafletFAModel, "_data_splitter_cls", Splitter)
        return model, seen

    @staticmethod
    def pairs(entries, codes):
        return set(zip(entries.rows().tolist(), codes[entries.column.numpy()], strict=True))

    def test_whole_pairs_are_hidden(self, split):
        model, seen = split
        model.train(max_epochs=2, validation_size=0.2, **QUIET)
        training, hidden, whole = seen["training"], seen["hidden"], model._training_entries()
        codes = pd.factorize(model.adata.var["atse_id"])[0]
        kept, gone = self.pairs(training, codes), self.pairs(hidden, codes)
        assert not kept & gone
        assert kept | gone == self.pairs(whole, codes)
        assert len(gone) / len(kept | gone) == pytest.approx(0.2, abs=0.05)
        assert training.n_entries + hidden.n_entries == whole.n_entries
        assert training.n_cells == hidden.n_cells == 80

        def table(entries):
            values = (entries.rows(), entries.column, entries.count, entries.total)
            return set(zip(*(v.tolist() for v in values), strict=True))

        assert table(training) | table(hidden) == table(whole)

    @pytest.mark.parametrize("batch_size", [None, 30])
    def test_the_score_is_that_of_the_hidden_entries(self, split, batch_size):
        model, seen = split
        model.train(max_epochs=4, validation_size=0.2, batch_size=batch_size, **QUIET)
        score = model.history["reconstruction_loss_validation"]
        assert len(score) == 4
        hidden = seen["hidden"]
        psi = model.get_splicing_programs().to_numpy(float)
        phi = model.get_latent_representation().astype(float)
        row, column = hidden.rows().numpy(), hidden.column.numpy()
        p = (phi[row] * psi[column]).sum(1)
        kappa = model.get_concentrations().to_numpy()[column]
        y, n = hidden.count.double().numpy(), hidden.total.double().numpy()
        seen_column = np.isin(column, seen["training"].column.numpy())
        assert seen_column.all()
        want = -betabinom.logpmf(y, n, kappa * p, kappa * (1 - p)).mean()
        assert float(score.iloc[-1, 0]) == pytest.approx(want, rel=1e-4)

    def test_hidden_reads_do_not_enter_the_fit(self, split):
        """Corrupting what is hidden changes nothing but the score."""
        model, seen = split
        scvi.settings.seed = 1
        model.train(max_epochs=2, validation_size=0.3, **QUIET)
        hidden = seen["hidden"]
        other = model.adata.copy()
        del other.uns["_scvi_uuid"]
        y = other.layers["cell_by_junction_matrix"].toarray()
        codes = pd.factorize(other.var["atse_id"])[0]
        for cell, code in self.pairs(hidden, codes):
            y[cell, codes == code] = y[cell, codes == code][::-1]
        assert (y != other.layers["cell_by_junction_matrix"].toarray()).any()
        other.layers["cell_by_junction_matrix"] = y
        LeafletFAModel.setup_anndata(other)
        again = LeafletFAModel(other, 3)
        scvi.settings.seed = 1
        again.train(max_epochs=2, validation_size=0.3, **QUIET)
        for name, value in model.module.state_dict().items():
            assert torch.equal(value, again.module.state_dict()[name]), name
        score = "reconstruction_loss_validation"
        assert not model.history[score].equals(again.history[score])

    def test_the_validation_score_improves(self, model):
        model.train(max_epochs=60, validation_size=0.1, init="random", em_iterations=0, **QUIET)
        score = model.history["reconstruction_loss_validation"].to_numpy(float)
        assert score[-1] < score[0] - 0.1

    def test_nothing_is_hidden_by_default(self, split):
        model, seen = split
        model.train(max_epochs=1, **QUIET)
        assert seen["hidden"] is None
        assert seen["training"] is model._training_entries()
        assert "reconstruction_loss_validation" not in model.history

    @pytest.mark.parametrize("size", [-0.1, 1.0, 2])
    def test_a_fraction_out_of_range(self, model, size):
        with pytest.raises(ValueError, match="validation_size"):
            model.train(validation_size=size)

    def test_a_fraction_that_hides_nothing(self, model):
        with pytest.raises(ValueError, match="hides no"):
            model.train(validation_size=1e-9)


class TestEarlyStopping:
    def test_stops_if_nothing_can_be_learned(self):
        adata = lfa.datasets.simulate_splicing(
            60, 30, 2, frac_differential=0.0, coverage=0.3, seed=0
        )
        scvi.settings.seed = 0
        LeafletFAModel.setup_anndata(adata)
        model = LeafletFAModel(adata, 4)
        model.train(max_epochs=150, early_stopping=True, early_stopping_patience=4, **QUIET)
        n_epochs = len(model.history["elbo_train"])
        assert 4 < n_epochs < 100
        score = model.history["reconstruction_loss_validation"].to_numpy(float).ravel()
        assert len(score) == n_epochs
        assert score[-5:].min() >= score[:-4].min() - 1e-9
        assert model.is_trained_

    def test_patience_is_passed_on(self, model):
        model.train(max_epochs=25, early_stopping=True, early_stopping_patience=500, **QUIET)
        assert len(model.history["elbo_train"]) == 25

    @pytest.mark.parametrize("stop", [True, "validation"])
    def test_needs_hidden_entries(self, model, stop):
        with pytest.raises(ValueError, match="validation_size above 0"):
            model.train(early_stopping=stop, validation_size=0.0)

    def test_by_validation_hides_a_twentieth(self, model):
        model.train(max_epochs=2, early_stopping="validation", **QUIET)
        assert len(model.history["reconstruction_loss_validation"]) == 2

    def test_by_the_loss_at_a_plateau(self, model):
        """A guide that does not change: its noise is recognized as a plateau after 60 epochs."""
        model.train(max_epochs=150, early_stopping="elbo", lr=1e-12, em_iterations=5, **QUIET)
        assert 60 <= len(model.history["elbo_train"]) < 90
        assert "reconstruction_loss_validation" not in model.history
        assert model.is_trained_

    def test_by_the_loss_not_while_it_decreases(self, model):
        options = {"init": "random", "em_iterations": 0, "lr": 0.02, "max_epochs": 90}
        model.train(early_stopping="elbo", **options, **QUIET)
        losses = model.history["elbo_train"].to_numpy(float).ravel()
        assert len(losses) == 90
        assert losses[-20:].mean() < losses[50:70].mean() - 20

    def test_by_the_loss_with_callbacks_of_the_user(self, model):
        class Count(pl.Callback):
            epochs = 0

            def on_train_epoch_end(self, trainer, plan):
                self.epochs += 1

        for given in (count := Count(), [count]):
            before = count.epochs
            model.train(max_epochs=3, early_stopping="elbo", callbacks=given, **QUIET)
            assert count.epochs == before + 3

    @pytest.mark.parametrize("value", ["loss", "True", 1, 0.5])
    def test_values_that_are_refused(self, model, value):
        with pytest.raises(ValueError, match="'validation' or 'elbo', found"):
            model.train(early_stopping=value)
        assert not model.is_trained_


def warned(recorded):
    """Messages about what had not converged."""
    return [str(w.message) for w in recorded if "still" in str(w.message)]


class TestNotConverged:
    def test_a_loss_that_decreases_to_the_end(self, model):
        with pytest.warns(UserWarning, match="loss was still decreasing") as recorded:
            model.train(max_epochs=25, init="random", em_iterations=0, **QUIET)
        (message,) = warned(recorded)
        assert "train() again" in message

    @pytest.mark.parametrize(
        "options",
        [{"method": "em", "em_iterations": 3}, {"max_epochs": 25, "em_iterations": 0}],
    )
    def test_warnings_point_at_the_call(self, model, options):
        given = {"init": "random", **options}
        with pytest.warns(UserWarning, match="still") as recorded:
            model.train(**given, **QUIET)
        (found,) = [w for w in recorded if "still" in str(w.message)]
        assert found.filename == __file__

    @pytest.mark.parametrize("epochs", [1, 19])
    def test_a_few_epochs_do_not_warn(self, model, recwarn, epochs):
        model.train(max_epochs=epochs, init="random", em_iterations=0, **QUIET)
        assert warned(recwarn) == []

    @pytest.mark.parametrize("epochs", [25, 80])
    def test_a_loss_at_a_plateau(self, model, recwarn, epochs):
        model.train(max_epochs=epochs, lr=1e-12, em_iterations=20, **QUIET)
        assert warned(recwarn) == []

    def test_the_defaults_converge(self, model, recwarn):
        model.train(**QUIET)
        assert warned(recwarn) == []

    def test_a_run_that_stopped_early_does_not_warn(self, model, recwarn):
        """By the rule the loss was level over 40 epochs; over 60 it was not."""
        model.train(max_epochs=400, early_stopping="elbo", **QUIET)
        assert len(model.history["elbo_train"]) < 400
        assert warned(recwarn) == []

    def test_em(self, model, recwarn):
        with pytest.warns(UserWarning, match="still increasing after 5 iterations.*em_iterations"):
            model.train(method="em", em_iterations=5, **QUIET)
        recwarn.clear()
        LeafletFAModel(model.adata, 3).train(method="em", **QUIET)
        assert warned(recwarn) == []


class TestLogging:
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path, monkeypatch):
        old = scvi.settings.logging_dir
        monkeypatch.chdir(tmp_path)
        scvi.settings.logging_dir = tmp_path / "logs"
        yield
        scvi.settings.logging_dir = old

    @pytest.mark.parametrize(
        ("logger", "pattern"),
        [("csv", "**/metrics.csv"), ("tensorboard", "**/events.out.tfevents*")],
    )
    def test_log_files_in_addition_to_the_history(self, model, tmp_path, logger, pattern):
        model.train(max_epochs=3, logger=logger, **QUIET)
        (file,) = (tmp_path / "logs").glob(pattern)
        assert file.stat().st_size > 0
        assert len(model.history["elbo_train"]) == 3
        if logger == "csv":
            logged = pd.read_csv(file)["elbo_train"].dropna()
            np.testing.assert_allclose(
                logged, model.history["elbo_train"]["elbo_train"].astype(float), rtol=1e-5
            )

    @pytest.mark.parametrize("several", [False, True])
    def test_loggers_of_the_user(self, model, tmp_path, several):
        logger = CSVLogger(tmp_path / "mine")
        model.train(max_epochs=2, logger=[logger] if several else logger, **QUIET)
        assert list((tmp_path / "mine").glob("**/metrics.csv"))
        assert len(model.history["elbo_train"]) == 2

    def test_an_unknown_logger(self, model):
        with pytest.raises(ValueError, match="'csv', 'tensorboard' or 'wandb'"):
            model.train(max_epochs=1, logger="paper")

    def test_no_file_is_written_by_default(self, model, tmp_path):
        model.train(max_epochs=2, validation_size=0.1, **QUIET)
        assert [f for f in Path(tmp_path).rglob("*") if f.is_file()] == []

    def test_no_progress_bar_unless_requested(self, model, capfd):
        model.train(max_epochs=2, **QUIET)
        out = "".join(capfd.readouterr())
        assert "Epoch" not in out
        assert "it/s" not in out

    def test_progress_covers_all_stages(self, model, small):
        calls = []
        options = {"em_iterations": 5, "progress": lambda *call: calls.append(call)}
        model.train(max_epochs=3, **options, **QUIET)
        stages = list(dict.fromkeys(stage for stage, _, _ in calls))
        assert stages == ["start", "EM", "variational inference", "variances"]
        for stage, last in (("start", (6, 6)), ("EM", (5, 5)), ("variational inference", (3, 3))):
            steps = [(done, of) for name, done, of in calls if name == stage]
            assert steps == sorted(steps, key=lambda step: step[0])
            assert steps[-1] == last or stage == "EM"
            assert {of for done, of in steps if done} == {last[1]}
        assert calls[-1] == ("variances", 0, None)

        query = LeafletFAModel.load_query_data(small[:20].copy(), model, accelerator="cpu")
        calls.clear()
        query.train(max_epochs=4, progress=options["progress"], **QUIET)
        assert calls[:5] == [("activities", i, None) for i in range(5)]

        with pytest.raises(TypeError, match="Expected progress to be a function .*, found bool"):
            model.train(max_epochs=1, progress=True, **QUIET)

    def test_messages_of_lightning_without_its_adverts(self, model, recwarn):
        class Keep(logging.Handler):
            def emit(self, record):
                kept.append(record.getMessage())

        kept, keep = [], Keep()
        logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
        level, filters = logger.level, list(logger.filters)
        logger.addHandler(keep)
        logger.setLevel(logging.INFO)
        try:
            model.train(max_epochs=1, **QUIET)
            assert [text for text in kept if text.startswith("GPU available")]
            assert not [text for text in kept if "Tip:" in text or "TPU" in text]
            assert (logger.level, logger.filters) == (logging.INFO, filters)
            logger.info("\N{ELECTRIC LIGHT BULB} Tip: install a logger")  # of another training
            assert kept[-1].endswith("install a logger")
        finally:
            logger.removeHandler(keep)
            logger.setLevel(level)
        assert not [w for w in recwarn if "LeafSpec" in str(w.message)]

    def test_callbacks_are_passed_on(self, model):
        class Count(pl.Callback):
            epochs = 0
            rates: list[float] = []

            def on_train_epoch_end(self, trainer, plan):
                self.epochs += 1
                self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

        count = Count()
        model.train(max_epochs=5, callbacks=[count], lr=0.1, batch_size=27, **QUIET)
        assert count.epochs == 5
        assert count.rates[0] == pytest.approx(0.1 * 0.05 ** (3 / 15))
        assert count.rates[-1] == pytest.approx(0.1 * 0.05)


class TestStart:
    def test_the_best_restart_is_kept(self, model, monkeypatch):
        fits = spy(monkeypatch, inference, "fit_em")
        kept = spy(monkeypatch, LeafletFAModule, "initialize")
        model.train(init="random", n_restarts=5, em_iterations=6, **STILL, **QUIET)
        last = [result.objective[-1] for _, _, result in fits]
        assert len(set(last)) == 5
        assert kept[0][0][1] is fits[int(np.argmax(last))][2]
        assert len(kept) == 1

    @pytest.mark.parametrize("best", [0, 1, 2])
    def test_the_best_of_any_order(self, model, monkeypatch, best):
        original, n = inference.fit_em, iter(range(3))

        def fake(*args, **kwargs):
            result = original(*args, **kwargs)
            at = next(n)
            result.objective = [1e9, float(at == best)]
            result.psi = torch.full_like(result.psi, 0.1 * (at + 1))
            return result

        monkeypatch.setattr(inference, "fit_em", fake)
        model.train(init="random", n_restarts=3, em_iterations=2, **STILL, **QUIET)
        psi = model.get_splicing_programs().to_numpy()
        seen = psi.std(axis=1) < 1e-3
        np.testing.assert_allclose(np.median(psi[seen]), 0.1 * (best + 1), atol=0.05)

    def test_each_restart_has_its_own_seed(self, model, monkeypatch):
        starts = spy(monkeypatch, inference, "waypoints")
        fits = spy(monkeypatch, inference, "fit_em")
        model.train(n_restarts=3, em_iterations=6, **STILL, **QUIET)
        assert len(starts) == len(fits) == 3
        assert len({args[2] for args, _, _ in starts}) == 3
        for (_, _, found), (args, _, _) in zip(starts, fits, strict=True):
            assert args[1] is found.start

    @pytest.mark.parametrize("init", ["waypoints", "random"])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_more_restarts_never_give_a_worse_objective(self, model, monkeypatch, init, seed):
        """Under one seed, those of fewer restarts are the first of those of more."""
        fits = spy(monkeypatch, inference, "fit_em")
        kept = spy(monkeypatch, LeafletFAModule, "initialize")
        tried, best = [], []
        for n_restarts in (1, 2, 4):
            fits.clear()
            scvi.settings.seed = seed
            fresh = LeafletFAModel(model.adata, 3)
            options = {"init": init, "n_restarts": n_restarts, "em_iterations": 12}
            fresh.train(**options, **STILL, **QUIET)
            tried.append([fit.objective[-1] for _, _, fit in fits])
            best.append(kept[-1][0][1].objective[-1])
        assert tried[0] == tried[1][:1]
        assert tried[1] == tried[2][:2]
        assert best == [max(values) for values in tried]
        assert best[0] <= best[1] <= best[2]

    def test_restarts_after_a_single_iteration(self, model):
        model.train(init="random", n_restarts=3, em_iterations=1, **STILL, **QUIET)
        assert model.is_trained_

    def test_waypoints_are_given_the_atses(self, model, monkeypatch):
        starts = spy(monkeypatch, inference, "waypoints")
        model.train(em_iterations=6, **STILL, **QUIET)
        codes = pd.factorize(model.adata.var["atse_id"])[0]
        found = np.asarray(starts[0][0][3])
        np.testing.assert_array_equal(pd.factorize(found)[0], codes)

    def test_no_more_iterations_of_em_than_requested(self, model, monkeypatch):
        """Up to what completes the last cycle, and the last fit of activities."""
        sweeps = spy(monkeypatch, inference._em_step, "sweep")
        model.train(em_iterations=20, **STILL, **QUIET)
        last = 3 * inference._em_step._ACTIVITY_CYCLES
        assert 20 + last <= len(sweeps) <= 23 + last

    def test_waypoints_are_kept_in_the_order_of_the_programs(self, model):
        model.train(em_iterations=30, **STILL, **QUIET)
        kept = model.waypoints_
        np.testing.assert_array_equal(kept["cells"], np.arange(80))
        assert kept["scores"].shape == (80, 5)
        assert kept["positions"].shape == (3, 5)
        phi = model.get_latent_representation()
        mean = (phi / phi.sum(0)).T @ kept["scores"]
        distance = np.linalg.norm(mean[:, None] - kept["positions"], axis=2)
        np.testing.assert_array_equal(distance.argmin(1), np.arange(3))

    def test_no_waypoints_after_another_initialization(self, model):
        model.train(init="random", em_iterations=2, **STILL, **QUIET)
        assert model.waypoints_ is None

    def test_more_programs_than_distinct_cells(self, small):
        some = small[[0, 0, 0, 0, 1, 1, 1]].copy()
        some.obs_names = [f"c{i}" for i in range(7)]
        with pytest.warns(UserWarning, match="no observed entry"):
            LeafletFAModel.setup_anndata(some)
        model = LeafletFAModel(some, 5)
        model.train(max_epochs=2, **QUIET)
        assert model.waypoints_["positions"].shape[0] == 5
        phi = model.get_latent_representation()
        np.testing.assert_allclose(phi.sum(1), 1, atol=1e-5)

    @pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, pd.DataFrame])
    def test_from_arrays(self, model, monkeypatch, kind):
        phi, psi = model.adata.obsm["phi_true"], model.adata.varm["psi_true"]
        fits = spy(monkeypatch, inference, "fit_em")
        init = kind(phi), kind(psi)
        model.train(init=init, em_iterations=0, **STILL, **QUIET)
        start = fits[0][0][1]
        np.testing.assert_allclose(start.phi, phi, rtol=1e-5)
        np.testing.assert_allclose(start.psi, psi, rtol=1e-5)
        match = lfa.tl.match_programs(phi, model.get_latent_representation())
        assert match["correlation"].min() > 0.98

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda phi, psi: (phi[:-1], psi), "shapes"),
            (lambda phi, psi: (phi, psi.T), "shapes"),
            (lambda phi, psi: (psi, phi), "shapes"),
            (lambda phi, psi: (phi[:, :2], psi[:, :2]), "shapes"),
            (lambda phi, psi: (phi - 1, psi), "at least 0"),
            (lambda phi, psi: (phi, psi + 0.6), r"in \[0, 1\]"),
            (lambda phi, psi: (phi * np.nan, psi), "at least 0"),
            (lambda phi, psi: "kmeans", "'waypoints', 'random'"),
        ],
    )
    def test_arrays_that_are_refused(self, model, change, message):
        init = change(model.adata.obsm["phi_true"], model.adata.varm["psi_true"])
        with pytest.raises(ValueError, match=message):
            model.train(max_epochs=1, init=init, **QUIET)
        assert not model.is_trained_


class TestPointEstimate:
    """EM alone."""

    def test_finds_programs_without_gradient_steps(self, clear, monkeypatch):
        monkeypatch.setattr(LeafletFAModel, "_train_runner_cls", None)
        scvi.settings.seed = 0
        LeafletFAModel.setup_anndata(clear)
        model = LeafletFAModel(clear, 2)
        model.train(method="em", accelerator="cpu")
        assert model.is_trained_
        assert not model.module.training
        match = lfa.tl.match_programs(clear.obsm["phi_true"], model.get_latent_representation())
        assert match["correlation"].min() > 0.95
        lower, upper = model.get_credible_intervals("psi")
        assert (upper - lower).mean(axis=None) < 0.6
        assert model.get_program_prevalence().is_monotonic_decreasing
        assert list(model.history) == ["em_objective"]

    def test_its_objective_is_the_history(self, model, monkeypatch):
        fits = spy(monkeypatch, inference, "fit_em")
        model.train(method="em", **QUIET)
        found = model.history["em_objective"]["em_objective"]
        np.testing.assert_array_equal(found, fits[0][2].objective)
        assert fits[0][2].converged

    def test_the_history_of_variational_inference_includes_it(self, model):
        model.train(max_epochs=2, **QUIET)
        assert len(model.history["em_objective"]) > 3
        assert len(model.history["elbo_train"]) == 2

    def test_a_seed_reproduces_the_fit(self, small):
        found = []
        for _ in range(2):
            scvi.settings.seed = 3
            LeafletFAModel.setup_anndata(small)
            model = LeafletFAModel(small, 3)
            model.train(method="em", **QUIET)
            found.append(model.get_latent_representation())
        np.testing.assert_array_equal(*found)

    def test_a_trained_model_is_refused_and_unchanged(self, model):
        model.train(max_epochs=2, **QUIET)
        before = model.get_latent_representation()
        with pytest.raises(ValueError, match="cannot continue training"):
            model.train(method="em", **QUIET)
        assert model.is_trained_
        np.testing.assert_array_equal(model.get_latent_representation(), before)

    def test_a_second_run_may_hide_entries(self, model):
        model.train(max_epochs=2, **QUIET)
        model.train(max_epochs=3, validation_size=0.1, **QUIET)
        assert len(model.history["elbo_train"]) == 5
        assert len(model.history["reconstruction_loss_validation"]) == 3

    def test_an_unknown_method(self, model):
        with pytest.raises(ValueError, match="method to be 'svi' or 'em', found 'vb'"):
            model.train(method="vb")

    def test_gradient_steps_may_follow(self, model, monkeypatch):
        model.train(method="em", **QUIET)
        starts = spy(monkeypatch, _training, "initialize")
        model.train(max_epochs=3, **QUIET)
        assert starts == []
        assert len(model.history["elbo_train"]) == 3
        assert "em_objective" in model.history

    def test_no_epochs_at_all(self, model):
        model.train(max_epochs=0, em_iterations=30, **QUIET)
        assert model.is_trained_


class TestSecondCall:
    def test_continues_where_the_first_ended(self, model, monkeypatch):
        model.train(max_epochs=20, em_iterations=30, **QUIET)
        before = model.get_latent_representation()
        first = model.history["elbo_train"].to_numpy(float).ravel()
        starts = spy(monkeypatch, _training, "initialize")
        model.train(init="random", **STILL, **QUIET)
        assert starts == []
        np.testing.assert_allclose(model.get_latent_representation(), before, atol=1e-6)
        model.train(max_epochs=15, lr=0.01, **QUIET)
        history = model.history["elbo_train"]
        assert len(history) == 36
        np.testing.assert_array_equal(history.to_numpy(float).ravel()[:20], first)
        assert starts == []
        assert history.to_numpy(float).ravel()[-5:].mean() < first[-5:].mean() + 100

    def test_a_call_after_a_failed_one_initializes_again(self, model, monkeypatch):
        starts = spy(monkeypatch, _training, "initialize")
        with monkeypatch.context() as patch:
            patch.setattr(SplicingTrainingPlan, "training_step", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                model.train(max_epochs=2, **QUIET)
        assert not model.is_trained_
        model.train(max_epochs=2, **QUIET)
        assert len(starts) == 2
        assert model.is_trained_


class TestArguments:
    @pytest.mark.parametrize("train_size", [0.9, 0.5])
    def test_a_split_by_cells_is_refused(self, model, train_size):
        with pytest.raises(ValueError, match="validation_size"):
            model.train(train_size=train_size)
        model.train(max_epochs=1, train_size=1.0, **QUIET)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"max_epochs": -1}, "max_epochs"),
            ({"batch_size": 0}, "batch_size"),
            ({"n_restarts": 0}, "n_restarts"),
            ({"em_iterations": -1}, "em_iterations"),
            ({"lr": 0.0}, "lr"),
            ({"lr": np.nan}, "lr"),
            ({"n_restarts": 2, "em_iterations": 0}, "em_iterations above 0 for n_restarts"),
        ],
    )
    def test_numbers_out_of_range(self, model, arguments, message):
        with pytest.raises(ValueError, match=message):
            model.train(**arguments)
        assert not model.is_trained_

    @pytest.mark.parametrize(
        ("batch_size", "epochs", "steps"),
        [
            (None, 300, 300),
            (80, 300, 300),
            (20, 75, 300),
            (27, 100, 300),
            (2, 30, 1200),
        ],
    )
    def test_epochs_by_default(self, model, monkeypatch, batch_size, epochs, steps):
        made = {}

        class Runner:
            def __init__(self, model, *, training_plan, max_epochs, **kwargs):
                made.update(plan=training_plan, epochs=max_epochs, **kwargs)
                logger = SimpleNamespace(history={})
                self.trainer = SimpleNamespace(should_stop=False, logger=logger)

            def __call__(self):
                model.history_ = {"elbo_train": pd.DataFrame({"elbo_train": [1.0]})}

        monkeypatch.setattr(LeafletFAModel, "_train_runner_cls", Runner)
        model.train(batch_size=batch_size, em_iterations=1)
        assert made["epochs"] == epochs
        assert made["plan"].n_steps == steps
        assert len(made["data_splitter"].train_dataloader()) * epochs == steps

    def test_plan_options_are_passed_on(self, model, monkeypatch):
        plans = []

        class Runner(TrainRunner):
            def __init__(self, *args, training_plan, **kwargs):
                super().__init__(*args, training_plan=training_plan, **kwargs)
                plans.append(training_plan)

        monkeypatch.setattr(LeafletFAModel, "_train_runner_cls", Runner)
        options = {"n_particles": 3, "lr_decay": 0.5, "optim": torch.optim.AdamW}
        model.train(max_epochs=2, lr=0.02, plan_kwargs=options, **QUIET)
        (plan,) = plans
        assert plan.loss_fn.num_particles == 3
        assert plan.lr_decay == 0.5
        assert plan.optim is torch.optim.AdamW
        assert plan.optim_kwargs["lr"] == 0.02

    def test_steps_over_which_the_rate_decays(self, model, monkeypatch):
        made = {}

        class Plan(SplicingTrainingPlan):
            def configure_optimizers(self):
                made["n_steps"] = self.n_steps
                return super().configure_optimizers()

        monkeypatch.setattr(LeafletFAModel, "_training_plan_cls", Plan)
        model.train(max_epochs=2, batch_size=27, **QUIET)
        assert made["n_steps"] == 6
        model.train(max_epochs=2, plan_kwargs={"n_steps": 77}, **QUIET)
        assert made["n_steps"] == 77

    def test_plan_options_that_are_unknown(self, model, monkeypatch):
        starts = spy(monkeypatch, _training, "initialize")
        with pytest.raises(TypeError, match=r"no argument 'momentum', given in plan_kwargs.*lr_d"):
            model.train(plan_kwargs={"momentum": 0.9, "lr_decay": 0.1}, **QUIET)
        assert starts == []
        assert not model.is_trained_


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_loss_that_is_not_finite_stops_training(model, monkeypatch, value):
    model.train(max_epochs=2, **QUIET)
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    original = ops.log_likelihood
    monkeypatch.setattr(
        ops, "log_likelihood", lambda *args, **kwargs: original(*args, **kwargs) * value
    )
    with pytest.raises(FloatingPointError, match="Lower the learning"):
        model.train(max_epochs=2, **QUIET)
    for name, now in model.module.state_dict().items():
        assert torch.equal(now, before[name]), name


def test_a_diverging_learning_rate_is_an_error(model):
    with pytest.raises(FloatingPointError, match="Lower the learning"):
        model.train(max_epochs=10, lr=1e4, **QUIET)
    assert not model.is_trained_
    model.train(max_epochs=3, em_iterations=5, **QUIET)
    assert np.isfinite(model.get_latent_representation()).all()


class TestContinuing:
    def test_a_further_call_starts_with_a_lower_rate(self, model, monkeypatch):
        rates = []
        plan = model._training_plan_cls

        class Plan(plan):
            def __init__(self, module, *, lr, **options):
                rates.append(lr)
                super().__init__(module, lr=lr, **options)

        monkeypatch.setattr(type(model), "_training_plan_cls", Plan)
        for options in ({}, {}, {"lr": 0.03}):
            model.train(
                max_epochs=1,
                plan_kwargs={"n_steps": 1, "n_particles": 1},
                enable_progress_bar=False,
                **options,
            )
        assert rates == [0.05, 0.01, 0.03]

    @pytest.mark.parametrize("option", [{"max_epochs": 3}, {"batch_size": 8}])
    def test_em_has_no_epochs(self, model, option):
        with pytest.raises(ValueError, match="no epochs or minibatches"):
            model.train(method="em", **option)
        assert not model.is_trained_
