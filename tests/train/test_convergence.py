"""Detection of a plateau of the loss from its noise, and early stopping there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from leafletfa_scvi import train
from leafletfa_scvi.train import ElboPlateau, has_plateaued
from leafletfa_scvi.train._convergence import decrease


def noisy(trend, sd, seed):
    return 1e5 + np.asarray(trend) + np.random.default_rng(seed).normal(0, sd, len(trend))


class TestFall:
    def test_by_hand(self):
        losses = [10.0, 14.0, 8.0, 4.0, 99.0, 6.0, 2.0, 5.0, 3.0]
        fallen, threshold = decrease(losses)
        assert fallen == pytest.approx(9 - 4)  # the middle one is in neither half
        noise = np.sqrt(np.mean(np.diff(losses) ** 2) / 2)
        assert threshold == pytest.approx(3 * noise * np.sqrt(2 / 4))

    def test_without_noise_a_fraction_of_the_loss_counts(self):
        fallen, threshold = decrease(np.full(40, -1e6))
        assert fallen == 0
        assert threshold == pytest.approx(20)

    @pytest.mark.parametrize("sd", [1.0, 30.0])
    def test_a_trend_is_not_noise(self, sd):
        """The threshold is that of the noise, whatever the slope."""
        level, falling = (decrease(noisy(s * np.arange(200.0), sd, 0))[1] for s in (0.0, -sd / 5))
        assert falling == pytest.approx(level, rel=0.05)

    def test_an_increase_is_no_decrease(self):
        assert decrease(np.arange(40.0))[0] == -20


class TestHasLevelledOff:
    @pytest.mark.parametrize("window", [20, 40, 60])
    def test_flat_noise_is_a_plateau(self, window):
        found = [has_plateaued(noisy(np.zeros(100), 50.0, s), window) for s in range(200)]
        assert np.mean(found) > 0.98

    @pytest.mark.parametrize("window", [20, 40, 60])
    def test_a_decreasing_loss_is_no_plateau(self, window):
        """By six times the noise over the window; and exponentially, at first."""
        trend = -np.arange(100.0) * 300.0 / window
        found = [has_plateaued(noisy(trend, 50.0, s), window) for s in range(200)]
        assert np.mean(found) < 0.02
        early = 5000 * np.exp(-np.arange(60) / 20)
        assert not any(has_plateaued(noisy(early, 50.0, s), window) for s in range(50))

    def test_the_end_counts(self):
        trend = np.r_[np.linspace(9000, 0, 60), np.zeros(40)]
        losses = noisy(trend, 20.0, 0)
        assert has_plateaued(losses, 40)
        assert not has_plateaued(losses, 100)
        assert has_plateaued(list(losses), 40)

    @pytest.mark.parametrize("n", [0, 1, 5, 19])
    def test_a_few_noisy_epochs_are_no_plateau(self, n):
        for window in (1, 5, 40):
            assert not has_plateaued(noisy(np.zeros(n), 50.0, 0), window)

    def test_fewer_epochs_than_the_window_are_no_plateau(self):
        losses = np.zeros(39)
        assert not has_plateaued(losses, 40)
        assert has_plateaued(losses, 39)
        assert has_plateaued(losses[:20], 3)


class TestElboPlateau:
    @staticmethod
    def stopped_at(callback, losses):
        """Epochs run until the callback asks for an end."""
        trainer = SimpleNamespace(should_stop=False)
        callback.on_train_start(trainer, None)
        for epoch, loss in enumerate(losses):
            plan = SimpleNamespace(epoch_loss=lambda loss=loss: loss)
            callback.on_train_epoch_end(trainer, plan)
            if trainer.should_stop:
                return epoch + 1
        return None

    def test_stops_after_the_decrease(self):
        trend = 20_000 * np.exp(-np.arange(400) / 15)
        stopped = [self.stopped_at(ElboPlateau(), noisy(trend, 50.0, s)) for s in range(20)]
        assert 75 < min(stopped)  # the fall over 40 epochs is 90 % of 20,000 exp(-t / 15)
        assert max(stopped) < 250

    def test_not_before_the_minimum_number_of_epochs(self):
        assert self.stopped_at(ElboPlateau(), np.zeros(300)) == 60
        assert self.stopped_at(ElboPlateau(20, 1), np.zeros(300)) == 20
        assert self.stopped_at(ElboPlateau(40, 100), np.zeros(300)) == 100

    def test_not_while_the_loss_decreases(self):
        assert self.stopped_at(ElboPlateau(), noisy(-np.arange(300.0) * 10, 20.0, 0)) is None

    def test_another_run_clears_the_losses(self):
        callback = ElboPlateau()
        assert self.stopped_at(callback, np.zeros(300)) == 60
        assert self.stopped_at(callback, np.zeros(300)) == 60


def test_earlier_names_are_deprecated():
    with pytest.warns(FutureWarning, match="use has_plateaued"):
        assert train.has_levelled_off(np.zeros(30), 20)
    with pytest.warns(FutureWarning, match="use fits_on_device"):
        assert train.has_room(torch.device("cpu"), None)
    with pytest.warns(FutureWarning, match="use ElboPlateau"):
        callback = train.StopWhenLevel(least_epochs=7)
    assert (callback.patience, callback.min_epochs) == (40, 7)
