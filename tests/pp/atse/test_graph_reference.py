"""ATSEs of random and real junctions against plain implementations."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from helpers.atse import add_up, partition, union_find
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp.atse._graph import label_atses


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
            "joins_genes": start % 3 == 0,  # the same in repeated rows
            "reads": rng.integers(0, 50, n_junctions),
        }
    )


def linked_genes(group, genes, dropped):
    """Sets of genes by place, joined until nothing changes."""
    linked = [
        (place, set(gene.split(",")))
        for place, gene, out in zip(group, genes, dropped, strict=True)
        if gene and not out
    ]
    for _ in range(4):
        for (p, a), (q, b) in itertools.product(linked, linked):
            if p == q and a & b:
                a |= b
    return linked


def join_plainly(table, dropped, use_genes):
    """Give junctions of unknown strand the strand and genes of those at their sites."""
    rows = list(table[["chrom", "start", "end", "strand"]].itertuples(index=False, name=None))
    is_open = [strand == "?" for *_, strand in rows]
    linked = linked_genes(table["chrom"] + table["strand"], table["gene_id"], dropped)

    def group_of(i):
        gene = table["gene_id"].iloc[i] if use_genes else ""
        place = rows[i][0] + rows[i][3]
        joined = [g for p, g in linked if p == place and g & set(gene.split(","))]
        return place, frozenset(joined[0]) if joined and gene else gene

    def touch(i, j):
        (a, b, c, _), (d, e, f, _) = rows[i], rows[j]
        return a == d and (b == e or c == f)

    everything = range(len(rows))
    chosen = {}
    for i in everything:
        if not is_open[i]:
            continue
        together = {i}
        for _ in everything:
            together |= {j for j in everything for k in together if is_open[j] and touch(j, k)}
        closed = [j for j in everything if not is_open[j] and not dropped.iloc[j]]
        found = {group_of(j): j for j in closed if any(touch(j, k) for k in together)}
        if len(found) == 1:
            chosen[i] = found.popitem()[1]
    for i, j in chosen.items():
        for column in ("strand", "gene_id", "n_genes"):
            table.loc[table.index[i], column] = table[column].iloc[j]
        dropped.iloc[i] = False


SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=150, deadline=None)
@given(
    seed=SEEDS,
    n_junctions=st.integers(0, 60),
    use_genes=st.booleans(),
    keep=st.lists(
        st.sampled_from(["multi_gene", "no_gene", "unstranded", "read_through"]), unique=True
    ),
)
def test_components_equal_an_independent_union_find(seed, n_junctions, use_genes, keep):
    table = random_table(np.random.default_rng(seed), n_junctions)
    labels, report = label_atses(table, use_genes=use_genes, **dict.fromkeys(keep, "keep"))
    add_up(report)

    dropped = (table["strand"] == "?") & ("unstranded" not in keep)
    group = table["chrom"] + table["strand"]
    if use_genes:
        dropped |= (table["n_genes"] == 0) & ("no_gene" not in keep)
        is_joining = (table["n_genes"] > 1) & table["joins_genes"]
        dropped |= is_joining & ("read_through" not in keep)
        dropped |= (table["n_genes"] > 1) & ~is_joining & ("multi_gene" not in keep)
    table = table.copy()
    if "unstranded" in keep:
        join_plainly(table, dropped, use_genes)
        group = table["chrom"] + table["strand"]
    if use_genes:
        linked = linked_genes(group, table["gene_id"], dropped)
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
        "giant_size": 3,
    }
    labels, report = label_atses(table, reads=table["reads"], **options)
    shuffled = table.sample(frac=1, random_state=seed)
    again, other = label_atses(shuffled, reads=shuffled["reads"], **options)
    assert again.loc[table.index].tolist() == labels.tolist()
    assert other == report
    add_up(report)
    assert report["largest_atse_junctions"] <= largest
    # What split is finer than what was, and what was small enough is as it was.
    whole, _ = label_atses(table, **(options | {"max_junctions": None}))
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
    labels, _ = label_atses(table, use_genes=False, max_junctions=largest, reads=reads)
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
        labels, report = label_atses(rows, use_genes=False)
        expected = union_find(list(zip(rows["strand"], rows["start"], rows["end"], strict=True)))
        assert partition(labels) == expected
        assert report["atses"] == len(expected)
        add_up(report)
    split, report = label_atses(read, use_genes=False, max_junctions=10, reads=read["score"])
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
    _, report = label_atses(table, use_genes=True)
    assert report["atses"] > 100_000
