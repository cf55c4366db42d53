"""Section with a paragraph on methods for a paper, versions, and what to cite."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from leafletfa_scvi._report._blocks import Block, Facts, Heading, Listing, Section, Text
from leafletfa_scvi._report._fit_section import training
from leafletfa_scvi._version import package_version

if TYPE_CHECKING:
    from leafletfa_scvi._report._inputs import Inputs

_PACKAGES: Final = {
    "scvi-tools": "scvi-tools",
    "PyTorch": "torch",
    "Pyro": "pyro-ppl",
    "anndata": "anndata",
}
_LIKELIHOODS: Final = {
    "betabinomial": "beta-binomial",
    "binomial": "binomial",
    "dirichlet-multinomial": "Dirichlet-multinomial",
}
_PRIORS: Final = {
    "mixture": "a mixture prior of how far ATSEs differ between programs",
    "junction": "a Beta prior of programs for each junction",
    "global": "one Beta prior of programs for all junctions",
}
_MODEL: Final = (
    "Aging-associated alternative splicing programs conserved between human and mouse tissues. "
    "bioRxiv.",
    "https://doi.org/10.64898/2025.12.30.697080",
)
_FRAMEWORKS: Final = (
    (
        "Gayoso, Lopez, Xing, et al. A Python library for probabilistic analysis of single-cell "
        "omics data. Nature Biotechnology 40, 163-166 (2022).",
        "https://doi.org/10.1038/s41587-021-01206-w",
    ),
    (
        "Bingham, Chen, Jankowiak, et al. Pyro: deep universal probabilistic programming. Journal "
        "of Machine Learning Research 20(28), 1-6 (2019).",
        "",
    ),
    (
        "Virshup, Rybakov, Theis, Angerer, Wolf. anndata: access and store annotated data "
        "matrices. Journal of Open Source Software 9(101), 4371 (2024).",
        "https://doi.org/10.21105/joss.04371",
    ),
)
_SMYTH: Final = (
    "Smyth. Linear models and empirical Bayes methods for assessing differential expression in "
    "microarray experiments. Statistical Applications in Genetics and Molecular Biology 3(1) "
    "(2004).",
    "https://doi.org/10.2202/1544-6115.1027",
)
_DECOUPLER: Final = (
    "Badia-i-Mompel, Vélez Santiago, Braunger, et al. decoupleR: ensemble of computational "
    "methods to infer biological activities from omics data. Bioinformatics Advances 2, vbac016 "
    "(2022).",
    "https://doi.org/10.1093/bioadv/vbac016",
)
# As in docs/references.md, which has the others.


def methods_section(inputs: Inputs, *, compared: bool) -> Section:
    """Return what can be pasted into a paper; ``compared``: whether groups were compared."""
    blocks: list[Block] = [
        Text(_paragraph(inputs, compared)),
        Heading("Please cite"),
        Listing(_citations(inputs, compared)),
        Heading("Versions and parameters"),
        Facts("Versions at the time of this report", versions()),
    ]
    fitted_with = inputs.results.get("version")
    params = {
        key.replace("_", " "): str(value)
        for key, value in inputs.results.get("params", {}).items()
        if str(value) != "None"
    }
    if fitted_with is not None:
        params["version of leafletfa-scvi of the fit"] = str(fitted_with)
    blocks.append(Facts("Parameters of the fit", params or {"not recorded": ""}))
    shown = {
        "groups": inputs.groupby or "none",
        "samples": inputs.sample_key or "none: cells are the replicates",
        "delta": f"{inputs.delta:g}",
        "FDR": f"{inputs.fdr_target:g}",
    }
    blocks.append(Facts("Parameters of this report", shown))
    return Section("methods", "Methods", blocks)


def versions() -> dict[str, str]:
    """Return versions of this package and of those it is built on."""
    found = {"leafletfa-scvi": package_version()}
    for name, distribution in _PACKAGES.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:  # installed without metadata
            found[name] = "unknown"
    return found


def _paragraph(inputs: Inputs, compared: bool) -> str:
    """Describe data, model and tests."""
    found, results = inputs.numbers, inputs.results
    params = results.get("params", {})
    package, *others = (f"{name} {number}" for name, number in versions().items())
    size = max(inputs.adata.n_obs * inputs.adata.n_vars, 1)
    atses = f" in {found['n_atses']:,} ATSEs" if "n_atses" in found else ""
    sentences = [
        f"Splicing programs were analyzed with {package} ({', '.join(others)}), which implements "
        "the LeafletFA model, a Beta-Dirichlet factor model of splice-junction counts.",
        f"The data set had {found['n_cells']:,} cells and {found['n_junctions']:,} junctions"
        f"{atses}; {found['n_observed'] / size:.1%} of (cell, junction) pairs were observed, that "
        "is, the cell had reads of the ATSE of the junction.",
    ]
    likelihood = _LIKELIHOODS.get(str(params.get("likelihood")))
    prior = _PRIORS.get(str(params.get("junction_prior")))
    fitted = f"K = {len(inputs.programs)} programs were fitted"
    if likelihood is not None:
        fitted += f" with a {likelihood} likelihood"
        if params.get("dispersion") == "junction":
            unit = "ATSE" if likelihood == "Dirichlet-multinomial" else "junction"
            fitted += f", a concentration for each {unit}"
    if prior is not None:
        fitted += f" and {prior}"
    how = training(inputs)
    fitted += "" if how == "not recorded" else f", by {how}"
    sentences.append(f"{fitted}.")
    batch = str(params.get("batch_key", "None"))
    if batch != "None":
        sentences.append(f"Shifts of PSI between batches ({batch}) were modeled.")
    if compared:
        replicates = "cells" if inputs.sample_key is None else f"samples ({inputs.sample_key})"
        sentences.append(
            f"Each group of {inputs.groupby} was compared with all other cells, with {replicates} "
            f"as replicates; differences in PSI larger than {inputs.delta:g} were called with an "
            f"expected proportion of false discoveries of at most {inputs.fdr_target:g}."
        )
    return " ".join(sentences)


def _citations(inputs: Inputs, compared: bool) -> list[tuple[str, str]]:
    """Return references for what was used."""
    own = f"leafletfa-scvi, version {package_version()}, an independent implementation."
    found = [_MODEL, (own, ""), *_FRAMEWORKS]
    if compared and inputs.sample_key is not None:
        found.append(_SMYTH)
    if inputs.gene_sets is not None:
        found.append(_DECOUPLER)
    return found
