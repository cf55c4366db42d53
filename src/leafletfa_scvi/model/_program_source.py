"""Programs given to ``LeafletFAModel.from_programs``, and what an AnnData holds beside them."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from leafletfa_scvi._constants import (
    ACTIVITY_SLOT,
    ATSE_KEY,
    CLUSTER_LAYER,
    JUNCTION_LAYER,
    PROGRAM_SLOT,
    RESULTS_SLOT,
    program_names,
)
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data import atse_codes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

_PROGRAM_COLUMN = re.compile(r"SP_(\d+)")
_OF_JUNCTIONS = ("kappa", "psi_concentration", "psi_variance")
"""Exported results with a row for each junction."""
_TOLERANCE = 1e-3
"""Largest deviation of a sum from 1 that is taken for rounding."""


@dataclass(frozen=True)
class ProgramSource:
    """Programs of P junctions, with whatever is known besides.

    Attributes
    ----------
    psi
        ``(P, K)`` float64 programs by names of junctions and, in the order of ``SP_1`` .., of
        programs.
    order
        ``(K,)`` position of each program in what was given, which arrays without names follow.
    slot
        Where they were found, for messages.
    adata
        The AnnData; None if a table was given.
    var
        Annotation of the junctions.
    atse_key
        Column of ``var`` with the ATSE labels; None for a column other than the default that is
        missing.
    codes, labels
        ``(P,)`` 0-based ATSE of each junction and its label as text; None without labels.
    results
        What an export of a model wrote to ``uns``, junctions as in ``psi``; empty if none did.
    """

    psi: pd.DataFrame
    order: np.ndarray
    slot: str
    adata: AnnData | None
    var: pd.DataFrame
    atse_key: str | None
    codes: np.ndarray | None
    labels: np.ndarray | None
    results: Mapping[str, Any]

    @classmethod
    def read(cls, programs: Any, atse_id: Any, var: pd.DataFrame | None) -> ProgramSource:
        """Read and check programs and the annotation of their junctions; values are not checked.

        Raises
        ------
        TypeError
            ``programs`` or ``var`` is of another class.
        KeyError
            An AnnData lacks the programs.
        ValueError
            Names are repeated or missing, or an ATSE label is missing.
        """
        if isinstance(programs, AnnData):
            adata, slot = programs, f"programs.varm[{PROGRAM_SLOT!r}]"
            given = _of_varm(adata)
        elif isinstance(programs, pd.DataFrame):
            adata, slot, given = None, "programs", programs
        else:
            raise TypeError(
                "Expected programs to be a DataFrame, junctions x programs, or an AnnData with "
                f"varm[{PROGRAM_SLOT!r}], found a {type(programs).__name__}."
            )
        psi = _named(given, slot)
        results = {} if adata is None else exported_results(adata, psi.index, psi.shape[1])
        if var is None:
            table = pd.DataFrame(index=psi.index) if adata is None else adata.var
            annotation = table.set_axis(psi.index)
        else:
            annotation = _annotation(var, psi.index)
        key = str(results.get("params", {}).get("atse_key", ATSE_KEY))
        if atse_id is not None:
            key = ATSE_KEY
            annotation = annotation.assign(**{key: _labels(atse_id, psi.index)})
        codes = labels = None
        if key in annotation:
            codes, _ = atse_codes(AnnData(var=annotation[[key]], shape=(0, len(psi))), key)
            labels = annotation[key].astype(object).map(str).to_numpy(object)
        registered = None if codes is None and key != ATSE_KEY else key  # the default may lack
        order = pd.Index(given.columns.astype(str)).get_indexer(psi.columns)
        return cls(psi, order, slot, adata, annotation, registered, codes, labels, results)

    @property
    def program_names(self) -> list[str]:
        """Names that the programs were given, in the order of ``psi``."""
        return list(self.psi.columns)

    @property
    def layers(self) -> tuple[str, str]:
        """Names of the layers of junction counts and ATSE totals."""
        params = self.results.get("params", {})
        return (
            str(params.get("junction_layer", JUNCTION_LAYER)),
            str(params.get("cluster_layer", CLUSTER_LAYER)),
        )

    def without_posterior(self) -> ProgramSource:
        """Return the same without what was exported of a posterior under another likelihood."""
        dropped = ("activity_weight", *_OF_JUNCTIONS)
        results = {key: value for key, value in self.results.items() if key not in dropped}
        return replace(self, results=results)

    def check_values(self, *, shares_reads: bool) -> None:
        """Check that every PSI is inside (0, 1).

        Parameters
        ----------
        shares_reads
            If True, the PSI of the only junction of an ATSE may be 1, and PSI must not sum to more
            than 1 within an ATSE.

        Raises
        ------
        ValueError
            A value is missing or outside; the message names junction and program.
        """
        psi = self.psi.to_numpy()
        wrong = ~((psi > 0.0) & (psi < 1.0))
        if shares_reads and self.codes is not None:
            alone = np.bincount(self.codes)[self.codes] == 1
            wrong &= ~(alone[:, None] & (psi == 1.0))
        if wrong.any():
            j, k = np.argwhere(wrong)[0]
            found = f"{psi[j, k]:g} for junction {self.psi.index[j]!r}, program " + repr(
                self.program_names[k]
            )
            is_bound = np.isin(psi[wrong], (0.0, 1.0)).all()
            remedy = (
                "No PSI is known to be exactly 0 or 1: clip them, as "
                + (
                    "programs.clip(1e-6, 1 - 1e-6)."
                    if self.adata is None
                    else f"adata.varm[{PROGRAM_SLOT!r}] = adata.varm[{PROGRAM_SLOT!r}]"
                    ".clip(1e-6, 1 - 1e-6)."
                )
                if is_bound
                else "Drop these junctions, or correct them."
            )
            raise ValueError(
                f"Expected {self.slot} to hold PSI inside (0, 1), found {found}; "
                f"{int(wrong.sum()):,} of {wrong.size:,} values are outside. {remedy}"
            )
        if shares_reads and self.codes is not None and self.labels is not None:
            total = np.zeros((self.codes.max() + 1, psi.shape[1]))
            np.add.at(total, self.codes, psi)
            if total.max() > 1.0 + _TOLERANCE:
                a, k = np.unravel_index(int(total.argmax()), total.shape)
                label = self.labels[int((self.codes == a).argmax())]
                raise ValueError(
                    "Expected PSI to sum to at most 1 within an ATSE for the "
                    f"Dirichlet-multinomial, found {total[a, k]:.4g} for ATSE {label!r}, program "
                    f"{self.program_names[k]!r}. Use likelihood='betabinomial', or divide by it."
                )

    def activities(self) -> np.ndarray | None:
        """Read the activities of the cells of the AnnData, ``(C, K)``; None without them.

        Raises
        ------
        ValueError
            Their number of programs differs, or those of a cell do not sum to 1.
        """
        if self.adata is None:
            return None
        n_programs, obs = self.psi.shape[1], self.adata.obs
        names = program_names(n_programs)
        in_order = False
        if ACTIVITY_SLOT in self.adata.obsm:
            slot, values = f"obsm[{ACTIVITY_SLOT!r}]", self.adata.obsm[ACTIVITY_SLOT]
            if isinstance(values, pd.DataFrame) and set(values.columns) == set(self.psi.columns):
                values, in_order = values[self.program_names], True
        elif set(names) <= set(obs.columns):
            slot, values, in_order = f"obs[{names[0]!r}] ..", obs[names], True
        else:
            return None
        phi = np.asarray(values.toarray() if is_sparse(values) else values, dtype=np.float32)
        if phi.shape[1:] != (n_programs,):
            raise ValueError(
                f"Expected programs.{slot} to have the {n_programs} programs of {self.slot}, "
                f"found shape {phi.shape}. Remove one of the two."
            )
        phi = phi if in_order else phi[:, self.order]
        total = phi.sum(1)
        wrong = ~((phi >= 0.0).all(1) & (np.abs(total - 1.0) <= 10 * _TOLERANCE))
        if wrong.any():
            i = int(wrong.argmax())
            raise ValueError(
                f"Expected programs.{slot} to hold activities, which are not negative and sum to "
                f"1, found a sum of {total[i]:g} for cell {self.adata.obs_names[i]!r}; "
                f"{int(wrong.sum()):,} of {len(phi):,} cells are wrong. Remove {slot}, or pass "
                "prevalence, concentration and activity_concentration with a DataFrame."
            )
        normalized: np.ndarray = phi / total[:, None]
        return normalized


def aligned(name: str, values: Any, labels: Sequence[str], each: str) -> np.ndarray:
    """Return one value for each label; a Series with names is matched by them.

    Parameters
    ----------
    name
        Name of the argument.
    values
        Its value.
    labels
        Names of junctions or programs.
    each
        What they are, in the plural.

    Raises
    ------
    ValueError
        The length differs, or a name is repeated or missing.
    """
    if isinstance(values, pd.Series) and not isinstance(values.index, pd.RangeIndex):
        values = values.set_axis(values.index.astype(str))
        _check_unique(values.index, f"the index of {name}", each)
        missing = pd.Index(labels).difference(values.index, sort=False)
        if len(missing):
            raise ValueError(
                f"Expected {name} to have a value for each of the {len(labels):,} {each}, found "
                f"none for {missing[0]!r}, in total for {len(missing):,}. Name them as in "
                "programs."
            )
        values = values.loc[list(labels)]
    array = np.asarray(values)
    if array.shape != (len(labels),):
        raise ValueError(
            f"Expected {name} to have a value for each of the {len(labels):,} {each}, found shape "
            f"{array.shape}. Pass them in the order of programs, or a Series with their names."
        )
    return array


def plain_table(var: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of an annotation that a model file can hold: text and numbers."""
    columns = {}
    for name in var.columns[~var.columns.duplicated()]:
        column = var[name]
        if column.dtype.kind not in "biuf" or not isinstance(column.dtype, np.dtype):
            values = column.to_numpy(object, copy=True)
            values[pd.isna(values)] = None
            if not all(x is None or isinstance(x, str | bool | int | float) for x in values):
                continue
            columns[str(name)] = values
        else:
            columns[str(name)] = column.to_numpy()
    return pd.DataFrame(columns, index=var.index)


def _of_varm(adata: AnnData) -> pd.DataFrame:
    """Read the table of programs of an AnnData."""
    if PROGRAM_SLOT not in adata.varm:
        raise KeyError(
            f"Expected an AnnData with programs in varm[{PROGRAM_SLOT!r}], found "
            f"{sorted(adata.varm)}. Write them with model.export_posterior(), or pass a "
            "DataFrame, junctions x programs."
        )
    values = adata.varm[PROGRAM_SLOT]
    array = np.asarray(values.toarray() if is_sparse(values) else values)
    if array.ndim != 2:
        raise ValueError(
            f"Expected programs.varm[{PROGRAM_SLOT!r}] to be junctions x programs, found shape "
            f"{array.shape}."
        )
    is_table = isinstance(values, pd.DataFrame)
    columns = list(values.columns) if is_table else program_names(array.shape[1])
    return pd.DataFrame(array, adata.var_names, columns)


def _named(table: pd.DataFrame, slot: str) -> pd.DataFrame:
    """Check names and types of programs; put ``SP_1`` .. in order."""
    n_programs = table.shape[1]
    if len(table) == 0:
        raise ValueError(f"Expected {slot} to hold junctions in its rows, found none.")
    if n_programs < 2:
        raise ValueError(
            f"Expected {slot} to hold at least two programs, found {n_programs}: with one, all "
            "cells have the same activities."
        )
    if isinstance(table.index, pd.MultiIndex):
        raise ValueError(
            f"Expected one name for each row of {slot}, found an index of several levels. Join "
            "them to chrom:start-end:strand."
        )
    if table.index.astype(str).str.fullmatch(_PROGRAM_COLUMN).all():
        raise ValueError(
            f"Expected {slot} to be junctions x programs, found programs in its rows, "
            f"{table.index[0]!r} first. Transpose it, programs.T."
        )
    junctions = pd.Index(table.index.astype(str), dtype=object)
    names = pd.Index(table.columns.astype(str), dtype=object)
    if pd.Series(junctions).str.fullmatch(r"\d+").all():
        raise ValueError(
            f"Expected the rows of {slot} to be named by junctions, as chrom:start-end:strand, "
            f"found numbers, {junctions[0]!r} first: cells of other data could not be matched to "
            "them. Set names first; LeafletFA has its own in var['junction_id'], 0-based."
        )
    _check_unique(junctions, f"the rows of {slot}", "junctions")
    _check_unique(names, f"the columns of {slot}", "programs")
    try:
        psi = pd.DataFrame(table.to_numpy(dtype=np.float64), junctions, list(names))
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected {slot} to hold numbers: {error}.") from error
    expected = program_names(n_programs)
    if set(psi.columns) == set(expected):
        return psi[expected]
    if all(_PROGRAM_COLUMN.fullmatch(name) for name in names):
        # SP_1, SP_3, ... of a pruned model: in order of their numbers.
        psi = psi[sorted(names, key=lambda name: int(str(name).removeprefix("SP_")))]
    pairs = ", ".join(f"{ours} is {name!r}" for ours, name in zip(expected, psi, strict=True))
    log.info("Programs are numbered in the order given: %s.", pairs)
    return psi


def _check_unique(names: pd.Index, where: str, what: str) -> None:
    """Check that names are not repeated."""
    repeated = names[names.duplicated()]
    if len(repeated):
        raise ValueError(
            f"Expected unique names of {what} in {where}, found {repeated[0]!r} more than once, "
            f"{len(repeated):,} repeated in all. Rename or drop them."
        )


def _annotation(var: Any, junctions: pd.Index) -> pd.DataFrame:
    """Return the rows of ``var`` for the junctions."""
    if not isinstance(var, pd.DataFrame):
        raise TypeError(
            f"Expected var to be a DataFrame of junctions, found a {type(var).__name__}."
        )
    var = var.set_axis(var.index.astype(str))
    _check_unique(var.index, "var", "junctions")
    missing = junctions.difference(var.index, sort=False)
    if len(missing):
        raise ValueError(
            f"Expected var to hold the {len(junctions):,} junctions of programs, found no row for "
            f"{missing[0]!r}, in total for {len(missing):,}. Name them as in programs."
        )
    selected: pd.DataFrame = var.loc[junctions]
    return selected


def _labels(atse_id: Any, junctions: pd.Index) -> np.ndarray:
    """Check ATSE labels given as an argument."""
    labels = aligned("atse_id", atse_id, list(junctions), "junctions").astype(object)
    missing = np.flatnonzero(pd.isna(labels))
    if len(missing):
        raise ValueError(
            f"Expected atse_id to label every junction, found no label for "
            f"{junctions[missing[0]]!r}, in total for {len(missing):,}. Drop these junctions, or "
            "give each a label of its own."
        )
    return labels


def exported_results(adata: AnnData, junctions: pd.Index, n_programs: int) -> Mapping[str, Any]:
    """Read what an export wrote to ``uns``, in the order of the junctions.

    Values of junctions are left out if the AnnData has others now, and all if it has other
    programs.
    """
    results = adata.uns.get(RESULTS_SLOT)
    if not (hasattr(results, "get") and "programs" in results):
        return {}
    if len(results["programs"]) != n_programs:
        return {}
    out = dict(results)
    exported = pd.Index(np.asarray(out.pop("junctions", ()), dtype=object).astype(str))
    rows = exported.get_indexer(junctions) if exported.is_unique else np.array([-1])
    for key in _OF_JUNCTIONS:
        value = np.asarray(out.get(key, np.nan))
        if not value.ndim:
            continue
        if len(value) != len(exported) or rows.min() < 0:
            log.info("uns[%r][%r] is of other junctions, and is not used.", RESULTS_SLOT, key)
            del out[key]
        else:
            out[key] = value[rows]
    return out
