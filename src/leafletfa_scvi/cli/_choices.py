"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Method(StrEnum):
    """Choices of --method."""

    svi = "svi"
    em = "em"


class Likelihood(StrEnum):
    """Choices of --likelihood."""

    betabinomial = "betabinomial"
    binomial = "binomial"
    multinomial = "dirichlet-multinomial"


class Dispersion(StrEnum):
    """Choices of --dispersion."""

    junction = "junction"
    shared = "global"


class JunctionPrior(StrEnum):
    """Choices of --junction-prior."""

    mixture = "mixture"
    junction = "junction"
    shared = "global"


class Accelerator(StrEnum):
    """Choices of --accelerator."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


MAX_SEED = 2**32 - 1

MethodOption = Annotated[
    Method,
    typer.Option(help="svi: the posterior; em: a point estimate of programs, in seconds."),
]
LikelihoodOption = Annotated[Likelihood, typer.Option(help="Distribution of junction counts.")]
DispersionOption = Annotated[
    Dispersion | None,
    typer.Option(
        help="One concentration for each junction, or one for all (default: junction, where the "
        "likelihood has one).",
        show_default=False,
    ),
]
JunctionPriorOption = Annotated[
    JunctionPrior,
    typer.Option(
        help="Prior of a program's PSI: mixture of how far ATSEs differ between programs, one "
        "for each junction, or one for all."
    ),
]
RestartsOption = Annotated[int, typer.Option(min=1, help="Starts to choose the best from.")]
MaxEpochsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Passes over the data (default: by its size); not for em."),
]
SeedOption = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Random seed.")]
JunctionLayerOption = Annotated[str, typer.Option(help="Layer of junction counts.")]
ClusterLayerOption = Annotated[str, typer.Option(help="Layer of ATSE totals.")]
AtseKeyOption = Annotated[str, typer.Option(help="Column of var with ATSE labels.")]
AcceleratorOption = Annotated[Accelerator, typer.Option(help="Where to train.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")
]


def model_options(
    likelihood: Likelihood, dispersion: Dispersion | None, junction_prior: JunctionPrior
) -> dict[str, str | None]:
    """Arguments of the model."""
    return {
        "likelihood": likelihood.value,
        "dispersion": None if dispersion is None else dispersion.value,
        "junction_prior": junction_prior.value,
    }
