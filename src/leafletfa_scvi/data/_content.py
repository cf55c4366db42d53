"""Checked content of a data set, to detect later changes."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi.data._atse_labels import atse_codes, atse_labels, resolve_atse_key
from leafletfa_scvi.data._checks import checked_entries, splicing_data
from leafletfa_scvi.data._fingerprints import cell_fingerprints, layer_digest
from leafletfa_scvi.data._layers import observed_entries

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi.ops import ObservedEntries

_AGAIN = "Call setup_anndata(adata) again to check the present data."

LayerDigests = tuple[str | None, str | None]


class CheckedContent:
    """Checked content of a data set: names, ATSEs and observed entries.

    The entries are a copy. After :meth:`take` has returned them, only a weak reference is kept, so
    that they are freed with the last model of the data.

    Parameters
    ----------
    adata, junction_layer, cluster_layer, atse_key, fixed_junctions, fixed_atses
        See :func:`splicing_data`, which checks them and raises its errors.
    """

    def __init__(
        self,
        adata: AnnData,
        junction_layer: str = JUNCTION_LAYER,
        cluster_layer: str = CLUSTER_LAYER,
        atse_key: str | None = ATSE_KEY,
        *,
        fixed_junctions: bool = False,
        fixed_atses: np.ndarray | None = None,
    ) -> None:
        self.layers = junction_layer, cluster_layer
        self._requested_key, self._fixed_atses = atse_key, fixed_atses
        # Digests come first, so that a change while the entries are read is detected.
        self.digests = layer_digests(adata, *self.layers)
        self._entries: ObservedEntries | None = splicing_data(
            adata,
            *self.layers,
            atse_key,
            fixed_junctions=fixed_junctions,
            fixed_atses=fixed_atses,
        )
        self._taken: weakref.ref[ObservedEntries] | None = None
        self.fingerprints = cell_fingerprints(self._entries)
        self.cells: pd.Index = adata.obs_names.copy(deep=True)
        self.junctions: pd.Index = adata.var_names.copy(deep=True)
        self.atse_codes = self._codes(adata)

    def take(self, adata: AnnData) -> ObservedEntries:
        """Return the checked entries if ``adata`` is unchanged.

        Raises
        ------
        ValueError
            Cells, junctions, ATSE labels or a layer have changed; the message names them.
        """
        self._check_annotation(adata)
        digests = layer_digests(adata, *self.layers)
        entries = self._available_entries()
        changed = [
            name
            for name, then, now in zip(self.layers, self.digests, digests, strict=True)
            if then is None or then != now
        ]
        if changed:
            entries = self._read_again(adata, changed)
        elif entries is None:
            entries = observed_entries(adata, *self.layers)
        self._entries, self._taken = None, weakref.ref(entries)
        return entries

    @property
    def entries(self) -> ObservedEntries:
        """The checked entries, before :meth:`take` has returned them."""
        entries = self._available_entries()
        assert entries is not None
        return entries

    def atse_labels(self, adata: AnnData) -> np.ndarray | None:
        """Return the ATSE label of each junction, as text; None if labels are not those used."""
        return None if self._fixed_atses is not None else atse_labels(adata, self._requested_key)

    def _available_entries(self) -> ObservedEntries | None:
        if self._entries is not None:
            return self._entries
        return None if self._taken is None else self._taken()

    def _codes(self, adata: AnnData) -> np.ndarray | None:
        if self._fixed_atses is not None:
            return self._fixed_atses
        key = resolve_atse_key(adata, self._requested_key)
        return None if key is None else atse_codes(adata, key)[0]

    def _check_annotation(self, adata: AnnData) -> None:
        axes = (
            ("cells", "obs_names", self.cells, adata.obs_names),
            ("junctions", "var_names", self.junctions, adata.var_names),
        )
        for axis, slot, then, now in axes:
            if len(then) != len(now):
                raise ValueError(
                    f"adata has {len(now)} {axis}, but had {len(then)} when it was set up. "
                    f"{_AGAIN}"
                )
            if not then.equals(now):
                i = int((then.to_numpy() != now.to_numpy()).argmax())
                raise ValueError(
                    f"adata.{slot} have changed since setup: {now[i]!r} at position {i}, "
                    f"formerly {then[i]!r}. {_AGAIN}"
                )
        try:
            now_codes = self._codes(adata)
        except (KeyError, ValueError) as error:
            raise ValueError(f"ATSE labels have changed: {error.args[0]} {_AGAIN}") from error
        then_codes = self.atse_codes
        if (then_codes is None) != (now_codes is None):
            was, is_now = ("no", "a") if then_codes is None else ("a", "no")
            raise ValueError(
                f"adata.var had {was} column {self._requested_key!r} of ATSE labels at setup, and "
                f"has {is_now} such column now. {_AGAIN}"
            )
        if then_codes is None or now_codes is None:
            return
        if not np.array_equal(then_codes, now_codes):
            i = int((then_codes != now_codes).argmax())
            raise ValueError(
                f"ATSE labels in adata.var[{self._requested_key!r}] have changed since setup, "
                f"first at junction {self.junctions[i]!r}. {_AGAIN}"
            )

    def _read_again(self, adata: AnnData, changed: list[str]) -> ObservedEntries:
        """Read layers with another storage, and check that their entries are the same."""
        names = " and ".join(repr(name) for name in changed)
        problem = f"Layer{'s' if len(changed) > 1 else ''} {names} changed since setup"
        try:
            entries = checked_entries(adata, *self.layers, self.atse_codes, incomplete=True)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{problem}: {error.args[0]} {_AGAIN}") from error
        differ = cell_fingerprints(entries) != self.fingerprints
        if differ.any():
            raise ValueError(
                f"{problem}: {int(differ.sum())} of {len(differ)} cells have other counts, the "
                f"first of them {self.cells[int(differ.argmax())]!r}. {_AGAIN}"
            )
        return entries


def layer_digests(adata: AnnData, junction_layer: str, cluster_layer: str) -> LayerDigests:
    """Compute the digest of each layer as stored; None if it is missing or not in memory."""
    junction, cluster = (
        layer_digest(adata.layers[name]) if name in list(adata.layers) else None
        for name in (junction_layer, cluster_layer)
    )
    return junction, cluster


def same_layers(adata: AnnData, layers: tuple[str, str], digests: LayerDigests) -> bool:
    """Return whether both layers have the given digests."""
    return None not in digests and all(
        name in adata.layers and layer_digest(adata.layers[name]) == digest
        for name, digest in zip(layers, digests, strict=True)
    )
