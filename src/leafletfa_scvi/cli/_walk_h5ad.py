"""Goes through the structure of an .h5ad file; run as a program by ``_h5ad.py``.

HDF5's library never returns from some damaged files, and no exception ends a loop in C: a timer
of processor time does, whose signal ends the process. Imports h5py alone, so that it starts fast.
"""

from __future__ import annotations

import math
import signal
import sys

import h5py

_SECONDS = 2
"""Processor time for one step, which on a healthy file takes milliseconds."""
_BLOCK = 1 << 16
"""Values of a dataset in one step."""


def main(path: str) -> None:
    """Print a line before each step, with the place in the file; end when all have been done."""
    _step("/")
    with h5py.File(path, "r") as file:
        _walk(file, set())


def _walk(group: h5py.Group, seen: set[int]) -> None:
    for key in ["", *_names(group)]:
        place = f"{group.name.rstrip('/')}/{key}" if key else group.name
        _step(place)
        if key and not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue  # what it points to in this file is met there
        node = group[key] if key else group
        for name in _attributes(node):
            _step(place)
            node.attrs[name]
        if not key:
            continue
        address = h5py.h5o.get_info(node.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(node, h5py.Group):
            _walk(node, seen)
        elif isinstance(node, h5py.Dataset):
            _read(node, place)


def _names(group: h5py.Group) -> list[str]:
    _step(group.name)
    return list(group)


def _attributes(node: h5py.HLObject) -> list[str]:
    return list(node.attrs)


def _read(dataset: h5py.Dataset, place: str) -> None:
    """The list of chunks; and text, which is stored apart, as is all of variable length."""
    _step(place)
    if dataset.chunks is not None:
        dataset.id.get_num_chunks()
    if not dataset.dtype.hasobject or dataset.shape is None:
        return
    if dataset.ndim == 0:
        dataset[()]
        return
    rows = max(1, _BLOCK // max(1, math.prod(dataset.shape[1:])))
    for start in range(0, dataset.shape[0], rows):
        _step(place)
        dataset[start : start + rows]


def _step(place: str) -> None:
    """Say where the next step is, and give it its time."""
    print(ascii(place), flush=True)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
