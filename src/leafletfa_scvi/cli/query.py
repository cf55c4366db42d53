"""``leafletfa query``: place new cells on the programs of a fitted model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

import leafletfa_scvi as lfa
from leafletfa_scvi._choices import Accelerator, AtseTotals, QueryPrevalence
from leafletfa_scvi._constants import ACTIVITY_SLOT, OVERLAP_SLOT
from leafletfa_scvi.cli._console import Reporter, UserError, one_line, quiet_libraries, set_seed
from leafletfa_scvi.cli._defaults import defaults_of
from leafletfa_scvi.cli._h5ad import read_data, write_data
from leafletfa_scvi.cli._json import rows
from leafletfa_scvi.cli._option_groups import OptionGroup, with_groups
from leafletfa_scvi.cli._outputs import (
    DATA_FILE,
    MODEL_FILE,
    check_input,
    check_output,
    check_reach,
    staged,
)
from leafletfa_scvi.cli._shared_options import (
    BAD_DATA,
    TRAIN,
    DataArgument,
    DisplayOptions,
    SeedOption,
    check_accelerator,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_PREPARE = defaults_of("model", "PrepareQueryMixin.prepare_query_anndata")
_LOAD = defaults_of("model", "QueryMixin.load_query_data")


@dataclass(frozen=True)
class JunctionOptions(OptionGroup):
    """Arguments of ``prepare_query_anndata``."""

    atse_totals: Annotated[
        AtseTotals,
        typer.Option(
            help="Junctions of the reference that DATA lacks: query, they have no reads; "
            "shared, their reads were filtered out, so that they are not observed."
        ),
    ] = _PREPARE["atse_totals"]
    min_overlap: Annotated[
        float,
        typer.Option(
            help="Minimum share of the reference's junctions that DATA must have.", min=0, max=1
        ),
    ] = _PREPARE["min_overlap"]


@dataclass(frozen=True)
class PlacementOptions(OptionGroup):
    """Arguments of ``train``, for the activities of new cells."""

    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data (default: by its size).")
    ] = TRAIN["max_epochs"]
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Cells in a minibatch (default: all).")
    ] = TRAIN["batch_size"]
    accelerator: Annotated[Accelerator, typer.Option(help="Device to use.")] = TRAIN["accelerator"]


@dataclass(frozen=True)
class MappingOptions(OptionGroup):
    """Junctions of another species or genome build: a table, or what it is made from."""

    panel: ClassVar[str | None] = "Cells of another species or genome build"

    mapping: Annotated[
        Path | None,
        typer.Option(
            help="Table of junctions with columns source and target (.csv, .tsv, .parquet).",
            metavar="FILE",
        ),
    ] = None
    chain: Annotated[
        Path | None,
        typer.Option(
            help="Chain file from the genome of DATA to the reference's.", metavar="FILE"
        ),
    ] = None
    reciprocal_chain: Annotated[
        Path | None, typer.Option(help="Chain file back, to check each pair.", metavar="FILE")
    ] = None
    orthologs: Annotated[
        Path | None,
        typer.Option(
            help="Table of orthologous genes with columns source and target; not for two builds "
            "of one genome.",
            metavar="FILE",
        ),
    ] = None
    tolerance: Annotated[
        int, typer.Option(min=0, help="Maximum shift of each splice site in bases.")
    ] = 0


@with_groups
def query(
    data: DataArgument,
    reference: Annotated[
        Path,
        typer.Option(
            "--reference",
            "-r",
            help="Folder of the fitted model, as leafletfa fit --save-model wrote it; or an .h5ad "
            "file with its programs, as leafletfa fit --output wrote it or an atlas has them.",
            metavar="DIR_OR_H5AD",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="File for the cells of DATA with the activities of programs."
        ),
    ],
    query_prevalence: Annotated[
        QueryPrevalence,
        typer.Option(
            help="Prevalence of programs that is expected of a cell: that of the reference, or "
            "learned from DATA, which may be another mixture of cell types."
        ),
    ] = _LOAD["query_prevalence"],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    *,
    junctions: JunctionOptions,
    placement: PlacementOptions,
    mapping: MappingOptions,
    seed: SeedOption = 0,
    display: DisplayOptions,
) -> None:
    """Place the cells of DATA on the programs of a fitted model, which do not change."""
    _check_mapping(mapping)
    check_input(data)
    _check_reference(reference)
    sources = [data, reference, reference / MODEL_FILE, reference / DATA_FILE]
    more = _mapping_files(mapping).values()
    check_output(output, [*sources, *more], overwrite)
    reporter = Reporter.of(query, display, output, *sources, *more)
    with reporter.tidy():
        reporter.writes(output)
        reporter.stage(f"Reading {data} and {reference}")
        check_accelerator(placement.accelerator)
        adata = read_data(data)
        model = _load(reference, placement.accelerator)
        pairs = _mapping(adata, model, reporter, mapping)
        aligned = _align(adata, model, reporter, junctions, pairs)
        placed = _place(aligned, model, reporter, seed, query_prevalence, placement)
        reporter.stage("Writing")
        _write(placed, output)
        reporter.out.print(_overlap_table(placed, model, reporter.seconds))
        reporter.out.print(_program_table(placed, model))
        for line in (
            f"Results are in {output}: obsm[{ACTIVITY_SLOT!r}], obs[{model.program_names[0]!r}] "
            f"to obs[{model.program_names[-1]!r}], uns[{OVERLAP_SLOT!r}].",
            "Activities are comparable with those of the reference's cells. Next, in Python: "
            f"scanpy.pp.neighbors(adata, use_rep={ACTIVITY_SLOT!r}).",
        ):
            reporter.out.print(escape(line), soft_wrap=True)
        files = {"data": data, "reference": reference, "output": output}
        reporter.result({**files, **_facts(placed, model)})


def _check_mapping(options: MappingOptions) -> None:
    """Raise an error for options that exclude or need each other, or files that are missing."""
    files = _mapping_files(options)
    given = list(files)
    if options.mapping is not None and len(given) > 1:
        raise UserError(f"--mapping is a finished table: leave {given[1]} out.")
    if options.chain is None and (options.tolerance or set(given) - {"--mapping"}):
        name = next((name for name in given if name != "--mapping"), "--tolerance")
        raise UserError(f"{name} is for the mapping by a chain file: pass --chain as well.")
    for name, path in files.items():
        check_reach(path, name)
        if not path.is_file():
            raise UserError(f"There is no file {name} {path}.")


def _mapping_files(options: MappingOptions) -> dict[str, Path]:
    """Return the files that are given, by the names of their options."""
    files = {
        "--mapping": options.mapping,
        "--chain": options.chain,
        "--reciprocal-chain": options.reciprocal_chain,
        "--orthologs": options.orthologs,
    }
    return {name: path for name, path in files.items() if path is not None}


def _check_reference(path: Path) -> None:
    """Raise an error if there is neither a saved model nor an .h5ad file."""
    check_reach(path, "--reference")
    if not path.exists():
        raise UserError(f"There is no --reference {path}.")
    if path.is_file():
        check_input(path)
    elif not (path / MODEL_FILE).is_file():
        raise UserError(
            f"There is no model in --reference {path}: expected a folder that leafletfa fit "
            "--save-model wrote, or an .h5ad file."
        )


def _load(reference: Path, accelerator: Accelerator) -> lfa.LeafletFAModel:
    """Load a trained reference without its data, or make one of the programs in an .h5ad file."""
    quiet_libraries()
    try:
        if reference.is_file():
            return lfa.LeafletFAModel.from_programs(read_data(reference))
        model = lfa.LeafletFAModel.load(reference, adata=False, accelerator=accelerator)
    except BAD_DATA as error:
        raise UserError(f"--reference {reference}: {one_line(error)}") from error
    if not model.is_trained_:
        raise UserError(f"The model in --reference {reference} is not trained.")
    return model


def _mapping(
    adata: AnnData, model: lfa.LeafletFAModel, reporter: Reporter, options: MappingOptions
) -> pd.DataFrame | Path | None:
    """Return the table of junctions given, or map those of the data to the reference's."""
    if options.chain is None:
        return options.mapping
    var = model._annotation()
    if options.orthologs is not None and (var is None or "gene_id" not in var):
        raise UserError(
            "--orthologs compares genes, but --reference does not have those of its junctions: "
            "pass the .h5ad file that the model was fitted to with its programs (leafletfa fit "
            "--output), with var['gene_id']."
        )
    reporter.stage("Mapping junctions")
    arguments = {"orthologs": None, **options.arguments()}
    try:
        pairs = lfa.pp.map_junctions(
            adata, model.junction_names if var is None else var, **arguments
        )
    except (*BAD_DATA, ImportError) as error:
        raise UserError(one_line(error)) from error
    n = int(pairs["target"].notna().sum())
    reporter.stage(f"  {n:,} of {adata.n_vars:,} junctions map to one of the reference")
    return pairs


def _align(
    adata: AnnData,
    model: lfa.LeafletFAModel,
    reporter: Reporter,
    options: JunctionOptions,
    mapping: pd.DataFrame | Path | None,
) -> AnnData:
    """Bring the cells to the junctions of the reference."""
    from leafletfa_scvi.data import described_contigs
    from leafletfa_scvi.model._export import check_free_names

    try:
        check_free_names(adata, model.program_names, "in the input file or in a copy of it")
        aligned: AnnData = lfa.LeafletFAModel.prepare_query_anndata(
            adata, model, inplace=False, mapping=mapping, **options.arguments()
        )
        overlap = None if mapping is not None else model.compare_junctions(adata, model)
    except BAD_DATA as error:
        raise UserError(one_line(error)) from error
    if overlap is None:
        return aligned
    reporter.library_stage(f"  {overlap.describe()}")
    if overlap.renamed_contigs:
        reporter.stage(f"  Contigs are matched: {described_contigs(overlap.renamed_contigs)}")
    return aligned


def _place(
    adata: AnnData,
    model: lfa.LeafletFAModel,
    reporter: Reporter,
    seed: int,
    prevalence: QueryPrevalence,
    options: PlacementOptions,
) -> AnnData:
    """Fit the activities of the cells and write them to ``adata``, with the programs."""
    import torch

    set_seed(seed)
    reporter.stage(f"Placing {adata.n_obs:,} cells on {model.n_programs} programs")
    try:
        placed = lfa.LeafletFAModel.load_query_data(
            adata, model, query_prevalence=prevalence, accelerator=options.accelerator
        )
        with reporter.progress() as progress:
            placed.train(enable_progress_bar=False, progress=progress, **options.arguments())
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError("Out of memory; try a smaller --batch-size, such as 2048.") from error
    except (*BAD_DATA, FloatingPointError) as error:
        raise UserError(one_line(error)) from error
    placed.export_posterior(adata)
    return adata


def _write(adata: AnnData, output: Path) -> None:
    """Write the cells with their activities, wholly or not at all."""
    for key in [key for key in adata.uns if key.startswith("_scvi")]:
        del adata.uns[key]
    with staged(output) as paths:
        write_data(adata, paths[0])


def _overlap_table(adata: AnnData, model: lfa.LeafletFAModel, seconds: float) -> Table:
    """Return a table of what the activities are based on."""
    numbers: dict[str, Any] = adata.uns[OVERLAP_SLOT]
    observed = adata.layers[model._layers[1]] > 0
    n_observed, size = int(observed.sum()), adata.n_obs * adata.n_vars
    empty = int((observed.sum(axis=1) == 0).sum())
    statuses = ("complete", "partial", "absent")
    shown = {
        "Cells placed": f"{adata.n_obs - empty:,}",
        "Cells without reads in ATSEs": f"{empty:,}" if empty else "",
        "Junctions shared": f"{numbers['n_shared']:,} ({numbers['share_of_junctions']:.1%})",
        "Reads at these": f"{numbers['share_of_reads']:.1%}",
        "ATSEs": ", ".join(f"{numbers[f'n_atses_{name}']:,} {name}" for name in statuses)
        if model.atse_codes_ is not None
        else "unknown",
        "Observed entries": f"{n_observed:,} ({n_observed / size:.1%})",
        "Time": f"{seconds:.0f} s",
    }
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title="Query", title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in shown.items():
        if value:
            table.add_row(name, value)
    return table


def _programs(adata: AnnData, model: lfa.LeafletFAModel) -> pd.DataFrame:
    """Return how common programs are in the reference and in the query."""
    import numpy as np
    import pandas as pd

    activities = np.asarray(adata.obsm[ACTIVITY_SLOT])
    return pd.DataFrame(
        {
            "program": model.program_names,
            "reference_prevalence": model.get_program_prevalence().to_numpy(),
            "mean_activity": activities.mean(axis=0),
            "n_cells": np.bincount(activities.argmax(axis=1), minlength=model.n_programs),
        }
    )


def _facts(adata: AnnData, model: lfa.LeafletFAModel) -> dict[str, Any]:
    """Return what the command prints, for ``--json``."""
    observed = adata.layers[model._layers[1]] > 0
    return {
        "n_cells": adata.n_obs,
        "n_cells_without_reads": int((observed.sum(axis=1) == 0).sum()),
        "n_junctions": adata.n_vars,
        "n_observed": int(observed.sum()),
        "n_programs": model.n_programs,
        "overlap": dict(adata.uns[OVERLAP_SLOT]),
        "programs": rows(_programs(adata, model)),
    }


def _program_table(adata: AnnData, model: lfa.LeafletFAModel) -> Table:
    """Return a table of how common programs are in the reference and in the query."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Program", style="bold")
    for name in ("Prevalence in the reference", "Mean activity here", "Cells it leads"):
        table.add_column(name, justify="right")
    for name, prevalence, mean, n in _programs(adata, model).itertuples(index=False):
        table.add_row(name, f"{prevalence:.3f}", f"{mean:.3f}", f"{n:,}")
    return table
