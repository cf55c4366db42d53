"""A process that reads files starts without the libraries that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning", "scvi", "scanpy", "pyro", "anndata", "distributed", "joblib")
PROBE = "import sys, leafletfa_scvi.pp.read.{}; print([m for m in {} if m in sys.modules])"


@pytest.mark.parametrize(
    "module", ["bam._count", "_parallel", "_read_inputs", "_read_junctions", "_merge"]
)
def test_reading_imports_nothing_heavy(module):
    command = [sys.executable, "-c", PROBE.format(module, HEAVY)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
