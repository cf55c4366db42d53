"""Contig names of two sources, matched: ``1`` and ``chr1``, ``MT`` and ``chrM``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from natsort import natsorted

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIXES: Final = ("chr", "Chr", "CHR")
_MITOCHONDRIAL: Final = ("M", "MT", "Mt")


def match_contigs(
    data: Iterable[str],
    reference: Iterable[str],
    what_data: str = "the data",
    what_reference: str = "the annotation",
) -> dict[str, str]:
    """Map the contig names of data to those of a reference.

    A name that the reference has stays as it is. Any other is tried with its ``chr`` prefix
    added or removed, and the mitochondrion under its usual names (``M``, ``MT``, ``chrM``,
    ``chrMT``). Nothing is guessed beyond that: spike-ins, patches and accessions such as
    ``NC_000001.11`` match by their full name only.

    Parameters
    ----------
    data, reference
        Contig names; repeats do not matter.
    what_data, what_reference
        Source of the names, for messages: ``"the junctions"``, a path.

    Returns
    -------
    dict
        Name in the reference for each name of the data that has one. Names of the data that are
        not among the keys are unmatched; no two keys share a value.

    Raises
    ------
    ValueError
        If the data have contigs and none matches, or two of them match the same one.

    Warns
    -----
    UserWarning
        If the data name the mitochondrion twice (``chrM`` and ``chrMT`` of hg19 are two sequences)
        and the reference has one of these names; the other is left unmatched.
    """
    data, reference = natsorted(sorted(set(data))), set(reference)
    matched = {name: name for name in data if name in reference}
    sources = {name: name for name in matched}
    for name in data:
        if name in matched:
            continue
        found = next((other for other in other_names(name) if other in reference), None)
        if found is None:
            continue
        if found not in sources:
            matched[name], sources[found] = found, name
        elif sources[found] == found and is_second_mitochondrion(name, found):
            warnings.warn(
                f"{what_data} have contigs {name!r} and {found!r}, {what_reference} only "
                f"{found!r}: {name!r} is left unmatched.",
                UserWarning,
                stacklevel=2,
            )
        else:
            first, second = natsorted([sources[found], name])
            raise ValueError(
                f"Contigs {first!r} and {second!r} of {what_data} both match {found!r} of "
                f"{what_reference}. Sources that name contigs differently have been mixed: rename "
                "the contigs of one of them first."
            )
    if data and not matched:
        raise ValueError(
            f"No contig of {what_data} ({_examples(data)}) is in {what_reference} "
            f"({_examples(reference)}), with or without 'chr'. Use files of the same genome "
            "build with the same names of contigs, or rename the contigs of one of them."
        )
    return matched


def other_names(name: str) -> list[str]:
    """Return other names of the same contig, the most similar first."""
    has_prefix = name.startswith(_PREFIXES) and len(name) > 3
    bare = name[3:] if has_prefix else name
    prefixed = [prefix + bare for prefix in _PREFIXES]
    names = [bare, *prefixed] if has_prefix else prefixed
    if bare in _MITOCHONDRIAL:
        synonyms = [other for other in _MITOCHONDRIAL if other != bare]
        with_prefix = [prefix + other for other in synonyms for prefix in _PREFIXES]
        names += with_prefix + synonyms if has_prefix else synonyms + with_prefix
    return [other for other in names if other != name]


def is_second_mitochondrion(name: str, other: str) -> bool:
    """Return whether both name a mitochondrion, other than by adding or removing the prefix."""
    bare = [text[3:] if text.startswith(_PREFIXES) else text for text in (name, other)]
    return bare[0] != bare[1] and set(bare) <= set(_MITOCHONDRIAL)


def _examples(names: Iterable[str], n: int = 4) -> str:
    ordered = natsorted(sorted(names))
    shown = ", ".join(map(repr, ordered[:n])) or "it has none"
    return f"{shown}, ... {len(ordered)} in all" if len(ordered) > n else shown
