"""Networks of regulators and their targets, and the methods of decoupler on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = r"\.\d+$"


def import_decoupler() -> Any:
    """Import decoupler, or say how to install it."""
    try:
        import decoupler
    except ImportError as error:
        raise ImportError(
            "Gene sets and networks need the package decoupler from 2.1.4: "
            'pip install "leafletfa-scvi[enrichment]".'
        ) from error
    return decoupler


def read_network(
    net: Any, source: str, target: str, weight: str, name: str = "net"
) -> pd.DataFrame:
    """Check a network, and name its columns ``source``, ``target`` and ``weight``.

    Without the column ``"weight"``, all weights are 1. Messages call the network by ``name``.

    Raises
    ------
    KeyError
        A column is missing.
    TypeError
        It is not a DataFrame.
    ValueError
        It is empty, a value is missing, a weight is not finite, or a pair stands in several rows.
    """
    if not isinstance(net, pd.DataFrame):
        raise TypeError(
            f"Expected {name} to be a DataFrame of sources and targets, found a "
            f"{type(net).__name__}."
        )
    for role, column in (("source", source), ("target", target), ("weight", weight)):
        if column not in net and (role, column) != ("weight", "weight"):
            remedy = f"Name the column, {role}=..." if name == "net" else "Rename its columns."
            raise KeyError(
                f"Expected a column {column!r} in {name}, found {list(net.columns)}. {remedy}"
            )
    table = pd.DataFrame({"source": net[source], "target": net[target]})
    if table.empty:
        raise ValueError(f"Expected {name} to have rows, found none.")
    if table.isna().to_numpy().any():
        row = int(table.isna().any(axis=1).to_numpy().argmax())
        raise ValueError(
            f"Expected a source and a target in every row of {name}, found none in row {row} "
            f"(0-based). Drop such rows, {name}.dropna(subset=...)."
        )
    table = table.astype(str)
    weights = net[weight].to_numpy(float) if weight in net else np.ones(len(net))
    if not np.isfinite(weights).all():
        row = int((~np.isfinite(weights)).argmax())
        raise ValueError(
            f"Expected finite weights in {name}[{weight!r}], found {weights[row]} in row {row} "
            "(0-based)."
        )
    table["weight"] = weights
    repeated = table.duplicated(["source", "target"]).to_numpy()
    if repeated.any():
        first = table.iloc[int(repeated.argmax())]
        raise ValueError(
            f"Expected each pair once in {name}, found {first['source']!r} and "
            f"{first['target']!r} in several rows ({repeated.sum()} repeated rows). Sum their "
            f"weights or drop them, {name}.drop_duplicates([{source!r}, {target!r}])."
        )
    return table.reset_index(drop=True)


def restrict_network(
    net: pd.DataFrame,
    names: pd.Index,
    min_targets: int,
    what: str,
    others: Mapping[str, pd.Index] | None = None,
) -> pd.DataFrame:
    """Keep targets among ``names``, and sources with at least ``min_targets`` of them.

    Parameters
    ----------
    net
        Network of :func:`read_network`.
    names
        Names of what was measured.
    min_targets
        Minimum number of targets of a source.
    what
        What the names are, for messages.
    others
        Other names of the same, by how to choose them; searched if no target is among ``names``.

    Raises
    ------
    ValueError
        No target is among the names, or no source has enough of them.
    """
    kept = net[net["target"].isin(names)]
    if kept.empty:
        raise ValueError(
            f"Expected targets of net among the {len(names)} {what}, such as {names[0]!r}, found "
            f"none: the first target is {net['target'].iloc[0]!r}."
            + _explain(net["target"], names, others or {})
        )
    number = kept["source"].value_counts()
    if number.iloc[0] < min_targets:
        raise ValueError(
            f"Expected a source with at least min_targets={min_targets} targets among the {what}, "
            f"found at most {number.iloc[0]} (of {number.index[0]!r}). Lower min_targets."
        )
    kept = kept[kept["source"].isin(number.index[number >= min_targets])]
    return kept.reset_index(drop=True)


def _explain(targets: pd.Series, names: pd.Index, others: Mapping[str, pd.Index]) -> str:
    """Say why no target is among the names, if it can be seen."""
    for remedy, alternative in others.items():
        if targets.isin(alternative).any():
            return f" Some are names of another kind: {remedy}."
    if targets.str.upper().isin(names.str.upper()).any():
        return (
            " Upper and lower case differ (symbols of human genes are written in upper case, of "
            "mouse not): change net or the table, and mind the species."
        )
    bare = [x.str.replace(_VERSION, "", regex=True) for x in (targets, names)]
    if bare[0].isin(bare[1]).any():
        return " Versions of ids differ: remove them, .str.replace(r'\\.\\d+$', '', regex=True)."
    return ""


class Scores(NamedTuple):
    """Scores of sources.

    Attributes
    ----------
    score
        ``(n, S)`` scores.
    pvalue
        ``(n, S)`` p-values; None if the method has none.
    """

    score: pd.DataFrame
    pvalue: pd.DataFrame | None


class Scorer:
    """One of decoupler's methods on one network, for tables that come block by block.

    Parameters
    ----------
    method
        Name of a method in ``decoupler.mt``.
    net
        Network of :func:`restrict_network`.
    names
        ``(P,)`` names of the columns of the tables.
    options
        Further arguments of the method.
    """

    def __init__(
        self, method: str, net: pd.DataFrame, names: pd.Index, options: Mapping[str, Any]
    ) -> None:
        decoupler = import_decoupler()
        self._method = getattr(decoupler.mt, method)
        self._options = options
        features = names.to_numpy(str)
        # As decoupler itself calls its methods, but p-values are not adjusted, nothing is
        # dropped, and the network is prepared once.
        if self._method.adj:
            sources, _, matrix = decoupler.pp.adjmat(features=features, net=net)
            self._network: tuple[Any, ...] = (matrix,)
        else:
            sources, *self._network = decoupler.pp.idxmat(features=features, net=net.copy())
        self._sources = pd.Index(sources.astype(object), name="source")

    def __call__(self, values: np.ndarray, rows: pd.Index) -> Scores:
        """Score the rows of ``values``, ``(n, P)`` finite float64."""
        try:
            score, pvalue = self._method.func(values, *self._network, **self._options)
        except AssertionError as error:
            name = self._method.name
            raise ValueError(f"decoupler's method {name!r} failed: {error}.") from error
        table = pd.DataFrame(np.asarray(score), rows, self._sources)
        if not self._method.test:
            return Scores(table, None)
        return Scores(table, pd.DataFrame(np.vstack(pvalue), rows, self._sources))
