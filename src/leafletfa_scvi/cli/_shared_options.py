"""Options that several commands share, and the checks and errors that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from leafletfa_scvi._choices import (
    Accelerator,
    Dispersion,
    JunctionPrior,
    Likelihood,
    TrainingMethod,
)
from leafletfa_scvi.cli._console import UserError
from leafletfa_scvi.cli._defaults import defaults_of
from leafletfa_scvi.cli._option_groups import OptionGroup

MODEL: Final = defaults_of("model", "LeafletFAModel.__init__")
SETUP: Final = defaults_of("model", "LeafletFAModel.setup_anndata")
TRAIN: Final = defaults_of("model", "TrainingMixin.train")
"""Defaults of the model, of registering data, and of training."""

MAX_SEED: Final = 2**32 - 1

BAD_DATA: Final = (ValueError, KeyError, TypeError)
"""Errors by which the library refuses data and arguments."""
OUT_OF_MEMORY: Final = (
    "Out of memory; train on fewer cells or junctions, or with another --accelerator."
)

DataArgument = Annotated[
    Path, typer.Argument(help="Splicing data set (.h5ad), cells x junctions.", metavar="DATA")
]
MethodOption = Annotated[
    TrainingMethod,
    typer.Option(
        help="svi: posterior by variational inference; em: point estimate of programs, in seconds."
    ),
]
SampleOption = Annotated[
    str | None,
    typer.Option(
        "--sample",
        help="Column of obs with the samples (donor, mouse, plate), which are then the "
        "replicates. Without it cells are, and the result holds for these cells only.",
        metavar="COLUMN",
    ),
]
DeltaOption = Annotated[
    float, typer.Option(help="Difference in PSI that must be exceeded.", min=0, max=0.99)
]
SeedOption = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Random seed.")]


@dataclass(frozen=True)
class DisplayOptions(OptionGroup):
    """What a command prints."""

    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the results on stdout as one JSON object; progress and warnings go to "
            "stderr.",
        ),
    ] = False


@dataclass(frozen=True)
class TrainingOptions(OptionGroup):
    """Arguments of ``train``."""

    max_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data (default: by its size); not for em."),
    ] = TRAIN["max_epochs"]
    n_restarts: Annotated[
        int,
        typer.Option("--restarts", min=1, help="Initializations, of which the best is used."),
    ] = TRAIN["n_restarts"]
    accelerator: Annotated[Accelerator, typer.Option(help="Device to train on.")] = TRAIN[
        "accelerator"
    ]


@dataclass(frozen=True)
class ModelOptions(OptionGroup):
    """Arguments of the model."""

    likelihood: Annotated[Likelihood, typer.Option(help="Distribution of junction counts.")] = (
        MODEL["likelihood"]
    )
    dispersion: Annotated[
        Dispersion | None,
        typer.Option(
            help="One concentration for each junction, or one for all (default: junction, if the "
            "likelihood has one).",
            show_default=False,
        ),
    ] = MODEL["dispersion"]
    junction_prior: Annotated[
        JunctionPrior,
        typer.Option(
            help="Prior of a program's PSI: mixture of how far ATSEs differ between programs, one "
            "for each junction, or one for all."
        ),
    ] = MODEL["junction_prior"]


@dataclass(frozen=True)
class LayerOptions(OptionGroup):
    """Arguments of ``setup_anndata``."""

    junction_layer: Annotated[str, typer.Option(help="Layer of junction counts.")] = SETUP[
        "junction_layer"
    ]
    cluster_layer: Annotated[str, typer.Option(help="Layer of ATSE totals.")] = SETUP[
        "cluster_layer"
    ]
    atse_key: Annotated[str, typer.Option(help="Column of var with ATSE labels.")] = SETUP[
        "atse_key"
    ]
    batch_key: Annotated[
        str | None,
        typer.Option(
            "--batch",
            help="Column of obs with batches (plates, laboratories, technologies), whose shifts "
            "of PSI are modeled.",
            metavar="COLUMN",
        ),
    ] = SETUP["batch_key"]


def check_method(method: TrainingMethod, **svi_only: Any) -> None:
    """Refuse options that variational inference alone has, given by their names."""
    for name, value in svi_only.items():
        if method == "em" and value is not None:
            raise UserError(
                f"--{name.replace('_', '-')} is for --method svi: em uses all cells at once and "
                "stops when it has converged. Leave it out."
            )


def check_accelerator(name: Accelerator) -> None:
    """Refuse a GPU if none is available."""
    import torch

    if name == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise UserError("There is no GPU for --accelerator gpu; leave the option out.")
