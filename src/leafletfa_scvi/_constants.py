"""Names of AnnData slots and registry keys."""

from __future__ import annotations

from typing import Final

JUNCTION_LAYER: Final = "cell_by_junction_matrix"
CLUSTER_LAYER: Final = "cell_by_cluster_matrix"
ATSE_KEY: Final = "atse_id"
ATSE_LABEL_KEY: Final = "atse_label"

TOTALS_KEY: Final = "atse_totals"
"""Registry key of the ATSE totals; junction counts are registered as ``X``, as in scvi-tools."""

ACTIVITY_SLOT: Final = "X_PHI"
PROGRAM_SLOT: Final = "psi_learned"
RESULTS_SLOT: Final = "leafletfa"
DATASET_SLOT: Final = "splicing"
OVERLAP_SLOT: Final = "junction_overlap"
PROGRAM_PREFIX: Final = "SP_"

CELL_METRICS: Final = (
    "n_junctions",
    "junction_reads",
    "pct_reads_known",
    "n_atses",
    "atse_reads",
    "reads_per_atse",
    "pct_atses_observed",
)
"""Columns of ``obs`` that :func:`~leafletfa_scvi.pp.qc_metrics` writes."""

JUNCTION_METRICS: Final = (
    "n_cells",
    "reads",
    "mean_psi",
    "pooled_psi",
    "atse_n_cells",
    "atse_reads",
    "atse_n_junctions",
    "atse_entropy",
    "atse_minor_usage",
)
"""Columns of ``var`` that :func:`~leafletfa_scvi.pp.qc_metrics` writes."""

EM_ITERATIONS: Final = 600
"""Default maximum number of EM iterations of ``method="em"``."""

FIRST_EM_ITERATIONS: Final = 60
"""Default maximum number of EM iterations before variational inference."""

CELLS_AS_REPLICATES: Final = (
    "Cells are the replicates: the result holds for the cells of these samples only. Pass "
    "sample_key for the populations of samples."
)
"""Logged by tests of groups without samples."""


def program_names(n_programs: int) -> list[str]:
    """Return the names of programs, ``SP_1`` to ``SP_K``, in order of prevalence."""
    return [f"{PROGRAM_PREFIX}{k + 1}" for k in range(n_programs)]
