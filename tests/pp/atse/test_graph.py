from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.atse import add_up, frame

from leafletfa_scvi.pp.atse._graph import label_atses

TABLE = frame(
    "chr10:10-20:+ A",
    "chr10:10-30:+ A",
    "chr2:500-600:- B",
    "chr2:550-600:- B",
    "chr2:10-20:- B",
    "chr2:10-21:- B",
    "chr2:10-20:+ C",  # alone on its strand
    "chr2:700-710:+ C",
    "chr2:700-720:+ ",
    "chr2:700-730:+ ",
    "chr2:800-810:? C",
    "chr2:800-820:? C",
    "chr2:700-740:+ C,D",
    "chr2:900-920:+ D",
    "chr2:910-920:+ D",
)


def test_labels_by_hand():
    labels, report = label_atses(TABLE, use_genes=True)
    expected = [
        *["A:ATSE_1"] * 2,
        *["B:ATSE_2"] * 2,
        *["B:ATSE_1"] * 2,
        *[None] * 7,
        *["D:ATSE_1"] * 2,
    ]
    assert labels.tolist() == expected
    assert labels.index.equals(TABLE.index)
    assert labels.name == "atse_id"
    assert report == {
        "junctions": 15,
        "junctions_unstranded": 2,
        "junctions_unstranded_dropped": 2,
        "junctions_unstranded_joined": 0,
        "junctions_without_gene": 2,
        "junctions_without_gene_dropped": 2,
        "junctions_joining_genes": 0,
        "junctions_joining_genes_dropped": 0,
        "junctions_of_several_genes": 1,
        "junctions_of_several_genes_dropped": 1,
        "junctions_repeated": 0,
        "junctions_dropped_by_splitting": 0,
        "junctions_in_atses": 8,
        "junctions_alone": 2,
        "atses": 4,
        "atses_split": 0,
        "largest_component_junctions": 2,
        "largest_atse_junctions": 2,
        "giant_atses": 0,
        "largest_giant_atses": {},
    }


def test_everything_kept():
    labels, report = label_atses(
        TABLE, use_genes=True, multi_gene="keep", no_gene="keep", unstranded="keep"
    )
    assert labels.tolist() == [
        *["A:ATSE_1"] * 2,
        *["B:ATSE_2"] * 2,
        *["B:ATSE_1"] * 2,
        None,
        "C+D:ATSE_1",  # 700-710 and 700-740
        *["chr2:+:ATSE_1"] * 2,
        *["C:ATSE_1"] * 2,  # on no strand, where nothing links C and D
        "C+D:ATSE_1",
        *["C+D:ATSE_2"] * 2,
    ]
    assert report["junctions_without_gene"] == 2
    assert report["junctions_of_several_genes"] == 1
    assert report["junctions_unstranded"] == 2
    add_up(report)


def test_without_genes():
    labels, report = label_atses(TABLE[["chrom", "start", "end", "strand"]], use_genes=False)
    assert labels.tolist() == [
        *["chr10:+:ATSE_1"] * 2,
        *["chr2:-:ATSE_2"] * 2,
        *["chr2:-:ATSE_1"] * 2,
        None,
        *["chr2:+:ATSE_1"] * 3,
        None,
        None,
        "chr2:+:ATSE_1",
        *["chr2:+:ATSE_2"] * 2,
    ]
    assert report["junctions_of_several_genes"] == 0
    labels, _ = label_atses(TABLE, use_genes=False, unstranded="keep")
    assert labels.tolist()[10:12] == ["chr2:?:ATSE_1"] * 2


def test_donors_and_acceptors_at_one_position_are_different_sites():
    labels, _ = label_atses(frame("1:10-20:+", "1:20-30:+", "1:30-40:+"), use_genes=False)
    assert labels.isna().all()


def test_a_site_is_shared_within_a_gene_only():
    table = frame("1:10-20:+ A", "1:10-30:+ B", "1:10-40:+ B")
    assert label_atses(table, use_genes=True)[0].tolist() == [None, "B:ATSE_1", "B:ATSE_1"]
    assert label_atses(table, use_genes=False)[0].notna().all()


def test_genes_linked_through_others_act_as_one():
    table = frame(
        "1:10-20:+ C",
        "1:10-30:+ B,C",
        "1:50-60:+ A,B",
        "1:50-70:+ A",
        "1:90-95:+ D",
        "1:90-99:+ D",
    )
    labels, report = label_atses(table, use_genes=True, multi_gene="keep")
    assert labels.tolist() == [
        *["A+B+C:ATSE_1"] * 2,
        *["A+B+C:ATSE_2"] * 2,
        *["D:ATSE_1"] * 2,
    ]
    add_up(report)
    labels, report = label_atses(table, use_genes=True)
    assert labels.tolist() == [*[None] * 4, *["D:ATSE_1"] * 2]
    assert report["junctions_of_several_genes_dropped"] == 2
    assert report["junctions_alone"] == 2


JOINED = frame(
    "1:10-20:+ A",
    "1:10-30:+ A",
    "1:10-200:+ A,B",  # from the donor of A to the acceptor of B
    "1:150-200:+ B",
    "1:160-200:+ B",
    "1:300-320:+ B,C",  # an intron that B and C share
    "1:300-330:+ C",
).assign(joins_genes=[False, False, True, False, False, False, False])


def test_a_junction_that_joins_two_genes_links_them_only_on_request():
    alone = ["A:ATSE_1", "A:ATSE_1", None, "B:ATSE_1", "B:ATSE_1"]
    labels, report = label_atses(JOINED, use_genes=True)
    assert labels.tolist() == [*alone, None, None]
    add_up(report)
    assert report["junctions_joining_genes"] == report["junctions_joining_genes_dropped"] == 1
    assert report["junctions_of_several_genes"] == 1

    labels, report = label_atses(JOINED, use_genes=True, multi_gene="keep")
    assert labels.tolist() == [*alone[:3], *["B+C:ATSE_1"] * 2, *["B+C:ATSE_2"] * 2]
    add_up(report)

    labels, report = label_atses(JOINED, use_genes=True, read_through="keep")
    assert labels.tolist() == [*["A+B:ATSE_1"] * 5, None, None]
    assert report["junctions_joining_genes_dropped"] == 0
    add_up(report)

    # Without genes there is nothing to join, and a table that does not say so joins none.
    labels, _ = label_atses(JOINED, use_genes=False)
    assert labels.tolist() == [*["1:+:ATSE_1"] * 5, *["1:+:ATSE_2"] * 2]
    plain = JOINED.drop(columns="joins_genes")
    assert label_atses(plain, use_genes=True)[1]["junctions_of_several_genes_dropped"] == 2
    unknown = JOINED.assign(joins_genes=[None, None, True, None, None, None, None])
    assert label_atses(unknown, use_genes=True)[1]["junctions_joining_genes"] == 1


@pytest.mark.parametrize(
    ("more", "labels"),
    [
        (["1:10-25:? "], ["A:ATSE_1"]),  # shares 10 with A
        (["1:15-30:? A,B"], ["A:ATSE_1"]),  # of which strand, so of which genes, is unknown
        (["1:10-25:? A", "1:17-25:? "], ["A:ATSE_1"] * 2),  # the second through the first
        (["1:10-75:? A"], [None]),  # 75 is of B, on the other strand
        (["1:10-25:? A", "1:17-25:? A", "1:17-75:? A"], ["A:ATSE_1:?"] * 3),  # through others
        (["1:20-40:? A"], [None]),  # 20 is the right end of a junction, not the left one
        (["1:12-22:? A", "1:12-24:? A"], ["A:ATSE_2"] * 2),  # among themselves
        (["1:40-52:? A"], ["D:ATSE_1"]),
        (["1:40-92:? A"], [None]),  # D and C are on one strand, but two genes
        (["2:10-25:? A"], [None]),
    ],
)
def test_a_junction_without_strand_joins_the_only_atse_at_its_sites(more, labels):
    stranded = frame(
        "1:10-20:+ A", "1:10-30:+ A", "1:70-75:- B", "1:72-75:- B", "1:40-50:+ D", "1:40-51:+ D",
        "1:90-92:+ C", "1:91-92:+ C",
    )  # fmt: skip
    table = pd.concat([stranded, frame(*more)])
    found, report = label_atses(table, use_genes=True, unstranded="keep")
    add_up(report)
    plain = ["A:ATSE_1"] * 2 + ["B:ATSE_1"] * 2 + ["D:ATSE_1"] * 2 + ["C:ATSE_1"] * 2
    if labels[0] == "A:ATSE_1:?":  # contradicting: an ATSE of their own
        plain, labels = ["A:ATSE_1"] * 2 + plain[2:], ["A:ATSE_2"] * 3
    assert found.tolist() == plain + labels
    n_joined = sum(name in plain for name in labels)
    assert report["junctions_unstranded_joined"] == n_joined
    dropped, report = label_atses(table, use_genes=True)
    assert dropped.tolist() == plain + [None] * len(more)
    assert report["junctions_unstranded_dropped"] == len(more)
    shuffled = table.sample(frac=1, random_state=0)
    again, _ = label_atses(shuffled, use_genes=True, unstranded="keep")
    assert again.loc[table.index].tolist() == found.tolist()


def test_a_junction_without_strand_joins_only_what_is_kept():
    table = frame("1:10-20:+ A,B", "1:10-30:+ A,B", "1:10-25:? C")
    labels, report = label_atses(table, use_genes=True, unstranded="keep")
    assert labels.isna().all()
    assert report["junctions_alone"] == 1
    labels, _ = label_atses(table, use_genes=True, unstranded="keep", multi_gene="keep")
    assert labels.tolist() == ["A+B:ATSE_1"] * 3
    labels, _ = label_atses(table, use_genes=False, unstranded="keep")
    assert labels.tolist() == ["1:+:ATSE_1"] * 3


def test_a_gene_of_two_places_has_one_numbering_and_links_stay_in_place():
    table = frame(
        "chrY:10-20:+ A",
        "chrY:10-30:+ A",
        "chrX:90-95:- A",
        "chrX:90-99:- A",
        "chrX:10-20:+ A",
        "chrX:10-30:+ A",
        "chrX:10-40:+ A,B",
    )
    labels, _ = label_atses(table, use_genes=True)
    assert labels.tolist() == [
        *["A:ATSE_3"] * 2,
        *["A:ATSE_2"] * 2,
        *["A:ATSE_1"] * 2,
        None,
    ]
    labels, _ = label_atses(table, use_genes=True, multi_gene="keep")
    assert labels.tolist() == [
        *["A:ATSE_2"] * 2,
        *["A:ATSE_1"] * 2,
        *["A+B:ATSE_1"] * 3,
    ]


def test_missing_genes_categories_and_commas_in_an_id():
    table = frame("1:10-20:+ A", "1:10-30:+ A", "1:10-40:+ ", "1:50-60:+ x,y", "1:50-70:+ x,y")
    expected = label_atses(table, use_genes=True)
    table["n_genes"] = [1, 1, 0, 2, 2]
    for missing in (None, np.nan, pd.NA, ""):
        gene = [*table["gene_id"][:2], missing, *table["gene_id"][3:]]
        given_ = table.assign(gene_id=pd.Series(gene, table.index, dtype=object))
        for dtype in (object, "category"):
            again = label_atses(given_.astype({"gene_id": dtype, "chrom": dtype}), use_genes=True)
            assert again[0].tolist() == expected[0].tolist()
            assert again[1] == expected[1]
    table["n_genes"] = [1, 1, 0, 1, 1]
    assert label_atses(table, use_genes=True)[0].tolist()[3:] == ["x,y:ATSE_1"] * 2


def test_repeated_rows_count_once():
    table = frame("1:10-20:+", "1:10-20:+", "1:50-60:+", "1:50-70:+", "1:50-60:+")
    labels, report = label_atses(table, use_genes=False)
    assert labels.tolist() == [None, None, *["1:+:ATSE_1"] * 3]
    assert report["junctions_repeated"] == 2
    assert report["junctions_alone"] == 2
    assert report["largest_atse_junctions"] == 2
    add_up(report)


def test_giants_are_reported():
    sizes = {"A": 40, "B": 30, "C": 29, "D": 31, "E": 33, "F": 32, "G": 34}
    table = frame(
        *(f"1:{1000 * ord(g)}-{1000 * ord(g) + i}:+ {g}" for g in sizes for i in range(sizes[g]))
    )
    _, report = label_atses(table, use_genes=True)
    assert report["giant_atses"] == 6
    assert report["largest_atse_junctions"] == 40
    assert list(report["largest_giant_atses"].items()) == [
        ("A:ATSE_1", 40),
        ("G:ATSE_1", 34),
        ("E:ATSE_1", 33),
        ("F:ATSE_1", 32),
        ("D:ATSE_1", 31),
    ]
    assert label_atses(table, use_genes=True, giant_size=41)[1]["giant_atses"] == 0


def test_splitting_by_hand():
    # Two pairs and a triple in a chain of links of 1 %, 2 % and 50 % of the reads.
    table = frame(
        "1:10-20:+", "1:10-30:+", "1:10-50:+", "1:40-50:+", "1:40-60:+", "1:40-99:+", "1:90-99:+"
    )
    reads = np.array([94, 105, 1, 198, 2, 50, 50])
    expected = {
        7: [1, 1, 1, 1, 1, 1, 1],
        # 10-50 has 1 of 200 reads at its donor; 40-60 2 of 250.
        6: [1, 1, 0, 2, 0, 2, 2],
        3: [1, 1, 0, 2, 0, 2, 2],
        # 40-99 has 50 of 250 at its donor and falls out at 21 %; 90-99 stays behind alone.
        2: [1, 1, 0, 0, 0, 0, 0],
    }
    for largest, numbers in expected.items():
        labels, report = label_atses(table, use_genes=False, max_junctions=largest, reads=reads)
        assert labels.tolist() == [f"1:+:ATSE_{i}" if i else None for i in numbers]
        assert report["atses_split"] == (largest < 7)
        assert report["largest_component_junctions"] == 7
        add_up(report)
    assert report["junctions_dropped_by_splitting"] == 3
    assert report["junctions_alone"] == 2
    # Without reads at all everything falls out at once, and other components stay as they are.
    table = pd.concat([table, frame("2:10-20:+", "2:10-30:+")])
    labels, _ = label_atses(table, use_genes=False, max_junctions=3, reads=np.zeros(9))
    assert labels.tolist() == [*[None] * 7, *["2:+:ATSE_1"] * 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multi_gene": "merge"}, "multi_gene to be 'drop' or 'keep', found 'merge'"),
        ({"no_gene": None}, "no_gene to be .*, found None"),
        ({"unstranded": True}, "unstranded to be .*, found True"),
        ({"max_junctions": 5}, "Expected reads with max_junctions=5, found None"),
        (
            {"max_junctions": 1, "reads": np.ones(15)},
            "max_junctions to be a number from 2, found 1",
        ),
        ({"reads": np.ones(3)}, "reads has 3 values for 15 junctions"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        label_atses(TABLE, use_genes=True, **options)


def test_gene_columns():
    with pytest.raises(ValueError, match="no column 'gene_id'"):
        label_atses(TABLE.drop(columns="gene_id"), use_genes=True)
    wrong = TABLE.assign(n_genes=1)
    with pytest.raises(ValueError, match=r"gene_id '' but n_genes 1"):
        label_atses(wrong, use_genes=True)
    assert label_atses(wrong, use_genes=False)[1]["atses"] == 5


def test_no_junctions():
    labels, report = label_atses(TABLE.iloc[:0], use_genes=True, max_junctions=2, reads=[])
    assert len(labels) == 0
    assert set(map(str, report.values())) == {"0", "{}"}
