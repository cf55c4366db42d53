"""Walk through the structure of an .h5ad file; run as a program by ``_h5ad.py``.

The HDF5 library never returns from some damaged files, and no exception can end a loop in C. A
timer of processor time can, as its signal ends the process. Imports only h5py, to start fast.
"""

from __future__ import annotations

import math
import signal
import sys

import h5py

_SECONDS = 2
"""Processor time allowed for one step, which takes milliseconds on an intact file."""
_BLOCK = 1 << 16
"""Number of values of a dataset to read in one step."""


def main(path: str) -> None:
    """Visit every object; before each step, print the name of the object."""
    _step("/")
    with h5py.File(path, "r") as file:
        _walk(file, set())


def _walk(group: h5py.Group, seen: set[int]) -> None:
    for key in ["", *_names(group)]:
        name = f"{group.name.rstrip('/')}/{key}" if key else group.name
        _step(name)
        if key and not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue  # its target, if in this file, is visited by its own name
        node = group[key] if key else group
        for attribute in _attributes(node):
            _step(name)
            node.attrs[attribute]
        if not key:
            continue
        address = h5py.h5o.get_info(node.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(node, h5py.Group):
            _walk(node, seen)
        elif isinstance(node, h5py.Dataset):
            _read(node, name)


def _names(group: h5py.Group) -> list[str]:
    _step(group.name)
    return list(group)


def _attributes(node: h5py.HLObject) -> list[str]:
    return list(node.attrs)


def _read(dataset: h5py.Dataset, name: str) -> None:
    """Read the index of chunks, and text: values of variable length are stored apart."""
    _step(name)
    if dataset.chunks is not None:
        dataset.id.get_num_chunks()
    if not dataset.dtype.hasobject or dataset.shape is None:
        return
    if dataset.ndim == 0:
        dataset[()]
        return
    rows = max(1, _BLOCK // max(1, math.prod(dataset.shape[1:])))
    for start in range(0, dataset.shape[0], rows):
        _step(name)
        dataset[start : start + rows]


def _step(name: str) -> None:
    """Print the object of the next step, and restart the timer."""
    print(ascii(name), flush=True)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
