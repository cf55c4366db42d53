"""Options of ``train``, all checked before the long work begins."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from scvi.train import Trainer

from leafletfa_scvi._arguments import check_inside, check_one_of, check_positive, check_whole
from leafletfa_scvi._choices import Initialization, TrainingMethod
from leafletfa_scvi._constants import EM_ITERATIONS, FIRST_EM_ITERATIONS
from leafletfa_scvi._scvi import SimpleLogger, parse_device_args
from leafletfa_scvi.train import ElboPlateau, EpochProgress, Progress, no_progress

if TYPE_CHECKING:
    from leafletfa_scvi.model._base import SplicingModelBase

Init: TypeAlias = Initialization | tuple[Any, Any]

_INITIAL_LR, _FURTHER_LR = 0.05, 0.01
_VALIDATION_SIZE = 0.05
_MONITOR = "reconstruction_loss_validation"
_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
_RUNNER_ARGUMENTS = {"ckpt_path", "trainer_config"}
_DISPLAY_ARGUMENTS = {
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "progress_bar_refresh_rate",
    "simple_progress_bar",
}
"""Arguments of the trainer that change no result, so that code for any model works for a query."""


@dataclass(frozen=True)
class TrainingOptions:
    """Checked arguments of ``train``.

    Attributes
    ----------
    method, max_epochs, batch_size, init, n_restarts, em_iterations
        As passed to ``train``.
    validation_size
        Fraction of the observed (cell, ATSE) pairs to hide; 0 for none.
    device
        Device to train on.
    plan
        Arguments of the training plan.
    trainer
        Arguments of the trainer, callbacks and loggers among them.
    progress
        Function to tell how far training is.
    """

    method: TrainingMethod
    max_epochs: int | None
    batch_size: int | None
    init: Init
    n_restarts: int
    em_iterations: int
    validation_size: float
    device: torch.device
    plan: dict[str, Any]
    trainer: dict[str, Any]
    progress: Progress

    @classmethod
    def checked(
        cls,
        model: SplicingModelBase,
        *,
        plan_class: type,
        max_epochs: int | None,
        method: TrainingMethod,
        accelerator: str,
        devices: int | str | list[int],
        batch_size: int | None,
        init: Init,
        n_restarts: int,
        em_iterations: int | None,
        validation_size: float | None,
        early_stopping: bool | Literal["elbo", "validation"],
        lr: float | None,
        plan_kwargs: dict[str, Any] | None,
        logger: str | Logger | Sequence[Logger] | None,
        progress: Progress | None,
        trainer_kwargs: dict[str, Any],
    ) -> TrainingOptions:
        """Check the arguments of ``train`` and fill in those left out.

        Raises
        ------
        ValueError, TypeError, RuntimeError
            As of ``train``.
        """
        trainer_kwargs = dict(trainer_kwargs)
        train_size = trainer_kwargs.pop("train_size", None)
        check_trainer_arguments(trainer_kwargs)
        if train_size is not None and train_size != 1.0:
            raise ValueError(
                f"Expected train_size to be 1, found {train_size}: each cell has its own "
                "activities, so all cells are trained on. Use validation_size to hide (cell, "
                "ATSE) pairs instead."
            )
        if max_epochs is not None:
            max_epochs = check_whole("max_epochs", max_epochs, 0)
        if batch_size is not None:
            batch_size = check_whole("batch_size", batch_size, 1)
        n_restarts = check_whole("n_restarts", n_restarts, 1)
        gives_iterations = em_iterations is not None
        if em_iterations is None:
            em_iterations = EM_ITERATIONS if method == "em" else FIRST_EM_ITERATIONS
        em_iterations = check_whole("em_iterations", em_iterations, 0)
        if n_restarts > 1 and em_iterations == 0:
            raise ValueError(
                f"Expected em_iterations above 0 for n_restarts={n_restarts}, found 0: restarts "
                "are compared after EM. Leave one of them out."
            )
        if n_restarts > 1 and not isinstance(init, str):
            raise ValueError(
                "Expected n_restarts=1 with init arrays, from which each restart is the same, "
                f"found {n_restarts}. Leave n_restarts out, or init."
            )
        stop_by = check_early_stopping(early_stopping)
        check_one_of("method", method, TrainingMethod)
        if model.fits_activities_only:
            _check_query(
                {
                    "init": not (isinstance(init, str) and init == "waypoints"),
                    "n_restarts": n_restarts > 1,
                    "em_iterations": gives_iterations,
                    "early_stopping": stop_by is not None,
                    "lr": lr is not None,
                    "plan_kwargs": bool(plan_kwargs),
                    "logger": not (logger is None or isinstance(logger, bool)),
                    **{
                        name: value not in (None, [], ())
                        for name, value in trainer_kwargs.items()
                        if name not in _DISPLAY_ARGUMENTS
                    },
                }
            )
        if method == "em":
            _check_em(model, em_iterations)
            if not (max_epochs is None and batch_size is None and stop_by is None):
                raise ValueError(
                    "method='em' has no epochs or minibatches, and stops at convergence: leave "
                    "out max_epochs, batch_size and early_stopping."
                )
        if progress is not None and not callable(progress):
            raise TypeError(
                "Expected progress to be a function of stage, done and of, found "
                f"{type(progress).__name__}. Leave it out for none; enable_progress_bar=False "
                "hides the bar."
            )
        if lr is None:
            lr = _FURTHER_LR if model.is_trained_ else _INITIAL_LR
        validation_size = _check_validation_size(validation_size, stop_by)
        return cls(
            method=method,
            max_epochs=max_epochs,
            batch_size=batch_size,
            init=init,
            n_restarts=n_restarts,
            em_iterations=em_iterations,
            plan=check_plan_arguments(plan_class, plan_kwargs, lr),
            device=training_device(accelerator, devices),
            validation_size=validation_size,
            trainer={
                **_trainer_defaults(stop_by, validation_size),
                **trainer_kwargs,
                "callbacks": _callbacks(trainer_kwargs.get("callbacks"), stop_by, progress),
                "logger": resolve_loggers(logger),
                "accelerator": accelerator,
                "devices": devices,
                "early_stopping": stop_by == "validation",
            },
            progress=progress or no_progress,
        )

    def report_em(self, n_iterations: int, objective: float) -> None:
        """Tell how far EM is."""
        self.progress("EM", min(n_iterations, self.em_iterations), self.em_iterations)


def _check_query(given: Mapping[str, bool]) -> None:
    """Raise an error for arguments of gradient training that were given for a query."""
    names = sorted(name for name, is_given in given.items() if is_given)
    if names:
        raise ValueError(
            f"Expected no {names[0]} for a query, whose cells are placed one by one on the "
            "programs of the reference: leave it out. train() of a query takes max_epochs, "
            "batch_size, validation_size, accelerator and devices."
        )


def _check_em(model: SplicingModelBase, n_iterations: int) -> None:
    """Raise an error if EM alone cannot fit the model."""
    if model.fits_activities_only:
        raise ValueError(
            "method='em' cannot fit a query, whose activities are fitted to the programs of a "
            "reference: use method='svi'."
        )
    if model.is_trained_:
        raise ValueError("method='em' cannot continue training: create a new model.")
    if n_iterations == 0:
        raise ValueError("Expected em_iterations above 0 for method='em', found 0.")


def _check_validation_size(value: float | None, stop_by: str | None) -> float:
    """Check the fraction of hidden pairs, which early stopping by validation needs."""
    if value is None:
        return _VALIDATION_SIZE if stop_by == "validation" else 0.0
    value = check_inside("validation_size", value, "[0, 1)")
    if stop_by == "validation" and value == 0.0:
        raise ValueError(
            "Expected validation_size above 0 for early stopping by validation, found 0: leave "
            "it out, or use early_stopping='elbo'."
        )
    return value


def _trainer_defaults(stop_by: str | None, validation_size: float) -> dict[str, Any]:
    """Arguments of the trainer that the user may override."""
    defaults: dict[str, Any] = {"log_every_n_steps": 1}
    if stop_by == "validation":
        defaults["early_stopping_monitor"] = _MONITOR
    if validation_size > 0.0:
        defaults["check_val_every_n_epoch"] = 1
    return defaults


def _callbacks(given: Any, stop_by: str | None, progress: Progress | None) -> list[pl.Callback]:
    """List the callbacks of the user (one, several or None), of early stopping and progress."""
    if given is None:
        given = []
    callbacks = list(given) if isinstance(given, list | tuple) else [given]
    own: list[pl.Callback] = [ElboPlateau()] if stop_by == "elbo" else []
    if progress is not None:
        own.append(EpochProgress(progress))
    return [*callbacks, *own]


def check_early_stopping(value: Any) -> str | None:
    """Return the criterion of early stopping, ``"validation"`` or ``"elbo"``, or None."""
    if isinstance(value, bool | np.bool_):
        return "validation" if value else None
    if isinstance(value, str) and value in ("validation", "elbo"):
        return value
    if value is not None:
        raise ValueError(
            f"Expected early_stopping True, False, 'validation' or 'elbo', found {value!r}."
        )
    return None


def check_plan_arguments(plan: type, given: Mapping[str, Any] | None, lr: float) -> dict[str, Any]:
    """Check the arguments of the training plan, and add the learning rate to them."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"Expected plan_kwargs to be a mapping, found a {type(given).__name__}.")
    options = {"lr": check_positive("lr", lr, finite=True), **(given or {})}
    parameters = inspect.signature(plan).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = set(parameters) - {"module"}
    unknown = [] if open_ended else sorted(set(options) - known)
    if unknown:
        raise TypeError(
            f"{plan.__name__} has no argument {unknown[0]!r}, given in plan_kwargs; it has "
            f"{', '.join(sorted(known))}."
        )
    check_positive("lr", options["lr"], finite=True)
    for name, least in (("n_steps", 1), ("n_particles", 1)):
        if name in options:
            check_whole(name, options[name], least)
    if "lr_decay" in options:
        check_positive("lr_decay", options["lr_decay"])
    return options


def check_trainer_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise an error for arguments that neither scvi's nor Lightning's trainer has."""
    known = set(_RUNNER_ARGUMENTS)
    for trainer in (Trainer, pl.Trainer):
        known |= set(inspect.signature(trainer.__init__).parameters)
    unknown = sorted(set(arguments) - known)
    if unknown:
        similar = get_close_matches(unknown[0], sorted(known), 1)
        raise TypeError(
            f"train() has no argument {unknown[0]!r}, nor has the trainer"
            + (f"; did you mean {similar[0]!r}?" if similar else ".")
        )


def training_device(accelerator: str, devices: int | str | list[int]) -> torch.device:
    """Resolve the device to train on.

    Raises
    ------
    ValueError
        The accelerator is unknown or not available, or the device is not; or several devices are
        requested, while training runs in one process.
    """
    _check_accelerator(accelerator)
    target: torch.device
    try:
        kind, resolved, target = parse_device_args(accelerator, devices, return_device="torch")
    except (MisconfigurationException, TypeError) as error:
        raise ValueError(
            f"accelerator={accelerator!r} has no device {devices!r}; torch sees "
            f"{torch.cuda.device_count()} CUDA devices. Leave the device out to use the first."
        ) from error
    is_list = isinstance(resolved, Sequence)
    several = len(resolved) > 1 if is_list else kind == "cpu" and resolved != 1
    if several and resolved != "auto":
        raise ValueError(
            f"Expected one device, found accelerator={accelerator!r} with devices={devices!r}. "
            "Training runs in one process; leave devices out on the CPU."
        )
    return target


def _check_accelerator(name: Any) -> None:
    """Raise an error for an accelerator that is unknown or that torch cannot use."""
    check_one_of("accelerator", name, _ACCELERATORS)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    available = {"gpu": cuda or mps, "cuda": cuda, "mps": mps}
    if not available.get(name, True):
        kind = {"gpu": "GPU", "cuda": "CUDA device", "mps": "Apple GPU (MPS)"}[name]
        raise ValueError(
            f"There is no {kind} for accelerator={name!r} that torch {torch.__version__} can use: "
            "leave accelerator out, or use 'cpu'."
        )


def resolve_loggers(logger: str | bool | Logger | Sequence[Logger] | None) -> list[Logger]:
    """List scvi's own logger, which fills ``model.history``, and those of the user."""
    own: list[Logger] = [SimpleLogger()]
    if logger is None or isinstance(logger, bool):
        return own
    if isinstance(logger, str):
        return [*own, _named_logger(logger)]
    return [*own, *([logger] if isinstance(logger, Logger) else logger)]


def _named_logger(name: str) -> Logger:
    """Create a logger of Lightning by its name."""
    from lightning.pytorch import loggers
    from scvi import settings

    if name == "csv":
        return loggers.CSVLogger(settings.logging_dir)
    if name == "tensorboard":
        return loggers.TensorBoardLogger(settings.logging_dir)
    if name == "wandb":
        return loggers.WandbLogger(save_dir=settings.logging_dir)
    raise ValueError(f"Expected logger 'csv', 'tensorboard' or 'wandb', found {name!r}.")
