"""Time and memory of the numerical core, against plain PyTorch and the floor of the machine.

    python -m benchmarks.kernels.ops [--device cpu|cuda] [--full] [--sizes 1M 20M]
        [--programs 5 20] [--likelihood all|beta-binomial|...] [--memory 8] [--threads 1]

Needs torch and numpy, numba on a CPU and triton on a GPU, and this package's folder ``src`` on
``PYTHONPATH``. All kernels are first compared with the float64 reference on the same device; where
one is wrong nothing is timed. Numbers of one table come from one run:

- ``ns``: nanoseconds per observed entry, the fastest of some calls after a warm-up. "gradients" is
  value and all gradients (phi, psi, kappa) through autograd, "value" the value alone, "counts" the
  expected counts of the EM.
- ``CPU ns``: the same in processor time over all threads, which other work on the machine changes
  less; on a GPU empty.
- ``GB/s``: bytes that must move (see ``_floor.py``) over the time.
- ``peak MB``: memory beyond the inputs at the peak, results included.
- ``/ gathers``, ``/ dense``: how many times longer PyTorch takes, gathering rows of phi and psi
  for every entry (``block``: millions of entries at a time, as many as fit ``--memory``), or
  multiplying ``phi @ psi.T`` and masking, where that fits; float32, autograd.
- ``x floor``: the time over the least possible (``_floor.py``), with the bandwidth and the
  arithmetic throughput measured at the start.

Results go to ``benchmarks/results/<device>.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import gc
from typing import TYPE_CHECKING, Any

import torch
from benchmarks._entries import LIKELIHOODS, SIZES, Problem, problem, random_entries
from benchmarks._machine import (
    allocated,
    arithmetic,
    bandwidth,
    device_name,
    load,
    peak_beyond_inputs,
    shortest,
    synchronize,
    versions,
)
from benchmarks._report import Table, now, write
from benchmarks.kernels._baselines import dense, gathers
from benchmarks.kernels._check import check, load_kernels, variants
from benchmarks.kernels._floor import floor_seconds, moved_bytes

from leafletfa_scvi import ops

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

COLUMNS = {
    "likelihood": 21,
    "size": 4,
    "entries": 11,
    "K": 3,
    "call": 19,
    "ms": 7,
    "ns": 6,
    "CPU ns": 6,
    "GB/s": 6,
    "peak MB": 7,
    "block": 6,
    "/ gathers": 9,
    "/ dense": 7,
    "x floor": 7,
}
WITH_DENSE = ("1M", "4M")


def main() -> None:
    """Check, time, print and write."""
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    kernels = load_kernels(device)
    synchronize(device)
    name = device_name(device)
    facts: dict[str, Any] = {
        "device": name,
        "threads": torch.get_num_threads() if device.type == "cpu" else "",
        **versions(device),
        "date": now(),
        "load before": load(),
        "note": args.note,
    }
    facts = {key: value for key, value in facts.items() if value != ""}
    print("\n".join(f"{key}: {value}" for key, value in facts.items()), flush=True)
    n_compared = check(kernels, device, args.likelihood)
    facts["checked"] = f"{n_compared:,} arrays equal the float64 reference"
    speed = bandwidth(device), arithmetic(device)
    facts["bandwidth"] = f"{speed[0] / 1e9:,.1f} GB/s (a = b + s c over 512 MiB arrays)"
    facts["arithmetic"] = f"{speed[1] / 1e9:,.0f} GFLOP/s (float32 matrix product)"
    for key in ("checked", "bandwidth", "arithmetic"):
        print(f"{key}: {facts[key]}")
    table = Table(COLUMNS)
    table.start()
    for size in args.sizes:
        entries = random_entries(*SIZES[size])
        for likelihood in args.likelihood:
            for n_programs in programs_of(args, size, device):
                given = problem(entries, n_programs, likelihood).to(device)
                measure(table, kernels, given, likelihood, size, speed, args)
                del given
                gc.collect()
    facts["load after"] = load()
    path = write(args.output or name, f"Numerical core: {name}", facts, {"Calls": table})
    print(f"\nWritten to {path}")


def arguments() -> argparse.Namespace:
    """The command line, with defaults that depend on the device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--full", action="store_true", help="more sizes, and K = 5, 20, 50, 128")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES))
    parser.add_argument("--programs", type=int, nargs="+")
    parser.add_argument("--likelihood", nargs="+", default=["beta-binomial"])
    parser.add_argument("--memory", type=float, default=8.0, help="GB for the PyTorch baselines")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds for a measurement")
    parser.add_argument("--threads", type=int, help="of a CPU; torch's number by default")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--output", help="name of the results instead of the device's")
    parser.add_argument("--note", default="", help="kept with the results")
    args = parser.parse_args()
    if args.likelihood == ["all"]:
        args.likelihood = list(LIKELIHOODS)
    unknown = set(args.likelihood) - set(LIKELIHOODS)
    if unknown:
        parser.error(f"--likelihood {unknown.pop()}: expected all or {', '.join(LIKELIHOODS)}")
    if args.sizes is None:
        target = "45M" if args.device.startswith("cuda") else "20M"
        args.sizes = ["1M", target]
        if args.full:
            args.sizes = ["1M", "4M", "20M", "40M"] + (["45M"] if target == "45M" else [])
    return args


def programs_of(args: argparse.Namespace, size: str, device: torch.device) -> list[int]:
    """K to time: K = 20 alone at large sizes of a quick run on a CPU."""
    if args.programs is not None:
        return args.programs
    if args.full or size == "1M" or device.type == "cuda":
        return [5, 20, 50, 128]
    return [20]


def calls(kernels: ModuleType, given: Problem) -> dict[str, Callable[[], object]]:
    """What is timed, by name; the first word says what it computes."""
    entries, phi, psi, kappa = given[:4]
    leaves = [x.detach().clone().requires_grad_() for x in (phi, psi, kappa) if x is not None]

    def gradients() -> object:
        total = ops.log_likelihood(entries, *leaves).sum()
        return torch.autograd.grad(total, leaves)

    out: dict[str, Callable[[], object]] = {"gradients": gradients}
    choices = variants(kernels)
    for label, options in choices.items():
        if label:
            out[f"gradients, {label}"] = lambda o=options: kernels.gradients(
                entries, phi, psi, kappa, **o
            )
    out["value"] = lambda: ops.log_likelihood(entries, phi, psi, kappa)
    for label, options in choices.items():
        out["counts" + (f", {label}" if label else "")] = lambda o=options: (
            kernels.expected_counts(entries, phi, psi, kappa, **o)
        )
    return out


def measure(
    table: Table,
    kernels: ModuleType,
    given: Problem,
    likelihood: str,
    size: str,
    speed: tuple[float, float],
    args: argparse.Namespace,
) -> None:
    """Rows of one problem; the baselines stand in the rows of what they compute."""
    device = given.phi.device
    inputs, memory = allocated(device), int(args.memory * 1e9)
    baseline, block = {}, None
    if not args.no_baselines:
        for kind in ("gradients", "value"):
            call, block = gathers(given, memory, kind == "gradients")
            baseline[kind], _ = shortest(call, device, args.repeats, args.budget)
        masked = dense(given, memory) if size in WITH_DENSE else None
        if masked is not None:
            baseline["dense"], _ = shortest(masked, device, args.repeats, args.budget)
        call = masked = None
        gc.collect()
    for name, run in calls(kernels, given).items():
        kind = name.split(",")[0]
        seconds, processor = shortest(run, device, args.repeats, args.budget)
        peak = peak_beyond_inputs(run, device, inputs)
        against = {}
        if kind in ("gradients", "value") and baseline:
            against = {"block": (block or 0) / 1e6, "/ gathers": baseline[kind] / seconds}
        if kind == "gradients" and "dense" in baseline:
            against["/ dense"] = baseline["dense"] / seconds
        table.add(
            likelihood=likelihood,
            size=size,
            entries=given.n_observed,
            K=given.phi.shape[1],
            call=name,
            ms=seconds * 1e3,
            ns=seconds / given.n_observed * 1e9,
            **{
                "CPU ns": processor / given.n_observed * 1e9 if device.type == "cpu" else None,
                "GB/s": moved_bytes(given, kind) / seconds / 1e9,
                "peak MB": peak / 1e6,
                "x floor": seconds / floor_seconds(given, likelihood, kind, *speed),
                **against,
            },
        )


if __name__ == "__main__":
    main()
