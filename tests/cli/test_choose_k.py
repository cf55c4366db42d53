"""``leafletfa choose-k``: what it compares, writes, prints and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._console import UserError
from leafletfa_scvi.cli.choose_k import parse_numbers

CPU = ("--accelerator", "cpu")


@pytest.fixture(scope="module")
def data_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.h5ad"
    adata = lfa.datasets.simulate_splicing(
        120, 60, 2, coverage=0.6, frac_differential=0.7, activity_concentration=0.5, seed=1
    )
    adata.write_h5ad(path)
    return path


@pytest.fixture
def data(data_file, tmp_path) -> Path:
    return Path(shutil.copy(data_file, tmp_path / "data.h5ad"))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("2:16:2", [2, 4, 6, 8, 10, 12, 14, 16]),
        ("2:7:2", [2, 4, 6]),
        ("3:5", [3, 4, 5]),
        ("4,8,12", [4, 8, 12]),
        ("7", [7]),
        ("12, 2:4,3", [2, 3, 4, 12]),
        ("5:5:9", [5]),
    ],
)
def test_numbers_of_programs(text, numbers):
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found ''"),
        ("2:", "found '2:'"),
        ("2,,4", "found ''"),
        ("2:3:4:5", "found '2:3:4:5'"),
        ("2-8", "found '2-8'"),
        ("two", "found 'two'"),
        ("-2", "found '-2'"),
        ("2.5", "found '2.5'"),
        ("²", "found '²'"),
        ("0:4", "found 0:4"),
        ("8:2", "found 8:2"),
        ("2:8:0", "found 2:8:0"),
        ("4,1:100000000000", "from 1 to 1000"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(text, words):
    with pytest.raises(UserError, match=f"--programs {text}: expected") as error:
        parse_numbers(text)
    assert words in str(error.value)


def test_the_table_the_figure_and_the_output(data, run, tmp_path):
    table, figure = tmp_path / "table.csv", tmp_path / "k.png"
    before = data.read_bytes()
    options = ("--programs", "1:3", "--seeds", 2, "-o", table, "--figure", figure)
    code, out, err = run("choose-k", data, *options, "--seed", 3, *CPU)
    assert code == 0, err
    found = pd.read_csv(table, index_col="n_programs")
    expected = lfa.tl.select_n_programs(
        lfa.datasets.simulate_splicing(
            120, 60, 2, coverage=0.6, frac_differential=0.7, activity_concentration=0.5, seed=1
        ),
        [1, 2, 3],
        n_seeds=2,
        seed=3,
        train_kwargs={"accelerator": "cpu"},
        progress=False,
    )
    pd.testing.assert_frame_equal(found, expected.summary, check_dtype=False)
    assert found.index[found["recommended"]].tolist() == [2]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.h5ad", "k.png", "table.csv"]
    assert data.read_bytes() == before
    assert expected.note in out
    (line,) = [line for line in out.splitlines() if "recommended" in line]
    gain, se, stability = found.loc[2, ["log_likelihood_gain", "se", "stability"]]
    assert line.split() == [
        "2",
        f"{gain:.4f}",
        f"{se:.4f}",
        f"{stability:.2f}",
        "2",
        "recommended",
    ]
    assert out.endswith(f"leafletfa fit {data} --n-programs 2\n")
    assert "Fitting 6 models to 120 cells" in err
    # Figures of the first split come before those of both, and say which K is best so far.
    first, both = (
        err.index("1 split, K = 2 so far; held-out gain 1: "),
        err.index("2 splits, K = 2"),
    )
    assert first < both < err.index("Writing")
    stopped = [line.split()[0] for line in out.splitlines() if line.rstrip().endswith("stopped")]
    assert [int(k) for k in stopped] == found.index[found["stopped"]].tolist() == [1, 3]
    assert "\r" not in out + err


def test_options_reach_the_comparison(data, run, tmp_path, monkeypatch):
    seen = {}

    def select(adata, numbers, **kwargs):
        seen.update(kwargs, numbers=numbers, shape=adata.shape)
        raise ValueError("enough")

    monkeypatch.setattr(lfa.tl, "select_n_programs", select, raising=False)
    names = ("--junction-layer", "y", "--cluster-layer", "n", "--atse-key", "event")
    likelihood = ("--likelihood", "dirichlet-multinomial", "--dispersion", "global")
    prior = ("--junction-prior", "junction")
    training = ("--method", "svi", "--max-epochs", 7, "--restarts", 2, "--fraction", 0.2)
    training += ("--complete",)
    code, _, err = run("choose-k", data, "-k", "2,5", *names, *likelihood, *prior, *training, *CPU)
    assert code == 2
    assert err.endswith("Error: enough\n")
    assert seen["numbers"] == [2, 5]
    assert seen["share_starts"] is False
    assert (seen["n_seeds"], seen["fraction"], seen["method"], seen["seed"]) == (3, 0.2, "svi", 0)
    assert (seen["junction_layer"], seen["cluster_layer"], seen["atse_key"]) == ("y", "n", "event")
    assert seen["model_kwargs"] == {
        "likelihood": "dirichlet-multinomial",
        "dispersion": "global",
        "junction_prior": "junction",
    }
    assert seen["train_kwargs"] == {"n_restarts": 2, "accelerator": "cpu", "max_epochs": 7}


def test_the_default_table_is_beside_the_data_and_quiet_prints_nothing(data, run, tmp_path):
    args = ("choose-k", data, "--programs", 2, "--seeds", 1, "--quiet", *CPU)
    assert run(*args) == (0, "", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.h5ad", "data.programs.csv"]
    code, _, err = run(*args)
    assert code == 2
    assert "data.programs.csv exists; pass --overwrite" in err
    code, out, err = run(*args, "--overwrite", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["n_programs"] == 2
    assert found["output"] == str(data.with_suffix(".programs.csv"))
    table = pd.read_csv(found["output"])
    (row,) = found["summary"]
    assert row["log_likelihood_gain"] == pytest.approx(table["log_likelihood_gain"][0])
    assert row["se"] is None  # of one split


def test_arguments_refused_before_the_first_fit(data, run, tmp_path, monkeypatch):
    def start(*_, **__):
        raise AssertionError("a fit has begun")

    monkeypatch.setattr("leafletfa_scvi.inference.EMRun", start)

    def refused(*args) -> str:
        code, out, err = run("choose-k", *args)
        assert code == 2
        assert out == ""
        return err

    assert "There is no file" in refused(tmp_path / "no.h5ad")
    assert "expected a name that ends with .png" in refused(data, "--figure", tmp_path / "k.txt")
    same = tmp_path / "k.png"
    assert "are the same file" in refused(data, "-o", same, "--figure", same)
    assert "is the input" in refused(data, "-o", data, "--overwrite")
    assert "There is no directory" in refused(data, "-o", tmp_path / "no" / "t.csv")
    assert "--max-epochs is for --method svi" in refused(data, "--max-epochs", 3)
    assert "expected numbers" in refused(data, "--programs", "2..8")
    assert "--seeds" in refused(data, "--seeds", 0)
    assert "--fraction" in refused(data, "--fraction", 1)
    assert "number of cells (120), found 121" in refused(data, "--programs", "2,121")
    assert "no concentration" in refused(
        data, "--likelihood", "binomial", "--dispersion", "junction"
    )
    assert "nowhere" in refused(data, "--junction-layer", "nowhere")
    assert [p.name for p in tmp_path.iterdir()] == ["data.h5ad"]
