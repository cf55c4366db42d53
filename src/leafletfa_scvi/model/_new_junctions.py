"""Junctions that a reference lacks, in the data that extend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_once

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.model._base import SplicingModelBase

_PREPARE = "LeafletFAModel.prepare_query_anndata(adata, reference, keep_new_atses=True)"


class JoinedJunctions(NamedTuple):
    """Junctions of a reference, and after them those that it lacks.

    Attributes
    ----------
    names, labels
        ``(P,)`` names, and labels of their ATSEs, as text.
    codes
        ``(P,)`` 0-based ATSE of each; those of the reference come first.
    """

    names: pd.Index
    labels: np.ndarray
    codes: np.ndarray


def join_new_atses(
    var: pd.DataFrame, names: pd.Index, reference: SplicingModelBase
) -> JoinedJunctions:
    """Find the ATSEs of a data set that have no junction of a reference.

    A new junction of an ATSE that the reference knows is left out: its reads would change the
    totals, and with them the PSI, of the others. If the reference has a different ATSE of the same
    label, the new one is renamed.

    Parameters
    ----------
    var, names
        Annotation of the junctions of the data set, and their names as in the reference.
    reference
        The reference.

    Raises
    ------
    ValueError
        Either has no ATSE labels, or a junction has none.
    """
    own, known_labels, known_codes = _known(reference)
    key = _label_column(var, reference)
    labels = var[key]
    is_known = names.isin(own)
    touched = set(labels[is_known].dropna())
    is_new = ~is_known & ~labels.isin(touched).to_numpy()
    _check_labeled(labels[is_new], key)
    taken = set(known_labels)
    renamed = {label: _free_label(str(label), taken) for label in pd.unique(labels[is_new])}
    return _joined(
        own.append(names[is_new].astype(str)),
        np.r_[known_labels, labels[is_new].map(renamed).astype(str).to_numpy()],
        known_codes,
    )


def check_new_atses(adata: AnnData, reference: SplicingModelBase) -> JoinedJunctions | None:
    """Check the junctions of data that extend a reference; None if none of them is new.

    Raises
    ------
    ValueError
        The junctions of the reference are not the first, or a new one is in an ATSE of the
        reference, or has no ATSE.
    """
    own = pd.Index(reference.junction_names)
    theirs = adata.var_names.astype(str)
    if len(theirs) <= len(own) or not own.isin(theirs).all():
        return None  # nothing is new, or the usual check says what is missing
    if not np.array_equal(theirs[: len(own)], own):
        raise ValueError(
            f"Expected the {len(own)} junctions of the reference first, in its order, and the "
            f"{len(theirs) - len(own)} new ones after them: {_PREPARE} orders them."
        )
    _, known_labels, known_codes = _known(reference)
    key = _label_column(adata.var, reference)
    labels = adata.var[key].iloc[len(own) :]
    _check_labeled(labels, key)
    labels = labels.astype(str)
    shared = labels.isin(set(known_labels)).to_numpy()
    if shared.any():
        i = int(shared.argmax())
        raise ValueError(
            f"Expected new junctions in ATSEs of their own, found {labels.index[i]!r} in "
            f"{labels.iloc[i]!r}, an ATSE of the reference, whose PSI it would change. {_PREPARE} "
            "leaves such junctions out."
        )
    return _joined(theirs, np.r_[known_labels, labels.to_numpy()], known_codes)


def _known(reference: SplicingModelBase) -> tuple[pd.Index, np.ndarray, np.ndarray]:
    """Names, ATSE labels and ATSE codes of the junctions of a reference."""
    if reference.atse_codes_ is None or reference.atse_labels_ is None:
        raise ValueError(
            "Expected a reference with ATSE labels to keep new junctions, found none: only "
            "junctions in ATSEs of their own leave the PSI of the others as it is."
        )
    labels = np.asarray(reference.atse_labels_).astype(str)
    return pd.Index(reference.junction_names), labels, reference.atse_codes_


def _label_column(var: pd.DataFrame, reference: SplicingModelBase) -> str:
    key = reference._atse_key
    if key not in var:
        raise ValueError(
            f"Expected the ATSE of each new junction in adata.var[{key!r}], found no such column."
        )
    check_once(var, key, "var")
    return key


def _check_labeled(labels: pd.Series, key: str) -> None:
    missing = labels.isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"Expected the ATSE of each new junction in adata.var[{key!r}], found none for "
            f"{labels.index[int(missing.argmax())]!r}. Drop the junction, or label it."
        )


def _free_label(label: str, taken: set[str]) -> str:
    """Return a label that is not taken, and take it."""
    while label in taken:
        label += "_new"
    taken.add(label)
    return label


def _joined(names: pd.Index, labels: np.ndarray, known: np.ndarray) -> JoinedJunctions:
    n_known = int(known.max(initial=-1)) + 1
    new = pd.factorize(labels[len(known) :])[0]
    return JoinedJunctions(names, labels.astype(object), np.r_[known, n_known + new])
