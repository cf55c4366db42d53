"""Batches of cells: registration, codes and names."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scvi import REGISTRY_KEYS
from scvi.data.fields import CategoricalJointObsField, CategoricalObsField

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from leafletfa_scvi.ops import ObservedEntries

_MAX_BATCHES = 1000
_FEW_SHARED = 0.5
"""Share of a batch's observed junctions below which few are said to be those of other batches."""


def batch_fields(batch_key: str | None, covariate_keys: Sequence[str] | None) -> list[Any]:
    """Return scvi's fields of the columns that define batches; none without batches."""
    fields: list[Any] = []
    if batch_key is not None:
        fields.append(CategoricalObsField(REGISTRY_KEYS.BATCH_KEY, batch_key))
    if covariate_keys:
        fields.append(CategoricalJointObsField(REGISTRY_KEYS.CAT_COVS_KEY, list(covariate_keys)))
    return fields


def check_batches(
    adata: AnnData, batch_key: Any, covariate_keys: Any, *, is_new: bool = True
) -> None:
    """Check the columns that define batches.

    Parameters
    ----------
    adata, batch_key, covariate_keys
        As in ``setup_anndata``.
    is_new
        If True, effects of batches are to be learned from these cells; otherwise, those of a model
        apply to them.

    Raises
    ------
    TypeError, KeyError, ValueError
        An argument is not the name (a list of names) of columns, a column is missing, has missing
        values, or the same value in all cells, or a batch has one cell.

    Warns
    -----
    UserWarning
        A value of another column of ``obs`` has just the cells of a batch: their effects are one.
    """
    keys = check_keys(batch_key, covariate_keys)
    if not keys:
        return
    for key in keys:
        if key not in adata.obs:
            raise KeyError(
                f"Expected batches in adata.obs[{key!r}], found no such column. obs has "
                f"{', '.join(map(repr, adata.obs.columns)) or 'no columns'}."
            )
        values = adata.obs[key]
        missing = np.flatnonzero(values.isna())
        if len(missing):
            raise ValueError(
                f"Expected a batch for each cell in adata.obs[{key!r}], found none for "
                f"{adata.obs_names[missing[0]]!r}, in total for {len(missing):,} cells. Label or "
                "drop them."
            )
    if not is_new:
        return
    codes = adata.obs.groupby(keys, observed=True).ngroup()
    size = np.bincount(codes) if len(codes) else np.zeros(1, int)
    described = " and ".join(map(repr, keys))
    if len(size) < 2:
        raise ValueError(
            f"Expected at least two batches in adata.obs[{described}], found one. Leave batch_key "
            "out."
        )
    if size.min() == 1:
        i = int(np.flatnonzero(codes.to_numpy() == size.argmin())[0])
        name = ", ".join(str(adata.obs[key].iloc[i]) for key in keys)
        raise ValueError(
            f"Expected at least two cells in each batch of adata.obs[{described}], found one in "
            f"{name!r}: its effects cannot be told from those of its cell. Join it with another "
            "batch, or drop the cell."
        )
    _warn_of_same(adata.obs, codes.to_numpy(), keys)


def check_keys(batch_key: Any, covariate_keys: Any) -> list[str]:
    """List the names of the columns that define batches.

    Raises
    ------
    TypeError
        An argument is not the name (a list of names) of columns.
    """
    if batch_key is not None and not isinstance(batch_key, str):
        raise TypeError(
            f"Expected batch_key to be the name of a column of adata.obs, found {batch_key!r}."
        )
    if covariate_keys is not None and (
        isinstance(covariate_keys, str) or not all(isinstance(key, str) for key in covariate_keys)
    ):
        raise TypeError(
            "Expected categorical_covariate_keys to be a list of names of columns of adata.obs, "
            f"found {covariate_keys!r}."
        )
    keys = [] if batch_key is None else [batch_key]
    return [*keys, *(key for key in covariate_keys or () if key not in keys)]


def _warn_of_same(obs: pd.DataFrame, codes: np.ndarray, keys: list[str]) -> None:
    """Warn of values of other columns that have the cells of a batch, as their effects are one."""
    n_batches = int(codes.max()) + 1
    batch_size = np.bincount(codes)
    for key in obs.columns.difference(keys, sort=False):
        values = obs[key]
        if str(key).startswith("_scvi") or not _is_categorical(values):
            continue
        other = pd.factorize(values)[0].astype(np.int64)
        pair, cell, size = np.unique(
            other * n_batches + codes, return_index=True, return_counts=True
        )
        value, batch = np.divmod(pair, n_batches)
        value_size = np.bincount(other + 1)
        same = (size == value_size[value + 1]) & (size == batch_size[batch]) & (value >= 0)
        if not same.any():
            continue
        if same.all():
            text = f"Each value of adata.obs[{key!r}] is one batch: what differs between them is"
        else:
            first = obs.iloc[cell[same.argmax()]]
            name = ", ".join(str(first[k]) for k in keys)
            others = f" (one of {same.sum()} such values)" if same.sum() > 1 else ""
            text = (
                f"The cells with {str(first[key])!r} in adata.obs[{key!r}] are those of batch "
                f"{name!r}{others}: part of what differs in them is"
            )
        warnings.warn(
            f"{text} taken out with the batches, and cannot be told from technical differences.",
            UserWarning,
            stacklevel=4,
        )


def _is_categorical(values: pd.Series) -> bool:
    return isinstance(values.dtype, pd.CategoricalDtype) or values.dtype.kind in "OUTb"


def check_shared_junctions(entries: ObservedEntries, names: Sequence[str]) -> None:
    """Check that batches have junctions in common.

    Raises
    ------
    ValueError
        None of the observed junctions of a batch is observed in any other.

    Warns
    -----
    UserWarning
        Few of them are.
    """
    seen = torch.zeros(len(names), entries.n_junctions, dtype=torch.bool, device="cpu")
    for _, block in entries.blocks():
        assert block.batch is not None
        seen[block.batch[block.rows()], block.column.long()] = True
    in_others = seen & (seen.sum(0) > 1)
    for name, own, shared in zip(names, seen.sum(1), in_others.sum(1), strict=True):
        if own == 0 or shared >= _FEW_SHARED * own:
            continue
        message = (
            f"{int(shared):,} of the {int(own):,} junctions observed in batch {name!r} are "
            "observed in any other batch"
        )
        if shared == 0:
            raise ValueError(
                f"{message}: its effects cannot be told from its cell types. Count its cells on "
                "the junctions of the others (make_splicing_dataset(..., reference=)), or leave "
                "batch_key out."
            )
        warnings.warn(
            f"{message}; at the others, effects of the batch cannot be told from its cell types.",
            UserWarning,
            stacklevel=4,
        )


def field_keys(setup_args: Mapping[str, Any]) -> dict[str, list[str]]:
    """List the columns of each argument of the setup that defines batches."""
    batch_key = setup_args.get("batch_key")
    return {
        "batch_key": [] if batch_key is None else [batch_key],
        "categorical_covariate_keys": list(setup_args.get("categorical_covariate_keys") or ()),
    }


def batch_levels(registry: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the values of each column that defines batches, by name; none without batches."""
    fields = registry["field_registries"]
    levels: dict[str, np.ndarray] = {}
    batch = fields.get(REGISTRY_KEYS.BATCH_KEY)
    if batch is not None and batch["data_registry"]:
        state = batch["state_registry"]
        levels[str(state["original_key"])] = np.asarray(state["categorical_mapping"])
    covariates = fields.get(REGISTRY_KEYS.CAT_COVS_KEY)
    if covariates is not None and covariates["data_registry"]:
        for key, mapping in covariates["state_registry"]["mappings"].items():
            levels.setdefault(str(key), np.asarray(mapping))
    return levels


def batch_names(registry: Mapping[str, Any]) -> list[str]:
    """Name the batches: the values of a column, or combinations of those of several.

    Raises
    ------
    ValueError
        There are more than 1,000 combinations, or two have the same name.
    """
    levels = batch_levels(registry)
    if not levels:
        return []
    size = int(np.prod([len(each) for each in levels.values()]))
    if size > _MAX_BATCHES:
        raise ValueError(
            f"Expected at most {_MAX_BATCHES:,} batches, found {size:,} combinations of "
            f"{', '.join(f'{len(each)} of {key!r}' for key, each in levels.items())}. Leave some "
            "of these columns out."
        )
    index = pd.MultiIndex.from_product([list(map(str, each)) for each in levels.values()])
    names = [", ".join(each) for each in index]
    repeated = pd.Index(names)[pd.Index(names).duplicated()]
    if len(repeated):
        raise ValueError(
            f"Expected a name for each batch, found {repeated[0]!r} for two, from the columns "
            f"{', '.join(map(repr, levels))}. Rename their values."
        )
    return names


def batches_of(adata: AnnData, registry: Mapping[str, Any]) -> torch.Tensor:
    """Return the batch of each cell, ``(n,)`` int64.

    Raises
    ------
    KeyError, ValueError
        A column is missing, or a cell is of a batch that the model does not know.
    """
    levels = batch_levels(registry)
    codes = []
    for key, known in levels.items():
        if key not in adata.obs:
            raise KeyError(
                f"Expected the batch of each cell in adata.obs[{key!r}], found no such column."
                + (
                    " The model was set up with a MuData: pass a MuData, or add the column."
                    if "modalities" in registry["setup_args"]
                    else ""
                )
            )
        code = pd.Index(known.astype(str)).get_indexer(adata.obs[key].astype(str))
        unknown = np.flatnonzero(code < 0)
        if len(unknown):
            value = adata.obs[key].iloc[unknown[0]]
            raise ValueError(
                f"Expected batches that the model knows in adata.obs[{key!r}], "
                f"{', '.join(map(repr, known[:5].tolist()))}{', ...' if len(known) > 5 else ''}; "
                f"found {value!r} in cell {adata.obs_names[unknown[0]]!r}. Place cells of new "
                "batches with LeafletFAModel.load_query_data."
            )
        codes.append(code)
    shape = tuple(len(each) for each in levels.values())
    return torch.from_numpy(np.ravel_multi_index(codes, shape).astype(np.int64))
