"""Values of the arguments that take one of a few names.

Model, preprocessing and the command line take their choices from here. In each, the default of
most functions comes first.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Likelihood: TypeAlias = Literal["betabinomial", "binomial", "dirichlet-multinomial"]
Dispersion: TypeAlias = Literal["junction", "global"]
JunctionPrior: TypeAlias = Literal["mixture", "junction", "global"]
ConcentrationPrior: TypeAlias = Literal["weak", "leafletfa"]

TrainingMethod: TypeAlias = Literal["svi", "em"]
Initialization: TypeAlias = Literal["waypoints", "random"]
QueryPrevalence: TypeAlias = Literal["reference", "query"]
Accelerator: TypeAlias = Literal["auto", "cpu", "gpu"]
"""Accelerators of the command line; ``train`` takes all that Lightning has."""

AtseTotals: TypeAlias = Literal["query", "shared"]
"""Totals of the data of a query, of what the query counted or of junctions that both have."""

OnError: TypeAlias = Literal["raise", "skip"]
StarReads: TypeAlias = Literal["unique", "all"]
LibraryStrand: TypeAlias = Literal["auto", "tag", "RF", "FR", "none"]
UmiMissing: TypeAlias = Literal["auto", "keep", "drop"]
"""Treatment of reads without a UMI where UMIs are counted."""

AnnotationStatus: TypeAlias = Literal["any", "either", "both"]
KeepOrDrop: TypeAlias = Literal["drop", "keep"]
"""Treatment of junctions of several genes, of no gene, of unknown strand, or joining genes, and of
reads of several loci."""
