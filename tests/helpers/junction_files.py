"""Small files of junctions for the tests of readers."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from pathlib import Path

SJ = b"chr1\t101\t250\t1\t1\t1\t5\t2\t30\nchr1\t301\t390\t2\t2\t0\t1\t0\t12\n"
BED12 = b"chr1\t90\t260\tJ1\t5\t+\t90\t260\t255,0,0\t2\t10,10\t0,160\n"
BED6 = b"chr1\t100\t250\t.\t5\t+\n"
BARCODES = BED12.rstrip() + b"\t2\tAC:2,GT:3\n"

quick = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
