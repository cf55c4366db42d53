"""Files that HDF5's library never returns from are refused, in another process first."""

from __future__ import annotations

import subprocess
import sys

import anndata as ad
import h5py
import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi.cli import _h5ad
from leafletfa_scvi.cli._console import UserError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no timers of processor time")


@pytest.fixture
def path(tmp_path):
    """A small data set."""
    path = tmp_path / "data.h5ad"
    lfa.datasets.simulate_splicing(20, 30, 2, seed=0).write_h5ad(path)
    return path


def damage(path) -> None:
    """Zeros in all places where HDF5 keeps texts, as a file system leaves after a crash."""
    data = bytearray(path.read_bytes())
    start = data.find(b"GCOL")
    assert start > 0
    while start > 0:
        data[start + 16 : start + 528] = bytes(512)
        start = data.find(b"GCOL", start + 528)
    path.write_bytes(data)


@pytest.mark.parametrize("command", ["fit", "choose-k"])
def test_a_file_that_reading_never_returns_from_is_named(path, run, command):
    damage(path)
    code, out, err = run(command, path, "--quiet")
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: {path} is damaged: reading '/' in it did not end.")
    assert err.count("\n") == 1


def test_whole_files_pass_whatever_is_in_them(path):
    adata = ad.read_h5ad(path)
    adata.uns["text"] = {"empty": [], "words": ["a", "ä\n"] * 40_000, "none": None, "one": "x"}
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["uns/again"] = file["uns"]  # a group within itself
        file["uns/soft"] = h5py.SoftLink("/nowhere")
        file["uns/other"] = h5py.ExternalLink("missing.h5", "/x")
        file["uns/empty"] = h5py.Empty("S3")
        file["uns/grid"] = [["a", "b"], ["c", "d"]]
    _h5ad.check_ends(path)


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ("print('/X/data'); os.abort()", "reading /X/data in it ended the process .SIGABRT."),
        ("os.abort()", "opening it ended"),
        ("os.kill(os.getpid(), signal.SIGKILL)", None),
        ("sys.exit(3)", None),
    ],
)
def test_only_errors_of_the_library_count_as_damage(path, tmp_path, monkeypatch, code, refused):
    walker = tmp_path / "walker.py"
    walker.write_text(
        "import os, resource, signal, sys\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"sys.stdout.reconfigure(line_buffering=True)\n{code}\n"
    )
    monkeypatch.setattr(_h5ad, "_WALKER", walker)
    if refused is None:
        assert _h5ad.read_data(path).n_obs == 20
    else:
        with pytest.raises(UserError, match=refused):
            _h5ad.read_data(path)


def test_every_step_has_its_own_time():
    """A large file takes more than one step's time in all."""
    script = (
        "import runpy, sys, time\n"
        f"names = runpy.run_path({str(_h5ad._WALKER)!r})\n"
        "for _ in range(4):\n"
        "    names['_step']('/X')\n"
        "    end = time.process_time() + 0.4 * names['_SECONDS']\n"
        "    while time.process_time() < end: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == 0
