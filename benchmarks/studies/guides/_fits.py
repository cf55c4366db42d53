"""One EM fit, the guides trained from it, and what each says of phi and psi."""

from __future__ import annotations

import copy
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scvi
import torch
from benchmarks.quality._scores import Prediction, score
from benchmarks.studies.guides._kinds import (
    EncoderGuide,
    NormalGuide,
    set_concentrations,
    start_from_tables,
    unstarted,
)
from benchmarks.studies.guides._normal import LogitNormal, SoftmaxNormal, StickBreaking
from benchmarks.studies.guides._vb import coordinate_ascent
from scipy.stats import beta

import leafletfa_scvi as lfa
from leafletfa_scvi import inference
from leafletfa_scvi.data import cell_loader
from leafletfa_scvi.model._initialize import start_em
from leafletfa_scvi.model._intervals import _near_zero, _widened
from leafletfa_scvi.model._variances import set_variances
from leafletfa_scvi.module import ClosedFormELBO, SplicingGuide

if TYPE_CHECKING:
    from benchmarks.quality._cases import Case, Entries

    from leafletfa_scvi.inference import EMResult
    from leafletfa_scvi.ops import MultinomialEntries, ObservedEntries

LR, LR_DECAY, ENCODER_LR = 0.05, 0.05, 0.005
_TAILS = (0.05, 0.95)
_Z = 1.6448536269514722
_VB_ITERATIONS = 60
_REST_STEPS = 100
_BOUND = 1e-6
LEAST_DRAWS = 2
"""From which the ELBO's error is told."""


@dataclass
class Start:
    """A model whose guide stands at an EM fit of its own data."""

    model: lfa.LeafletFAModel
    entries: ObservedEntries | MultinomialEntries
    fit: EMResult
    seconds: float
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, case: Case, seed: int, **options: Any) -> Start:
        """EM as ``train`` runs it by default; ``options`` are the model's."""
        scvi.settings.seed = seed
        adata = case.adata.copy()
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lfa.LeafletFAModel.setup_anndata(adata)
            model = lfa.LeafletFAModel(adata, case.n_programs, **options)
        observed = model._training_entries()
        fit = start_em(model, observed, "waypoints", torch.device("cpu")).result(300)[0]
        entries = model._likelihood_entries(observed)
        model.module.initialize(fit, entries)
        seconds = time.perf_counter() - began
        return cls(model, entries, fit, seconds, copy.deepcopy(model.module.state_dict()))

    def fresh(self) -> None:
        """The package's guide, where the EM left it."""
        module = self.model.module
        module._guide = SplicingGuide(module.model)
        module.load_state_dict(self.state)


@dataclass(frozen=True)
class Fitted:
    """Scores of a guide, and seconds of its start and training, on processors and in all."""

    scores: dict[str, Any]
    seconds: float
    elapsed: float


def train(
    start: Start,
    guide: SplicingGuide,
    batch_size: int | None,
    n_steps: int,
    *,
    lr: float = LR,
    held: bool = False,
) -> None:
    """Train by the package's ELBO, optimizer and decay; ``held`` leaves phi and psi."""
    module = start.model.module
    loader = cell_loader(start.entries, batch_size, shuffle=True)
    n_steps = -(-n_steps // len(loader)) * len(loader)
    groups: dict[str, list] = {"encoder": [], "other": []}
    for name, parameter in guide.named_parameters():
        if not (held and name.startswith(("phi", "psi", "encoder"))):
            groups["encoder" if name.startswith("encoder") else "other"].append(parameter)
    rates = {"encoder": ENCODER_LR, "other": lr}
    optimizer = torch.optim.Adam(
        [{"params": p, "lr": rates[name]} for name, p in groups.items() if p], fused=True
    )
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, LR_DECAY ** (1.0 / n_steps))
    elbo = ClosedFormELBO()
    for _ in range(n_steps // len(loader)):
        for batch in loader:
            optimizer.zero_grad()
            loss = elbo.differentiable_loss(module.model, guide, batch["cells"], batch["entries"])
            loss.backward()
            optimizer.step()
            decay.step()


@torch.no_grad()
def negative_elbo(start: Start, n_draws: int) -> tuple[float, float]:
    """Mean over draws and its standard error, in nats, on all cells."""
    module, elbo = start.model.module, ClosedFormELBO()
    cells = torch.arange(start.entries.n_cells)
    values = [elbo.loss(module.model, module.guide, cells, start.entries) for _ in range(n_draws)]
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(n_draws))


def run(
    start: Start,
    case: Case,
    kind: str,
    batch_size: int | None,
    n_steps: int,
    n_draws: int,
    lr: float = LR,
) -> Fitted:
    """Start a guide of ``kind`` at the EM fit, train it, and score it."""
    torch.manual_seed(case.data_seed)
    start.fresh()
    module = start.model.module
    began, clock = time.process_time(), time.perf_counter()
    KINDS[kind](start)
    if kind not in UNTRAINED:
        train(start, module.guide, batch_size, n_steps, lr=lr)
    seconds, elapsed = time.process_time() - began, time.perf_counter() - clock
    if kind in UNTRAINED and kind != START:  # its other sites have not moved
        train(start, module.guide, None, _REST_STEPS, held=True)
    loss, error = negative_elbo(start, max(n_draws, LEAST_DRAWS))
    return Fitted(evaluate(start, case) | {"ELBO": -loss, "ELBO error": error}, seconds, elapsed)


START = "EM and its curvature"
PACKAGE = "Beta, Dirichlet"
UNTRAINED = {START, "closed-form VB"}


def _nothing(start: Start) -> None:
    pass


def _tables(start: Start) -> None:
    module = start.model.module
    set_concentrations(module.guide, *start_from_tables(module, start.fit, start.entries))


def _normal(phi_kind: Any, psi: bool) -> Any:
    def begin(start: Start) -> None:
        module = start.model.module
        guide = NormalGuide(module, phi_kind, psi)
        guide.load_state_dict(module.guide.state_dict(), strict=False)
        guide.start(start.fit, start.entries)
        module._guide = guide

    return begin


def _encoder(start: Start) -> None:
    module = start.model.module
    guide = EncoderGuide(module, start.entries)
    guide.load_state_dict(module.guide.state_dict(), strict=False)
    guide.start()
    module._guide = guide


def _vb(start: Start) -> None:
    module = start.model.module
    tables = start_from_tables(module, start.fit, start.entries)
    first = tuple(t.double().numpy() for t in tables)
    found = coordinate_ascent(module, start.fit, start.entries, first, _VB_ITERATIONS)
    set_concentrations(module.guide, *(torch.from_numpy(x) for x in found[:3]))
    total = float(found.alpha.sum())
    module.guide.set_scalar("delta", total)
    size = module.guide.pi_log.detach().exp().sum()
    with torch.no_grad():
        module.guide.pi_log.copy_((size * torch.from_numpy(found.alpha / total)).float().log())


KINDS = {
    START: _nothing,
    PACKAGE: _nothing,
    "Beta, Dirichlet, from tables": _tables,
    "Beta, Dirichlet, rest unstarted": lambda start: unstarted(start.model.module),
    "logit-normal, softmax-normal": _normal(SoftmaxNormal, True),
    "Beta, softmax-normal": _normal(SoftmaxNormal, False),
    "Beta, stick-breaking": _normal(StickBreaking, False),
    "logit-normal, stick-breaking": _normal(StickBreaking, True),
    "Beta, encoder": _encoder,
    "closed-form VB": _vb,
}


@torch.no_grad()
def evaluate(start: Start, case: Case) -> dict[str, Any]:
    """Scores of the guide's means, and coverage of its own and of widened intervals."""
    module = start.model.module
    guide = module.guide
    phi_q, psi_q, size = guide.phi(), guide.psi(), module.model.n_junctions
    phi = phi_q.mean.double().numpy()
    psi = psi_q.mean[:size].double().numpy()
    set_variances(start.model, start.model._training_entries())
    if isinstance(psi_q, LogitNormal):
        ends = tuple(x.double().numpy() for x in psi_q.ends(_Z))
        programs = ends, *inference.beta_of_moments(psi_q.mean, psi_q.variance)
    else:
        programs = _of_beta(*(x[:size] for x in guide.psi_marginal()))
    found = {
        "psi": (programs, guide.psi_variance[:size]),
        "phi": (_activities(phi_q), guide.phi_variance),
    }
    own, wide = {}, {}
    for name, ((ends, *marginal), laplace) in found.items():
        own[name] = ends
        a, b = (x.numpy() for x in _widened(*marginal, laplace))
        low, high = (beta.ppf(p, a, b) for p in _TAILS)
        if name == "phi":
            low[_near_zero(a, b)] = 0.0
        wide[name] = (low, high)
    kappa = module.junction_concentration().double().numpy()

    def predict(some: Entries) -> np.ndarray:
        return np.clip(some.product(phi, psi), _BOUND, 1.0 - _BOUND)

    scores = score(case, Prediction(predict, phi, psi, kappa, own))
    covered = ("cover psi", "cover phi mid", "cover phi")
    widened = score(case, Prediction(predict, phi, psi, kappa, wide))
    for name in covered:
        scores[f"{name}, wide"] = widened[name]
    scores["last program"] = float(phi[:, -1].mean() / start.fit.phi[:, -1].mean())
    return scores


def _activities(q: Any) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Ends of the guide's own intervals, and Beta distributions with its mean and variance."""
    if not isinstance(q, (SoftmaxNormal, StickBreaking)):
        a = q.concentration
        return _of_beta(a, a.sum(1, keepdim=True) - a)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = q.draws().double()
    ends = tuple(np.quantile(draws.numpy(), _TAILS, axis=0))
    return ends, *inference.beta_of_moments(draws.mean(0), draws.var(0))


def _of_beta(a: torch.Tensor, b: torch.Tensor) -> tuple[Any, torch.Tensor, torch.Tensor]:
    a, b = a.double(), b.double()
    ends = tuple(beta.ppf(p, a.numpy(), b.numpy()) for p in _TAILS)
    return ends, a, b
