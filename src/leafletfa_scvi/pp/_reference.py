"""The junctions and ATSEs of a reference: a data set, an .h5ad file, or a model."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData

from leafletfa_scvi._arguments import check_file
from leafletfa_scvi._constants import ATSE_KEY, DATASET_SLOT
from leafletfa_scvi._narrow_stubs import categorical
from leafletfa_scvi.data import atse_codes, read_h5ad_tables
from leafletfa_scvi.pp._junctions import coordinates_in_names
from leafletfa_scvi.pp.atse._ids import atse_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_COORDINATES: Final = ("chrom", "start", "end", "strand")
_FASTA: Final = r"\.(fa|fna|fasta|fas)(\.b?gz)?$"
_MODEL_FILE, _DATA_FILE = "model.pt", "adata.h5ad"


class SplicingModel(Protocol):
    """What is read of a model, such as :class:`~leafletfa_scvi.LeafletFAModel`."""

    junction_names: Sequence[str] | np.ndarray
    atse_codes_: np.ndarray | None
    atse_labels_: np.ndarray | None

    @property
    def adata(self) -> AnnData | None:
        """Data of the model, if it holds any."""


@dataclass(frozen=True)
class JunctionReference:
    """Junctions that a data set is to have.

    Attributes
    ----------
    var
        P junctions named ``chrom:start-end:strand``, with these four columns, ``atse_id``
        (categorical) and whatever else the reference has.
    codes
        ``(P,)`` int64, 0-based ATSE of each junction.
    parameters
        ``uns["splicing"]["parameters"]`` of the reference; empty if unknown.
    name
        What it is, for messages and records.
    """

    var: pd.DataFrame
    codes: np.ndarray
    parameters: Mapping[str, Any]
    name: str


def junction_reference(
    source: AnnData | SplicingModel | str | os.PathLike[str],
) -> JunctionReference:
    """Read the junctions and ATSEs of a reference.

    Parameters
    ----------
    source
        A splicing data set or the .h5ad file of one, both with ``var["atse_id"]``; or a model, or
        the folder it was saved to. Of a model without data, only names and ATSEs are known.

    Raises
    ------
    FileNotFoundError
        There is no such file or folder.
    KeyError, ValueError
        The reference has no ATSE labels, names of junctions are not ``chrom:start-end:strand`` or
        repeated, or a file is damaged.
    TypeError
        ``source`` is none of these.
    """
    if isinstance(source, str | os.PathLike):
        return _of_path(Path(source))
    if isinstance(source, AnnData):
        return _of_tables(source.var, source.uns, "the data set")
    if not hasattr(source, "junction_names") or not hasattr(source, "atse_codes_"):
        raise TypeError(
            "Expected reference to be an AnnData, a LeafletFAModel, or the path of an .h5ad file "
            f"or of a saved model, found a {type(source).__name__}."
        )
    names, labels = np.asarray(source.junction_names), source.atse_labels_
    if source.adata is None:
        tables = _annotation_tables(getattr(source, "junction_annotation_", None))
        return _of_names(names, source.atse_codes_, labels, tables, "the model")
    return _of_names(names, source.atse_codes_, labels, _tables(source.adata), "the model")


def intron_lengths(
    reference: JunctionReference, min_intron: int, max_intron: int, default: Callable[[str], Any]
) -> tuple[int, int]:
    """Return the lengths of introns to read: those given, or those that the reference was made of.

    Parameters
    ----------
    reference
        From :func:`junction_reference`.
    min_intron, max_intron
        Lengths given by the user.
    default
        Default of either, by name.

    Raises
    ------
    ValueError
        An intron of the reference would not be read.
    """
    length = (reference.var["end"] - reference.var["start"] + 1).to_numpy(np.int64)
    if min_intron == default("min_intron"):
        recorded = int(reference.parameters.get("min_length", min_intron))
        min_intron = min(recorded, int(length.min()))
    if max_intron == default("max_intron"):
        recorded = int(reference.parameters.get("max_length", max_intron))
        max_intron = max(recorded, int(length.max()))
    for name, value, beyond in (
        ("min_intron", min_intron, length < min_intron),
        ("max_intron", max_intron, length > max_intron),
    ):
        if beyond.any():
            raise ValueError(
                f"{name}={value} would leave out {int(beyond.sum())} of {len(length)} junctions "
                f"of the reference, such as {reference.var.index[int(beyond.argmax())]!r}. Leave "
                "it out."
            )
    return min_intron, max_intron


def fasta_is_cram_reference(reference: Any, reading: Any) -> tuple[Any, Any]:
    """Accept the FASTA file of CRAM files under its old name, with a FutureWarning."""
    is_path = isinstance(reference, str | os.PathLike)
    if not is_path or not re.search(_FASTA, os.fspath(reference), re.IGNORECASE):
        return reference, reading
    if "cram_reference" in reading:
        raise TypeError(
            f"Expected reference to be a data set or a model, found the FASTA file {reference} "
            "beside cram_reference. Pass cram_reference only."
        )
    warnings.warn(
        f"reference={os.fspath(reference)!r}: a FASTA file for CRAM files is cram_reference; "
        "reference is a data set or a model whose junctions are taken.",
        FutureWarning,
        stacklevel=3,
    )
    return None, {**reading, "cram_reference": reference}


def _of_path(path: Path) -> JunctionReference:
    """Read an .h5ad file, or the folder of a saved model."""
    if not path.is_dir():
        check_file(path)
        if not h5py.is_hdf5(path):
            raise ValueError(
                f"Expected reference to be an .h5ad file or the folder of a saved model, found "
                f"{path}, which is neither. The FASTA file of CRAM files is cram_reference."
            )
        return _of_tables(*read_h5ad_tables(path), f"{path.name}")
    # Imported here because it needs scvi-tools, which takes seconds.
    from leafletfa_scvi._files import recover
    from leafletfa_scvi.data._model_file import read_model_file

    recover(path)
    recover(path.resolve().parent)
    content = read_model_file(path / _MODEL_FILE)
    data = path / _DATA_FILE
    tables = _annotation_tables(content.attributes.get("junction_annotation_"))
    if data.exists():
        var, uns = read_h5ad_tables(data)
        tables = {"var": var, "uns": uns}
    attributes = content.attributes
    codes, labels = attributes.get("atse_codes_"), attributes.get("atse_labels_")
    return _of_names(content.var_names, codes, labels, tables, path.name)


def _annotation_tables(var: pd.DataFrame | None) -> dict[str, Any]:
    """Return the annotation that a model made from programs has."""
    return {} if var is None else {"var": var, "uns": {}}


def _tables(adata: AnnData) -> dict[str, Any]:
    return {"var": adata.var, "uns": adata.uns}


def _of_names(
    names: np.ndarray,
    codes: np.ndarray | None,
    labels: np.ndarray | None,
    tables: Mapping[str, Any],
    name: str,
) -> JunctionReference:
    """Return the junctions of a model, with the annotation of its data if there are any."""
    if codes is None:
        raise ValueError(
            f"Expected reference to have ATSEs, but {name} was built on data without labels "
            f"(var[{ATSE_KEY!r}]). Pass a data set that has them."
        )
    var = pd.DataFrame(index=pd.Index(names.astype(str), dtype=object))
    uns: Mapping[str, Any] = {}
    if tables and tables["var"].index.astype(str).equals(var.index):
        var, uns = tables["var"].copy(), tables["uns"]
    if labels is None:
        labels = atse_ids(_with_coordinates(var, name), codes).to_numpy(object)
    var[ATSE_KEY] = pd.Categorical(labels)
    return _of_tables(var, uns, name)


def _of_tables(var: pd.DataFrame, uns: Mapping[str, Any], name: str) -> JunctionReference:
    """Return the junctions of a data set."""
    table = AnnData(var=var, shape=(0, len(var)))
    codes, n_atses = atse_codes(table)
    repeated = table.var_names[table.var_names.duplicated()]
    if len(repeated):
        raise ValueError(
            f"Expected unique names of junctions in {name}, found {repeated[0]!r} twice."
        )
    var = _with_coordinates(table.var.copy(), name)
    if not isinstance(var[ATSE_KEY].dtype, pd.CategoricalDtype):
        labels = var[ATSE_KEY].astype(str).to_numpy(object)
        first = np.zeros(n_atses, np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
        var[ATSE_KEY] = categorical(codes, labels[first])
    record = uns.get(DATASET_SLOT, {})
    parameters = record.get("parameters", {}) if hasattr(record, "get") else {}
    return JunctionReference(var, codes, parameters, name)


def _with_coordinates(var: pd.DataFrame, name: str) -> pd.DataFrame:
    """Add the coordinates that the names of junctions say, which others cannot be matched to."""
    parts = coordinates_in_names(var.index)
    wrong = parts["chrom"].isna().to_numpy()
    if wrong.any():
        raise ValueError(
            f"Expected junctions of {name} to be named chrom:start-end:strand, found "
            f"{var.index[int(wrong.argmax())]!r}, {int(wrong.sum())} such in all. Junctions are "
            "matched by these names: rename them."
        )
    parts = parts.astype({"start": np.int64, "end": np.int64}).set_axis(var.index)
    for column in _COORDINATES:
        if column not in var:
            var[column] = parts[column]
    return var
