"""Fits of several numbers of programs on several splits of the data, and their scores."""

from __future__ import annotations

import random
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scvi.utils import track

from leafletfa_scvi._warnings import ConvergenceWarning, IdentifiabilityWarning
from leafletfa_scvi.model import LeafletFAModel
from leafletfa_scvi.ops import drawing
from leafletfa_scvi.tl._holdout import JunctionReference, junction_reference, score_holdout
from leafletfa_scvi.tl._stability import Fit
from leafletfa_scvi.tl._staged_fits import StagedFits, undecided

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from leafletfa_scvi.tl._holdout import SplicingHoldout

_DTYPES: dict[str, Any] = {
    "n_programs": int,
    "seed": int,
    "n_entries": int,
    "stopped": bool,
    "converged": bool,
    "identified": "boolean",
}
_REDRAWN = 0.2
"""Seconds between updates of the iteration that the progress bar shows."""


class ProgramFits:
    """Fits of each number of programs and seed.

    Parameters
    ----------
    numbers, seeds
        Numbers of programs, ascending, and seeds.
    split
        Makes the training and the hidden part of the data, given the seed.
    setup
        Arguments of ``setup_anndata``.
    options, training
        Arguments of the model and of ``train``.
    progress
        Whether to show a progress bar.

    Attributes
    ----------
    fits
        For each K the programs and activities of each seed.
    """

    def __init__(
        self,
        numbers: list[int],
        seeds: Iterable[int],
        split: Callable[[int], SplicingHoldout],
        setup: Mapping[str, Any],
        options: Mapping[str, Any],
        training: Mapping[str, Any],
        progress: bool,
    ) -> None:
        self.numbers, self.seeds, self._split = numbers, list(seeds), split
        self._setup, self._options, self._training = setup, options, training
        self._progress = progress
        self.fits: dict[int, dict[int, Fit]] = {k: {} for k in numbers}
        self._rows: dict[tuple[int, int], pd.Series] = {}
        self._references: dict[int, JunctionReference] = {}

    def scores(self) -> pd.DataFrame:
        """Return one row for each fit there is."""
        rows = [self._rows[key] for key in sorted(self._rows)]
        return pd.DataFrame(rows).astype(_DTYPES).reset_index(drop=True)

    def one_by_one(self) -> Iterator[None]:
        """Fit each K from a start of its own, to the end. Yields after each seed."""
        for s, split, ks in self._of_each_seed("Fitting", self.numbers):
            for k, _ in ks:
                started = time.perf_counter()
                with _seeded(s), self._model(split, k) as model:
                    converged, identified = self._train(model)
                    seconds = time.perf_counter() - started
                    self._keep(s, model, split, converged, identified, seconds)
            yield

    def in_stages(self) -> Iterator[None]:
        """Fit all K from shared starts, and go on with those that may be chosen.

        Yields after each seed, and then each time that some were continued.
        """
        staged = {s: StagedFits(self.numbers, self._training) for s in self.seeds}
        gains: dict[int, list[np.ndarray]] = {k: [] for k in self.numbers}
        going_on = self.numbers
        while going_on:
            is_first = going_on is self.numbers
            name = "Fitting" if is_first else f"Continuing K = {', '.join(map(str, going_on))}"
            for s, split, ks in self._of_each_seed(name, going_on):
                fits = staged[s]
                if is_first:
                    with _seeded(s), self._model(split, self.numbers[len(self.numbers) // 2]) as m:
                        fits.find_starts(m)
                for k, show_iteration in ks:
                    self._advance(fits, s, split, k, show_iteration)
                if is_first and s != self.seeds[-1]:
                    yield
            for k in going_on:
                row = [self._rows[k, s]["log_likelihood_gain"] for s in self.seeds]
                gains[k].append(np.array(row))
            finished = {k for k in self.numbers if all(f.has_finished(k) for f in staged.values())}
            going_on = undecided(gains, finished)
            yield

    def _advance(
        self,
        fits: StagedFits,
        seed: int,
        split: SplicingHoldout,
        n_programs: int,
        show_iteration: Callable[[int, float], None] | None,
    ) -> None:
        """Continue one fit to its next stage, unless it has ended."""
        if fits.has_finished(n_programs):
            return
        started = time.perf_counter()
        earlier = self._rows.get((n_programs, seed), {"seconds": 0.0})["seconds"]
        with _seeded(seed), self._model(split, n_programs) as model:
            converged, identified = False, None
            if fits.advance(model, show_iteration):
                converged, identified = self._train(model)
            else:
                fits.read(model)
            seconds = time.perf_counter() - started + earlier
            self._keep(seed, model, split, converged, identified, seconds)

    def _of_each_seed(
        self, name: str, numbers: list[int]
    ) -> Iterator[tuple[int, SplicingHoldout, Iterator[tuple[int, Callable[..., None] | None]]]]:
        """Yield each seed with its split, and the numbers of programs with a progress bar."""
        bar = track(
            iter([(s, k) for s in self.seeds for k in numbers]),
            description=name,
            style="tqdm",
            disable=not self._progress,
            total=len(self.seeds) * len(numbers),
        )
        steps = iter(bar)

        def one_seed(seed: int) -> Iterator[tuple[int, Callable[..., None] | None]]:
            for _ in numbers:
                _, k = next(steps)
                yield k, _shown_iterations(bar, k, seed) if self._progress else None

        for seed in self.seeds:
            yield seed, self._split(seed), one_seed(seed)
        next(steps, None)  # ends the bar

    @contextmanager
    def _model(self, split: SplicingHoldout, n_programs: int) -> Iterator[LeafletFAModel]:
        """Make a model of the training part."""
        with warnings.catch_warnings():
            # holdout_splicing has already warned about these data.
            warnings.simplefilter("ignore", UserWarning)
            LeafletFAModel.setup_anndata(split.training, **self._setup)
        model = LeafletFAModel(split.training, n_programs, **self._options)
        try:
            yield model
        finally:
            # scvi-tools keeps a reference to every registered AnnData until it is deregistered.
            model.deregister_manager(split.training)

    def _train(self, model: LeafletFAModel) -> tuple[bool, bool]:
        """Train; return if the fit converged and is identified instead of warning for each."""
        counted = ConvergenceWarning, IdentifiabilityWarning
        with warnings.catch_warnings(record=True) as caught:
            for category in counted:
                warnings.simplefilter("always", category)
            model.train(**self._training)
        for w in caught:
            if not issubclass(w.category, counted):
                warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
        # Not from `caught`, which warnings of other threads may enter or miss.
        return model._has_converged, model._is_identified

    def _keep(
        self,
        seed: int,
        model: LeafletFAModel,
        split: SplicingHoldout,
        converged: bool,
        identified: bool | None,
        seconds: float,
    ) -> None:
        """Keep the scores of a fit, its programs and activities."""
        k = model.n_programs
        if seed not in self._references:
            self._references[seed] = junction_reference(model._training_entries())
        score = score_holdout(model, split.hidden, None, self._references[seed]).loc["all"]
        assert isinstance(score, pd.Series)
        own = {"stopped": identified is None, "converged": converged, "identified": identified}
        parts = pd.Series({"n_programs": k, "seed": seed}), score, pd.Series(own, dtype=object)
        self._rows[k, seed] = pd.concat([*parts, pd.Series({"seconds": seconds})])
        self.fits[k][seed] = Fit(model.get_splicing_programs(), model._trained_activities())


def _shown_iterations(bar: Any, n_programs: int, seed: int) -> Callable[[int, float], None]:
    """Make a function that shows the iteration of EM beside the progress bar."""
    shown = -np.inf

    def show(iteration: int, _: float) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown > _REDRAWN:
            shown = now
            bar.set_postfix_str(f"K = {n_programs}, seed {seed}, iteration {iteration}")

    return show


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global random states and restore them; other threads cannot draw meanwhile."""
    with drawing(seed):
        numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - for callbacks of the user
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
