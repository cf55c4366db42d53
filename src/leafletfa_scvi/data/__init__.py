"""Splicing data: checks, observed entries, hold-out masks, fingerprints and minibatches."""

from leafletfa_scvi.data._align import align_junctions, reorder_junctions
from leafletfa_scvi.data._assemble import splicing_anndata
from leafletfa_scvi.data._atse_labels import atse_codes, resolve_atse_key
from leafletfa_scvi.data._blocks import BLOCK, row_blocks, stored_rows
from leafletfa_scvi.data._checks import (
    check_axes,
    check_counts_and_totals,
    check_splicing,
    splicing_data,
)
from leafletfa_scvi.data._content import CheckedContent, LayerDigests, same_layers
from leafletfa_scvi.data._expand import expand_counts
from leafletfa_scvi.data._fingerprints import cell_fingerprints, match_cells
from leafletfa_scvi.data._genome_builds import recognize_build
from leafletfa_scvi.data._h5ad import read_h5ad, read_h5ad_tables, write_h5ad
from leafletfa_scvi.data._h5mu import read_h5mu, write_h5mu
from leafletfa_scvi.data._holdout_mask import holdout_mask
from leafletfa_scvi.data._junction_names import rename_contigs
from leafletfa_scvi.data._layers import MAX_COUNT, get_layer, named_layers, observed_entries
from leafletfa_scvi.data._loader import CellBatch, cell_loader
from leafletfa_scvi.data._mapping import hide_junctions, read_mapping, rename_junctions
from leafletfa_scvi.data._mudata import (
    JUNCTIONS,
    check_modalities,
    field_column,
    field_name,
    find_modality,
    is_mudata,
    joined_cells,
    registered_cells,
    replace_modality,
    set_modality,
)
from leafletfa_scvi.data._overlap import (
    JunctionOverlap,
    compare_junctions,
    described_contigs,
)
from leafletfa_scvi.data._pairs import Pairs, read_pairs

__all__ = [
    "BLOCK",
    "JUNCTIONS",
    "MAX_COUNT",
    "CellBatch",
    "CheckedContent",
    "JunctionOverlap",
    "LayerDigests",
    "Pairs",
    "align_junctions",
    "atse_codes",
    "cell_fingerprints",
    "cell_loader",
    "check_axes",
    "check_counts_and_totals",
    "check_modalities",
    "check_splicing",
    "compare_junctions",
    "described_contigs",
    "expand_counts",
    "field_column",
    "field_name",
    "find_modality",
    "get_layer",
    "hide_junctions",
    "holdout_mask",
    "is_mudata",
    "joined_cells",
    "match_cells",
    "named_layers",
    "observed_entries",
    "read_h5ad",
    "read_h5ad_tables",
    "read_h5mu",
    "recognize_build",
    "registered_cells",
    "rename_contigs",
    "read_mapping",
    "read_pairs",
    "rename_junctions",
    "reorder_junctions",
    "replace_modality",
    "resolve_atse_key",
    "row_blocks",
    "same_layers",
    "set_modality",
    "splicing_anndata",
    "splicing_data",
    "stored_rows",
    "write_h5ad",
    "write_h5mu",
]
