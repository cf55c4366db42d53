"""Fits and scores of the benchmark of queries."""

from __future__ import annotations

import logging
import time
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scvi
from benchmarks.quality._cases import CLUSTER, JUNCTION, Case, Entries, holdout
from scipy.optimize import minimize_scalar
from scipy.special import betaln
from sklearn.neighbors import KNeighborsClassifier

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

REFERENCE_SHARE = 0.7
_NEIGHBORS = 15


@dataclass(frozen=True)
class Setting:
    """What is simulated."""

    coverage: float
    n_programs: int
    n_cells: int
    n_atses: int
    seed: int = 0


def trained(adata: AnnData, n_programs: int) -> LeafletFAModel:
    """A model with default options."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    scvi.settings.seed = 0
    LeafletFAModel.setup_anndata(adata)
    model = LeafletFAModel(adata, n_programs)
    model.train(accelerator="cpu", enable_progress_bar=False)
    return model


def placed(
    adata: AnnData, reference: LeafletFAModel, prevalence: str = "reference"
) -> tuple[LeafletFAModel, float]:
    """A query of cells, and the seconds of its training."""
    query = LeafletFAModel.load_query_data(
        adata.copy(), reference, query_prevalence=prevalence, accelerator="cpu"
    )
    start = time.perf_counter()
    query.train(accelerator="cpu", enable_progress_bar=False)
    return query, time.perf_counter() - start


class Split:
    """Simulated cells, a tenth of their (cell, ATSE) pairs hidden; 70 % are the reference.

    Models are saved to ``cache``, if a folder is given, and loaded from there in a later run.
    """

    def __init__(self, setting: Setting, cache: Path | None = None) -> None:
        self.setting, self.cache = setting, cache
        adata = lfa.datasets.simulate_splicing(
            setting.n_cells,
            setting.n_atses,
            setting.n_programs,
            coverage=setting.coverage,
            seed=setting.seed,
        )
        self.case: Case = holdout(adata, setting.n_programs, "query", setting.seed)
        self.true_activities = adata.obsm["phi_true"]
        self.true_programs = adata.varm["psi_true"]
        order = np.random.default_rng(setting.seed).permutation(setting.n_cells)
        n_reference = int(REFERENCE_SHARE * setting.n_cells)
        self.own, self.new = np.sort(order[:n_reference]), np.sort(order[n_reference:])

    def cells(self, rows: np.ndarray) -> AnnData:
        """A copy of the training part of some cells."""
        return self.case.adata[rows].copy()

    @cached_property
    def reference(self) -> LeafletFAModel:
        """A model of the reference cells."""
        return self._model("reference", self.cells(self.own))

    @cached_property
    def joint(self) -> LeafletFAModel:
        """A model of all cells."""
        return self._model("joint", self.case.adata.copy())

    def _model(self, name: str, adata: AnnData) -> LeafletFAModel:
        if self.cache is None:
            return trained(adata, self.setting.n_programs)
        folder = self.cache / "-".join([name, *(str(value) for value in astuple(self.setting))])
        if folder.exists():
            return LeafletFAModel.load(folder, adata, accelerator="cpu")
        model = trained(adata, self.setting.n_programs)
        model.save(folder)
        return model

    def correlation(self, model: LeafletFAModel, phi: np.ndarray, rows: np.ndarray) -> float:
        """Mean correlation with the true activities over programs, matched by PSI."""
        psi = model.get_splicing_programs().to_numpy()
        match = lfa.tl.match_programs(self.true_programs, psi)
        pairs = zip(match["learned"], match["reference"], strict=True)
        true = self.true_activities[rows]
        return float(np.mean([np.corrcoef(phi[:, a], true[:, b])[0, 1] for a, b in pairs]))

    def gain(self, model: LeafletFAModel, phi: np.ndarray, rows: np.ndarray) -> float:
        """Log-likelihood per hidden entry above that of junction means of the reference cells."""
        hidden, position = self.case.hidden, np.full(self.setting.n_cells, -1)
        position[rows] = np.arange(len(rows))
        use = position[hidden.row] >= 0
        part = Entries(
            position[hidden.row[use]], hidden.column[use], hidden.count[use], hidden.total[use]
        )
        psi = model.get_splicing_programs().to_numpy(float)
        kappa = model.get_concentrations().to_numpy(float)[part.column]
        p = np.clip(part.product(phi.astype(float), psi), 1e-6, 1 - 1e-6)
        mean = self._junction_means()[part.column]
        best = minimize_scalar(
            lambda log_kappa: -_log_likelihood(part, mean, np.exp(log_kappa)),
            bounds=(-2.0, 8.0),
            method="bounded",
        )
        return _log_likelihood(part, p, kappa) + float(best.fun)

    def _junction_means(self) -> np.ndarray:
        layers = (self.case.adata.layers[name][self.own] for name in (JUNCTION, CLUSTER))
        count, total = (np.asarray(layer.sum(0)).ravel() for layer in layers)
        return np.clip((count + 0.5) / (total + 1.0), 0.005, 0.995)

    def types(self, rows: np.ndarray) -> np.ndarray:
        """The true main program of cells."""
        return self.true_activities[rows].argmax(1)

    def named(self, phi: np.ndarray) -> np.ndarray:
        """Types of cells by the types of their nearest neighbors in the reference."""
        classifier = KNeighborsClassifier(_NEIGHBORS)
        classifier.fit(self.reference.get_latent_representation(), self.types(self.own))
        return classifier.predict(phi)


def _log_likelihood(entries: Entries, p: np.ndarray, kappa: np.ndarray | float) -> float:
    """Mean beta-binomial log-likelihood of entries, without coefficients."""
    y, n = entries.count, entries.total
    a, b = kappa * p, kappa * (1 - p)
    return float((betaln(a + y, b + n - y) - betaln(a, b)).mean())
