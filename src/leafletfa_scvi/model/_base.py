"""State and helpers that the mixins of the model share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scvi.model.base import BaseModelClass

from leafletfa_scvi._constants import program_names
from leafletfa_scvi.data import (
    cell_fingerprints,
    check_axes,
    reorder_junctions,
    same_layers,
    splicing_data,
)
from leafletfa_scvi.ops import MultinomialEntries, multinomial_entries

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.data import LayerDigests
    from leafletfa_scvi.module import LeafletFAModule
    from leafletfa_scvi.ops import ObservedEntries


class SplicingModelBase(BaseModelClass):
    """What every part of the model knows; names ending in an underscore are saved with it.

    Attributes
    ----------
    module
        Generative model and guide.
    n_programs
        Number of programs K.
    cell_names_, cell_fingerprints_
        ``(C,)`` names of the training cells and hashes of their counts.
    junction_names_
        ``(P,)`` names of the junctions it was built on.
    atse_codes_
        ``(P,)`` ATSE of each junction, 0-based; None without labels.
    frozen_programs_
        Whether programs are those of a reference and only activities are trained.
    validation_seed_
        Seed of the pairs hidden for validation; None before the first are.
    """

    module: LeafletFAModule
    n_programs: int
    cell_names_: np.ndarray
    cell_fingerprints_: np.ndarray
    junction_names_: np.ndarray
    atse_codes_: np.ndarray | None
    frozen_programs_: bool
    validation_seed_: int | None
    history_: dict[str, Any] | None
    is_trained_: bool
    _entries: ObservedEntries | None
    _layer_digests: LayerDigests
    _gathered: tuple[ObservedEntries, MultinomialEntries] | None = None

    @property
    def _setup_args(self) -> dict[str, Any]:
        return self.registry_["setup_args"]

    @property
    def program_names(self) -> list[str]:
        """``SP_1`` .. ``SP_K``, ordered by prevalence."""
        return program_names(self.n_programs)

    @property
    def junction_names(self) -> np.ndarray:
        """Names of the P junctions."""
        return self.junction_names_

    @property
    def _layers(self) -> tuple[str, str]:
        return self._setup_args["junction_layer"], self._setup_args["cluster_layer"]

    def _read_entries(self, adata: AnnData) -> tuple[ObservedEntries, np.ndarray]:
        """Entries of any cells as they are now, junctions as in the model; and fingerprints.

        They are checked, within the model's ATSEs too, where a query may lack some junctions.
        Layers that store exactly what the model was built on are not read again.
        """
        check_axes(adata)
        place = self._junction_places(adata)
        if place is None and self._holds_training_data(adata):
            return self._training_entries(), self.cell_fingerprints_
        codes = self.atse_codes_
        if codes is not None and place is not None:
            codes = codes[place]
        entries = splicing_data(
            adata, *self._layers, atse_key=None, fixed_junctions=True, fixed_atses=codes
        )
        if place is not None:
            entries = reorder_junctions(entries, place)
        return entries, cell_fingerprints(entries)

    def _holds_training_data(self, adata: AnnData) -> bool:
        """Whether the layers of ``adata`` are, byte for byte, those the model was built on."""
        if self._entries is None or adata.is_view or adata.n_obs != self._entries.n_cells:
            return False
        return same_layers(adata, self._layers, self._layer_digests)

    def _junction_places(self, adata: AnnData) -> np.ndarray | None:
        """Position in the model of each junction of ``adata``; None where all are in order.

        Raises
        ------
        ValueError
            ``adata`` has other junctions than the model.
        """
        ours, theirs = pd.Index(self.junction_names), adata.var_names.astype(str)
        if len(ours) == len(theirs):
            place = ours.get_indexer(theirs)
            if np.array_equal(place, np.arange(len(ours))):
                return None
            if place.min() >= 0 and theirs.is_unique:
                return place
        missing = ours.difference(theirs, sort=False)
        if len(missing) == 0:
            others = theirs.difference(ours, sort=False)
            raise ValueError(
                f"adata holds {len(others)} junctions that the model lacks, the first of them "
                f"{others[0]!r}: pass adata[:, model.junction_names]."
            )
        raise ValueError(
            f"adata lacks {len(missing)} of the model's {len(ours)} junctions, the first of them "
            f"{missing[0]!r}: LeafletFAModel.prepare_query_anndata(adata, model) reorders them "
            "and fills in missing ones as not observed."
        )

    def _check_junctions(self, adata: AnnData) -> None:
        """The junctions of ``adata`` are those of the model, in its order."""
        if self._junction_places(adata) is not None:
            raise ValueError(
                "The junctions of adata hold the model's in another order: pass "
                "adata[:, model.junction_names].copy()."
            )

    def _training_entries(self) -> ObservedEntries:
        """Observed entries of the cells the model was built on."""
        if self._entries is None:
            raise ValueError(
                "This needs the training data, and the model was loaded without them: "
                "LeafletFAModel.load(path, adata=adata)."
            )
        return self._entries

    def _likelihood_entries(
        self, entries: ObservedEntries | MultinomialEntries
    ) -> ObservedEntries | MultinomialEntries:
        """Entries as the likelihood takes them: ATSE by ATSE for the Dirichlet-multinomial.

        Implicit junctions are those of the data that the model was built on. Where another ATSE
        has more reads in a cell than its junctions (a query with junctions that the reference
        lacks), its total is lowered to the reads of the junctions that the model knows.
        """
        model = self.module.model
        if not model.shared or isinstance(entries, MultinomialEntries):
            return entries
        known_for = self._gathered  # once: another thread may put others there
        if known_for is not None and known_for[0] is entries:
            return known_for[1]
        columns = model.columns.to(entries.device)
        known = entries.n_junctions
        gathered = multinomial_entries(entries, columns[:known], columns[known:], surplus="drop")
        gathered.log_coefficient()
        if entries.n_cells == model.n_obs:  # those of the last training, asked for several times
            self._gathered = entries, gathered
        return gathered

    def _require_trained(self) -> None:
        if not self.is_trained_:
            raise RuntimeError("The model is not trained yet: run model.train() first.")

    def _seed(self) -> int:
        """A seed from torch's random state, which ``scvi.settings.seed`` sets."""
        return int(torch.randint(2**31 - 1, (), device="cpu"))
