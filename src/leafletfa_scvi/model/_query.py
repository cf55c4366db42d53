"""Queries: models of new cells on the programs of a trained model."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi._choices import QueryPrevalence
from leafletfa_scvi.data import CheckedContent, check_axes
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._training_options import training_device

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.data import Pairs
    from leafletfa_scvi.model._model import LeafletFAModel


class QueryMixin(SplicingModelBase):
    """Queries of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @classmethod
    def load_query_data(
        cls: type[LeafletFAModel],
        adata: AnnData,
        reference_model: str | LeafletFAModel,
        *,
        query_prevalence: QueryPrevalence = "reference",
        mapping: Pairs | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        trust: bool = False,
    ) -> LeafletFAModel:
        """Create a model of new cells with the programs and global parameters of a reference.

        :meth:`train` then fits only the activities of the new cells, and their prevalence with
        ``query_prevalence="query"``; everything else remains bitwise identical.

        With the Dirichlet-multinomial, reads of an ATSE that belong to no junction of the
        reference count for the implicit junction of the ATSE. If the reference has none, they do
        not count.

        Parameters
        ----------
        adata
            New cells with the junctions of the reference, in the same order; see
            :meth:`prepare_query_anndata`.
        reference_model
            A trained model, or the folder it was saved to.
        query_prevalence
            Prevalence pi in the prior of the activities of new cells. ``"reference"``: that of the
            reference, so that the activities of a cell do not depend on the other cells of the
            query. ``"query"``: learned in :meth:`train` from the cells of the query, which may be
            a different mixture of cell types; it matters for cells with few reads.
            :meth:`get_program_prevalence` and the prior of :meth:`get_cell_activities` are then
            those of the query, programs keep the order of the reference.
        mapping
            Table of :func:`leafletfa_scvi.pp.map_junctions`, for cells of another species (or
            genome build); see :meth:`prepare_query_anndata`. If given, ``adata`` remains as it is:
            the model has a new AnnData, ``query.adata``, with the same cells and the junctions of
            the reference.
        accelerator, device
            Device to load a saved reference to.
        trust
            As in :meth:`load`, for a saved reference.

        Raises
        ------
        ValueError
            The junctions differ, the mapping does not fit, or the data are invalid. Within a cell
            and an ATSE of the reference, all junctions with a total above 0 must have the same
            total and share its reads; those with total 0 count as not observed. Or
            ``query_prevalence`` is unknown.
        RuntimeError
            The reference is not trained.
        """
        check_one_of("query_prevalence", query_prevalence, QueryPrevalence)
        training_device(accelerator, device)
        reference = cls._reference(
            reference_model, accelerator=accelerator, device=device, trust=trust
        )
        reference._require_trained()
        check_axes(adata)
        if mapping is not None:
            adata = cls.prepare_query_anndata(adata, reference, inplace=False, mapping=mapping)
        reference._check_junctions(adata)
        if adata.is_view:
            raise ValueError("Expected adata to be no view, found a view: pass adata.copy().")
        registry = deepcopy(reference.registry_)
        # Junctions filled in as not observed have no label, and not the total of their ATSE.
        setup_args = {**registry["setup_args"], "atse_key": None}
        checked = CheckedContent(
            adata, **setup_args, fixed_junctions=True, fixed_atses=reference.atse_codes_
        )
        setup_method_args = cls._get_setup_method_args(cls=cls, adata=adata, **setup_args)
        cls._register(adata, checked, setup_method_args, source_registry=registry)
        model = cls(adata, registry=registry, **reference.init_params_["non_kwargs"])
        model.atse_labels_ = reference.atse_labels_
        model.has_program_posterior_ = reference.has_program_posterior_
        state = reference.module.state_dict()
        own = model.module.state_dict()
        model.module.load_state_dict(
            {
                key: own[key] if reference.module.has_axis(key, "cells") else value
                for key, value in state.items()
            }
        )
        model.module.to(reference.module.device)
        model._freeze_programs()
        model.query_prevalence_ = query_prevalence
        return model

    def _freeze_programs(self) -> None:
        """Train nothing but activities from now on."""
        self.frozen_programs_ = True
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(self.module.has_axis(name, "cells"))
