from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp.annotate import _gene_rules
from leafletfa_scvi.pp.annotate._annotate import annotate, annotate_junctions
from leafletfa_scvi.pp.annotate._annotation import read_annotation

COLUMNS = [
    "gene_id",
    "gene_name",
    "n_genes",
    "joins_genes",
    "known_junction",
    "known_5ss",
    "known_3ss",
    "annotation_status",
]


def annotation_columns(table, annotation):
    return annotate(table, annotation)[0]


def junctions(*rows):
    table = pd.DataFrame(rows, columns=["chrom", "start", "end", "strand"])
    table.index = [f"{c}:{s}-{e}:{sign}" for c, s, e, sign in rows]
    return table


def write_gtf(path, transcripts, rng=None):
    """``transcripts``: (contig, strand, gene, transcript, [(start, end), ...]).

    Genes named p are pseudogenes, genes named r are read-through genes.
    """
    more = {"p": ' gene_type "unprocessed_pseudogene";', "r": ' tag "readthrough_transcript";'}
    lines = [
        f"{chrom}\t.\texon\t{start}\t{end}\t.\t{strand}\t.\t"
        f'gene_id "{gene}"; transcript_id "{name}"; gene_name "n{gene}";{more.get(gene[0], "")}\n'
        for chrom, strand, gene, name, exons in transcripts
        for start, end in exons
    ]
    if rng is not None:
        rng.shuffle(lines)
    path.write_text("".join(lines))
    return read_annotation(path)


# A and C share their last intron; B lies on the other strand; D lies within an intron of A.
TRANSCRIPTS = [
    ("chr1", "+", "A", "a1", [(100, 200), (301, 400), (501, 600), (901, 1000)]),
    ("chr1", "+", "A", "a2", [(100, 200), (501, 600)]),
    ("chr1", "-", "B", "b1", [(150, 200), (301, 500), (701, 1000)]),
    ("chr1", "+", "C", "c1", [(550, 600), (901, 990)]),
    ("chr1", "+", "D", "d1", [(610, 650), (751, 800)]),
    ("chr3", "-", "E", "e1", [(1, 10), (21, 30), (41, 50)]),
    ("chr3", "-", "F", "f1", [(5, 10), (41, 45)]),
    ("chrM", "+", "M", "m1", [(1, 50), (61, 90)]),
]


@pytest.fixture(scope="module")
def annotation(tmp_path_factory):
    return write_gtf(tmp_path_factory.mktemp("gtf") / "a.gtf", TRANSCRIPTS)


@pytest.mark.parametrize(
    ("junction", "gene_id", "known", "status"),
    [
        (("chr1", 201, 300, "+"), "A", True, "both"),  # the same on both strands
        (("chr1", 201, 300, "-"), "B", True, "both"),
        (("chr1", 201, 300, "?"), "A,B", True, "both"),
        (("chr1", 601, 900, "+"), "A,C", True, "both"),  # an intron of two genes, not of D
        (("chr1", 651, 750, "+"), "D", True, "both"),  # within an intron of A
        (("chr3", 11, 40, "-"), "F", True, "both"),  # E has both sites, not the intron
        (("chr1", 401, 900, "+"), "A", False, "both"),  # sites of A, of which C has one
        (("chr1", 651, 900, "+"), "A,C,D", False, "both"),  # no gene has both
        (("chr1", 601, 750, "+"), "A,C,D", False, "both"),
        (("chr1", 201, 333, "+"), "A", False, "five_prime"),
        (("chr1", 222, 300, "+"), "A", False, "three_prime"),
        (("chr1", 201, 333, "-"), "B", False, "three_prime"),
        (("chr1", 222, 300, "-"), "B", False, "five_prime"),
        (("chr1", 333, 500, "?"), "A", False, "three_prime"),
        (("chr1", 501, 690, "-"), "B", False, "three_prime"),
        (("chr1", 520, 700, "?"), "B", False, "five_prime"),
        (("chr1", 620, 640, "+"), "A,C,D", False, "none"),  # within three bodies
        (("chr1", 620, 660, "?"), "A,B,C,D", False, "none"),
        (("chr1", 120, 140, "-"), "", False, "none"),
        (("chr1", 99, 150, "+"), "", False, "none"),  # a base too far
        (("chr1", 100, 1000, "+"), "A", False, "none"),
        (("chr1", 100, 1001, "+"), "", False, "none"),
        (("1", 201, 300, "+"), "A", True, "both"),
        (("MT", 51, 60, "+"), "M", True, "both"),
        (("chr2", 201, 300, "+"), "", False, "none"),
        (("ERCC-1", 201, 300, "?"), "", False, "none"),
    ],
)
def test_genes_and_status(annotation, junction, gene_id, known, status):
    # The other contig is always there, so that something matches.
    name = "chrM" if junction[0] != "MT" else "chr1"
    table = junctions(junction, (name, 5000, 5100, "+"))
    row = annotation_columns(table, annotation).iloc[0]
    assert row["gene_id"] == gene_id
    assert row["gene_name"] == ",".join("n" + gene for gene in gene_id.split(",") if gene)
    assert row["n_genes"] == len(gene_id.split(",")) - (gene_id == "")
    assert row["known_junction"] == known
    assert row["annotation_status"] == status
    assert row["known_5ss"] == (status in ("both", "five_prime"))
    assert row["known_3ss"] == (status in ("both", "three_prime"))


def test_a_junction_without_strand_follows_one_strand(annotation):
    """401 is a donor on +, 700 is one on -: neither strand has two sites here."""
    row = annotation_columns(junctions(("chr1", 401, 700, "?")), annotation).iloc[0]
    assert (row["gene_id"], row["annotation_status"]) == ("A,B", "five_prime")
    # 301-500 is no intron, but 201 and 700 are both sites of B, on +, only 201 is one.
    row = annotation_columns(junctions(("chr1", 201, 700, "?")), annotation).iloc[0]
    assert (row["gene_id"], row["annotation_status"]) == ("B", "both")


@pytest.mark.parametrize("categorical", [False, True])
def test_written_in_place_with_a_report(annotation, categorical, tmp_path):
    table = junctions(
        ("chr1", 201, 300, "+"),
        ("chr1", 601, 900, "+"),
        ("chr1", 620, 640, "?"),
        ("chr1", 2000, 3000, "-"),
        ("ERCC-1", 1, 90, "+"),
    )
    if categorical:
        table = table.astype({"chrom": "category", "strand": "category"})
    adata = anndata.AnnData(sp.csr_matrix(np.ones((2, 5), np.int32)), var=table)
    adata.uns["splicing"] = {"source": "x"}
    assert annotate_junctions(adata, annotation) is None
    assert list(adata.var)[4:] == COLUMNS
    assert adata.var["n_genes"].tolist() == [1, 2, 4, 0, 0]
    assert adata.var["known_junction"].dtype == bool
    assert adata.uns["splicing"] == {
        "source": "x",
        "annotation": {
            "junctions": 5,
            "junctions_known": 2,
            "junctions_novel": 3,
            "junctions_without_gene": 2,
            "junctions_of_several_genes": 2,
            "junctions_joining_genes": 0,
            "junctions_unstranded": 1,
            "junctions_on_unmatched_contigs": 1,
            "unmatched_contigs": 1,
        },
    }
    before = adata.var.copy()
    annotate_junctions(adata, annotation)
    pd.testing.assert_frame_equal(adata.var, before)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert again.var["gene_id"].astype(str).tolist() == before["gene_id"].tolist()
    annotate_junctions(again, annotation)


def test_invalid_junctions_are_named(annotation):
    with pytest.raises(ValueError, match="no column 'strand'"):
        annotation_columns(junctions(("chr1", 1, 2, "+")).drop(columns="strand"), annotation)
    with pytest.raises(ValueError, match=r"'chr1:1-2:\.' has strand '\.'"):
        annotation_columns(junctions(("chr1", 1, 2, ".")), annotation)
    with pytest.raises(ValueError, match="'chr1:9-2:-' is the intron 9-2"):
        annotation_columns(junctions(("chr1", 9, 2, "-")), annotation)
    with pytest.raises(ValueError, match=r"has start .*1\.5.*: expected a whole number"):
        annotation_columns(junctions(("chr1", 1.5, 2, "-")), annotation)
    with pytest.raises(ValueError, match="No contig of the junctions"):
        annotation_columns(junctions(("NC_1", 1, 2, "-")), annotation)


def test_no_junctions_and_no_introns(annotation, tmp_path):
    empty = annotation_columns(junctions(), annotation)
    assert list(empty) == COLUMNS
    assert len(empty) == 0
    bare = write_gtf(tmp_path / "a.gtf", [("1", "+", "G", "t", [(10, 90)])])
    found = annotation_columns(junctions(("1", 20, 30, "?"), ("1", 20, 99, "+")), bare)
    assert found["gene_id"].tolist() == ["G", ""]
    assert found["annotation_status"].tolist() == ["none", "none"]


def read_through_genes(introns, bodies):
    """Genes named r; if there are none, those that share sites with two that do not overlap."""
    if tagged := {key for key in introns if key[2].startswith("r")}:
        return tagged
    found = set()
    for key in introns:
        sites = [{gap[side] for gap in introns[key]} for side in (0, 1)]
        partners = [
            other
            for other in introns
            if other != key
            and other[:2] == key[:2]
            and any(sites[side] & {gap[side] for gap in introns[other]} for side in (0, 1))
        ]
        if any(bodies[a][1] < bodies[b][0] for a in partners for b in partners):
            found.add(key)
    return found


def slow_rules(start, end, here, introns, bodies, read_through):
    """The genes of one strand by each of the ten rules, in their order."""

    def within(key, first, last):
        return bodies[key][0] <= first and last <= bodies[key][1]

    by_kind = []
    for kind in (here - read_through, here & read_through):
        left = {key for key in kind if start in {gap[0] for gap in introns[key]}}
        right = {key for key in kind if end in {gap[1] for gap in introns[key]}}
        by_kind.append(
            {
                "intron": {key for key in kind if (start, end) in introns[key]},
                "both": left & right,
                "left": left,
                "right": right,
                "either": left | right,
                "body": {key for key in kind if within(key, start, end)},
            }
        )
    others, last = by_kind
    left, right = others["left"], others["right"]
    one_site = set() if left and right else others["either"] & others["body"]
    kind = here - read_through
    far_left = left or {key for key in kind if within(key, start - 1, start - 1)}
    far_right = right or {key for key in kind if within(key, end + 1, end + 1)}
    joined = far_left | far_right if (left or right) and far_left and far_right else set()
    rules = [others["intron"], others["both"], one_site, last["intron"], last["both"], joined]
    rules += [others["either"], last["either"], others["body"], last["body"]]
    for i, rule in enumerate(rules):
        pseudogenes = {key for key in rule if key[2].startswith("p")}
        if i != 5 and rule != pseudogenes:
            rules[i] = rule - pseudogenes
    return rules


def slow_columns(table, transcripts):
    """The rules once more, for one junction after the other, with dictionaries."""
    introns, bodies = {}, {}
    for chrom, strand, gene, _, exons in transcripts:
        blocks = []
        for start, end in sorted(exons):
            if blocks and start <= blocks[-1][1] + 1:
                blocks[-1][1] = max(end, blocks[-1][1])
            else:
                blocks.append([start, end])
        gaps = {(a[1] + 1, b[0] - 1) for a, b in zip(blocks, blocks[1:], strict=False)}
        introns.setdefault((chrom, strand, gene), set()).update(gaps)
        left, right = bodies.get((chrom, strand, gene), (10**9, 0))
        bodies[chrom, strand, gene] = min(left, blocks[0][0]), max(right, blocks[-1][1])
    read_through = read_through_genes(introns, bodies)
    rows = []
    for chrom, start, end, strand in table.itertuples(index=False, name=None):
        strands = "+-" if strand == "?" else strand
        here = [key for key in bodies if key[0] == chrom and key[1] in strands]
        starts = {key: {gap[0] for gap in introns[key]} for key in here}
        ends = {key: {gap[1] for gap in introns[key]} for key in here}
        by_strand = [
            slow_rules(
                start, end, {key for key in here if key[1] == sign}, introns, bodies, read_through
            )
            for sign in strands
        ]
        rules = [set().union(*found) for found in zip(*by_strand, strict=True)]
        first = next((i for i, rule in enumerate(rules) if rule), 0)
        genes = sorted(key[2] for key in rules[first])
        flags = []
        for sign in strands:
            left = any(start in starts[key] for key in here if key[1] == sign)
            right = any(end in ends[key] for key in here if key[1] == sign)
            known = any((start, end) in introns[key] for key in here if key[1] == sign)
            five, three = (left, right) if sign == "+" else (right, left)
            flags.append((known, five + three, sign == "+", five, three))
        known, _, _, five, three = max(flags)
        status = "both" if five and three else "five_prime" if five else "three_prime"
        rows.append(
            (
                ",".join(genes),
                ",".join("n" + gene for gene in genes),
                len(genes),
                first == 5,
                known,
                five,
                three,
                status if five or three else "none",
            )
        )
    return pd.DataFrame(rows, index=table.index, columns=COLUMNS)


EXONS = st.lists(
    st.tuples(st.integers(1, 20), st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair))),
    min_size=1,
    max_size=4,
)


@st.composite
def annotations(draw):
    """Transcripts of few genes, each of one contig and strand."""
    kinds = draw(st.sampled_from(["g", "gp", "ggr", "gpr"]))
    homes = draw(
        st.lists(
            # Most genes on one strand, so that they overlap and follow each other.
            st.tuples(st.sampled_from("1112"), st.sampled_from("+++-")),
            min_size=2,
            max_size=5,
        )
    )
    kinds = [draw(st.sampled_from(kinds)) for _ in homes]
    return [
        (*homes[gene], f"{kinds[gene]}{gene}", f"t{i}", exons)
        for i, (gene, exons) in enumerate(
            draw(
                st.lists(st.tuples(st.integers(0, len(homes) - 1), EXONS), min_size=3, max_size=8)
            )
        )
    ]


ROWS = st.lists(
    st.tuples(
        st.sampled_from("1112"), st.integers(1, 22), st.integers(0, 12), st.sampled_from("+++-?")
    ),
    min_size=1,
    max_size=30,
    unique=True,
)


@settings(max_examples=40, deadline=None)
@given(annotations(), ROWS, st.randoms(use_true_random=False), st.sampled_from([1, 10**7]))
def test_equals_a_slow_reference_in_any_order(tmp_path_factory, transcripts, rows, rng, batch):
    path = tmp_path_factory.getbasetemp() / "random.gtf"
    known = {chrom for chrom, *_ in transcripts}
    rows = [(c, s, s + n, sign) for c, s, n, sign in rows]
    anchor = (min(known), 1, 1, "+")
    table = junctions(*dict.fromkeys([anchor, *rows]))
    wanted = slow_columns(table, transcripts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gene_rules, "_BATCH", batch)
        found = annotation_columns(table, write_gtf(path, transcripts))
        pd.testing.assert_frame_equal(found, wanted)
        order = rng.sample(range(len(table)), len(table))
        shuffled = annotation_columns(table.iloc[order], write_gtf(path, transcripts, rng))
    pd.testing.assert_frame_equal(shuffled, wanted.iloc[order])


def test_gtex_junctions(data_dir):
    """Intervals of these files are introns, 0-based and half-open."""
    folder = data_dir / "gtex_chr10"
    names = ["chrom", "start", "end", "name", "score", "strand"]
    paths = sorted(folder.glob("*.bed.gz"))
    assert len(paths) == 12
    table = pd.concat([pd.read_csv(path, sep="\t", header=None, names=names) for path in paths])
    assert len(table) == 164_208
    table["start"] += 1
    table = table.groupby(names[:3] + names[5:], as_index=False)["score"].sum()
    annotation = read_annotation(folder / "chr10.gtf.gz")
    found, report = annotate(table, annotation)
    seen = (table["score"] >= 1).to_numpy()
    assert (len(found), report["junctions_known"]) == (13_477, 13_347)
    assert (seen.sum(), found["known_junction"][seen].sum()) == (10_343, 10_316)
    assert (found["n_genes"][found["known_junction"]] > 0).all()
    assert (found["annotation_status"][found["known_junction"]] == "both").all()

    # Off by one, hardly anything is known; without strands nearly all of it still is.
    assert (
        not annotation_columns(table.assign(end=table["end"] + 1), annotation)[
            "known_junction"
        ].mean()
        > 0.01
    )
    either = annotation_columns(table.assign(strand="?"), annotation)
    assert (either["known_junction"] >= found["known_junction"]).all()
    genes = zip(either["gene_id"], found["gene_id"], strict=True)
    known = found["known_junction"].to_numpy()
    pairs = [pair for pair, flag in zip(genes, known, strict=True) if flag]
    assert all(set(b.split(",")) <= set(a.split(",")) for a, b in pairs)


def test_tasic_junctions(data_dir):
    """STAR's own column 6 says whether a junction is annotated, by the GTF it was given."""
    folder = data_dir / "tasic2016"
    names = ["chrom", "start", "end", "strand", "motif", "annotated", "unique", "multi", "over"]
    paths = sorted((folder / "sj").glob("*.SJ.out.tab"))
    assert len(paths) == 264
    table = pd.concat([pd.read_csv(path, sep="\t", header=None, names=names) for path in paths])
    table = table.groupby(names[:4], as_index=False)["annotated"].max()
    assert len(table) == 703
    table["strand"] = table["strand"].map({0: "?", 1: "+", 2: "-"})
    annotation = read_annotation(folder / "gencode.vM10.annotation.subset.gtf")
    table.index = table.index.astype(str)
    data = anndata.AnnData(var=table)
    annotate_junctions(data, annotation)
    table = data.var
    assert data.uns["splicing"]["annotation"]["junctions"] == 703
    known, stars = table["known_junction"], table["annotated"] == 1
    assert (known.sum(), (known & stars).sum()) == (69, 68)
    odd = table[known & ~stars].iloc[0]  # STAR was given another version
    assert (odd["chrom"], odd["start"], odd["end"]) == ("chr7", 126_487_783, 126_488_649)
    assert set(table["gene_name"]) >= {"Snap25", "Myl6"}
