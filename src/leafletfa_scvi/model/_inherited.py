"""What the model inherits from scvi-tools and what of it needs another form here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import rich.pretty  # noqa: F401  (scvi-tools 1.4 uses it without importing it)
from scvi.model.base import BaseModelClass

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi.model._cells import CellsMixin

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.data import AnnDataManager


class InheritedMixin(CellsMixin):
    """Entry points of scvi's base class that would take other data, densify, or mislead."""

    @property
    def adata(self) -> AnnData | None:
        """The model's own data; only the cells that it was built on can be set.

        Raises
        ------
        TypeError, ValueError
            What is set is not an AnnData of its own, or holds other cells or junctions.
        """
        return super().adata

    @adata.setter
    def adata(self, adata: AnnData) -> None:
        check_anndata(adata)
        if adata.is_view:
            raise ValueError("Expected an AnnData of its own, found a view: set adata.copy().")
        self._check_junctions(adata)
        _, entries, known = self._recognise(adata)
        if not np.array_equal(known, np.arange(len(self.cell_names_))):
            raise ValueError(
                "model.adata takes the cells that the model was built on, in their order. For "
                "other cells pass them to a method, model.get_cell_activities(adata), or use "
                "LeafletFAModel.load_query_data(adata, model)."
            )
        BaseModelClass.adata.fset(self, adata)
        if self._entries is None:
            self._entries = entries
            entries.log_coefficient()

    def transfer_fields(self, adata: AnnData, **kwargs: Any) -> AnnDataManager:
        """Register other cells with this model's set-up, after the checks of set-up.

        Methods that take ``adata`` need no such registration.

        Parameters
        ----------
        adata
            Cells with the junctions of the model, in its order.
        **kwargs
            As in :meth:`scvi.data.AnnDataManager.transfer_fields`.

        Raises
        ------
        TypeError, KeyError, ValueError
            The data break the contract, the junctions are others, or the model has no data.
        """
        self._check_junctions(check_anndata(adata))
        self._read_entries(adata)
        return super().transfer_fields(adata, **kwargs)

    def deregister_manager(self, adata: AnnData | None = None) -> None:
        """Forget registered data, or with None all but those of this model.

        Raises
        ------
        ValueError
            The model holds no data, or ``adata`` is not registered.
        """
        if self.adata_manager is None:
            raise ValueError("The model was loaded without data: nothing is registered with it.")
        if adata is not None:
            check_anndata(adata)
        super().deregister_manager(adata)

    def view_registry(self, hide_state_registries: bool = False) -> None:
        """Print how the data were registered, also of a model without data.

        Parameters
        ----------
        hide_state_registries
            Leave out the details of each field.
        """
        if self.adata_manager is None:
            self.view_setup_method_args()
        else:
            self.adata_manager.view_registry(hide_state_registries=hide_state_registries)

    def view_anndata_setup(
        self, adata: AnnData | None = None, hide_state_registries: bool = False
    ) -> None:
        """Print how data were registered, also of a model without data.

        Parameters
        ----------
        adata
            Registered data; None for the model's own.
        hide_state_registries
            Leave out the details of each field.
        """
        if adata is None:
            self.view_registry(hide_state_registries)
        elif self.adata_manager is None:
            raise ValueError("The model was loaded without data: none are registered with it.")
        else:
            super().view_anndata_setup(check_anndata(adata), hide_state_registries)

    def update_setup_method_args(self, setup_method_args: dict[str, Any]) -> NoReturn:
        """Refuse: a model keeps the layers and labels that it was set up with."""
        raise NotImplementedError(
            "The arguments of set-up stay as they are for a model: call setup_anndata with "
            f"{', '.join(sorted(setup_method_args)) or 'others'} changed and build a new model."
        )

    @classmethod
    def setup_annbatch(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: batches from annbatch are dense and hold one layer."""
        raise NotImplementedError(
            f"{cls.__name__} does not train from annbatch: batches would hold one layer only, and "
            "dense. Unite the files with leafletfa_scvi.pp.concat_splicing and call "
            "setup_anndata: observed entries take 6 to 12 bytes each in memory."
        )

    def _make_data_loader(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            "scvi's loader would make dense cells x junctions batches: use "
            "leafletfa_scvi.data.cell_loader on leafletfa_scvi.data.observed_entries(adata)."
        )

    def get_normalized_expression(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: the model describes splicing; see :meth:`get_normalized_splicing`."""
        raise NotImplementedError(
            f"{type(self).__name__} describes splicing, not expression: use "
            "get_normalized_splicing() for expected PSI."
        )

    def differential_abundance(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: the activities have no density over cells to compare."""
        raise NotImplementedError(
            f"{type(self).__name__} has no differential abundance of cells: compare "
            "get_cell_activities() between samples, or use differential_splicing()."
        )
