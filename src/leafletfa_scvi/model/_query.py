"""Queries: models of new cells on the programs of a trained model."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi._choices import QueryPrevalence
from leafletfa_scvi.data import CheckedContent, check_axes, is_mudata
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._batches import check_batches
from leafletfa_scvi.model._extend import Extension, copy_reference, freeze, joined_rows
from leafletfa_scvi.model._new_junctions import check_new_atses
from leafletfa_scvi.model._setup_mudata import check_batches_of_mudata, plain_setup_args
from leafletfa_scvi.model._training_options import training_device

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.data import Pairs
    from leafletfa_scvi.model._model import LeafletFAModel


class QueryMixin(SplicingModelBase):
    """Queries of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @classmethod
    def load_query_data(
        cls: type[LeafletFAModel],
        adata: AnnData | MuData,
        reference_model: str | LeafletFAModel,
        *,
        query_prevalence: QueryPrevalence = "reference",
        mapping: Pairs | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        freeze_programs: bool = True,
        prior_strength: float | None = None,
        n_extra_programs: int = 0,
        trust: bool = False,
    ) -> LeafletFAModel:
        """Create a model of new cells with the programs and global parameters of a reference.

        By default, :meth:`train` then fits only the activities of the new cells, and their
        prevalence with ``query_prevalence="query"``; everything else remains bitwise identical.

        With ``freeze_programs=False``, the new cells also change the programs, whose prior is the
        posterior of the reference: Beta (Dirichlet within ATSEs) for each junction and program.
        The model is trained, saved and loaded like any other, and can be the reference of the
        next study, so that programs are learned from study after study. Programs keep their
        order and names. Prevalence and delta describe the cells of a study and are learned anew;
        kappa remains that of the reference unless ``prior_strength=0``.

        With ``n_extra_programs``, programs that the reference lacks are added. They start from
        cells whose reads the reference does not explain, and their names continue those of the
        reference. The prevalence of all programs is learned from the new cells; with
        ``freeze_programs=True``, everything else of the reference remains bitwise identical.

        With the Dirichlet-multinomial, reads of an ATSE that belong to no junction of the
        reference count for the implicit junction of the ATSE. If the reference has none, they do
        not count.

        Parameters
        ----------
        adata
            New cells with the junctions of the reference, in the same order; see
            :meth:`prepare_query_anndata`. A MuData if the reference was set up with one, or the
            AnnData with the junctions alone. With ``freeze_programs=False``, junctions in further
            ATSEs may come after them; their programs have the prior alone.
        reference_model
            A trained model, or the folder it was saved to.
        query_prevalence
            Prevalence pi in the prior of the activities of new cells. ``"reference"``: that of the
            reference, so that the activities of a cell do not depend on the other cells of the
            query. ``"query"``: learned in :meth:`train` from the cells of the query, which may be
            a different mixture of cell types; it matters for cells with few reads.
            :meth:`get_program_prevalence` and the prior of :meth:`get_cell_activities` are then
            those of the query, programs keep the order of the reference. Models that extend the
            reference learn it in any case.
        mapping
            Table of :func:`leafletfa_scvi.pp.map_junctions`, for cells of another species (or
            genome build); see :meth:`prepare_query_anndata`. If given, ``adata`` remains as it is:
            the model has new data, ``query.adata``, with the same cells and the junctions of the
            reference.
        accelerator, device
            Device to load a saved reference to.
        freeze_programs
            Keep the programs of the reference as they are.
        prior_strength
            Factor of the information that the reference has on its programs, from 0 (its programs
            are only where the fit starts) to infinity (frozen). Only for
            ``freeze_programs=False``. If None, 1: its cells count as much as the new ones.
        n_extra_programs
            Number of programs to add to those of the reference.
        trust
            As in :meth:`load`, for a saved reference.

        Raises
        ------
        ValueError
            The junctions differ, the mapping does not fit, or the data are invalid. Within a cell
            and an ATSE of the reference, all junctions with a total above 0 must have the same
            total and share its reads; those with total 0 count as not observed. Or an argument is
            out of range, or the reference cannot be extended: it has one program, or, with
            ``freeze_programs=False``, programs without their uncertainty.
        RuntimeError
            The reference is not trained.
        """
        check_one_of("query_prevalence", query_prevalence, QueryPrevalence)
        extension = Extension.checked(freeze_programs, prior_strength, n_extra_programs)
        training_device(accelerator, device)
        reference = cls._reference(
            reference_model, accelerator=accelerator, device=device, trust=trust
        )
        reference._require_trained()
        extension.check_reference(reference)
        if not extension.is_query and reference.module.model.n_batches > 1:
            raise ValueError(
                "Expected a reference without batches to extend, found one with "
                f"{reference.module.model.n_batches}. Train a model of both data sets, or place "
                "the new cells with freeze_programs=True and without extra programs."
            )
        data = adata
        check_axes(reference._modality(data))
        if mapping is not None:
            data = reference._with_mapped(data, mapping)
        adata = reference._modality(data)
        joined = None if extension.freeze else check_new_atses(adata, reference)
        if joined is None:
            reference._check_junctions(adata)
        if data.is_view:
            raise ValueError("Expected adata to be no view, found a view: pass adata.copy().")
        registry = deepcopy(reference.registry_)
        # Junctions filled in as not observed have no label, and not the total of their ATSE.
        setup_args = {**registry["setup_args"], "atse_key": None}
        if is_mudata(data):
            check_batches_of_mudata(data, setup_args, is_new=False)
            setup_method_args = cls._get_setup_method_args(cls=cls, mdata=data, **setup_args)
        else:
            setup_args = plain_setup_args(setup_args)
            batches = setup_args.get("batch_key"), setup_args.get("categorical_covariate_keys")
            check_batches(adata, *batches, is_new=False)
            setup_method_args = cls._get_setup_method_args(cls=cls, adata=data, **setup_args)
        layers = (setup_args["junction_layer"], setup_args["cluster_layer"])
        checked = CheckedContent(
            adata,
            *layers,
            None,
            fixed_junctions=True,
            fixed_atses=reference.atse_codes_ if joined is None else joined.codes,
        )
        source: dict[str, Any] = {"source_registry": registry} if joined is None else {}
        if source and reference.module.model.n_batches > 1:
            source["extend_categories"] = True  # batches that the reference has not seen
        cls._register(data, checked, setup_method_args, **source)
        init = dict(reference.init_params_["non_kwargs"])
        if not extension.is_query:
            init["n_programs"] = reference.n_programs + extension.n_extra
            init["has_reference"] = extension.has_reference
        if joined is not None:
            init["columns"] = joined_rows(reference, checked, joined.codes)
        model = cls(data, registry=registry, **init)
        model.atse_labels_ = reference.atse_labels_ if joined is None else joined.labels
        model.reference_atse_key_ = reference._atse_key
        model.has_program_posterior_ = reference.has_program_posterior_ or not extension.freeze
        if not extension.is_query:
            copy_reference(model, reference, extension)
            model.module.to(reference.module.device)
            model.frozen_programs_ = extension.freeze
            freeze(model)
            return model
        state = reference.module.state_dict()
        own = model.module.state_dict()
        place = [model.batch_names.index(name) for name in reference.batch_names]
        for key, value in state.items():
            if not reference.module.has_axis(key, "cells"):
                own[key] = _with_new_batches(value, own[key], place)
        model.module.load_state_dict(own)
        model.module.to(reference.module.device)
        model._freeze_programs()
        model.query_prevalence_ = query_prevalence
        if reference.batch_names:
            model.reference_batches_ = np.asarray(reference.batch_names, dtype=object)
        return model

    def _freeze_programs(self) -> None:
        """Train nothing but activities from now on."""
        self.frozen_programs_ = True
        freeze(self)


def _with_new_batches(value: torch.Tensor, own: torch.Tensor, batches: list[int]) -> torch.Tensor:
    """Return a parameter of the reference, with the rows of batches that it lacks as they are.

    Parameters
    ----------
    value, own
        The parameter in the reference and in the query.
    batches
        Position in the query of each batch of the reference.
    """
    if value.shape == own.shape:
        return value
    out = own.clone()
    out[batches] = value.to(own)
    return out
