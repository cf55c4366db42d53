"""Gene sets and targets of regulators that are enriched among markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from leafletfa_scvi._arguments import check_one_of, check_whole
from leafletfa_scvi.tl._networks import (
    Scorer,
    import_decoupler,
    read_network,
    restrict_network,
)

if TYPE_CHECKING:
    from leafletfa_scvi.model import LeafletFAModel

_Method = Literal["ulm", "mlm", "zscore", "gsea", "ora"]
_Effect = Literal["absolute", "signed"]
_GROUPS = ("program", "comparison")
_GENE_KEYS = ("gene_name", "gene_id")


def marker_enrichment(
    markers: LeafletFAModel | pd.DataFrame,
    net: pd.DataFrame,
    method: _Method = "ulm",
    *,
    source: str = "source",
    target: str = "target",
    weight: str = "weight",
    effect: _Effect = "absolute",
    gene_key: str | None = None,
    min_targets: int = 5,
    **kwargs: Any,
) -> pd.DataFrame:
    """Test which gene sets or targets of regulators are enriched among markers.

    Computed by decoupler (``pip install "leafletfa-scvi[enrichment]"``) on a network that you
    give; nothing is downloaded. Each program (comparison) is tested alone. A gene has the largest
    effect of its junctions; the genes of the table are the background.

    Parameters
    ----------
    markers
        A model, whose :meth:`~leafletfa_scvi.LeafletFAModel.program_markers` are computed with
        default arguments, or a table of :meth:`~leafletfa_scvi.LeafletFAModel.program_markers` or
        :meth:`~leafletfa_scvi.LeafletFAModel.differential_splicing`, of junctions or ATSEs, with
        all rows, also those that are not significant.
    net
        Gene sets (sources) and their genes (targets), or regulators, such as RNA-binding
        proteins, and theirs, in long form: one row per pair.
    method
        ``"ora"`` tests whether the marker genes (of which a row has True in
        ``is_ds_fdr_<target>``) overlap a set by more than by chance, with Fisher's exact test.
        The others use the effects of all genes, by decoupler's method of that name: univariate
        (``"ulm"``) or multivariate (``"mlm"``) linear model, z-score (``"zscore"``), gene set
        enrichment analysis (``"gsea"``).
    source, target, weight
        Names of columns of ``net``. Without a column ``"weight"``, all weights are 1; ``"ora"``
        and ``"gsea"`` use none.
    effect
        ``"absolute"``: size of the largest effect, so that targets score high if their splicing
        changes in any direction. ``"signed"``: the effect of that junction with its sign. Which
        junction of a gene is the largest is often a matter of chance, and its sign with it; for
        signed weights see :func:`factor_activity`.
    gene_key
        Column of the table with the genes, which targets are compared with. If None,
        ``gene_name``, or ``gene_id`` where no gene has a name. Several genes of a junction,
        joined by ``,``, each count; junctions without a gene are left out.
    min_targets
        Minimum number of genes of a set in the table; smaller sets are left out.
    **kwargs
        Further arguments of decoupler's method, such as ``times`` and ``seed`` of ``"gsea"``.

    Returns
    -------
    One row per program (comparison) and source; within a program the smallest p-value first:
    ``program`` (or ``comparison``), ``source``, ``score`` (of decoupler: t-value of ``"ulm"`` and
    ``"mlm"``, log odds ratio of ``"ora"``, normalized enrichment score of ``"gsea"``),
    ``pvalue``, ``padj`` (Benjamini-Hochberg over all rows), ``n_targets`` (genes of the source in
    the table) and ``n_markers`` (how many of them are marker genes).

    Raises
    ------
    ImportError
        decoupler is not installed.
    KeyError
        ``net`` or the table lack a column.
    TypeError
        ``markers`` or ``net`` are of another class.
    ValueError
        No gene of ``net`` is in the table, no source has ``min_targets``, ``net`` has missing
        values or repeated pairs, the table has no genes, or only significant rows.

    References
    ----------
    decoupler: Badia-i-Mompel et al., *Bioinformatics Advances* 2, vbac016 (2022).

    Examples
    --------
    >>> net = pd.read_csv("rbp_targets.csv")  # doctest: +SKIP
    >>> enriched = marker_enrichment(model, net, source="rbp", target="gene")  # doctest: +SKIP
    """
    check_one_of("method", method, _Method)
    check_one_of("effect", effect, _Effect)
    check_whole("min_targets", min_targets, 1)
    network = read_network(net, source, target, weight)
    import_decoupler()
    table = _marker_table(markers)
    group = next(column for column in _GROUPS if column in table)
    genes = _genes(table, group, gene_key)
    names = pd.Index(genes["gene"].unique())
    others = {
        f"gene_key={key!r} takes them": pd.Index(table[key].astype(str).unique())
        for key in _GENE_KEYS
        if key in table
    }
    # Checked on all genes; each program then has its own.
    network = restrict_network(network, names, min_targets, "genes of the table", others)
    rows = []
    for name, part in genes.groupby(group, sort=False, observed=True):
        of_program = network[network["target"].isin(part["gene"])]
        number = of_program["source"].value_counts()
        enough = number.index[number >= min_targets]
        of_program = of_program[of_program["source"].isin(enough)].reset_index(drop=True)
        if of_program.empty:
            continue
        scored = _score(part, of_program, method, effect, kwargs)
        scored.insert(0, group, name)
        rows.append(scored)
    if not rows:
        raise ValueError(
            f"Expected a source with at least min_targets={min_targets} tested genes in a "
            f"{group}, found none. Lower min_targets."
        )
    result = pd.concat(rows, ignore_index=True)
    tested = result["pvalue"].notna().to_numpy()
    adjusted = np.full(len(result), np.nan)
    adjusted[tested] = false_discovery_control(result["pvalue"].to_numpy()[tested])
    result.insert(4, "padj", adjusted)
    return result


def _marker_table(markers: Any) -> pd.DataFrame:
    """Return the table of markers, with all rows that were tested."""
    table = markers.program_markers() if hasattr(markers, "program_markers") else markers
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            "Expected markers to be a LeafletFAModel or a table of its program_markers or "
            f"differential_splicing, found {type(table).__name__}."
        )
    called = [c for c in table.columns if str(c).startswith("is_ds_fdr_")]
    known = any(column in table for column in _GROUPS)
    if not (known and called and "effect_size" in table):
        raise KeyError(
            "Expected the columns 'program' or 'comparison', 'effect_size' and "
            f"'is_ds_fdr_<target>' in the table of markers, found {list(table.columns)}."
        )
    is_marker = table[called[0]].to_numpy(bool)
    if len(table) and is_marker.all():
        raise ValueError(
            "Expected all tested rows in the table of markers, as the genes that are no markers "
            f"are the background, found only rows with {called[0]}=True. Make the table with "
            "only_significant=False."
        )
    table = table.assign(is_marker=is_marker)
    return table[table["effect_size"].notna()]


def _genes(table: pd.DataFrame, group: str, gene_key: str | None) -> pd.DataFrame:
    """Table of genes: ``group``, ``gene``, ``effect`` (of the largest size), ``is_marker``."""
    if gene_key is not None and gene_key not in table:
        raise KeyError(
            f"Expected gene_key to be a column of the table of markers, found {gene_key!r}. It "
            f"has {list(table.columns)}."
        )
    for key in _GENE_KEYS if gene_key is None else (gene_key,):
        if key not in table:
            continue
        text = table[key].astype(object).where(table[key].notna(), "").astype(str)
        rows = pd.DataFrame(
            {
                group: table[group].to_numpy(),
                "gene": text.str.split(",").to_numpy(),
                "effect": table["effect_size"].to_numpy(float),
                "is_marker": table["is_marker"].to_numpy(),
            }
        ).explode("gene")
        rows = rows[rows["gene"] != ""]
        if len(rows):
            size = rows["effect"].abs()
            rows = rows.assign(size=size).sort_values("size", ascending=False, kind="stable")
            by_gene = rows.groupby([group, "gene"], sort=False, observed=True)
            genes = by_gene.agg(effect=("effect", "first"), is_marker=("is_marker", "any"))
            order = table[group].unique()
            genes = genes.reset_index()
            genes[group] = pd.Categorical(genes[group], order)
            return genes.sort_values([group, "gene"], kind="stable")
    raise ValueError(
        "Expected genes in the table of markers, in the column "
        f"{' or '.join(map(repr, _GENE_KEYS if gene_key is None else (gene_key,)))}, found none. "
        "lfa.pp.annotate_junctions adds them to adata.var."
    )


def _score(
    genes: pd.DataFrame,
    net: pd.DataFrame,
    method: str,
    effect: str,
    options: dict[str, Any],
) -> pd.DataFrame:
    """Score the sources of one program: ``source``, ``score``, ``pvalue`` and two numbers."""
    names, marker = pd.Index(genes["gene"]), genes["gene"][genes["is_marker"]]
    if method == "ora":
        # Not decoupler's `ora`, which takes a number of genes with the largest scores.
        tested = import_decoupler().mt.query_set(
            list(marker), net, n_bg=len(names), tmin=0, **options
        )
        table = tested.rename(columns={"stat": "score", "pval": "pvalue"})
        table = table.set_index("source")[["score", "pvalue"]]
    else:
        value = genes["effect"].to_numpy()[None]
        value = np.abs(value) if effect == "absolute" else value
        with np.errstate(invalid="ignore", divide="ignore"):  # a set of all genes
            scores = Scorer(method, net, names, options)(value, pd.RangeIndex(1))
        assert scores.pvalue is not None
        table = pd.DataFrame({"score": scores.score.iloc[0], "pvalue": scores.pvalue.iloc[0]})
    by_source = net.assign(is_marker=net["target"].isin(marker)).groupby("source")
    table["n_targets"] = by_source.size()
    table["n_markers"] = by_source["is_marker"].sum()
    size = table["score"].abs()
    order = np.lexsort((table.index.to_numpy(str), -size.to_numpy(), table["pvalue"].to_numpy()))
    ordered: pd.DataFrame = table.iloc[order].rename_axis("source").reset_index()
    return ordered
