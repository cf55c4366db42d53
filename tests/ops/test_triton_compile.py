"""Triton kernels compile for GPUs without one, and keep their values in registers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "helpers" / "compile_kernels.py"


def compiled(arch, n_programs, *options):
    """Resources of each kernel; in a separate process, since the tests' one interprets."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, SCRIPT, str(arch), str(n_programs), *options]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("arch", [80, 90])
def test_nothing_spills_at_20_programs(arch):
    found = compiled(arch, 20)
    assert len(found) > 30
    assert {name.split(":")[0] for name in found} == {
        "column_kernel", "row_kernel", "sum_kernel", "table_kernel", "totals_kernel"
    }  # fmt: skip
    assert not {name: r for name, r in found.items() if r["spills"]}
    assert not {name: r for name, r in found.items() if r["repeated_logs"]}
    in_order = [r["registers"] for name, r in found.items() if "atomics" not in name]
    assert max(in_order) <= 128  # 16 warps on a multiprocessor


@pytest.mark.parametrize(("arch", "n_programs"), [(80, 1), (90, 1), (80, 128), (90, 128)])
def test_compiles_at_the_ends_of_the_table(arch, n_programs):
    """At 128 programs atomics take more registers than there are, column order does not."""
    found = compiled(arch, n_programs, "--only", "ObservedEntries kappas")
    assert len(found) >= 7
    assert not {name for name, r in found.items() if r["spills"] and "atomics" not in name}


def test_the_check_sees_spills():
    """A tile of 256 entries is too large for the registers of one warp."""
    case = "ObservedEntries gradients order"
    found = compiled(90, 20, "--only", case, "--entries", "256")
    assert found[f"row_kernel: {case}"]["spills"] > 0
