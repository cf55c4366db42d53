"""Variants of the package's model, by the names of the quality benchmark."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scvi
from benchmarks.quality._baselines import NotRunError
from benchmarks.quality._cases import tiny
from benchmarks.quality._scores import Prediction

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from benchmarks.quality._cases import Case, Entries

_BOUND = 1e-6


@dataclass(frozen=True)
class Variant:
    """Arguments of ``LeafletFAModel`` and of its ``train``."""

    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    "default": Variant(),
    "em": Variant(train={"method": "em"}),
    "beta prior": Variant({"junction_prior": "junction"}),
    "global prior": Variant({"junction_prior": "global"}),
    "binomial": Variant({"likelihood": "binomial"}),
    "dirichlet-multinomial": Variant({"likelihood": "dirichlet-multinomial"}),
    "global dispersion": Variant({"dispersion": "global"}),
    "dirichlet-multinomial + global dispersion": Variant(
        {"likelihood": "dirichlet-multinomial", "dispersion": "global"}
    ),
    "published": Variant(
        {
            "junction_prior": "junction",
            "dispersion": "global",
            "concentration_prior": "leafletfa",
        }
    ),
    "random start": Variant(train={"init": "random"}),
    "minibatch": Variant(train={"batch_size": 256}),
    "3 restarts": Variant(train={"n_restarts": 3}),
}
"""``em <name>`` is the point estimate of each: see :func:`variant`."""

_compiled: set[str] = set()


def variant(name: str) -> Variant:
    """By name; ``"em binomial"`` is ``"binomial"`` with ``train(method="em")``."""
    if name in VARIANTS:
        return VARIANTS[name]
    base = VARIANTS[name.removeprefix("em ")]
    return Variant(base.model, base.train | {"method": "em"})


def known(name: str) -> bool:
    """Whether there is such a variant."""
    return name in VARIANTS or (name.startswith("em ") and name.removeprefix("em ") in VARIANTS)


def fit(
    case: Case, name: str | Variant, seed: int = 0, **options: Any
) -> tuple[lfa.LeafletFAModel, float]:
    """A trained model and the seconds of construction and training; ``options`` of ``train``.

    Kernels are compiled on a tiny data set before, once for each variant.
    """
    chosen = variant(name) if isinstance(name, str) else name
    if repr(chosen) not in _compiled:
        _compiled.add(repr(chosen))
        few: dict[str, Any] = {} if chosen.train.get("method") == "em" else {"max_epochs": 2}
        _train(tiny(), chosen, 0, **few)
    start = time.perf_counter()
    model = _train(case, chosen, seed, **options)
    return model, time.perf_counter() - start


def run(case: Case, name: str | Variant, seed: int = 0) -> Prediction:
    """Posterior means as a prediction, with intervals unless it is a point estimate."""
    chosen = variant(name) if isinstance(name, str) else name
    if chosen.model.get("likelihood") == "dirichlet-multinomial":
        if "atse_id" not in case.adata.var:
            raise NotRunError("junctions of an ATSE do not share its reads here")
    model, seconds = fit(case, chosen, seed)
    return predicted(model, seconds, intervals=chosen.train.get("method") != "em")


def predicted(model: lfa.LeafletFAModel, seconds: float, *, intervals: bool = True) -> Prediction:
    """What a trained model predicts, and its concentration and 90 % intervals."""
    phi = model.get_cell_activities().to_numpy(float)
    psi = model.get_splicing_programs().to_numpy(float)

    def predict(entries: Entries) -> np.ndarray:
        return np.clip(entries.product(phi, psi), _BOUND, 1.0 - _BOUND)

    ends = {}
    for parameter in ("psi", "phi") if intervals else ():
        found = model.get_credible_intervals(parameter, 0.9)
        ends[parameter] = (found.lower.to_numpy(float), found.upper.to_numpy(float))
    kappa = model.get_concentrations().to_numpy(float)
    return Prediction(predict, phi, psi, kappa, ends, seconds)


def _train(case: Case, chosen: Variant, seed: int, **options: Any) -> lfa.LeafletFAModel:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    scvi.settings.seed = seed
    adata = case.adata.copy()  # registration writes to it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lfa.LeafletFAModel.setup_anndata(adata)
        model = lfa.LeafletFAModel(adata, case.n_programs, **chosen.model)
        arguments: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}
        model.train(**(arguments | chosen.train | options))
    return model
