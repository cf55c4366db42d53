"""``leafletfa choose-k``: its options, and what it refuses before the work."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated

import typer

from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi.cli._choices import (
    Accelerator,
    AcceleratorOption,
    AtseKeyOption,
    ClusterLayerOption,
    DispersionOption,
    JunctionLayerOption,
    JunctionPrior,
    JunctionPriorOption,
    Likelihood,
    LikelihoodOption,
    MaxEpochsOption,
    Method,
    MethodOption,
    QuietOption,
    RestartsOption,
    SeedOption,
    model_options,
)
from leafletfa_scvi.cli._console import Reporter, UserError

_MOST_PROGRAMS = 1000


def choose_k(
    data: Annotated[
        Path, typer.Argument(help="Splicing data set (.h5ad), cells x junctions.", metavar="DATA")
    ],
    programs: Annotated[
        str,
        typer.Option(
            "--programs",
            "-k",
            help="Numbers of programs to try: FIRST:LAST or FIRST:LAST:STEP, both ends included "
            "(2:16:2 is 2, 4, ..., 16), numbers set apart by commas (4,8,12), or several of these "
            "(2:6,8,12:20:4).",
            metavar="NUMBERS",
        ),
    ] = "2:16:2",
    seeds: Annotated[
        int, typer.Option(min=1, help="Splits of the data, each with a start of its own.")
    ] = 3,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write the table (.csv); by default DATA.programs.csv.",
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Where to draw it (.png, .pdf, .svg).")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the table and the figure.")
    ] = False,
    fraction: Annotated[
        float, typer.Option(help="Share of (cell, ATSE) pairs to hide.", min=0.001, max=0.9)
    ] = 0.1,
    method: MethodOption = Method.em,
    max_epochs: MaxEpochsOption = None,
    restarts: RestartsOption = 1,
    seed: SeedOption = 0,
    likelihood: LikelihoodOption = Likelihood.betabinomial,
    dispersion: DispersionOption = None,
    junction_prior: JunctionPriorOption = JunctionPrior.mixture,
    junction_layer: JunctionLayerOption = JUNCTION_LAYER,
    cluster_layer: ClusterLayerOption = CLUSTER_LAYER,
    atse_key: AtseKeyOption = ATSE_KEY,
    accelerator: AcceleratorOption = Accelerator.auto,
    quiet: QuietOption = False,
) -> None:
    """Compare numbers of programs by how well they predict reads hidden from training."""
    from leafletfa_scvi.cli._outputs import check_distinct, check_input, check_output

    numbers = parse_numbers(programs)
    if method is Method.em and max_epochs is not None:
        raise UserError("--max-epochs is for --method svi: em stops where it has converged.")
    check_input(data)
    output = data.with_suffix(".programs.csv") if output is None else output
    check_output(output, [data], overwrite, "The table")
    if figure is not None:
        if figure.suffix not in (".png", ".pdf", ".svg"):
            raise UserError(f"--figure {figure}: expected a name that ends with .png, .pdf, .svg.")
        check_output(figure, [data], overwrite, "The figure")
        check_distinct({"--output": output, "--figure": figure})

    reporter = Reporter(quiet)
    reporter.stage(f"Reading {data}")
    with reporter.tidy():
        from leafletfa_scvi.cli._choose import run_choose_k

        run_choose_k(
            reporter,
            data,
            output,
            figure,
            numbers=numbers,
            options={
                "n_seeds": seeds,
                "fraction": fraction,
                "method": method.value,
                "seed": seed,
                "junction_layer": junction_layer,
                "cluster_layer": cluster_layer,
                "atse_key": atse_key,
            },
            model=model_options(likelihood, dispersion, junction_prior),
            training={
                "n_restarts": restarts,
                "accelerator": accelerator.value,
                **({} if max_epochs is None else {"max_epochs": max_epochs}),
            },
        )


def parse_numbers(text: str) -> list[int]:
    """Numbers of programs in ``2:16:2``, ``4,8,12`` and the like, rising, each once."""
    found: set[int] = set()
    for part in text.split(","):
        if not re.fullmatch(r"\d+(:\d+){0,2}", part.strip(), re.ASCII):
            raise UserError(
                f"--programs {text}: expected numbers as FIRST:LAST:STEP or with commas, such as "
                f"2:16:2 or 4,8,12, found {part.strip()!r}."
            )
        first, last, step = (int(number) for number in _filled(part))
        if not 1 <= first <= last <= _MOST_PROGRAMS or step < 1:
            raise UserError(
                f"--programs {text}: expected numbers from 1 to {_MOST_PROGRAMS}, FIRST no larger "
                f"than LAST and STEP from 1, found {part.strip()}."
            )
        found.update(range(first, last + 1, step))
    return sorted(found)


def _filled(part: str) -> tuple[str, str, str]:
    """``first``, ``last`` and ``step``, of which the last two may be left out."""
    given = part.strip().split(":")
    return given[0], given[1] if len(given) > 1 else given[0], given[2] if len(given) > 2 else "1"
