"""Time of one likelihood call with all gradients, the fused kernel against torch with autograd.

    python benchmarks/ops.py [--entries 1000000 4000000] [--programs 8 20] [--repeats 3]

Prints nanoseconds per observed entry and their ratio, both measured in the same run after a
warm-up call. "torch" gathers phi and psi for every entry, in blocks of cells.
"""

from __future__ import annotations

import argparse
import platform
import time
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi import ops

if TYPE_CHECKING:
    from collections.abc import Callable

COVERAGE = 0.1
CONCENTRATION = 5.0


def random_data(n_entries: int, n_programs: int) -> tuple[ops.ObservedEntries, torch.Tensor, ...]:
    """Entries at 10 % coverage, twice as many junctions as cells, totals of 1 to 30 reads."""
    generator = torch.Generator().manual_seed(0)
    n_cells = int((n_entries / COVERAGE / 2) ** 0.5)
    n_junctions = 2 * n_cells
    per_cell = n_entries // n_cells
    column = torch.randint(n_junctions, (n_cells, per_cell), generator=generator)
    column = column.sort(1).values.to(torch.int32).reshape(-1)
    total = torch.randint(1, 31, column.shape, generator=generator).float()
    count = (torch.rand(column.shape, generator=generator) * (total + 1)).floor()
    indptr = torch.arange(n_cells + 1) * per_cell
    entries = ops.ObservedEntries(indptr, column, count, total, n_junctions)
    entries.log_coefficient()
    phi = torch.rand(n_cells, n_programs, generator=generator)
    psi = torch.rand(n_junctions, n_programs, generator=generator)
    return entries, phi / phi.sum(1, keepdim=True), psi


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Shortest of some calls, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000_000, 4_000_000])
    parser.add_argument("--programs", type=int, nargs="+", default=[8, 20])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'entries':>12} {'K':>4} {'numba ns':>9} {'torch ns':>9} {'ratio':>6}")
    for n_entries in args.entries:
        for n_programs in args.programs:
            entries, phi, psi = random_data(n_entries, n_programs)
            leaves = [phi, psi, torch.tensor(CONCENTRATION)]

            def call(backend: str, entries: ops.ObservedEntries, leaves: list) -> None:
                inputs = [x.requires_grad_() for x in leaves]
                value = ops.log_likelihood(entries, *inputs, backend=backend)
                torch.autograd.grad(value.sum(), inputs)

            ns = [
                seconds(lambda b=b, e=entries, x=leaves: call(b, e, x), args.repeats)
                / entries.n_entries
                * 1e9
                for b in ("numba", "torch")
            ]
            print(
                f"{entries.n_entries:12,} {n_programs:4} {ns[0]:9.1f} {ns[1]:9.1f} "
                f"{ns[1] / ns[0]:6.1f}"
            )


if __name__ == "__main__":
    main()
