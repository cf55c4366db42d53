"""Training: start, expected-table EM, then stochastic variational inference in Pyro."""

from __future__ import annotations

import logging
import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from scvi.train import TrainRunner

from leafletfa_scvi import inference
from leafletfa_scvi.data import holdout_mask
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._training_options import (
    check_learning_rate,
    check_trainer_arguments,
    check_whole,
    resolve_loggers,
    training_device,
)
from leafletfa_scvi.train import SplicingDataSplitter, SplicingTrainingPlan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from lightning.pytorch.loggers import Logger

    from leafletfa_scvi.ops import ObservedEntries

log = logging.getLogger(__name__)

DEFAULT_STEPS = 300
_MIN_EPOCHS = 30
_START_CONCENTRATION = 10.0
_START_ACTIVITY_CONCENTRATION = 1.0
_PRIOR_STRENGTH = 3.0

Init = Literal["waypoints", "random"]


class TrainingMixin(SplicingModelBase):
    """``train`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    _training_plan_cls = SplicingTrainingPlan
    _data_splitter_cls = SplicingDataSplitter
    _train_runner_cls = TrainRunner

    def train(
        self,
        max_epochs: int | None = None,
        *,
        accelerator: str = "auto",
        device: int | str = "auto",
        batch_size: int | None = None,
        init: Init | tuple[np.ndarray, np.ndarray] = "waypoints",
        n_restarts: int = 1,
        em_iterations: int = 100,
        validation_size: float | None = None,
        early_stopping: bool = False,
        lr: float = 0.05,
        plan_kwargs: dict[str, Any] | None = None,
        logger: str | Logger | Sequence[Logger] | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Fit the model.

        A start is improved by expected-table EM, which needs no learning rate; the posterior is
        then found by variational inference from there. Repeats exactly on the CPU for a given
        ``scvi.settings.seed``. A second call goes on from where the first ended. Where training
        fails or is interrupted, the model is left as it was before the call.

        Parameters
        ----------
        max_epochs
            Passes over the data. None for 300 gradient steps in all, and at least 30 passes; 0
            for the EM fit alone, with widths from the curvature of the likelihood.
        accelerator, device
            Where to train, as in :class:`lightning.pytorch.Trainer`: ``"cpu"``, ``"gpu"``, ...;
            one device.
        batch_size
            Cells in a minibatch; None for the full batch, which is fastest where it fits.
        init
            ``"waypoints"`` (groups of cells alike in their PSI; with EM the better of two such
            starts), ``"random"``, or a pair of arrays: activities ``(C, K)`` and programs
            ``(P, K)``. Ignored by a second call.
        n_restarts
            Starts from different seeds; the best after EM is kept. Needs ``em_iterations > 0``.
        em_iterations
            Most iterations of EM; 0 to leave it out.
        validation_size
            Share of observed (cell, ATSE) pairs hidden from training and scored each epoch as
            ``reconstruction_loss_validation``; later calls hide the same pairs. None for 0, or
            0.05 with early stopping.
        early_stopping
            Stop when that score stops improving; ``early_stopping_patience`` and the like are
            passed on to :class:`scvi.train.Trainer`.
        lr
            First learning rate; it decays to 5 % of it.
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
        """
        check_trainer_arguments({k: v for k, v in trainer_kwargs.items() if k != "train_size"})
        if max_epochs is not None:
            max_epochs = check_whole("max_epochs", max_epochs, 0)
        if batch_size is not None:
            batch_size = check_whole("batch_size", batch_size, 1)
        check_whole("n_restarts", n_restarts, 1)
        if check_whole("em_iterations", em_iterations, 0) == 0 and n_restarts > 1:
            raise ValueError("Restarts are compared after EM: n_restarts needs em_iterations.")
        lr = check_learning_rate(lr)
        trainer_kwargs["logger"] = resolve_loggers(logger)
        target = training_device(accelerator, device)
        training, hidden = self._split(validation_size, early_stopping, trainer_kwargs)
        with self._as_before_on_failure():
            if not self.is_trained_:
                self._start(training, init, n_restarts, em_iterations, target)
            splitter = self._data_splitter_cls(training, hidden, batch_size)
            n_batches = len(splitter.train_dataloader())
            if max_epochs is None:
                max_epochs = max(_MIN_EPOCHS, math.ceil(DEFAULT_STEPS / n_batches))
            options = {"lr": lr, "n_steps": max_epochs * n_batches, **(plan_kwargs or {})}
            plan = self._training_plan_cls(self.module, **options)
            if early_stopping:
                monitor = "reconstruction_loss_validation"
                trainer_kwargs.setdefault("early_stopping_monitor", monitor)
            if hidden is not None:
                trainer_kwargs.setdefault("check_val_every_n_epoch", 1)
            trainer_kwargs.setdefault("log_every_n_steps", 1)
            runner = self._train_runner_cls(
                self,
                training_plan=plan,
                data_splitter=splitter,
                max_epochs=max_epochs,
                accelerator=accelerator,
                devices=device,
                early_stopping=early_stopping,
                **trainer_kwargs,
            )
            self.module.train()
            runner()
        self._finish(training)

    @contextmanager
    def _as_before_on_failure(self) -> Iterator[None]:
        """Give parameters and history back as they were where training fails or is interrupted."""
        state = {name: value.clone() for name, value in self.module.state_dict().items()}
        history = None if self.history_ is None else dict(self.history_)
        trained = self.is_trained_
        try:
            yield
        except BaseException as error:
            self.module.load_state_dict(state)
            self.module.eval()
            self.history_, self.is_trained_ = history, trained
            if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error  # Lightning exits the interpreter instead
            raise

    def _split(
        self, validation_size: float | None, early_stopping: bool, trainer_kwargs: dict[str, Any]
    ) -> tuple[ObservedEntries, ObservedEntries | None]:
        """Entries to train on, and those hidden from training."""
        train_size = trainer_kwargs.pop("train_size", None)
        if train_size is not None and train_size != 1.0:
            raise ValueError(
                f"Found train_size={train_size}: every cell has activities of its own, so all "
                "cells are trained on. Use validation_size to hide (cell, ATSE) pairs instead."
            )
        if validation_size is None:
            validation_size = 0.05 if early_stopping else 0.0
        if not 0.0 <= validation_size < 1.0:
            raise ValueError(f"Expected validation_size in [0, 1), found {validation_size}.")
        if early_stopping and validation_size == 0.0:
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

    def _start(
        self,
        entries: ObservedEntries,
        init: Any,
        n_restarts: int,
        em_iterations: int,
        target: torch.device,
    ) -> None:
        """Bring the guide to the best of the starts."""
        if self.frozen_programs_:
            self._start_query(entries.to(target))
            return
        usage = inference.junction_usage(entries)
        if self.module.model.junction_prior == "global":
            usage = usage.mean().expand_as(usage)
        a, b = _PRIOR_STRENGTH * usage, _PRIOR_STRENGTH * (1.0 - usage)
        fixed = self.module.model
        delta = fixed.activity_concentration or _START_ACTIVITY_CONCENTRATION
        binomial = fixed.likelihood == "binomial"
        kappa = None if binomial else fixed.concentration or _START_CONCENTRATION
        best = None
        on_device = entries.to(target)
        for restart in range(n_restarts):
            seed = self._seed()
            for start in self._starts(entries, init, seed, compare=em_iterations > 0):
                fit = inference.fit_em(
                    on_device,
                    start,
                    a,
                    b,
                    concentration=kappa,
                    learn_concentration=fixed.concentration is None,
                    activity_concentration=delta,
                    n_iterations=em_iterations,
                    seed=seed,
                )
                value = fit.objective[-1] if fit.objective else -math.inf
                log.info("Start %d: EM objective %.1f", restart + 1, value)
                if best is None or value > best.objective[-1]:
                    best = fit
        assert best is not None
        self.module.start_from(best, entries, a, b, delta)

    def _starts(
        self, entries: ObservedEntries, init: Any, seed: int, compare: bool
    ) -> Iterator[inference.Start]:
        """Starts to try from one seed; several only where EM can ``compare`` them."""
        if isinstance(init, str):
            if init == "waypoints":
                yield inference.waypoints(entries, self.n_programs, seed)
                if compare:
                    yield inference.waypoints(entries, self.n_programs, seed, "pearson")
            elif init == "random":
                yield inference.random_start(entries, self.n_programs, seed)
            else:
                raise ValueError(
                    "Expected init 'waypoints', 'random' or (activities, programs), "
                    f"found {init!r}."
                )
            return
        if not isinstance(init, (tuple, list)) or len(init) != 2:
            raise ValueError(
                "Expected init 'waypoints', 'random' or (activities, programs), "
                f"found {type(init).__name__}."
            )
        phi, psi = (torch.as_tensor(getattr(x, "to_numpy", lambda x=x: x)()).float() for x in init)
        shapes = (entries.n_cells, self.n_programs), (entries.n_junctions, self.n_programs)
        if (tuple(phi.shape), tuple(psi.shape)) != shapes:
            raise ValueError(
                f"Expected init arrays of shapes {shapes[0]} (cells x programs) and {shapes[1]} "
                f"(junctions x programs), found {tuple(phi.shape)} and {tuple(psi.shape)}."
            )
        if not (bool((phi >= 0).all()) and bool(((psi >= 0) & (psi <= 1)).all())):
            raise ValueError("Expected init activities of at least 0 and programs in [0, 1].")
        yield inference.Start(phi, psi)

    @torch.no_grad()
    def _finish(self, entries: ObservedEntries) -> None:
        """Order programs by prevalence; give what was never observed its prior exactly."""
        module, guide = self.module, self.module.guide
        if not self.frozen_programs_:
            guide.order(guide.pi().mean.argsort(descending=True))
            unseen = (~entries.seen_junctions()).to(module.device)
            a, b = module.unseen_junction_prior()
            guide.psi_log_inclusion[unseen] = a.log()
            guide.psi_log_exclusion[unseen] = b.log()
        empty = (entries.indptr.diff() == 0).to(module.device)
        guide.phi_log[empty] = module.activity_prior().log()
