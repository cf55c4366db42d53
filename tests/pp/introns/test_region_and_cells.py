"""Reads in introns are counted with the arguments that the junctions were read with."""

from __future__ import annotations

import numpy as np
import pandas as pd

import leafletfa_scvi as lfa


def test_region_and_table_of_cells_do_not_disturb(tmp_path):
    simulated = lfa.datasets.simulate_alignments(
        tmp_path / "s", n_cells=3, n_genes=6, fragments_per_cell=1500, seed=3
    )
    table = pd.DataFrame({"age": [1, 2, 3]}, index=[path.stem for path in simulated.bams])

    def make(**more):
        return lfa.pp.make_splicing_dataset(
            simulated.bams, gtf=simulated.gtf, retained_introns=True, **more
        )

    whole = make()
    contig = str(whole.var["chrom"].iloc[0])
    some = make(cell_table=table, region=contig)
    assert some.obs["age"].tolist() == [1, 2, 3]
    assert 0 < some.n_vars < whole.n_vars or set(whole.var["chrom"]) == {contig}
    same = whole[some.obs_names, some.var_names]
    for layer in ("cell_by_junction_matrix", "intron_boundary_reads"):
        found, expected = (x.layers[layer].toarray() for x in (some, same))
        np.testing.assert_array_equal(found, expected)
