"""From files and matrices to a splicing data set.

Steps take an AnnData as their first argument. Those that describe junctions or cells write to it
and return None: :func:`annotate_cells`, :func:`annotate_junctions`, :func:`annotate_productivity`,
:func:`splice_site_usage`, :func:`find_atses`, :func:`classify_events`,
:func:`select_variable_atses` and :func:`qc_metrics`. Those that drop, merge or combine junctions
or cells return a new AnnData and leave the one given unchanged: :func:`resolve_strands`,
:func:`filter_junctions`, :func:`filter_usage`, :func:`splicing_from_counts`,
:func:`filter_atses`, :func:`concat_splicing`, :func:`pseudobulk` and :func:`metacells`. Of the
local events inside ATSEs, :func:`find_local_events` returns a table and :func:`event_psi` an
AnnData of cells x events. :func:`map_junctions` returns a table of junctions of two species.

Public names are listed in ``__init__.pyi`` and imported on first use, so that processes that read
files start without torch.
"""

from leafletfa_scvi._lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
