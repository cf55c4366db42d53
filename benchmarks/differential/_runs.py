"""One simulated data set: one fit, all methods, all cases that analyze it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.differential._alternatives import ALTERNATIVES, Tested, compare
from benchmarks.differential._cases import CASES, DELTA, FDR_TARGET, GROUP1, Cohort
from benchmarks.differential._fits import differential_splicing, fit
from benchmarks.differential._scores import Found, by_atse, ranked, score

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from leafletfa_scvi import LeafletFAModel

SAMPLES, SAMPLES_ATSES, NO_SAMPLES = "LeafletFA, samples", "LeafletFA, samples, ATSEs", "LeafletFA"
METHODS = (SAMPLES, SAMPLES_ATSES, NO_SAMPLES, *ALTERNATIVES)


def run(names: list[str], seed: int, cache: Path | None, methods: list[str]) -> list[dict]:
    """Rows with the scores of each method in each of the cases, which share a simulation."""
    cohort = Cohort.simulate(CASES[names[0]].simulation, seed)
    model, seconds = fit(cohort.adata, seed, cache)
    rows = []
    for name in names:
        samples = CASES[name].samples(cohort.adata)
        for method, found, spent in _all(cohort, model, samples, methods):
            difference, atse = cohort.difference, cohort.atse
            if method == SAMPLES_ATSES:
                largest = by_atse(difference, atse)
                difference, atse = largest.to_numpy(), largest.index.to_numpy()
            row = {"case": name, "method": method, "seed": seed, "fit": seconds, "s": spent}
            rows.append(row | score(found, difference, atse))
    return rows


def _all(
    cohort: Cohort, model: LeafletFAModel, samples: np.ndarray, methods: list[str]
) -> Iterator[tuple[str, Found, float]]:
    """Name, results and seconds of each method."""
    ours: dict[str, tuple] = {
        SAMPLES: (samples,),
        SAMPLES_ATSES: (samples, "atse"),
        NO_SAMPLES: (None,),
    }
    layers = cohort.adata.layers
    first = (cohort.adata.obs["group"] == GROUP1).to_numpy()
    data = layers["cell_by_junction_matrix"], layers["cell_by_cluster_matrix"], first, samples
    for method in methods:
        started = time.perf_counter()
        if method in ours:
            found = differential_splicing(model, *ours[method])
        else:
            found = _of_p_values(compare(method, *data))
        yield method, found, time.perf_counter() - started


def _of_p_values(tested: Tested) -> Found:
    """Ranked by p value, without junctions whose effect is too small to be called."""
    p = np.where(np.abs(tested.effect) > DELTA, tested.p, np.nan)
    return Found(tested.called(DELTA, FDR_TARGET), ranked(-p, tested.effect))
