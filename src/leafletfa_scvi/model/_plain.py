"""Reading what torch.save wrote of tensors, lists, dicts, text and numbers, and nothing else.

The pickle within the archive is followed step by step. It names only what tensors are made of;
no function is looked up or called, and the memory taken is that of the file.
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
    """An archive holds Python objects, which can run code."""


class _Name(NamedTuple):
    """Name of something of Python's that a pickle asks for."""

    name: str


def read_plain(path: Path) -> Any:
    """Read an archive of :func:`torch.save`; tensors are on the CPU.

    Parameters
    ----------
    path
        File with one pickle, whose parts are neither compressed nor there twice.

    Raises
    ------
    NotPlainError
        It holds other objects than tensors, lists, tuples, dicts, text and numbers.
    ValueError
        It cannot be followed, or claims more than the file holds.
    OSError
        It cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        (name,) = [x for x in archive.namelist() if x.rpartition("/")[2] == "data.pkl"]
        root = name.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist():
            order = archive.read(f"{root}byteorder").decode(errors="replace")
            if order != sys.byteorder:
                raise ValueError(f"its numbers are {order}-endian")
        try:
            return _Steps(archive, root).follow(archive.read(name))
        except (AttributeError, IndexError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"its parts do not fit together ({error})") from error


class _Steps:
    """Stack and memo of a pickle."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self._archive = archive
        self._root = root
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._storages: dict[str, torch.Tensor] = {}
        self._left = sum(part.file_size for part in archive.infolist())

    def follow(self, pickle: bytes) -> Any:
        for step, value, _ in pickletools.genops(pickle):
            if step.name == "STOP":
                return self._stack.pop()
            self._do(step.name, value)
        raise ValueError("its pickle has no end")

    def _do(self, step: str, value: Any) -> None:
        stack, memo = self._stack, self._memo
        if step in _TEXTS or step in _NUMBERS:
            stack.append(value)
        elif step in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if step == "MEMOIZE" else value] = stack[-1]
        elif step in ("BINGET", "LONG_BINGET"):
            stack.append(_single(memo[value]))
        elif step in _VALUES:
            stack.append(_VALUES[step])
        elif step in _TUPLES:
            stack.append(tuple(self._take(_TUPLES[step])))
        elif step == "TUPLE":
            stack.append(tuple(self._marked()))
        elif step == "EMPTY_DICT":
            stack.append({})
        elif step == "EMPTY_LIST":
            stack.append([])
        elif step == "MARK":
            self._marks.append(len(stack))
        elif step in ("APPEND", "APPENDS"):
            parts = self._marked() if step == "APPENDS" else self._take(1)
            stack[-1].extend(parts)
        elif step in ("SETITEM", "SETITEMS"):
            parts = self._marked() if step == "SETITEMS" else self._take(2)
            for key, part in zip(parts[::2], parts[1::2], strict=True):
                if not isinstance(key, str | int):
                    raise ValueError(f"a dict has a {type(key).__name__} among its keys")
                stack[-1][key] = part
        elif step in ("GLOBAL", "STACK_GLOBAL"):
            name = value if step == "GLOBAL" else " ".join(self._take(2))
            if name not in (_TENSOR, _ORDERED, *_STORAGES):
                raise NotPlainError(f"{name[:60]!r}")
            stack.append(_Name(name))
        elif step == "REDUCE":
            what, parts = self._take(2)
            stack.append(self._made(what, parts))
        elif step == "BINPERSID":
            stack.append(self._storage(*stack.pop()))
        elif step not in ("PROTO", "FRAME"):
            raise NotPlainError("with a state of their own")

    def _take(self, n: int) -> list[Any]:
        """The last ``n`` on the stack."""
        start = len(self._stack) - n
        if start < 0:
            raise ValueError("its pickle takes more than it has")
        parts = self._stack[start:]
        del self._stack[start:]
        return parts

    def _marked(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        return self._take(len(self._stack) - self._marks.pop())

    def _made(self, what: Any, parts: tuple[Any, ...]) -> Any:
        if what == _Name(_ORDERED) and parts == ():
            return OrderedDict()
        if what != _Name(_TENSOR):
            raise NotPlainError("that call each other")
        return self._tensor(*parts[:4])

    def _storage(self, kind: str, dtype: Any, key: str, place: str, size: int) -> torch.Tensor:
        """Values of a part of the archive."""
        wanted = _STORAGES[dtype.name]
        if kind != "storage":
            raise ValueError("a part of it is no array")
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._root}data/{key}"))
            empty = torch.empty(0, dtype=wanted)
            found = torch.frombuffer(data, dtype=wanted) if data else empty
            self._storages[key] = found
        found = self._storages[key]
        if found.dtype != wanted or len(found) != size:
            raise ValueError(f"an array of {size} numbers is of {len(found)}")
        return found

    def _tensor(
        self, storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> torch.Tensor:
        if not isinstance(storage, torch.Tensor) or len(shape) != len(strides):
            raise ValueError("a tensor has no numbers")
        if not all(isinstance(x, int) and x >= 0 for x in (offset, *shape, *strides)):
            raise ValueError("the shape of a tensor is none")
        n = 1
        for size in shape:
            n *= size
        self._left -= n * storage.element_size()
        steps = zip(shape, strides, strict=True)
        last = offset + sum((size - 1) * stride for size, stride in steps) if n else 0
        if self._left < 0 or n > len(storage) or last >= max(len(storage), 1):
            raise ValueError(f"a tensor of shape {shape} has {len(storage)} numbers")
        return torch.as_strided(storage, shape, strides, offset if n else 0)


def _single(value: Any) -> Any:
    """A value that may stand in several places; parts of a model stand in one."""
    parts = value if isinstance(value, tuple) and not isinstance(value, _Name) else (value,)
    if not all(isinstance(x, str | int | float | _Name | None) for x in parts):
        raise ValueError("a part of it is there twice")
    return value
