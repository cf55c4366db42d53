"""Registration of the junctions of a MuData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager, AnnDataManagerValidationCheck
from scvi.data.fields import CategoricalJointObsField, CategoricalObsField, MuDataLayerField

from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER, TOTALS_KEY
from leafletfa_scvi.data import (
    JUNCTIONS,
    CheckedContent,
    check_axes,
    check_modalities,
    field_name,
    find_modality,
    is_mudata,
    registered_cells,
)
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._batches import check_batches, check_keys, field_keys
from leafletfa_scvi.model._mudata_fields import MatchedColumns, matched_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.model._model import LeafletFAModel

_FIELDS = {
    "batch_key": (REGISTRY_KEYS.BATCH_KEY, CategoricalObsField),
    "categorical_covariate_keys": (REGISTRY_KEYS.CAT_COVS_KEY, CategoricalJointObsField),
}


class SetupMuDataMixin(SplicingModelBase):
    """``setup_mudata`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @classmethod
    def setup_mudata(
        cls: type[LeafletFAModel],
        mdata: MuData,
        junction_layer: str = JUNCTION_LAYER,
        cluster_layer: str = CLUSTER_LAYER,
        atse_key: str | None = ATSE_KEY,
        batch_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        modalities: Mapping[str, str | None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Check the junctions of a MuData and register it.

        Results are those of :meth:`setup_anndata` with the modality alone. Everything is checked
        before anything is written; only scvi's bookkeeping is written, to ``mdata.uns`` and, with
        batches, to ``obs`` or ``obsm`` of the modality with the junctions.

        The cells of the model are those of this modality. Others may have fewer or more cells, in
        any order (models of scvi-tools need the same): columns are matched by names of cells.

        Parameters
        ----------
        mdata
            Cells with several modalities, one of which has the junctions.
        junction_layer, cluster_layer, atse_key
            Layers and column of ATSE labels of this modality, as in :meth:`setup_anndata`.
        batch_key, categorical_covariate_keys
            Columns with batches, as in :meth:`setup_anndata`, of the modality that ``modalities``
            names. In messages and in the names of columns, one of the modality ``"rna"`` is
            ``"rna:plate"``.
        modalities
            Modality of each of these: ``{"junctions": "splicing", "batch_key": "rna"}``.
            ``"junctions"``, with both layers, must be named; the columns of arguments that are
            not named, or named None, are those of ``mdata.obs``, as in scvi-tools.
        **kwargs
            For :meth:`load` and :meth:`load_query_data`.

        Raises
        ------
        TypeError, KeyError, ValueError
            As in :meth:`setup_anndata`; a modality does not exist; or a cell has no batch, as the
            modality with the batches lacks it.

        Examples
        --------
        >>> mdata = mudata.MuData({"splicing": adata, "rna": expression})
        >>> lfa.LeafletFAModel.setup_mudata(mdata, modalities={"junctions": "splicing"})
        >>> model = lfa.LeafletFAModel(mdata, n_programs=8)
        """
        check_mudata(mdata)
        unknown = set(kwargs) - {"source_registry", "extend_categories"}
        if unknown:
            raise TypeError(
                f"setup_mudata has no argument {min(unknown)!r}. Its arguments are those of "
                "setup_anndata, and modalities."
            )
        chosen = check_modalities(mdata, modalities or {}, _FIELDS)
        check_keys(batch_key, categorical_covariate_keys)
        setup_args = {
            "junction_layer": junction_layer,
            "cluster_layer": cluster_layer,
            "atse_key": atse_key,
            "batch_key": batch_key,
            "categorical_covariate_keys": categorical_covariate_keys,
            "modalities": chosen,
        }
        source = kwargs.get("source_registry")
        adata = find_modality(mdata, chosen[JUNCTIONS])
        checked = CheckedContent(
            adata, junction_layer, cluster_layer, atse_key, fixed_junctions=source is not None
        )
        check_batches_of_mudata(mdata, setup_args, is_new=source is None)
        method_args = cls._get_setup_method_args(cls=cls, mdata=mdata, **setup_args)
        cls._register(mdata, checked, method_args, **kwargs)


def check_mudata(mdata: Any) -> MuData:
    """Return ``mdata`` if it is a MuData, and no view.

    Raises
    ------
    TypeError
        It is of another class.
    ValueError
        It is a view.
    """
    if not is_mudata(mdata):
        raise TypeError(
            f"Expected a MuData, found a {type(mdata).__name__}. "
            + (
                "Use setup_anndata, or MuData({'splicing': adata, ...})."
                if hasattr(mdata, "obs_names")
                else "Read the file first, as mudata.read_h5mu(path)."
            )
        )
    if mdata.is_view:
        raise ValueError("Expected mdata to be no view, found a view: pass mdata.copy().")
    checked: MuData = mdata
    return checked


def check_batches_of_mudata(
    mdata: MuData, setup_args: Mapping[str, Any], *, is_new: bool = True
) -> None:
    """Check the columns that define batches; errors and warnings are those of ``check_batches``.

    Parameters
    ----------
    mdata, is_new
        As in ``check_batches``.
    setup_args
        Arguments of the setup.
    """
    modalities, frames = setup_args["modalities"], []
    junctions = modalities[JUNCTIONS]
    check_axes(find_modality(mdata, junctions))
    for field, keys in field_keys(setup_args).items():
        source = modalities.get(field)
        columns = matched_columns(mdata, keys, source, junctions, field)
        for name, values in columns.items():
            _check_cells(mdata, name, values, source, field)
        frames.append(columns)
    columns = pd.concat(frames, axis=1)
    columns = columns.loc[:, ~columns.columns.duplicated()]
    names = plain_setup_args(setup_args)
    check_batches(
        registered_cells(mdata, junctions, columns),
        names["batch_key"],
        names["categorical_covariate_keys"],
        is_new=is_new,
    )


def _check_cells(
    mdata: MuData, name: Any, values: pd.Series, source: str | None, field: str
) -> None:
    """Check that the modality of a column has all cells with junctions."""
    if source is None:
        return
    lacking = values.index[~values.index.isin(mdata.mod[source].obs_names)]
    if len(lacking):
        raise ValueError(
            f"Expected a batch for each of the {len(values):,} cells with junctions in {name!r}, "
            f"found none for {len(lacking):,}, first {lacking[0]!r}: mdata.mod[{source!r}] lacks "
            f"them. Name another modality of {field}, or keep the cells that both have, as "
            "muon.pp.intersect_obs(mdata)."
        )


def mudata_manager(setup_method_args: Mapping[str, Any]) -> AnnDataManager:
    """Make a manager of the two layers and the batches of a MuData."""
    setup_args = setup_method_args["setup_args"]
    modalities = setup_args["modalities"]
    junctions = modalities[JUNCTIONS]
    options = {
        "is_count_data": False,
        "correct_data_format": False,
        "mod_key": junctions,
        "mod_required": True,
    }
    fields: list[Any] = [
        MuDataLayerField(REGISTRY_KEYS.X_KEY, setup_args["junction_layer"], **options),
        MuDataLayerField(TOTALS_KEY, setup_args["cluster_layer"], **options),
    ]
    for field, keys in field_keys(setup_args).items():
        if not keys:
            continue
        source = modalities.get(field)
        registry_key, kind = _FIELDS[field]
        names = [field_name(key, source, junctions) for key in keys]
        own = kind(registry_key, names[0] if field == "batch_key" else names)
        fields.append(MatchedColumns(own, keys, source, junctions, field))
    return AnnDataManager(
        fields=fields,
        setup_method_args=setup_method_args,
        validation_checks=AnnDataManagerValidationCheck(check_fully_paired_mudata=False),
    )


def plain_setup_args(setup_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``setup_anndata`` for a model that was set up with a MuData."""
    args = dict(setup_args)
    modalities = args.pop("modalities", None)
    if modalities is None:
        return args
    for field, keys in field_keys(setup_args).items():
        names = [field_name(key, modalities.get(field), modalities[JUNCTIONS]) for key in keys]
        args[field] = names or None
    if args["batch_key"]:
        args["batch_key"] = args["batch_key"][0]
    return args


def registered_modality(data: AnnData | MuData, setup_args: Mapping[str, Any]) -> AnnData:
    """Return the AnnData whose counts and names a setup registers."""
    if is_mudata(data):
        return find_modality(data, setup_args["modalities"][JUNCTIONS])
    return data
