"""Methods of scvi-tools' base class that need a different form for splicing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import rich.pretty  # noqa: F401  (scvi-tools 1.4 uses it without importing it)
from scvi.model.base import BaseModelClass

from leafletfa_scvi.data import is_mudata
from leafletfa_scvi.model._base import SplicingModelBase

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData
    from scvi.data import AnnDataManager


class InheritedMixin(SplicingModelBase):
    """Overrides of methods that would accept other data, densify, or mislead."""

    @property
    def adata(self) -> AnnData | MuData | None:
        """AnnData or MuData of the model; it can only be set to the cells it was built on.

        Raises
        ------
        TypeError, ValueError
            The new value is not an AnnData (a MuData for a model that was set up with one), is a
            view, or holds other cells or junctions.
        """
        return super().adata

    @adata.setter
    def adata(self, adata: AnnData | MuData) -> None:
        own = self._of_its_kind(adata)
        if adata.is_view:
            raise ValueError("Expected adata to be no view, found a view: set adata.copy().")
        self._check_junctions(own)
        _, entries, position = self._match_training_cells(own)
        if not np.array_equal(position, np.arange(len(self.cell_names_))):
            raise ValueError(
                "Expected model.adata to hold the cells that the model was built on, in their "
                "order. Pass other cells to a method, model.get_cell_activities(adata), or to "
                "LeafletFAModel.load_query_data(adata, model)."
            )
        BaseModelClass.adata.fset(self, adata)
        if self._entries is None:
            self._entries = entries
            entries.log_coefficient()

    def _of_its_kind(self, adata: Any) -> AnnData:
        """Return cells and junctions of data that scvi can register with the model's fields."""
        own = self._data(adata)
        assert own is not None
        if self._modalities is not None and not is_mudata(adata):
            raise TypeError(
                f"Expected a MuData, as the model was set up with one, found a "
                f"{type(adata).__name__}. Pass a MuData with the modalities of setup_mudata, "
                f"{sorted(set(self._modalities.values()))}."
            )
        return own

    def transfer_fields(self, adata: AnnData | MuData, **kwargs: Any) -> AnnDataManager:
        """Register other cells with the setup of this model, after checking them.

        Methods that take ``adata`` do not need this.

        Parameters
        ----------
        adata
            Cells with the junctions of the model, in the same order.
        **kwargs
            As in :meth:`scvi.data.AnnDataManager.transfer_fields`.

        Raises
        ------
        TypeError, KeyError, ValueError
            The data are invalid, the junctions differ, or the model has no data.
        """
        own = self._of_its_kind(adata)
        self._check_junctions(own)
        self._read_entries(own)
        return super().transfer_fields(adata, **kwargs)

    def deregister_manager(self, adata: AnnData | MuData | None = None) -> None:
        """Deregister an AnnData, or with None all but that of this model.

        Raises
        ------
        ValueError
            The model holds no data, or ``adata`` is not registered.
        """
        if self.adata_manager is None:
            raise ValueError("The model was loaded without data: nothing is registered with it.")
        if adata is not None:
            self._modality(adata)
        super().deregister_manager(adata)

    def view_registry(self, hide_state_registries: bool = False) -> None:
        """Print the registry, which a model without data has, too.

        Parameters
        ----------
        hide_state_registries
            Omit the details of each field.
        """
        if self.adata_manager is None:
            self.view_setup_method_args()
        else:
            self.adata_manager.view_registry(hide_state_registries=hide_state_registries)

    def view_anndata_setup(
        self, adata: AnnData | MuData | None = None, hide_state_registries: bool = False
    ) -> None:
        """Print the setup of registered data, which a model without data has, too.

        Parameters
        ----------
        adata
            Registered data. If None, those of the model.
        hide_state_registries
            Omit the details of each field.
        """
        if adata is None:
            self.view_registry(hide_state_registries)
        elif self.adata_manager is None:
            raise ValueError("The model was loaded without data: none are registered with it.")
        else:
            self._modality(adata)
            super().view_anndata_setup(adata, hide_state_registries)

    def update_setup_method_args(self, setup_method_args: dict[str, Any]) -> NoReturn:
        """Raise an error: the layers and labels of a model cannot be changed."""
        raise NotImplementedError(
            "The setup of a model cannot be changed: call setup_anndata with "
            f"{', '.join(sorted(setup_method_args)) or 'others'} changed and create a new model."
        )

    @classmethod
    def setup_annbatch(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise an error: batches from annbatch are dense and hold one layer."""
        raise NotImplementedError(
            f"{cls.__name__} cannot train from annbatch, whose batches are dense and hold one "
            "layer. Combine the files with leafletfa_scvi.pp.concat_splicing and call "
            "setup_anndata: observed entries take 6 to 12 bytes each in memory."
        )

    def _make_data_loader(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise an error: scvi's loader makes dense batches."""
        raise NotImplementedError(
            "scvi's data loader makes dense cells x junctions batches: use "
            "leafletfa_scvi.data.cell_loader on leafletfa_scvi.data.observed_entries(adata)."
        )

    def get_normalized_expression(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise an error: the model describes splicing; see :meth:`get_normalized_splicing`."""
        raise NotImplementedError(
            f"{type(self).__name__} describes splicing, not expression: use "
            "get_normalized_splicing() for expected PSI."
        )

    def differential_abundance(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise an error: the posterior of activities defines no density over cells."""
        raise NotImplementedError(
            f"{type(self).__name__} has no differential abundance of cells: compare "
            "get_cell_activities() between samples, or use differential_splicing()."
        )
