"""Junctions of new cells in the order of those of a reference."""

from __future__ import annotations

import warnings
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.data import align_junctions, check_axes
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._new_junctions import join_new_atses

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.model._model import LeafletFAModel


class PrepareQueryMixin(SplicingModelBase):
    """Preparation of the data of a query for :class:`~leafletfa_scvi.LeafletFAModel`."""

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
        keep_new_atses: bool = False,
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
        keep_new_atses
            Keep the ATSEs that have no junction of the reference, after its junctions, for
            ``load_query_data(..., freeze_programs=False)``. Other junctions that the reference
            lacks are dropped all the same, as they would change the PSI of an ATSE that it knows.
        trust
            As in :meth:`load`, for a saved reference.

        Raises
        ------
        ValueError
            ``adata`` has none of the junctions of the reference, names of its cells or junctions
            are not unique, or counts or totals are invalid; or, for ``keep_new_atses``, ATSE
            labels are missing.

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
        labels, targets = reference.atse_labels_, names
        if keep_new_atses:
            targets, labels, codes = join_new_atses(adata, reference)
        key = reference._setup_args["atse_key"] or ATSE_KEY
        aligned = align_junctions(
            adata,
            targets,
            codes,
            junction_layer=junction_layer,
            cluster_layer=cluster_layer,
            atse_key=key,
        )
        if codes is not None:
            _warn_of_missing(names.isin(adata.var_names), codes[: len(names)])
            if labels is not None:
                aligned.var[key] = pd.Categorical(labels)
        if not inplace:
            return aligned
        adata._init_as_actual(aligned)
        return None


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
