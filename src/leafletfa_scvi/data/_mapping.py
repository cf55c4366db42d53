"""Junctions of a data set under the names of those of another species."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data._layers import named_layers
from leafletfa_scvi.data._pairs import Pairs, read_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCE_KEY = "source_junction"
"""Column of ``var`` with the name that a junction had before it was mapped."""
_NAME = r"(?P<chrom>.+):(?P<start>[0-9]+)-(?P<end>[0-9]+):(?P<strand>[-+?])"


def read_mapping(mapping: Pairs, source: pd.Index, target: pd.Index) -> pd.Series:
    """Read a mapping of junctions, and check it against those it is for.

    Parameters
    ----------
    mapping
        Table of ``pp.map_junctions``, a dict of names, or a file; see :func:`read_pairs`.
        Junctions without a target are dropped ones.
    source
        Names of the junctions of the data set. It may lack some of the mapping.
    target
        Names of the junctions of the reference, which must have all targets.

    Returns
    -------
    pandas.Series
        Targets, by source.

    Raises
    ------
    FileNotFoundError, KeyError, TypeError, ValueError
        As :func:`read_pairs`; or a source or a target stands in several rows, the reference lacks
        a target, or the data set has none of the sources.
    """
    pairs = read_pairs(mapping, "mapping")
    for side in ("source", "target"):
        repeated = pairs[side].duplicated(keep=False)
        if repeated.any():
            first = pairs[pairs[side] == pairs.loc[repeated, side].iloc[0]]
            other = "target" if side == "source" else "source"
            raise ValueError(
                f"Expected each {side} once in mapping, found {first[side].iloc[0]!r} with "
                f"{first[other].iloc[0]!r} and {first[other].iloc[1]!r} ({int(repeated.sum())} "
                "such rows). Drop them, or all but one."
            )
    unknown = ~pairs["target"].isin(target)
    known = pairs["source"].isin(source)
    if (unknown.all() or not known.any()) and pairs["source"].isin(target).any():
        raise ValueError(
            f"Expected targets of mapping among the reference's junctions, found its sources "
            f"there, such as {pairs['source'][pairs['source'].isin(target)].iloc[0]!r}: swap "
            "the columns source and target."
        )
    if unknown.any():
        raise ValueError(
            f"Expected targets of mapping among the reference's {len(target):,} junctions, such "
            f"as {target[0]!r}, found {pairs['target'][unknown].iloc[0]!r} and "
            f"{int(unknown.sum()) - 1:,} more that it lacks. Map to the junctions of this "
            "reference, or drop them, "
            "mapping[mapping['target'].isin(model.junction_names)]."
        )
    if not known.any():
        raise ValueError(
            f"Expected sources of mapping among the junctions of adata, such as {source[0]!r}, "
            f"found none: {pairs['source'].iloc[0]!r} is the first of {len(pairs):,}."
        )
    return pd.Series(pairs["target"].to_numpy(), pd.Index(pairs["source"]))


def rename_junctions(adata: AnnData, mapping: pd.Series) -> AnnData:
    """Name junctions as those they map to; the others get names that no data set has.

    Others are kept, since their reads belong to totals of the data set until these are summed
    again.

    Parameters
    ----------
    adata
        Cells x junctions; not modified. A backed AnnData is read into memory.
    mapping
        Targets by source, each once.

    Returns
    -------
    AnnData
        Shares arrays with ``adata``. ``var["source_junction"]`` has the former names, and the
        columns ``chrom``, ``start``, ``end`` and ``strand``, where there are any, are those of the
        new names, missing where a name has no coordinates.
    """
    if adata.isbacked:
        adata = adata.to_memory()
    former = adata.var_names.astype(str)
    target = former.to_series().map(mapping)
    others = [f"not mapped {i}" for i in range(len(former))]
    names = pd.Index(target.fillna(pd.Series(others, former)).to_numpy(object))
    var = adata.var.set_axis(names, axis=0)
    var[SOURCE_KEY] = former.to_numpy(object)
    coordinates = names.to_series().str.extract(f"^{_NAME}$")
    for column in coordinates.columns:
        if column in var:
            values = coordinates[column]
            is_number = column in ("start", "end")
            var[column] = pd.to_numeric(values).astype("Int64") if is_number else values
    raw = adata.raw
    return AnnData(
        adata.X,
        obs=adata.obs.copy(),
        var=var,
        layers=named_layers(adata),
        obsm=dict(adata.obsm),
        obsp=dict(adata.obsp),
        varm=dict(adata.varm),
        varp=dict(adata.varp),
        uns=dict(adata.uns),
        raw=None if raw is None else {"X": raw.X, "var": raw.var, "varm": dict(raw.varm)},
    )


def hide_junctions(adata: AnnData, names: Iterable[str], cluster_layer: str) -> None:
    """Make junctions not observed in any cell, in place: their totals become 0."""
    keep = ~adata.var_names.isin(pd.Index(names))
    layer = adata.layers[cluster_layer]
    if is_sparse(layer):
        matrix = sp.csr_matrix(layer, copy=True)
        matrix.data[~keep[matrix.indices]] = 0
        matrix.eliminate_zeros()
        adata.layers[cluster_layer] = matrix
    else:
        adata.layers[cluster_layer] = np.where(keep, layer, 0).astype(layer.dtype)
