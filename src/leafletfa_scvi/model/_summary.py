"""ELBO, global parameters, and writing results to an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi._arguments import check_anndata, check_inside, check_whole
from leafletfa_scvi._constants import ACTIVITY_SLOT, PROGRAM_SLOT, RESULTS_SLOT
from leafletfa_scvi._version import package_version
from leafletfa_scvi.data import cell_loader
from leafletfa_scvi.inference import STRENGTHS
from leafletfa_scvi.model._posterior import PosteriorMixin
from leafletfa_scvi.module import ClosedFormELBO, pyro_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_FIXED_SITES = ("kappa", "delta")


class SummaryMixin(PosteriorMixin):
    """Summaries of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @torch.no_grad()
    def get_elbo(self, n_particles: int = 10, batch_size: int | None = None) -> float:
        """Evidence lower bound of the training data, in nats, over ``n_particles`` draws.

        It is that of the counts the model was built on, whatever its AnnData holds by now.

        Reads that the junctions of an ATSE share are counted at each of them, also where training
        weighed them less for activities; see the user guide.

        Parameters
        ----------
        n_particles
            Draws from the guide.
        batch_size
            Cells in a minibatch, each scaled to all cells and weighted by its size, so that the
            expectation is the same; None for the full batch.
        """
        self._require_trained()
        check_whole("n_particles", n_particles, 1)
        if batch_size is not None:
            batch_size = check_whole("batch_size", batch_size, 1)
        entries = self._training_entries()
        loss = ClosedFormELBO(num_particles=n_particles)
        module, total = self.module, 0.0
        with pyro_alone():
            for batch in cell_loader(self._likelihood_entries(entries), batch_size):
                cells = batch["cells"].to(module.device)
                part = batch["entries"].to(module.device)
                value = loss.loss(module.model, module.guide, cells, part)
                total -= value * len(cells) / entries.n_cells
        return float(total)

    @torch.no_grad()
    def posterior_summary(self, level: float = 0.9) -> pd.DataFrame:
        """Posterior of the parameters shared by all cells and junctions.

        Parameters
        ----------
        level
            Probability inside the equal-tailed interval.

        Returns
        -------
        One row per parameter (kappa, delta, alpha_pi, a_shape, ..., pi of each program; a and b of
        the global prior; ``strength[c]``, the share of ATSEs at each strength, of the mixture;
        kappa_median and kappa_spread, the standard deviation of log kappa, where each junction has
        its own kappa), columns ``mean``, ``sd``, ``lower``, ``upper``. Fixed parameters have
        ``sd`` 0; the binomial has no kappa.
        """
        from scipy.stats import beta

        self._require_trained()
        level = check_inside("level", level)
        guide, tail = self.module.guide, (1.0 - level) / 2.0
        quantiles = self.module.model.one.new_tensor([tail, 1.0 - tail])
        rows: dict[str, tuple[float, float, float, float]] = {}
        sites = {name: guide.scalar(name) for name in guide.scalars}
        if self.module.model.junction_prior == "global":
            sites |= {name: guide.site(name) for name in guide.prior_sites}
        for name, site in sites.items():
            low, high = site.icdf(quantiles).reshape(-1).tolist()
            rows[name] = float(site.mean), float(site.stddev), low, high
        for name in _FIXED_SITES:
            value = self.module.site_mean(name)
            if name not in rows and value is not None and not value.ndim:
                rows[name] = float(value), 0.0, float(value), float(value)
        shares = {
            f"pi[{name}]": g
            for name, g in zip(self.program_names, _parts(guide.pi()), strict=True)
        }
        if self.module.model.junction_prior == "mixture":
            weights = _parts(guide.strength_weights())
            shares |= {f"strength[{c:g}]": g for c, g in zip(STRENGTHS, weights, strict=True)}
        for key, (own, rest) in shares.items():
            size = own + rest
            if rest == 0.0:
                rows[key] = 1.0, 0.0, 1.0, 1.0
                continue
            sd = np.sqrt(own * rest / (size**2 * (size + 1.0)))
            ends = beta.ppf([tail, 1.0 - tail], own, rest)
            rows[key] = own / size, float(sd), float(ends[0]), float(ends[1])
        columns = ["mean", "sd", "lower", "upper"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    @torch.no_grad()
    def export_posterior(self, adata: AnnData | None = None, *, overwrite: bool = False) -> None:
        """Write the results into an AnnData; nothing else of this class does.

        ``obsm["X_PHI"]`` (C x K) activities, ``varm["psi_learned"]`` (P x K) programs,
        ``obs["SP_1"]`` .. activities by name, and ``uns["leafletfa"]`` with prevalence (``pi``),
        ``kappa`` (a number, or ``(P,)`` with ``dispersion="junction"``), ``delta``, options,
        ``elbo_history`` and ``version``. All is computed before anything is written.

        Parameters
        ----------
        adata
            Where to write: None for the model's own data, else any cells with its junctions, in
            any order. Activities are those of the counts that are there now.
        overwrite
            Replace what has one of these names and was not written by an earlier export.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            There are no data to write to, or they have something of these names that no export
            wrote.
        """
        self._require_trained()
        target = self.adata if adata is None else adata
        if target is None:
            raise ValueError("The model was loaded without data: pass adata.")
        check_anndata(target)
        if not overwrite:
            check_free_names(target, self.program_names)
        activities = self.get_cell_activities(target)
        place = self._junction_places(target)
        programs = self.get_splicing_programs()
        programs = programs if place is None else programs.iloc[place]
        results = self._results(place)
        stale = [c for c in target.obs.columns if _is_program_column(c, target)]
        target.obs = target.obs.drop(columns=stale).assign(
            **{name: activities[name].to_numpy() for name in self.program_names}
        )
        target.obsm[ACTIVITY_SLOT] = activities.to_numpy()
        target.varm[PROGRAM_SLOT] = programs.to_numpy()
        target.uns[RESULTS_SLOT] = results

    def _results(self, place: np.ndarray | None) -> dict[str, Any]:
        """What goes to ``uns``; ``place`` is that of each junction there in the model."""
        model = self.module.model
        history = (self.history_ or {}).get("elbo_train", pd.DataFrame())
        results: dict[str, Any] = {
            "version": package_version(),
            "programs": np.array(self.program_names),
            "pi": self.get_program_prevalence().to_numpy(),
            "elbo_history": -history.to_numpy(dtype=np.float64).ravel(),
            "params": {
                "n_programs": self.n_programs,
                "likelihood": model.likelihood,
                "dispersion": model.dispersion,
                "junction_prior": model.junction_prior,
                "concentration_prior": model.concentration_prior,
                **{key: str(value) for key, value in self._setup_args.items()},
            },
        }
        for name in _FIXED_SITES:
            value = self.module.site_mean(name)
            results[name] = np.inf if value is None else float(value.mean())
        if self.module.guide.has_kappas:
            kappa = self.get_concentrations().to_numpy()
            results["kappa"] = kappa if place is None else kappa[place]
        return results


def _parts(shares: torch.distributions.Dirichlet) -> list[tuple[float, float]]:
    """Concentration of each part and of all others."""
    g = shares.concentration.double().cpu().numpy()
    return [(float(own), float(np.delete(g, i).sum())) for i, own in enumerate(g)]


def check_free_names(
    adata: AnnData, programs: Sequence[str], otherwise: str = "or export with overwrite=True"
) -> None:
    """Refuse data where an export would replace what no earlier export wrote.

    Parameters
    ----------
    adata
        Data to write to.
    programs
        Names of the programs, which are those of columns of ``obs``.
    otherwise
        What else there is to do than to rename or remove them.

    Raises
    ------
    ValueError
        Something has one of the names.
    """
    ours = {name for name in adata.obs if _is_program_column(name, adata)}
    taken = [f"obs[{name!r}]" for name in programs if name in adata.obs and name not in ours]
    earlier = adata.uns.get(RESULTS_SLOT)
    if not (isinstance(earlier, dict) and "programs" in earlier):
        slots = (("obsm", ACTIVITY_SLOT), ("varm", PROGRAM_SLOT), ("uns", RESULTS_SLOT))
        taken += [f"{slot}[{key!r}]" for slot, key in slots if key in getattr(adata, slot)]
    if taken:
        raise ValueError(
            f"The results would replace {', '.join(taken[:4])}, which no export of "
            f"leafletfa-scvi wrote: rename or remove it, {otherwise}."
        )


def _is_program_column(column: object, adata: AnnData) -> bool:
    """Whether a column of ``obs`` was written by an earlier export."""
    earlier = adata.uns.get(RESULTS_SLOT, {})
    return isinstance(earlier, dict) and column in set(earlier.get("programs", ()))
