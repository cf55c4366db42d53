"""Junctions in which programs differ, from a model or an AnnData, each finding once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import ATSE_KEY, PROGRAM_SLOT, program_names
from leafletfa_scvi.data import atse_codes
from leafletfa_scvi.model import LeafletFAModel
from leafletfa_scvi.model._intervals import beta_variance, program_posterior, program_variance
from leafletfa_scvi.model._program_source import exported_results

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

_SAME = 0.95
"""Correlation over programs, or its negative, above which junctions of an ATSE say the same."""
_Z = 1.96


class ComparedPrograms(NamedTuple):
    """Programs of P junctions, and what is known of them.

    Attributes
    ----------
    psi
        ``(P, K)`` PSI by names of junctions and programs.
    prevalence
        ``(K,)`` shares of the programs, which sum to 1; equal if they are unknown.
    variance
        ``(P, K)`` posterior variance of PSI; None if it is unknown.
    atse
        ``(P,)`` 0-based ATSE of each junction; each is its own if labels are unknown.
    var
        Annotation of the junctions, in their order; None without one.
    """

    psi: pd.DataFrame
    prevalence: np.ndarray
    variance: np.ndarray | None
    atse: np.ndarray
    var: pd.DataFrame | None

    def deviations(self) -> pd.DataFrame:
        """PSI minus its mean over programs, weighted by their prevalence, ``(P, K)``."""
        return self.psi.sub(self.psi.to_numpy(float) @ self.prevalence, axis=0)

    def effects(self) -> tuple[np.ndarray, np.ndarray]:
        """PSI minus its mean over the other programs, and what that certainly exceeds.

        Returns
        -------
        effect
            ``(P, K)`` the ``effect_size`` of ``program_markers``.
        certain
            ``(P, K)`` its size less 1.96 posterior standard deviations, programs taken as
            independent; at least 0. The size itself if the variance is unknown.
        """
        share = self.prevalence
        rest = np.maximum(1.0 - share, 1e-12)
        effect: np.ndarray = self.deviations().to_numpy() / rest
        size = np.abs(effect)
        if self.variance is None:
            return effect, size
        of_mean = self.variance @ share**2
        others = (of_mean[:, None] - share**2 * self.variance).clip(min=0.0) / rest**2
        return effect, (size - _Z * np.sqrt(self.variance + others)).clip(min=0.0)


def compared_programs(source: Any, key: str = PROGRAM_SLOT) -> ComparedPrograms:
    """Collect the programs of a trained model, or of an AnnData with them in ``varm[key]``.

    Posterior variances and prevalence of an AnnData are those that ``model.export_posterior``
    wrote to ``uns``.

    Raises
    ------
    KeyError
        ``adata.varm[key]`` is missing.
    RuntimeError
        The model is not trained.
    TypeError
        ``source`` is of another class.
    """
    if isinstance(source, LeafletFAModel):
        return _of_model(source)
    return _of_anndata(check_anndata(source), key)


def _of_model(model: LeafletFAModel) -> ComparedPrograms:
    model._require_trained()
    psi = model.get_splicing_programs()
    variance = None
    if model.has_program_posterior_:
        variance = beta_variance(*(x[: len(psi)] for x in program_posterior(model)))
    codes = np.arange(len(psi)) if model.atse_codes_ is None else model.atse_codes_
    var = model._annotation()
    var = None if var is None else var.reindex(psi.index)
    return ComparedPrograms(psi, model.get_program_prevalence().to_numpy(), variance, codes, var)


def _of_anndata(adata: AnnData, key: str) -> ComparedPrograms:
    if key not in adata.varm:
        raise KeyError(
            f"Expected adata.varm to contain {key!r}, found "
            f"{', '.join(map(repr, adata.varm)) or 'no keys'}. Call model.export_posterior(adata) "
            "first, or pass another key."
        )
    values = adata.varm[key]
    named = isinstance(values, pd.DataFrame)
    array = np.asarray(values, dtype=float)
    columns = list(map(str, values.columns)) if named else program_names(array.shape[1])
    psi = pd.DataFrame(array, adata.var_names.astype(str), columns)
    n_programs = psi.shape[1]
    results = exported_results(adata, psi.index, n_programs) if key == PROGRAM_SLOT else {}
    variance = None
    if "psi_concentration" in results and "psi_variance" in results:
        parts = (np.asarray(results[f"psi_{x}"], float) for x in ("concentration", "variance"))
        variance = program_variance(array, *parts)
    prevalence = np.asarray(results.get("pi", np.full(n_programs, 1.0 / n_programs)), float)
    atse_key = str(results.get("params", {}).get("atse_key", ATSE_KEY))
    atse_key = atse_key if atse_key in adata.var else ATSE_KEY
    known = atse_key in adata.var
    codes = atse_codes(adata, atse_key)[0] if known else np.arange(len(psi))
    return ComparedPrograms(psi, prevalence / prevalence.sum(), variance, codes, adata.var)


def distinctive_junctions(
    programs: ComparedPrograms, n_junctions: int, delta: float = 0.1
) -> list[np.ndarray]:
    """Choose junctions whose PSI under a program certainly differs from that under the others.

    Each junction is a candidate for the program in which its effect is largest and most certain
    (see :meth:`ComparedPrograms.effects`).

    Parameters
    ----------
    programs
        Programs to compare.
    n_junctions
        Maximum number of junctions of a program.
    delta
        Effect that must be exceeded, besides being certain.

    Returns
    -------
    Rows of the junctions of each program, most certain first; see :func:`each_finding_once`.
    """
    effect, certain = programs.effects()
    best = certain.argmax(axis=1)
    rows = np.arange(len(best))
    size, signed = certain[rows, best], effect[rows, best]
    order = _largest_first(size, signed)
    candidates = ((j, int(best[j])) for j in order if size[j] > 0.0 and abs(signed[j]) > delta)
    return each_finding_once(programs, candidates, n_junctions)


def listed_markers(
    programs: ComparedPrograms, rows: np.ndarray, of: np.ndarray, table: pd.DataFrame, n: int
) -> list[np.ndarray]:
    """Choose from markers by ``program_markers``, most probable and largest effects first.

    Parameters
    ----------
    programs
        Programs that they are markers of.
    rows, of
        ``(M,)`` positions of the junction and of the program of each marker.
    table
        Their table, with ``effect_size`` and maybe ``proba_ds``.
    n
        Maximum number of junctions of a program.
    """
    effect = table["effect_size"].to_numpy(float)
    probability = table["proba_ds"].to_numpy(float) if "proba_ds" in table else np.ones(len(table))
    order = _largest_first(np.abs(effect), effect, probability)
    return each_finding_once(programs, ((int(rows[i]), int(of[i])) for i in order), n)


def each_finding_once(
    programs: ComparedPrograms, candidates: Iterable[tuple[int, int]], n: int
) -> list[np.ndarray]:
    """Choose candidates in their order, but none that says the same as one chosen before.

    Two junctions of an ATSE say the same if their PSI over programs are correlated by 0.95 or
    more, or by -0.95 or less, such as inclusion and exclusion of one cassette exon, or both
    junctions of its inclusion.

    Parameters
    ----------
    programs
        Programs of the junctions.
    candidates
        Positions of a junction and of the program that it may be chosen for.
    n
        Maximum number of junctions of a program.

    Returns
    -------
    Rows of the chosen junctions of each of the K programs, in the order of the candidates.
    """
    psi = programs.psi.to_numpy(float)
    chosen: list[list[int]] = [[] for _ in range(psi.shape[1])]
    by_atse: dict[int, list[int]] = {}
    for j, k in candidates:
        if len(chosen[k]) >= n:
            continue
        others = by_atse.setdefault(int(programs.atse[j]), [])
        if j in others or any(_say_the_same(psi[i], psi[j]) for i in others):
            continue
        others.append(j)
        chosen[k].append(j)
    return [np.array(rows, dtype=int) for rows in chosen]


def _say_the_same(one: np.ndarray, other: np.ndarray) -> bool:
    a, b = one - one.mean(), other - other.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return scale > 0.0 and abs(float(a @ b)) >= _SAME * scale


def _largest_first(
    size: np.ndarray, signed: np.ndarray, probability: np.ndarray | None = None
) -> np.ndarray:
    """Order by probability and size; of nearly equal sizes, positive effects come first.

    The two halves of a cassette exon differ by rounding: its figure then shows the one that the
    program uses more.
    """
    first = np.zeros(len(size)) if probability is None else -probability
    order: np.ndarray = np.lexsort((-size, signed < 0, -size.round(2), first))
    return order
