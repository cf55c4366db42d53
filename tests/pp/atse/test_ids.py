"""Ids of ATSEs: of the junctions alone, and never shared by others."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.atse._ids import atse_ids

DIGEST = "d9dcfd69ca2f"
INTRONS = st.lists(
    st.tuples(st.just("chr1"), st.integers(1, 9), st.integers(10, 19)),
    min_size=1,
    max_size=8,
    unique=True,
)


def table(introns, **columns):
    chrom, start, end = zip(*introns, strict=True)
    return pd.DataFrame({"chrom": chrom, "start": start, "end": end, "strand": "-", **columns})


def test_known_ids():
    """Whoever stored ids must find them again with later versions."""
    three = table([("chr1", 11, 20), ("chr1", 31, 40), ("chr1", 11, 40)])
    text = b"chr1:11-20:-\nchr1:11-40:-\nchr1:31-40:-"
    digest = hashlib.blake2b(text, digest_size=6).hexdigest()
    assert (
        set(atse_ids(three, [7] * 3)) == {f"chr1:11-40:-:{digest}"} == {f"chr1:11-40:-:{DIGEST}"}
    )
    assert set(atse_ids(three.assign(gene_id="ENSG1"), [7] * 3)) == {f"ENSG1:{DIGEST}"}
    named = three.assign(gene_id="ENSG1", gene_name=["MYL6", "MYL6", ""])
    assert set(atse_ids(named, [7] * 3)) == {f"ENSG1+MYL6:{DIGEST}"}
    several = three.assign(gene_id="b,a", gene_name=["B,A", "A", "C"])
    assert set(atse_ids(several, [7] * 3)) == {f"A+B+C:{DIGEST}"}


@settings(deadline=None)
@given(INTRONS, INTRONS, st.randoms())
def test_the_same_junctions_and_no_others_give_the_same_id(one, other, random):
    first = atse_ids(table(one), ["x"] * len(one)).iloc[0]
    shuffled = [*one, *one[:2]]
    random.shuffle(shuffled)
    beside = [("chr9", 1, 2), *shuffled]
    assert set(atse_ids(table(beside), [None, *[3] * len(shuffled)])) == {None, first}
    second = atse_ids(table(other), ["x"] * len(other)).iloc[0]
    assert (first == second) == (set(one) == set(other))


def test_missing_labels_and_no_junctions():
    labels = [None, np.nan, "a"]
    ids = atse_ids(table([("chr1", 1, 5), ("chr1", 1, 6), ("chr1", 1, 7)]), labels)
    assert ids[:2].tolist() == [None, None]
    assert ids.iloc[2].startswith("chr1:1-7:-:")
    assert len(atse_ids(table([("chr1", 1, 5)])[:0], [])) == 0


def test_ids_of_two_data_sets_of_gtex_name_the_same_junctions(data_dir):
    """The labels do not: 61 of those in both name entirely different junctions."""
    files = sorted((data_dir / "gtex_chr10").glob("*.bed.gz"))
    annotation = lfa.pp.read_annotation(data_dir / "gtex_chr10" / "chr10.gtf.gz")
    one, other = (
        lfa.pp.make_splicing_dataset(lfa.pp.read_junc(part), gtf=annotation)
        for part in (files[:6], files[6:])
    )

    def members(adata, column):
        groups = adata.var.groupby(column, observed=True).groups
        return {name: frozenset(group) for name, group in groups.items()}

    mine, theirs = members(one, "atse_id"), members(other, "atse_id")
    both = mine.keys() & theirs.keys()
    assert len(both) > 50
    assert all(mine[name] == theirs[name] for name in both)
    assert set(mine.values()) & set(theirs.values()) == {mine[name] for name in both}
    for adata, groups in ((one, mine), (other, theirs)):
        labels = adata.var.groupby("atse_id", observed=True)["atse_label"].nunique()
        assert (labels == 1).all()
        assert adata.var["atse_label"].nunique() == len(groups)
    labels, others = members(one, "atse_label"), members(other, "atse_label")
    assert any(not labels[name] & others[name] for name in labels.keys() & others.keys())


@pytest.mark.parametrize("with_genes", [True, False])
def test_they_do_not_depend_on_other_junctions(with_genes):
    introns = [("1", 11, 20), ("1", 11, 40), ("1", 51, 60), ("1", 51, 90)]
    both = table(introns, gene_id="g", gene_name="G", n_genes=1)

    def ids(rows):
        counts = np.ones((1, len(rows)), np.float32)
        data = AnnData(counts, var=rows.set_axis([f"j{i}" for i in rows.index]))
        lfa.pp.find_atses(data, use_genes=with_genes)
        return dict(zip(data.var_names, data.var["atse_id"], strict=True))

    assert ids(both[2:]) == {name: i for name, i in ids(both).items() if name in ("j2", "j3")}
