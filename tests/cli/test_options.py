"""Options of the command: their defaults, and groups of them that commands share."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pytest
import typer
from typer.testing import CliRunner

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._defaults import defaults_of
from leafletfa_scvi.cli._main import app
from leafletfa_scvi.cli._option_groups import OptionGroup, with_groups
from leafletfa_scvi.cli._shared_options import MODEL, SETUP, TRAIN
from leafletfa_scvi.cli.choose_k import parse_numbers
from leafletfa_scvi.cli.differential import ComparisonOptions


def signature_defaults(function) -> dict:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lfa.LeafletFAModel.__init__, MODEL),
        (lfa.LeafletFAModel.setup_anndata, SETUP),
        (lfa.LeafletFAModel.train, TRAIN),
        (lfa.pp.make_splicing_dataset, defaults_of("pp", "make_splicing_dataset")),
        (lfa.pp.read_junctions, defaults_of("pp", "read_junctions")),
    ],
)
def test_defaults_read_from_source_are_those_of_the_signature(function, found):
    assert found == signature_defaults(function)


def test_defaults_of_choose_k_are_those_of_the_function():
    expected = signature_defaults(lfa.tl.select_n_programs)
    found = defaults_of("tl", "select_n_programs")
    programs = expected.pop("n_programs")  # a range, which is not a literal
    assert found == expected
    (command,) = [c for c in app.registered_commands if c.name == "choose-k"]
    text = inspect.signature(command.callback).parameters["programs"].default
    assert parse_numbers(text) == list(programs)


def test_defaults_of_differential_are_those_of_the_method():
    expected = signature_defaults(lfa.LeafletFAModel.differential_splicing)
    for field in dataclasses.fields(ComparisonOptions):
        if field.name != "groupby":
            assert field.default == expected[field.name], field.name


@dataclass(frozen=True)
class Drink(OptionGroup):
    panel: ClassVar = "Drinks"

    size: Annotated[int, typer.Option("--cups", help="Number of cups.")]
    kind: Annotated[Literal["tea", "coffee"], typer.Option(help="What to pour.")] = "tea"
    sugar: Annotated[int | None, typer.Option(help="Lumps.")] = None


def test_a_group_gives_its_options_to_every_command_that_takes_it():
    served = []
    app = typer.Typer()

    @app.command()
    @with_groups
    def breakfast(eggs: int = 1, *, drink: Drink) -> None:
        served.append(("breakfast", eggs, drink.arguments()))

    @app.command()
    @with_groups
    def dinner(*, drink: Drink, soup: bool = False) -> None:
        served.append(("dinner", soup, drink.arguments()))

    run = CliRunner().invoke
    assert run(app, ["breakfast", "--cups", "2"]).exit_code == 0
    assert run(app, ["dinner", "--soup", "--kind", "coffee", "--cups", "1", "--sugar", "0"])
    assert served == [
        ("breakfast", 1, {"size": 2, "kind": "tea"}),
        ("dinner", True, {"size": 1, "kind": "coffee", "sugar": 0}),
    ]
    for command in ("breakfast", "dinner"):
        assert "Drinks" in run(app, [command, "--help"]).output
        assert run(app, [command]).exit_code == 2  # --cups is missing
        assert run(app, [command, "--cups", "1", "--kind", "milk"]).exit_code == 2
