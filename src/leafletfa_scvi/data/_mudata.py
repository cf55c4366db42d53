"""Modalities of a MuData: the one with the junctions, and columns that belong to its cells."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from anndata import AnnData

from leafletfa_scvi._arguments import check_once

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from mudata import MuData

JUNCTIONS: Final = "junctions"
"""Key of ``modalities`` for the modality with the junctions."""


def is_mudata(data: Any) -> bool:
    """Return True for a MuData, without importing mudata."""
    module = sys.modules.get("mudata")
    return module is not None and isinstance(data, module.MuData)


def check_modalities(mdata: MuData, modalities: Any, fields: Iterable[str]) -> dict[str, str]:
    """Check the mapping of fields to modalities, and return it without those of ``mdata.obs``.

    Parameters
    ----------
    mdata
        Data.
    modalities
        Value of the argument.
    fields
        Names of the fields that may be given beside ``"junctions"``.

    Raises
    ------
    TypeError
        It is no mapping, or a modality holds no AnnData.
    KeyError
        A modality does not exist.
    ValueError
        A field is unknown, or the modality with the junctions is not named.
    """
    known = [JUNCTIONS, *fields]
    if not hasattr(modalities, "items"):
        raise TypeError(
            f"Expected modalities to be a dict such as {{'junctions': {_first(mdata)!r}}}, found "
            f"{modalities!r}. Modalities of mdata are {', '.join(map(repr, mdata.mod))}."
        )
    for field, name in modalities.items():
        if field not in known:
            raise ValueError(
                f"Expected fields among {', '.join(map(repr, known))} in modalities, found "
                f"{field!r}. Counts, totals and ATSE labels are of one modality, "
                f"{JUNCTIONS!r}."
            )
        if name is not None or field == JUNCTIONS:
            find_modality(mdata, name, f"modalities[{field!r}]")
    if JUNCTIONS not in modalities:
        raise ValueError(
            f"Expected the modality with the junctions in modalities[{JUNCTIONS!r}], found none. "
            f"Name one of {', '.join(map(repr, mdata.mod))}."
        )
    return {field: str(name) for field, name in modalities.items() if name is not None}


def find_modality(mdata: MuData, name: Any, argument: str = "the modality") -> AnnData:
    """Return a modality.

    Parameters
    ----------
    mdata
        Data whose modalities share cells.
    name
        Name of the modality.
    argument
        What names it, for messages.

    Raises
    ------
    KeyError
        It does not exist.
    TypeError
        It is not an AnnData.
    ValueError
        The modalities of ``mdata`` share variables, not cells.
    """
    if getattr(mdata, "axis", 0) != 0:
        raise ValueError(
            f"Expected modalities that share cells, found a MuData with axis={mdata.axis}. Make "
            "one with axis=0."
        )
    if name not in mdata.mod:
        near = get_close_matches(str(name), [str(key) for key in mdata.mod], 1)
        raise KeyError(
            f"Expected {argument} to be a modality of mdata, one of "
            f"{', '.join(map(repr, mdata.mod))}, found {name!r}."
            + (f" Do you mean {near[0]!r}?" if near else "")
        )
    adata = mdata.mod[name]
    if not isinstance(adata, AnnData):
        raise TypeError(
            f"Expected mdata.mod[{name!r}] to be an AnnData, found a {type(adata).__name__}."
        )
    return adata


def field_name(key: str, source: str | None, junctions: str) -> str:
    """Name a column by the modality it is of, ``"rna:plate"``; by itself if that needs none."""
    return key if source in (None, junctions) else f"{source}:{key}"


def field_column(
    mdata: MuData, key: str, source: str | None, junctions: str, argument: str
) -> pd.Series:
    """Return the values of a column for the cells of the junctions, matched by their names.

    Parameters
    ----------
    mdata
        Data.
    key
        Name of the column.
    source
        Modality that has it; None for ``mdata.obs``.
    junctions
        Modality with the junctions.
    argument
        Argument that names the column, for messages.

    Returns
    -------
    ``(n,)``, missing for cells that the modality of the column lacks.

    Raises
    ------
    KeyError
        The column does not exist.
    ValueError
        Several columns have its name, or cells of its modality do; or the modality of the
        junctions has another column of this name than ``mdata.obs``.
    """
    adata = find_modality(mdata, junctions)
    own = mdata if source is None else find_modality(mdata, source)
    place = "mdata.obs" if source is None else f"mdata.mod[{source!r}].obs"
    if key not in own.obs:
        elsewhere = ["mdata.obs"] if source is not None and key in mdata.obs else []
        elsewhere += [f"mdata.mod[{m!r}].obs" for m, a in mdata.mod.items() if key in a.obs]
        remedy = (
            f" It is in {elsewhere[0]}: name that in modalities (None is mdata.obs)."
            if elsewhere
            else f" It has {', '.join(map(repr, own.obs.columns)) or 'no columns'}."
        )
        raise KeyError(
            f"Expected {argument} to be a column of {place}, found {key!r}, which is none.{remedy}"
        )
    check_once(own.obs, key)
    column = _matched(own.obs[key], adata.obs_names, place)
    if source is None and key in adata.obs and not _equal(column, adata.obs[key]):
        raise ValueError(
            f"Expected one column {key!r}, found different ones in mdata.obs and "
            f"mdata.mod[{junctions!r}].obs. Name the modality of {argument} in modalities, or "
            "rename one of the columns."
        )
    return column


def joined_cells(
    mdata: MuData, modalities: Mapping[str, str], fields: Mapping[str, list[str]]
) -> AnnData:
    """Return the junctions and cells of a MuData as one AnnData, which shares their layers.

    Columns of ``obs`` are those of the modality with the junctions, then those of ``mdata.obs``,
    and those of other modalities as ``"rna:plate"``, matched by names of cells.

    Parameters
    ----------
    mdata
        Data.
    modalities
        Modality of each field.
    fields
        Columns of each field. Where they are of ``mdata.obs``, they come before equally named
        ones of the modality with the junctions.
    """
    name = modalities[JUNCTIONS]
    adata = find_modality(mdata, name)
    columns = dict(adata.obs.items())
    for key in [key for field in fields if field not in modalities for key in fields[field]]:
        if key in mdata.obs:
            columns[key] = _matched(mdata.obs[key], adata.obs_names, "mdata.obs")
    pulled = tuple(f"{other}:" for other in mdata.mod)
    for key in mdata.obs.columns[~mdata.obs.columns.duplicated()]:
        if key not in columns and not str(key).startswith((*pulled, "_scvi")):
            columns[key] = _matched(mdata.obs[key], adata.obs_names, "mdata.obs")
    for other, part in mdata.mod.items():
        if other == name or not part.obs_names.is_unique:
            continue
        for key in part.obs.columns[~part.obs.columns.duplicated()]:
            if not str(key).startswith("_scvi"):
                columns[f"{other}:{key}"] = _matched(part.obs[key], adata.obs_names, "")
    obs = pd.DataFrame(columns, index=adata.obs_names)
    return _with_obs(adata, obs)


def registered_cells(mdata: MuData, junctions: str, columns: pd.DataFrame) -> AnnData:
    """Return the junctions of a MuData with the given columns, to check them as batches."""
    adata = find_modality(mdata, junctions)
    bases = {str(name).rpartition(":")[2] for name in columns}
    own = adata.obs.loc[:, [not (key in bases or key in columns) for key in adata.obs]]
    return _with_obs(adata, pd.concat([own, columns], axis=1))


def without_pulling() -> AbstractContextManager[Any]:
    """Return a context in which mudata copies no columns of modalities to those of a MuData."""
    import mudata

    # mudata 0.4 replaced the function with settings.
    options = getattr(mudata, "set_options", None) or mudata.settings.override
    context: AbstractContextManager[Any] = options(pull_on_update=False)
    return context


def replace_modality(mdata: MuData, name: str, adata: AnnData) -> MuData:
    """Return a new MuData with another AnnData for a modality; ``mdata`` is not changed."""
    import mudata

    with without_pulling():
        new = mudata.MuData({**mdata.mod, name: adata})
    new.obs = mdata.obs.copy()
    new.uns = dict(mdata.uns)
    for key, value in mdata.obsm.items():
        if key not in mdata.mod:
            new.obsm[key] = value
    return new


def set_modality(mdata: MuData, name: str, adata: AnnData) -> None:
    """Replace a modality, without copying columns to ``mdata.obs``."""
    with without_pulling():
        mdata.mod[name] = adata
        mdata.update()


def _with_obs(adata: AnnData, obs: pd.DataFrame) -> AnnData:
    return AnnData(obs=obs, var=adata.var, layers=dict(adata.layers), uns=dict(adata.uns))


def _matched(column: pd.Series, names: pd.Index, place: str) -> pd.Series:
    if column.index.equals(names):
        return column
    if not column.index.is_unique:
        raise ValueError(
            f"Expected unique names of cells in {place}, found "
            f"{column.index[column.index.duplicated()][0]!r} twice. Make them unique first."
        )
    matched = column.reindex(names)
    if isinstance(matched.dtype, pd.CategoricalDtype):
        matched = matched.cat.remove_unused_categories()  # those of other cells
    return matched


def _equal(first: pd.Series, second: pd.Series) -> bool:
    a, b = first.astype(object), second.astype(object)
    return bool(((a == b) | (a.isna() & b.isna())).all())


def _first(mdata: MuData) -> str:
    return str(next(iter(mdata.mod), "splicing"))
