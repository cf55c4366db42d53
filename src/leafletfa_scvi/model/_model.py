"""LeafletFAModel: registration of data and construction."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.data.fields import LayerField

from leafletfa_scvi._arguments import WrongKindError, check_anndata
from leafletfa_scvi._constants import (
    ATSE_KEY,
    CLUSTER_LAYER,
    JUNCTION_LAYER,
    TOTALS_KEY,
)
from leafletfa_scvi.data import CheckedContent, is_mudata
from leafletfa_scvi.likelihoods import LIKELIHOODS
from leafletfa_scvi.model._batch_effects import BatchEffectsMixin
from leafletfa_scvi.model._batches import (
    batch_fields,
    batch_names,
    batches_of,
    check_batches,
    check_shared_junctions,
)
from leafletfa_scvi.model._differential import DifferentialSplicingMixin
from leafletfa_scvi.model._from_programs import FromProgramsMixin
from leafletfa_scvi.model._identifiability import IdentifiabilityMixin
from leafletfa_scvi.model._inherited import InheritedMixin
from leafletfa_scvi.model._markers import MarkersMixin
from leafletfa_scvi.model._model_options import ModelOptions
from leafletfa_scvi.model._persistence import PersistenceMixin
from leafletfa_scvi.model._posterior import PosteriorMixin
from leafletfa_scvi.model._prepare_query import PrepareQueryMixin
from leafletfa_scvi.model._prune import PruneMixin
from leafletfa_scvi.model._query import QueryMixin
from leafletfa_scvi.model._setup_mudata import SetupMuDataMixin, mudata_manager
from leafletfa_scvi.model._training import TrainingMixin
from leafletfa_scvi.module import LeafletFAModule

if TYPE_CHECKING:
    from mudata import MuData

    from leafletfa_scvi._choices import (
        ConcentrationPrior,
        Dispersion,
        JunctionPrior,
        Likelihood,
    )

_COVARIATES = {
    "labels_key",
    "sample_key",
    "size_factor_key",
    "continuous_covariate_keys",
}
"""Arguments of other models of scvi-tools for batches and covariates."""

_CHECKED: WeakKeyDictionary[AnnDataManager, CheckedContent] = WeakKeyDictionary()
"""Data that ``setup_anndata`` checked, for the lifetime of each manager."""


class LeafletFAModel(
    TrainingMixin,
    PosteriorMixin,
    IdentifiabilityMixin,
    DifferentialSplicingMixin,
    MarkersMixin,
    BatchEffectsMixin,
    PruneMixin,
    PrepareQueryMixin,
    QueryMixin,
    FromProgramsMixin,
    PersistenceMixin,
    SetupMuDataMixin,
    InheritedMixin,
):
    """Splicing programs of single cells: a Beta-Dirichlet factor model of junction counts.

    Reads y of junction j among the n reads of its ATSE in cell c are beta-binomial around
    ``sum_k phi_ck psi_kj``: activities phi of K splicing programs psi. Every entry with n > 0
    counts, y = 0 included.

    Parameters
    ----------
    adata
        AnnData registered with :meth:`setup_anndata`, or MuData registered with
        :meth:`setup_mudata`, and not changed since. The model keeps a copy of the observed entries
        for :meth:`train`, which later changes of ``adata`` do not affect.
    n_programs
        Number of splicing programs K, between 1 and the number of cells.
    likelihood
        ``"betabinomial"``; ``"binomial"``, its limit for kappa to infinity; or
        ``"dirichlet-multinomial"``, in which the junctions of an ATSE share its reads, so that
        each counts once, and a program's PSI sums to one within the ATSE. It needs ATSE labels.
        If an ATSE has more reads in some cell than its junctions, the rest is assigned to an
        implicit junction, which is not part of the results.
    dispersion
        ``"junction"``: one concentration kappa for each junction (ATSE for the
        Dirichlet-multinomial), log-normal around a common median; ``"global"``: one for all. If
        None, ``"junction"`` for a learned kappa.
    junction_prior
        ``"mixture"``: programs vary around the mean usage of a junction with a prior concentration
        common to the junctions of an ATSE and all programs, which distinguishes ATSEs that differ
        between programs from those that do not; ``"junction"``, as published: each junction has
        its own prior, Beta (or its part of the Dirichlet within the ATSE); ``"global"``: one for
        all.
    concentration
        Fixed concentration kappa, common to all junctions; infinity is the binomial (multinomial).
        If None, it is learned.
    activity_concentration
        Fixed delta of phi ~ Dirichlet(delta pi). If None, it is learned.
    concentration_prior
        Prior of a learned kappa: ``"weak"``, or ``"leafletfa"``, the published Gamma(10, 10) of
        mean 1, which forces extreme overdispersion.
    registry, columns, has_reference
        Registry of a saved or a reference model; ATSE of each row of its programs, implicit
        junctions last; and whether its prior includes the reads of a reference. Passed by
        :meth:`load` and :meth:`load_query_data`.

    Raises
    ------
    ValueError
        An option is invalid, two options exclude each other, ``n_programs`` is out of range, the
        Dirichlet-multinomial lacks ATSE labels, or the layers, names or ATSE labels of ``adata``
        have changed since :meth:`setup_anndata`.

    Examples
    --------
    >>> import leafletfa_scvi as lfa
    >>> adata = lfa.datasets.simulate_splicing(n_cells=300, n_programs=3)
    >>> lfa.LeafletFAModel.setup_anndata(adata)
    >>> model = lfa.LeafletFAModel(adata, n_programs=3)
    >>> model.train()
    >>> model.export_posterior(adata)

    Notes
    -----
    The model and its priors follow LeafletFA (bioRxiv 10.64898/2025.12.30.697080); the user guide
    lists the differences.
    """

    _module_cls = LeafletFAModule

    def __init__(
        self,
        adata: AnnData | MuData | None = None,
        n_programs: int = 10,
        *,
        likelihood: Likelihood = "betabinomial",
        dispersion: Dispersion | None = None,
        junction_prior: JunctionPrior = "mixture",
        concentration: float | None = None,
        activity_concentration: float | None = None,
        concentration_prior: ConcentrationPrior = "weak",
        registry: dict[str, Any] | None = None,
        columns: np.ndarray | None = None,
        has_reference: bool = False,
    ) -> None:
        if adata is not None:
            _check_is_set_up(adata)
        super().__init__(adata, registry)
        data = self._data(adata)
        self.get_normalized_function_name = "get_normalized_splicing"
        n_cells, n_junctions = int(self.summary_stats.n_cells), int(self.summary_stats.n_vars)
        options = ModelOptions.checked(
            n_programs=n_programs,
            likelihood=likelihood,
            dispersion=dispersion,
            junction_prior=junction_prior,
            concentration=concentration,
            activity_concentration=activity_concentration,
            concentration_prior=concentration_prior,
            max_programs=n_cells if registry is None else None,
            # A model that was saved without its columns has one kappa.
            default_dispersion="global" if registry is not None and columns is None else None,
        )
        self.n_programs = options.n_programs
        batches = batch_names(self.registry_)
        if data is not None:
            checked = _CHECKED[self._adata_manager]
            self._entries = checked.take(data)
            self._entries.log_coefficient()
            if batches:
                self._entries = replace(self._entries, batch=batches_of(data, self.registry_))
                if registry is None:
                    check_shared_junctions(self._entries, batches)
            self.cell_names_ = data.obs_names.astype(str).to_numpy()
            self.cell_fingerprints_ = checked.fingerprints
            self.atse_codes_, self._layer_digests = checked.atse_codes, checked.digests
            self.atse_labels_ = checked.atse_labels(data)
        if columns is None:
            columns = LIKELIHOODS[options.likelihood].program_atse(
                self._entries, self.atse_codes_, n_junctions
            )
        self.module = self._module_cls(
            n_cells,
            n_junctions,
            program_atse=torch.as_tensor(columns, device="cpu"),
            n_batches=max(len(batches), 1),
            has_reference=has_reference,
            **asdict(options),
        )
        state = self.registry_["field_registries"][REGISTRY_KEYS.X_KEY]["state_registry"]
        self.junction_names_ = np.asarray(state["column_names"]).astype(str).astype(object)
        self._model_summary_string = (
            f"LeafletFAModel with {self.n_programs} splicing programs, {options.likelihood} "
            f"likelihood, {n_cells} cells, {n_junctions} junctions"
        )
        self.init_params_ = self._get_init_params({**locals(), **asdict(options)})

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        junction_layer: str = JUNCTION_LAYER,
        cluster_layer: str = CLUSTER_LAYER,
        atse_key: str | None = ATSE_KEY,
        batch_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Check a data set and register it.

        Everything is checked before anything is written; only scvi's bookkeeping in ``adata.uns``
        (with batches, also in ``obs`` or ``obsm``) is written. The layers are never changed.

        If layers, names or ATSE labels change afterwards, call it again before creating a model:
        the constructor only accepts data that were checked.

        Parameters
        ----------
        adata
            Cells x junctions, of a full-length protocol such as Smart-seq2.
        junction_layer
            Layer of junction counts y: CSR, CSC or dense, whole numbers of any dtype.
        cluster_layer
            Layer of ATSE totals n, in the same formats. An entry with n > 0 is observed.
        atse_key
            Column of ``adata.var`` with ATSE labels. The default column may be missing, any other
            must exist; None for no labels.
        batch_key
            Column of ``adata.obs`` with batches, such as plates, laboratories or technologies.
            PSI of a junction may be shifted in a batch, on the logit scale (of the logarithm, if
            junctions share the reads of their ATSE), by as much in all programs. Most shifts are
            0: see the user guide. None for no batches.
        categorical_covariate_keys
            Further such columns; each combination of values with those of ``batch_key`` is a
            batch.
        **kwargs
            For :meth:`load` and :meth:`load_query_data`.

        Raises
        ------
        TypeError, KeyError, ValueError
            The data are invalid; the message names layer, cell, junction and remedy.
        """
        setup_method_args = cls._get_setup_method_args(**locals())
        unknown = set(kwargs) - {"source_registry", "extend_categories"}
        if unknown:
            raise TypeError(_unknown_argument(min(unknown)))
        if is_mudata(adata):
            raise TypeError(
                "Expected an AnnData, found a MuData. Use setup_mudata(mdata, "
                "modalities={'junctions': 'splicing'}), or pass one modality, as "
                "mdata.mod['splicing']."
            )
        if check_anndata(adata).is_view:
            raise ValueError("Expected adata to be no view, found a view: pass adata.copy().")
        checked = CheckedContent(
            adata,
            junction_layer,
            cluster_layer,
            atse_key,
            fixed_junctions=kwargs.get("source_registry") is not None,
        )
        is_new = kwargs.get("source_registry") is None
        check_batches(adata, batch_key, categorical_covariate_keys, is_new=is_new)
        cls._register(adata, checked, setup_method_args, **kwargs)

    @classmethod
    def _register(
        cls,
        adata: AnnData | MuData,
        checked: CheckedContent,
        setup_method_args: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Register checked data with scvi."""
        given = setup_method_args["setup_args"]
        if is_mudata(adata):
            manager = mudata_manager(setup_method_args)
        else:
            batches = given.get("batch_key"), given.get("categorical_covariate_keys")
            manager = cls._manager(*checked.layers, setup_method_args, *batches)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)
        _CHECKED[manager] = checked

    @staticmethod
    def _manager(
        junction_layer: str,
        cluster_layer: str,
        setup_method_args: dict[str, Any],
        batch_key: str | None = None,
        covariate_keys: list[str] | None = None,
    ) -> AnnDataManager:
        """Make a manager of the two layers and the batches, if there are some."""
        options = {"is_count_data": False, "correct_data_format": False}
        fields = [
            LayerField(REGISTRY_KEYS.X_KEY, junction_layer, **options),
            LayerField(TOTALS_KEY, cluster_layer, **options),
            *batch_fields(batch_key, covariate_keys),
        ]
        return AnnDataManager(fields=fields, setup_method_args=setup_method_args)

    @classmethod
    def _registry_of(
        cls, junctions: pd.Index, junction_layer: str, cluster_layer: str, atse_key: str | None
    ) -> dict[str, Any]:
        """Return the registry of data with the given junctions and no cells."""
        layers = (junction_layer, cluster_layer)
        empty = sp.csr_matrix(np.zeros((0, len(junctions)), np.float32))
        adata = AnnData(
            obs=pd.DataFrame(index=pd.Index([], dtype=object)),
            var=pd.DataFrame(index=junctions),
            layers=dict.fromkeys(layers, empty),
        )
        setup_args = dict(zip(("junction_layer", "cluster_layer"), layers, strict=True))
        setup_method_args = cls._get_setup_method_args(
            cls=cls, adata=adata, **setup_args, atse_key=atse_key
        )
        manager = cls._manager(*layers, setup_method_args)
        manager.register_fields(adata)
        registry: dict[str, Any] = manager.registry
        return registry


def _check_is_set_up(data: Any) -> None:
    """Check that data are an AnnData, or a MuData that was set up."""
    if not is_mudata(data):
        check_anndata(data)
    elif "_scvi_uuid" not in data.uns:
        raise WrongKindError(
            "Expected an AnnData or a MuData that was set up, found a MuData that was not. Call "
            "LeafletFAModel.setup_mudata(mdata, modalities={'junctions': 'splicing'}) first."
        )


def _unknown_argument(name: str) -> str:
    """Explain which arguments replace one that other models of scvi-tools have."""
    message = f"setup_anndata has no argument {name!r}. "
    if name in ("layer", "counts_layer", "layers"):
        return message + (
            "It takes two layers: junction_layer= for the junction counts, cluster_layer= for the "
            "ATSE totals."
        )
    if name in _COVARIATES:
        return (
            message
            + "Batches are batch_key and categorical_covariate_keys; others are not modeled."
        )
    return message + (
        "Its arguments are junction_layer, cluster_layer, atse_key, batch_key and "
        "categorical_covariate_keys."
    )
