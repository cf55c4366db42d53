"""Tracks of junctions: what is written is parsed by the rules of the format, and equals tables."""

from __future__ import annotations

import gzip
import logging
import re
import shlex
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from helpers.junction_files import quick
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

import leafletfa_scvi as lfa
from leafletfa_scvi.tl._track_files import file_names

if TYPE_CHECKING:
    from pathlib import Path

LAYERS = "cell_by_junction_matrix", "cell_by_cluster_matrix"


def parse(text: str) -> list[tuple[dict[str, str], pd.DataFrame]]:
    """Tracks of a file: attributes and lines, checked by UCSC's specification of BED12."""
    tracks: list[tuple[dict[str, str], list[dict]]] = []
    for line in text.splitlines():
        if line.startswith("track "):
            words = shlex.split(line)[1:]
            tracks.append((dict(word.split("=", 1) for word in words), []))
            continue
        fields = line.split("\t")
        assert len(fields) == 12
        assert len(line.split()) == 12  # browsers split at any white space
        chrom, name, strand = fields[0], fields[3], fields[5]
        begin, end, score, thick, thick_end, count = (int(fields[i]) for i in (1, 2, 4, 6, 7, 9))
        sizes, starts = ([int(n) for n in fields[i].split(",")] for i in (10, 11))
        color = [int(n) for n in fields[8].split(",")]
        assert 0 <= begin < end
        assert 0 <= score <= 1000
        assert strand in {"+", "-", "."}
        assert begin <= thick <= thick_end <= end
        assert len(color) == 3
        assert all(0 <= part <= 255 for part in color)
        assert count == len(sizes) == len(starts) == 2
        assert min(sizes) > 0
        assert starts[0] == 0
        assert starts[0] + sizes[0] <= starts[1]
        assert begin + starts[1] + sizes[1] == end
        place = {"chrom": chrom, "start": begin + sizes[0] + 1, "end": begin + starts[1]}
        values = {"strand": strand, "name": name, "score": score, "color": tuple(color)}
        tracks[-1][1].append({**place, **values, "sizes": sizes, "begin": begin})
    return [(head, pd.DataFrame(rows)) for head, rows in tracks]


def intron(row: pd.Series) -> str:
    strand = {".": "?"}.get(row["strand"], row["strand"])
    return f"{row['chrom']}:{row['start']}-{row['end']}:{strand}"


def track_of(path) -> tuple[dict[str, str], pd.DataFrame]:
    (track,) = parse(path.read_text(encoding="utf-8"))
    return track


@pytest.fixture
def groups(small) -> AnnData:
    labels = np.random.default_rng(3).choice(["b/1", "a 2"], small.n_obs)
    labels[0] = None
    small.obs["group"] = pd.Categorical(labels, categories=["b/1", "none", "a 2"])
    small.uns["group_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    # One ATSE has no reads in the second group.
    atse = small.var["atse_id"] == small.var["atse_id"].iloc[0]
    for name in LAYERS:
        layer = sp.lil_matrix(small.layers[name])
        layer[np.ix_(small.obs["group"] == "a 2", atse)] = 0
        small.layers[name] = layer.tocsr()
    return small


def test_tracks_are_psi_and_reads_of_groups(groups, tmp_path: Path) -> None:
    table = lfa.tl.write_tracks(groups, tmp_path / "new", "group", min_reads=0)
    expected = lfa.tl.psi_by_group(groups, "group")
    assert list(table.index) == ["b/1", "a 2"]
    assert list(table["path"]) == [str(tmp_path / "new" / n) for n in ("b_1.bed", "a_2.bed")]
    for (name, row), color in zip(table.iterrows(), ((255, 0, 0), (0, 0, 255)), strict=True):
        head, lines = track_of(tmp_path / "new" / row["path"])
        own = expected[expected["group"] == name].set_index("junction")
        seen = own[own["total"] > 0]
        assert set(lines.apply(intron, axis=1)) == set(seen.index)
        assert (row["n_written"], row["n_not_observed"]) == (len(seen), len(own) - len(seen))
        assert head["name"] == name
        assert head["description"] == (
            f"{name}: PSI of {len(seen):,} junctions; {len(own) - len(seen):,} not observed"
        )
        assert (head["itemRgb"], head["graphType"]) == ("On", "junctions")
        for _, line in lines.iterrows():
            psi, reads, total = seen.loc[intron(line), ["psi", "reads", "total"]]
            gene = groups.var["gene_name"][intron(line)]
            assert line["name"] == f"{gene}|PSI={psi:.2f}|{reads:.0f}/{total:.0f}"
            assert line["score"] == round(psi * 1000)
            shade = 0.4 + 0.6 * psi
            found = [255 - shade * (255 - part) for part in color]
            assert np.abs(np.subtract(line["color"], found)).max() <= 0.5 + 1e-9
    assert (table["n_not_observed"] > 0).any()


@pytest.mark.parametrize("name", ["a\\", "\\", 'a"b', "a'", "a=b", "a\nb"])
def test_names_of_groups_stand_between_quotes(groups, tmp_path: Path, name: str) -> None:
    groups.obs["group"] = name
    table = lfa.tl.write_tracks(groups, tmp_path, "group")
    head, lines = track_of(tmp_path / table["path"].iloc[0])
    written = name.replace("\\", "/").replace('"', "'").replace("\n", " ")
    assert head["name"] == written
    assert head["description"].startswith(f"{written}: PSI of {len(lines):,} ")


def test_few_reads_are_left_out_and_counted(groups, tmp_path: Path) -> None:
    table = lfa.tl.write_tracks(groups, tmp_path, "group", min_reads=20, groups=["a 2"])
    expected = lfa.tl.psi_by_group(groups, "group", groups=["a 2"])
    seen = expected[expected["total"] > 0]
    kept = set(seen["junction"][seen["reads"] >= 20])
    head, lines = track_of(tmp_path / "a_2.bed")
    assert 0 < len(kept) < len(seen)
    assert set(lines.apply(intron, axis=1)) == kept
    assert table.loc["a 2", "n_few_reads"] == len(seen) - len(kept)
    assert head["description"].endswith(f", {len(seen) - len(kept):,} below 20 reads")


def test_all_tracks_in_one_file_and_in_a_session(groups, tmp_path: Path) -> None:
    lfa.tl.write_tracks(groups, tmp_path, "group", genome="mm39")
    tracks = parse(gzip.decompress((tmp_path / "ucsc_tracks.bed.gz").read_bytes()).decode())
    assert len(tracks) == 2
    for (head, lines), name in zip(tracks, ("b_1.bed", "a_2.bed"), strict=True):
        own, same = track_of(tmp_path / name)
        assert head.pop("db") == "mm39"
        assert own.pop("graphType") == "junctions"
        assert head == own
        pd.testing.assert_frame_equal(lines, same)
    session = ElementTree.parse(tmp_path / "igv_session.xml").getroot()
    assert session.tag == "Session"
    assert session.attrib == {"genome": "mm39", "locus": "All", "version": "8"}
    paths = [resource.get("path") for resource in session.iter("Resource")]
    assert paths == ["b_1.bed", "a_2.bed"]
    lfa.tl.write_tracks(groups, tmp_path, "group", overwrite=True)
    session = ElementTree.parse(tmp_path / "igv_session.xml").getroot()
    assert "genome" not in session.attrib


def test_lines_are_in_order_of_the_genome(groups, tmp_path: Path) -> None:
    shuffled = groups[:, np.random.default_rng(0).permutation(groups.n_vars)].copy()
    lfa.tl.write_tracks(shuffled, tmp_path, "group")
    _, lines = track_of(tmp_path / "b_1.bed")
    for _, rows in lines.groupby("chrom", sort=False):
        assert rows["begin"].is_monotonic_increasing
    assert (lines["chrom"] != lines["chrom"].shift()).sum() == lines["chrom"].nunique()


def test_programs_and_models(small, fit, tmp_path: Path) -> None:
    model = fit(small)
    model.export_posterior(small)
    psi = small.varm["psi_learned"]
    for folder, options in (("x", {}), ("y", {"model": model})):
        chosen = ["SP_3", "SP_1"]
        table = lfa.tl.write_tracks(small, tmp_path / folder, programs=chosen, **options)
        assert list(table.index) == chosen
        head, lines = track_of(tmp_path / folder / "SP_3.bed")
        expected = pd.Series(np.asarray(psi)[:, 2], small.var_names)
        assert len(lines) == small.n_vars
        assert "read" not in head["description"]
        for _, line in lines.iterrows():
            value = expected[intron(line)]
            assert line["score"] == pytest.approx(1000 * value, abs=0.51)
            assert line["name"] == f"{small.var['gene_name'][intron(line)]}|PSI={value:.2f}"
    small.obs["half"] = np.where(np.arange(small.n_obs) % 2, "odd", "even")
    lfa.tl.write_tracks(small, tmp_path / "z", "half", model=model)
    both = lfa.tl.psi_by_group(small, "half", groups=["odd"], model=model).set_index("junction")
    head, lines = track_of(tmp_path / "z" / "odd.bed")
    assert "expected PSI of" in head["description"]
    for _, line in lines.iterrows():
        row = both.loc[intron(line)]
        assert line["score"] == pytest.approx(1000 * row["psi_model"], abs=0.51)
        assert f"|PSI={row['psi']:.2f}|model={row['psi_model']:.2f}|" in line["name"]
    assert len(lfa.tl.write_tracks(small, tmp_path / "all", programs=True)) == 3
    with pytest.raises(KeyError, match="SP_9"):
        lfa.tl.write_tracks(small, tmp_path / "w", programs=["SP_9"])


class Page(HTMLParser):
    """Texts and links of the rows of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key == "href"]

    def handle_data(self, data):
        self.texts.append(data)


def test_links_to_the_leading_atses(groups, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    one = pd.DataFrame(
        {
            "comparison": "b vs rest",
            "proba_ds": rng.random(groups.n_vars),
            "effect_size": rng.uniform(-1, 1, groups.n_vars),
            "is_ds_fdr_0.05": rng.random(groups.n_vars) < 0.5,
            "gene_name": "<script>&",
        },
        index=groups.var_names,
    )
    other = one.assign(comparison="a vs rest", **{"is_ds_fdr_0.05": False})
    other.iloc[7, other.columns.get_loc("is_ds_fdr_0.05")] = True
    table = pd.concat([one, other])
    lfa.tl.write_tracks(groups, tmp_path, "group", top=table, n_top=4, genome="mm10")
    links = pd.read_csv(tmp_path / "links.tsv", sep="\t")
    called = one[one["is_ds_fdr_0.05"]].assign(atse=groups.var["atse_id"])
    called = called.sort_values("proba_ds", ascending=False)
    best = called.drop_duplicates("atse").head(4)
    assert list(links["comparison"]) == ["b vs rest"] * 4 + ["a vs rest"]
    assert list(links["junction"]) == [*best.index, groups.var_names[7]]
    assert list(links["atse_id"][:4]) == list(best["atse"])
    for _, row in links.iterrows():
        own = groups.var[groups.var["atse_id"] == row["atse_id"]]
        start, end = int(own["start"].min()), int(own["end"].max())
        margin = max(100, round(0.1 * (end - start + 1)))
        locus = f"{own['chrom'].iloc[0]}:{max(1, start - margin)}-{end + margin}"
        assert row["locus"] == locus
        assert parse_qs(urlsplit(row["ucsc"]).query) == {"db": ["mm10"], "position": [locus]}
        assert parse_qs(urlsplit(row["igv"]).query) == {"locus": [locus]}
    page = Page()
    page.feed((tmp_path / "links.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert page.texts.count("<script>&") == 5
    assert page.links == [link for row in links[["ucsc", "igv"]].to_numpy() for link in row]
    session = ElementTree.parse(tmp_path / "igv_session.xml").getroot()
    assert session.get("locus") == links["locus"][0]

    # Tables by ATSE name its junction in a column; without a genome there are no links to UCSC.
    atses = one.assign(junction=one.index).set_index(groups.var["atse_id"].rename("atse_id"))
    lfa.tl.write_tracks(groups, tmp_path, "group", top=atses, n_top=4, overwrite=True)
    found = pd.read_csv(tmp_path / "links.tsv", sep="\t")
    assert list(found["junction"]) == list(best.index)
    assert "ucsc" not in found


def test_tables_of_the_model_make_links(small, fit, tmp_path: Path) -> None:
    small.obs["half"] = np.where(np.arange(small.n_obs) % 2, "odd", "even")
    model = fit(small)
    markers = model.program_markers(n_samples=20, level="atse")
    results = model.differential_splicing(groupby="half", group1="odd", silent=True)
    for name, table in (("m", markers), ("d", results)):
        table = table[[c for c in table if not c.startswith("is_ds_fdr_")]]
        lfa.tl.write_tracks(small, tmp_path / name, top=table, n_top=3)
        links = pd.read_csv(tmp_path / name / "links.tsv", sep="\t")
        assert len(links) == (9 if name == "m" else 3)
        assert set(links["atse_id"]) <= set(small.var["atse_id"])


def test_a_group_without_reads_is_an_empty_track(groups, tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        table = lfa.tl.write_tracks(groups, tmp_path, "group", groups=["none", "b/1"])
    assert table.loc["none", "n_written"] == 0
    head, lines = track_of(tmp_path / "none.bed")
    assert lines.empty
    assert f"0 junctions; {groups.n_vars:,} not observed" in head["description"]
    assert "Tracks without junctions: none." in caplog.text


def test_names_of_files_are_safe_and_distinct() -> None:
    names = ["a/b", "a b", "A_B", "a_b_2", "../../x", "", "con", "T細胞", "x" * 500, "..", "a\nb"]
    files = file_names(names, ".bed")
    assert files[:5] == ["a_b.bed", "a_b_2.bed", "A_B_3.bed", "a_b_2_2.bed", "_.._x.bed"]
    assert files[6:8] == ["_con.bed", "T細胞.bed"]
    assert len({name.casefold() for name in files}) == len(names)
    for name in files:
        assert re.fullmatch(r"[\w.+-]+", name)
        assert not name.startswith(".")
        assert len(name.encode()) < 200


@quick
@given(st.lists(st.text(max_size=8), max_size=6, unique=True))
@example(["a", "A", "a_2", "a/"])
def test_any_names_make_distinct_files(names: list[str]) -> None:
    files = file_names(names, ".bed")
    assert len({name.casefold() for name in files}) == len(names)
    assert all(re.fullmatch(r"[\w+-][\w.+-]*\.bed", name) for name in files)


@st.composite
def data_sets(draw):
    place = st.tuples(
        st.sampled_from(["chr1", "KI270742.1", "2", "HLA:1"]),
        st.integers(2, 10**6),
        st.integers(0, 10**5),
        st.sampled_from("+-?"),
    )
    rows = draw(st.lists(place, min_size=1, max_size=8, unique=True))
    total = np.array(draw(st.lists(st.integers(0, 30), min_size=len(rows), max_size=len(rows))))
    share = np.array(draw(st.lists(st.floats(0, 1), min_size=len(rows), max_size=len(rows))))
    var = pd.DataFrame(
        [(c, s, s + n, strand) for c, s, n, strand in rows],
        columns=["chrom", "start", "end", "strand"],
        index=[f"J{i}" for i in range(len(rows))],
    )
    name = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    var["gene_name"] = draw(st.lists(name, min_size=len(rows), max_size=len(rows)))
    adata = AnnData(obs=pd.DataFrame(index=["c"]), var=var)
    reads = np.floor(total * share).astype(int)
    adata.layers[LAYERS[0]] = sp.csr_matrix(reads[None])
    adata.layers[LAYERS[1]] = sp.csr_matrix(total[None])
    adata.obs["group"] = pd.Categorical([draw(name) or "g"])
    return adata


@quick
@given(data_sets(), st.integers(1, 20))
def test_introns_come_back_as_they_were(tmp_path: Path, adata: AnnData, anchor: int) -> None:
    table = lfa.tl.write_tracks(
        adata, tmp_path, "group", min_reads=0, anchor=anchor, overwrite=True
    )
    head, lines = track_of(tmp_path / table["path"].iloc[0])
    total = adata.layers[LAYERS[1]].toarray()[0]
    var = adata.var[total > 0]
    found = [] if lines.empty else lines.apply(intron, axis=1).tolist()
    expected = (f"{c}:{s}-{e}:{d}" for c, s, e, d in var.iloc[:, :4].itertuples(index=False))
    assert sorted(found) == sorted(expected)
    if len(lines):
        left = lines["sizes"].map(lambda sizes: sizes[0])
        assert (left == np.minimum(anchor, lines["start"] - 1)).all()
        assert (lines["sizes"].map(lambda sizes: sizes[1]) == anchor).all()
        read = lfa.pp.read_regtools(table["path"].iloc[0])
        assert set(read.var_names) == {
            intron(line) for _, line in lines.iterrows() if line["score"]
        }


def test_real_junctions(chen, tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        table = lfa.tl.write_tracks(chen, tmp_path, "cell_type", genome="mm10")
    assert "2 of 12,374 junctions have no coordinates" in caplog.text
    assert (table[table.columns[1:]].sum(axis=1) == chen.n_vars - 2).all()
    cells = (chen.obs["cell_type"] == "Motor neuron").to_numpy()
    y, n = (np.asarray(chen.layers[k][cells].sum(axis=0)).ravel() for k in LAYERS)
    i = chen.var_names.get_loc("Ncam1_2:inclusion")
    head, lines = track_of(tmp_path / "Motor_neuron.bed")
    assert head["name"] == "Motor neuron"
    start, end = chen.var[["start", "end"]].iloc[i].astype(int)
    (line,) = lines[(lines["start"] == start) & (lines["end"] == end)].to_dict("records")
    assert line["name"] == f"Ncam1|PSI={y[i] / n[i]:.2f}|{y[i]:.0f}/{n[i]:.0f}"
    assert line["strand"] == "."
    assert line["chrom"] == chen.var["chrom"].iloc[i]
    with pytest.raises(ValueError, match=r"chromosomes of hg38, found .*aligned to"):
        lfa.tl.write_tracks(chen, tmp_path / "x", "cell_type", genome="hg38")
    assert not (tmp_path / "x").exists()


def test_colors_are_those_of_figures_or_of_a_palette(groups, tmp_path: Path) -> None:
    names = list(groups.var_names[:30])
    lfa.tl.write_tracks(groups, tmp_path, junctions=names, palette=["#102030"], min_reads=0)
    _, lines = track_of(tmp_path / "all_cells.bed")
    rgb = 255 * np.array(to_rgb("#102030"))
    for _, line in lines.iterrows():
        found = 255 - (0.4 + 0.6 * line["score"] / 1000) * (255 - rgb)
        assert np.abs(np.subtract(line["color"], found)).max() < 0.8
    assert len(lines) <= 30


def test_what_cannot_be_written(groups, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "tracks"

    def refused(error, message, adata=groups, folder=folder, **options) -> None:
        with pytest.raises(error, match=message):
            lfa.tl.write_tracks(adata, folder, **{"groupby": "group", **options})

    refused(TypeError, "AnnData", adata=groups.var)
    refused(KeyError, "'grup'", groupby="grup")
    refused(KeyError, "'a2'.*Did you mean 'a 2'", groups=["a2"])
    refused(ValueError, "found both", programs=True)
    refused(KeyError, "psi_learned", groupby=None, programs=True)
    refused(ValueError, "found 'mm 10'", genome="mm 10")
    refused(ValueError, "anchor", anchor=0)
    refused(ValueError, "min_reads", min_reads=-1)
    refused(ValueError, "n_top", n_top=0)
    refused(TypeError, "found str", top="table.csv")
    refused(KeyError, "'effect_size' in top", top=groups.var)
    unknown = pd.DataFrame({"effect_size": [0.5]}, index=["chr1:1-2:+"])
    refused(KeyError, "'chr1:1-2:\\+'", top=unknown)
    bare = AnnData(
        groups.X, groups.obs, pd.DataFrame(index=[f"J{i}" for i in range(groups.n_vars)])
    )
    for name in LAYERS:
        bare.layers[name] = groups.layers[name]
    refused(ValueError, "found neither", adata=bare)
    assert not folder.exists()
    lfa.tl.write_tracks(groups, folder, "group")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refused(FileExistsError, "b_1.bed already exists")

    def full(*_):
        raise OSError("full")

    with monkeypatch.context() as patch:
        patch.setattr("leafletfa_scvi.tl._write_tracks.igv_session", full)
        refused(OSError, "full", overwrite=True, min_reads=5)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    refused(NotADirectoryError, "found the file", folder=tmp_path / "file")
