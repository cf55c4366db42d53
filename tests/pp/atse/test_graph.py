from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp.atse._graph import find_atses

COLUMNS = ["chrom", "start", "end", "strand", "gene_id"]


def frame(*rows):
    """Junctions from texts like ``chr1:10-20:+ A,B``."""
    split = []
    for row in rows:
        place, _, gene = row.partition(" ")
        chrom, span, strand = place.split(":")
        split.append((chrom, *map(int, span.split("-")), strand, gene))
    return pd.DataFrame(split, columns=COLUMNS, index=list(rows))


def partition(labels):
    """Sets of positions with one label."""
    groups = {}
    for i, label in enumerate(labels):
        if label is not None:
            groups.setdefault(label, set()).add(i)
    return {frozenset(group) for group in groups.values()}


def union_find(rows):
    """Components of distinct (group, start, end) that share a site: plain and independent."""
    parent = {}

    def root(x):
        while parent.setdefault(x, x) != x:
            x = parent[x]
        return x

    for group, start, end in rows:
        a, b = root(("left", group, start)), root(("right", group, end))
        if a != b:
            parent[a] = b
    members, edges = {}, {}
    for i, (group, start, end) in enumerate(rows):
        top = root(("left", group, start))
        members.setdefault(top, set()).add(i)
        edges.setdefault(top, set()).add((start, end))
    return {frozenset(members[top]) for top in members if len(edges[top]) > 1}


def add_up(report):
    """Each row is in exactly one class."""
    parts = [
        "junctions_in_atses",
        "junctions_alone",
        "junctions_unstranded_dropped",
        "junctions_without_gene_dropped",
        "junctions_of_several_genes_dropped",
        "junctions_dropped_by_splitting",
    ]
    assert sum(report[name] for name in parts) == report["junctions"]
    for name in ("unstranded", "without_gene", "of_several_genes"):
        assert report[f"junctions_{name}_dropped"] <= report[f"junctions_{name}"]


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
    labels, report = find_atses(TABLE, use_genes=True)
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
        "junctions_without_gene": 2,
        "junctions_without_gene_dropped": 2,
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
    labels, report = find_atses(
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
    labels, report = find_atses(TABLE[["chrom", "start", "end", "strand"]], use_genes=False)
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
    labels, _ = find_atses(TABLE, use_genes=False, unstranded="keep")
    assert labels.tolist()[10:12] == ["chr2:?:ATSE_1"] * 2


def test_donors_and_acceptors_at_one_position_are_different_sites():
    labels, _ = find_atses(frame("1:10-20:+", "1:20-30:+", "1:30-40:+"), use_genes=False)
    assert labels.isna().all()


def test_a_site_is_shared_within_a_gene_only():
    table = frame("1:10-20:+ A", "1:10-30:+ B", "1:10-40:+ B")
    assert find_atses(table, use_genes=True)[0].tolist() == [None, "B:ATSE_1", "B:ATSE_1"]
    assert find_atses(table, use_genes=False)[0].notna().all()


def test_genes_linked_through_others_act_as_one():
    table = frame(
        "1:10-20:+ C",
        "1:10-30:+ B,C",
        "1:50-60:+ A,B",
        "1:50-70:+ A",
        "1:90-95:+ D",
        "1:90-99:+ D",
    )
    labels, report = find_atses(table, use_genes=True, multi_gene="keep")
    assert labels.tolist() == [
        *["A+B+C:ATSE_1"] * 2,
        *["A+B+C:ATSE_2"] * 2,
        *["D:ATSE_1"] * 2,
    ]
    add_up(report)
    labels, report = find_atses(table, use_genes=True)
    assert labels.tolist() == [*[None] * 4, *["D:ATSE_1"] * 2]
    assert report["junctions_of_several_genes_dropped"] == 2
    assert report["junctions_alone"] == 2


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
    labels, _ = find_atses(table, use_genes=True)
    assert labels.tolist() == [
        *["A:ATSE_3"] * 2,
        *["A:ATSE_2"] * 2,
        *["A:ATSE_1"] * 2,
        None,
    ]
    labels, _ = find_atses(table, use_genes=True, multi_gene="keep")
    assert labels.tolist() == [
        *["A:ATSE_2"] * 2,
        *["A:ATSE_1"] * 2,
        *["A+B:ATSE_1"] * 3,
    ]


def test_missing_genes_categories_and_commas_in_an_id():
    table = frame("1:10-20:+ A", "1:10-30:+ A", "1:10-40:+ ", "1:50-60:+ x,y", "1:50-70:+ x,y")
    expected = find_atses(table, use_genes=True)
    table["n_genes"] = [1, 1, 0, 2, 2]
    for missing in (None, np.nan, pd.NA, ""):
        gene = [*table["gene_id"][:2], missing, *table["gene_id"][3:]]
        given_ = table.assign(gene_id=pd.Series(gene, table.index, dtype=object))
        for dtype in (object, "category"):
            again = find_atses(given_.astype({"gene_id": dtype, "chrom": dtype}), use_genes=True)
            assert again[0].tolist() == expected[0].tolist()
            assert again[1] == expected[1]
    table["n_genes"] = [1, 1, 0, 1, 1]
    assert find_atses(table, use_genes=True)[0].tolist()[3:] == ["x,y:ATSE_1"] * 2


def test_repeated_rows_count_once():
    table = frame("1:10-20:+", "1:10-20:+", "1:50-60:+", "1:50-70:+", "1:50-60:+")
    labels, report = find_atses(table, use_genes=False)
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
    _, report = find_atses(table, use_genes=True)
    assert report["giant_atses"] == 6
    assert report["largest_atse_junctions"] == 40
    assert list(report["largest_giant_atses"].items()) == [
        ("A:ATSE_1", 40),
        ("G:ATSE_1", 34),
        ("E:ATSE_1", 33),
        ("F:ATSE_1", 32),
        ("D:ATSE_1", 31),
    ]
    assert find_atses(table, use_genes=True, giant=41)[1]["giant_atses"] == 0


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
        labels, report = find_atses(table, use_genes=False, max_junctions=largest, reads=reads)
        assert labels.tolist() == [f"1:+:ATSE_{i}" if i else None for i in numbers]
        assert report["atses_split"] == (largest < 7)
        assert report["largest_component_junctions"] == 7
        add_up(report)
    assert report["junctions_dropped_by_splitting"] == 3
    assert report["junctions_alone"] == 2
    # Without reads at all everything falls out at once, and other components stay as they are.
    table = pd.concat([table, frame("2:10-20:+", "2:10-30:+")])
    labels, _ = find_atses(table, use_genes=False, max_junctions=3, reads=np.zeros(9))
    assert labels.tolist() == [*[None] * 7, *["2:+:ATSE_1"] * 2]


def random_table(rng, n_junctions):
    start = rng.integers(1, 8, n_junctions)
    genes = rng.choice(["", "g1", "g2", "g3", "g1,g2", "g2,g3"], n_junctions)
    return pd.DataFrame(
        {
            "chrom": rng.choice(["chr2", "chr10"], n_junctions),
            "start": start,
            "end": start + rng.integers(0, 8, n_junctions),
            "strand": rng.choice(["+", "-", "?"], n_junctions, p=[0.5, 0.4, 0.1]),
            "gene_id": genes,
            "n_genes": [len(gene.split(",")) if gene else 0 for gene in genes],
            "reads": rng.integers(0, 50, n_junctions),
        }
    )


SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=150, deadline=None)
@given(
    seed=SEEDS,
    n_junctions=st.integers(0, 60),
    use_genes=st.booleans(),
    keep=st.lists(st.sampled_from(["multi_gene", "no_gene", "unstranded"]), unique=True),
)
def test_components_equal_an_independent_union_find(seed, n_junctions, use_genes, keep):
    table = random_table(np.random.default_rng(seed), n_junctions)
    labels, report = find_atses(table, use_genes=use_genes, **dict.fromkeys(keep, "keep"))
    add_up(report)

    dropped = (table["strand"] == "?") & ("unstranded" not in keep)
    group = table["chrom"] + table["strand"]
    if use_genes:
        dropped |= (table["n_genes"] == 0) & ("no_gene" not in keep)
        dropped |= (table["n_genes"] > 1) & ("multi_gene" not in keep)
        # Genes joined until nothing changes.
        linked = [
            (place, set(gene.split(",")))
            for place, gene, out in zip(group, table["gene_id"], dropped, strict=True)
            if gene and not out
        ]
        for _ in range(4):
            for (p, a), (q, b) in itertools.product(linked, linked):
                if p == q and a & b:
                    a |= b
        names = []
        for place, gene in zip(group, table["gene_id"], strict=True):
            joined = [g for p, g in linked if p == place and g & set(gene.split(","))]
            names.append("+".join(sorted(joined[0])) if joined else gene)
        expected_prefix = [
            name or f"{chrom}:{strand}"
            for name, chrom, strand in zip(names, table["chrom"], table["strand"], strict=True)
        ]
        group = group + "|" + pd.Series(names, table.index, dtype=object)
    else:
        expected_prefix = list(table["chrom"] + ":" + table["strand"])
    kept = np.flatnonzero(~dropped.to_numpy(bool))
    rows = list(zip(group[kept], table["start"][kept], table["end"][kept], strict=True))
    expected = {frozenset(kept[i] for i in part) for part in union_find(rows)}
    assert partition(labels) == expected
    assert report["atses"] == len(expected)
    for label, prefix in zip(labels, expected_prefix, strict=True):
        assert label is None or label.rpartition(":ATSE_")[0] == prefix

    # Numbers follow the genome within each prefix, without gaps.
    chroms = {"chr2": 0, "chr10": 1}
    where = {}
    for label, chrom, start, end, strand in zip(
        labels, table["chrom"], table["start"], table["end"], table["strand"], strict=True
    ):
        if label is not None:
            key = (chroms[chrom], start, end, "?+-".index(strand))
            where[label] = min(key, where.get(label, key))
    by_prefix = {}
    for label in sorted(where, key=where.get):
        by_prefix.setdefault(label.rpartition("_")[0], []).append(int(label.rpartition("_")[2]))
    for numbers in by_prefix.values():
        assert numbers == list(range(1, len(numbers) + 1))


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(1, 60), st.booleans(), st.integers(2, 6))
def test_any_order_gives_the_same_labels_and_report(seed, n_junctions, use_genes, largest):
    table = random_table(np.random.default_rng(seed), n_junctions)
    options = {
        "use_genes": use_genes,
        "multi_gene": "keep",
        "no_gene": "keep",
        "max_junctions": largest,
        "giant": 3,
    }
    labels, report = find_atses(table, reads=table["reads"], **options)
    shuffled = table.sample(frac=1, random_state=seed)
    again, other = find_atses(shuffled, reads=shuffled["reads"], **options)
    assert again.loc[table.index].tolist() == labels.tolist()
    assert other == report
    add_up(report)
    assert report["largest_atse_junctions"] <= largest
    # What split is finer than what was, and what was small enough is as it was.
    whole, _ = find_atses(table, **(options | {"max_junctions": None}))
    distinct = table.drop_duplicates(["chrom", "start", "end", "strand", "gene_id"])
    size = distinct.groupby(whole[distinct.index])["start"].size()
    parts = {frozenset(part) for part in partition(whole) if size[whole[min(part)]] <= largest}
    assert parts <= partition(labels)
    for part in partition(labels):
        assert any(part <= old for old in partition(whole))


def split_plainly(rows, reads, largest):
    """The rule of splitting on one table, with shares as fractions of whole numbers."""
    at = {}
    for (start, end), count in zip(rows, reads, strict=True):
        at["left", start] = at.get(("left", start), 0) + count
        at["right", end] = at.get(("right", end), 0) + count
    result = set()
    todo = [(part, 0) for part in union_find([(0, *row) for row in rows])]
    while todo:
        part, percent = todo.pop()
        if len(part) <= largest:
            result.add(part)
            continue
        percent += 1
        stay = [
            i
            for i in sorted(part)
            if all(
                at[site] and 100 * reads[i] >= percent * at[site]
                for site in (("left", rows[i][0]), ("right", rows[i][1]))
            )
        ]
        for piece in union_find([(0, *rows[i]) for i in stay]):
            todo.append((frozenset(stay[i] for i in piece), percent))
    return result


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.integers(1, 40), st.integers(2, 8))
def test_splitting_equals_the_plain_rule(seed, n_junctions, largest):
    rng = np.random.default_rng(seed)
    pairs = rng.permutation([(a, b) for a in range(1, 10) for b in range(a, a + 6)])[:n_junctions]
    reads = rng.integers(0, 200, len(pairs)) ** 2
    table = pd.DataFrame(pairs, columns=["start", "end"]).assign(chrom="1", strand="-")
    labels, _ = find_atses(table, use_genes=False, max_junctions=largest, reads=reads)
    rows = [tuple(pair) for pair in pairs.tolist()]
    assert partition(labels) == split_plainly(rows, reads.tolist(), largest)


def test_gtex_equals_an_independent_union_find(data_dir):
    names = ["chrom", "start", "end", "name", "score", "strand"]
    files = sorted((data_dir / "gtex_chr10").glob("*.bed.gz"))
    assert len(files) == 12
    table = pd.concat([pd.read_csv(file, sep="\t", names=names) for file in files])
    table["start"] += 1
    table = table.groupby(["chrom", "start", "end", "strand"], as_index=False)["score"].sum()
    assert len(table) == 13477
    read = table[table["score"] > 0]
    assert len(read) == 10343
    for rows in (table, read):
        labels, report = find_atses(rows, use_genes=False)
        expected = union_find(list(zip(rows["strand"], rows["start"], rows["end"], strict=True)))
        assert partition(labels) == expected
        assert report["atses"] == len(expected)
        add_up(report)
    split, report = find_atses(read, use_genes=False, max_junctions=10, reads=read["score"])
    assert report["atses_split"] > 0
    assert report["largest_atse_junctions"] <= 10
    add_up(report)


def test_a_million_junctions():
    """Some 3 s on one free core; what grows with their square would not end."""
    rng = np.random.default_rng(0)
    n = 1_000_000
    start = rng.integers(1, 200_000_000, n // 2)
    # About two junctions at each site, in genes of ten.
    start = np.concatenate([start, start])
    end = start + rng.integers(70, 5000, n)
    gene = np.argsort(np.argsort(start)) // 20
    table = pd.DataFrame({"start": start, "end": end, "strand": np.where(gene % 2, "+", "-")})
    table["chrom"] = np.array([f"chr{i}" for i in range(1, 23)], object)[gene % 22]
    table["gene_id"] = np.char.add("ENSG", gene.astype(str)).astype(object)
    _, report = find_atses(table, use_genes=True)
    assert report["atses"] > 100_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multi_gene": "merge"}, "multi_gene is 'merge': expected 'drop' or 'keep'"),
        ({"no_gene": None}, "no_gene is None"),
        ({"unstranded": True}, "unstranded is True"),
        ({"max_junctions": 5}, "max_junctions is 5 and reads not given"),
        ({"max_junctions": 1, "reads": np.ones(15)}, "max_junctions is 1"),
        ({"reads": np.ones(3)}, "reads has 3 values for 15 junctions"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        find_atses(TABLE, use_genes=True, **options)


def test_gene_columns():
    with pytest.raises(ValueError, match="no column 'gene_id'"):
        find_atses(TABLE.drop(columns="gene_id"), use_genes=True)
    wrong = TABLE.assign(n_genes=1)
    with pytest.raises(ValueError, match=r"gene_id '' but n_genes 1"):
        find_atses(wrong, use_genes=True)
    assert find_atses(wrong, use_genes=False)[1]["atses"] == 5


def test_no_junctions():
    labels, report = find_atses(TABLE.iloc[:0], use_genes=True, max_junctions=2, reads=[])
    assert len(labels) == 0
    assert set(map(str, report.values())) == {"0", "{}"}
