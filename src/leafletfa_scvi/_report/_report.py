"""The report of a fit: one HTML page with everything that a collaborator asks for."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from leafletfa_scvi._files import replacing
from leafletfa_scvi._report._activity_section import activity_section
from leafletfa_scvi._report._blocks import Page, Section
from leafletfa_scvi._report._data_section import data_section
from leafletfa_scvi._report._fit_section import fit_section
from leafletfa_scvi._report._graph_section import graph_section
from leafletfa_scvi._report._inputs import Inputs, check_inputs, check_output
from leafletfa_scvi._report._methods_section import methods_section
from leafletfa_scvi._report._program_section import program_section
from leafletfa_scvi._report._render import rendered
from leafletfa_scvi._report._splicing_section import CELLS_ONLY, splicing_section
from leafletfa_scvi._version import package_version
from leafletfa_scvi.model._read_once import read_once
from leafletfa_scvi.tl._comparison_counts import called

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi._report._fit_section import FitFindings
    from leafletfa_scvi._report._splicing_section import Comparisons
    from leafletfa_scvi.model import LeafletFAModel
    from leafletfa_scvi.pp import Annotation
    from leafletfa_scvi.tl import ProgramSelection, ProgramStability

_SECTIONS = 7


def report(
    adata: AnnData,
    output: str | os.PathLike[str],
    *,
    model: LeafletFAModel | None = None,
    groupby: str | None = None,
    sample_key: str | None = None,
    gtf: str | os.PathLike[str] | Annotation | None = None,
    gene_sets: pd.DataFrame | None = None,
    selection: ProgramSelection | None = None,
    stability: ProgramStability | None = None,
    delta: float = 0.1,
    fdr_target: float = 0.05,
    n_graphs: int = 8,
    max_rows: int = 500,
    title: str = "Splicing programs",
    progress: Callable[[str, int, int | None], None] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a report of a fit: one self-contained HTML page.

    The page has the data set, the fit, programs with markers, activities, differential splicing,
    splice graphs and a paragraph on methods. It loads nothing and can be sent to a collaborator.
    What cannot be shown is named, with the argument that would show it. Its numbers are those of
    the functions that it names.

    Parameters
    ----------
    adata
        Data set with the results of ``model.export_posterior``; not modified.
    output
        File to write, ``.html`` or ``.htm``. It is written whole or not at all.
    model
        The trained model of these results, with or without its data. Differential splicing and
        what makes the fit unreliable need it.
    groupby
        Column of ``obs`` with groups of cells, of which there may be 100. Each is compared with
        all others.
    sample_key
        Column of ``obs`` with samples (donor, mouse, plate), which are then the replicates.
        Without it cells are, and the differences hold for these cells only.
    gtf
        Annotation with the exons of splice graphs: a GTF or GFF3 file, or the result of
        :func:`~leafletfa_scvi.pp.read_annotation`.
    gene_sets
        Gene sets or targets of regulators to test among markers, as ``net`` of
        :func:`~leafletfa_scvi.tl.marker_enrichment`: columns ``source``, ``target``, and maybe
        ``weight``.
    selection, stability
        Results of :func:`~leafletfa_scvi.tl.select_n_programs` and
        :func:`~leafletfa_scvi.tl.program_stability` to show.
    delta
        Difference in PSI that markers and differences between groups must exceed, in [0, 1).
    fdr_target
        Bound on the expected share of false discoveries, in (0, 1).
    n_graphs
        Maximum number of splice graphs.
    max_rows
        Maximum number of rows of each comparison in the table. With many comparisons it is fewer,
        so that the table stays below 6,000 rows; the page says how many are left out.
    title
        Title of the page.
    progress
        Called with ``"report"``, the number of sections that are done, and of all.
    overwrite
        Whether to replace an existing file.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    FileExistsError
        The file exists, unless ``overwrite``.
    ImportError
        ``gene_sets`` need the package decoupler, which is not installed.
    KeyError
        ``groupby`` or ``sample_key`` is not a column of ``obs``, or programs, layers or columns of
        ``gene_sets`` are missing.
    OSError
        The file cannot be written.
    RuntimeError
        The model is not trained.
    TypeError
        ``adata`` is not an AnnData, ``model`` not a model, or ``gene_sets``, ``selection`` or
        ``stability`` of another class.
    ValueError
        ``output`` does not end with ``.html``, there are no cells or activities, the model has
        other junctions or programs, ``groupby`` has more than 100 groups, or a number is out of
        range.

    Examples
    --------
    >>> model.export_posterior(adata)  # doctest: +SKIP
    >>> lfa.report(
    ...     adata, "report.html", model=model, groupby="cell_type", sample_key="donor"
    ... )  # doctest: +SKIP
    """
    path = check_output(output, overwrite)
    inputs = check_inputs(
        adata,
        model=model,
        groupby=groupby,
        sample_key=sample_key,
        gtf=gtf,
        gene_sets=gene_sets,
        selection=selection,
        stability=stability,
        delta=delta,
        fdr_target=fdr_target,
        n_graphs=n_graphs,
        max_rows=max_rows,
    )
    page = make_page(inputs, str(title), progress or _silent)
    write_page(page, path)
    return path


def write_page(page: Page, path: Path) -> None:
    """Write a page whole or not at all."""
    text = rendered(page)
    with replacing(path) as (staged,):
        staged.write_text(text, encoding="utf-8")


def make_page(
    inputs: Inputs, title: str, progress: Callable[[str, int, int | None], None]
) -> Page:
    """Make all sections."""
    with read_once(inputs.model, inputs.adata):
        return _made(inputs, title, progress)


def _made(inputs: Inputs, title: str, progress: Callable[[str, int, int | None], None]) -> Page:
    sections: list[Section] = []

    def add(section: Section) -> None:
        sections.append(section)
        progress("report", len(sections), _SECTIONS)

    progress("report", 0, _SECTIONS)
    add(data_section(inputs))
    section, findings = fit_section(inputs)
    add(section)
    section, markers = program_section(inputs, findings.identified)
    add(section)
    add(activity_section(inputs))
    section, comparisons = splicing_section(inputs)
    add(section)
    add(graph_section(inputs, comparisons, markers))
    add(methods_section(inputs, compared=comparisons is not None))
    notices = list(findings.notices)
    if comparisons is not None and inputs.sample_key is None:
        notices.append(CELLS_ONLY)
    lead = (
        f"Report of {inputs.adata.n_obs:,} cells, made on {_date()} with leafletfa-scvi "
        f"{package_version()}."
    )
    facts = _facts(inputs, findings, comparisons)
    return Page(title, lead, sections, _tiles(facts), notices, facts)


def _facts(
    inputs: Inputs, findings: FitFindings, comparisons: Comparisons | None
) -> dict[str, Any]:
    """Return the main numbers; None for what is not known."""
    found = inputs.numbers
    samples = None if inputs.sample_key is None else inputs.adata.obs[inputs.sample_key].nunique()
    facts: dict[str, Any] = {
        **{name: found.get(name) for name in ("n_cells", "n_junctions", "n_atses", "n_observed")},
        "n_programs": len(inputs.programs),
        "n_groups": len(inputs.groups) or None,
        "n_samples": samples,
        "converged": findings.converged,
        "level": None,
        "n_differ": None,
        "comparisons": [],
    }
    if comparisons is not None:
        table = comparisons.table
        facts["level"] = comparisons.level
        facts["n_differ"] = table.index[called(table, inputs.fdr_target)].nunique()
        facts["comparisons"] = comparisons.counts.to_dict("records")
    return facts


def _tiles(facts: dict[str, Any]) -> dict[str, str]:
    """Return the main numbers for people."""
    what = "Junctions" if facts["level"] == "junction" else "ATSEs"
    names = {
        "n_cells": "Cells",
        "n_junctions": "Junctions",
        "n_atses": "ATSEs",
        "n_programs": "Programs",
        "n_groups": "Groups",
        "n_samples": "Samples",
        "n_differ": f"{what} that differ between groups",
    }
    tiles = {title: f"{facts[k]:,}" for k, title in names.items() if facts[k] is not None}
    if facts["converged"] is not None:
        tiles["Converged"] = "yes" if facts["converged"] else "no"
    return tiles


def _date() -> str:
    """Return the day, or that of ``SOURCE_DATE_EPOCH``, for pages that can be made again."""
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d")


def _silent(stage: str, done: int, of: int | None) -> None:
    """Show no progress."""
