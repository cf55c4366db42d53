"""New cells on the programs of a trained model."""

from __future__ import annotations

from copy import deepcopy
from os import PathLike
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from leafletfa_scvi.data import CheckedContent, align_junctions, check_axes
from leafletfa_scvi.model._cells import CellsMixin
from leafletfa_scvi.model._training_options import training_device

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.model._model import LeafletFAModel
    from leafletfa_scvi.ops import ObservedEntries

_BY_CELL = ("phi_log", "phi_variance")


class QueryMixin(CellsMixin):
    """``load_query_data`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @classmethod
    def load_query_data(
        cls,
        adata: AnnData,
        reference_model: str | LeafletFAModel,
        *,
        accelerator: str = "auto",
        device: int | str = "auto",
        trust: bool = False,
    ) -> LeafletFAModel:
        """Model of new cells whose programs and global parameters are those of a reference.

        ``train()`` then fits the activities of the new cells alone; programs, prevalence and
        concentration stay bitwise as they are, and so does their order.

        With the Dirichlet-multinomial, reads of an ATSE that belong to none of the reference's
        junctions count for the ATSE's implicit junction. Where the reference has none, they do
        not count.

        Parameters
        ----------
        adata
            New cells with the junctions of the reference, in its order; see
            :meth:`prepare_query_anndata`.
        reference_model
            A trained model, or the folder it was saved to.
        accelerator, device
            Where a saved reference is loaded to.
        trust
            As in :meth:`load`, for a saved reference.

        Raises
        ------
        ValueError
            The junctions differ, or the data break the contract. Within an ATSE of the reference,
            the junctions with reads in its total must have the same total in a cell, and share
            its reads; those with total 0 count as not observed.
        RuntimeError
            The reference is not trained.
        """
        training_device(accelerator, device)
        reference = cls._reference(
            reference_model, accelerator=accelerator, device=device, trust=trust
        )
        reference._require_trained()
        check_axes(adata)
        reference._check_junctions(adata)
        if adata.is_view:
            raise ValueError("Expected an AnnData of its own, found a view: pass adata.copy().")
        registry = deepcopy(reference.registry_)
        # Junctions filled in as not observed have no label, and other totals than their ATSE.
        setup_args = {**registry["setup_args"], "atse_key": None}
        checked = CheckedContent(
            adata, **setup_args, fixed_junctions=True, fixed_atses=reference.atse_codes_
        )
        setup_method_args = cls._get_setup_method_args(cls=cls, adata=adata, **setup_args)
        cls._register(adata, checked, setup_method_args, source_registry=registry)
        model = cls(adata, registry=registry, **reference.init_params_["non_kwargs"])
        state = reference.module.state_dict()
        own = model.module.state_dict()
        model.module.load_state_dict(
            {key: own[key] if key.endswith(_BY_CELL) else value for key, value in state.items()}
        )
        model.module.to(reference.module.device)
        model._freeze_programs()
        return model

    @classmethod
    def _reference(cls, model: str | LeafletFAModel, **options: Any) -> LeafletFAModel:
        """A reference model, loaded without data if a folder is given."""
        if isinstance(model, cls):
            return model
        if not isinstance(model, str | PathLike):
            raise TypeError(
                f"Expected reference_model to be a trained {cls.__name__}, or the folder it was "
                f"saved to, found {_described(model)}."
            )
        return cls.load(model, adata=False, **options)

    @classmethod
    def prepare_query_anndata(
        cls,
        adata: AnnData,
        reference_model: str | LeafletFAModel,
        return_reference_var_names: bool = False,
        inplace: bool = True,
        *,
        trust: bool = False,
    ) -> AnnData | pd.Index | None:
        """Bring an AnnData to the junctions of a reference, in its order.

        Junctions it lacks are added without any read, which counts as not observed, also where
        the rest of their ATSE was observed; junctions the reference lacks are dropped. ``varm``
        and ``varp`` follow the junctions; ``obs``, ``obsm``, ``obsp``, ``uns`` and ``raw`` stay.

        Parameters
        ----------
        adata
            New cells.
        reference_model
            A trained model, or the folder it was saved to.
        return_reference_var_names
            Only return the junctions of the reference.
        inplace
            Change ``adata`` itself, or return a new AnnData. One on disk is then in memory, and
            its file stays as it is.
        trust
            As in :meth:`load`, for a saved reference.

        Raises
        ------
        ValueError
            ``adata`` has none of the junctions of the reference, or names of its cells or
            junctions are not unique.
        """
        names = pd.Index(cls._reference(reference_model, trust=trust).junction_names)
        if return_reference_var_names:
            return names
        check_axes(adata)
        if not names.isin(adata.var_names).any():
            raise ValueError(
                f"adata has none of the reference's {len(names)} junctions: {names[0]!r} there, "
                f"{adata.var_names[0]!r} here. Bring names to one form first."
            )
        aligned = align_junctions(adata, names)
        if not inplace:
            return aligned
        adata._init_as_actual(aligned)
        return None

    def _freeze_programs(self) -> None:
        self.frozen_programs_ = True
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(name.endswith("phi_log"))

    @torch.no_grad()
    def _start_query(self, entries: ObservedEntries) -> None:
        """Start activities at an EM fit under the reference's programs."""
        self.module.guide.phi_log.copy_(self._fit_new(entries, n_steps=0).log())


def _described(model: Any) -> str:
    """A few words for what is no model."""
    if model is None:
        return "None"
    return (
        f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
    )
