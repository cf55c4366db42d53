"""Filters by several criteria in order, and a record of what each one drops."""

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
    """Select items that pass every criterion, and record the others.

    Parameters
    ----------
    criteria
        Mask of the items that pass each criterion, ``(N,)`` bool, in order.
    reads
        ``(N,)`` reads of each item.
    what
        Name of the items in the record, such as ``"junctions"``.

    Returns
    -------
    keep
        ``(N,)`` bool.
    record
        Numbers of items and reads before and kept, and those dropped by each criterion in
        ``"dropped"``. An item is counted under the first criterion that it fails.
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
    """Write a record to ``uns["splicing"][key]``, added to the record of earlier calls."""
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
    """Mark junctions with enough annotated splice sites.

    Parameters
    ----------
    var
        Annotation of junctions with ``annotation_status``.
    wanted
        ``"both"``, ``"either"`` (at least one) or ``"any"`` (none required).
    remedy
        Advice if the column is missing.

    Raises
    ------
    ValueError
        If ``wanted`` or a value of the column is unknown.
    KeyError
        If the column is missing and needed.
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
    mask: np.ndarray = status == "both" if wanted == "both" else status != "none"
    return mask


def text_column(var: pd.DataFrame, name: str, remedy: str) -> np.ndarray:
    """Return a column as text, ``(N,)`` object, or raise a KeyError with the remedy."""
    if name not in var:
        raise KeyError(f"adata.var has no column {name!r}: found {list(var.columns)}. {remedy}")
    return var[name].astype(object).astype(str).to_numpy(object)


def flag_column(var: pd.DataFrame, name: str, remedy: str) -> np.ndarray:
    """Return a boolean column, ``(N,)`` bool, or raise a KeyError with the remedy."""
    if name not in var:
        raise KeyError(f"adata.var has no column {name!r}: found {list(var.columns)}. {remedy}")
    return var[name].to_numpy(bool)
