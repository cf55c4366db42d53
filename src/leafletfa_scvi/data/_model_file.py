"""File of a saved model: tensors, text and numbers, none of which can run code.

``model.pt`` has the name and the keys of scvi-tools, so that its tools can read it. It is written
by :func:`torch.save` and can be read with ``weights_only=True``; here it is read more strictly
(:func:`~leafletfa_scvi.data._plain.read_plain`). Arrays and tables are stored as tensors and
lists, with a tag that names their type (:func:`to_plain`).
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi._scvi import SAVE_KEYS
from leafletfa_scvi.data._plain import NotPlainError, read_plain

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = 1
"""Version of the format that is written, and the newest that can be read."""

_FORMAT_KEY = "leafletfa_format"
_TAG = "__leafletfa__"
_ATTRIBUTES = ("registry_", "init_params_")


class ModelContent(NamedTuple):
    """Content of a model file."""

    state: dict[str, torch.Tensor]
    """Parameters and buffers of the module, by name."""
    var_names: np.ndarray
    """``(P,)`` names of the junctions."""
    attributes: dict[str, Any]
    """Attributes of the model whose names end in an underscore, by name."""


def write_model_file(path: Path, content: ModelContent, **options: Any) -> None:
    """Write a model file.

    Parameters
    ----------
    path
        File to write.
    content
        State, names and attributes.
    **options
        ``pickle_protocol``, as in :func:`torch.save`.

    Raises
    ------
    TypeError
        An attribute has a type that cannot be read again without running code, or an option is
        unknown.
    OSError
        The file cannot be written.
    """
    unknown = set(options) - {"pickle_protocol"}
    if unknown:
        raise TypeError(f"Expected save_kwargs to be pickle_protocol, found {min(unknown)!r}.")
    plain = {
        _FORMAT_KEY: FORMAT,
        SAVE_KEYS.MODEL_STATE_DICT_KEY: {k: x.contiguous() for k, x in content.state.items()},
        SAVE_KEYS.VAR_NAMES_KEY: [str(name) for name in content.var_names],
        SAVE_KEYS.ATTR_DICT_KEY: {
            name: to_plain(value, name) for name, value in content.attributes.items()
        },
    }
    buffer = io.BytesIO()  # torch would not raise an OSError for a full disk
    torch.save(plain, buffer, **options)
    # Path.write_bytes would keep a view in the traceback of a full disk, a warning in Python 3.13
    with buffer.getbuffer() as view, path.open("wb") as file:
        file.write(view)


def read_model_file(path: Path, *, trust: bool = False) -> ModelContent:
    """Read a model file; tensors are on the CPU.

    Parameters
    ----------
    path
        File to read.
    trust
        Also read files with pickled Python objects, which earlier versions wrote and which can
        run any code.

    Raises
    ------
    ValueError
        The file does not exist, is damaged, holds pickled objects and is not trusted, or has a
        newer format.
    """
    if path.parent.is_file():
        raise ValueError(
            f"Expected a folder that model.save wrote, found the file {path.parent}: pass the "
            f"folder that holds {path.name}."
        )
    if not path.is_file():
        raise ValueError(
            f"There is no file {path}: pass the folder that model.save wrote, and the prefix "
            "passed to it."
        )
    if not _is_archive(path):
        if not trust or path.stat().st_size == 0:
            found = "it is not an archive such as torch.save writes"
            raise ValueError(_DAMAGED.format(path=path, found=found))
        return _checked(path, _read_pickle(path), trust)
    try:
        content = read_plain(path)
    except NotPlainError as error:
        if not trust:
            raise ValueError(
                f"{path} holds pickled Python objects ({error}), which can run any code when they "
                "are read: it was saved by an earlier version of leafletfa-scvi, or by another "
                "package. If you trust its source, load it with trust=True and save it again."
            ) from error
        content = _read_pickle(path)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(_DAMAGED.format(path=path, found=error)) from error
    return _checked(path, content, trust)


def _is_archive(path: Path) -> bool:
    """Check an archive and the checksums of its parts; False if the file is no archive.

    Parts that are compressed, overlapping, duplicate, or TorchScript raise an error, too:
    :func:`torch.save` never writes them.
    """
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            odd = [
                part
                for part in parts
                if part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size
            ]
            overlap = sum(part.file_size for part in parts) > path.stat().st_size
            broken = None if odd or overlap else archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(_DAMAGED.format(path=path, found="its parts cannot be read")) from error
    if broken is not None:
        raise ValueError(_DAMAGED.format(path=path, found=f"part {broken!r} has a wrong checksum"))
    names = [part.filename for part in parts]
    pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    script = any(name.rpartition("/")[2] == "constants.pkl" for name in names)
    if odd or overlap or script or len(pickles) != 1 or len(set(names)) != len(names):
        raise ValueError(
            f"{path} is not a saved model: it is an archive that model.save did not write."
        )
    return True


def _read_pickle(path: Path) -> Any:
    """Read a trusted file in any format of torch."""
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle can raise anything
        found = f"it cannot be unpickled ({type(error).__name__}: {error})"
        raise ValueError(_DAMAGED.format(path=path, found=found)) from error


def _checked(path: Path, content: Any, trust: bool) -> ModelContent:
    """Check the parts of a file, and decode them."""
    keys = (SAVE_KEYS.MODEL_STATE_DICT_KEY, SAVE_KEYS.VAR_NAMES_KEY, SAVE_KEYS.ATTR_DICT_KEY)
    if not isinstance(content, dict) or not all(key in content for key in keys):
        raise ValueError(f"{path} is not a saved model: it lacks one of {', '.join(keys)}.")
    state, var_names, attributes = (content[key] for key in keys)
    number = content.get(_FORMAT_KEY)
    if number is None and not trust:
        raise ValueError(
            f"{path} was not saved by leafletfa-scvi, or by an earlier version: it names no "
            "format. If you trust its source, load it with trust=True and save it again."
        )
    if number is not None and (not isinstance(number, int) or number > FORMAT):
        raise ValueError(
            f"{path} has format {number!r}, but this version of leafletfa-scvi reads up to "
            f"{FORMAT}: update the package."
        )
    if not isinstance(state, dict) or not isinstance(attributes, dict):
        raise ValueError(f"{path} is not a saved model: expected dicts of state and attributes.")
    state = {name: x for name, x in state.items() if name != _PYRO_STORE}
    if not all(isinstance(x, torch.Tensor) for x in state.values()):
        raise ValueError(f"{path} is not a saved model: a parameter is not a tensor.")
    if number is not None:
        try:
            attributes = {name: from_plain(value) for name, value in attributes.items()}
        except Exception as error:  # pandas and numpy raise many kinds
            found = f"an attribute cannot be decoded ({error})"
            raise ValueError(_DAMAGED.format(path=path, found=found)) from error
        if not isinstance(var_names, list) or not all(isinstance(x, str) for x in var_names):
            raise ValueError(f"{path} is not a saved model: junction names are not text.")
    lacking = [name for name in _ATTRIBUTES if not isinstance(attributes.get(name), dict)]
    if lacking:
        raise ValueError(f"{path} is not a saved model: it lacks {lacking[0]!r}.")
    names = [str(name) for name in var_names]
    return ModelContent(state, np.array(names, dtype=object), attributes)


def to_plain(value: Any, name: str = "value") -> Any:
    """Convert arrays, tables and NumPy scalars to tensors, lists and Python scalars.

    Parameters
    ----------
    value
        Attribute of a model.
    name
        Name of the attribute, for messages.

    Raises
    ------
    TypeError
        The value, or a part of it, has another type.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().clone(memory_format=torch.contiguous_format)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        if not all(isinstance(key, str | int) for key in value) or _TAG in value:
            raise TypeError(f"Cannot save {name}: keys of a dict must be text or whole numbers.")
        return {key: to_plain(part, f"{name}[{key!r}]") for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [to_plain(part, f"{name}[{i}]") for i, part in enumerate(value)]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, np.ndarray):
        return _plain_array(value, name)
    if isinstance(value, pd.Index):
        content = _plain_array(value.to_numpy(), name)
        return {_TAG: "index", "values": content, "name": to_plain(value.name, name)}
    if isinstance(value, pd.Series):
        content = _plain_array(value.to_numpy(), name)
        index = to_plain(value.index, name)
        return {_TAG: "series", "values": content, "index": index, "name": value.name}
    if isinstance(value, pd.DataFrame):
        columns = [_plain_array(value[key].to_numpy(), f"{name}[{key!r}]") for key in value]
        axes = {"index": to_plain(value.index, name), "columns": to_plain(value.columns, name)}
        return {_TAG: "table", "values": columns, **axes}
    raise TypeError(
        f"Cannot save {name}, a {type(value).__name__}: a saved model holds arrays, tables, text "
        "and numbers only."
    )


def _plain_array(array: np.ndarray, name: str) -> dict[str, Any]:
    """Convert an array to a tensor of the same bytes, or to a list of text."""
    kind = array.dtype.kind
    if kind == "U" or (kind == "O" and all(isinstance(x, str) for x in array.flat)):
        texts = [str(x) for x in array.flat]
        return {_TAG: "array", "dtype": array.dtype.str, "shape": array.shape, "values": texts}
    if kind == "O":
        parts = [to_plain(x, name) for x in array.flat]
        return {_TAG: "array", "dtype": "|O", "shape": array.shape, "values": parts}
    if kind not in "biuf":
        raise TypeError(f"Cannot save {name}: an array of dtype {array.dtype}.")
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    data = torch.from_numpy(plain.reshape(-1).view(np.uint8).copy())
    return {_TAG: "array", "dtype": array.dtype.str, "shape": array.shape, "values": data}


def from_plain(value: Any) -> Any:
    """Undo :func:`to_plain`."""
    if isinstance(value, list | tuple):
        return type(value)(from_plain(part) for part in value)
    if not isinstance(value, dict):
        return value
    tag = value.get(_TAG)
    if tag is None:
        return {key: from_plain(part) for key, part in value.items()}
    if tag == "array":
        return _array(value)
    if tag == "index":
        return pd.Index(from_plain(value["values"]), name=value["name"])
    if tag == "series":
        index = from_plain(value["index"])
        return pd.Series(from_plain(value["values"]), index, name=value["name"])
    if tag == "table":
        index = from_plain(value["index"])
        columns = from_plain(value["columns"])
        table = pd.DataFrame(dict(enumerate(map(from_plain, value["values"]))), index)
        return table.set_axis(columns, axis=1)
    raise ValueError(f"unknown tag {tag!r}")


def _array(value: dict[str, Any]) -> np.ndarray:
    """Undo :func:`_plain_array`, in memory that the size of the file bounds."""
    dtype, values = np.dtype(value["dtype"]), value["values"]
    if isinstance(values, torch.Tensor):
        if dtype.kind not in "biuf":
            raise ValueError(f"numbers of dtype {dtype}")
        native = values.numpy().view(dtype.newbyteorder("="))
        array: np.ndarray = native.astype(dtype).reshape(value["shape"])
        return array
    if dtype.kind not in "UO":
        raise ValueError(f"text of dtype {dtype}")
    if dtype.kind == "U" and len(values) * dtype.itemsize > max(
        _MAX_TEXT_BYTES, 64 * sum(map(len, values))
    ):
        raise ValueError(f"{len(values)} texts of dtype {dtype}")
    out = np.empty(len(values), dtype)
    for i, part in enumerate(values):
        out[i] = from_plain(part)
    return out.reshape(value["shape"])


_MAX_TEXT_BYTES = 1 << 26
"""Bytes that an array of text may take regardless of the length of its texts."""
_PYRO_STORE = "pyro_param_store"
_DAMAGED = "{path} is damaged: {found}. Copy it again from its source, or save the model again."
