"""Saving and loading, kept apart from Pyro's global parameter store."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro

from leafletfa_scvi._scvi import SAVE_KEYS
from leafletfa_scvi.data import cell_fingerprints, match_cells
from leafletfa_scvi.model._cells import CellsMixin
from leafletfa_scvi.model._training_options import training_device
from leafletfa_scvi.module import pyro_alone

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.model._model import LeafletFAModel


class PersistenceMixin(CellsMixin):
    """``save`` and ``load`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    def save(self, dir_path: str | Path, prefix: str | None = None, **kwargs: Any) -> None:
        """Save the model; arguments as in :meth:`scvi.model.base.BaseModelClass.save`.

        Files are written beside the folder and moved into it when complete, so that a failure
        leaves an earlier save as it was.

        Parameters
        ----------
        dir_path
            Folder to write.
        prefix
            Prepended to file names.
        **kwargs
            ``overwrite=True`` to write into an existing folder, ``save_anndata=True`` to save the
            data beside the model.

        Raises
        ------
        ValueError
            The folder exists, and ``overwrite`` is not given; or the data to save are no longer
            those that the model was built on, so that :meth:`load` would refuse them.
        """
        target = Path(dir_path)
        if target.exists() and not target.is_dir():
            raise ValueError(f"{target} is a file. Choose another name for the folder.")
        if target.exists() and not kwargs.get("overwrite", False):
            raise ValueError(f"{target} already exists. Choose another folder, or overwrite=True.")
        if kwargs.get("save_anndata", False) and self.adata is not None:
            self._check_own_data()
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
            # scvi saves Pyro's whole global store; what other models left there is not ours.
            with pyro_alone(), pyro.get_param_store().scope():
                super().save(folder, prefix=prefix, **{**kwargs, "overwrite": True})
            target.mkdir(exist_ok=True)
            for file in Path(folder).iterdir():
                file.replace(target / file.name)
            if not kwargs.get("save_anndata", False):  # not the data of an earlier save
                (target / f"{prefix or ''}{SAVE_KEYS.ADATA_FNAME}").unlink(missing_ok=True)

    def _check_own_data(self) -> None:
        """The model's AnnData holds the cells and junctions that it was built on, in order."""
        try:
            self._check_junctions(self.adata)
            _, _, known = self._recognise(self.adata)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{_NOT_ITS_DATA} {error.args[0]}") from error
        if len(known) != len(self.cell_names_):
            raise ValueError(
                f"{_NOT_ITS_DATA} It holds {len(known)} cells, {len(self.cell_names_)} then."
            )
        other = np.flatnonzero(known != np.arange(len(known)))
        if len(other):
            name = self.adata.obs_names[other[0]]
            raise ValueError(f"{_NOT_ITS_DATA} Cell {name!r} has other counts or another place.")

    @classmethod
    def load(
        cls,
        dir_path: str | Path,
        adata: AnnData | bool | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        prefix: str | None = None,
        **kwargs: Any,
    ) -> LeafletFAModel:
        """Load a saved model.

        Parameters
        ----------
        dir_path
            Folder it was saved to.
        adata
            The cells it was trained on; None to read those saved with it; False for none. Without
            data, programs, activities, prevalence and intervals are there all the same.
        accelerator, device
            Where to put the parameters.
        prefix
            As given to :meth:`save`.
        **kwargs
            As in :meth:`scvi.model.base.BaseModelClass.load`.

        Raises
        ------
        ValueError
            There is no model in the folder, or ``adata`` does not hold the cells and junctions
            that it was trained on.
        TypeError
            ``adata`` is True.
        """
        training_device(accelerator, device)
        if adata is True:
            raise TypeError("Expected adata to be an AnnData, None or False, found True.")
        with pyro_alone(), pyro.get_param_store().scope():
            try:
                model = super().load(
                    str(dir_path), adata, accelerator, device, prefix=prefix, **kwargs
                )
            except RuntimeError as error:
                if "size mismatch" not in str(error):
                    raise
                raise ValueError(_OTHER_CELLS.format(found="another number of cells")) from error
            except ValueError as error:
                if "minified" not in str(error):
                    raise
                raise ValueError(
                    "adata.X is sparse and holds nothing, which scvi-tools takes for minified "
                    "data: set adata.X to the junction counts, or to None."
                ) from error
        if model.adata is not None:
            model._check_junctions(model.adata)
            names = model.adata.obs_names.astype(str).to_numpy()
            prints = cell_fingerprints(model._training_entries())
            known = match_cells(names, prints, model.cell_names_, model.cell_fingerprints_)
            other = np.flatnonzero(known != np.arange(len(names)))
            if len(other):
                at = int(other[0])
                raise ValueError(_OTHER_CELLS.format(found=f"cell {names[at]!r} at position {at}"))
        if model.frozen_programs_:
            model._freeze_programs()
        return model


_NOT_ITS_DATA = (
    "model.adata is no longer what the model was built on, and load would refuse it: save the "
    "model without save_anndata=True, and the AnnData by itself."
)
_OTHER_CELLS = (
    "adata is not what the model was trained on: found {found}. For other cells load with "
    "adata=False and call model.get_cell_activities(adata), or use "
    "LeafletFAModel.load_query_data(adata, path)."
)
