"""Reader of archives of torch.save that hold only tensors, lists, dicts, text and numbers.

The pickle in the archive is interpreted opcode by opcode. Only the names from which tensors are
rebuilt are accepted, no function is looked up or called, and the size of the file bounds the
memory.
"""

from __future__ import annotations

import pickletools
import sys
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch

if TYPE_CHECKING:
    from pathlib import Path

_TENSOR: Final = "torch._utils _rebuild_tensor_v2"
_ORDERED: Final = "collections OrderedDict"
_STORAGES: Final = {
    f"torch {name}Storage": dtype
    for name, dtype in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}
_VALUES: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS: Final = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
_TEXTS: Final = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_TUPLES: Final = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class NotPlainError(ValueError):
    """The archive holds Python objects, which can run code."""


class _Name(NamedTuple):
    """Name of a Python object that a pickle refers to."""

    name: str


def read_plain(path: Path) -> Any:
    """Read an archive of :func:`torch.save`; tensors are on the CPU.

    Parameters
    ----------
    path
        File with one pickle, whose parts are neither compressed nor duplicate.

    Raises
    ------
    NotPlainError
        The file holds objects other than tensors, lists, tuples, dicts, text and numbers.
    ValueError
        The pickle is invalid, or refers to more bytes than the file holds.
    OSError
        The file cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        (name,) = [x for x in archive.namelist() if x.rpartition("/")[2] == "data.pkl"]
        root = name.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist():
            order = archive.read(f"{root}byteorder").decode(errors="replace")
            if order != sys.byteorder:
                raise ValueError(f"its numbers are {order}-endian")
        try:
            return _Unpickler(archive, root).load(archive.read(name))
        except (AttributeError, IndexError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"its parts do not fit together ({error})") from error


class _Unpickler:
    """Interpreter of a pickle, with its stack and memo."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self._archive = archive
        self._root = root
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._storages: dict[str, torch.Tensor] = {}
        # Tensors may be views of one storage: their sizes are summed, so that a small file cannot
        # ask for much memory.
        self._n_free_bytes = sum(part.file_size for part in archive.infolist())

    def load(self, pickle: bytes) -> Any:
        """Interpret a pickle and return its object."""
        for opcode, value, _ in pickletools.genops(pickle):
            if opcode.name == "STOP":
                return self._stack.pop()
            self._run(opcode.name, value)
        raise ValueError("its pickle has no end")

    def _run(self, opcode: str, value: Any) -> None:
        """Run one opcode."""
        stack, memo = self._stack, self._memo
        if opcode in _TEXTS or opcode in _NUMBERS:
            stack.append(value)
        elif opcode in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if opcode == "MEMOIZE" else value] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(_single(memo[value]))
        elif opcode in _VALUES:
            stack.append(_VALUES[opcode])
        elif opcode in _TUPLES:
            stack.append(tuple(self._take(_TUPLES[opcode])))
        elif opcode == "TUPLE":
            stack.append(tuple(self._marked()))
        elif opcode == "EMPTY_DICT":
            stack.append({})
        elif opcode == "EMPTY_LIST":
            stack.append([])
        elif opcode == "MARK":
            self._marks.append(len(stack))
        elif opcode in ("APPEND", "APPENDS"):
            parts = self._marked() if opcode == "APPENDS" else self._take(1)
            stack[-1].extend(parts)
        elif opcode in ("SETITEM", "SETITEMS"):
            parts = self._marked() if opcode == "SETITEMS" else self._take(2)
            for key, part in zip(parts[::2], parts[1::2], strict=True):
                if not isinstance(key, str | int):
                    raise ValueError(f"a dict has a {type(key).__name__} among its keys")
                stack[-1][key] = part
        elif opcode in ("GLOBAL", "STACK_GLOBAL"):
            name = value if opcode == "GLOBAL" else " ".join(self._take(2))
            if name not in (_TENSOR, _ORDERED, *_STORAGES):
                raise NotPlainError(f"{name[:60]!r}")
            stack.append(_Name(name))
        elif opcode == "REDUCE":
            function, arguments = self._take(2)
            stack.append(self._call(function, arguments))
        elif opcode == "BINPERSID":
            stack.append(self._storage(*stack.pop()))
        elif opcode not in ("PROTO", "FRAME"):
            raise NotPlainError("with a state of their own")

    def _take(self, n: int) -> list[Any]:
        """Pop the last ``n`` objects from the stack."""
        start = len(self._stack) - n
        if start < 0:
            raise ValueError("its pickle takes more than it has")
        parts = self._stack[start:]
        del self._stack[start:]
        return parts

    def _marked(self) -> list[Any]:
        """Pop all objects above the last mark."""
        return self._take(len(self._stack) - self._marks.pop())

    def _call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Build the object that a call would return: an empty OrderedDict or a tensor."""
        if function == _Name(_ORDERED) and arguments == ():
            return OrderedDict()
        if function != _Name(_TENSOR):
            raise NotPlainError("that call each other")
        return self._tensor(*arguments[:4])

    def _storage(self, kind: str, name: Any, key: str, device: str, size: int) -> torch.Tensor:
        """Read the values of a part of the archive."""
        dtype = _STORAGES[name.name]
        if kind != "storage":
            raise ValueError("a part of it is not an array")
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._root}data/{key}"))
            empty = torch.empty(0, dtype=dtype)
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else empty
        values = self._storages[key]
        if values.dtype != dtype or len(values) != size:
            raise ValueError(f"an array of {size} numbers has {len(values)}")
        return values

    def _tensor(
        self, storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> torch.Tensor:
        """Build a tensor, if all of its elements lie within the storage."""
        if not isinstance(storage, torch.Tensor) or len(shape) != len(strides):
            raise ValueError("a tensor has no numbers")
        if not all(isinstance(x, int) and x >= 0 for x in (offset, *shape, *strides)):
            raise ValueError("the shape of a tensor is invalid")
        n = 1
        for size in shape:
            n *= size
        self._n_free_bytes -= n * storage.element_size()
        steps = zip(shape, strides, strict=True)
        last = offset + sum((size - 1) * stride for size, stride in steps) if n else 0
        if self._n_free_bytes < 0 or n > len(storage) or last >= max(len(storage), 1):
            raise ValueError(f"a tensor of shape {shape} has {len(storage)} numbers")
        return torch.as_strided(storage, shape, strides, offset if n else 0)


def _single(value: Any) -> Any:
    """Return a value of the memo, unless it is a container, which a model never repeats."""
    parts = value if isinstance(value, tuple) and not isinstance(value, _Name) else (value,)
    if not all(isinstance(x, str | int | float | _Name | None) for x in parts):
        raise ValueError("a part of it is repeated")
    return value
