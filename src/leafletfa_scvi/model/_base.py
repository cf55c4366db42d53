"""State and helpers that the mixins of the model share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi.model.base import BaseModelClass

from leafletfa_scvi._constants import program_names
from leafletfa_scvi.data import observed_entries, splicing_data
from leafletfa_scvi.ops import MultinomialEntries, multinomial_entries

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

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

    def _read_entries(self, adata: AnnData, check: bool = False) -> ObservedEntries:
        """Observed entries of ``adata``; ``check`` those of cells that were not set up here.

        Within-ATSE checks are left to set-up: a query may lack some junctions of an ATSE.
        """
        args = self._setup_args
        layers = args["junction_layer"], args["cluster_layer"]
        if check:
            return splicing_data(adata, *layers, atse_key=None, fixed_junctions=True)
        return observed_entries(adata, *layers)

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
        if self._gathered is not None and self._gathered[0] is entries:
            return self._gathered[1]
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
