"""Training: start, expected-table EM, then stochastic variational inference in Pyro."""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from scvi.train import TrainRunner

from leafletfa_scvi._arguments import check_whole
from leafletfa_scvi._warnings import UnsettledWarning
from leafletfa_scvi.data import holdout_mask
from leafletfa_scvi.model._starting import Init, StartMixin
from leafletfa_scvi.model._training_options import (
    check_early_stopping,
    check_plan_arguments,
    check_share,
    check_trainer_arguments,
    resolve_loggers,
    training_device,
)
from leafletfa_scvi.module import pyro_alone
from leafletfa_scvi.train import (
    SplicingDataSplitter,
    SplicingTrainingPlan,
    StopWhenLevel,
    has_levelled_off,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lightning.pytorch.loggers import Logger

    from leafletfa_scvi import inference
    from leafletfa_scvi.ops import ObservedEntries

DEFAULT_STEPS = 300
_MIN_EPOCHS = 30
_FIRST_RATE, _FURTHER_RATE = 0.05, 0.01
_MONITOR = "reconstruction_loss_validation"
_JUDGED_EPOCHS, _LEAST_JUDGED = 60, 10


class TrainingMixin(StartMixin):
    """``train`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    _training_plan_cls = SplicingTrainingPlan
    _data_splitter_cls = SplicingDataSplitter
    _train_runner_cls = TrainRunner

    def train(
        self,
        max_epochs: int | None = None,
        *,
        method: Literal["svi", "em"] = "svi",
        accelerator: str = "auto",
        devices: int | str | list[int] = "auto",
        batch_size: int | None = None,
        init: Init | tuple[np.ndarray, np.ndarray] = "waypoints",
        n_restarts: int = 1,
        em_iterations: int = 300,
        validation_size: float | None = None,
        early_stopping: bool | Literal["elbo", "validation"] = False,
        lr: float | None = None,
        plan_kwargs: dict[str, Any] | None = None,
        logger: str | Logger | Sequence[Logger] | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Fit the model.

        A start is improved by expected-table EM, which needs no learning rate; the posterior is
        then found by variational inference from there. Repeats exactly on the CPU for a given
        ``scvi.settings.seed``. A second call goes on from where the first ended. Where training
        fails or is interrupted, the model is left as it was before the call. Threads train one at
        a time: a second one waits until the first has ended, as Pyro and torch keep their states
        for the whole process, and so do methods that draw, such as ``differential_splicing`` and
        activities of new cells. Set ``scvi.settings.seed`` while no other thread draws.

        Parameters
        ----------
        max_epochs
            Passes over the data. None for 300 gradient steps in all, and at least 30 passes.
        method
            ``"svi"``: EM, then variational inference, for a posterior; ``"em"``: the EM fit
            alone, a point estimate in seconds, with widths from the curvature of the likelihood.
            It has no use for ``max_epochs``, ``batch_size`` and ``early_stopping``.
        accelerator, devices
            Where to train, as in :class:`lightning.pytorch.Trainer`: ``"cpu"``, ``"gpu"``, ...;
            ``devices`` is one device, for example ``[1]`` for the second GPU.
        batch_size
            Cells in a minibatch; None for the full batch, which is fastest where it fits.
        init
            ``"waypoints"`` (groups of cells with like splicing, drawn by
            :func:`leafletfa_scvi.pl.waypoints`), ``"random"``, or a pair of arrays or data
            frames: activities ``(C, K)`` and programs ``(P, K)``, rows of data frames found by
            name. Ignored by a second call.
        n_restarts
            Starts from different seeds; the best after EM is kept. Needs ``em_iterations > 0``.
        em_iterations
            Most passes of EM over the data; it stops where it has converged. 0 to leave it out.
        validation_size
            Share of observed (cell, ATSE) pairs hidden from training and scored each epoch as
            ``reconstruction_loss_validation``; later calls hide the same pairs. None for 0, or
            0.05 with early stopping by validation.
        early_stopping
            ``"validation"`` or True: stop when that score stops improving;
            ``early_stopping_patience`` and the like are passed on to
            :class:`scvi.train.Trainer`. ``"elbo"``: stop when the training loss no longer falls
            by more than its noise, compared over halves of the last 40 epochs. False trains all
            epochs.
        lr
            First learning rate; it decays to 5 % of it. None for 0.05, or for 0.01 where training
            goes on, so that what was reached is not left again.
        plan_kwargs
            For :class:`~leafletfa_scvi.train.SplicingTrainingPlan`.
        logger
            A Lightning logger or several, or ``"csv"``, ``"tensorboard"``, ``"wandb"``;
            ``model.history`` is kept beside them.
        **trainer_kwargs
            For :class:`scvi.train.Trainer`: ``callbacks``, ``enable_progress_bar``, ...

        Raises
        ------
        ValueError
            An argument is out of range, or the model has no data.
        TypeError
            Neither ``train`` nor the trainer has such an argument.
        FloatingPointError
            The loss is not finite.
        RuntimeError
            Within :class:`torch.inference_mode`, or of a model that was built there.

        Warns
        -----
        UserWarning
            The loss, or with ``method="em"`` the objective, was still changing at the end.
        """
        check_trainer_arguments({k: v for k, v in trainer_kwargs.items() if k != "train_size"})
        if max_epochs is not None:
            max_epochs = check_whole("max_epochs", max_epochs, 0)
        if batch_size is not None:
            batch_size = check_whole("batch_size", batch_size, 1)
        check_whole("n_restarts", n_restarts, 1)
        if check_whole("em_iterations", em_iterations, 0) == 0 and n_restarts > 1:
            raise ValueError("Restarts are compared after EM: n_restarts needs em_iterations.")
        if n_restarts > 1 and not isinstance(init, str):
            raise ValueError(
                f"A start that is given is the same each time: leave n_restarts={n_restarts} out, "
                "or init."
            )
        if method not in ("svi", "em"):
            raise ValueError(f"Expected method 'svi' or 'em', found {method!r}.")
        if method == "em":
            self._check_em(em_iterations)
            if not (max_epochs is None and batch_size is None and not early_stopping):
                raise ValueError(
                    "method='em' has no epochs or minibatches, and stops where it has converged: "
                    "leave out max_epochs, batch_size and early_stopping."
                )
        if lr is None:
            lr = _FURTHER_RATE if self.is_trained_ else _FIRST_RATE
        stop_by = check_early_stopping(early_stopping)
        options = check_plan_arguments(self._training_plan_cls, plan_kwargs, lr)
        trainer_kwargs["logger"] = resolve_loggers(logger)
        given = trainer_kwargs.get("callbacks") or []  # one or None, as Lightning has it
        callbacks = list(given) if isinstance(given, list | tuple) else [given]
        target = training_device(accelerator, devices)
        self._check_gradients()
        with pyro_alone(), self._as_before_on_failure():
            training, hidden = self._split(
                validation_size, stop_by == "validation", trainer_kwargs
            )
            fit = None
            if not self.is_trained_ and self.frozen_programs_:
                self._start_query(training.to(target))
            elif not self.is_trained_:
                fit = self._start(training, init, n_restarts, em_iterations, target)
            if method == "em":
                self._finish_em(fit, em_iterations)
            else:
                gathered = self._likelihood_entries(training)
                scored = None if hidden is None else self._likelihood_entries(hidden)
                splitter = self._data_splitter_cls(gathered, scored, batch_size)
                n_batches = len(splitter.train_dataloader())
                if max_epochs is None:
                    max_epochs = max(_MIN_EPOCHS, math.ceil(DEFAULT_STEPS / n_batches))
                plan = self._training_plan_cls(
                    self.module, **{"n_steps": max_epochs * n_batches, **options}
                )
                if stop_by == "validation":
                    trainer_kwargs.setdefault("early_stopping_monitor", _MONITOR)
                elif stop_by == "elbo":
                    callbacks.append(StopWhenLevel())
                if hidden is not None:
                    trainer_kwargs.setdefault("check_val_every_n_epoch", 1)
                trainer_kwargs.setdefault("log_every_n_steps", 1)
                trainer_kwargs["callbacks"] = callbacks
                runner = self._train_runner_cls(
                    self,
                    training_plan=plan,
                    data_splitter=splitter,
                    max_epochs=max_epochs,
                    accelerator=accelerator,
                    devices=devices,
                    early_stopping=stop_by == "validation",
                    **trainer_kwargs,
                )
                self.module.train()
                runner()
                # scvi leaves out of the history what the first run had not logged.
                self.history_ = {**runner.trainer.logger.history, **(self.history_ or {})}
                if max_epochs and not runner.trainer.should_stop:
                    self._judge(max_epochs)
            if fit is not None:
                self.history_ = {**(self.history_ or {}), "em_objective": _em_history(fit)}
            self._finish(training)

    def _check_gradients(self) -> None:
        """Refuse to train where torch does not keep what gradients need."""
        if torch.is_inference_mode_enabled():
            raise RuntimeError("Training needs gradients: call train outside inference_mode().")
        if any(x.is_inference() for x in self.module.state_dict().values()):
            raise RuntimeError(
                "The model was built or loaded within torch.inference_mode(), where torch makes "
                "tensors that cannot be trained: build or load it outside."
            )

    def _check_em(self, n_iterations: int) -> None:
        """Refuse EM alone where there is nothing for it to fit."""
        if self.frozen_programs_:
            raise ValueError(
                "A query's activities are fitted from reference programs: use method='svi'."
            )
        if self.is_trained_:
            raise ValueError(
                "This model is trained already: method='em' starts anew. Build a new model for it."
            )
        if n_iterations == 0:
            raise ValueError("method='em' needs em_iterations above 0.")

    def _finish_em(self, fit: inference.EMResult | None, n_iterations: int) -> None:
        """Mark the model as trained by EM alone."""
        assert fit is not None
        self.module.eval()
        self.is_trained_, self.history_ = True, {}
        self.train_indices = np.arange(self.module.model.n_obs)
        if not fit.converged:
            warnings.warn(
                f"EM was still rising after {n_iterations} passes over the data: raise "
                "em_iterations.",
                UnsettledWarning,
                stacklevel=3,
            )

    def _judge(self, n_epochs: int) -> None:
        """Warn where the loss was still falling at the end."""
        assert self.history_ is not None
        losses = self.history_["elbo_train"].to_numpy(dtype=float).ravel()[-n_epochs:]
        window = min(_JUDGED_EPOCHS, len(losses))
        if window >= 2 * _LEAST_JUDGED and not has_levelled_off(losses, window):
            warnings.warn(
                "The loss was still falling when training ended (pl.history shows it): call "
                "train() again to go on, or begin anew with more max_epochs.",
                UnsettledWarning,
                stacklevel=3,
            )

    @contextmanager
    def _as_before_on_failure(self) -> Iterator[None]:
        """Give back what training changes as it was where it fails or is interrupted."""
        state = {name: value.clone() for name, value in self.module.state_dict().items()}
        history = None if self.history_ is None else dict(self.history_)
        trained, waypoints = self.is_trained_, self.waypoints_
        seed, was_training = self.validation_seed_, self.module.training
        try:
            yield
        except BaseException as error:
            self.module.load_state_dict(state)
            self.module.train(was_training)
            self.history_, self.is_trained_ = history, trained
            self.waypoints_, self.validation_seed_ = waypoints, seed
            if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error  # Lightning exits the interpreter instead
            raise

    def _split(
        self, validation_size: float | None, by_validation: bool, trainer_kwargs: dict[str, Any]
    ) -> tuple[ObservedEntries, ObservedEntries | None]:
        """Entries to train on, and those hidden from training."""
        train_size = trainer_kwargs.pop("train_size", None)
        if train_size is not None and train_size != 1.0:
            raise ValueError(
                f"Found train_size={train_size}: every cell has activities of its own, so all "
                "cells are trained on. Use validation_size to hide (cell, ATSE) pairs instead."
            )
        if validation_size is None:
            validation_size = 0.05 if by_validation else 0.0
        validation_size = check_share("validation_size", validation_size)
        if by_validation and validation_size == 0.0:
            raise ValueError("Early stopping needs validation_size above 0.")
        entries = self._training_entries()
        if validation_size == 0.0:
            return entries, None
        if self.atse_codes_ is None:
            warnings.warn(
                "No ATSE labels were registered, so each hidden entry leaves other junctions of "
                "its ATSE in training, and validation is too favourable: name their column, "
                "setup_anndata(adata, atse_key=...).",
                UserWarning,
                stacklevel=3,
            )
        if self.validation_seed_ is None:  # a second run hides the same pairs
            self.validation_seed_ = self._seed()
        mask = holdout_mask(entries, self.atse_codes_, validation_size, self.validation_seed_)
        if not bool(mask.any()):
            raise ValueError(
                f"validation_size={validation_size} hides no (cell, ATSE) pair of "
                f"{entries.n_entries} observed entries: choose a larger one."
            )
        return entries.keep(~mask), entries.keep(mask)

    @torch.no_grad()
    def _finish(self, entries: ObservedEntries) -> None:
        """Order programs by prevalence; give what was never observed its prior exactly."""
        module, guide = self.module, self.module.guide
        if not self.frozen_programs_:
            order = guide.pi().mean.argsort(descending=True)
            guide.order(order)
            if self.waypoints_ is not None:
                positions = self.waypoints_["positions"][order.cpu().numpy()]
                self.waypoints_ = {**self.waypoints_, "positions": positions}
            module.restore_prior(entries)
        empty = (entries.indptr.diff() == 0).to(module.device)
        guide.phi_log[empty] = module.activity_prior().log()
        self._set_widths(entries)


def _em_history(fit: inference.EMResult) -> pd.DataFrame:
    frame = pd.DataFrame({"em_objective": fit.objective})
    frame.index.name = "cycle"
    return frame
