"""The versions that pyproject.toml promises are those that are tested."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = {
    "package": PROJECT["project"]["dependencies"],
    "test": PROJECT["dependency-groups"]["test"],
    **PROJECT["project"]["optional-dependencies"],
}


def pins(name: str) -> dict[str, Version]:
    """Versions that a file of constraints fixes."""
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {name.strip(): Version(version.strip()) for name, version in pairs}


def lower_bound(requirement: Requirement) -> Version:
    (bound,) = [s.version for s in requirement.specifier if s.operator == ">="]
    return Version(bound)


@pytest.mark.parametrize("group", ["package", "test"])
def test_the_oldest_versions_tested_are_the_lower_bounds(group):
    oldest = pins("constraints-oldest.txt")
    requirements = [Requirement(line) for line in GROUPS[group]]
    assert {r.name: oldest[r.name] for r in requirements} == {
        r.name: lower_bound(r) for r in requirements
    }


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oldest.txt"])
def test_versions_tested_are_within_the_bounds(name):
    fixed = pins(name)
    for line in (*GROUPS["package"], *GROUPS["test"]):
        requirement = Requirement(line)
        if requirement.name in fixed:
            assert fixed[requirement.name] in requirement.specifier, line


def test_extras_require_the_versions_of_the_tests():
    tested = {Requirement(line).name: line for line in GROUPS["test"]}
    names = ("gpu", "dask", "parquet", "enrichment", "liftover")
    extras = [line for name in names for line in GROUPS[name]]
    for line in extras:
        assert tested[Requirement(line).name] == line
