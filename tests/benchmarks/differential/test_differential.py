"""Cases, scores, table and command line of the benchmark of differential splicing."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from benchmarks.differential import _fits, _runs, _scores, _tables, differential
from benchmarks.differential._cases import CASES, PAIRED, UNPAIRED, Case, Cohort

SMALL = {"n_cells": 60, "n_atses": 20}


@pytest.mark.parametrize("name", CASES)
def test_cases_are_what_they_are_called(name) -> None:
    case = CASES[name]
    cohort = Cohort.simulate(case.simulation | SMALL, 0)
    assert np.array_equal(cohort.difference, 0 * cohort.difference) == ("null" in name)
    groups = cohort.adata.obs.groupby(case.samples(cohort.adata))["group"].nunique()
    assert (groups == (2 if name == PAIRED else 1)).all()
    assert {target[0] for target in case.targets} <= set(_tables.MEANS)


def test_difference_is_group_1_minus_group_2() -> None:
    cohort = Cohort.simulate(CASES["PSI shift, donors alike"].simulation, 0)
    counts, total = (cohort.adata.layers[f"cell_by_{x}_matrix"] for x in ("junction", "cluster"))
    of = (cohort.adata.obs["group"] == "A").to_numpy()
    psi = [counts[rows].sum(0) / np.maximum(total[rows].sum(0), 1) for rows in (of, ~of)]
    seen = np.asarray(psi[0] - psi[1]).ravel()
    large = np.abs(cohort.difference) > 0.2
    assert large.sum() > 50
    assert np.corrcoef(seen[large], cohort.difference[large])[0, 1] > 0.8


def test_scores_of_known_calls() -> None:
    difference = np.array([0.3, -0.2, 0.06, 0.04, 0.0, 0.0])
    atse = np.array(["a", "a", "b", "b", "c", "c"])
    called = np.array([True, False, False, True, True, False])
    rank = np.array([5, 4, 1, 2, 3, -np.inf])
    lower, upper = difference - 0.1, difference + 0.1
    lower[[2, 4]], upper[1], lower[5] = 0.1, -0.3, np.nan
    found = _scores.score(_scores.Found(called, rank, lower, upper), difference, atse)
    assert found == pytest.approx(
        {
            "calls": 3,
            "any call": 1,
            "FDP": 2 / 3,
            "power": 1 / 3,
            "power, ATSEs": 1 / 2,
            "power at 5 % FDP": 2 / 3,
            "covered": 2 / 5,
            "covered, differ": 1 / 3,
        }
    )


def test_scores_without_calls_or_differences() -> None:
    zero, atse = np.zeros(3), np.array(["a", "a", "b"])
    found = _scores.score(_scores.Found(zero > 0, zero - np.inf), zero, atse)
    assert (found["FDP"], found["any call"]) == (0, 0)
    assert np.isnan([found["power"], found["power, ATSEs"], found["power at 5 % FDP"]]).all()
    assert "covered" not in found


def test_ranks_break_ties_by_effect() -> None:
    rank = _scores.ranked(np.array([1, 1, np.nan, 0.5]), np.array([0.1, -0.4, 0.9, 0.2]))
    assert np.argsort(-rank).tolist() == [1, 0, 3, 2]
    assert rank[2] == -np.inf


def test_largest_difference_of_an_atse() -> None:
    largest = _scores.by_atse(np.array([0.1, -0.3, 0.2]), np.array(["b", "b", "a"]))
    assert largest.to_dict() == {"a": 0.2, "b": 0.3}


def test_table_of_the_model_is_put_in_order() -> None:
    table = pd.DataFrame(
        {
            "proba_ds": [1.0, 0.7, np.nan],
            "effect_size": [0.3, -0.2, np.nan],
            "is_ds_fdr_0.05": [True, False, False],
            "effect_lower": [0.2, -0.3, np.nan],
            "effect_upper": [0.4, -0.1, np.nan],
        },
        index=["c", "a", "b"],
    )
    asked: dict[str, Any] = {}
    var = pd.DataFrame({"atse_id": ["y", "x", "y"]}, index=["a", "b", "c"])
    adata = SimpleNamespace(obs=pd.DataFrame(index=["1", "2"]), var=var)

    def differential_splicing(**arguments: Any) -> pd.DataFrame:
        asked.update(arguments)
        return table if arguments["level"] == "junction" else table.set_axis(["z", "y", "w"])

    model: Any = SimpleNamespace(adata=adata, differential_splicing=differential_splicing)
    found = _fits.differential_splicing(model, None)
    assert found.called.tolist() == [False, False, True]
    assert np.argsort(-found.rank).tolist() == [2, 0, 1]
    np.testing.assert_array_equal(found.lower, [-0.3, np.nan, 0.2])
    assert (asked["group1"], asked["group2"], asked["delta"]) == ("A", "B", 0.05)
    assert asked["sample_key"] is None
    found = _fits.differential_splicing(model, np.array(["s", "t"]), "atse")
    assert adata.obs[asked["sample_key"]].tolist() == ["s", "t"]
    assert found.called.tolist() == [False, False]
    assert found.rank.tolist() == [-np.inf, 0]
    assert found.upper is None


@pytest.mark.slow
def test_a_run_scores_all_methods_and_keeps_the_fit(monkeypatch, tmp_path) -> None:
    simulation = CASES[PAIRED].simulation | SMALL
    for name in (PAIRED, UNPAIRED):
        case = Case(simulation, CASES[name].targets, CASES[name].distinct)
        monkeypatch.setitem(CASES, name, case)
    monkeypatch.setitem(_fits.TRAINING, "max_epochs", 2)
    first = _runs.run([PAIRED, UNPAIRED], 0, tmp_path, list(_runs.METHODS))
    again = _runs.run([PAIRED, UNPAIRED], 0, tmp_path, list(_runs.METHODS))
    assert len(list(tmp_path.iterdir())) == 1
    assert {row["case"] for row in first} == {PAIRED, UNPAIRED}
    assert {row["method"] for row in first} == set(_runs.METHODS)
    times = ["fit", "s"]
    frames = [pd.DataFrame(rows) for rows in (first, again)]
    assert (frames[0]["fit"] > 0).all()
    assert (frames[1]["fit"] == 0).all()
    pd.testing.assert_frame_equal(*(frame.drop(columns=times) for frame in frames))
    _runs.run([PAIRED], 1, tmp_path, [_runs.NO_SAMPLES])
    assert len(list(tmp_path.iterdir())) == 2


def rows_of(case: str, method: str, **scores: list[float]) -> list[dict[str, Any]]:
    n = len(next(iter(scores.values())))
    empty = dict.fromkeys(["calls", "any call", "FDP", "power", "s"], 0.0)
    return [
        {"case": case, "method": method} | empty | {k: v[i] for k, v in scores.items()}
        for i in range(n)
    ]


def test_targets_are_checked() -> None:
    ours, other = _runs.SAMPLES, _runs.ALTERNATIVES[0]
    covered = {"covered": [0.9, 0.9], "covered, differ": [0.7, np.nan]}
    rows = rows_of(PAIRED, ours, FDP=[0.1, 0.0], power=[0.6, 0.8], **covered)
    rows += rows_of(UNPAIRED, ours, power=[0.5, 0.5], FDP=[0, 0])
    rows += rows_of(PAIRED, other, power=[0.8, 0.8], FDP=[0.0, 0.1])
    rows += rows_of(PAIRED, _runs.ALTERNATIVES[1], power=[1.0, 1.0], FDP=[0.2, 0.1])
    row = _tables.means_table(rows).rows[0]
    assert (row["runs"], row["power"], row["FDP"]) == (2, pytest.approx(0.7), 0.05)
    assert row["s.e. of FDP"] == pytest.approx(0.05)
    assert row["covered, differ"] == 0.7
    assert row["target"].split("; ") == [
        "FDP <= 0.07",
        "covered 0.86 to 0.94",
        "covered, differ 0.86 to 0.94 (no)",
        "power >= 0.65 (not paired)",
        f"power >= 0.8 ({other}) (no)",
    ]


def test_a_method_without_calls_sets_no_target() -> None:
    name = "null, donors alike, 3 + 3"
    rows = rows_of(name, _runs.SAMPLES, **{"any call": [0, 1, 0, 0]}, power=[np.nan] * 4)
    rows += rows_of(name, _runs.ALTERNATIVES[0], power=[np.nan])
    row = _tables.means_table(rows).rows[0]
    assert row["target"].split("; ") == [
        "runs with calls <= 0.1 (no)",
        "FDP <= 0.07",
        "covered 0.86 to 0.94 (no)",
    ]
    assert "power" not in row


def test_names_are_completed(monkeypatch, capsys) -> None:
    command = ["differential", "--cases", "correlated", PAIRED, "--methods", "LeafletFA", "ranks"]
    monkeypatch.setattr(sys, "argv", command)
    args = differential.arguments()
    expected = [PAIRED, "correlated reads, null", "correlated reads, PSI shift"]
    assert args.cases == expected
    assert args.methods == ["LeafletFA", "ranks of donors"]
    monkeypatch.setattr(sys, "argv", ["differential", "--cases", "no such"])
    with pytest.raises(SystemExit):
        differential.arguments()
    assert "'no such'" in capsys.readouterr().err
