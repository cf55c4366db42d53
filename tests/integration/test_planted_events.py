"""From simulated BAM files to a splicing data set: the planted events, counts and types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from leafletfa_scvi.datasets._alignments import simulate_alignments
from leafletfa_scvi.pp._codes import MOTIFS, STRANDS
from leafletfa_scvi.pp._dataset import make_splicing_dataset
from leafletfa_scvi.pp.annotate._annotate import annotate_junctions
from leafletfa_scvi.pp.annotate._annotation import read_annotation
from leafletfa_scvi.pp.annotate._genome import motifs_and_strands
from leafletfa_scvi.pp.atse._events import EVENT_TYPES, event_types
from leafletfa_scvi.pp.atse._graph import label_atses

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("seed", range(3))
def test_steps_recover_planted_events(tmp_path: Path, seed: int) -> None:
    simulated = simulate_alignments(
        tmp_path, n_genes=54, n_cells=2, fragments_per_cell=10, n_overlapping=9, seed=seed
    )
    truth = simulated.junctions.var
    adata = simulated.junctions.copy()
    adata.var = truth[["chrom", "start", "end", "strand"]].copy()
    annotation = read_annotation(simulated.gtf)
    annotate_junctions(adata, annotation)
    for column in ("gene_id", "gene_name", "known_junction"):
        assert list(adata.var[column]) == list(truth[column])
    assert set(adata.var.loc[~truth["known_junction"], "annotation_status"]) < {
        "both",
        "five_prime",
        "three_prime",
    }
    atse, _ = label_atses(adata.var, use_genes=True)
    assert list(atse.fillna("")) == list(truth["atse"])
    types = event_types(adata.var, atse, annotation=annotation)
    planted = truth[truth["atse"] != ""].groupby("atse")["event_type"].first()
    assert types.astype(str).to_dict() == planted.to_dict()
    assert set(types) == set(EVENT_TYPES)
    motif, strand = motifs_and_strands(adata.var.assign(strand="?"), simulated.fasta)
    assert [MOTIFS[code] for code in motif] == list(truth["motif"])
    assert [STRANDS[code] for code in strand] == list(truth["strand"])


@pytest.mark.parametrize(
    ("options", "reading", "with_genome"),
    [
        ({}, {}, False),
        ({"strandedness": "RF"}, {"strand": "RF"}, False),
        ({"strandedness": "FR", "paired": False}, {"strand": "FR"}, False),
        ({"strandedness": "none"}, {"strand": "none"}, True),
        (
            {"strandedness": "FR", "paired": False, "barcoded": True},
            {"strand": "FR", "cell_tag": "CB", "umi_tag": "UB"},
            False,
        ),
    ],
    ids=["XS", "RF", "FR", "motifs", "barcodes"],
)
def test_dataset_holds_the_planted_events(
    tmp_path: Path, options: dict[str, Any], reading: dict[str, Any], with_genome: bool
) -> None:
    simulated = simulate_alignments(
        tmp_path, n_cells=6, n_genes=18, fragments_per_cell=4000, **options
    )
    adata = make_splicing_dataset(
        simulated.bams,
        gtf=simulated.gtf,
        genome=simulated.fasta if with_genome else None,
        min_reads=1,
        min_cells=1,
        min_usage=0,
        **reading,
    )
    truth = simulated.junctions[:, simulated.junctions.var["atse"] != ""]
    assert list(adata.var_names) == list(truth.var_names)
    assert sorted(adata.obs_names) == sorted(truth.obs_names)
    truth = truth[adata.obs_names]
    counts = adata.layers["cell_by_junction_matrix"].toarray()
    np.testing.assert_array_equal(counts, truth.layers["unique"].toarray())
    assert list(adata.var["atse_label"]) == list(truth.var["atse"])
    assert list(adata.var["event_type"]) == list(truth.var["event_type"])
    assert set(adata.var["event_type"]) == set(EVENT_TYPES)
    total = np.zeros_like(counts)
    for label in set(truth.var["atse"]):
        inside = (truth.var["atse"] == label).to_numpy()
        total[:, inside] = counts[:, inside].sum(1, keepdims=True)
    np.testing.assert_array_equal(adata.layers["cell_by_cluster_matrix"].toarray(), total)


def test_without_annotation_or_genome(tmp_path: Path) -> None:
    # Components of a strand of a chromosome are those of genes, as these share no splice site.
    simulated = simulate_alignments(tmp_path, n_cells=4, n_genes=18, fragments_per_cell=4000)
    adata = make_splicing_dataset(simulated.bams, min_reads=1, min_cells=1, min_usage=0)
    truth = simulated.junctions.var[simulated.junctions.var["atse"] != ""]
    assert list(adata.var_names) == list(truth.index)
    pairs = pd.DataFrame({"found": adata.var["atse_id"].astype(str), "planted": truth["atse"]})
    assert len(pairs.drop_duplicates()) == pairs["found"].nunique() == pairs["planted"].nunique()
    # First and last exons cannot be told from splice sites without annotation.
    told = ~truth["event_type"].str.endswith(("first_exon", "last_exon"))
    assert list(adata.var["event_type"][told]) == list(truth["event_type"][told])
    seen_as = {
        "alternative_first_exon": "alternative_5ss",
        "alternative_last_exon": "alternative_3ss",
    }
    planted = truth["event_type"][~told].map(seen_as)
    assert list(adata.var["event_type"][~told]) == list(planted)
