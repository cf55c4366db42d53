"""What a machine can do and how much a call takes of it: speed, memory, names."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


_AT_LEAST = 1.0


def synchronize(device: torch.device) -> None:
    """Wait for what was queued on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def shortest(
    call: Callable[[], object], device: torch.device, repeats: int, budget: float = 30.0
) -> tuple[float, float]:
    """Seconds of the fastest of some calls, after one that is not counted.

    At least ``repeats`` calls and a second of them, so that a moment when the machine is busy
    elsewhere does not count; no further one after ``budget`` seconds. Where the uncounted call
    alone takes half of that, it counts.

    Returns
    -------
    wall
        Seconds that pass.
    processor
        Least processor seconds of one call, over all threads of this process.
    """
    begin = time.perf_counter()
    wall = processor = float("inf")
    for i in range(1000):
        start, used = time.perf_counter(), time.process_time()
        call()
        synchronize(device)
        elapsed = time.perf_counter() - begin
        if i or elapsed > budget / 2:
            wall = min(wall, time.perf_counter() - start)
            processor = min(processor, time.process_time() - used)
        if elapsed > budget or (i >= repeats and elapsed > _AT_LEAST):
            break
    return wall, processor


def process_memory(name: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process in bytes, of Linux' /proc."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def allocated(device: torch.device) -> int:
    """Bytes that torch holds on a GPU; 0 elsewhere."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def peak_beyond_inputs(call: Callable[[], object], device: torch.device, inputs: int) -> float:
    """Bytes held at the peak of a call beyond its inputs; NaN where unknown.

    Results that it returns are counted. On a GPU what torch holds beyond ``inputs``, the bytes
    allocated with the inputs alone, so that indices kept from earlier calls count too; else by
    how much the resident set of the process grows, after its peak is reset. Call it once before:
    compilers take memory too.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - inputs)
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # else freed memory is used again, uncounted
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("nan")
    before = process_memory("VmRSS")
    call()
    return float(process_memory("VmHWM") - before)


def bandwidth(device: torch.device) -> float:
    """Bytes per second of ``a = b + s c`` over arrays of 512 MiB each, three moves per value."""
    a, b, c = (torch.ones(1 << 27, device=device) for _ in range(3))
    seconds, _ = shortest(lambda: torch.add(b, c, alpha=2.0, out=a), device, 20)
    return 3.0 * a.numel() * a.element_size() / seconds


def arithmetic(device: torch.device) -> float:
    """Float32 operations per second of a matrix product, an addition and a product counted two."""
    n = 8192 if device.type == "cuda" else 3072
    a = torch.rand(n, n, device=device)
    out = torch.empty_like(a)
    return 2.0 * n**3 / shortest(lambda: torch.mm(a, a, out=out), device, 20)[0]


def device_name(device: torch.device) -> str:
    """Name of the GPU, or of the CPU and the number of its cores in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        model = found[1] if found else model
    return re.sub(r"\((R|TM)\)", "", model).strip()


def load() -> str:
    """Processes that wanted to run in the last minute; more than this one make times longer."""
    return f"{os.getloadavg()[0]:.1f} processes on {os.cpu_count()} cores"


def versions(device: torch.device) -> dict[str, str]:
    """Versions of what computes."""
    names = ["torch", "numpy", "triton" if device.type == "cuda" else "numba"]
    out = {"python": platform.python_version()}
    for name in names:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = "missing"
    out["torch"] = torch.__version__
    if device.type == "cuda":
        out["cuda"] = str(torch.version.cuda)
    return out
