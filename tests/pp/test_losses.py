"""What every step left out: numbers add up, and each reason names the option that keeps it."""

from __future__ import annotations

import inspect
import re

import pandas as pd
import pytest
from helpers.splicing_data import star_line

import leafletfa_scvi as lfa
from leafletfa_scvi.pp._losses import _ATSES, _FILTERS, _READING, losses_of

KEPT_BY = {
    "too few reads": {"min_reads": 1},
    "in too few cells": {"min_cells": 1},
    "introns too short": {"min_intron": 1},
    "introns too long": {"max_intron": 10**9},
    "small share of the reads at a splice site": {"min_usage": 0.0},
    "unknown strand": {"unstranded": "keep"},
}


@pytest.fixture
def files(tmp_path):
    """Two cells, with one junction for each reason."""
    lines = [
        star_line(1000, 2000, 60),
        star_line(1000, 3000, 60),
        star_line(1000, 2050, 1000),  # most reads of the donor: the next one is rarely used
        star_line(1000, 2500, 10),
        star_line(5000, 5040, 30),
        star_line(10_000, 700_000, 30),
        star_line(20_000, 21_000, 4),
        star_line(30_000, 31_000, 30, strand="0"),
        star_line(30_000, 32_000, 30, strand="0"),
        star_line(40_000, 41_000, 30),
    ]
    only_first = star_line(50_000, 51_000, 30)
    (tmp_path / "a.SJ.out.tab").write_text("".join([*lines, only_first]))
    (tmp_path / "b.SJ.out.tab").write_text("".join(lines))
    return tmp_path


def test_every_reason_is_counted(files):
    said: list[str] = []
    adata = lfa.pp.make_splicing_dataset(files, stage=said.append)
    table = lfa.pp.list_losses(adata).set_index("reason")
    found = {
        reason: (row["dropped"], row["of"], row["reads"], row["of_reads"])
        for reason, row in table.iterrows()
    }
    assert found["introns too short"] == (1, 11, 60, 2598)
    assert found["introns too long"] == (1, 11, 60, 2598)
    assert found["too few reads"] == (1, 11, 8, 2598)
    assert found["in too few cells"] == (1, 11, 30, 2598)
    assert found["small share of the reads at a splice site"] == (1, 7, 20, 2440)
    assert found["unknown strand"] == (2, 6, 120, 2420)
    alone = "no other junction at their splice sites, so not alternative"
    assert found[alone] == (1, 6, 60, 2420)
    assert set(found) == {*KEPT_BY, alone}
    details = [line for line in said if line.startswith(" ")]
    assert details == [f"  dropped {loss}" for loss in losses_of(adata.uns["splicing"])]
    assert said[1:3] == ["Annotating 11 junctions of 2 cells", details[0]]
    assert details[0] == (
        "  dropped 1 of 11 junctions (60 of 2,598 reads): introns too short; "
        "option: min_intron (--min-intron)"
    )


@pytest.mark.parametrize("reason", KEPT_BY)
def test_the_option_keeps_what_was_dropped(files, reason):
    before = lfa.pp.list_losses(lfa.pp.make_splicing_dataset(files)).set_index("reason")
    (name,) = KEPT_BY[reason]
    assert name in before.loc[reason, "option"]
    assert f"--{name.replace('_', '-')}" in before.loc[reason, "option"]
    after = lfa.pp.list_losses(lfa.pp.make_splicing_dataset(files, **KEPT_BY[reason]))
    assert reason not in set(after["reason"])


def test_multi_mapped_reads(tmp_path):
    line = "chr1\t{}\t{}\t1\t1\t0\t30\t{}\t30\n"
    text = line.format(1000, 2000, 12) + line.format(1000, 3000, 3)
    for cell in "ab":
        (tmp_path / f"{cell}.SJ.out.tab").write_text(text)
    (row,) = lfa.pp.list_losses(lfa.pp.make_splicing_dataset(tmp_path)).to_dict("records")
    assert (row["dropped"], row["of"], row["unit"]) == (30, 150, "reads")
    assert pd.isna(row["reads"])
    assert "star_reads='all' (--star-reads all)" in row["option"]
    kept = lfa.pp.make_splicing_dataset(tmp_path, star_reads="all")
    assert lfa.pp.list_losses(kept).empty


def test_numbers_add_up_on_real_data(data_dir):
    gtf = data_dir / "gtex_chr10" / "chr10.gtf.gz"
    adata = lfa.pp.make_splicing_dataset(sorted(gtf.parent.glob("*.bed.gz")), gtf=gtf)
    record = adata.uns["splicing"]
    dropped = lfa.pp.list_losses(adata).groupby("step")["dropped"].sum()
    left = record["junction_qc"]["junctions_before"]
    for step in ("junction_qc", "splice_site_usage", "atses"):
        left -= dropped[step]
    assert left == adata.n_vars
    reads = lfa.pp.list_losses(adata).groupby("step")["reads"].sum()
    left = record["junction_qc"]["reads_before"]
    for step in ("junction_qc", "splice_site_usage", "atses"):
        left -= reads[step]
    assert left == adata.X.sum(dtype=float)


def test_options_named_are_those_of_the_functions():
    make = inspect.signature(lfa.pp.make_splicing_dataset).parameters
    read = (
        inspect.signature(lfa.pp.read_bam).parameters
        | inspect.signature(lfa.pp.read_junctions).parameters
    )
    own = inspect.signature(lfa.pp.filter_junctions).parameters
    options = [row[-1] for row in (*_READING.values(), *_FILTERS.values(), *_ATSES.values())]
    for option in filter(None, options):
        for name in re.findall(r"(?:^|, | or )([a-z_]+)", re.sub(r"\([^)]*\)", "", option)):
            assert name in {*make, *read, *own}, option


def test_data_that_were_not_read_here_are_refused(small):
    del small.uns["splicing"]
    with pytest.raises(KeyError, match="records of the steps"):
        lfa.pp.list_losses(small)
