from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from helpers.bam import make_read, write
from helpers.equality import assert_same

import leafletfa_scvi as lfa


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alignments") / "cells"
    return lfa.datasets.simulate_alignments(
        folder, n_cells=6, n_genes=9, fragments_per_cell=1500, seed=3
    )


@pytest.fixture
def refused(run, tmp_path):
    """Run make-dataset, which must refuse with one line on stderr and leave nothing; the line."""

    def refused(*args) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = run("make-dataset", *args)
        assert code == 2, err
        assert out == ""
        line = err.splitlines()[-1]
        assert line.startswith("Error: ")
        assert "Traceback" not in err
        left = [p for p in tmp_path.rglob("*") if p not in before and ".parts" not in str(p)]
        assert left == []
        return line

    return refused


def test_from_alignments_to_a_fitted_model(simulated, run, tmp_path):
    data = tmp_path / "data.h5ad"
    bams = simulated.bams[0].parent
    options = ("--gtf", simulated.gtf, "--genome", simulated.fasta, "--output", data)
    code, out, err = run("make-dataset", bams, *options, "--jobs", 2)
    assert code == 0, err
    assert "cassette exon" in out
    assert f"leafletfa fit {data}\n" in out
    adata = ad.read_h5ad(data)
    same = lfa.pp.make_splicing_dataset(bams, gtf=simulated.gtf, genome=simulated.fasta)
    assert_same(adata.layers["cell_by_junction_matrix"], same.layers["cell_by_junction_matrix"])
    assert adata.var_names.tolist() == same.var_names.tolist()
    page = (tmp_path / "data.qc.html").read_text()
    assert "data:image/svg+xml;base64," in page
    assert f"{adata.n_vars:,}" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.h5ad", "data.qc.html"]

    fast = ("-k", "2", "--max-epochs", "2", "--accelerator", "cpu")
    code, out, err = run("fit", data, *fast)
    assert code == 0, err
    fitted = ad.read_h5ad(tmp_path / "data.fitted.h5ad")
    np.testing.assert_allclose(fitted.obsm["X_PHI"].sum(axis=1), 1, rtol=1e-5)


def test_a_table_of_counts_with_a_table_of_cells(run, tmp_path):
    rows = [f"chr1:{a}:{b}" for a, b in ((201, 400), (201, 600), (451, 600))]
    rows += [f"chr2:{a}:{b}" for a, b in ((201, 400), (201, 600))]
    counts = "".join(f"{name}\t9\t{i + 1}\n" for i, name in enumerate(rows))
    (tmp_path / "SJ.txt").write_text(f"coord.intron\tc1\tc2\n{counts}")
    (tmp_path / "pheno.txt").write_text("sample.id\tcell.type\nc2\tB\nc1\tA\n")
    data = tmp_path / "data.h5ad"
    command = ("make-dataset", tmp_path / "SJ.txt", "-o", data, "--unstranded", "keep")
    cells = ("--cell-table", tmp_path / "pheno.txt", "--cell-column", "sample.id")
    code, _, err = run(*command, *cells, "--region", "chr1:1-1,000", "--no-report")
    assert code == 0, err
    adata = ad.read_h5ad(data)
    assert adata.obs["cell.type"].tolist() == ["A", "B"]
    counts = adata.layers["cell_by_junction_matrix"].toarray()
    assert counts.tolist() == [[9, 9, 9], [1, 2, 3]]


def test_cell_tables_are_no_output(refused, tmp_path):
    table = tmp_path / "SJ.txt"
    table.write_text("coord.intron\tc1\nchr1:201:400\t9\n")
    cells = tmp_path / "cells.h5ad"
    cells.write_text("cell\tage\nc1\t3\n")
    line = refused(table, "-o", cells, "--overwrite", "--cell-table", cells)
    assert "cells.h5ad" in line
    assert cells.read_text() == "cell\tage\nc1\t3\n"
    line = refused(table, "-o", tmp_path / "x.h5ad", "--region", "chr1:5-")
    assert "Expected region to be a contig" in line


def test_real_smart_seq_and_10x_alignments(data_dir, run, tmp_path):
    folder = data_dir / "brie_ss2"
    gtf = ("--gtf", folder / "mouse_SE.lenient_50events.gff3", "--no-report")
    data = tmp_path / "plates.h5ad"
    args = ("make-dataset", folder / "cell_table.tsv", *gtf, "-o", data, "--quiet", "--json")
    code, out, err = run(*args)
    assert (code, err) == (0, "")
    (warning,) = [w for w in json.loads(out)["warnings"] if "introns" in w]
    assert warning.startswith("Only 34% of the reads are at introns")  # of 50 events, that is
    plates = ad.read_h5ad(data)
    assert plates.n_obs == 130
    assert "E6.5_c100" in plates.obs_names
    assert (plates.var["event_type"] == "cassette_exon").any()
    fast = ("-k", "2", "--max-epochs", "2", "--accelerator", "cpu", "--quiet")
    assert run("fit", data, *fast)[0] == 0
    assert ad.read_h5ad(tmp_path / "plates.fitted.h5ad").obsm["X_PHI"].shape == (130, 2)

    tenx = folder / "10xData" / "neuron_1k_v3_possorted_genome_bam.50events.bam"
    barcodes = folder / "10xData" / "barcodes.tsv.gz"
    before = barcodes.read_bytes()
    data = tmp_path / "drops.h5ad"
    tags = ("--cell-tag", "CB", "--barcodes", barcodes, "--min-reads", 1, "--min-cells", 1)
    code, out, err = run("make-dataset", tenx, *gtf, *tags, "-o", data)
    assert code == 0, err
    assert ad.read_h5ad(data).n_obs == 1301
    lost = re.search(r"dropped (\d+) of \d+ junctions .*: unknown strand; option: (.*)", err)
    assert int(lost[1]) > 10
    assert lost[2] == "--genome, --strand FR or --unstranded keep"  # there is a GTF already
    (line,) = [line for line in out.splitlines() if "unknown strand" in line]
    assert f"{int(lost[1]):,} of " in line
    assert barcodes.read_bytes() == before


def test_retained_introns_on_request(simulated, run, refused, tmp_path):
    data = tmp_path / "data.h5ad"
    options = ("--gtf", simulated.gtf, "-o", data, "--no-report", "--retained-introns")
    code, _, err = run("make-dataset", *simulated.bams, *options)
    assert code == 0, err
    assert "Counting reads in introns" in err
    adata = ad.read_h5ad(data)
    assert adata.layers["intron_boundary_reads"].sum() > 0  # of fragments that are not spliced
    assert not list(tmp_path.glob("*.parts"))
    line = refused(*simulated.bams, "--regtools", *options, "--overwrite")
    assert "Leave out --regtools" in line


def test_a_picture_instead_of_a_page(simulated, run, tmp_path):
    output = ("--output", tmp_path / "data.h5ad", "--report", tmp_path / "qc.png")
    code, _, err = run("make-dataset", *simulated.bams, "--gtf", simulated.gtf, *output)
    assert code == 0, err
    assert (tmp_path / "qc.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input_is_refused_in_one_line(simulated, refused, tmp_path):
    out = ("--output", tmp_path / "data.h5ad")
    bams = simulated.bams[0].parent
    assert "There is no file or folder" in refused(tmp_path / "nowhere", *out)
    assert "for --gtf" in refused(bams, *out, "--gtf", tmp_path / "no.gtf")
    assert "ends with .html or .png" in refused(bams, *out, "--report", tmp_path / "qc.pdf")
    assert "needs an annotation" in refused(bams, *out, "--annotation-status", "both")
    assert "value for '--min-usage'" in refused(bams, *out, "--min-usage", 2)  # typer's words
    assert "no Dask scheduler" in refused(bams, *out, "--dask", "nonsense").replace("No", "no")
    assert "No ATSE is left" in refused(bams, *out, "--min-reads", 10**6)
    empty = tmp_path / "empty.bam"
    empty.touch()
    assert "empty.bam" in refused(empty, *out)
    cut = tmp_path / "cut.bam"
    cut.write_bytes(simulated.bams[0].read_bytes()[:-40])
    assert "cut.bam" in refused(cut, *simulated.bams[1:], *out)
    wrong = tmp_path / "wrong.gtf"
    wrong.write_text("not\ta\tgtf\n")
    assert "wrong.gtf" in refused(bams, *out, "--gtf", wrong)


def test_outputs_are_not_overwritten_unasked(simulated, run, refused, tmp_path):
    data, report = tmp_path / "data.h5ad", tmp_path / "data.qc.html"
    data.write_text("mine")
    out = (*simulated.bams, "--gtf", simulated.gtf, "-o", data)
    assert "exists; pass --overwrite" in refused(*out)
    data.unlink()
    report.write_text("mine")
    assert "The report" in refused(*out)
    assert report.read_text() == "mine"
    assert "is the input" in refused(simulated.bams[0], "-o", simulated.bams[0], "--overwrite")
    code, _, err = run("make-dataset", *out, "--overwrite")
    assert code == 0, err
    assert report.read_text() != "mine"


def test_two_outputs_of_one_name_are_refused(simulated, refused, tmp_path):
    same = tmp_path / "x.html"
    args = (*simulated.bams, "-o", same)
    assert "--output" in refused(*args, "--report", same)
    (tmp_path / "link").symlink_to(tmp_path)
    line = refused(*args, "--report", tmp_path / "link" / "x.html")
    assert "are the same file" in line
    assert "--work-dir" in refused(*args, "--work-dir", same)


def test_paths_that_the_system_cannot_follow_are_one_line(simulated, refused, tmp_path):
    circle, long = tmp_path / "circle.bam", tmp_path / f"{'x' * 300}.bam"
    circle.symlink_to(circle)
    out = ("-o", tmp_path / "data.h5ad")
    assert "a link that leads to no file" in refused(circle, *out)
    assert "File name too long" in refused(long, *out)
    report = ("--report", long.with_suffix(".html"))
    assert "File name too long" in refused(*simulated.bams, *out, *report)
    for path, words in ((circle, "symbolic links"), (long, "File name too long")):
        assert words in refused(*simulated.bams, "-o", path)
        inputs = ("--gtf", "--genome", "--barcodes", "--cram-reference", "--reference", "--like")
        for option in (*inputs, "--work-dir"):
            assert words in refused(*simulated.bams, *out, option, path), option


@pytest.mark.parametrize("name", ["bam/cell_0.bam", "annotation.gtf", "genome.fa"])
def test_no_file_that_is_read_is_overwritten(simulated, refused, tmp_path, name):
    """Nor one of a folder that was named, or an annotation."""
    shutil.copytree(simulated.gtf.parent, tmp_path / "mine")
    mine = tmp_path / "mine" / name
    before = mine.read_bytes()
    options = ("--gtf", tmp_path / "mine/annotation.gtf", "--genome", tmp_path / "mine/genome.fa")
    line = refused(tmp_path / "mine/bam", *options, "-o", mine, "--overwrite")
    assert "is the input; choose another name" in line
    assert mine.read_bytes() == before


def test_junctions_of_another_data_set(simulated, run, refused, tmp_path):
    first, second = tmp_path / "first.h5ad", tmp_path / "second.h5ad"
    lenient = ("--min-reads", 1, "--min-cells", 1, "--no-report")
    code, _, err = run("make-dataset", *simulated.bams[:3], "-o", first, *lenient)
    assert code == 0, err
    options = ("-o", second, "--like", first)
    code, _, err = run("make-dataset", *simulated.bams[3:], *options)
    assert code == 0, err
    assert re.search(r"junctions \([\d,]+ of [\d,]+ reads\): not in the reference", err)
    assert "Junctions of the reference" in (tmp_path / "second.qc.html").read_text()
    one, other = (ad.read_h5ad(path) for path in (first, second))
    assert list(other.var_names) == list(one.var_names)
    counts = lfa.pp.read_bam(simulated.bams[3:])[other.obs_names]
    wanted = counts.to_df().reindex(columns=one.var_names, fill_value=0)
    np.testing.assert_array_equal(other.to_df(), wanted)
    second.unlink()
    (tmp_path / "second.qc.html").unlink()
    line = refused(*simulated.bams[3:], *options, "--min-reads", 3)
    assert "Expected no --min-reads with reference, found --min-reads 3" in line
    first.write_bytes(first.read_bytes()[:3000])
    assert "first.h5ad" in refused(*simulated.bams[3:], *options)
    assert "no file" in refused(
        *simulated.bams[3:], "-o", second, "--like", tmp_path / "none.h5ad"
    )
    assert "choose another name" in refused(*simulated.bams, "-o", first, "--like", first)


def test_other_files_in_the_folder_of_parts_stay(simulated, run, tmp_path):
    folder = tmp_path / "data.h5ad.parts"
    folder.mkdir()
    (folder / "mine.txt").write_text("precious")
    code, _, err = run("make-dataset", *simulated.bams, "-o", tmp_path / "data.h5ad", "-q")
    assert code == 0, err
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_bad_files_are_skipped_on_request(simulated, run, tmp_path):
    cut = tmp_path / "cut.bam"
    cut.write_bytes(simulated.bams[0].read_bytes()[:-40])
    data = tmp_path / "data.h5ad"
    args = (cut, *simulated.bams[1:], "--gtf", simulated.gtf, "-o", data, "--skip-bad-files")
    code, _, err = run("make-dataset", *args)
    assert code == 0, err
    assert "Warning: 1 of 6 files could not be read" in " ".join(err.split())
    assert ad.read_h5ad(data).n_obs == 5
    assert str(cut) in (tmp_path / "data.qc.html").read_text()


def test_a_dask_cluster_gives_the_same(simulated, run, tmp_path):
    from distributed import LocalCluster

    plain, other = tmp_path / "plain.h5ad", tmp_path / "other.h5ad"
    args = ("make-dataset", *simulated.bams, "--gtf", simulated.gtf, "--no-report", "-o")
    assert run(*args, plain)[0] == 0
    with LocalCluster(processes=False, n_workers=1, dashboard_address=None) as cluster:
        code, _, err = run(*args, other, "--dask", cluster.scheduler_address)
    assert code == 0, err
    assert_same(ad.read_h5ad(plain), ad.read_h5ad(other))


def test_an_interrupted_command_goes_on_where_it_stopped(simulated, run, tmp_path):
    """The first run waits at the seventh input, as its reader is made to."""
    data, last = tmp_path / "data.h5ad", tmp_path / "last.SJ.out.tab"
    last.touch()
    main = "from leafletfa_scvi.cli import main; main()"
    waits = "import time; from leafletfa_scvi.pp.read import _star as r; "
    waits += "r.read_sj = lambda *args, **options: time.sleep(600); "
    command = [sys.executable, "-c", main, "make-dataset", *map(str, simulated.bams)]
    waiting = [sys.executable, "-c", waits + main, *command[3:], str(last)]
    options = ["--gtf", str(simulated.gtf), "-o", str(data), "--min-cells", "1"]
    process = subprocess.Popen([*waiting, *options], stderr=subprocess.PIPE, text=True)
    parts = tmp_path / "data.h5ad.parts"
    deadline = time.monotonic() + 120
    while len(list(parts.glob("[!.]*.npz"))) < 6:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert not data.exists()
    made = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    code, _, err = run(*command[3:], *options, "--work-dir", parts)
    assert code == 0, err
    after = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert after == made
    assert ad.read_h5ad(data).n_obs == 6
    assert Path(tmp_path / "data.qc.html").exists()


def test_counting_as_regtools_does(data_dir, run, tmp_path):
    data, bam = tmp_path / "data.h5ad", data_dir / "regtools" / "test_hcc1395.bam"
    lenient = ("--min-reads", 1, "--min-cells", 1, "--min-usage", 0, "--no-report")
    code, _, err = run("make-dataset", bam, "--regtools", "-o", data, *lenient)
    assert code == 0, err
    expected = {}
    for line in (data_dir / "regtools" / "expected_a8.bed").read_text().splitlines():
        fields = line.split("\t")
        left, right = map(int, fields[10].split(","))
        start, end = int(fields[1]) + left + 1, int(fields[2]) - right
        expected[f"{fields[0]}:{start}-{end}:{fields[5]}"] = int(fields[4])
    adata = ad.read_h5ad(data)
    assert adata.n_vars > 10
    counts = adata.to_df().iloc[0].astype(int).to_dict()
    assert counts == {name: expected[name] for name in counts}


@pytest.mark.parametrize("with_gtf", [True, False])
def test_no_junction_read_is_explained_in_one_line(simulated, refused, tmp_path, with_gtf):
    gtf = ("--gtf", simulated.gtf) if with_gtf else ()
    folder = simulated.bams[0].parent
    line = refused(folder, *gtf, "--cell-tag", "XC", "--output", tmp_path / "out.h5ad")
    assert "no junction was read" in line
    assert "Is --cell-tag the tag of cell barcodes in these files?" in line


def test_inputs_are_looked_at_once(simulated, run, tmp_path, monkeypatch):
    from leafletfa_scvi.pp.read import _sources

    seen = []
    detect = _sources.detect_format
    monkeypatch.setattr(_sources, "detect_format", lambda path: seen.append(path) or detect(path))
    options = ("--gtf", simulated.gtf, "--output", tmp_path / "out.h5ad", "--no-report")
    code, _, err = run("make-dataset", simulated.bams[0].parent, *options)
    assert code == 0, err
    assert sorted(seen) == sorted(str(path) for path in simulated.bams)


def test_long_tables_with_a_map_of_barcodes(run, refused, tmp_path):
    rows = (
        "AACG,1,100,250,5\nCATT,1,100,250,2\nCATT,1,100,350,3\nGGTA,1,100,350,9\nTTTT,1,7,90,4\n"
    )
    table = tmp_path / "counts.csv"
    table.write_text("bc,seq,start,end,n\n" + rows)
    (tmp_path / "map.tsv").write_text("AACG\tA1\nCATT\tA1\nGGTA\tA2\n")
    options = ("--format", "long_table", "--unstranded", "keep", "--min-reads", 1)
    columns = ("--table-column", "cell=bc", "--table-column", "chrom=seq", "--table-column")
    options = (*options, "--min-cells", 1, "--no-report", "--table-zero-based", *columns)
    barcode_map = ("--barcode-map", tmp_path / "map.tsv")
    out = tmp_path / "out.h5ad"
    code, _, err = run("make-dataset", table, *options, "count=n", *barcode_map, "--output", out)
    assert code == 0, err
    assert "--barcode-map lacks the barcodes of 4 reads (1 barcodes)" in err
    adata = ad.read_h5ad(out)
    assert adata.obs_names.tolist() == ["A1", "A2"]
    assert adata.var_names.tolist() == ["1:101-250:?", "1:101-350:?"]
    assert adata.layers["cell_by_junction_matrix"].toarray().tolist() == [[7, 3], [0, 9]]
    assert adata.layers["cell_by_cluster_matrix"].toarray().tolist() == [[10, 10], [9, 9]]
    out.unlink()
    line = refused(table, *options, "count", "--output", out)
    assert "--table-column count: expected FIELD=NAME" in line
    line = refused(table, *options, "count=n", "--barcode-map", tmp_path / "no", "--output", out)
    assert "There is no file" in line


def test_reads_without_umi_are_kept_or_dropped(run, refused, tmp_path):
    tags = [("CB", "A"), ("UB", "AC")]
    reads = [make_read(f"u{i}", tags=tags, cigar=c) for i, c in enumerate(("20M100N20M",) * 3)]
    reads += [make_read(f"i{i}", tags=[("CB", "A")], cigar="20M90N20M") for i in range(4)]
    bam = write(tmp_path / "cells.bam", reads)
    options = ("--cell-tag", "CB", "--unstranded", "keep", "--min-reads", 1, "--min-cells", 1)
    out = tmp_path / "out.h5ad"
    more = ("--no-report", "--min-usage", 0, "--overwrite", "--output", out)
    for choice in (("--umi-missing", "keep"), ("--reads-without-umi", "fragments")):
        code, _, err = run("make-dataset", bam, *options, *more, *choice)
        assert code == 0, err
        adata = ad.read_h5ad(out)
        assert adata.layers["cell_by_junction_matrix"].toarray().tolist() == [[4, 1]]
        reading = adata.uns["splicing"]["reading"]
        assert reading["introns_counted_by_umi"] == 1
        assert reading["introns_counted_by_fragment"] == 4
    out.unlink()
    line = refused(bam, *options, *more, "--umi-missing", "drop")
    assert "No ATSE is left" in line
    line = refused(bam, *options, *more, "--umi-missing", "drop", "--reads-without-umi", "skip")
    assert "the old name of --umi-missing" in line
