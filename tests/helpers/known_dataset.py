"""A data set whose numbers are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from anndata import AnnData

COUNTS = [[3, 1, 0, 0, 0, 0], [0, 2, 0, 0, 1, 1], [0] * 6, [1, 0, 1000, 1, 0, 0]]


def known_dataset() -> AnnData:
    """4 cells, 3 ATSEs, with the records of steps that left something out."""
    adata = lfa.pp.splicing_from_counts(COUNTS, list("aabbcc"))
    adata.var["event_type"] = ["cassette_exon"] * 4 + ["complex"] * 2
    adata.var["gene_id"] = ["g", "g", "g", "g", "", ""]
    lfa.pp.qc_metrics(adata)
    adata.uns["splicing"] |= {
        "reading": {"rows": 12_345, "rows_without_reads": 0, "of": "text"},
        "junction_qc": {
            "junctions_before": np.int64(8),
            "reads_before": np.int64(9_000),
            "junctions_kept": np.int64(6),
            "dropped": {
                "min_reads": {"junctions": 2, "reads": 1_500},
                "max_length": {"junctions": 0, "reads": 0},
            },
        },
        "atses": {"largest_giant_atses": {"g:ATSE_1": 1_234}},
        "parameters": {"min_reads": 10, "gtf": "a<b>.gtf"},
        "failed_files": ["/x/<bad>.bam"],
    }
    return adata
