"""What a data set held when it was checked, to tell later whether it still does."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi.data._atse import atse_codes, resolve_atse_key
from leafletfa_scvi.data._checks import checked_entries, splicing_data
from leafletfa_scvi.data._fingerprints import cell_fingerprints, layer_digest
from leafletfa_scvi.data._layers import observed_entries

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi.ops import ObservedEntries

_AGAIN = "Call setup_anndata(adata) again, so that the data are checked as they are now."

LayerDigests = tuple[str | None, str | None]


class CheckedContent:
    """Checked content of a data set: names, ATSEs and observed entries.

    The entries are a copy. They are handed out by :meth:`take` and from then on held by whoever
    took them alone, so that they are freed with the last model of the data.

    Parameters
    ----------
    adata, junction_layer, cluster_layer, atse_key, fixed_junctions, fixed_atses
        As of :func:`splicing_data`, which checks them and raises its errors.
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
        self._asked_key, self._fixed_atses = atse_key, fixed_atses
        # Taken first: a change while the entries are read must not go unnoticed.
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
        """The checked entries, if ``adata`` still holds what was checked.

        Raises
        ------
        ValueError
            Cells, junctions, ATSE labels or a layer have changed since. The message says what.
        """
        self._check_annotation(adata)
        digests = layer_digests(adata, *self.layers)
        entries = self._held()
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

    def _held(self) -> ObservedEntries | None:
        if self._entries is not None:
            return self._entries
        return None if self._taken is None else self._taken()

    def _codes(self, adata: AnnData) -> np.ndarray | None:
        if self._fixed_atses is not None:
            return self._fixed_atses
        key = resolve_atse_key(adata, self._asked_key)
        return None if key is None else atse_codes(adata, key)[0]

    def _check_annotation(self, adata: AnnData) -> None:
        axes = (
            ("cells", "obs_names", self.cells, adata.obs_names),
            ("junctions", "var_names", self.junctions, adata.var_names),
        )
        for what, slot, then, now in axes:
            if len(then) != len(now):
                raise ValueError(
                    f"adata has {len(now)} {what}, {len(then)} when it was set up. {_AGAIN}"
                )
            if not then.equals(now):
                at = int((then.to_numpy() != now.to_numpy()).argmax())
                raise ValueError(
                    f"adata.{slot} have changed since it was set up: {now[at]!r} at position "
                    f"{at}, {then[at]!r} then. {_AGAIN}"
                )
        try:
            now_codes = self._codes(adata)
        except (KeyError, ValueError) as error:
            raise ValueError(f"ATSE labels have changed: {error.args[0]} {_AGAIN}") from error
        then_codes = self.atse_codes
        if (then_codes is None) != (now_codes is None):
            was, is_now = ("no", "a") if then_codes is None else ("a", "no")
            raise ValueError(
                f"adata.var had {was} column {self._asked_key!r} of ATSE labels when it was set "
                f"up, and has {is_now} such column now. {_AGAIN}"
            )
        if then_codes is None or now_codes is None:
            return
        if not np.array_equal(then_codes, now_codes):
            at = int((then_codes != now_codes).argmax())
            raise ValueError(
                f"ATSE labels in adata.var[{self._asked_key!r}] have changed since it was set up, "
                f"first at junction {self.junctions[at]!r}. {_AGAIN}"
            )

    def _read_again(self, adata: AnnData, changed: list[str]) -> ObservedEntries:
        """Entries of layers that are stored in another way, if they are the same."""
        said = " and ".join(repr(name) for name in changed)
        said = f"Layer{'s' if len(changed) > 1 else ''} {said} changed since adata was set up"
        try:
            entries = checked_entries(adata, *self.layers, self.atse_codes, incomplete=True)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{said}: {error.args[0]} {_AGAIN}") from error
        differ = cell_fingerprints(entries) != self.fingerprints
        if differ.any():
            raise ValueError(
                f"{said}: {int(differ.sum())} of {len(differ)} cells have other counts, the first "
                f"of them {self.cells[int(differ.argmax())]!r}. {_AGAIN}"
            )
        return entries


def layer_digests(adata: AnnData, junction_layer: str, cluster_layer: str) -> LayerDigests:
    """Digest of each layer as it is stored, None where one is missing or not in memory."""
    junction, cluster = (
        layer_digest(adata.layers[name]) if name in list(adata.layers) else None
        for name in (junction_layer, cluster_layer)
    )
    return junction, cluster


def same_layers(adata: AnnData, layers: tuple[str, str], digests: LayerDigests) -> bool:
    """Whether both layers are stored exactly as those of known digests."""
    return None not in digests and all(
        name in adata.layers and layer_digest(adata.layers[name]) == digest
        for name, digest in zip(layers, digests, strict=True)
    )
