"""A byte order mark, which programs on Windows put before the text, is no part of it."""

from __future__ import annotations

import gzip

import pandas as pd
import pytest

from leafletfa_scvi.pp.annotate._annotation import read_annotation

EXONS = "".join(
    f'chr1\ts\texon\t{start}\t{start + 99}\t.\t+\t.\tgene_id "G"; transcript_id "T";\r\n'
    for start in (101, 301)
)


@pytest.mark.parametrize("header", ["##description: x\r\n", ""], ids=["header", "no header"])
@pytest.mark.parametrize("name", ["a.gtf", "a.gtf.gz"])
def test_a_byte_order_mark_is_skipped(tmp_path, header, name):
    pack = gzip.compress if name.endswith("gz") else bytes
    plain, marked = tmp_path / name, tmp_path / f"marked_{name}"
    plain.write_bytes(pack((header + EXONS).encode()))
    marked.write_bytes(pack((header + EXONS).encode("utf-8-sig")))
    one, other = read_annotation(plain), read_annotation(marked)
    pd.testing.assert_frame_equal(one.introns, other.introns)
    pd.testing.assert_frame_equal(one.genes, other.genes)
    assert one.introns[["chrom", "start", "end"]].to_numpy().tolist() == [["chr1", 201, 300]]
