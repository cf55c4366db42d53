from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp.atse._graph import label_atses
from leafletfa_scvi.pp.atse._usage import usage_mask, usage_of_sites

ROWS = [
    # chrom, start, end, strand, reads, usage of the left and of the right site
    ("chr1", 10, 20, "+", 60, 0.6, 1.0),
    ("chr1", 10, 40, "+", 40, 0.4, 0.8),
    ("chr1", 30, 40, "+", 10, 1.0, 0.2),
    ("chr1", 10, 40, "-", 7, 1.0, 0.875),
    ("chr1", 11, 40, "-", 1, 1.0, 0.125),
    ("chr1", 10, 40, "?", 3, 0.75, 1.0),
    ("chr1", 10, 41, "?", 1, 0.25, 1.0),
    ("chr2", 10, 40, "+", 5, 1.0, 1.0),
    ("chr2", 50, 60, "+", 0, 0.0, 0.0),
]
COLUMNS = ["chrom", "start", "end", "strand", "reads", "left", "right"]


@pytest.fixture
def table():
    names = [f"j{i}" for i in range(len(ROWS))]
    return pd.DataFrame(ROWS, columns=COLUMNS, index=names)


def test_usage_by_hand(table):
    usage = usage_of_sites(table, table["reads"])
    reverse = table["strand"] == "-"
    assert usage.index.equals(table.index)
    assert list(usage) == ["usage_5ss", "usage_3ss"]
    np.testing.assert_allclose(usage["usage_5ss"], table["right"].where(reverse, table["left"]))
    np.testing.assert_allclose(usage["usage_3ss"], table["left"].where(reverse, table["right"]))


def column_sums(reads):
    """Sums as scipy gives them: a matrix of one row."""
    return sp.csr_matrix(np.stack([reads, 0 * reads])).sum(axis=0)


@pytest.mark.parametrize("kind", [list, np.array, column_sums, "category"])
def test_kinds_of_reads_and_columns(table, kind):
    expected = usage_of_sites(table, table["reads"])
    reads = table["reads"].to_numpy() if kind == "category" else kind(table["reads"].to_numpy())
    if kind == "category":
        table = table.astype({"chrom": "category", "strand": "category"})
    pd.testing.assert_frame_equal(usage_of_sites(table, reads), expected)


def test_filter_by_hand(table):
    mask, report = usage_mask(table, table["reads"], 0.25)
    assert table.index[~mask].tolist() == ["j2", "j4", "j8"]
    assert report == {
        "junctions": 9,
        "junctions_kept": 6,
        "junctions_below_usage_5ss": 2,  # j4 (its right site, on -) and j8
        "junctions_below_usage_3ss": 2,  # j2 and j8
        "reads": table["reads"].sum(),
        "reads_kept": table["reads"].drop(["j2", "j4", "j8"]).sum(),
    }
    assert usage_mask(table, table["reads"], 0)[0].all()
    mask, _ = usage_mask(table, table["reads"], 1)
    assert table.index[mask].tolist() == ["j7"]


def test_one_percent_is_kept_and_less_is_not():
    table = pd.DataFrame({"chrom": "1", "start": 5, "end": [9, 19, 29], "strand": "+"})
    assert usage_mask(table, [10, 985, 5])[0].tolist() == [True, True, False]


def test_connectivity_is_recomputed_after_the_filter():
    # 10-20 and 10-40 share a donor, 30-40 and 30-60 too; 10-40 links the two, with 1 of 201 reads.
    table = pd.DataFrame(
        {"chrom": "1", "start": [10, 10, 10, 30, 30], "end": [20, 25, 40, 40, 60], "strand": "+"}
    )
    reads = np.array([100, 100, 1, 100, 100])
    assert label_atses(table, use_genes=False)[1]["atses"] == 1
    mask, _ = usage_mask(table, reads)
    assert mask.tolist() == [True, True, False, True, True]
    labels, report = label_atses(table[mask], use_genes=False)
    assert labels.tolist() == ["1:+:ATSE_1"] * 2 + ["1:+:ATSE_2"] * 2
    assert report["atses"] == 2


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_usages_sum_to_one_at_each_site_in_any_order(seed, n_junctions):
    rng = np.random.default_rng(seed)
    start = rng.integers(1, 6, n_junctions)
    table = pd.DataFrame(
        {
            "chrom": rng.choice(["1", "2"], n_junctions),
            "start": start,
            "end": start + rng.integers(0, 4, n_junctions),
            "strand": rng.choice(["+", "-", "?"], n_junctions),
            "reads": rng.integers(1, 100, n_junctions),
        }
    )
    usage = usage_of_sites(table, table["reads"])
    # Compare a junction without strand with the others at its place, on one strand only.
    for i in np.flatnonzero(table["strand"] == "?"):
        row = table.iloc[i]
        for column, side in (("usage_5ss", "start"), ("usage_3ss", "end")):
            here = table[(table["chrom"] == row["chrom"]) & (table[side] == row[side])]
            others = set(here["strand"]) - {"?"}
            total = here.loc[here["strand"].isin({"?", *others} if len(others) == 1 else {"?"})]
            assert usage[column].iloc[i] == pytest.approx(row["reads"] / total["reads"].sum())
    is_stranded = table["strand"] != "?"
    donor = table["start"].where(table["strand"] != "-", table["end"])
    acceptor = table["end"].where(table["strand"] != "-", table["start"])
    for column, site in (("usage_5ss", donor), ("usage_3ss", acceptor)):
        by = [values[is_stranded] for values in (table["chrom"], table["strand"], site)]
        sums = usage.loc[is_stranded, column].groupby(by).sum()
        np.testing.assert_allclose(sums, 1)
    shuffled = table.sample(frac=1, random_state=seed)
    again = usage_of_sites(shuffled, shuffled["reads"])
    pd.testing.assert_frame_equal(again, usage.loc[shuffled.index])
    assert usage_mask(table, table["reads"], 0.3)[0].tolist() == (
        (usage >= 0.3).all(axis=1).tolist()
    )


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("strand", ".", r"Junction 'j1' has strand '\.': expected one of"),
        ("strand", None, "Junction 'j1' has strand None"),
        ("chrom", None, "Junction 'j1' has chrom None: expected a name"),
        ("start", 0, "Junction 'j1' is the intron 0-40"),
        ("start", 41, "Junction 'j1' is the intron 41-40"),
        ("end", 40.5, "Junction 'j1' has end 40.5: expected a whole number"),
        ("end", "x", "Junction 'j1' has end 'x': expected a whole number"),
        ("end", 2**31, "Junction 'j1' is the intron 10-2147483648"),
        ("reads", -1, "Junction 'j1' has -1 reads"),
        ("reads", np.nan, "Junction 'j1' has nan reads"),
    ],
)
def test_errors_name_the_junction(table, column, value, message):
    table = table.astype({column: object})
    table.loc["j1", column] = value
    with pytest.raises(ValueError, match=message):
        usage_of_sites(table, table["reads"])


def test_errors(table):
    with pytest.raises(ValueError, match="no column 'strand'"):
        usage_of_sites(table.drop(columns="strand"), table["reads"])
    with pytest.raises(ValueError, match="8 values for 9 junctions"):
        usage_of_sites(table, table["reads"].to_numpy()[1:])
    with pytest.raises(ValueError, match="index is not that of the junctions"):
        usage_of_sites(table, table["reads"].iloc[::-1])
    for share in (-0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match="min_usage"):
            usage_mask(table, table["reads"], share)


def test_no_junctions(table):
    mask, report = usage_mask(table.iloc[:0], [])
    assert len(mask) == 0
    assert report["junctions_kept"] == 0
