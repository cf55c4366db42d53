"""Junctions mapped between genomes: partners that are known, and each reason for none."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import leafletfa_scvi as lfa
from leafletfa_scvi.pp import map_junctions


def pairs_of(table):
    found = table.dropna(subset=["target"])
    assert found["reason"].isna().all()
    assert table.loc[table["target"].isna(), "reason"].notna().all()
    return set(zip(found["source"], found["target"], strict=True))


@pytest.mark.parametrize("tolerance", [0, 3, 7])
@pytest.mark.parametrize("direction", ["there", "back"])
def test_true_partners_and_no_others(genomes, chains, direction, tolerance):
    truth, tables = genomes.pairs, (genomes.source.var, genomes.target.var)
    orthologs = genomes.orthologs
    if direction == "back":
        swap = {"source": "target", "target": "source"}
        truth, orthologs, tables = (
            truth.rename(columns=swap),
            orthologs.rename(columns=swap),
            (tables[::-1]),
        )
        chains = chains[::-1]
    table = map_junctions(
        *tables,
        orthologs=orthologs,
        chain=chains[0],
        reciprocal_chain=chains[1],
        tolerance=tolerance,
    )
    assert table["source"].tolist() == tables[0].index.tolist()
    found = pairs_of(table)
    assert found <= set(zip(truth["source"], truth["target"], strict=True))
    mappable = truth[truth["shift"] <= tolerance]
    expected = set(zip(mappable["source"], mappable["target"], strict=True))
    assert len(found & expected) >= 0.98 * len(expected)
    assert len(expected) > 200


def test_without_the_second_chain_only_copies_are_lost(genomes, chains):
    table = map_junctions(
        genomes.source.var, genomes.target.var, orthologs=genomes.orthologs, chain=chains[0]
    )
    truth = genomes.pairs
    found = pairs_of(table)
    assert found <= set(zip(truth["source"], truth["target"], strict=True))
    rest = truth[(truth["shift"] == 0) & (truth["edit"] != "copy in source")]
    assert set(zip(rest["source"], rest["target"], strict=True)) <= found
    copies = table[genomes.source.var["edit"].to_numpy() == "copy in source"]
    assert set(copies["reason"]) == {"several junctions"}


@pytest.mark.parametrize(
    ("direction", "edit", "reasons"),
    [
        ("there", "antisense", {"no junction at the lifted splice sites"}),
        ("there", "not orthologous", {"genes not orthologous"}),
        ("there", "site moved", {"no junction at the lifted splice sites"}),
        ("there", "copy in source", {"lifted back to another place"}),
        (
            "back",
            "gene lost",
            {"5' splice site not aligned", "3' splice site not aligned"},
        ),
        (
            "back",
            "exon inverted",
            {
                "splice sites on different contigs or strands",
                "no junction at the lifted splice sites",
            },
        ),
    ],
)
def test_reasons(genomes, chains, direction, edit, reasons):
    tables, orthologs = (genomes.source.var, genomes.target.var), genomes.orthologs
    if direction == "back":
        tables, chains = tables[::-1], chains[::-1]
        orthologs = orthologs.rename(columns={"source": "target", "target": "source"})
    table = map_junctions(
        *tables, orthologs=orthologs, chain=chains[0], reciprocal_chain=chains[1]
    )
    of_edit = table["reason"][tables[0]["edit"].to_numpy() == edit].dropna()
    assert 0 < len(of_edit)
    assert set(of_edit) <= reasons


# One contig of 1,000 bases, the first half aligned 2,000 bases on, the second half reversed.
SIMPLE = (
    "chain 1 chr1 1000 + 0 500 chr2 4000 + 2000 2500 1\n500\n\n"
    "chain 1 chr1 1000 + 500 1000 chr3 500 - 0 500 2\n500\n\n"
)
BACK = (
    "chain 1 chr2 4000 + 2000 2500 chr1 1000 + 0 500 1\n500\n\n"
    "chain 1 chr3 500 + 0 500 chr1 1000 - 0 500 2\n500\n\n"
)


@pytest.fixture
def chain_file(tmp_path):
    def written(text=SIMPLE, name="a.chain"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


def one(chain, source, target, **options):
    """Target and reason of one junction."""
    source, target = ([x] if isinstance(x, str) else x for x in (source, target))
    # Another pair, since it is an error if nothing maps.
    others = "chr1:11-20:-", "chr2:2011-2020:-"
    table = map_junctions(
        [*source, others[0]], [*target, others[1]], chain=chain, orthologs=None, **options
    )
    assert table.iloc[-1, :2].tolist() == list(others)
    row = table.iloc[0]
    return row["reason"] if pd.isna(row["target"]) else row["target"]


@pytest.mark.parametrize("back", [None, BACK])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("chr1:101-200:+", "chr2:2101-2200:+"),
        ("chr1:101-200:-", "chr2:2101-2200:-"),
        # 501 is the last base of chr3, 1000 its first.
        ("chr1:601-700:+", "chr3:301-400:-"),
        ("chr1:601-700:-", "chr3:301-400:+"),
        # All but the exonic base of one site is aligned, or of both.
        ("chr1:501-700:+", "chr3:301-500:-"),
        ("chr1:501-1000:-", "chr3:1-500:+"),
    ],
)
def test_strands_of_inversions_and_ends_of_introns(chain_file, source, target, back):
    options = {} if back is None else {"reciprocal_chain": chain_file(back, "back.chain")}
    wrong = target[:-1] + ("-" if target[-1] == "+" else "+")
    chain = chain_file()
    assert one(chain, source, target, **options) == target
    assert one(chain, source, wrong, **options) == "no junction at the lifted splice sites"
    for start, end in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        contig, places, strand = target.split(":")
        first, last = map(int, places.split("-"))
        moved = f"{contig}:{max(first + start, 1)}-{min(last + end, 4000)}:{strand}"
        if moved != target and (contig, last + end) != ("chr3", 501):
            assert one(chain, source, moved, **options) == "no junction at the lifted splice sites"


@pytest.mark.parametrize(
    ("lines", "target"),
    [
        # Exon to 100, intron from 101. Last three bases of the exon, or first of the intron, lost.
        ("97\t3\t0\n400", "chr2:98-197:+"),
        ("100\t3\t0\n397", "chr2:101-197:+"),
        # Two bases inserted between exon and intron belong to the one or to the other.
        ("100\t0\t2\n400", "chr2:101-202:+"),
        ("100\t0\t2\n400", "chr2:103-202:+"),
        # The exon is gone and part of the intron: nothing is left at the site.
        ("80\t40\t0\n380", "5' splice site not aligned"),
        ("180\t40\t0\n280", "3' splice site not aligned"),
    ],
)
def test_bases_on_both_sides_of_a_splice_site(chain_file, lines, target):
    n = sum(int(line.split()[0]) for line in lines.split("\n"))
    gap = 2 if "\t2" in lines else 0
    header = f"chain 1 chr1 1000 + 0 500 chr2 3000 + 0 {n + gap} 1"
    found = map_junctions(
        ["chr1:101-200:+", "chr1:11-20:+"],
        [target if ":" in target else "chr2:81-160:+", "chr2:11-20:+"],
        chain=chain_file(f"{header}\n{lines}\n"),
        orthologs=None,
    ).iloc[0]
    assert (found["reason"] if pd.isna(found["target"]) else found["target"]) == target


@pytest.mark.parametrize(
    ("target", "tolerance", "expected"),
    [
        (["chr2:2104-2203:+"], 2, "no junction at the lifted splice sites"),
        (["chr2:2104-2203:+"], 3, "chr2:2104-2203:+"),
        (["chr2:2098-2203:+"], 3, "chr2:2098-2203:+"),
        (["chr2:2101-2204:+"], 3, "no junction at the lifted splice sites"),
        (["chr2:2101-2201:+", "chr2:2101-2200:+"], 3, "chr2:2101-2200:+"),
        (["chr2:2101-2201:+", "chr2:2103-2200:+"], 3, "chr2:2101-2201:+"),
        (["chr2:2101-2201:+", "chr2:2102-2200:+"], 3, "several junctions"),
        (["chr2:2101-2200:-"], 3, "no junction at the lifted splice sites"),
    ],
)
def test_tolerance(chain_file, target, tolerance, expected):
    assert one(chain_file(), "chr1:101-200:+", target, tolerance=tolerance) == expected


def test_a_junction_whose_nearest_has_a_nearer_one(chain_file):
    source = ["chr1:101-203:+", "chr1:101-200:+"]
    found = one(chain_file(), source, "chr2:2101-2200:+", tolerance=3)
    assert found == "another junction is nearer"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("chr1:101-200:?", "strand unknown"),
        ("chr9:101-200:+", "contig not in the chain file"),
        ("chr1:401-600:+", "splice sites on different contigs or strands"),
    ],
)
def test_junctions_that_cannot_be_lifted(chain_file, source, reason):
    assert one(chain_file(), source, "chr2:2101-2200:+") == reason


def test_sites_aligned_to_several_places(chain_file):
    more = "chain 1 chr1 1000 + 100 150 chr3 500 + 0 50 3\n50\n\n"
    found = one(chain_file(SIMPLE + more), "chr1:101-200:+", "chr2:2101-2200:+")
    assert found == "splice site aligned to several places"


def test_contigs_with_and_without_chr(chain_file):
    table = map_junctions(["1:101-200:+"], ["2:2101-2200:+"], chain=chain_file(), orthologs=None)
    assert table["target"].tolist() == ["2:2101-2200:+"]


def tables(gene=("g", "h")):
    return (
        pd.DataFrame({"gene_id": [gene[0]]}, ["chr1:101-200:+"]),
        pd.DataFrame({"gene_id": [gene[1]]}, ["chr2:2101-2200:+"]),
    )


class TestGenes:
    @pytest.mark.parametrize(
        "orthologs",
        [
            {"g": "h"},
            {"g": ["x", "h"]},
            pd.DataFrame({"more": [1, 2], "target": ["x", "h"], "source": ["g", "g"]}),
        ],
    )
    def test_orthologs(self, chain_file, tmp_path, orthologs):
        found = map_junctions(*tables(), chain=chain_file(), orthologs=orthologs)
        assert found["target"].notna().all()
        if isinstance(orthologs, pd.DataFrame):
            for name, sep in (("a.csv", ","), ("a.tsv.gz", "\t")):
                orthologs.to_csv(tmp_path / name, sep=sep, index=False)
                path = tmp_path / name
                again = map_junctions(*tables(), chain=chain_file(), orthologs=path)
                pd.testing.assert_frame_equal(again, found)

    def test_several_genes_of_a_junction(self, chain_file):
        found = map_junctions(
            *tables(("a,g", "h,b")), chain=chain_file(), orthologs={"g": "h", "a": "c"}
        )
        assert found["target"].notna().all()

    def test_another_column(self, chain_file):
        source, target = (x.rename(columns={"gene_id": "gene_name"}) for x in tables())
        options = {"chain": chain_file(), "orthologs": {"g": "h"}}
        assert (
            map_junctions(source, target, gene_key="gene_name", **options)["target"].notna().all()
        )
        with pytest.raises(KeyError, match=r"'gene_id' in source_var.*orthologs=None"):
            map_junctions(source, target, **options)

    def test_a_gene_without_ortholog(self, chain_file):
        source, target = tables()
        source.loc["chr1:11-20:+"] = ["other"]
        source.loc["chr1:31-40:+"] = [""]
        found = map_junctions(source, target, chain=chain_file(), orthologs={"g": "h"})
        assert found["reason"].tolist()[1:] == ["gene without ortholog"] * 2

    @pytest.mark.parametrize(
        ("gene", "orthologs", "message"),
        [
            (("g", "h"), {"x": "h"}, "genes of source.*found none: 'g'.*'x'.*gene_key"),
            (("g", "h"), {"h": "g"}, "other column"),
            (("g.12", "h"), {"g": "h"}, "Versions"),
            (("g", "h"), {"g": "x"}, "genes of target"),
            (("", "h"), {"g": "h"}, "genes of junctions of source, found none"),
            (("g", "h"), {}, "orthologs to have pairs, found none in 0 rows"),
            (("g", "h"), pd.DataFrame({"source": ["g"], "target": [None]}), "none in 1 rows"),
        ],
    )
    def test_no_orthologs(self, chain_file, gene, orthologs, message):
        with pytest.raises(ValueError, match=message):
            map_junctions(*tables(gene), chain=chain_file(), orthologs=orthologs)

    @pytest.mark.parametrize(
        ("orthologs", "error", "message"),
        [
            (pd.DataFrame({"human": ["g"], "mouse": ["h"]}), KeyError, "'source' in orthologs"),
            ("no.csv", FileNotFoundError, r"no\.csv"),
            ([("g", "h")], TypeError, "orthologs to be a DataFrame, a dict or the path"),
        ],
    )
    def test_other_objects(self, chain_file, orthologs, error, message):
        with pytest.raises(error, match=message):
            map_junctions(*tables(), chain=chain_file(), orthologs=orthologs)


class TestInputs:
    def test_names_tables_and_anndata(self, chain_file):
        names = ["chr1:101-200:+"], ["chr2:2101-2200:+"]
        columns = pd.DataFrame(
            {"chrom": ["chr1"], "start": [101.0], "end": [200.0], "strand": ["+"]}, ["Gene_1"]
        )
        adata = AnnData(np.zeros((2, 1), np.float32), var=pd.DataFrame(index=names[0]))
        options = {"chain": chain_file(), "orthologs": None}
        for source in (names[0], pd.Index(names[0]), columns, adata, adata.var):
            found = map_junctions(source, names[1], **options)
            assert found["target"].tolist() == names[1]
        assert map_junctions(columns, names[1], **options)["source"].tolist() == ["Gene_1"]

    @pytest.mark.parametrize(
        ("source", "error", "message"),
        [
            ([], ValueError, "junctions in source_var, found none"),
            (["chr1:101-200:+"] * 2, ValueError, "once in source_var.*'chr1:101-200:\\+'"),
            (["Gene_1", "chr1:101-200:+"], ValueError, "source to be named.*'Gene_1'"),
            ("chr1:101-200:+", TypeError, "found a text"),
            (object(), TypeError, "source_var to be an AnnData.*model.junction_names"),
            (["chr1:200-101:+"], ValueError, "200-101"),
        ],
    )
    def test_junctions_that_are_none(self, chain_file, source, error, message):
        with pytest.raises(error, match=message):
            map_junctions(source, ["chr2:2101-2200:+"], chain=chain_file(), orthologs=None)

    @pytest.mark.parametrize("tolerance", [-1, 1.5, "3", True])
    def test_tolerance(self, chain_file, tolerance):
        with pytest.raises(ValueError, match="tolerance"):
            map_junctions(*tables(), chain=chain_file(), orthologs=None, tolerance=tolerance)

    def test_the_tables_stay_as_they_are(self, chain_file):
        source, target = tables()
        before = source.copy(), target.copy()
        map_junctions(source, target, chain=chain_file(), orthologs={"g": "h"})
        for table, copy in zip((source, target), before, strict=True):
            pd.testing.assert_frame_equal(table, copy)


HUMAN = (
    "chain 1 chr1 249250621 + 0 500 chr1 195471971 + 0 500 1\n500\n\n"
    "chain 1 chr2 243199373 + 0 500 chr2 182113224 + 0 500 1\n500\n\n"
)


class TestOtherBuilds:
    def test_junctions_beyond_a_contig(self, chain_file):
        message = (
            r"within the contigs of chain, found 'chr1:249250600-249250700:\+', where contig "
            r"'chr1' has 249,250,621 bases.*hg19 \(GRCh37\) to mm10 \(GRCm38\)"
        )
        with pytest.raises(ValueError, match=message):
            map_junctions(
                ["chr1:101-200:+", "chr1:249250600-249250700:+"],
                ["chr1:101-200:+"],
                chain=chain_file(HUMAN),
                orthologs=None,
            )

    def test_chains_swapped(self, chain_file):
        text = "chain 1 chr1 1000 + 0 500 chr1 4000 + 2000 2500 1\n500\n"
        with pytest.raises(ValueError, match=r"junctions of source .*They fit the other side"):
            map_junctions(
                ["chr1:2101-2200:+"], ["chr1:101-200:+"], chain=chain_file(text), orthologs=None
            )

    def test_a_second_chain_of_another_build(self, chain_file):
        message = (
            r"reciprocal_chain to lead back.*hg19 \(GRCh37\) to mm10 \(GRCm38\).*from mm9 "
            r"\(NCBI37\).*contig 'chr1' has 195,471,971 bases in one and 197,195,432"
        )
        back = "chain 1 chr1 197195432 + 0 500 chr1 249250621 + 0 500 1\n500\n"
        with pytest.raises(ValueError, match=message):
            map_junctions(
                ["chr1:101-200:+"],
                ["chr1:101-200:+"],
                chain=chain_file(HUMAN),
                reciprocal_chain=chain_file(back, "back.chain"),
                orthologs=None,
            )

    def test_contigs_of_none(self, chain_file):
        with pytest.raises(ValueError, match="No contig of the junctions of source"):
            map_junctions(["A:1-9:+"], ["chr2:1-9:+"], chain=chain_file(), orthologs=None)

    def test_hardly_anything_maps(self, chain_file):
        """As by chance: the other junctions are shifted by one base."""
        names = [f"chr1:{i}-{i + 9}:+" for i in range(20, 420, 20)]
        shifted = [names[0], *(f"chr1:{i + 1}-{i + 10}:+" for i in range(40, 420, 20))]
        options = {"chain": chain_file(HUMAN), "orthologs": None}
        with pytest.warns(
            UserWarning, match=r"Only 1 of the target's 20 .*hg19 \(GRCh37\) to mm10"
        ):
            map_junctions(names, shifted, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            map_junctions(names, [*names[:1], *names[5:6], *shifted[1:]], **options)
            map_junctions(names, names[:1], **options)

    def test_nothing_maps(self, chain_file):
        message = (
            r"found none of 2: .*no junction at the lifted splice sites, 1.*"
            r"hg19 \(GRCh37\) to mm10 \(GRCm38\)"
        )
        with pytest.raises(ValueError, match=message):
            map_junctions(
                ["chr1:101-200:+", "chr1:101-200:?"],
                ["chr1:111-200:+"],
                chain=chain_file(HUMAN),
                orthologs=None,
            )


def test_a_written_table_is_read_back(genomes, chains, tmp_path):
    table = map_junctions(
        genomes.source.var, genomes.target.var, orthologs=genomes.orthologs, chain=chains[0]
    )
    for name in ("a.csv", "a.tsv.gz", "a.parquet"):
        lfa.tl.write_table(table, tmp_path / name)
        again = lfa.data.read_mapping(
            tmp_path / name, genomes.source.var.index, genomes.target.var.index
        )
        assert set(again.items()) == pairs_of(table)
