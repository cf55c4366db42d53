"""Queries: models of new cells on the programs of a trained model."""

from __future__ import annotations

import warnings
from copy import deepcopy
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.data import CheckedContent, align_junctions, check_axes
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._training_options import training_device

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.model._model import LeafletFAModel


class QueryMixin(SplicingModelBase):
    """Queries of :class:`~leafletfa_scvi.LeafletFAModel`."""

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
        """Create a model of new cells with the programs and global parameters of a reference.

        :meth:`train` then fits only the activities of the new cells; programs, their order,
        prevalence and concentration remain bitwise identical.

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
        accelerator, device
            Device to load a saved reference to.
        trust
            As in :meth:`load`, for a saved reference.

        Raises
        ------
        ValueError
            The junctions differ, or the data are invalid. Within a cell and an ATSE of the
            reference, all junctions with a total above 0 must have the same total and share its
            reads; those with total 0 count as not observed.
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
        return model

    @classmethod
    def _reference(cls, model: str | LeafletFAModel, **options: Any) -> LeafletFAModel:
        """Return the reference model, loaded without data if a folder is given."""
        if isinstance(model, cls):
            return model
        if not isinstance(model, str | PathLike):
            raise TypeError(
                f"Expected reference_model to be a trained {cls.__name__}, or the folder it was "
                f"saved to, found {_described(model)}."
            )
        reference: LeafletFAModel = cls.load(model, adata=False, **options)
        return reference

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
        """Reorder the junctions of an AnnData to those of a reference.

        Junctions that the reference lacks are dropped, and missing ones are added without reads.
        Totals are summed again over the junctions that an ATSE has in the reference. A missing
        junction has y = 0 where its ATSE is observed; **that is correct only if it was not
        observed in these cells.** If its reads were filtered out, make the data set from the files
        with ``lfa.pp.make_splicing_dataset(..., reference=model)``, which is exact. It is not
        observed in cells whose totals exceed the sum of the counts of the ATSE, because junctions
        were removed from ``adata``.

        If the reference was built without ATSE labels, totals are not changed, and missing
        junctions are not observed.

        ``varm`` and ``varp`` follow the junctions, and the labels of the reference replace those
        in ``var``; ``obs``, ``obsm``, ``obsp``, ``uns`` and ``raw`` are kept.

        Parameters
        ----------
        adata
            New cells.
        reference_model
            A trained model, or the folder it was saved to.
        return_reference_var_names
            Return only the names of the junctions of the reference.
        inplace
            Change ``adata`` itself; otherwise return a new AnnData. A backed ``adata`` is then in
            memory, and its file is unchanged.
        trust
            As in :meth:`load`, for a saved reference.

        Raises
        ------
        ValueError
            ``adata`` has none of the junctions of the reference, names of its cells or junctions
            are not unique, or counts or totals are invalid.

        Warns
        -----
        UserWarning
            If ``adata`` lacks junctions of ATSEs of which it has others.
        """
        reference = cls._reference(reference_model, trust=trust)
        names = pd.Index(reference.junction_names)
        if return_reference_var_names:
            return names
        check_axes(adata)
        if not names.isin(adata.var_names).any():
            raise ValueError(
                f"adata has none of the reference's {len(names)} junctions: {names[0]!r} in the "
                f"reference, {adata.var_names[0]!r} in adata. Rename them to the same form first."
            )
        codes, (junction_layer, cluster_layer) = reference.atse_codes_, reference._layers
        key = reference._setup_args["atse_key"] or ATSE_KEY
        aligned = align_junctions(
            adata,
            names,
            codes,
            junction_layer=junction_layer,
            cluster_layer=cluster_layer,
            atse_key=key,
        )
        if codes is not None:
            _warn_of_missing(names.isin(adata.var_names), codes)
            if reference.atse_labels_ is not None:
                aligned.var[key] = pd.Categorical(reference.atse_labels_)
        if not inplace:
            return aligned
        adata._init_as_actual(aligned)
        return None

    def _freeze_programs(self) -> None:
        """Train nothing but activities from now on."""
        self.frozen_programs_ = True
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(self.module.has_axis(name, "cells"))


def _warn_of_missing(present: np.ndarray, codes: np.ndarray) -> None:
    """Warn of junctions that are missing although others of their ATSE are not."""
    n_present = np.bincount(codes, present)[codes]
    n_missing = int((~present & (n_present > 0)).sum())
    if n_missing:
        warnings.warn(
            f"adata lacks {n_missing:,} of the reference's {len(codes):,} junctions in ATSEs of "
            "which it has others. They count 0 there, which is wrong if their reads were filtered "
            "out. lfa.pp.make_splicing_dataset(files, reference=model) counts them.",
            UserWarning,
            stacklevel=3,
        )


def _described(model: Any) -> str:
    """Describe an object that is not a model."""
    if model is None:
        return "None"
    return (
        f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
    )
