"""State of the model, and the cells and junctions it was built on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
import pandas as pd
import torch
from scvi.model.base import BaseModelClass

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._choices import QueryPrevalence
from leafletfa_scvi._constants import ATSE_KEY, program_names
from leafletfa_scvi.data import (
    JUNCTIONS,
    cell_fingerprints,
    check_axes,
    find_modality,
    is_mudata,
    joined_cells,
    match_cells,
    reorder_junctions,
    same_layers,
    splicing_data,
)
from leafletfa_scvi.model._batches import batch_names, batches_of, field_keys
from leafletfa_scvi.model._fit_state import (
    SavedAttribute,
    is_codes,
    is_dict_of,
    is_fingerprints,
    is_text,
    is_whole,
)
from leafletfa_scvi.model._junction_positions import junction_positions
from leafletfa_scvi.ops import ObservedEntries, split_by_batch

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.data import LayerDigests
    from leafletfa_scvi.model._initialize import StartedFit
    from leafletfa_scvi.model._read_once import ReadOnce
    from leafletfa_scvi.module import LeafletFAModule
    from leafletfa_scvi.ops import Entries


class SplicingModelBase(BaseModelClass):  # type: ignore[misc] # scvi has no types
    """State that all parts of the model read, and the only base of its mixins.

    Attributes
    ----------
    module
        Generative model and guide.
    n_programs
        Number of programs K.
    cell_names_, cell_fingerprints_
        ``(C,)`` names of the training cells, and hashes of their counts.
    junction_names_
        ``(P,)`` names of the junctions.
    atse_codes_
        ``(P,)`` ATSE of each junction, 0-based; None without labels.
    atse_labels_
        ``(P,)`` label of the ATSE of each junction, as text; None without labels, and for models
        that were saved before these were.
    reference_batches_
        ``(B,)`` names of the batches of the reference of a query; None for other models.
    reference_atse_key_
        Column of ``var`` with the ATSE labels in the data of the reference of a query; None for
        other models.
    junction_annotation_
        ``(P, ...)`` annotation of the junctions of a model that was made from programs; None for
        others, whose annotation is that of their data.
    has_program_posterior_
        False for programs that were given without their uncertainty.
    frozen_programs_
        True for a query, whose programs are those of a reference.
    query_prevalence_
        Whether the prevalence of a query is that of its ``"reference"`` or learned from the cells
        of the ``"query"``.
    n_reference_programs_
        Number of programs of the reference, which come first, in a model that extends it; None for
        other models.
    validation_seed_
        Seed of the (cell, ATSE) pairs hidden for validation; None if none were hidden yet.
    waypoints_
        Positions of ``cells`` among the training cells, their ``scores`` on the components of
        centered PSI, ``positions`` of the waypoints, and the share of variance that each component
        has ``explained`` (models saved by earlier versions lack it); None after another
        initialization.
    """

    module: LeafletFAModule
    n_programs: int
    cell_names_: np.ndarray
    cell_fingerprints_: np.ndarray
    junction_names_: np.ndarray
    atse_codes_: np.ndarray | None = None
    atse_labels_: np.ndarray | None = None
    reference_batches_: np.ndarray | None = None
    reference_atse_key_: str | None = None
    junction_annotation_: pd.DataFrame | None = None
    has_program_posterior_: bool = True
    frozen_programs_: bool = False
    query_prevalence_: QueryPrevalence = "reference"
    n_reference_programs_: int | None = None
    validation_seed_: int | None = None
    waypoints_: dict[str, np.ndarray] | None = None
    history_: dict[str, Any] | None
    is_trained_: bool
    init_params_: dict[str, Any]
    registry_: dict[str, Any]

    # A new attribute is declared above and listed here; it is then saved, checked when loaded,
    # restored after a failed training, and follows the order and the choice of programs.
    _saved_attributes: ClassVar[dict[str, SavedAttribute]] = {
        "cell_names_": SavedAttribute(lambda x, n_cells, _: is_text(x, n_cells)),
        "cell_fingerprints_": SavedAttribute(lambda x, n_cells, _: is_fingerprints(x, n_cells)),
        "junction_names_": SavedAttribute(lambda x, _, n_junctions: is_text(x, n_junctions)),
        "atse_codes_": SavedAttribute(
            lambda x, _, n_junctions: x is None or is_codes(x, n_junctions, n_junctions)
        ),
        "atse_labels_": SavedAttribute(
            lambda x, _, n_junctions: x is None or is_text(x, n_junctions)
        ),
        "reference_batches_": SavedAttribute(lambda x, *_: x is None or is_text(x, len(x))),
        "reference_atse_key_": SavedAttribute(lambda x, *_: x is None or isinstance(x, str)),
        "junction_annotation_": SavedAttribute(
            lambda x, _, n_junctions: (
                x is None or (isinstance(x, pd.DataFrame) and len(x) == n_junctions)
            )
        ),
        "has_program_posterior_": SavedAttribute(lambda x, *_: isinstance(x, bool)),
        "frozen_programs_": SavedAttribute(lambda x, *_: isinstance(x, bool)),
        "query_prevalence_": SavedAttribute(
            lambda x, *_: isinstance(x, str) and x in get_args(QueryPrevalence)
        ),
        "n_reference_programs_": SavedAttribute(
            lambda x, *_: x is None or is_whole(x),
            lambda x, programs: int((programs < x).sum()),
        ),
        "validation_seed_": SavedAttribute(lambda x, *_: x is None or is_whole(x)),
        "waypoints_": SavedAttribute(
            lambda x, *_: is_dict_of(x, np.ndarray),
            lambda x, programs: {**x, "positions": x["positions"][programs]},
        ),
        "history_": SavedAttribute(lambda x, *_: is_dict_of(x, pd.DataFrame)),
        "is_trained_": SavedAttribute(lambda x, *_: isinstance(x, bool)),
    }

    _model_summary_string: str
    _entries: ObservedEntries | None = None
    _layer_digests: LayerDigests = (None, None)
    _read_once: ReadOnce | None = None
    _likelihood_cache: tuple[Entries, Entries] | None = None
    _started_fit: StartedFit | None = None
    """EM that has begun, which ``train`` continues; None to begin anew."""
    _has_converged: bool = True
    """If True, the last training ended without a ConvergenceWarning."""
    _is_identified: bool = True
    """If True, the last training ended without an IdentifiabilityWarning."""

    @property
    def _setup_args(self) -> dict[str, Any]:
        setup_args: dict[str, Any] = self.registry_["setup_args"]
        return setup_args

    @property
    def program_names(self) -> list[str]:
        """``SP_1`` .. ``SP_K``, ordered by prevalence."""
        return program_names(self.n_programs)

    @property
    def fits_activities_only(self) -> bool:
        """True for a query whose programs are all those of its reference."""
        return self.frozen_programs_ and not self.n_extra_programs

    @property
    def n_extra_programs(self) -> int:
        """Number of programs that a model has in addition to those of its reference."""
        known = self.n_reference_programs_
        return 0 if known is None else self.n_programs - known

    @property
    def junction_names(self) -> np.ndarray:
        """Names of the P junctions."""
        return self.junction_names_

    @property
    def _layers(self) -> tuple[str, str]:
        return self._setup_args["junction_layer"], self._setup_args["cluster_layer"]

    @property
    def _modalities(self) -> dict[str, str] | None:
        """Modality of each field of a model that was set up with a MuData; None for others."""
        modalities: dict[str, str] | None = self._setup_args.get("modalities")
        return modalities

    def _data(self, data: AnnData | MuData | None) -> AnnData | None:
        """Return the cells and junctions of data that a method takes, for reading.

        Those of a MuData have the columns of ``mdata.obs``, and those of other modalities as
        ``"rna:plate"``.

        Parameters
        ----------
        data
            Argument of the method. If None, the data of the model, which may be None, too.

        Raises
        ------
        TypeError
            It is of another class, or a MuData for a model that was set up without modalities.
        """
        data = self.adata if data is None else data
        if data is None:
            return None
        if not is_mudata(data):
            return check_anndata(data)
        self._modality(data)
        return joined_cells(data, self._modalities or {}, field_keys(self._setup_args))

    def _modality(self, data: AnnData | MuData) -> AnnData:
        """Return the AnnData with the junctions, for writing; errors are those of ``_data``."""
        if not is_mudata(data):
            return check_anndata(data)
        if self._modalities is None:
            raise TypeError(
                "Expected an AnnData, as the model was set up with one, found a MuData. Pass its "
                "modality with the junctions, as mdata.mod['splicing'], or set the model up with "
                "LeafletFAModel.setup_mudata."
            )
        return find_modality(data, self._modalities[JUNCTIONS])

    @property
    def batch_names(self) -> list[str]:
        """Names of the batches; none without batches."""
        return batch_names(self.registry_)

    @property
    def _atse_key(self) -> str:
        """Column of ``var`` with the ATSE labels, in data of this model and of its queries."""
        key: str = self._setup_args["atse_key"] or self.reference_atse_key_ or ATSE_KEY
        return key

    def _atse_names(self) -> np.ndarray:
        """Label of the ATSE of each junction, ``(P,)``; its number if the labels are unknown."""
        labels = self.atse_codes_ if self.atse_labels_ is None else self.atse_labels_
        return np.asarray(labels).astype(str)

    def _read_entries(self, adata: AnnData) -> tuple[ObservedEntries, np.ndarray]:
        """Read the entries of any cells, junctions ordered as in the model, and fingerprints.

        Counts are checked, also within the ATSEs of the model, some of whose junctions a query may
        lack. Layers that are stored exactly as those the model was built on are not read again.
        """
        kept = self._read_once
        if kept is not None and kept.adata is adata and kept.found is not None:
            return kept.found
        check_axes(adata)
        indexer = self._junction_indexer(adata)
        if indexer is None and self._holds_training_data(adata):
            return self._in_batches_of(adata), self.cell_fingerprints_
        codes = self.atse_codes_
        if codes is not None and indexer is not None:
            codes = codes[indexer]
        entries = splicing_data(
            adata, *self._layers, atse_key=None, fixed_junctions=True, fixed_atses=codes
        )
        if indexer is not None:
            entries = reorder_junctions(entries, indexer)
        prints = cell_fingerprints(entries)
        if self.module.model.n_batches > 1:
            entries = replace(entries, batch=batches_of(adata, self.registry_))
        if kept is not None and kept.adata is adata:
            kept.found = entries, prints
        return entries, prints

    def _in_batches_of(self, adata: AnnData) -> ObservedEntries:
        """Return the training entries, with the batches that their cells have in ``adata``."""
        entries = self._training_entries()
        if entries.batch is None:
            return entries
        batch = batches_of(adata, self.registry_)
        return entries if torch.equal(batch, entries.batch) else replace(entries, batch=batch)

    def _holds_training_data(self, adata: AnnData) -> bool:
        """Compare the layers of ``adata``, byte for byte, with those the model was built on."""
        if self._entries is None or adata.is_view or adata.n_obs != self._entries.n_cells:
            return False
        return same_layers(adata, self._layers, self._layer_digests)

    def _match_training_cells(
        self, adata: AnnData
    ) -> tuple[np.ndarray, ObservedEntries, np.ndarray]:
        """Match the cells of ``adata`` to the training cells by their counts, not their names.

        Returns
        -------
        Names ``(n,)`` and entries of the cells, and their positions ``(n,)`` among the training
        cells, -1 for new cells.
        """
        entries, prints = self._read_entries(adata)
        names = adata.obs_names.astype(str).to_numpy()
        position = match_cells(names, prints, self.cell_names_, self.cell_fingerprints_)
        return names, entries, position

    def _training_rows(self, adata: AnnData) -> np.ndarray:
        """Find the row of ``adata`` of each training cell, ``(C,)``; -1 if it is absent."""
        _, _, position = self._match_training_cells(adata)
        rows = np.full(len(self.cell_names_), -1)
        matched = np.flatnonzero(position >= 0)
        rows[position[matched]] = matched
        return rows

    def _junction_indexer(self, adata: AnnData) -> np.ndarray | None:
        """Position in the model of each junction of ``adata``; None if the order is the same.

        Raises
        ------
        ValueError
            ``adata`` has other junctions than the model.
        """
        return junction_positions(adata, self.junction_names)

    def _check_junctions(self, adata: AnnData) -> None:
        """Check that the junctions of ``adata`` are those of the model, in the same order."""
        if self._junction_indexer(adata) is not None:
            raise ValueError(
                "The junctions of adata are those of the model in a different order: pass "
                "adata[:, model.junction_names].copy()."
            )

    def _training_entries(self) -> ObservedEntries:
        """Return the observed entries of the cells the model was built on."""
        self._require_cells()
        if self._entries is None:
            raise ValueError(
                "This needs the training data, but the model was loaded without them: load it "
                "with LeafletFAModel.load(path, adata=adata)."
            )
        return self._entries

    def _pooled_entries(self, entries: Entries) -> Entries:
        """Convert entries to those that the likelihood takes; see :meth:`.Likelihood.entries`."""
        model = self.module.model
        return model.likelihood.entries(entries, model.program_atse)

    def _likelihood_entries(self, entries: Entries) -> Entries:
        """Convert entries to those that the likelihood takes, with columns for each batch.

        ``entries`` are observed entries, or those already converted if there are no batches.
        """
        model = self.module.model
        cached = self._likelihood_cache  # read once: another thread may replace it
        if cached is not None and cached[0] is entries:
            return cached[1]
        converted = self._pooled_entries(entries)
        if model.n_batches > 1:
            if not isinstance(entries, ObservedEntries) or entries.batch is None:
                raise RuntimeError("Expected entries with the batch of each cell, found none.")
            converted = split_by_batch(converted, entries.batch, model.n_batches)
        # Those of the training cells are needed several times.
        if converted is not entries and entries.n_cells == model.n_obs:
            self._likelihood_cache = entries, converted
        return converted

    def _require_trained(self) -> None:
        """Raise an error if the model is not trained."""
        if not self.is_trained_:
            raise RuntimeError("The model is not trained yet: run model.train() first.")

    def _require_cells(self) -> None:
        """Raise an error if the model was made from programs and has no cells of its own."""
        if self.module.model.n_obs == 0:
            raise ValueError(
                "The model was made from programs and has no cells of its own: pass adata to the "
                "method, or call LeafletFAModel.load_query_data(adata, model) for a model of them."
            )

    def _annotation(self) -> pd.DataFrame | None:
        """Annotation of the junctions: of the model's data, or what its programs came with."""
        if self.adata is None:
            return self.junction_annotation_
        adata = self._modality(self.adata)
        check_axes(adata)
        var: pd.DataFrame = adata.var
        return var

    def _require_program_posterior(self) -> None:
        """Raise an error if the programs were given without their uncertainty."""
        if not self.has_program_posterior_:
            raise ValueError(
                "The uncertainty of the programs is unknown, as they were given without: pass "
                "program_concentration= to LeafletFAModel.from_programs, or an AnnData that "
                "export_posterior wrote. get_splicing_programs() returns the programs themselves."
            )

    def _trained_concentration(self) -> torch.Tensor:
        """Dirichlet concentrations ``(C, K)`` of the training cells, on the CPU."""
        return self.module.guide.phi_concentration().cpu()

    @torch.no_grad()
    def _trained_activities(self) -> pd.DataFrame:
        """Mean activities of the training cells, independent of the current AnnData."""
        self._require_trained()
        phi = self._trained_concentration()
        mean = (phi / phi.sum(1, keepdim=True)).numpy()
        return pd.DataFrame(mean, self.cell_names_, self.program_names)

    def _seed(self) -> int:
        """Draw a seed from torch's random state, which ``scvi.settings.seed`` sets."""
        return int(torch.randint(2**31 - 1, (), device="cpu"))
