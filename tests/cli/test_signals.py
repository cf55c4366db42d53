"""SIGTERM ends a command with exit code 143, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import leafletfa_scvi as lfa
from leafletfa_scvi.cli import _signals

TERMINATED = textwrap.dedent("""
    import importlib, os, signal, sys
    from leafletfa_scvi.cli import main

    folder, *places = sys.argv[1].split(",")
    for place in places:
        where, name = place.rsplit(".", 1)
        module, _, owner = where.partition(":")
        owner = getattr(importlib.import_module(module), owner) if owner else (
            importlib.import_module(module))
        original = getattr(owner, name)

        def asked_to_end(*args, original=original, **kwargs):
            result = original(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGTERM)
            return result

        setattr(owner, name, asked_to_end)
        try:
            main(sys.argv[2:])
        except SystemExit as end:
            print("exit code", end.code, os.listdir(folder))
        setattr(owner, name, original)
    main(["fit", "missing.h5ad"])
""")

PLACES = [
    "leafletfa_scvi.data.read_h5ad",
    "leafletfa_scvi.train._training_plan:SplicingTrainingPlan.training_step",
    "leafletfa_scvi.data.write_h5ad",
]


def test_sigterm_leaves_nothing_behind(tmp_path):
    data = tmp_path / "data.h5ad"
    lfa.datasets.simulate_splicing(40, 20, 2, seed=0).write_h5ad(data)
    args = [
        "fit",
        data,
        "--save-model",
        tmp_path / "model",
        "-k",
        "2",
        "--max-epochs",
        "5",
        "--accelerator",
        "cpu",
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TERMINATED, ",".join([str(tmp_path), *PLACES])]
        + list(map(str, args)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.count("exit code 143 ['data.h5ad']\n") == 3, done.stderr
    assert done.stderr.count("Error: Terminated.\n") == 3
    assert "Traceback" not in done.stderr
    assert done.returncode == 2  # of the last command: what ended the others has no effect on it


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
