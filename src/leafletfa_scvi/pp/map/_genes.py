"""Orthologous genes of pairs of junctions."""

from __future__ import annotations

import pandas as pd

_VERSION = r"\.\d+$"


def junction_genes(table: pd.DataFrame, gene_key: str, what: str) -> pd.DataFrame:
    """Return the genes of junctions, one row for each junction and gene.

    Parameters
    ----------
    table
        J junctions.
    gene_key
        Column with genes; several are joined by ``","``.
    what
        Name of the argument, for messages.

    Returns
    -------
    Columns ``junction`` (0-based position) and ``gene``; none for junctions without a gene.

    Raises
    ------
    KeyError
        The column is missing.
    """
    if gene_key not in table:
        raise KeyError(
            f"Expected a column {gene_key!r} in {what}, found {list(table.columns)}. Name the "
            "column of genes, gene_key=..., or pass orthologs=None if genes are not to be checked."
        )
    text = table[gene_key].astype(object).fillna("").astype(str).str.split(",")
    genes = pd.DataFrame({"gene": text.to_numpy()}).rename_axis("junction").reset_index()
    genes = genes.explode("gene")
    genes["gene"] = genes["gene"].str.strip()
    return genes[genes["gene"] != ""].drop_duplicates(ignore_index=True)


def orthologous_genes(
    source: pd.DataFrame, target: pd.DataFrame, orthologs: pd.DataFrame
) -> pd.DataFrame:
    """Return the orthologs of the genes of the source's junctions.

    Parameters
    ----------
    source, target
        Tables of :func:`junction_genes`.
    orthologs
        Pairs of genes, columns ``source`` and ``target``.

    Returns
    -------
    Columns ``junction`` (of the source) and ``gene`` (of the target), distinct.

    Raises
    ------
    ValueError
        No gene of the source, or of the target, is among the orthologs.
    """
    for side, genes in (("source", source), ("target", target)):
        if genes.empty:
            raise ValueError(f"Expected genes of junctions of {side}, found none.")
        if not genes["gene"].isin(orthologs[side]).any():
            other = {"source": "target", "target": "source"}[side]
            raise ValueError(
                f"Expected genes of {side} in the column {side!r} of orthologs, found none: "
                f"{genes['gene'].iloc[0]!r} is a gene of {side}, {orthologs[side].iloc[0]!r} in "
                f"orthologs.{_explain(genes['gene'], orthologs[side], orthologs[other])}"
            )
    merged = source.merge(orthologs, left_on="gene", right_on="source")
    pairs = pd.DataFrame({"junction": merged["junction"], "gene": merged["target"]})
    return pairs.drop_duplicates(ignore_index=True)


def _explain(genes: pd.Series, names: pd.Series, other: pd.Series) -> str:
    """Say why no gene has an ortholog, if it can be seen."""
    if genes.isin(other).any():
        return " They are in the other column: rename the two."
    bare = [x.str.replace(_VERSION, "", regex=True) for x in (genes, names)]
    if bare[0].isin(bare[1]).any():
        return (
            " Versions of ids differ: remove them in both, "
            ".str.replace(r'\\.\\d+$', '', regex=True)."
        )
    return " Choose the column of genes with gene_key."
