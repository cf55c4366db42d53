"""Links to the ATSEs of a table of results in genome browsers."""

from __future__ import annotations

import html
import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi._similar import did_you_mean
from leafletfa_scvi.model._differential_table import best_first

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.pp._junctions import Introns

log = logging.getLogger(__name__)

_CALLS: Final = "is_ds_fdr_"
_KEPT: Final = ("gene_name", "junction", "effect_size", "proba_ds", "bayes_factor")
_UCSC: Final = "https://genome.ucsc.edu/cgi-bin/hgTracks"
_IGV: Final = "http://localhost:60151/goto"
"""IGV on this computer, which listens at this port if its preferences allow it."""
_MARGIN: Final = 0.1
"""Part of an ATSE to show on either side of it."""
_LEAST: Final = 100
"""Least number of bases to show on either side."""
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>ATSEs in genome browsers</title>
<style>
body {{ font-family: sans-serif; margin: 2em; color: #111; background: #fff; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: 0.25em 0.8em; border-bottom: 1px solid #bbb; }}
</style>
</head>
<body>
<h1>ATSEs in genome browsers</h1>
<p>{note}</p>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</body>
</html>
"""


def atse_links(
    top: pd.DataFrame,
    adata: AnnData,
    names: pd.Index,
    place: Introns,
    n_top: int,
    genome: str | None,
) -> pd.DataFrame:
    """Return the leading ATSEs of a table of results with their places and links.

    Parameters
    ----------
    top
        Table of ``differential_splicing`` or ``program_markers``.
    adata
        Data set with its junctions.
    names, place
        Names and coordinates of the junctions that have any.
    n_top
        Maximum number of ATSEs of a comparison or program.
    genome
        UCSC's name of the genome; without one there are no links to it.

    Raises
    ------
    KeyError
        If the table has no effects, or a junction that ``adata`` lacks.
    TypeError
        If ``top`` is not a data frame.
    """
    if not isinstance(top, pd.DataFrame):
        raise TypeError(
            f"Expected top to be a pandas.DataFrame, found {type(top).__name__}. Pass a table of "
            "differential_splicing or program_markers."
        )
    if "effect_size" not in top:
        raise KeyError(
            f"Expected a column 'effect_size' in top, found {list(top.columns)}. Pass a table of "
            "differential_splicing or program_markers."
        )
    junction = (top["junction"] if "junction" in top else top.index.to_series()).astype(str)
    position = adata.var_names.get_indexer(pd.Index(junction))
    if (position < 0).any():
        missing = junction.iloc[int((position < 0).argmax())]
        raise KeyError(
            f"Expected junctions of top to be in adata.var_names, found {missing!r}."
            + did_you_mean(missing, map(str, adata.var_names))
        )
    atse = adata.var_names.to_numpy(object).copy()
    if ATSE_KEY in adata.var:
        labels = adata.var[ATSE_KEY].astype(object)
        atse = np.where(labels.notna(), labels.astype(str), atse)
    group = next((c for c in ("comparison", "program") if c in top), None)
    rows = pd.DataFrame({} if group is None else {group: top[group].astype(str).to_numpy()})
    rows[ATSE_KEY] = atse[position]
    for column in _KEPT:
        if column in top:
            rows[column] = top[column].to_numpy()
    rows["junction"] = junction.to_numpy()
    spans = _spans(pd.Series(atse, adata.var_names)[names].to_numpy(object), place)
    rows["locus"] = rows[ATSE_KEY].map(spans).astype(object)
    rows = _leading(rows, top, [ATSE_KEY] if group is None else [group, ATSE_KEY], n_top)
    place_of = [None if pd.isna(locus) else quote(locus, safe="") for locus in rows["locus"]]
    if genome is not None:
        db = quote(genome, safe="")
        rows["ucsc"] = [p and f"{_UCSC}?db={db}&position={p}" for p in place_of]
    rows["igv"] = [p and f"{_IGV}?locus={p}" for p in place_of]
    return rows


def links_page(links: pd.DataFrame) -> str:
    """Return links as a page of HTML, with all texts escaped."""
    titles = {"ucsc": "UCSC browser", "igv": "IGV"}
    head = "".join(
        f'<th scope="col">{html.escape(titles.get(str(c), str(c)))}</th>' for c in links
    )
    body = []
    for _, row in links.iterrows():
        cells = []
        for column, value in row.items():
            text = "" if pd.isna(value) else html.escape(_text(value))
            if column in titles and text:
                text = f'<a href="{text}">{titles[str(column)]}</a>'
            cells.append(f"<td>{text}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    note = (
        "Links to IGV move the IGV that runs on this computer, if its preferences enable port "
        "60151. Places are 1-based, with the bases around an ATSE."
    )
    return _PAGE.format(note=note, head=head, body="\n".join(body))


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _leading(rows: pd.DataFrame, top: pd.DataFrame, keys: list[str], n_top: int) -> pd.DataFrame:
    """Choose the leading ATSEs of each comparison: those that are called, the surest first."""
    kept = np.isfinite(rows["effect_size"].to_numpy(np.float64, na_value=np.nan))
    calls = [column for column in top if str(column).startswith(_CALLS)]
    if len(calls) == 1:
        kept &= top[calls[0]].eq(True).fillna(False).to_numpy(bool)
        if not kept.any():
            log.warning("No ATSE of the table is called: the list of links is empty.")
    rows = rows[kept]
    if {"proba_ds", "bayes_factor"} & set(rows):
        rows = rows.iloc[best_first(rows)]
    else:
        rows = rows.iloc[np.argsort(-rows["effect_size"].abs().to_numpy(), kind="stable")]
    rows = rows.drop_duplicates(keys)
    if len(keys) == 1:
        return rows.head(n_top).reset_index(drop=True)
    order = {name: i for i, name in enumerate(top[keys[0]].astype(str).unique())}
    rows = rows.sort_values(keys[0], key=lambda names: names.map(order), kind="stable")
    return rows.groupby(keys[0], sort=False).head(n_top).reset_index(drop=True)


def _spans(atse: np.ndarray, place: Introns) -> dict[str, str]:
    """Return the locus of each ATSE, ``chrom:start-end``, 1-based, with a margin."""
    table = pd.DataFrame(
        {"atse": atse, "contig": place.contig, "start": place.start, "end": place.end}
    )
    spans = table.groupby("atse", sort=False).agg(
        {"contig": "first", "start": "min", "end": "max"}
    )
    found = {}
    for name, contig, start, end in spans.itertuples():
        margin = max(_LEAST, round(_MARGIN * (end - start + 1)))
        found[str(name)] = f"{contig}:{max(1, start - margin)}-{end + margin}"
    return found
