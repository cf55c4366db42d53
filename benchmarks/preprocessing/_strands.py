"""Strands of novel junctions: those of GTEx chromosome 10, removed and found again."""

from __future__ import annotations

import gzip
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np

import leafletfa_scvi as lfa


def rows() -> list[tuple[str, str, str]]:
    """Return case, measured, target."""
    data = Path(os.environ["LEAFLETFA_TEST_DATA"])
    gtf = data / "gtex_chr10" / "chr10.gtf.gz"
    table = []
    with tempfile.TemporaryDirectory() as folder:
        # Fewer annotated transcripts make more junctions novel.
        for name, tag in (
            ("GENCODE 43", ""),
            ("its basic transcripts", "basic"),
            ("one transcript for each gene", "Ensembl_canonical"),
        ):
            path = Path(folder) / "a.gtf"
            with gzip.open(gtf, "rt") as lines:
                path.write_text(
                    "".join(
                        line
                        for line in lines
                        if "\texon\t" not in line or not tag or f'tag "{tag}"' in line
                    )
                )
            right, wrong, novel = removed_strands(gtf.parent, lfa.pp.read_annotation(path))
            table.append(
                (
                    f"strands removed, GTF: {name}",
                    f"{right:,} of {novel:,} novel kept ({right / novel:.0%}), {wrong} wrong",
                    ">= 45 % kept, 0 wrong",
                )
            )
    return [*table, twins(data / "regtools")]


def removed_strands(folder: Path, annotation: lfa.pp.Annotation) -> tuple[int, int, int]:
    """Count the novel junctions whose strand is found, right and wrong, and all of them."""
    junctions = lfa.pp.read_junc(f"{folder}/*.bed.gz")
    known = annotation.introns[["start", "end"]]
    pairs = set(known.itertuples(index=False, name=None))
    is_novel = np.array(
        [
            pair not in pairs
            for pair in zip(junctions.var["start"], junctions.var["end"], strict=True)
        ]
    )
    truth = {name[:-2]: name[-1] for name in junctions.var_names[is_novel]}
    junctions.var["strand"] = "?"
    junctions.var_names = [f"{name[:-1]}?" for name in junctions.var_names]
    found = lfa.pp.resolve_strands(junctions, annotation).var_names
    strands = [(truth[name[:-2]], name[-1]) for name in found if name[:-2] in truth]
    right = sum(true == strand for true, strand in strands)
    unknown = sum(strand == "?" for _, strand in strands)
    return right, len(strands) - right - unknown, len(truth)


def twins(folder: Path) -> tuple[str, str, str]:
    """Read a library that is not stranded by its tags, and as if it were stranded."""
    warned = []
    for name in ("expected_stranded_rf_a8.bed", "expected_a8.bed"):
        junctions = lfa.pp.read_regtools(folder / name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lfa.pp.resolve_strands(junctions)
        warned.append(any("both strands" in str(warning.message) for warning in caught))
    text = ["no warning", "a warning"]
    return (
        "a library that is not stranded",
        f"read as RF: {text[warned[0]]}; by tags: {text[warned[1]]}",
        "a warning; no warning",
    )
