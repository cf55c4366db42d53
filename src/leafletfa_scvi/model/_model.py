"""LeafletFAModel: registration of data, construction, and what its mixins share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.data.fields import LayerField

from leafletfa_scvi._arguments import check_anndata, check_whole
from leafletfa_scvi._choices import ConcentrationPrior, Dispersion, JunctionPrior, Likelihood
from leafletfa_scvi._constants import (
    ATSE_KEY,
    CLUSTER_LAYER,
    JUNCTION_LAYER,
    TOTALS_KEY,
)
from leafletfa_scvi.data import CheckedContent
from leafletfa_scvi.likelihoods import LIKELIHOODS
from leafletfa_scvi.model._differential import DifferentialSplicingMixin
from leafletfa_scvi.model._inherited import InheritedMixin
from leafletfa_scvi.model._persistence import PersistenceMixin
from leafletfa_scvi.model._posterior import PosteriorMixin
from leafletfa_scvi.model._prune import PruneMixin
from leafletfa_scvi.model._query import QueryMixin
from leafletfa_scvi.model._training import TrainingMixin
from leafletfa_scvi.model._training_options import check_positive
from leafletfa_scvi.module import LeafletFAModule

if TYPE_CHECKING:
    from anndata import AnnData

_COVARIATES = {
    "batch_key",
    "labels_key",
    "sample_key",
    "size_factor_key",
    "categorical_covariate_keys",
    "continuous_covariate_keys",
}
"""Arguments by which other models of scvi-tools take batches and covariates."""
_DISPERSION: Dispersion = "junction"
"""Where kappa is learned and nothing else is asked for."""

_CHECKED: WeakKeyDictionary[AnnDataManager, CheckedContent] = WeakKeyDictionary()
"""What ``setup_anndata`` found in the data of each manager, as long as that lives."""


class LeafletFAModel(
    TrainingMixin,
    PosteriorMixin,
    DifferentialSplicingMixin,
    PruneMixin,
    QueryMixin,
    PersistenceMixin,
    InheritedMixin,
):
    """Splicing programs of single cells: a Beta-Dirichlet factor model of junction counts.

    Reads y of junction j among the n reads of its ATSE in cell c are beta-binomial around
    ``sum_k phi_ck psi_kj``: activities phi of K splicing programs psi. Every entry with n > 0
    counts, y = 0 included.

    Parameters
    ----------
    adata
        AnnData registered with :meth:`setup_anndata` and not changed since. The model keeps a
        copy of the observed entries, which is what :meth:`train` works from: later changes of
        ``adata`` do not reach training.
    n_programs
        Number of splicing programs K, between 1 and the number of cells.
    likelihood
        ``"betabinomial"``; ``"binomial"``, its limit for kappa to infinity; or
        ``"dirichlet-multinomial"``, in which the junctions of an ATSE share its reads, so that
        each counts once, and a program's PSI sums to one within the ATSE. It needs ATSE labels.
        Where an ATSE has more reads in some cell than its junctions, the rest is an implicit
        further junction, of which results say nothing.
    dispersion
        ``"junction"``: one concentration kappa for each junction (ATSE for the
        Dirichlet-multinomial), log-normal about a common median; ``"global"``: one for all. None
        is ``"junction"`` where kappa is learned.
    junction_prior
        ``"mixture"``: programs scatter around the mean usage of a junction with a strength that
        an ATSE's junctions and all programs share, so that ATSEs that do not differ between
        programs are told from those that do; ``"junction"``, as published: each junction has its
        own prior, Beta (or its part of the Dirichlet within the ATSE); ``"global"``: one for all.
    concentration
        Fixed concentration kappa; None to learn it. Infinity is the binomial (multinomial). It
        goes with ``dispersion="global"``.
    activity_concentration
        Fixed delta of phi ~ Dirichlet(delta pi); None to learn it.
    concentration_prior
        Prior of a learned kappa: ``"weak"``, or ``"leafletfa"``, the published Gamma(10, 10) of
        mean 1, which forces extreme over-dispersion.
    registry, columns
        Of a saved or a reference model, ``columns`` the ATSE of each row of its programs,
        implicit junctions last; used by :meth:`load` and :meth:`load_query_data`.

    Raises
    ------
    ValueError
        An option is not one of those above, two of them exclude each other, ``n_programs`` is out
        of range, the Dirichlet-multinomial has no ATSE labels, or the layers, names or ATSE
        labels of ``adata`` changed since :meth:`setup_anndata`.

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
    The model and its priors follow LeafletFA (bioRxiv 10.64898/2025.12.30.697080); see the user
    guide for what differs.
    """

    _module_cls = LeafletFAModule

    def __init__(
        self,
        adata: AnnData | None = None,
        n_programs: int = 10,
        *,
        likelihood: Likelihood = "betabinomial",
        dispersion: Dispersion | None = None,
        junction_prior: JunctionPrior = "mixture",
        concentration: float | None = None,
        activity_concentration: float | None = None,
        concentration_prior: ConcentrationPrior = "weak",
        registry: dict | None = None,
        columns: np.ndarray | None = None,
    ) -> None:
        if adata is not None:
            check_anndata(adata)
        super().__init__(adata, registry)
        self.get_normalized_function_name = "get_normalized_splicing"
        _one_of("likelihood", likelihood, get_args(Likelihood))
        if dispersion is not None:
            _one_of("dispersion", dispersion, get_args(Dispersion))
        _one_of("junction_prior", junction_prior, get_args(JunctionPrior))
        _one_of("concentration_prior", concentration_prior, get_args(ConcentrationPrior))
        if concentration is not None:
            concentration = check_positive("concentration", concentration)
        if activity_concentration is not None:
            check_positive("activity_concentration", activity_concentration)
        if activity_concentration is not None and np.isinf(activity_concentration):
            raise ValueError("Expected a finite activity_concentration, found infinity.")
        n_cells, n_junctions = int(self.summary_stats.n_cells), int(self.summary_stats.n_vars)
        check_whole("n_programs", n_programs, 1)
        is_new = registry is None
        if is_new and n_programs > n_cells:
            raise ValueError(
                f"Expected n_programs between 1 and the number of cells ({n_cells}), "
                f"found {n_programs}."
            )
        self.n_programs = int(n_programs)
        # An infinite concentration is the binomial, and is saved under that name.
        if concentration is not None and np.isinf(concentration) and likelihood == "betabinomial":
            likelihood, concentration = "binomial", None
        has_concentration = LIKELIHOODS[likelihood].has_concentration
        if not has_concentration and (concentration is not None or dispersion == "junction"):
            raise ValueError(
                "The binomial has no concentration: leave concentration and dispersion out, or "
                "use likelihood='betabinomial'."
            )
        if dispersion == "junction" and concentration is not None:
            raise ValueError(
                f"A fixed concentration, found {concentration:g}, is that of all junctions: leave "
                "it out, or use dispersion='global'."
            )
        if dispersion is None:
            learned = has_concentration and concentration is None
            # A model saved without its columns knew one kappa only.
            learned = learned and (is_new or columns is not None)
            dispersion = _DISPERSION if learned else "global"
        if adata is not None:
            checked = _CHECKED[self._adata_manager]
            self._entries = checked.take(adata)
            self._entries.log_coefficient()
            self.cell_names_ = adata.obs_names.astype(str).to_numpy()
            self.cell_fingerprints_ = checked.fingerprints
            self.atse_codes_, self._layer_digests = checked.atse_codes, checked.digests
        if columns is None:
            columns = LIKELIHOODS[likelihood].program_atse(
                self._entries, self.atse_codes_, n_junctions
            )
        self.module = self._module_cls(
            n_cells,
            n_junctions,
            self.n_programs,
            likelihood=likelihood,
            dispersion=dispersion,
            junction_prior=junction_prior,
            concentration=concentration,
            activity_concentration=activity_concentration,
            concentration_prior=concentration_prior,
            program_atse=torch.as_tensor(columns, device="cpu"),
        )
        self.junction_names_ = np.asarray(self.get_var_names()).astype(str).astype(object)
        self._model_summary_string = (
            f"LeafletFAModel with {self.n_programs} splicing programs, {likelihood} "
            f"likelihood, {n_cells} cells, {n_junctions} junctions"
        )
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        junction_layer: str = JUNCTION_LAYER,
        cluster_layer: str = CLUSTER_LAYER,
        atse_key: str | None = ATSE_KEY,
        **kwargs: Any,
    ) -> None:
        """Check a data set and register it.

        Everything is checked before anything is written; what is written is scvi's bookkeeping in
        ``adata.uns``. The layers are read as they are, never replaced.

        Where layers, names or ATSE labels change afterwards, call it again before building a
        model: the constructor takes only what was checked.

        Parameters
        ----------
        adata
            Cells x junctions, of a full-length protocol such as Smart-seq2.
        junction_layer
            Layer of junction counts y: CSR, CSC or dense, any dtype that holds whole numbers.
        cluster_layer
            Layer of ATSE totals n, likewise. An entry counts as observed where n > 0.
        atse_key
            Column of ``adata.var`` with ATSE labels. The default is used where it is there; None
            does without, any other name must be there.
        **kwargs
            For :meth:`load` and :meth:`load_query_data`.

        Raises
        ------
        TypeError, KeyError, ValueError
            The data break the contract; the message names layer, cell, junction and remedy.
        """
        setup_method_args = cls._get_setup_method_args(**locals())
        unknown = set(kwargs) - {"source_registry", "extend_categories"}
        if unknown:
            raise TypeError(_unknown_argument(min(unknown)))
        if check_anndata(adata).is_view:
            raise ValueError("Expected an AnnData of its own, found a view: pass adata.copy().")
        checked = CheckedContent(
            adata,
            junction_layer,
            cluster_layer,
            atse_key,
            fixed_junctions=kwargs.get("source_registry") is not None,
        )
        cls._register(adata, checked, setup_method_args, **kwargs)

    @classmethod
    def _register(
        cls, adata: AnnData, checked: CheckedContent, setup_method_args: dict, **kwargs: Any
    ) -> None:
        """Register checked data with scvi."""
        junction_layer, cluster_layer = checked.layers
        options = {"is_count_data": False, "correct_data_format": False}
        fields = [
            LayerField(REGISTRY_KEYS.X_KEY, junction_layer, **options),
            LayerField(TOTALS_KEY, cluster_layer, **options),
        ]
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)
        _CHECKED[manager] = checked


def _unknown_argument(name: str) -> str:
    """Say what ``setup_anndata`` has instead of an argument that other models of scvi have."""
    message = f"setup_anndata has no argument {name!r}. "
    if name in ("layer", "counts_layer", "layers"):
        return message + (
            "It takes two layers: junction_layer= for the junction counts, cluster_layer= for the "
            "ATSE totals."
        )
    if name in _COVARIATES:
        return message + "Batches and covariates are not modelled yet."
    return message + "Its arguments are junction_layer, cluster_layer and atse_key."


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"Expected {name} to be one of {choices}, found {value!r}.")
