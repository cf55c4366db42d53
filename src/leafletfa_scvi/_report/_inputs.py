"""What a report is made of, checked before the long work begins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from leafletfa_scvi._arguments import check_anndata, check_column, check_inside, check_whole
from leafletfa_scvi._constants import ACTIVITY_SLOT, PROGRAM_SLOT, RESULTS_SLOT
from leafletfa_scvi._report._blocks import Missing
from leafletfa_scvi._report._dataset import Layers, numbers
from leafletfa_scvi._similar import did_you_mean
from leafletfa_scvi.model import LeafletFAModel
from leafletfa_scvi.pl._groups import cells_by_group
from leafletfa_scvi.pl._slots import result_slot
from leafletfa_scvi.tl import ProgramSelection, ProgramStability
from leafletfa_scvi.tl._activities import cell_activities
from leafletfa_scvi.tl._networks import import_decoupler, read_network

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi._report._blocks import Block
    from leafletfa_scvi.pp import Annotation
    from leafletfa_scvi.tl._activities import CellActivities

_MAX_GROUPS: Final = 100
_TOLERANCE: Final = 1e-4
"""Largest difference in PSI that is taken for rounding."""
_SUFFIXES: Final = (".html", ".htm")


@dataclass(frozen=True)
class Inputs:
    """Data, model and options of a report.

    Attributes
    ----------
    adata, model, groupby, sample_key, gene_sets, selection, stability, delta, fdr_target, \
n_graphs, max_rows
        Arguments of :func:`leafletfa_scvi.report`.
    gtf
        Annotation that was read; None without one.
    results
        ``uns["leafletfa"]``; empty if there is none.
    layers
        Names of layers and of the column of ATSEs.
    cells
        Activities of the cells.
    groups
        Positions of the cells of each group; empty without ``groupby``.
    """

    adata: AnnData
    model: LeafletFAModel | None
    groupby: str | None
    sample_key: str | None
    gtf: Annotation | None
    gene_sets: pd.DataFrame | None
    selection: ProgramSelection | None
    stability: ProgramStability | None
    delta: float
    fdr_target: float
    n_graphs: int
    max_rows: int
    results: dict[str, Any]
    layers: Layers
    cells: CellActivities
    groups: dict[str, np.ndarray]

    @cached_property
    def numbers(self) -> dict[str, int | float]:
        """Main numbers of the data set."""
        return numbers(self.adata, self.layers)

    @property
    def programs(self) -> list[str]:
        """Names of the programs."""
        return self.cells.programs


def check_inputs(
    adata: Any,
    *,
    model: Any,
    groupby: str | None,
    sample_key: str | None,
    gtf: Any,
    gene_sets: Any,
    selection: Any,
    stability: Any,
    delta: float,
    fdr_target: float,
    n_graphs: int,
    max_rows: int,
) -> Inputs:
    """Check everything that can be checked quickly; errors are those of ``report``."""
    adata = check_anndata(adata, "adata")
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise ValueError(
            f"Expected cells and junctions in adata, found {adata.n_obs:,} cells and "
            f"{adata.n_vars:,} junctions. Check how it was subset."
        )
    check_inside("delta", delta, "[0, 1)")
    check_inside("fdr_target", fdr_target)
    check_whole("n_graphs", n_graphs, 0)
    check_whole("max_rows", max_rows, 1)
    if model is not None and not isinstance(model, LeafletFAModel):
        raise TypeError(
            f"Expected model to be a LeafletFAModel, found a {type(model).__name__}. Load a saved "
            "one with LeafletFAModel.load(path, adata=False)."
        )
    _check_results(selection, stability)
    if gene_sets is not None:
        read_network(gene_sets, "source", "target", "weight", "gene_sets")
        import_decoupler()
    if model is not None and ACTIVITY_SLOT not in adata.obsm:
        raise ValueError(
            f"Expected activities in adata.obsm[{ACTIVITY_SLOT!r}], found none. Write them with "
            "model.export_posterior(adata)."
        )
    cells = cell_activities(adata, "adata")
    result_slot(adata, "varm", PROGRAM_SLOT)
    for name, column in (("groupby", groupby), ("sample_key", sample_key)):
        if column is not None:
            _check_obs(adata, name, column)
    if sample_key is not None and groupby is None:
        raise ValueError(
            f"Expected groupby with sample_key={sample_key!r}, found none. Name the column of the "
            "groups that are compared."
        )
    groups = {} if groupby is None else cells_by_group(adata, groupby)
    if len(groups) > _MAX_GROUPS:
        raise ValueError(
            f"Expected groupby to be a column with at most {_MAX_GROUPS} groups, found "
            f"{len(groups):,} in adata.obs[{groupby!r}]. Name a column of cell types or "
            "conditions."
        )
    slot = adata.uns.get(RESULTS_SLOT)
    results = dict(slot) if hasattr(slot, "keys") else {}
    params = results.get("params", {})
    layers = Layers(
        *(
            str(params.get(key, default))
            for key, default in zip(
                ("junction_layer", "cluster_layer", "atse_key"), Layers(), strict=True
            )
        )
    )
    for layer in (layers.junctions, layers.totals):
        if layer not in adata.layers:
            raise KeyError(
                f"Expected the counts in adata.layers[{layer!r}], found "
                f"{', '.join(map(repr, adata.layers)) or 'no layers'}. Pass the data set that was "
                "fitted, with its layers."
            )
    if model is not None:
        _check_model(model, adata)
    return Inputs(
        adata=adata,
        model=model,
        groupby=groupby,
        sample_key=sample_key,
        gtf=_annotation(gtf),
        gene_sets=gene_sets,
        selection=selection,
        stability=stability,
        delta=delta,
        fdr_target=fdr_target,
        n_graphs=n_graphs,
        max_rows=max_rows,
        results=results,
        layers=layers,
        cells=cells,
        groups=groups,
    )


def _check_obs(adata: AnnData, name: str, column: str) -> None:
    """Check that ``obs`` has a column; offer the nearest."""
    check_column(name, column)
    if column not in adata.obs:
        known = list(map(str, adata.obs.columns))
        offer = did_you_mean(column, known)
        listed = ", ".join(map(repr, known[:12])) + (", ..." if len(known) > 12 else "")
        raise KeyError(
            f"Expected {name}={column!r} to name a column of adata.obs, found none of this name."
            f"{offer} There are {listed or 'no columns'}."
        )


def _check_results(selection: Any, stability: Any) -> None:
    """Check that results of other functions are theirs."""
    for name, value, kind, function in (
        ("selection", selection, ProgramSelection, "select_n_programs"),
        ("stability", stability, ProgramStability, "program_stability"),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(
                f"Expected {name} to be a {kind.__name__}, found a {type(value).__name__}. Pass "
                f"the result of lfa.tl.{function}."
            )


def _check_model(model: LeafletFAModel, adata: AnnData) -> None:
    """Check that the model is the one whose results are in the AnnData."""
    model._require_trained()
    indexer = model._junction_indexer(adata)
    ours = model.get_splicing_programs().to_numpy(float)
    ours = ours if indexer is None else ours[indexer]
    theirs = result_slot(adata, "varm", PROGRAM_SLOT).to_numpy(float)
    found = f"{theirs.shape[1]} programs" if ours.shape != theirs.shape else "others"
    if ours.shape == theirs.shape:
        difference = float(np.abs(ours - theirs).max(initial=0.0))
        if difference <= _TOLERANCE:
            return
        found += f", which differ by up to {difference:.2g} in PSI"
    raise ValueError(
        f"Expected the {model.n_programs} programs of model in adata.varm[{PROGRAM_SLOT!r}], "
        f"found {found}. Pass the model of this fit, or write its results with "
        "model.export_posterior(adata)."
    )


def _annotation(gtf: Any) -> Annotation | None:
    from leafletfa_scvi import pp

    return gtf if gtf is None or isinstance(gtf, pp.Annotation) else pp.read_annotation(gtf)


def check_output(output: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the path to write to, if it can be written.

    Raises
    ------
    FileExistsError
        It exists, unless ``overwrite``.
    FileNotFoundError, NotADirectoryError
        Its folder does not exist.
    IsADirectoryError
        It is a folder.
    PermissionError
        Its folder is not writable.
    ValueError
        Its name does not end with ``.html``.
    """
    path = Path(output)
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(
            f"Expected output to end with .html, found {os.fspath(output)!r}. The report is an "
            "HTML page."
        )
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: expected the name of a file.")
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} already exists. Name another, or overwrite=True.")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        kind = NotADirectoryError if folder.exists() else FileNotFoundError
        raise kind(f"There is no folder {folder} to write {path.name} to. Create it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            f"The folder {folder} is not writable. Choose another, or change its permissions."
        )
    return path


def attempted(what: str, make: Callable[[], list[Block]]) -> list[Block]:
    """Return blocks, or say why they cannot be made of these data.

    Parameters
    ----------
    what
        What would be shown.
    make
        Makes the blocks; its ValueErrors and KeyErrors tell of data that do not allow it.
    """
    try:
        return make()
    except (ValueError, KeyError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        return [Missing(what, " ".join(str(text).split()))]
