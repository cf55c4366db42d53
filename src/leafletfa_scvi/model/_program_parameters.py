"""Parameters of a model of given programs: as passed, exported, estimated, or by default."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from leafletfa_scvi import inference
from leafletfa_scvi._arguments import check_positive
from leafletfa_scvi.data._checks import checked_entries
from leafletfa_scvi.model._program_source import ProgramSource, aligned
from leafletfa_scvi.ops import Groups

if TYPE_CHECKING:
    from leafletfa_scvi.likelihoods import Likelihood

log = logging.getLogger(__name__)

DEFAULT_CONCENTRATION = 10.0
"""Median of the weak prior of kappa."""
_DEFAULT_ACTIVITY_CONCENTRATION = 1.0
"""Mean of the prior of delta."""
_KNOWN = 1e6
"""Concentration of what is taken as known, the largest that the guide has."""
_MIN_REST = 1e-4
"""Least share of an ATSE's reads, under some program, for an implicit junction."""
_PREVALENCE_CELLS = 100
_SAMPLED_ENTRIES, _SAMPLED_PER_JUNCTION = 1 << 21, 100
_MIN_SAMPLED_CELLS = 256
_TOLERANCE = 1e-3


@dataclass
class ProgramRows:
    """Posterior of the rows of the programs, implicit junctions last.

    Attributes
    ----------
    atse
        ``(P',)`` int64, 0-based ATSE of each row.
    inclusion, exclusion
        ``(P', K)`` float32 concentrations for and against.
    """

    atse: np.ndarray
    inclusion: torch.Tensor
    exclusion: torch.Tensor


def prevalence_of(
    given: Any, phi: np.ndarray | None, source: ProgramSource, defaults: list[str]
) -> tuple[np.ndarray, float]:
    """Return the prevalence, and the sum of the concentrations of its posterior."""
    names, exported = source.program_names, source.results.get("pi")
    if given is not None:
        as_given = [names[k] for k in np.argsort(source.order)]
        pi = _numbers("prevalence", given, as_given, "programs")[source.order]
        wrong = ~(pi >= 0.0)
        if wrong.any():
            raise ValueError(
                f"Expected prevalence to be numbers from 0, found {pi[wrong][0]:g} for program "
                f"{names[int(wrong.argmax())]!r}."
            )
        if abs(pi.sum() - 1.0) > _TOLERANCE:
            raise ValueError(
                f"Expected prevalence to sum to 1, found {pi.sum():g}. Divide it by its sum."
            )
        return pi / pi.sum(), _KNOWN
    if exported is not None:
        pi = np.asarray(exported, dtype=np.float64)
        return pi / pi.sum(), float(_PREVALENCE_CELLS)
    if phi is not None and len(phi):
        pi = phi.mean(0, dtype=np.float64)
        return pi / pi.sum(), float(min(len(phi), _PREVALENCE_CELLS))
    defaults.append(f"prevalence={1.0 / len(names):g} for all programs")
    return np.full(len(names), 1.0 / len(names)), float(len(names))


def activity_concentration_of(
    given: Any, phi: np.ndarray | None, source: ProgramSource, defaults: list[str]
) -> float:
    """Return delta: given, exported, estimated from activities, or its default."""
    if given is not None:
        return check_positive("activity_concentration", given, finite=True)
    if source.results.get("delta") is not None:
        return float(source.results["delta"])
    estimate = None if phi is None else inference.moment_activity_concentration(phi)
    if estimate is None:
        defaults.append(f"activity_concentration={_DEFAULT_ACTIVITY_CONCENTRATION:g}")
        return _DEFAULT_ACTIVITY_CONCENTRATION
    log.info("Activity concentration of the cells of the reference: %.3g", estimate)
    return estimate


def program_concentration_of(given: Any, source: ProgramSource) -> np.ndarray | None:
    """Return the pseudo-counts of the programs, ``(P, K)``; None if they are known exactly."""
    shape = source.psi.shape
    if given is None:
        exported = source.results.get("psi_concentration")
        return None if exported is None else np.asarray(exported, dtype=np.float64)
    if isinstance(given, pd.DataFrame):
        given = given.set_axis(given.index.astype(str)).set_axis(given.columns.astype(str), axis=1)
        if set(given.index) != set(source.psi.index) or set(given.columns) != set(source.psi):
            raise ValueError(
                "Expected program_concentration to have the junctions and programs of programs, "
                f"found a table of shape {given.shape} with other names."
            )
        given = given.loc[source.psi.index, list(source.psi)]
    elif isinstance(given, pd.Series) or np.shape(given) == shape[:1]:
        names = list(source.psi.index)
        given = aligned("program_concentration", given, names, "junctions")[:, None]
    elif np.shape(given) == ():
        given = check_positive("program_concentration", given, finite=True)
    elif np.shape(given) == shape:
        given = np.asarray(given)[:, source.order]
    values = np.asarray(given, dtype=np.float64)
    try:
        values = np.broadcast_to(values, shape)
    except ValueError:
        raise ValueError(
            f"Expected program_concentration to be a number or of shape {shape} or {shape[:1]}, "
            f"found {values.shape}."
        ) from None
    wrong = ~((values > 0.0) & np.isfinite(values))
    if wrong.any():
        j, k = np.argwhere(wrong)[0]
        raise ValueError(
            "Expected program_concentration to be finite numbers above 0, found "
            f"{values[j, k]:g} for junction {source.psi.index[j]!r}, program "
            f"{source.program_names[k]!r}."
        )
    return values


def program_rows(
    source: ProgramSource, size: np.ndarray | None, *, shares_reads: bool
) -> ProgramRows:
    """Make the posterior of the programs, with implicit junctions if junctions share reads."""
    psi, codes = source.psi.to_numpy(), source.codes
    total = np.full(psi.shape, _KNOWN) if size is None else size
    atse = np.arange(len(psi)) if codes is None else codes
    rest = 1.0 - psi
    if shares_reads:
        if codes is None:
            raise ValueError(
                "Expected ATSE labels for the Dirichlet-multinomial, found none: pass atse_id."
            )
        n_atses = int(codes.max()) + 1
        share, of_atse = np.zeros((2, n_atses, psi.shape[1]))
        np.add.at(share, codes, psi)
        np.maximum.at(of_atse, codes, total)
        differ = np.abs(total - of_atse[codes]) > _TOLERANCE * of_atse[codes]
        if differ.any():
            j, k = np.argwhere(differ)[0]
            raise ValueError(
                "Expected program_concentration to be the same for all junctions of an ATSE, "
                f"found {total[j, k]:g} and {of_atse[codes[j], k]:g} for junction "
                f"{source.psi.index[j]!r} and others. Pass their sum within the ATSE."
            )
        implicit = np.flatnonzero((1.0 - share).max(1) > _MIN_REST)
        others = np.clip(1.0 - share[implicit], 1e-6, None)
        psi, rest = np.concatenate([psi, others]), np.concatenate([rest, 1.0 - others])
        total, atse = np.concatenate([total, of_atse[implicit]]), np.r_[atse, implicit]
    inclusion, exclusion = (torch.from_numpy(total * x).float() for x in (psi, rest))
    return ProgramRows(atse.astype(np.int64), inclusion.clamp(1e-2), exclusion.clamp(1e-2))


def concentration_of(
    given: Any, source: ProgramSource, kind: Likelihood
) -> tuple[float | np.ndarray | None, float | None]:
    """Return kappa, given or exported: a number, one for each junction (ATSE), or None."""
    value = source.results.get("kappa") if given is None and kind.has_concentration else given
    if value is None:
        return None, None
    if np.shape(value) == ():
        return check_positive("concentration", value), None
    names = list(source.psi.index)
    kappa = _numbers("concentration", value, names, "junctions")
    wrong = ~((kappa > 0.0) & np.isfinite(kappa))
    if wrong.any():
        raise ValueError(
            f"Expected concentration to be finite numbers above 0, found {kappa[wrong][0]:g} for "
            f"junction {names[int(wrong.argmax())]!r}. A single infinity is the binomial."
        )
    if kind.shares_reads:
        codes = source.codes
        assert codes is not None
        of_atse = kappa[np.unique(codes, return_index=True)[1]]
        differ = np.abs(kappa - of_atse[codes]) > _TOLERANCE * kappa
        if differ.any():
            raise ValueError(
                "Expected concentration to be the same for all junctions of an ATSE, whose reads "
                f"they share, found another one for {names[int(differ.argmax())]!r}."
            )
        kappa = of_atse
    return kappa, None


def estimated_concentration(
    source: ProgramSource,
    phi: np.ndarray | None,
    rows: ProgramRows,
    alpha: np.ndarray,
    kind: Likelihood,
) -> tuple[np.ndarray | None, float | None]:
    """Fit kappa of each junction (ATSE) to the layers, and the spread of its logarithm.

    Both are None without activities, or if the AnnData lacks a layer.
    """
    adata, layers = source.adata, source.layers
    if phi is None or adata is None or not len(phi) or not set(layers) <= set(adata.layers):
        return None, None
    cells = _sampled_cells(adata, adata.layers[layers[1]])
    part = AnnData(
        obs=pd.DataFrame(index=adata.obs_names[cells].astype(str)),
        var=pd.DataFrame(index=source.psi.index),
        layers={name: adata.layers[name][cells] for name in layers},
    )
    observed = checked_entries(part, *layers, source.codes, incomplete=False)
    atse = torch.from_numpy(rows.atse)
    posterior = kind.program_posterior(
        (rows.inclusion, rows.exclusion)[: len(kind.program_parameters)],
        Groups(atse),
        rows.inclusion.shape[1],
    )
    activities = torch.from_numpy(phi[cells]).clamp(min=1e-6)
    fit = inference.fit_dispersion_of_programs(
        kind.entries(observed, atse),
        activities / activities.sum(1, keepdim=True),
        posterior.mean,
        posterior.sample,
        torch.from_numpy(alpha).float().clamp(min=1e-3),
    )
    log.info(
        "Concentration, fitted to %d cells of the reference: median %.3g", len(cells), fit.median
    )
    return fit.kappa.double().numpy(), fit.spread


def _sampled_cells(adata: AnnData, totals: Any) -> np.ndarray:
    """Sample cells with some millions of observed entries, in their order."""
    n_entries = int(totals.nnz) if hasattr(totals, "nnz") else adata.n_obs * adata.n_vars
    most = _SAMPLED_ENTRIES + _SAMPLED_PER_JUNCTION * adata.n_vars
    n_cells = max(int(adata.n_obs * min(most / max(n_entries, 1), 1.0)), _MIN_SAMPLED_CELLS)
    if n_cells >= adata.n_obs:
        return np.arange(adata.n_obs)
    sampled: np.ndarray = np.random.default_rng(0).choice(adata.n_obs, n_cells, replace=False)
    return np.sort(sampled)


def _numbers(name: str, given: Any, labels: list[str], each: str) -> np.ndarray:
    """Return one number for each label; see :func:`aligned`."""
    values = aligned(name, given, labels, each)
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected {name} to be a number for each of the {each}, found {values[0]!r} first: "
            f"{error}."
        ) from error
