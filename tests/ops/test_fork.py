"""Forked and spawned worker processes, tested in separate interpreters with a time limit."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import multiprocessing, sys
import torch
from leafletfa_scvi import ops

def entries():
    block = torch.tensor([0, 1], dtype=torch.int32), torch.tensor([1, 2]), torch.tensor([3, 2])
    return ops.ObservedEntries(torch.tensor([0, 1, 2]), *block, 2)

def kernel():
    phi, psi = torch.full((2, 3), 1 / 3), torch.full((2, 3), 0.4)
    return float(ops.log_likelihood(entries(), phi, psi, torch.tensor(3.0)).sum())

def parallel():
    return float(torch.ones(400, 400).lgamma().exp().sum())

def run(name):
    try:
        return repr(globals()[name]())
    except RuntimeError as error:
        return f"RuntimeError {error}"

if __name__ == "__main__":
    start, child, *parent = sys.argv[1:]
    torch.set_num_threads(2)
    before = [run(name) for name in parent]
    with multiprocessing.get_context(start).Pool(1) as pool:
        print(pool.apply_async(run, (child,)).get(100))
    assert [run(name) for name in parent] == before  # the parent continues as before
    assert torch.get_num_threads() == 2
"""


@pytest.fixture
def in_pool(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(SCRIPT)

    def run(*arguments):
        env = {**os.environ, "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            env=env,
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_kernels_in_a_forked_child_raise_if_the_parent_ran_any(in_pool):
    said = in_pool("fork", "kernel", "kernel")
    assert said.startswith("RuntimeError")
    assert "spawn" in said
    assert "forkserver" in said


def test_a_child_forked_before_any_kernel_computes(in_pool):
    assert in_pool("fork", "kernel", "parallel") == in_pool("spawn", "kernel", "kernel")


def test_torch_computes_in_a_forked_child_after_parallel_work(in_pool):
    assert float(in_pool("fork", "parallel", "kernel", "parallel")) == pytest.approx(160_000)
