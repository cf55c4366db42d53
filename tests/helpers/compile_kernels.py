"""Compile the kernels of the Triton launchers without a GPU; prints JSON.

    python tests/helpers/compile_kernels.py 90 20

compiles for sm_90 and K = 20 and prints registers, spilled bytes and shared memory of each kernel.
Must run without ``TRITON_INTERPRET``: Triton compiles or interprets, by process.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from leafletfa_scvi import ops
from leafletfa_scvi.ops import _triton, _triton_config, _triton_segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TYPES = {
    torch.uint8: "*u8",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
}


def source(kernel: Any, args: tuple, constants: dict[str, Any]) -> ASTSource:
    """The kernel with the types, constants and alignments that a launch would give it."""
    values = dict(zip(kernel.arg_names, args, strict=False)) | constants
    signature, constexprs, attrs = {}, {}, {}
    for position, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if isinstance(value, torch.Tensor):
            signature[parameter.name] = TYPES[value.dtype]
            aligned = value.data_ptr() % 16 == 0
        elif parameter.is_constexpr or value is None or value == 1:
            signature[parameter.name] = "constexpr"
            constexprs[(position,)] = value
            aligned = False
        else:
            signature[parameter.name] = "i32"
            aligned = value % 16 == 0
        if aligned:
            attrs[(position,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constexprs, attrs)


def ptxas(arch: int) -> str:
    """The assembler that Triton uses for ``arch``, as Triton 3.3, 3.4 and later name it."""
    found = get_ptxas(arch) if inspect.signature(get_ptxas).parameters else get_ptxas()
    return found[0] if isinstance(found, tuple) else found.path


def resources(compiled: Any, arch: int) -> dict[str, int]:
    """Registers of a thread and spilled bytes, as ptxas counts them; shared memory.

    And how many logarithms are taken in the layout of sums over a tile's rows, where several
    threads hold the same entry and all would take them.
    """
    ptx = compiled.asm["ptx"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        target = re.search(r"^\.target\s+(\w+)", ptx, re.MULTILINE)[1]
        command = [ptxas(arch), "-v", f"--gpu-name={target}", path, "-o", f"{path}.o"]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report).groups()
    return {
        "registers": int(re.search(r"Used (\d+) registers", report)[1]),
        "spills": sum(map(int, spills)),
        "shared": compiled.metadata.shared,
        "repeated_logs": len(re.findall(r"math\.log .*#ttg\.slice", compiled.asm["ttgir"])),
    }


def sweeps(n_programs: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Calls of the launchers, of every likelihood and way to sum, by name."""
    two, column = torch.full((4,), 2, dtype=torch.uint8), torch.arange(4, dtype=torch.int32)
    observed = ops.ObservedEntries(torch.tensor([0, 4]), column, two // 2, two, 4)
    of_atses = ops.multinomial_entries(observed, torch.tensor([0, 0, 1, 1]))
    phi, psi = torch.ones(1, n_programs), torch.ones(4, n_programs)
    for entries, n_kappas in ((observed, 4), (of_atses, 2)):
        kappas = {"": None, " scalar kappa": torch.ones(()), " kappas": torch.ones(n_kappas)}
        for kind, kappa in kappas.items():
            name, args = f"{type(entries).__name__}{kind}", (entries, phi, psi, kappa)
            yield f"{name} value", partial(_triton.log_likelihood, *args)
            for sweep in (_triton.gradients, _triton.expected_counts):
                for way, deterministic in (("order", True), ("atomics", False)):
                    call = partial(sweep, *args, deterministic=deterministic)
                    yield f"{name} {sweep.__name__} {way}", call


def compiled_launches(arch: int, n_programs: int, only: str = "") -> dict[str, dict[str, int]]:
    """Resources of every kernel that the sweeps launch, or those with ``only`` in their name."""
    found: dict[str, dict[str, int]] = {}
    seen = set()

    def launch(kernel: Any, grid: int, *args: Any, **constants: Any) -> None:
        options = {"num_warps": constants.pop("num_warps", 4), "enable_fp_fusion": True}
        built = source(kernel, args, constants)
        key = (kernel.__name__, repr((built.signature, built.constants, built.attrs, options)))
        if key in seen:
            return
        seen.add(key)
        compiled = triton.compile(built, target=GPUTarget("cuda", arch, 32), options=options)
        found[f"{kernel.__name__}: {name}"] = resources(compiled, arch)

    _triton_segments.run_kernel = launch
    for name, call in sweeps(n_programs):
        if only in name:
            call()
    return found


def main() -> None:
    """Print the resources."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arch", type=int)
    parser.add_argument("programs", type=int)
    parser.add_argument("--only", default="")
    parser.add_argument("--entries", type=int, help="entries of a tile of rows, instead of ours")
    args = parser.parse_args()
    if args.entries:
        rows = _triton_config.CONFIGS["rows"]
        rows.update((k, v._replace(entries=args.entries)) for k, v in rows.items())
    print(json.dumps(compiled_launches(args.arch, args.programs, args.only), indent=1))


if __name__ == "__main__":
    main()
