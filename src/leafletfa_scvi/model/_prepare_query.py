"""Junctions of new cells in the order of those of a reference."""

from __future__ import annotations

import logging
import warnings
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_inside, check_one_of
from leafletfa_scvi._choices import AtseTotals
from leafletfa_scvi._constants import OVERLAP_SLOT
from leafletfa_scvi.data import (
    JUNCTIONS,
    align_junctions,
    check_axes,
    check_counts_and_totals,
    compare_junctions,
    described_contigs,
    find_modality,
    hide_junctions,
    is_mudata,
    named_layers,
    read_mapping,
    rename_contigs,
    rename_junctions,
    replace_modality,
    set_modality,
)
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._new_junctions import join_new_atses
from leafletfa_scvi.model._setup_mudata import check_mudata

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.data import JunctionOverlap, Pairs
    from leafletfa_scvi.model._model import LeafletFAModel

log = logging.getLogger(__name__)


class PrepareQueryMixin(SplicingModelBase):
    """Preparation of the data of a query for :class:`~leafletfa_scvi.LeafletFAModel`."""

    @classmethod
    def _reference(cls, model: str | LeafletFAModel, **options: Any) -> LeafletFAModel:
        """Return the reference model, loaded without data if a folder is given."""
        if isinstance(model, cls):
            return model
        if not isinstance(model, str | PathLike):
            raise TypeError(
                f"Expected reference_model to be a trained {cls.__name__}, or the folder it was "
                f"saved to, found {_described(model)}."
            )
        reference: LeafletFAModel = cls.load(model, adata=False, **options)
        return reference

    @classmethod
    def prepare_query_anndata(
        cls,
        adata: AnnData,
        reference_model: str | LeafletFAModel,
        return_reference_var_names: bool = False,
        inplace: bool = True,
        *,
        mapping: Pairs | None = None,
        atse_totals: AtseTotals = "query",
        min_overlap: float = 0.05,
        keep_new_atses: bool = False,
        trust: bool = False,
    ) -> AnnData | pd.Index | None:
        """Reorder the junctions of an AnnData to those of a reference.

        Junctions that the reference lacks are dropped, and missing ones are added without reads.
        Contigs that differ in the prefix ``chr``, and names of the mitochondrial genome, are
        matched. Totals are summed again over the junctions that an ATSE has in the reference,
        without reads of junctions that it lacks: its programs are shares of the former only.

        Where ``adata`` lacks some of the junctions of an ATSE, only you know why. If no cell has
        reads there, as in data that were counted without filters, ``atse_totals="query"`` is
        right: they count 0, and are not observed only in cells whose totals exceed the sum of the
        counts of the ATSE, because junctions were removed from ``adata`` after totals were summed.
        If filters dropped them, their reads are lost: with ``atse_totals="shared"``, these
        junctions do not count against the programs that use them. Exact is only a data set made
        from the files with ``lfa.pp.make_splicing_dataset(..., reference=model)``.

        Entries with a total of 0 in an ATSE with reads, such as those of an earlier preparation,
        remain not observed: a second preparation changes nothing.

        If the reference was built without ATSE labels, totals are not changed, and missing
        junctions are not observed.

        With ``mapping``, junctions of another species (or genome build) get the names of the
        reference's: those that the mapping drops are dropped, and junctions of the reference that
        nothing maps to are not observed. ``var["source_junction"]`` holds the former names.

        ``varm`` and ``varp`` follow the junctions, and the labels of the reference replace those
        in ``var``; ``obs``, ``obsm``, ``obsp``, ``uns`` and ``raw`` are kept.
        ``uns["junction_overlap"]`` has the numbers of :meth:`compare_junctions`.

        Parameters
        ----------
        adata
            New cells.
        reference_model
            A trained model, or the folder it was saved to.
        return_reference_var_names
            Return only the names of the junctions of the reference.
        inplace
            Change ``adata`` itself; otherwise return a new AnnData. A backed ``adata`` is then in
            memory, and its file is unchanged.
        atse_totals
            ``"query"``: what ``adata`` counted, missing junctions count 0. ``"shared"``: sums over
            the junctions that both have, and missing junctions are not observed, nor are ATSEs of
            which ``adata`` has one junction, whose PSI is then always 1. PSI of the others is a
            share of fewer reads than in the programs, and too high by as much as these expect at
            the missing junctions (``lost_psi`` of :meth:`compare_junctions`).
        min_overlap
            Minimum share of the reference's junctions that ``adata`` must have, from 0 to 1.
        mapping
            Table of :func:`leafletfa_scvi.pp.map_junctions`, or any with the columns ``source``
            (junctions of ``adata``) and ``target`` (of the reference), each junction once: a
            DataFrame, a dict, or a CSV, TSV or Parquet file. Rows without a target are dropped
            junctions. ``adata`` may lack sources, the reference must have all targets.
        keep_new_atses
            Keep the ATSEs that have no junction of the reference, after its junctions, for
            ``load_query_data(..., freeze_programs=False)``. Other junctions that the reference
            lacks are dropped all the same, as they would change the PSI of an ATSE that it knows.
        trust
            As in :meth:`load`, for a saved reference.

        Raises
        ------
        FileNotFoundError, KeyError
            A layer with counts or totals is missing, the file of the mapping, or a column of it.
        ValueError
            ``adata`` has too few junctions of the reference (the message says why, as far as can
            be told: names without strand, 0-based coordinates, another genome build or species);
            names of its cells or junctions are not unique; counts or totals are invalid;
            ``atse_totals="shared"`` and the reference has no ATSEs; the mapping repeats a
            junction, or has targets that the reference lacks, or none of the junctions of
            ``adata``; or, for ``keep_new_atses``, ATSE labels are missing.

        Warns
        -----
        UserWarning
            If ``adata`` lacks junctions of ATSEs of which it has others, which then count 0, or
            has fewer than half of the junctions for a reason that can be told.
        """
        reference = cls._reference(reference_model, trust=trust)
        names = pd.Index(reference.junction_names)
        if return_reference_var_names:
            return names
        check_one_of("atse_totals", atse_totals, AtseTotals)
        check_inside("min_overlap", min_overlap, "[0, 1]")
        if is_mudata(adata):
            raise TypeError(
                "Expected an AnnData, found a MuData. Use prepare_query_mudata, or pass its "
                "modality with the junctions, as mdata.mod['splicing']."
            )
        check_axes(adata)
        codes, (junction_layer, cluster_layer) = reference.atse_codes_, reference._layers
        if atse_totals == "shared" and codes is None:
            raise ValueError(
                "Expected a reference with ATSEs for atse_totals='shared', found one without ATSE "
                "labels. Leave it out."
            )
        _check_layers(adata, reference)
        given, unmapped = adata, names[:0]
        if mapping is not None:
            mapped = read_mapping(mapping, adata.var_names.astype(str), names)
            check_counts_and_totals(adata, junction_layer, cluster_layer)  # by its own names
            adata = rename_junctions(adata, mapped)
            unmapped = names[~names.isin(mapped)]
        overlap = cls.compare_junctions(adata, reference)
        _check_overlap(overlap, min_overlap, adata)
        own_names = _own_names(adata, overlap)
        labels, targets = reference.atse_labels_, names
        if keep_new_atses:
            targets, labels, codes = join_new_atses(adata.var, own_names, reference)
        key = reference._atse_key
        present, observed = overlap.is_shared, None
        if codes is not None and atse_totals == "shared":
            observed = np.ones(len(targets), bool)  # of ATSEs that the reference lacks, all
            known = codes[: len(names)]
            observed[: len(names)] = present & (np.bincount(known, present)[known] > 1)
        aligned = align_junctions(
            adata,
            targets,
            codes,
            junction_layer=junction_layer,
            cluster_layer=cluster_layer,
            atse_key=key,
            own_names=own_names,
            observed=observed,
        )
        if codes is not None:
            if observed is None:
                _warn_of_missing(present | names.isin(unmapped), codes[: len(names)])
            else:
                _log_unobserved(present, observed[: len(names)], codes[: len(names)])
            if labels is not None:
                aligned.var[key] = pd.Categorical(labels)
        if len(unmapped):
            hide_junctions(aligned, unmapped, cluster_layer)
        if overlap.renamed_contigs and "chrom" in aligned.var:
            aligned.var["chrom"] = rename_contigs(aligned.var["chrom"], overlap.renamed_contigs)
        aligned.uns[OVERLAP_SLOT] = overlap.summary()
        if not inplace:
            return aligned
        given._init_as_actual(aligned)
        return None

    @classmethod
    def prepare_query_mudata(
        cls,
        mdata: MuData,
        reference_model: str | LeafletFAModel,
        return_reference_var_names: bool = False,
        inplace: bool = True,
        **options: Any,
    ) -> MuData | dict[str, pd.Index] | None:
        """Reorder the junctions of a MuData to those of a reference that was set up with one.

        Other modalities are not changed.

        Parameters
        ----------
        mdata
            New cells, with the modality that has the junctions of the reference.
        reference_model
            A trained model, or the folder it was saved to.
        return_reference_var_names
            Return only the names of the junctions of the reference, by the name of their modality.
        inplace
            Change ``mdata`` itself; otherwise return a new MuData, which shares the other
            modalities.
        **options
            Further arguments of :meth:`prepare_query_anndata`.

        Raises
        ------
        TypeError
            ``mdata`` is no MuData, or the reference was set up with an AnnData.
        KeyError, ValueError
            The modality does not exist, or as in :meth:`prepare_query_anndata`.
        """
        reference = cls._reference(reference_model, trust=bool(options.get("trust", False)))
        if reference._modalities is None:
            raise TypeError(
                "Expected a reference that was set up with a MuData, found one of an AnnData. Use "
                "prepare_query_anndata(mdata.mod['splicing'], reference)."
            )
        name = reference._modalities[JUNCTIONS]
        if return_reference_var_names:
            return {name: pd.Index(reference.junction_names)}
        check_mudata(mdata)
        adata = find_modality(mdata, name)
        aligned = cls.prepare_query_anndata(adata, reference, inplace=False, **options)
        if not inplace:
            return replace_modality(mdata, name, aligned)
        set_modality(mdata, name, aligned)
        return None

    def _with_mapped(self, data: AnnData | MuData, mapping: Pairs) -> AnnData | MuData:
        """Return data with the junctions of this model, those of another species mapped."""
        cls = type(self)
        prepare = cls.prepare_query_mudata if is_mudata(data) else cls.prepare_query_anndata
        mapped: AnnData | MuData = prepare(data, self, inplace=False, mapping=mapping)
        return mapped

    @classmethod
    def compare_junctions(
        cls, adata: AnnData | MuData, reference_model: str | LeafletFAModel, *, trust: bool = False
    ) -> JunctionOverlap:
        """Compare the junctions and ATSEs of an AnnData with those of a reference.

        Contigs that differ in the prefix ``chr``, and names of the mitochondrial genome, are
        matched, as :meth:`prepare_query_anndata` does. Nothing is changed.

        Parameters
        ----------
        adata
            New cells.
        reference_model
            A model, or the folder it was saved to.
        trust
            As in :meth:`load`, for a saved reference.

        Returns
        -------
        JunctionOverlap
            Junctions shared, lost and extra, the share of reads kept, and ATSEs that differ.
            Printing it shows the numbers and, if few junctions are shared, why, as far as can be
            told; ``to_frame()`` and ``atses`` are tables.

        Raises
        ------
        ValueError
            Names of cells or junctions of ``adata`` are not unique, or two contigs of it match
            one of the reference.

        Examples
        --------
        >>> overlap = LeafletFAModel.compare_junctions(new_cells, model)  # doctest: +SKIP
        >>> overlap.atses.sort_values("lost_psi")  # doctest: +SKIP
        """
        reference = cls._reference(reference_model, trust=trust)
        adata = reference._modality(adata)
        check_axes(adata)
        programs = reference.get_splicing_programs() if reference.is_trained_ else None
        return compare_junctions(
            adata,
            pd.Index(reference.junction_names),
            reference.atse_codes_,
            labels=reference.atse_labels_,
            var=reference._annotation(),
            programs=None if programs is None else programs.to_numpy(),
            junction_layer=reference._layers[0],
            atse_key=reference._atse_key,
        )


def _check_layers(adata: AnnData, reference: LeafletFAModel) -> None:
    """Raise an error if counts or totals are missing, which would leave totals as they are."""
    found = named_layers(adata)
    missing = [name for name in reference._layers if name not in found]
    if missing:
        raise KeyError(
            f"Layer {missing[0]!r} is missing: adata.layers holds {sorted(found)}. Store the "
            f"{'counts' if missing[0] == reference._layers[0] else 'totals'} in it, as in the "
            "data of the reference."
        )


def _check_overlap(overlap: JunctionOverlap, min_overlap: float, adata: AnnData) -> None:
    """Raise an error if too few junctions are shared, and say else how many are."""
    reasons = " ".join(overlap.reasons)
    total = overlap.n_shared + overlap.n_lost
    if overlap.n_shared == 0:
        names = overlap.junctions.index[0], adata.var_names[0]
        raise ValueError(
            f"adata has none of the reference's {total:,} junctions: {names[0]!r} in the "
            f"reference, {names[1]!r} in adata. "
            + (reasons or "Rename them to the same form first.")
        )
    if overlap.share_of_junctions < min_overlap:
        raise ValueError(
            f"adata has {overlap.n_shared:,} of the reference's {total:,} junctions "
            f"({overlap.share_of_junctions:.2%}), a share below min_overlap={min_overlap:g}. "
            + (reasons or "Lower min_overlap if they are enough.")
        )
    if reasons:
        warnings.warn(
            f"adata has only {overlap.n_shared:,} of the reference's {total:,} junctions. "
            f"{reasons}",
            UserWarning,
            stacklevel=3,
        )
    if overlap.renamed_contigs:
        log.info(
            "Contigs of the reference are named differently: %s.",
            described_contigs(overlap.renamed_contigs),
        )
    log.info("%s.", overlap.describe())


def _own_names(adata: AnnData, overlap: JunctionOverlap) -> pd.Index:
    """Return the names of the junctions of a data set, those of the reference where shared."""
    table = overlap.junctions[overlap.junctions["status"] == "shared"]
    names = adata.var_names.to_numpy(object, copy=True)
    names[adata.var_names.get_indexer(pd.Index(table["query_name"]))] = table.index
    own: pd.Index = pd.Index(names, dtype=adata.var_names.dtype)
    return own


def _log_unobserved(present: np.ndarray, observed: np.ndarray, codes: np.ndarray) -> None:
    """Say how many ATSEs are not observed although one of their junctions is shared."""
    n_left_out = len(np.unique(codes[present & ~observed]))
    if n_left_out:
        log.info("%d ATSEs of which adata has one junction are not observed.", n_left_out)


def _warn_of_missing(present: np.ndarray, codes: np.ndarray) -> None:
    """Warn of junctions that are missing although others of their ATSE are not."""
    n_present = np.bincount(codes, present)[codes]
    n_missing = int((~present & (n_present > 0)).sum())
    if n_missing:
        warnings.warn(
            f"adata lacks {n_missing:,} of the reference's {len(codes):,} junctions in ATSEs of "
            "which it has others. They count 0 there, which is wrong if their reads were filtered "
            "out: then atse_totals='shared' is better, and "
            "lfa.pp.make_splicing_dataset(files, reference=model) counts them.",
            UserWarning,
            stacklevel=3,
        )


def _described(model: Any) -> str:
    """Describe an object that is not a model."""
    if model is None:
        return "None"
    return (
        f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
    )
