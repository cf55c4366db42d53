"""Options of the model, checked together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leafletfa_scvi._arguments import check_one_of, check_positive, check_whole
from leafletfa_scvi._choices import ConcentrationPrior, Dispersion, JunctionPrior, Likelihood
from leafletfa_scvi.likelihoods import LIKELIHOODS

_LEARNED_DISPERSION: Dispersion = "junction"
"""Dispersion of a learned kappa if none is given."""


@dataclass(frozen=True)
class ModelOptions:
    """Checked options of :class:`~leafletfa_scvi.LeafletFAModel`, none of them left open."""

    n_programs: int
    likelihood: Likelihood
    dispersion: Dispersion
    junction_prior: JunctionPrior
    concentration: float | None
    activity_concentration: float | None
    concentration_prior: ConcentrationPrior

    @classmethod
    def checked(
        cls,
        *,
        n_programs: int,
        likelihood: Likelihood,
        dispersion: Dispersion | None,
        junction_prior: JunctionPrior,
        concentration: float | None,
        activity_concentration: float | None,
        concentration_prior: ConcentrationPrior,
        max_programs: int | None = None,
        default_dispersion: Dispersion | None = None,
    ) -> ModelOptions:
        """Check the options of a model and resolve those left out.

        Parameters
        ----------
        n_programs, likelihood, dispersion, junction_prior, concentration
            As of the model.
        activity_concentration, concentration_prior
            As of the model.
        max_programs
            Maximum number of programs, the number of cells; None for no limit.
        default_dispersion
            Dispersion of a learned kappa if ``dispersion`` is None. If None, that of new models.

        Raises
        ------
        ValueError
            An option is out of range, or two options exclude each other.
        """
        check_one_of("likelihood", likelihood, Likelihood)
        if dispersion is not None:
            check_one_of("dispersion", dispersion, Dispersion)
        check_one_of("junction_prior", junction_prior, JunctionPrior)
        check_one_of("concentration_prior", concentration_prior, ConcentrationPrior)
        if concentration is not None:
            concentration = check_positive("concentration", concentration)
        if activity_concentration is not None:
            check_positive("activity_concentration", activity_concentration, finite=True)
        n_programs = check_whole("n_programs", n_programs, 1)
        if max_programs is not None and n_programs > max_programs:
            raise ValueError(
                f"Expected n_programs between 1 and the number of cells ({max_programs}), "
                f"found {n_programs}."
            )
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
                "Expected no concentration with dispersion='junction', found "
                f"{concentration:g}: a fixed concentration is common to all junctions. Leave it "
                "out, or use dispersion='global'."
            )
        if dispersion is None:
            is_learned = has_concentration and concentration is None
            default = default_dispersion or _LEARNED_DISPERSION
            dispersion = default if is_learned else "global"
        return cls(
            n_programs=n_programs,
            likelihood=likelihood,
            dispersion=dispersion,
            junction_prior=junction_prior,
            concentration=concentration,
            activity_concentration=activity_concentration,
            concentration_prior=concentration_prior,
        )
