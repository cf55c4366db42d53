from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi.cli import main
from leafletfa_scvi.cli._console import Reporter, UserError, one_line
from leafletfa_scvi.cli._outputs import check_distinct, staged
from leafletfa_scvi.cli._shared_options import DisplayOptions
from leafletfa_scvi.cli.demo import FILES

FAST = ("--n-programs", "2", "--max-epochs", "2", "--accelerator", "cpu")


@pytest.fixture(scope="module")
def data_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.h5ad"
    adata = lfa.datasets.simulate_splicing(n_cells=60, n_atses=20, n_programs=2, coverage=0.6)
    adata.write_h5ad(path)
    return path


@pytest.fixture
def data(data_file, tmp_path) -> Path:
    return Path(shutil.copy(data_file, tmp_path / "data.h5ad"))


@pytest.fixture
def refused(run):
    """Run the command, which must refuse with one line of error on stderr; that line."""

    def refused(*args) -> str:
        code, out, err = run(*args)
        assert code == 2
        assert out == ""
        errors = [line for line in err.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1
        assert err.endswith(errors[0] + "\n")
        assert "Traceback" not in err
        return errors[0]

    return refused


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fit_writes_results_and_prints_a_summary(data, run, tmp_path):
    output = tmp_path / "fitted.h5ad"
    before = ad.read_h5ad(data)
    code, out, err = run("fit", data, "-o", output, *FAST)
    assert code == 0, err
    fitted = ad.read_h5ad(output)
    np.testing.assert_allclose(fitted.obsm["X_PHI"].sum(axis=1), 1, rtol=1e-5)
    assert fitted.obsm["X_PHI"].shape == (60, 2)
    assert fitted.varm["psi_learned"].shape == (before.n_vars, 2)
    for layer in before.layers:
        np.testing.assert_array_equal(
            fitted.layers[layer].toarray(), before.layers[layer].toarray()
        )
    assert not [key for key in fitted.uns if key.startswith("_scvi")]
    assert leftovers(tmp_path) == ["data.h5ad", "fitted.h5ad"]

    n_observed = (before.layers["cell_by_cluster_matrix"].toarray() > 0).sum()
    for shown in (
        "60",
        "20",
        f"{n_observed:,} ({n_observed / before.X.shape[0] / before.n_vars:.1%})",
    ):
        assert shown in out
    for k, share in enumerate(fitted.uns["leafletfa"]["pi"]):
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [f"SP_{k + 1}"]]
        leads = (fitted.obsm["X_PHI"].argmax(axis=1) == k).sum()
        effective = (fitted.obsm["X_PHI"][:, k] ** 2).sum() ** 2
        effective /= (fitted.obsm["X_PHI"][:, k] ** 4).sum()
        expected = [f"SP_{k + 1}", f"{share:.3f}", str(leads), f"{effective:.1f}"]
        assert line.split()[:4] == expected
        assert line.split()[-1] == f"(SP_{2 - k})"
    assert "% prior" in out
    assert err.startswith(f"Results will be in {output}\nReading {data}\nFitting 2 programs")
    assert "\r" not in err
    # What is in the file, and what to do with it.
    slots = out.split("Results are in ")[1].splitlines()
    assert slots[0] == f"{output}:"
    listed = [line.split("  ")[1].strip() for line in slots[1:5]]
    assert listed == ["obsm['X_PHI']", "obs['SP_1'] to obs['SP_2']", "varm['psi_learned']"] + [
        "uns['leafletfa']"
    ]
    for text in ("60 cells x 2", f"{before.n_vars} junctions x 2 programs"):
        assert text in out
    assert f"scanpy.read_h5ad({str(output)!r})" in out
    assert "structure(adata, groupby='program_true')" in out
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["Converged"]]
    assert line.split()[1:] == ["yes,", "2", "epochs", "after", "EM"]


def test_fits_and_numbers_that_cannot_be_trusted_are_said_to_be_so(run, tmp_path):
    adata = lfa.datasets.simulate_splicing(60, 6, 3, coverage=0.3, frac_differential=0, seed=0)
    adata.write_h5ad(tmp_path / "few.h5ad")
    fast = ("--accelerator", "cpu", "--method", "em")
    code, out, err = run("fit", tmp_path / "few.h5ad", "-k", 3, *fast)
    assert code == 0
    (warning,) = [line for line in err.splitlines() if "cannot be trusted" in line]
    assert warning.startswith("Warning: This fit cannot be trusted: 3 of 3 programs")
    assert "100% prior" in out
    code, _, err = run("choose-k", tmp_path / "few.h5ad", "-k", "2,3", "--seeds", 2, *fast)
    assert code == 0
    assert err.count("cannot be trusted") == 1


def test_fit_options_reach_the_model(data, run, tmp_path):
    output = tmp_path / "fitted.h5ad"
    moved = ad.read_h5ad(data)
    moved.layers["y"] = moved.layers.pop("cell_by_junction_matrix")
    moved.layers["n"] = moved.layers.pop("cell_by_cluster_matrix")
    moved.var["event"] = moved.var.pop("atse_id")
    moved.write_h5ad(data)
    layers = ("--junction-layer", "y", "--cluster-layer", "n", "--atse-key", "event")
    options = ("--likelihood", "binomial", "--junction-prior", "global", "--batch-size", "16")
    code, out, err = run(
        "fit", data, "-o", output, "-k", 3, "--max-epochs", 2, "--restarts", 2, *layers, *options
    )
    assert code == 0, err
    results = ad.read_h5ad(output).uns["leafletfa"]
    assert results["params"]["likelihood"] == "binomial"
    assert results["params"]["junction_prior"] == "global"
    assert results["params"]["n_programs"] == 3
    assert results["params"]["junction_layer"] == "y"
    assert np.isinf(results["kappa"])
    assert len(results["elbo_history"]) == 2
    assert "binomial" in out


def test_options_of_the_likelihood_reach_the_model(data, run, tmp_path):
    output = tmp_path / "fitted.h5ad"
    options = ("--likelihood", "dirichlet-multinomial", "--dispersion", "global")
    code, _, err = run("fit", data, "-o", output, *FAST, *options, "--junction-prior", "junction")
    assert code == 0, err
    params = ad.read_h5ad(output).uns["leafletfa"]["params"]
    assert params["likelihood"] == "dirichlet-multinomial"
    assert (params["dispersion"], params["junction_prior"]) == ("global", "junction")

    code, out, err = run("fit", data, "-o", output, *FAST, "--overwrite")
    assert code == 0, err
    results = ad.read_h5ad(output).uns["leafletfa"]
    assert results["params"]["dispersion"] == "junction"
    assert results["params"]["junction_prior"] == "mixture"
    low, middle, high = np.quantile(results["kappa"], [0.05, 0.5, 0.95], method="nearest")
    assert f"median {middle:.3g}, 90 % of junctions {low:.3g} to {high:.3g}" in out


def test_the_point_estimate(data, run, refused, tmp_path):
    output, folder = tmp_path / "fitted.h5ad", tmp_path / "model"
    args = ("fit", data, "-o", output, "-k", 2, "--accelerator", "cpu", "--method", "em")
    for name in ("--max-epochs", "--batch-size"):
        assert f"{name} is for --method svi" in refused(*args, name, 5)
    code, out, err = run(*args, "--restarts", 2, "--save-model", folder)
    assert code == 0, err
    assert "SP_2" in out
    fitted = ad.read_h5ad(output)
    assert len(fitted.uns["leafletfa"]["elbo_history"]) == 0
    model = lfa.LeafletFAModel.load(folder, adata=fitted, accelerator="cpu")
    assert list(model.history) == ["em_objective"]
    np.testing.assert_allclose(model.get_latent_representation(), fitted.obsm["X_PHI"])


def test_options_that_exclude_each_other_are_refused(data, refused, tmp_path):
    options = ("--likelihood", "binomial", "--dispersion", "junction")
    message = refused("fit", data, "-o", tmp_path / "x.h5ad", "-k", 2, *options)
    assert "no concentration" in message


def test_a_seed_repeats_and_another_one_differs(data, run, tmp_path):
    found = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        output = tmp_path / f"{name}.h5ad"
        assert run("fit", data, "-o", output, *FAST, "--seed", seed)[0] == 0
        found[name] = ad.read_h5ad(output).obsm["X_PHI"]
    np.testing.assert_array_equal(found["a"], found["b"])
    assert (found["a"] != found["c"]).any()


def test_quiet_prints_nothing(data, run, tmp_path):
    code, out, err = run("fit", data, "-o", tmp_path / "fitted.h5ad", *FAST, "--quiet")
    assert (code, out, err) == (0, "", "")


def test_results_as_json(data, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = ("--n-programs", 2, "--max-epochs", 25, "--accelerator", "cpu")
    code, out, err = run("fit", "data.h5ad", "--save-model", "model", *short, "--json")
    assert code == 0, err
    found = json.loads(out)
    fitted = ad.read_h5ad(tmp_path / "data.fitted.h5ad")
    expected = {
        "command": "fit",
        "version": version("leafletfa-scvi"),
        "data": str(data),
        "output": str(tmp_path / "data.fitted.h5ad"),
        "model": str(tmp_path / "model"),
        "n_cells": 60,
        "n_junctions": fitted.n_vars,
        "n_atses": 20,
        "n_observed": int((fitted.layers["cell_by_cluster_matrix"] > 0).sum()),
        "n_programs": 2,
        "converged": False,
    }
    assert {name: found[name] for name in expected} == expected
    assert [row["program"] for row in found["programs"]] == ["SP_1", "SP_2"]
    leads = np.bincount(fitted.obsm["X_PHI"].argmax(axis=1), minlength=2)
    assert [row["n_cells"] for row in found["programs"]] == leads.tolist()
    # The remedy is an option of the command, and said once.
    (warning,) = [text for text in found["warnings"] if "converged" in text]
    assert "after 25 epochs; pass a larger --max-epochs" in warning
    assert err.count("Warning: The fit has not converged") == 1
    assert "train()" not in err


def test_an_error_leaves_stdout_empty_also_with_json(data, refused, tmp_path):
    refused("fit", data, "-o", tmp_path / "x.h5ad", "-k", 61, "--json")


def test_libraries_print_nothing_in_a_new_process(data, tmp_path):
    """Where their loggers write to the stderr of the process."""
    args = ["fit", data, "-o", tmp_path / "fitted.h5ad", *FAST, "--quiet"]
    script = "from leafletfa_scvi.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True, check=True
    )
    assert done.stdout == done.stderr == ""

    args = ["demo", "--output-dir", tmp_path / "demo", "--n-cells", "60", "--n-atses", "20"]
    args += ["--n-programs", "2", "--max-epochs", "2", "--coverage", "0.6"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True
    )
    ours = "Results will", "Simulating", "Fitting 2", "  Compiling", "Drawing", "Warning: This fit"
    assert [line for line in done.stderr.splitlines() if not line.startswith(ours)] == []
    assert "[litlogger]" not in done.stdout + done.stderr


def test_a_saved_model_loads_with_the_output(data, run, tmp_path):
    output, folder = tmp_path / "fitted.h5ad", tmp_path / "model"
    assert run("fit", data, "-o", output, "--save-model", folder, *FAST)[0] == 0
    assert leftovers(tmp_path) == ["data.h5ad", "fitted.h5ad", "model"]
    fitted = ad.read_h5ad(output)
    model = lfa.LeafletFAModel.load(folder, adata=fitted, accelerator="cpu")
    np.testing.assert_allclose(
        model.get_splicing_programs().to_numpy(), fitted.varm["psi_learned"], rtol=1e-6
    )


def test_overwrite_replaces_output_and_model_and_nothing_else(data, run, refused, tmp_path):
    output, folder = tmp_path / "fitted.h5ad", tmp_path / "model"
    outputs = ("-o", output, "--save-model", folder)
    assert run("fit", data, *outputs, *FAST)[0] == 0
    assert "fitted.h5ad exists; pass --overwrite" in refused("fit", data, *outputs, *FAST)
    other = ("-o", tmp_path / "new.h5ad", "--save-model", folder)
    assert "model exists; pass --overwrite" in refused("fit", data, *other, *FAST)
    assert not (tmp_path / "new.h5ad").exists()
    (folder / "adata.h5ad").write_text("data of the earlier model")
    (folder / "notes.txt").write_text("of the user")
    code, _, err = run("fit", data, *outputs, "-k", 3, "--max-epochs", 2, "--overwrite")
    assert code == 0, err
    assert ad.read_h5ad(output).obsm["X_PHI"].shape == (60, 3)
    assert lfa.LeafletFAModel.load(folder, adata=False).n_programs == 3
    assert leftovers(folder) == ["model.pt", "notes.txt"]
    assert leftovers(tmp_path) == ["data.h5ad", "fitted.h5ad", "model"]


def test_a_folder_that_is_no_model_is_never_replaced(data, refused, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("precious")
    where = ("-o", tmp_path / "fitted.h5ad", "--save-model")
    assert "holds no saved model" in refused("fit", data, *where, folder, "--overwrite")
    assert "would replace" in refused("fit", data, *where, tmp_path, "--overwrite")
    assert "is a file" in refused("fit", data, *where, folder / "chapter1.txt", "--overwrite")
    assert (folder / "chapter1.txt").read_text() == "precious"


def test_bad_paths_are_refused_before_anything_is_done(data, refused, tmp_path, monkeypatch):
    def deny(self, *_):
        raise PermissionError(13, "Permission denied")

    out = tmp_path / "fitted.h5ad"
    assert "There is no file" in refused("fit", tmp_path / "no.h5ad", "-o", out)
    assert "is a directory" in refused("fit", tmp_path, "-o", out)
    text = tmp_path / "text.h5ad"
    text.write_text("cells,junctions\n1,2\n")
    assert "not an .h5ad" in refused("fit", text, "-o", out)
    cut = tmp_path / "cut.h5ad"
    cut.write_bytes(data.read_bytes()[:4000])
    assert "Cannot read" in refused("fit", cut, "-o", out)
    locked = tmp_path / "locked.h5ad"
    locked.write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", deny)  # root reads everything
        assert "Permission denied" in refused("fit", locked, "-o", out)
    assert "is the input" in refused("fit", data, "-o", data, "--overwrite")
    linked = tmp_path / "link.h5ad"
    linked.symlink_to(data)
    assert "is the input" in refused("fit", data, "-o", linked, "--overwrite")
    assert "is a directory" in refused("fit", data, "-o", tmp_path)
    assert "There is no directory" in refused("fit", data, "-o", tmp_path / "no" / "out.h5ad")
    model = ("--save-model", tmp_path / "no" / "model")
    assert "There is no directory" in refused("fit", data, "-o", out, *model)
    assert not out.exists()


def test_paths_that_the_system_cannot_follow_are_one_line(data, refused, tmp_path):
    circle, other = tmp_path / "circle.h5ad", tmp_path / "other.h5ad"
    circle.symlink_to(other)
    other.symlink_to(circle)
    long = tmp_path / f"{'x' * 300}.h5ad"
    for path, words in ((circle, "symbolic links"), (long, "File name too long")):
        assert words in refused("fit", path)
        assert words in refused("choose-k", path)
        assert words in refused("fit", data, "-o", path)
        assert words in refused("fit", data, "-o", path, "--overwrite")
        assert words in refused("fit", data, "--save-model", path)
        assert words in refused("choose-k", data, "-o", path)
    assert leftovers(tmp_path) == ["circle.h5ad", "data.h5ad", "other.h5ad"]


def test_one_file_for_two_outputs_is_refused(data, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "new").symlink_to(tmp_path / "x")
    for one, two in (("x", "x"), ("x", "link/x"), ("new", "x"), ("link/y", "y")):
        with pytest.raises(UserError, match="--a .* and --b .* are the same file"):
            check_distinct({"--a": tmp_path / one, "--none": None, "--b": tmp_path / two})
    os.link(data, tmp_path / "hard")
    with pytest.raises(UserError, match="same file"):
        check_distinct({"--a": data, "--b": tmp_path / "hard"})
    check_distinct({"--a": tmp_path / "x", "--b": tmp_path / "y"})


def test_a_folder_without_write_permission_is_refused(data, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may anywhere
    assert "not writable" in refused("fit", data, "-o", tmp_path / "out.h5ad")


def test_bad_data_are_refused_in_the_words_of_the_checks(data, refused, tmp_path):
    good = ad.read_h5ad(data)
    out = ("-o", tmp_path / "fitted.h5ad")
    missing = refused("fit", data, *out, "--junction-layer", "counts")
    assert "counts" in missing
    assert '"' not in missing[:8]
    assert "nope" in refused("fit", data, *out, "--atse-key", "nope")

    bad = good.copy()
    bad.layers["cell_by_junction_matrix"] = bad.layers["cell_by_junction_matrix"] * -1
    bad.write_h5ad(data)
    message = refused("fit", data, *out)
    assert "cell_by_junction_matrix" in message
    assert "negative" in message

    del bad.layers["cell_by_junction_matrix"]
    bad.write_h5ad(data)
    assert "cell_by_junction_matrix" in refused("fit", data, *out)
    assert leftovers(tmp_path) == ["data.h5ad"]


def test_too_many_programs_are_refused(data, refused, tmp_path):
    message = refused("fit", data, "-o", tmp_path / "x.h5ad", "-k", 61)
    assert "61" in message
    assert "60" in message


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--n-programs", "0"), "--n-programs"),
        (("--n-programs", "many"), "--n-programs"),
        (("--max-epochs", "0"), "--max-epochs"),
        (("--batch-size", "-3"), "--batch-size"),
        (("--restarts", "0"), "--restarts"),
        (("--seed", "-1"), "--seed"),
        (("--likelihood", "poisson"), "'--likelihood': 'poisson' is not one of 'betabinomial'"),
        (("--junction-prior", "none"), "--junction-prior"),
        (("--dispersion", "none"), "--dispersion"),
        (("--method", "vb"), "--method"),
        (("--accelerator", "abacus"), "--accelerator"),
        (("--no-such-option",), "--no-such-option"),
    ],
)
def test_bad_option_values_are_refused(data, refused, tmp_path, options, named):
    message = refused("fit", data, "-o", tmp_path / "out.h5ad", *options)
    assert named in message
    assert "See leafletfa fit --help." in message


def test_missing_arguments_and_commands_are_refused(refused, data):
    assert "DATA" in refused("fit")
    assert "fitt" in refused("fitt")


def test_a_gpu_that_is_not_there_is_refused(data, refused, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = refused("fit", data, "-o", tmp_path / "x.h5ad", "-k", 2, "--accelerator", "gpu")
    assert "no GPU" in message


def test_failures_while_training_or_writing_leave_nothing_behind(
    data, refused, run, tmp_path, monkeypatch
):
    args = ("fit", data, "-o", tmp_path / "fitted.h5ad", "--save-model", tmp_path / "m", *FAST)

    def full(adata, path, **_):
        Path(path).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("leafletfa_scvi.data.write_h5ad", full)
        assert "No space left on device" in refused(*args)
    for error, words in (
        (MemoryError(), "--batch-size"),
        (FloatingPointError("The loss is nan"), "The loss is nan"),
    ):

        def fail(self, *_, error=error, **__):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(lfa.LeafletFAModel, "train", fail)
            assert words in refused(*args)

    def interrupt(self, *_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lfa.LeafletFAModel, "train", interrupt)
        code, _, err = run(*args)
        assert code == 130
        assert err.endswith("Error: Interrupted.\n")
    assert leftovers(tmp_path) == ["data.h5ad"]


FULL = textwrap.dedent("""
    import resource, signal, sys
    from leafletfa_scvi.cli import _outputs, main

    def full(*paths, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return replacing(*paths, **options)

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    replacing, _outputs.replacing = _outputs.replacing, full
    for size in (1000, 30_000):
        try:
            main(sys.argv[1:])
        except SystemExit as end:
            print("exit code", end.code)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
""")


def test_a_full_disk_while_writing_is_one_line(data, tmp_path):
    output = tmp_path / "fitted.h5ad"
    args = ["fit", data, "-o", output, "--save-model", tmp_path / "model", *FAST]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.count("exit code 2\n") == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 2
    for error in errors:
        assert error.startswith("Error: Cannot write the output: ")
        assert "File too large" in error
    assert "Traceback" not in done.stderr
    assert leftovers(tmp_path) == ["data.h5ad"]


def test_a_bug_is_not_taken_for_bad_input(data, tmp_path, monkeypatch):
    def broken(self, *_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(lfa.LeafletFAModel, "train", broken)
    with pytest.raises(ZeroDivisionError):
        main(["fit", str(data), "-o", str(tmp_path / "x.h5ad"), *FAST])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/a/b"), "Error: /a/b: Permission denied."),
        (OSError(5, "Input/output error"), "Error: Input/output error."),
        (TimeoutError("no answer\nfrom host"), "Error: no answer from host"),
    ],
)
def test_every_error_of_the_system_is_one_line(data, refused, monkeypatch, error, line):
    def fail(self, *_, **__):
        raise error

    monkeypatch.setattr(lfa.LeafletFAModel, "train", fail)
    assert refused("fit", data, *FAST) == line


def test_staged_turns_errors_of_the_disk_into_one_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("earlier")

    def write() -> None:
        with staged(file) as places:
            places[0].write_text("new")
            raise OSError("disk")

    with pytest.raises(UserError, match="Cannot write the output: disk"):
        write()
    with pytest.raises(UserError, match="Cannot write"), staged(file):
        pass  # nothing was written, so there is nothing to move
    assert file.read_text() == "earlier"
    assert leftovers(tmp_path) == ["file"]


def test_an_output_behind_a_link_is_written_where_the_link_points(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "file")
    with staged(link) as (place,):
        place.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "new"


def test_messages_fit_on_one_line():
    assert one_line(KeyError("no layer 'y'")) == "no layer 'y'"
    assert one_line(ValueError("first\n  second")) == "first second"
    assert one_line(ValueError()) == "ValueError"


def test_warnings_of_this_package_are_shown_as_one_line_and_others_not(capsys):
    for quiet in (False, True):
        reporter = Reporter(DisplayOptions(quiet=quiet))
        with reporter.tidy():
            ours = {"category": UserWarning, "lineno": 1, "filename": "x.py"}
            warnings.warn_explicit("12 cells [all]\nempty", module="leafletfa_scvi.data", **ours)
            warnings.warn_explicit("noise", module="lightning.pytorch", **ours)
            warnings.warn("old", DeprecationWarning, stacklevel=1)
            logging.getLogger("leafletfa_scvi").warning("Compiling.")
        out, err = capsys.readouterr()
        assert out == ""
        assert err == ("" if quiet else "Warning: 12 cells [all] empty\n  Compiling.\n")
        assert reporter.warnings == ["12 cells [all] empty"]
    assert not logging.getLogger("leafletfa_scvi").handlers


def test_demo_finds_the_planted_programs(run, tmp_path):
    folder = tmp_path / "made" / "demo"
    size = ("--n-cells", 150, "--n-atses", 80, "--n-programs", 2, "--coverage", 0.6)
    code, out, err = run("demo", "--output-dir", folder, *size, "--max-epochs", 100)
    assert code == 0, out + err
    assert "2 of 2 planted programs were found" in out
    assert err.startswith(f"Results will be in {folder}\n")
    assert "leafletfa report" in out.split("Next")[1]
    assert "leafletfa make-dataset" in out.split("Then")[1]
    figures = ["activities.png", "history.png", "programs.png", "umap.png"]
    assert leftovers(folder) == sorted([*figures, "fitted.h5ad", "model"])
    for name in figures:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    fitted = ad.read_h5ad(folder / "fitted.h5ad")
    match = lfa.tl.match_programs(fitted.obsm["phi_true"], fitted.obsm["X_PHI"])
    for row in match.itertuples():
        (line,) = [line for line in out.splitlines() if f"SP_{row.learned + 1}" in line]
        assert line.split()[:3] == [
            str(row.reference + 1),
            f"SP_{row.learned + 1}",
            f"{row.correlation:.2f}",
        ]


def test_demo_fails_where_programs_are_not_found(run, tmp_path, monkeypatch):
    # Noise in place of what was fitted.
    def forget(self, adata):
        rng = np.random.default_rng(0)
        adata.obsm["X_PHI"] = rng.dirichlet(np.ones(2), adata.n_obs)
        adata.varm["psi_learned"] = rng.random((adata.n_vars, 2))
        adata.obs[["SP_1", "SP_2"]] = adata.obsm["X_PHI"]
        adata.uns["leafletfa"] = {"programs": ["SP_1", "SP_2"]}

    monkeypatch.setattr(lfa.LeafletFAModel, "export_posterior", forget)
    size = ("--n-cells", 60, "--n-atses", 20, "--n-programs", 2, "--max-epochs", 1)
    code, out, _ = run("demo", "--output-dir", tmp_path, *size)
    assert code == 1
    assert "0 of 2 planted programs were found" in out


def test_demo_replaces_files_only_if_asked(run, refused, tmp_path):
    mine = tmp_path / "umap.png"
    mine.write_text("mine")
    size = ("--n-cells", 60, "--n-atses", 20, "--n-programs", 2, "--max-epochs", 1)
    args = ("demo", "--output-dir", tmp_path, *size)
    assert "umap.png exists; pass --overwrite to replace it." in refused(*args)
    assert mine.read_text() == "mine"
    assert leftovers(tmp_path) == ["umap.png"]
    code, out, err = run(*args, "--overwrite", "--json")
    assert code in (0, 1), err
    found = json.loads(out)
    assert found["files"] == [str(tmp_path / name) for name in FILES]
    assert (found["n_found"] == 2) == (code == 0)
    assert len(found["programs"]) == found["n_programs"] == 2
    assert mine.read_bytes().startswith(b"\x89PNG")
    assert found["model"] == str(tmp_path / "model")
    assert len(leftovers(tmp_path)) == 6
    assert "exists; pass --overwrite" in refused(*args)


def test_demo_refuses_a_file_as_folder(refused, data):
    assert "is a file" in refused("demo", "--output-dir", data)


def test_version(run):
    assert run("--version") == (0, f"leafletfa-scvi {version('leafletfa-scvi')}\n", "")


def test_version_and_help_answer_without_heavy_imports(tmp_path):
    code = (
        "import sys\nfrom leafletfa_scvi.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print({'torch', 'scvi', 'anndata', 'numpy'} & set(sys.modules))"
    )
    for args, expected in (
        (["--version"], "leafletfa-scvi"),
        (["fit", "--help"], "--n-programs"),
        (["choose-k", "--help"], "--programs"),
        (["differential", "--help"], "--groupby"),
        (["query", "--help"], "--reference"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True
        )
        assert expected in done.stdout
        assert done.stdout.endswith("set()\n")


def test_fit_names_a_remedy_for_columns_that_the_command_line_has(data, run, tmp_path):
    adata = ad.read_h5ad(data)
    adata.obs["SP_1"] = 1.0
    own = tmp_path / "own.h5ad"
    adata.write_h5ad(own)
    code, _, err = run("fit", own, "--n-programs", 2, "--max-epochs", 1, "--overwrite")
    assert code == 2
    assert "obs['SP_1']" in err
    assert "rename or remove it, in the input file" in err
    assert "overwrite=True" not in err
