"""Filters by several criteria in a stated order, and what each one takes away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi._choices import AnnotationStatus
from leafletfa_scvi._constants import DATASET_SLOT

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def apply_criteria(
    criteria: dict[str, np.ndarray], reads: np.ndarray, what: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """What passes every criterion, and a record of what does not.

    Parameters
    ----------
    criteria
        For each criterion, in order, which of the N items pass it, ``(N,)`` bool.
    reads
        ``(N,)`` reads of each item.
    what
        Name of the items in the record, such as ``"junctions"``.

    Returns
    -------
    keep
        ``(N,)`` bool.
    record
        Items and reads before and kept, and those dropped by each criterion in ``"dropped"``. An
        item is counted under the first criterion that it fails.
    """
    keep = np.ones(len(reads), bool)
    dropped = {}
    for name, passes in criteria.items():
        fails = keep & ~passes
        dropped[name] = {what: int(fails.sum()), "reads": int(reads[fails].sum())}
        keep &= passes
    record = {
        f"{what}_before": len(reads),
        "reads_before": int(reads.sum()),
        f"{what}_kept": int(keep.sum()),
        "reads_kept": int(reads[keep].sum()),
        "order": list(criteria),
        "dropped": dropped,
    }
    return keep, record


def store_record(adata: AnnData, key: str, record: dict[str, Any], what: str) -> None:
    """Write a record to ``uns["splicing"][key]``, added to that of earlier calls."""
    slot = dict(adata.uns.get(DATASET_SLOT, {}))
    earlier = slot.get(key)
    if earlier:
        record = dict(record)
        for name in (f"{what}_before", "reads_before"):
            record[name] = int(earlier[name])
        dropped = {
            name: {unit: int(n) for unit, n in counts.items()}
            for name, counts in earlier["dropped"].items()
        }
        for name, counts in record["dropped"].items():
            before = dropped.get(name, {})
            dropped[name] = {unit: n + before.get(unit, 0) for unit, n in counts.items()}
        record["dropped"] = dropped
        order = [str(name) for name in earlier["order"]]
        record["order"] = order + [name for name in record["order"] if name not in order]
    slot[key] = record
    adata.uns[DATASET_SLOT] = slot


def status_passes(var: pd.DataFrame, wanted: str, remedy: str) -> np.ndarray:
    """Which junctions have as many annotated splice sites as wanted.

    Parameters
    ----------
    var
        Annotation of junctions with ``annotation_status``.
    wanted
        ``"both"``, ``"either"`` (at least one) or ``"any"`` (none is needed).
    remedy
        What to call where the column is missing.

    Raises
    ------
    ValueError
        ``wanted``, or a value of the column, is none of those known.
    KeyError
        The column is missing and needed.
    """
    check_one_of("annotation_status", wanted, AnnotationStatus)
    if wanted == "any":
        return np.ones(len(var), bool)
    status = text_column(var, "annotation_status", remedy)
    known = np.isin(status, ("both", "five_prime", "three_prime", "none"))
    if not known.all():
        i = int((~known).argmax())
        raise ValueError(
            f"adata.var['annotation_status'] is {status[i]!r} for junction {var.index[i]!r}: "
            "expected 'both', 'five_prime', 'three_prime' or 'none'."
        )
    return status == "both" if wanted == "both" else status != "none"


def text_column(var: pd.DataFrame, name: str, remedy: str) -> np.ndarray:
    """A column as text, ``(N,)`` object, categorical or not; a clear KeyError without it."""
    if name not in var:
        raise KeyError(f"adata.var has no column {name!r}: found {list(var.columns)}. {remedy}")
    return var[name].astype(object).astype(str).to_numpy(object)


def flag_column(var: pd.DataFrame, name: str, remedy: str) -> np.ndarray:
    """A column of truth values, ``(N,)`` bool; a clear KeyError without it."""
    if name not in var:
        raise KeyError(f"adata.var has no column {name!r}: found {list(var.columns)}. {remedy}")
    return var[name].to_numpy(bool)
