"""Training: initialization, expected-table EM, then stochastic variational inference in Pyro."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from scvi.train import TrainRunner

from leafletfa_scvi._warnings import ConvergenceWarning
from leafletfa_scvi.data import holdout_mask
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._extend import fixed_state
from leafletfa_scvi.model._fit_state import rollback_on_error, select_programs
from leafletfa_scvi.model._identifiability import report_identifiability
from leafletfa_scvi.model._initialize import initialize, set_fit
from leafletfa_scvi.model._placement import place_cells
from leafletfa_scvi.model._training_options import Init, TrainingOptions
from leafletfa_scvi.model._variances import set_variances
from leafletfa_scvi.module import pyro_alone
from leafletfa_scvi.train import (
    SplicingDataSplitter,
    SplicingTrainingPlan,
    has_plateaued,
    without_adverts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning.pytorch.loggers import Logger

    from leafletfa_scvi import inference
    from leafletfa_scvi._choices import TrainingMethod
    from leafletfa_scvi.model._initialize import StartedFit
    from leafletfa_scvi.ops import ObservedEntries
    from leafletfa_scvi.train import Progress

_DEFAULT_STEPS, _MIN_EPOCHS = 300, 30
_JUDGED_EPOCHS, _MIN_JUDGED = 60, 20


class TrainingMixin(SplicingModelBase):
    """``train`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    _training_plan_cls = SplicingTrainingPlan
    _data_splitter_cls = SplicingDataSplitter
    _train_runner_cls = TrainRunner

    def train(
        self,
        max_epochs: int | None = None,
        *,
        method: TrainingMethod = "svi",
        accelerator: str = "auto",
        devices: int | str | list[int] = "auto",
        batch_size: int | None = None,
        init: Init = "waypoints",
        n_restarts: int = 1,
        em_iterations: int | None = None,
        validation_size: float | None = None,
        early_stopping: bool | Literal["elbo", "validation"] = False,
        lr: float | None = None,
        plan_kwargs: dict[str, Any] | None = None,
        logger: str | Logger | Sequence[Logger] | None = None,
        progress: Progress | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Fit the model.

        Expected-table EM, which needs no learning rate, improves the initialization; variational
        inference then continues from there to the posterior. On the CPU, results are reproducible
        for a given ``scvi.settings.seed``. A second call continues where the first ended. If
        training fails or is interrupted, the model is restored to its state before the call.
        Pyro and torch keep their states for the whole process, so threads train one at a time, and
        the same holds for methods that draw, such as ``program_markers`` and activities of new
        cells. Set ``scvi.settings.seed`` while no other thread draws.

        Of a query (:meth:`load_query_data`) only activities are fitted, those of each cell on its
        own, as by :meth:`get_cell_activities`: on the CPU they depend neither on the other cells
        nor on a seed, not even in their last digit. It takes ``max_epochs`` (here the gradient
        steps of a cell; None for 150), ``batch_size`` (cells fitted at a time, which changes no
        result), ``validation_size`` (scored once, at the end), ``accelerator`` and ``devices``. A
        second call fits the activities anew.

        Parameters
        ----------
        max_epochs
            Number of passes over the data. If None, as many as 300 gradient steps take, but at
            least 30.
        method
            ``"svi"``: EM, then variational inference, for a posterior; ``"em"``: EM alone, a point
            estimate in seconds, with variances from the curvature of the likelihood. ``"em"`` is
            not compatible with ``max_epochs``, ``batch_size`` and ``early_stopping``.
        accelerator, devices
            Device to train on, as in :class:`lightning.pytorch.Trainer`: ``"cpu"``, ``"gpu"``,
            ...; ``devices`` is one device, for example ``[1]`` for the second GPU.
        batch_size
            Number of cells in a minibatch. If None, all cells are one batch, which is fastest if
            they fit in memory.
        init
            ``"waypoints"`` (clusters of cells with similar splicing, plotted by
            :func:`leafletfa_scvi.pl.waypoints`), ``"random"``, or a pair of arrays or DataFrames:
            activities ``(C, K)`` and programs ``(P, K)``; the rows of DataFrames are matched by
            name. Ignored by a second call.
        n_restarts
            Number of initializations from different seeds, of which the best after EM is used.
            Needs ``em_iterations > 0``.
        em_iterations
            Maximum number of EM iterations; 0 skips EM. If None, 600 with ``method="em"`` and 60
            otherwise: variational inference goes on from there.
        validation_size
            Fraction of observed (cell, ATSE) pairs to hide from training and to score at each
            epoch as ``reconstruction_loss_validation``; later calls hide the same pairs. If None,
            0.05 with early stopping by validation, and 0 otherwise.
        early_stopping
            ``"validation"`` or True: stop when that score stops improving; arguments such as
            ``early_stopping_patience`` are passed to :class:`scvi.train.Trainer`. ``"elbo"``: stop
            when the training loss no longer decreases by more than its noise between the halves of
            the last 40 epochs. False: train all epochs.
        lr
            Initial learning rate, which decays to 5 % of its value. If None, 0.05, or 0.01 if the
            model is already trained, so that further training does not undo the fit.
        plan_kwargs
            Arguments of :class:`~leafletfa_scvi.train.SplicingTrainingPlan`.
        logger
            One or several Lightning loggers, or ``"csv"``, ``"tensorboard"`` or ``"wandb"``, in
            addition to ``model.history``.
        progress
            Called with the name of the stage (``"start"``, ``"EM"``, ``"variational inference"``
            or ``"variances"``; of a query ``"activities"``), how many of its steps are done, and
            how many there are at most, or None if that is not known. Unlike Lightning's bar,
            which ``enable_progress_bar=False`` hides, it covers all stages.
        **trainer_kwargs
            Arguments of :class:`scvi.train.Trainer`: ``callbacks``, ``enable_progress_bar``, ...

        Raises
        ------
        ValueError
            An argument is out of range or does not apply to a query, or the model has no data.
        TypeError
            An argument is unknown to both ``train`` and the trainer.
        FloatingPointError
            The loss is not finite.
        RuntimeError
            Called within :class:`torch.inference_mode`, or for a model that was created there.

        Warns
        -----
        UserWarning
            The loss, or the objective with ``method="em"``, had not converged at the end.
        IdentifiabilityWarning
            The data do not determine the fit: programs rest on single cells or cannot be told
            apart, or activities are mostly prior; see :meth:`identifiability`.
        """
        options = TrainingOptions.checked(
            self,
            plan_class=self._training_plan_cls,
            max_epochs=max_epochs,
            method=method,
            accelerator=accelerator,
            devices=devices,
            batch_size=batch_size,
            init=init,
            n_restarts=n_restarts,
            em_iterations=em_iterations,
            validation_size=validation_size,
            early_stopping=early_stopping,
            lr=lr,
            plan_kwargs=plan_kwargs,
            logger=logger,
            progress=progress,
            trainer_kwargs=trainer_kwargs,
        )
        self._check_gradients()
        with pyro_alone(), rollback_on_error(self):
            training, hidden = self._hold_out(options.validation_size)
            if self.fits_activities_only:
                self._place(training, hidden, options)
                self._finish(training, options)
                report_identifiability(self, training)
                return
            fit = None if self.is_trained_ else initialize(self, training, options)
            if options.method == "svi":
                self._run(training, hidden, options)
            else:
                self._finish_em(fit, options)
            if fit is not None:
                self.history_ = {**(self.history_ or {}), "em_objective": _em_history(fit)}
            self._finish(training, options)
            report_identifiability(self, training)

    def _check_gradients(self) -> None:
        """Raise an error if torch does not track gradients."""
        if torch.is_inference_mode_enabled():
            raise RuntimeError("Training needs gradients: call train outside inference_mode().")
        if any(x.is_inference() for x in self.module.state_dict().values()):
            raise RuntimeError(
                "The model was created or loaded within torch.inference_mode(), where tensors "
                "cannot be trained: create or load it outside."
            )

    def _hold_out(self, validation_size: float) -> tuple[ObservedEntries, ObservedEntries | None]:
        """Split the observed entries into those to train on and those to validate on."""
        entries = self._training_entries()
        if validation_size == 0.0:
            return entries, None
        if self.atse_codes_ is None:
            warnings.warn(
                "No ATSE labels were registered, so the other junctions of the ATSE of each "
                "hidden entry stay in training, and validation is too favorable: name their "
                "column, setup_anndata(adata, atse_key=...).",
                UserWarning,
                stacklevel=3,
            )
        if self.validation_seed_ is None:  # a second call hides the same pairs
            self.validation_seed_ = self._seed()
        mask = holdout_mask(entries, self.atse_codes_, validation_size, self.validation_seed_)
        if not bool(mask.any()):
            raise ValueError(
                f"validation_size={validation_size} hides no (cell, ATSE) pair of "
                f"{entries.n_entries} observed entries: choose a larger one."
            )
        return entries.keep(~mask), entries.keep(mask)

    def _place(
        self,
        training: ObservedEntries,
        hidden: ObservedEntries | None,
        options: TrainingOptions,
    ) -> None:
        """Fit the activities of a query."""
        self.to_device(options.device)
        place_cells(
            self, training, hidden, options.max_epochs, options.batch_size, options.progress
        )
        self._has_converged = True
        assert self.history_ is not None
        n_steps = len(self.history_["elbo_train"])
        if n_steps:
            self._warn_if_not_converged(n_steps)

    def _run(
        self,
        training: ObservedEntries,
        hidden: ObservedEntries | None,
        options: TrainingOptions,
    ) -> None:
        """Run variational inference from where the guide is."""
        scored = None if hidden is None else self._likelihood_entries(hidden)
        splitter = self._data_splitter_cls(
            self._likelihood_entries(training), scored, options.batch_size
        )
        n_batches = len(splitter.train_dataloader())
        max_epochs = options.max_epochs
        if max_epochs is None:
            max_epochs = max(_MIN_EPOCHS, math.ceil(_DEFAULT_STEPS / n_batches))
        plan = self._training_plan_cls(
            self.module, **{"n_steps": max_epochs * n_batches, **options.plan}
        )
        with without_adverts():
            runner = self._train_runner_cls(
                self,
                training_plan=plan,
                data_splitter=splitter,
                max_epochs=max_epochs,
                **options.trainer,
            )
            self._has_converged = True
            self.module.train()
            kept = fixed_state(self)
            runner()
        kept.restore(self)  # exactly, also with an optimizer that decays weights
        # scvi leaves out of the history what the first run had not logged.
        self.history_ = {**runner.trainer.logger.history, **(self.history_ or {})}
        if max_epochs and not runner.trainer.should_stop:
            self._warn_if_not_converged(max_epochs)

    def _warn_if_not_converged(self, n_epochs: int) -> None:
        """Warn if the loss was still decreasing in the last of ``n_epochs``."""
        assert self.history_ is not None
        losses = self.history_["elbo_train"].to_numpy(dtype=float).ravel()[-n_epochs:]
        window = min(_JUDGED_EPOCHS, len(losses))
        self._has_converged = window < _MIN_JUDGED or has_plateaued(losses, window)
        if not self._has_converged:
            warnings.warn(
                "The loss was still decreasing when training ended (pl.history shows it): call "
                "train() again to continue, or train a new model with a larger max_epochs.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _finish_em(self, fit: inference.EMResult | None, options: TrainingOptions) -> None:
        """Mark the model as trained by EM alone."""
        assert fit is not None
        self.module.eval()
        self.is_trained_, self.history_ = True, {}
        self.train_indices = np.arange(self.module.model.n_obs)
        self._has_converged = fit.converged
        if not fit.converged:
            warnings.warn(
                f"The EM objective was still increasing after {options.em_iterations} iterations: "
                "raise em_iterations.",
                ConvergenceWarning,
                stacklevel=3,
            )

    @torch.no_grad()
    def _read_unfinished(self, started: StartedFit) -> None:
        """Set an untrained model to EM as far as it is, for predictions: it has no variances."""
        entries = self._training_entries()
        with pyro_alone():
            set_fit(self, entries, started.run.result(n_draws=1), started.waypoints)
            self.module.eval()
            self.is_trained_ = True
            self._order(entries)

    def _finish(self, entries: ObservedEntries, options: TrainingOptions) -> None:
        """Order programs by prevalence, restore the prior of unobserved parts, set variances."""
        options.progress("variances", 0, None)
        self._order(entries)
        set_variances(self, entries)

    @torch.no_grad()
    def _order(self, entries: ObservedEntries) -> None:
        """Order programs by prevalence, and restore the prior of unobserved parts."""
        module, guide = self.module, self.module.guide
        if not self.frozen_programs_ and self.n_reference_programs_ is None:
            order = guide.pi().mean.argsort(descending=True)
            guide.order(order)
            select_programs(self, order.cpu().numpy())
        if not self.fits_activities_only:
            module.restore_prior(self._pooled_entries(entries))
        empty = (entries.indptr.diff() == 0).to(module.device)
        guide.phi_log[empty] = module.activity_prior().log()


def _em_history(fit: inference.EMResult) -> pd.DataFrame:
    """Table of the EM objective, one row for each iteration."""
    frame = pd.DataFrame({"em_objective": fit.objective})
    frame.index.name = "cycle"
    return frame
