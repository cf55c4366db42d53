"""Arguments of ``train``, checked before the long work begins."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from numbers import Real
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from scvi.train import Trainer

from leafletfa_scvi._arguments import check_whole
from leafletfa_scvi._scvi import SimpleLogger, parse_device_args

_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
_RUNNER_ARGUMENTS = {"ckpt_path", "trainer_config"}


def check_positive(name: str, value: Any) -> float:
    """``value`` as a number above 0, maybe infinite, else a ValueError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) > 0:
        raise ValueError(f"Expected {name} to be a number above 0, found {value!r}.")
    return float(value)


def check_share(name: str, value: Any) -> float:
    """``value`` as a number in [0, 1), else a ValueError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) < 1.0:
        raise ValueError(f"Expected {name} in [0, 1), found {value!r}.")
    return float(value)


def check_learning_rate(lr: Any) -> float:
    """``lr`` as a finite number above 0."""
    if not math.isfinite(check_positive("lr", lr)):
        raise ValueError(f"Expected a finite lr, found {lr!r}.")
    return float(lr)


def check_early_stopping(value: Any) -> str | None:
    """``"validation"``, ``"elbo"`` or None for what the user gives."""
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
    """Arguments of the training plan with the learning rate among them."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"Expected plan_kwargs to be a mapping, found a {type(given).__name__}.")
    options = {"lr": check_learning_rate(lr), **(given or {})}
    parameters = inspect.signature(plan).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = set(parameters) - {"module"}
    unknown = [] if open_ended else sorted(set(options) - known)
    if unknown:
        raise TypeError(
            f"{plan.__name__} has no argument {unknown[0]!r}, given in plan_kwargs; it has "
            f"{', '.join(sorted(known))}."
        )
    check_learning_rate(options["lr"])
    for name, least in (("n_steps", 1), ("n_particles", 1)):
        if name in options:
            check_whole(name, options[name], least)
    if "lr_decay" in options:
        check_positive("lr_decay", options["lr_decay"])
    return options


def check_trainer_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that neither scvi's nor Lightning's trainer has."""
    known = set(_RUNNER_ARGUMENTS)
    for trainer in (Trainer, pl.Trainer):
        known |= set(inspect.signature(trainer.__init__).parameters)
    unknown = sorted(set(arguments) - known)
    if unknown:
        alike = get_close_matches(unknown[0], sorted(known), 1)
        raise TypeError(
            f"train() has no argument {unknown[0]!r}, nor has the trainer"
            + (f"; did you mean {alike[0]!r}?" if alike else ".")
        )


def training_device(accelerator: str, devices: int | str | list[int]) -> torch.device:
    """The one device to train on.

    Raises
    ------
    ValueError
        The accelerator is unknown or not there, or the device is not; or several devices are asked
        for: activities live in one process.
    """
    _check_accelerator(accelerator)
    try:
        kind, found, target = parse_device_args(accelerator, devices, return_device="torch")
    except (MisconfigurationException, TypeError) as error:
        raise ValueError(
            f"accelerator={accelerator!r} has no device {devices!r}; torch sees "
            f"{torch.cuda.device_count()} CUDA devices. Leave the device out to use the first."
        ) from error
    several = len(found) > 1 if isinstance(found, Sequence) else kind == "cpu" and found != 1
    if several and found != "auto":
        raise ValueError(
            f"Expected one device, found accelerator={accelerator!r} with devices={devices!r}. "
            "Training runs in one process; leave devices out on the CPU."
        )
    return target


def _check_accelerator(name: Any) -> None:
    """Refuse an accelerator that is unknown or that torch cannot use here."""
    if name not in _ACCELERATORS:
        raise ValueError(f"Expected accelerator to be one of {_ACCELERATORS}, found {name!r}.")
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    there = {"gpu": cuda or mps, "cuda": cuda, "mps": mps}
    if not there.get(name, True):
        kind = {"gpu": "GPU", "cuda": "CUDA device", "mps": "Apple GPU (MPS)"}[name]
        raise ValueError(
            f"There is no {kind} for accelerator={name!r} that torch {torch.__version__} can use: "
            "leave accelerator out, or use 'cpu'."
        )


def resolve_loggers(logger: str | bool | Logger | Sequence[Logger] | None) -> list[Logger]:
    """Scvi's own logger, which fills ``model.history``, and those the user asks for."""
    ours: list[Logger] = [SimpleLogger()]
    if logger is None or isinstance(logger, bool):
        return ours
    if isinstance(logger, str):
        return [*ours, _named_logger(logger)]
    return [*ours, *([logger] if isinstance(logger, Logger) else logger)]


def _named_logger(name: str) -> Logger:
    from lightning.pytorch import loggers
    from scvi import settings

    if name == "csv":
        return loggers.CSVLogger(settings.logging_dir)
    if name == "tensorboard":
        return loggers.TensorBoardLogger(settings.logging_dir)
    if name == "wandb":
        return loggers.WandbLogger(save_dir=settings.logging_dir)
    raise ValueError(f"Expected logger 'csv', 'tensorboard' or 'wandb', found {name!r}.")
