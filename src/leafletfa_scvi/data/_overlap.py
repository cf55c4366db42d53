"""Junctions and ATSEs that a data set has in common with a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.data._atse_labels import own_atses
from leafletfa_scvi.data._junction_names import match_contigs_of_names
from leafletfa_scvi.data._mismatch import explain_mismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

_EXPLAIN_BELOW: Final = 0.5
"""Share of the junctions of the smaller set below which reasons are looked for."""


@dataclass(frozen=True, eq=False, repr=False)
class JunctionOverlap:
    """Overlap of the junctions of a data set with those of a reference.

    Printing it shows the numbers; :meth:`to_frame` has every junction, ``atses`` every ATSE.

    Attributes
    ----------
    junctions
        One row for each junction of the reference, in its order, then for those that only the data
        set has: ``status`` (``"shared"``, ``"lost"`` if the data set lacks it, ``"extra"`` if the
        reference does), ``query_name`` (its name in the data set), ``reads`` (counts of the data
        set, NaN if unknown), ``atse`` (that of the reference) and ``query_atse``.
    atses
        One row for each ATSE of the reference: ``status`` (``"complete"``, ``"partial"``,
        ``"absent"``), ``n_junctions``, ``n_shared``, ``n_extra`` (junctions that the data set has
        in addition in ATSEs of these junctions), ``reads`` at shared and ``extra_reads`` at these
        junctions, ``is_split`` (the data set has the shared junctions in several ATSEs),
        ``is_merged`` (it has them in one ATSE with those of another), and ``lost_psi`` (largest
        PSI that any program has for the missing junctions together; NaN if the reference is not
        trained). Empty if the reference has no ATSEs.
    renamed_contigs
        Name in the reference of each contig that is named differently in the data set.
    reasons
        Why few junctions are shared, as far as can be told.
    """

    junctions: pd.DataFrame
    atses: pd.DataFrame
    renamed_contigs: Mapping[str, str]
    reasons: tuple[str, ...]

    @property
    def is_shared(self) -> np.ndarray:
        """``(P,)`` bool, junctions of the reference that the data set has."""
        status = self.junctions["status"]
        shared: np.ndarray = (status[status != "extra"] == "shared").to_numpy()
        return shared

    @property
    def n_shared(self) -> int:
        """Number of junctions that both have."""
        return self._count("shared")

    @property
    def n_lost(self) -> int:
        """Number of junctions that only the reference has."""
        return self._count("lost")

    @property
    def n_extra(self) -> int:
        """Number of junctions that only the data set has."""
        return self._count("extra")

    @property
    def share_of_junctions(self) -> float:
        """Share of the reference's junctions that the data set has."""
        return self.n_shared / max(self.n_shared + self.n_lost, 1)

    @property
    def share_of_reads(self) -> float:
        """Share of the data set's reads that are at shared junctions; NaN if there are none."""
        reads = self.junctions.groupby("status", observed=False)["reads"].sum()
        total = float(reads["shared"] + reads["extra"])
        return float(reads["shared"]) / total if total > 0 else float("nan")

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the table of junctions."""
        return self.junctions.copy()

    def summary(self) -> dict[str, int | float]:
        """Return the numbers, as :meth:`.prepare_query_anndata` writes them to ``uns``."""
        table = self.atses
        return {
            "n_shared": self.n_shared,
            "n_lost": self.n_lost,
            "n_extra": self.n_extra,
            "share_of_junctions": self.share_of_junctions,
            "share_of_reads": self.share_of_reads,
            **{
                f"n_atses_{status}": int((table["status"] == status).sum())
                for status in ("complete", "partial", "absent")
            },
            "n_atses_split": int(table["is_split"].sum()),
            "n_atses_merged": int(table["is_merged"].sum()),
            "n_renamed_contigs": len(self.renamed_contigs),
        }

    def describe(self) -> str:
        """Return the main numbers as one line."""
        reads = self.share_of_reads
        line = (
            f"{self.n_shared:,} of the reference's {self.n_shared + self.n_lost:,} junctions "
            f"({self.share_of_junctions:.1%}) are in the data"
        )
        if np.isfinite(reads):
            line += f", with {reads:.1%} of their reads"
        return f"{line}; {self.n_extra:,} others are not in the reference"

    def __repr__(self) -> str:
        numbers = self.summary()
        lines = [f"JunctionOverlap: {self.describe()}."]
        if len(self.atses):
            lines.append(
                f"  ATSEs: {numbers['n_atses_complete']:,} complete, "
                f"{numbers['n_atses_partial']:,} partial, {numbers['n_atses_absent']:,} absent; "
                f"{numbers['n_atses_split']:,} split and {numbers['n_atses_merged']:,} merged in "
                "the data"
            )
        if self.renamed_contigs:
            lines.append(f"  Contigs: {described_contigs(self.renamed_contigs)}")
        return "\n".join([*lines, *(f"  {reason}" for reason in self.reasons)])

    def _count(self, status: str) -> int:
        return int((self.junctions["status"] == status).sum())


def described_contigs(renamed: Mapping[str, str]) -> str:
    """Name contigs that were matched under another name, at most three of them."""
    pairs = [f"{name} is {other}" for name, other in list(renamed.items())[:3]]
    more = f" and {len(renamed) - 3} more" if len(renamed) > 3 else ""
    return ", ".join(pairs) + more


def compare_junctions(
    adata: AnnData,
    names: pd.Index,
    codes: np.ndarray | None = None,
    *,
    labels: np.ndarray | None = None,
    var: pd.DataFrame | None = None,
    programs: np.ndarray | None = None,
    junction_layer: str | None = None,
    atse_key: str = ATSE_KEY,
) -> JunctionOverlap:
    """Compare the junctions of a data set with those of a reference.

    Contigs that differ in the prefix ``chr``, and names of the mitochondrial genome, are matched.

    Parameters
    ----------
    adata
        Cells x junctions; not modified.
    names
        ``(P,)`` names of the junctions of the reference.
    codes, labels
        ``(P,)`` 0-based ATSE and ATSE label of each. If ``codes`` is None, ATSEs are unknown.
    var
        Annotation of the reference, to explain a small overlap.
    programs
        ``(P, K)`` programs of the reference.
    junction_layer
        Layer of ``adata`` with junction counts. If None or missing, reads are unknown.
    atse_key
        Column of ``adata.var`` with the ATSEs of the data set.

    Raises
    ------
    ValueError
        Two contigs of ``adata`` match one of the reference.
    """
    query, renamed = match_contigs_of_names(adata.var_names, names)
    names = names.astype(query.dtype)
    source = query.get_indexer(names)
    present = source >= 0
    extra = np.flatnonzero(~query.isin(names))
    own = own_atses(adata.var, atse_key)
    if labels is None and codes is not None:
        labels = codes.astype(str)
    junctions = _junction_table(
        adata, names, source, extra, labels, _reads(adata, junction_layer), atse_key
    )
    smaller = min(len(names), len(query))
    reasons: list[str] = []
    if present.sum() < _EXPLAIN_BELOW * smaller:
        reasons = explain_mismatch(query, adata.var, names, var)
    atses = _atse_table(junctions, source, extra, codes, labels, own, programs)
    return JunctionOverlap(junctions, atses, renamed, tuple(reasons))


def lost_psi(present: np.ndarray, codes: np.ndarray, programs: np.ndarray) -> np.ndarray:
    """Return the largest PSI of any program for the junctions that are missing of each ATSE.

    Parameters
    ----------
    present
        ``(P,)`` bool, junctions that a data set has.
    codes
        ``(P,)`` 0-based ATSE of each junction.
    programs
        ``(P, K)`` programs. PSI is divided by its sum over the ATSE.

    Returns
    -------
    ``(n_atses,)`` between 0 (no junction is missing) and 1 (all are).
    """
    n_atses = int(codes.max(initial=-1)) + 1
    totals, kept = np.zeros((2, n_atses, programs.shape[1]))
    np.add.at(totals, codes, programs)
    np.add.at(kept, codes[present], programs[present])
    lost = (1 - kept / totals).max(axis=1, initial=0.0)
    is_complete = np.bincount(codes, ~present, n_atses) == 0
    result: np.ndarray = np.where(is_complete, 0.0, lost)
    return result


def _reads(adata: AnnData, layer: str | None) -> np.ndarray:
    """Sum the counts of each junction, ``(Q,)``; NaN if the layer is missing."""
    if layer is None or layer not in adata.layers:
        return np.full(adata.n_vars, np.nan)
    counts: Any = adata.layers[layer]
    return np.asarray(counts.sum(axis=0), np.float64).ravel()


def _junction_table(
    adata: AnnData,
    names: pd.Index,
    source: np.ndarray,
    extra: np.ndarray,
    labels: np.ndarray | None,
    reads: np.ndarray,
    atse_key: str,
) -> pd.DataFrame:
    """Return a row for each junction of the reference, then for each that it lacks."""
    present = source >= 0
    rows = np.concatenate([source, extra])
    theirs = np.full(len(rows), None, object)
    if labels is not None:
        theirs[: len(names)] = np.asarray(labels, object)
    query, own = np.full(
        (2, len(reads) + 1), None, object
    )  # the last, at -1, is that of lost ones
    query[:-1] = adata.var_names
    if atse_key in adata.var:
        own[:-1] = adata.var[atse_key].astype(object)
    status = np.where(present, "shared", "lost").tolist() + ["extra"] * len(extra)
    index = [*names.astype(str), *adata.var_names[extra].astype(str)]
    return pd.DataFrame(
        {
            "status": pd.Categorical(status, ["shared", "lost", "extra"]),
            "query_name": query[rows],
            "reads": np.append(reads, np.nan)[rows],
            "atse": theirs,
            "query_atse": own[rows],
        },
        index=pd.Index(index, name="junction", dtype=names.astype(str).dtype),
    )


def _atse_table(
    junctions: pd.DataFrame,
    source: np.ndarray,
    extra: np.ndarray,
    codes: np.ndarray | None,
    labels: np.ndarray | None,
    own: np.ndarray | None,
    programs: np.ndarray | None,
) -> pd.DataFrame:
    """Return a row for each ATSE of the reference, in order of their first junctions."""
    if codes is None or labels is None:
        codes, labels = np.zeros(0, np.int64), np.zeros(0, object)
        source, own, programs = source[:0], None, None
    present = source >= 0
    n_atses = int(codes.max(initial=-1)) + 1
    first = np.zeros(n_atses, np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    n_junctions = np.bincount(codes, minlength=n_atses)
    n_shared = np.bincount(codes[present], minlength=n_atses)
    reads = junctions["reads"].to_numpy()
    sums: dict[str, np.ndarray] = dict.fromkeys(
        ("n_extra", "extra_reads", "n_own", "n_merged"), np.zeros(n_atses)
    )
    if own is not None and n_atses:
        # One row for each ATSE of the reference and ATSE of the data set that share junctions.
        pairs = pd.DataFrame({"own": own[source[present]], "atse": codes[present]})
        pairs = pairs.drop_duplicates()
        of_own, n = pairs["own"].to_numpy(), int(own.max(initial=-1)) + 1
        values = {
            "n_own": np.ones(len(pairs)),
            "n_merged": np.bincount(of_own, minlength=n)[of_own] > 1,
            "n_extra": np.bincount(own[extra], minlength=n)[of_own],
            "extra_reads": np.bincount(own[extra], reads[len(source) :], n)[of_own],
        }
        sums = {name: np.bincount(pairs["atse"], value, n_atses) for name, value in values.items()}
    status = np.select([n_shared == n_junctions, n_shared > 0], ["complete", "partial"], "absent")
    return pd.DataFrame(
        {
            "status": pd.Categorical(status, ["complete", "partial", "absent"]),
            "n_junctions": n_junctions,
            "n_shared": n_shared,
            "n_extra": sums["n_extra"].astype(np.int64),
            "reads": np.bincount(codes[present], reads[: len(source)][present], n_atses),
            "extra_reads": sums["extra_reads"],
            "is_split": sums["n_own"] > 1,
            "is_merged": sums["n_merged"] > 0,
            "lost_psi": np.full(n_atses, np.nan)
            if programs is None
            else lost_psi(present, codes, programs),
        },
        index=pd.Index(np.asarray(labels, object)[first].astype(str), name="atse", dtype=object),
    ).iloc[np.argsort(first, kind="stable")]
