"""Junctions of a table of results as a BED12 file for genome browsers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from anndata import AnnData

from leafletfa_scvi._arguments import check_whole
from leafletfa_scvi._files import replacing
from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp._junctions import Introns, coordinates_in_names, introns
from leafletfa_scvi.pp.write._outputs import check_targets, text_file
from leafletfa_scvi.tl._bed_lines import UNPRINTABLE, bed_lines, genome_order, quotable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_EFFECT: Final = "effect_size"
_PSI: Final = ("est_psi1", "psi_program")
_CALLS: Final = "is_ds_fdr_"
_FULL: Final = 0.5
"""Effect from which on colors are the darkest: few junctions differ by more."""
_RED: Final = np.array([[244, 165, 130], [178, 24, 43]])
_BLUE: Final = np.array([[146, 197, 222], [33, 102, 172]])
"""Light and dark colors of the palette RdBu of ColorBrewer, distinct to color-blind readers."""


def write_bed(
    table: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    junctions: AnnData | pd.DataFrame | None = None,
    score: str = _EFFECT,
    only_significant: bool = False,
    track_name: str | None = None,
    anchor: int = 8,
    overwrite: bool = False,
) -> None:
    """Write junctions of a table of results as a BED12 file, which IGV and the UCSC browser open.

    As regtools writes junctions, the intron lies between two blocks, which stand for the bases on
    both sides. Junctions with a higher PSI in group 1 (in the program) are red, those with a lower
    one blue, the darker the larger the effect up to 0.5. Each comparison (program) is a track with
    a ``track`` line, its lines in order of the genome. IGV draws all tracks of a file as one:
    write a file for each comparison there, from ``table[table["comparison"] == name]``.

    Lines have the name ``gene_name:junction``, or that of the junction alone; for score and
    ``itemRgb`` see the `format <https://genome.ucsc.edu/FAQ/FAQformat.html#format1>`__.
    :func:`~leafletfa_scvi.pp.read_regtools` reads the file, scores as reads.

    Parameters
    ----------
    table
        Table of :meth:`~leafletfa_scvi.LeafletFAModel.differential_splicing`, at the level of
        junctions or ATSEs (the junction that changes most), or of
        :meth:`~leafletfa_scvi.LeafletFAModel.program_markers`. Rows without an effect or score,
        such as those that were not tested, are left out.
    path
        File to write, compressed if its name ends with ``.gz``. It is written whole or not at
        all.
    junctions
        Data set, or its ``var``, with the coordinates of the junctions in ``chrom``, ``start``,
        ``end`` (1-based, inclusive introns) and optionally ``strand``. If None, coordinates are
        those in their names, ``chrom:start-end:strand``.
    score
        Column whose absolute value times 1,000 is the score of a line; values are from -1 to 1.
        ``"psi"`` is the expected PSI in group 1 (under the program).
    only_significant
        If True, write only junctions that are called, by the column ``is_ds_fdr_<target>``.
    track_name
        Name of the track, to which that of the comparison is added if the table has several. If
        None, the name of the comparison.
    anchor
        Length of the blocks in bases; shorter at the beginning of a contig.
    overwrite
        If True, replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists, unless ``overwrite``.
    KeyError
        If the table has no column ``effect_size`` or ``score``, or ``junctions`` lacks a junction
        of the table.
    TypeError
        If ``table`` is not a data frame.
    ValueError
        If coordinates are missing or malformed, a comparison has a junction twice, scores are not
        numbers from -1 to 1, or calls are asked for and there are none, or those of several
        targets.
    """
    check_whole("anchor", anchor, 1)
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"Expected table to be a pandas.DataFrame, found {type(table).__name__}.")
    rows = _rows(table, score, only_significant)
    names = pd.Index(rows["junction"])
    place = junction_coordinates(names, junctions)
    colors = _colors(rows["effect"].to_numpy())
    lines = bed_lines(place, names, rows["label"], rows["score"], colors, anchor)
    order = genome_order(place)
    (target,) = check_targets([path], overwrite)
    with replacing(target) as (staged,), text_file(staged) as file:
        for code, name, heading in _tracks(table, rows, score, track_name):
            file.write(f'track name="{name}" description="{heading}" '.encode())
            file.write(b'visibility=3 itemRgb="On"\n')
            own = order[rows["track"].to_numpy()[order] == code]
            file.write("".join(lines[i] for i in own).encode())


def junction_coordinates(names: pd.Index, junctions: AnnData | pd.DataFrame | None) -> Introns:
    """Return the coordinates of junctions, from a data set or else from their names.

    Raises
    ------
    KeyError
        If ``junctions`` lacks one of them.
    ValueError
        If a name has no coordinates, or those in ``junctions`` are missing or malformed.
    """
    if junctions is None:
        found = coordinates_in_names(names).set_axis(names)
        wrong = found["chrom"].isna().to_numpy()
        if wrong.any():
            raise ValueError(
                "Expected junctions to be named chrom:start-end:strand, found "
                f"{str(names[int(wrong.argmax())])!r}, {int(wrong.sum()):,} such in all. Pass the "
                "data set with their coordinates in var, junctions=adata."
            )
        place = introns(found)
    else:
        var = junctions.var if isinstance(junctions, AnnData) else junctions
        repeated = var.index[var.index.duplicated()]
        if len(repeated):
            raise ValueError(
                f"Expected names of junctions to be unique, found {repeated[0]!r} twice in "
                "junctions. Pass the data set that the table is of."
            )
        position = var.index.get_indexer(names)
        if (position < 0).any():
            raise KeyError(
                "Expected junctions to have all junctions of the table, found no "
                f"{str(names[int((position < 0).argmax())])!r}. Pass the data set that the table "
                "is of."
            )
        columns = [c for c in ("chrom", "start", "end", "strand") if c in var]
        found = var[columns].iloc[position]
        place = introns(found if "strand" in var else found.assign(strand=STRANDS[0]))
    odd = [contig for contig in place.chroms if contig.split() != [contig]]
    if odd:
        raise ValueError(
            f"Expected names of contigs without white space, which separates the fields of BED "
            f"files, found {odd[0]!r}. Rename it."
        )
    return place


def _rows(table: pd.DataFrame, score: str, only_significant: bool) -> pd.DataFrame:
    """Return what is written of each row: junction, label, effect, score and track, checked."""
    effect = _numbers(table, _EFFECT)
    value = effect if score == _EFFECT else _numbers(table, _score_column(table, score))
    kept = np.isfinite(effect) & ~np.isnan(value)
    if only_significant:
        kept &= _calls(table)
    track, _ = _comparisons(table)
    names = table["junction"] if "junction" in table else table.index.to_series()
    rows = pd.DataFrame(
        {
            "junction": names.astype(str).to_numpy(object),
            "effect": effect,
            "value": value,
            "track": track,
        }
    )
    rows["label"] = rows["junction"]
    if "gene_name" in table:
        genes = table["gene_name"].astype(object).to_numpy()
        has_gene = ~pd.isna(genes) & (genes != "")
        rows.loc[has_gene, "label"] = [
            f"{gene}:{name}"
            for gene, name in zip(genes[has_gene], rows["junction"][has_gene], strict=True)
        ]
    rows["label"] = rows["label"].str.replace(UNPRINTABLE, "_", regex=True)
    rows = rows.loc[kept]
    wrong = rows.index[rows["value"].abs() > 1 + 1e-6]
    if len(wrong):
        junction, found = rows.loc[wrong[0], ["junction", "value"]]
        raise ValueError(
            f"Expected {score!r} from -1 to 1, which scores from 0 to 1,000 are made of, found "
            f"{found:g} of junction {junction!r}. Rescale the column, or choose another score."
        )
    scores = np.rint(rows["value"].abs().clip(upper=1) * 1000).astype(int)
    repeated = rows.duplicated(["track", "junction"])
    if repeated.any():
        name = rows["junction"][repeated].iloc[0]
        raise ValueError(
            f"Expected each junction once in a comparison, found {name!r} twice. Choose rows of "
            "one table, or name comparisons differently in the column 'comparison'."
        )
    written: pd.DataFrame = rows.assign(score=scores)
    return written


def _comparisons(table: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Number the comparisons or programs of a table, in order, and return their names."""
    for column in ("comparison", "program"):
        if column in table:
            codes, names = pd.factorize(table[column].astype(object), use_na_sentinel=False)
            return codes, [str(name) for name in names]
    return np.zeros(len(table), int), ["junctions"]


def _tracks(
    table: pd.DataFrame, rows: pd.DataFrame, score: str, track_name: str | None
) -> Iterator[tuple[int, str, str]]:
    """Yield number, name and description of each track."""
    _, names = _comparisons(table)
    for code, name in enumerate(names):
        title = name
        if track_name is not None:
            title = track_name if len(names) == 1 else f"{track_name} {name}"
        heading = f"{name}: score is {score}, red more, blue less"
        yield code, quotable(title), quotable(heading)


def _score_column(table: pd.DataFrame, score: str) -> str:
    """Return the column of a score, by its name."""
    if score != "psi" or score in table:
        return score
    found = [column for column in _PSI if column in table]
    if not found:
        raise KeyError(
            f"Expected one of the columns {list(_PSI)} for score='psi', found neither. Name "
            "another column of the table as score."
        )
    return found[0]


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of numbers as float64, NaN if missing."""
    if column not in table:
        raise KeyError(
            f"Expected a column {column!r} in the table, found {list(table.columns)}. Pass a "
            "table of differential_splicing or program_markers."
        )
    if not pd.api.types.is_numeric_dtype(table[column].dtype):
        raise ValueError(
            f"Expected numbers in the column {column!r}, found {table[column].dtype} values. "
            "Choose another column as score."
        )
    values: np.ndarray = table[column].to_numpy(np.float64, na_value=np.nan)
    return values


def _calls(table: pd.DataFrame) -> np.ndarray:
    """Return whether each row is called."""
    columns = [c for c in table.columns if str(c).startswith(_CALLS)]
    if len(columns) != 1:
        raise ValueError(
            f"Expected one column {_CALLS}<target> to choose junctions by, found {columns}. "
            "Choose rows of the table yourself, and leave only_significant out."
        )
    called = table[columns[0]].astype(object)
    called = called.where(called.notna(), False)
    unknown = [value for value in called.unique() if value not in (True, False)]
    if unknown:
        raise ValueError(
            f"Expected True or False in {columns[0]!r}, found {unknown[0]!r}. Choose rows of the "
            "table yourself, and leave only_significant out."
        )
    return called.to_numpy(bool)


def _colors(effect: np.ndarray) -> list[str]:
    """Return the color of each effect, ``red,green,blue``."""
    share = np.minimum(np.abs(effect) / _FULL, 1)[:, None]
    ends = np.where((effect >= 0)[:, None, None], _RED, _BLUE)
    colors = np.rint(ends[:, 0] + share * (ends[:, 1] - ends[:, 0])).astype(int)
    return [",".join(map(str, color)) for color in colors.tolist()]
