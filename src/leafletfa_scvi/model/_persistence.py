"""Saving and loading of models, without code in the files or Pyro's global store."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyro
from scvi.data import AnnDataManager

from leafletfa_scvi._arguments import check_anndata, check_file
from leafletfa_scvi._files import recover, replacing
from leafletfa_scvi._scvi import SAVE_KEYS, download
from leafletfa_scvi.data import (
    atse_codes,
    cell_fingerprints,
    is_mudata,
    match_cells,
    read_h5ad,
    read_h5mu,
    resolve_atse_key,
    write_h5ad,
    write_h5mu,
)
from leafletfa_scvi.data._model_file import ModelContent, read_model_file, write_model_file
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._check_content import check_content, check_registry
from leafletfa_scvi.model._extend import freeze
from leafletfa_scvi.model._fit_state import FitState, is_saved
from leafletfa_scvi.model._setup_mudata import plain_setup_args
from leafletfa_scvi.model._training_options import training_device
from leafletfa_scvi.module import pyro_alone

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.model._model import LeafletFAModel


class PersistenceMixin(SplicingModelBase):
    """``save`` and ``load`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    def save(
        self,
        dir_path: str | Path,
        prefix: str | None = None,
        overwrite: bool = False,
        save_anndata: bool = False,
        save_kwargs: dict[str, Any] | None = None,
        **anndata_write_kwargs: Any,
    ) -> None:
        """Save the model and, on request, its data.

        Files are written beside the folder and moved into it when all are complete. If the process
        is stopped between the moves, the next :meth:`save` or :meth:`load` completes them, so that
        the folder holds either the earlier or the new model. ``model.pt`` holds tensors, text and
        numbers, but no code.

        Parameters
        ----------
        dir_path
            Folder to write.
        prefix
            Prefix of the file names.
        overwrite
            Write to an existing folder. Other files in it are kept, except the data of an earlier
            save.
        save_anndata
            Save :attr:`adata`, too.
        save_kwargs
            ``pickle_protocol``, as in :func:`torch.save`.
        **anndata_write_kwargs
            ``compression`` and ``compression_opts`` of the data file.

        Raises
        ------
        ValueError
            The folder exists and ``overwrite`` is False; the model has no data to save; or they
            are no longer those that the model was built on, so that :meth:`load` would refuse
            them.
        TypeError
            An attribute of the model has a type that cannot be saved, or an option is unknown.
        OSError
            The files cannot be written.
        """
        target = Path(dir_path)
        if target.exists() and not target.is_dir():
            raise ValueError(f"{target} is a file. Choose another name for the folder.")
        if target.exists() and not overwrite:
            raise ValueError(f"{target} already exists. Choose another folder, or overwrite=True.")
        if save_anndata:
            if self.adata is None:
                raise ValueError("The model was loaded without data: leave save_anndata out.")
            self._check_own_data()
        model_file, data_file = _files_of(target, prefix, self.registry_)
        files = [model_file, data_file] if save_anndata else [model_file]
        former = [file for file in _data_files(target, prefix) if file not in files]
        with replacing(*files, remove=former) as places:
            write_model_file(places[0], self._content(), **(save_kwargs or {}))
            if save_anndata:
                write = write_h5mu if is_mudata(self.adata) else write_h5ad
                write(self.adata, places[1], **anndata_write_kwargs)

    def _content(self) -> ModelContent:
        """Collect the content of the file: parameters, junction names and saved attributes."""
        state = FitState.of(self)
        return ModelContent(state.parameters, self.junction_names_, state.attributes)

    def _check_own_data(self) -> None:
        """Check that the model's data hold the cells and junctions it was built on."""
        try:
            adata = self._data(None)
            assert adata is not None
            self._check_junctions(adata)
            _, _, position = self._match_training_cells(adata)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{_NOT_ITS_DATA} {error.args[0]}") from error
        if len(position) != len(self.cell_names_):
            raise ValueError(
                f"{_NOT_ITS_DATA} It holds {len(position)} cells, {len(self.cell_names_)} then."
            )
        changed = np.flatnonzero(position != np.arange(len(position)))
        if len(changed):
            name = adata.obs_names[changed[0]]
            raise ValueError(f"{_NOT_ITS_DATA} Cell {name!r} has other counts or was moved.")
        self._check_own_labels(adata)

    def _check_own_labels(self, adata: AnnData) -> None:
        """Check that ATSE labels have not changed; the default column may have been removed."""
        try:
            key = resolve_atse_key(adata, self._setup_args["atse_key"])
            codes = None if key is None else atse_codes(adata, key)[0]
        except (KeyError, ValueError) as error:
            raise ValueError(f"{_NOT_ITS_DATA} {error.args[0]}") from error
        if codes is None:
            return
        if self.atse_codes_ is None:
            raise ValueError(f"{_NOT_ITS_DATA} It had no ATSE labels in adata.var[{key!r}].")
        changed = np.flatnonzero(codes != self.atse_codes_)
        if len(changed):
            name = self.junction_names[changed[0]]
            raise ValueError(
                f"{_NOT_ITS_DATA} The ATSE labels in adata.var[{key!r}] differ, first at junction "
                f"{name!r}."
            )

    @classmethod
    def load(
        cls,
        dir_path: str | Path,
        adata: AnnData | MuData | bool | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        prefix: str | None = None,
        backup_url: str | None = None,
        *,
        trust: bool = False,
    ) -> LeafletFAModel:
        """Load a saved model, without running code that its file may hold.

        Parameters
        ----------
        dir_path
            Folder it was saved to.
        adata
            Cells it was trained on; also the AnnData alone for a model that was set up with a
            MuData. If None, those saved with it; False for none. Programs, activities, prevalence
            and intervals do not need the data.
        accelerator, device
            Device of the parameters.
        prefix
            Prefix passed to :meth:`save`.
        backup_url
            URL to download ``model.pt`` from if the folder lacks it.
        trust
            Also load models of earlier versions, which are pickled Python objects and can run any
            code on your machine. Use it only for files from people you trust.

        Raises
        ------
        ValueError
            The folder holds no model, its file is damaged or holds pickled objects, or ``adata``
            does not hold the cells and junctions that it was trained on.
        TypeError
            ``adata`` is True.
        """
        target = training_device(accelerator, device)
        if adata is True:
            raise TypeError("Expected adata to be an AnnData, None or False, found True.")
        if adata is not None and adata is not False and not is_mudata(adata):
            check_anndata(adata)
        model_file, _ = _files_of(dir_path, prefix)
        for i in range(_MAX_READS):
            before = _stamp(model_file)
            try:
                content = _read(dir_path, prefix, trust, backup_url)
                _, data_file = _files_of(dir_path, prefix, content.attributes.get("registry_"))
                data = _saved_data(data_file) if adata is None else adata
            except (ValueError, OSError):
                if i + 1 == _MAX_READS or _stamp(model_file) == before:
                    raise
            else:
                if _stamp(model_file) == before:  # otherwise another process saved meanwhile
                    break
        else:
            raise ValueError(
                f"{model_file} is saved repeatedly while it is read: load it when that has ended."
            )
        adata = data
        if adata is None and len(content.attributes.get("cell_names_", "-")):
            warnings.warn(_NO_DATA.format(file=data_file), UserWarning, stacklevel=2)
        with pyro_alone(), pyro.get_param_store().scope():
            model = cls._from_content(content, model_file, None if adata is False else adata)
        model.to_device(target)
        model.module.eval()
        if model.adata is not None:
            own = model._modality(model.adata)
            model._check_junctions(own)
            names = own.obs_names.astype(str).to_numpy()
            prints = cell_fingerprints(model._training_entries())
            position = match_cells(names, prints, model.cell_names_, model.cell_fingerprints_)
            moved = np.flatnonzero(position != np.arange(len(names)))
            if len(moved):
                i = int(moved[0])
                raise ValueError(_OTHER_CELLS.format(found=f"cell {names[i]!r} at position {i}"))
        freeze(model)
        return model

    @classmethod
    def _from_content(
        cls, content: ModelContent, file: Path, adata: AnnData | MuData | None
    ) -> LeafletFAModel:
        """Build a model with the parameters and attributes of a file."""
        attributes = dict(content.attributes)
        registry, init = attributes.pop("registry_"), attributes.pop("init_params_")
        no_model = f"{file} is not a saved {cls.__name__}: "
        check_content(file, content, cls)
        unknown = [name for name in attributes if not is_saved(name) or _is_code(cls, name)]
        if unknown:
            raise ValueError(f"{no_model}found attribute {unknown[0]!r}.")
        if adata is not None:
            cls._setup_again(adata, registry)
        try:
            model = cls(adata, registry=registry, **init["non_kwargs"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{no_model}its arguments do not build one ({error}).") from error
        built, saved = model.module.state_dict(), content.state
        if built.keys() != saved.keys():
            name = min(built.keys() ^ saved.keys())
            where = "only in the model" if name in built else "only in the file"
            raise ValueError(f"{no_model}parameter {name!r} is {where}.")
        wrong = [name for name in built if built[name].shape != saved[name].shape]
        if adata is not None and any(model.module.has_axis(name, "cells") for name in wrong):
            raise ValueError(_OTHER_CELLS.format(found="another number of cells"))
        if wrong:
            raise ValueError(
                f"{no_model}parameter {wrong[0]!r} has the shape {tuple(saved[wrong[0]].shape)}, "
                f"expected {tuple(built[wrong[0]].shape)}."
            )
        wrong = [name for name in built if built[name].dtype != saved[name].dtype]
        if wrong:
            raise ValueError(f"{no_model}parameter {wrong[0]!r} holds {saved[wrong[0]].dtype}.")
        FitState(saved, {**attributes, "init_params_": init}).restore(model)
        return model

    @classmethod
    def _setup_again(cls, adata: AnnData | MuData, registry: dict[str, Any]) -> None:
        """Register data with the arguments of a saved setup, without modalities for an AnnData."""
        setup_args = registry["setup_args"]
        if not is_mudata(adata):
            cls.setup_anndata(adata, source_registry=registry, **plain_setup_args(setup_args))
        elif "modalities" in setup_args:
            cls.setup_mudata(adata, source_registry=registry, **setup_args)
        else:
            raise TypeError(
                "Expected an AnnData, as the model was set up with one, found a MuData. Pass its "
                "modality with the junctions, as mdata.mod['splicing']."
            )

    @staticmethod
    def load_registry(
        dir_path: str | Path, prefix: str | None = None, *, trust: bool = False
    ) -> dict[str, Any]:
        """Read the registry of a saved model.

        Parameters
        ----------
        dir_path, prefix, trust
            As in :meth:`load`.

        Raises
        ------
        ValueError
            As :meth:`load` does.
        """
        return _read_registry(dir_path, prefix, trust)

    @staticmethod
    def view_setup_args(
        dir_path: str | Path, prefix: str | None = None, *, trust: bool = False
    ) -> None:
        """Print the arguments of ``setup_anndata`` of a saved model.

        Parameters
        ----------
        dir_path, prefix, trust
            As in :meth:`load`.

        Raises
        ------
        ValueError
            As :meth:`load` does.
        """
        AnnDataManager.view_setup_method_args(_read_registry(dir_path, prefix, trust))

    @staticmethod
    def convert_legacy_save(*args: Any, **kwargs: Any) -> NoReturn:
        """Raise an error: no model has the format of scvi-tools before 0.15."""
        raise NotImplementedError(
            "Models of leafletfa-scvi were never saved in the format of scvi-tools before 0.15: "
            "there is nothing to convert. Use load."
        )


def _is_code(cls: type, name: str) -> bool:
    """Return True if a class has a method or a property of this name."""
    member = getattr(cls, name, None)
    return callable(member) or isinstance(member, property)


def _files_of(dir_path: str | Path, prefix: str | None, registry: Any = None) -> tuple[Path, Path]:
    """Paths of the files of model and data, an AnnData unless the registry is of a MuData."""
    model = Path(dir_path) / f"{prefix or ''}{SAVE_KEYS.MODEL_FNAME}"
    setup_args = registry.get("setup_args") if isinstance(registry, dict) else None
    of_mudata = isinstance(setup_args, dict) and "modalities" in setup_args
    return model, _data_files(dir_path, prefix)[of_mudata]


def _data_files(dir_path: str | Path, prefix: str | None) -> tuple[Path, Path]:
    """Paths of the files of an AnnData and a MuData."""
    names = (SAVE_KEYS.ADATA_FNAME, SAVE_KEYS.MDATA_FNAME)
    adata, mdata = (Path(dir_path) / f"{prefix or ''}{name}" for name in names)
    return adata, mdata


def _read(
    dir_path: str | Path, prefix: str | None, trust: bool, backup_url: str | None = None
) -> ModelContent:
    """Read a saved model, after completing the moves of a stopped process."""
    folder = Path(dir_path)
    files = (_files_of(dir_path, prefix)[0], *_data_files(dir_path, prefix))
    for home in dict.fromkeys(
        (folder, folder.resolve().parent, *(x.resolve().parent for x in files))
    ):
        recover(home)
    file = files[0]
    if backup_url is not None and not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        download(backup_url, str(folder), file.name)
    return read_model_file(file, trust=trust)


def _read_registry(dir_path: str | Path, prefix: str | None, trust: bool) -> dict[str, Any]:
    """Read and check the registry of a saved model."""
    registry: dict[str, Any] = _read(dir_path, prefix, trust).attributes["registry_"]
    check_registry(_files_of(dir_path, prefix)[0], registry, "LeafletFAModel")
    return registry


def _saved_data(file: Path) -> AnnData | MuData | None:
    """Read the data saved with a model; None if there are none."""
    if not os.path.lexists(file):
        return None
    try:
        check_file(file)
        return read_h5mu(file) if file.suffix == ".h5mu" else read_h5ad(file)
    except Exception as error:  # h5py and anndata raise many kinds
        raise ValueError(
            f"{file} cannot be read as an {file.suffix} file ({error}). Copy it again, or load "
            "the model with adata=... or adata=False."
        ) from error


def _stamp(file: Path) -> tuple[int, ...] | None:
    """Return properties of a file that change when it is replaced."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


_MAX_READS = 20
"""Maximum number of attempts to read files that other processes replace."""
_NO_DATA = (
    "No data were saved with the model ({file}): it is loaded without. Pass adata=..., or "
    "adata=False if none are needed."
)
_NOT_ITS_DATA = (
    "model.adata has changed since the model was built, and load would refuse it: save the "
    "model without save_anndata=True, and the AnnData separately."
)
_OTHER_CELLS = (
    "adata does not hold the training data: found {found}. For other cells load with "
    "adata=False and call model.get_cell_activities(adata), or use "
    "LeafletFAModel.load_query_data(adata, path)."
)
