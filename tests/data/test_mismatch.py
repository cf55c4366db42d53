"""Why junctions of a data set are not those of a reference: what can be told from their names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from leafletfa_scvi.data._genome_builds import BUILDS, fitting_builds, species_of_genes
from leafletfa_scvi.data._junction_names import junction_coordinates, rename_contigs
from leafletfa_scvi.data._mismatch import explain_mismatch

# Genes near the ends of chromosomes, which other builds do not reach: (contig, start, end).
HG19 = [("10", 135333910, 135352619), ("22", 51113070, 51171640), ("8", 146200000, 146270000)]
HG38 = [("17", 82752065, 82945914), ("15", 101297142, 101525202), ("22", 50674642, 50733298)]
MM9 = [("7", 150219000, 150530000), ("14", 124600000, 124700000)]
MM10 = [("7", 143107254, 143427042), ("14", 122181694, 122402000), ("X", 169311530, 169320363)]
MID1_MM10 = ("X", 169685199, 169990798)


def table(places) -> pd.DataFrame:
    return pd.DataFrame(places, columns=["chrom", "start", "end"])


class TestBuilds:
    @pytest.mark.parametrize("prefix", ["", "chr", "Chr"])
    @pytest.mark.parametrize(
        ("places", "wanted"),
        [
            (HG19, ["hg19 (GRCh37)"]),
            (HG38, ["hg38 (GRCh38)"]),
            (MM9, ["mm9 (NCBI37)"]),
            (MM10, ["mm10 (GRCm38)", "mm39 (GRCm39)"]),
            ([*MM10, MID1_MM10], ["mm10 (GRCm38)"]),
        ],
    )
    def test_ends_of_chromosomes(self, prefix, places, wanted):
        places = [(prefix + contig, start, end) for contig, start, end in places]
        places += [("GL000220.1", 1, 10**9), (f"{prefix}M", 1, 16000)]
        assert fitting_builds(table(places)) == wanted

    def test_chromosomes_that_a_species_lacks(self):
        assert all(name.startswith("h") for name in fitting_builds(table([("chr22", 1, 9)])))
        assert fitting_builds(table([("chr31", 1, 9)])) == []
        assert fitting_builds(table([("2L", 1, 9)])) == []

    def test_lengths_are_inclusive_and_complete(self):
        for build, lengths in BUILDS.items():
            last = [(contig, 1, end) for contig, end in lengths.items()]
            assert build in fitting_builds(table(last))
            beyond = [(contig, 1, end + 1) for contig, end in lengths.items()]
            assert build not in fitting_builds(table(beyond))
        human, mouse = (sum(BUILDS[name].values()) for name in ("hg38 (GRCh38)", "mm10 (GRCm38)"))
        # Sizes of the assembled chromosomes, as published with the assemblies.
        assert (human, mouse) == (3_088_269_832, 2_725_521_370)

    def test_gtex_fits_hg38(self, data_dir):
        import leafletfa_scvi as lfa

        annotation = lfa.pp.read_annotation(data_dir / "gtex_chr10" / "chr10.gtf.gz")
        introns = annotation.introns
        assert "hg38 (GRCh38)" in fitting_builds(introns)
        assert species_of_genes(introns["gene_id"]) == "human"


def test_species_by_gene_ids():
    assert species_of_genes(pd.Series(["ENSG00000000001.4", "ENSG2", None])) == "human"
    assert species_of_genes(pd.Series(["ENSMUSG00000000001"] * 9 + ["Gm1"])) == "mouse"
    assert species_of_genes(pd.Series(["Gnas", "Snap25"])) is None
    assert species_of_genes(pd.Series([None, np.nan])) is None


def test_coordinates_in_names():
    names = pd.Index(["chr1:1-20:+", "X:5-9", "HLA:A*01:2-3:-", "a:1-2:?", "Gene:in", "1:a-2:+"])
    found = junction_coordinates(names)
    assert list(found.index) == [0, 1, 2, 3]
    assert found.to_numpy().tolist() == [
        ["chr1", 1, 20, "+"],
        ["X", 5, 9, ""],
        ["HLA:A*01", 2, 3, "-"],
        ["a", 1, 2, ""],
    ]


def test_contigs_of_a_column_are_renamed():
    column = pd.Series(["1", "GL1", None])
    assert list(rename_contigs(column, {"1": "chr1"}))[:2] == ["chr1", "GL1"]
    found = rename_contigs(column.astype("category"), {"1": "chr1"})
    assert set(found.cat.categories) == {"GL1", "chr1"}
    assert found.isna().tolist() == [False, False, True]


@pytest.fixture
def junctions() -> pd.DataFrame:
    """200 junctions on two strands of three chromosomes."""
    rng = np.random.default_rng(0)
    start = np.sort(rng.integers(10**6, 5 * 10**7, 200))
    return pd.DataFrame(
        {
            "chrom": np.array(["chr1", "chr2", "chr20"])[np.arange(200) % 3],
            "start": start,
            "end": start + rng.integers(100, 5000, 200),
            "strand": np.array(["+", "-"])[np.arange(200) // 100],
            "gene_id": [f"ENSG{i // 4:011d}.1" for i in range(200)],
        }
    )


def named(junctions, form="{chrom}:{start}-{end}:{strand}") -> pd.DataFrame:
    names = [form.format(**row) for row in junctions.to_dict("records")]
    return junctions.set_axis(pd.Index(names, dtype=object))


def reason(own, reference, *, with_var=True) -> str:
    found = explain_mismatch(own.index, own, reference.index, reference if with_var else None)
    assert len(found) <= 1
    return " ".join(found)


class TestReasons:
    @pytest.mark.parametrize("form", ["{chrom}:{start}-{end}", "{chrom}:{start}-{end}:?"])
    @pytest.mark.parametrize("is_reference", [False, True])
    def test_missing_strand(self, junctions, form, is_reference):
        pair = [named(junctions, form), named(junctions)]
        text = reason(*(pair[::-1] if is_reference else pair))
        lacks = "the reference" if is_reference else "adata"
        assert f"200 more have the same coordinates, but names of junctions of {lacks}" in text
        assert "resolve_strands" in text

    def test_opposite_strand(self, junctions):
        other = junctions.assign(strand=junctions["strand"].map({"+": "-", "-": "+"}))
        assert "200 are on the opposite strand" in reason(named(other), named(junctions))

    @pytest.mark.parametrize(
        ("start", "end", "words"),
        [
            (-1, 0, "1 added to start in adata"),
            (-1, 1, "1 added to start and 1 subtracted from end in adata"),
            (0, 1, "1 subtracted from end in adata"),
        ],
    )
    def test_coordinates_of_another_convention(self, junctions, start, end, words):
        other = junctions.assign(start=junctions["start"] + start, end=junctions["end"] + end)
        text = reason(named(other), named(junctions))
        assert f"200 would match with {words}: names must hold the first" in text

    def test_names_in_a_column(self, junctions):
        own = named(junctions).assign(junction_id=named(junctions).index)
        own.index = pd.Index([str(i) for i in range(200)])
        assert "adata.var['junction_id'] has 200 of them" in reason(own, named(junctions))
        assert "Junctions of the reference are named chrom:start-end:strand" in reason(
            own.drop(columns="junction_id"), named(junctions)
        )

    def test_other_contigs(self, junctions):
        other = junctions.assign(chrom=junctions["chrom"].map(lambda name: f"NC_{name}.11"))
        assert "No contig of adata, such as 'NC_chr1.11', is in the reference" in reason(
            named(other), named(junctions)
        )

    def test_another_build_by_lengths(self, junctions):
        places = [
            table([(f"chr{c}", start, end) for c, start, end in genes]).assign(strand="+")
            for genes in (HG19, HG38)
        ]
        own, other = (pd.concat([junctions, place]) for place in places)
        is_moved = own["chrom"].isin(["chr1", "chr2", "chr20"])
        own.loc[is_moved, ["start", "end"]] += 70_000
        text = reason(named(own), named(other), with_var=False)
        assert "adata fit hg19 (GRCh37), those of the reference hg38 (GRCh38)" in text
        assert "Count the files of adata again" in text

    def test_another_build_by_genes(self, junctions):
        moved = junctions.assign(start=junctions["start"] + 312, end=junctions["end"] + 312)
        moved["gene_id"] = moved["gene_id"].str.replace(".1", ".7")
        text = reason(named(moved), named(junctions))
        assert "50 of 50 genes that are in both have no splice site in common" in text

    def test_another_build_by_splice_sites(self, junctions):
        moved = junctions.assign(start=junctions["start"] + 312, end=junctions["end"] + 312)
        text = reason(named(moved), named(junctions), with_var=False)
        assert "Only 0 of 400 splice sites" in text
        assert "fit hg19 (GRCh37) or hg38 (GRCh38) or hs1" in text

    def test_another_species(self, junctions):
        mouse = pd.concat([junctions, table(MM10).assign(strand="+")])
        mouse = mouse[mouse["chrom"] != "chr20"].assign(gene_id="ENSMUSG00000000001")
        mouse["chrom"] = ["chr" + name.removeprefix("chr") for name in mouse["chrom"]]
        text = reason(named(mouse.assign(start=mouse["start"] - 7)), named(junctions))
        assert "Genes of adata are of mouse, those of the reference of human" in text
        assert "adata fit mm10 (GRCm38) or mm39 (GRCm39), those of the reference hg19" in text

    def test_nothing_is_claimed_of_other_junctions_of_the_same_genes(self, junctions):
        """Alternative ends of the same introns: half of the splice sites are the same."""
        other = junctions.assign(end=junctions["end"] + 57)
        assert reason(named(other), named(junctions)) == ""
        few = named(junctions)
        assert reason(few.iloc[:30], few.iloc[40:]) == ""
