"""SIGTERM ends a command with exit code 143, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi.cli import _signals

TERMINATED = textwrap.dedent("""
    import importlib, os, signal, sys
    from leafletfa_scvi.cli import main

    where, name = sys.argv[1].rsplit(".", 1)
    module, _, owner = where.partition(":")
    owner = getattr(importlib.import_module(module), owner) if owner else (
        importlib.import_module(module))
    original = getattr(owner, name)

    def asked_to_end(*args, **kwargs):
        result = original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGTERM)
        return result

    setattr(owner, name, asked_to_end)
    main(sys.argv[2:])
""")


@pytest.mark.parametrize(
    "where",
    [
        "leafletfa_scvi.data.read_h5ad",
        "leafletfa_scvi.train._training_plan:SplicingTrainingPlan.training_step",
        "leafletfa_scvi.data.write_h5ad",
    ],
)
def test_sigterm_leaves_nothing_behind(tmp_path, where):
    data = tmp_path / "data.h5ad"
    lfa.datasets.simulate_splicing(40, 20, 2, seed=0).write_h5ad(data)
    args = ["fit", data, "--save-model", tmp_path / "model", "-k", "2", "--accelerator", "cpu"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TERMINATED, where, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 143, done.stderr
    assert done.stderr.endswith("Error: Terminated.\n")
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data.h5ad"]


def test_a_handler_that_is_there_stays():
    def own(number, frame):
        pass

    with _signals.terminable():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    for handler in (own, signal.SIG_IGN):
        signal.signal(signal.SIGTERM, handler)
        try:
            with _signals.terminable():
                assert signal.getsignal(signal.SIGTERM) is handler
            assert signal.getsignal(signal.SIGTERM) is handler
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
