from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp._codes import MOTIFS, STRANDS
from leafletfa_scvi.pp.read import _merge
from leafletfa_scvi.pp.read._file_counts import FileCounts, file_counts
from leafletfa_scvi.pp.read._merge import merge_files
from leafletfa_scvi.pp.read._sources import Source

CONTIGS = ["chr10", "chr2", "ERCC-1", "MT", "chrX:alt|1"]


def part_of(rows, cells, report=None) -> FileCounts:
    """A part from (contig, start, end, strand, cell, count) tuples."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    contig, start, end, strand, cell, count = (np.array(values, int) for values in columns)
    return file_counts(
        CONTIGS, contig, start, end, strand, cells, cell, count, report=Counter(report or {})
    )


def unite(tmp_path, parts, sources=None, annotation=None):
    paths = []
    for i, part in enumerate(parts):
        paths.append(tmp_path / f"{i}.npz")
        part.save(paths[-1])
    sources = sources or [
        Source(f"/f{i}", "star", part.cells[0] if len(part.cells) == 1 else f"s{i}")
        for i, part in enumerate(parts)
    ]
    return merge_files(paths, sources, annotation)


def as_dict(adata) -> dict:
    coo = adata.X.tocoo()
    names = zip(adata.obs_names[coo.row], adata.var_names[coo.col], strict=True)
    return dict(zip(names, coo.data.tolist(), strict=True))


ROW = st.tuples(
    st.integers(0, 4), st.integers(1, 2**31 - 400), st.integers(0, 3), st.integers(0, 2)
)
FILES = st.lists(
    st.lists(st.tuples(ROW, st.integers(0, 2), st.integers(0, 9)), max_size=12),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=60)
@given(files=FILES, seed=st.integers(0, 99), pending=st.sampled_from([0, 5, 1_000_000]))
def test_every_count_is_at_its_place(tmp_path_factory, files, seed, pending):
    wanted: Counter = Counter()
    parts = []
    for i, rows in enumerate(files):
        cells = [f"cell{i}_{b}" for b in range(3)]
        flat = []
        for (contig, start, length, strand), cell, count in rows:
            end = start + 300 + length
            flat.append((contig, start, end, strand, cell, count))
            name = f"{CONTIGS[contig]}:{start}-{end}:{STRANDS[strand]}"
            wanted[f"s{i}_{cells[cell]}" if len(files) > 1 else cells[cell], name] += count
        np.random.default_rng(seed).shuffle(flat)
        parts.append(part_of([tuple(row) for row in flat], cells))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_merge, "_PENDING", pending)  # sort into the union at every part, or once
        adata = unite(tmp_path_factory.mktemp("parts"), parts)
    assert as_dict(adata) == {key: count for key, count in wanted.items() if count}
    assert adata.X.dtype == np.int32
    assert adata.X.has_canonical_format
    assert adata.n_obs == 3 * len(files)  # cells without reads too
    rank = {name: i for i, name in enumerate(["ERCC-1", "MT", "chr2", "chr10", "chrX:alt|1"])}
    keys = [
        (rank[c], s, e, STRANDS.index(t))
        for c, s, e, t in adata.var[["chrom", "start", "end", "strand"]].itertuples(index=False)
    ]
    assert sorted(keys) == keys


def test_a_part_comes_back_from_disk_as_it_was(tmp_path):
    part = part_of([(1, 5, 90, 2, 0, 3), (0, 7, 99, 1, 1, 2)], ["a", "b"], {"rows": 2})
    part.save(tmp_path / "p.npz")
    again = FileCounts.load(tmp_path / "p.npz")
    for name in ("contig", "start", "end", "strand", "motif", "cell", "junction", "count"):
        np.testing.assert_array_equal(getattr(again, name), getattr(part, name))
        assert getattr(again, name).dtype == getattr(part, name).dtype
    assert (again.contigs, again.cells, again.report) == (part.contigs, part.cells, part.report)
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def test_junctions_are_in_order_of_start_end_then_strand(tmp_path):
    places = [(5, 90, 0), (5, 90, 1), (5, 90, 2), (5, 95, 0), (5, 95, 1), (7, 80, 2), (7, 99, 0)]
    rows = [(1, *place, 0, 1) for place in places]
    adata = unite(tmp_path, [part_of(rows[::2], ["a"]), part_of(rows[1::2], ["b"])])
    assert adata.var_names.tolist() == [f"chr2:{s}-{e}:{STRANDS[t]}" for s, e, t in places]


def test_one_cell_in_several_files_is_summed(tmp_path):
    parts = [
        part_of([(1, 5, 90, 1, 0, 3)], ["a"], {"rows": 1}),
        part_of([(1, 5, 90, 1, 0, 4), (0, 1, 80, 1, 0, 1)], ["a"], {"rows": 2}),
    ]
    sources = [Source(f"/{i}", "star", "a", "lane") for i in range(2)]
    adata = unite(tmp_path, parts, sources)
    assert as_dict(adata) == {("a", "chr2:5-90:+"): 7, ("a", "chr10:1-80:+"): 1}
    assert adata.obs["sample"].tolist() == ["lane"]
    assert adata.uns["splicing"]["reading"]["rows"] == 3


def test_barcodes_of_several_samples_do_not_collide(tmp_path):
    parts = [part_of([(1, 5, 90, 1, 0, i + 1)], ["AAA", "CCC"]) for i in range(2)]
    adata = unite(tmp_path, parts)
    assert adata.obs_names.tolist() == ["s0_AAA", "s0_CCC", "s1_AAA", "s1_CCC"]
    assert adata.obs["sample"].tolist() == ["s0", "s0", "s1", "s1"]
    assert as_dict(adata) == {("s0_AAA", "chr2:5-90:+"): 1, ("s1_AAA", "chr2:5-90:+"): 2}


def test_barcodes_are_named_after_the_sample_that_the_user_gave(tmp_path):
    parts = [part_of([(1, 5, 90, 1, 0, i + 1)], ["AAA", "CCC"]) for i in range(3)]
    sources = [Source(f"/{i}", "bam", f"lane{i}", "xxy"[i]) for i in range(3)]
    adata = unite(tmp_path, parts, sources)
    assert adata.obs["sample"].to_dict() == {
        "x_AAA": "x", "x_CCC": "x", "y_AAA": "y", "y_CCC": "y",
    }  # fmt: skip
    assert as_dict(adata) == {("x_AAA", "chr2:5-90:+"): 3, ("y_AAA", "chr2:5-90:+"): 3}


def test_one_name_for_cells_of_two_samples_is_refused(tmp_path):
    parts = [part_of([(1, 5, 90, 1, 0, 1)], ["a"]) for _ in range(2)]
    sources = [Source(f"/{i}", "star", "a", f"s{i}") for i in range(2)]
    with pytest.raises(ValueError, match=r"'a' of /1 is also in /0, of another sample"):
        unite(tmp_path, parts, sources)


def test_annotation_of_files_becomes_that_of_their_cells(tmp_path):
    parts = [part_of([(1, 5, 90, 1, 0, 1)], [name]) for name in "ba"]
    adata = unite(tmp_path, parts, annotation=pd.DataFrame({"batch": ["x", "y"]}))
    assert adata.obs["batch"].to_dict() == {"b": "x", "a": "y"}
    assert "sample" not in adata.obs
    sources = [Source(f"/{i}", "star", name, "s") for i, name in enumerate("aab")]
    parts = [part_of([(1, 5, 90, 1, 0, 1)], [name]) for name in "aab"]
    adata = unite(tmp_path, parts, sources, pd.DataFrame({"batch": ["x", "x", "z"]}))
    assert adata.obs["batch"].to_dict() == {"a": "x", "b": "z"}


def test_a_motif_known_in_one_file_is_known(tmp_path):
    where = (np.array([0]), np.array([5]), np.array([90]), np.array([1]))
    parts = [
        file_counts(["c"], *where, [name], np.array([0]), np.array([2]), motif=np.array([motif]))
        for name, motif in (("a", 0), ("b", MOTIFS.index("GC-AG")))
    ]
    assert unite(tmp_path, parts).var["motif"].tolist() == ["GC-AG"]
    assert "motif" not in unite(tmp_path, parts[:1]).var


def test_nothing_at_all_is_an_empty_matrix(tmp_path):
    adata = unite(tmp_path, [part_of([], ["a"]), part_of([], ["b"])])
    assert adata.shape == (2, 0)


def test_a_count_that_overflows_is_named_with_its_junction_and_cell():
    same = np.array([0, 0])
    where = (same, same + 5, same + 9, same + 1, ["x", "y"], same + 1)
    with pytest.raises(ValueError, match=r"found 2,147,483,648 of c2:5-9:\+ in cell 'y'"):
        file_counts(["c2", "c1"], *where, np.array([2**31 - 1, 1]))
