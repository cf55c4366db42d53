"""The page as a document: one safe file, navigable, with nothing of the user's as markup."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter


def attributes(page, tag):
    return [attributes for name, attributes in page.elements if name == tag]


def test_names_are_text_and_never_markup(reported):
    tags = Counter(tag for tag, _ in reported.page.elements)
    assert tags["script"] == 1
    assert not tags["b"] + tags["i"] + tags["u"]
    for name in (*reported.adata.obs["kind"].cat.categories, *reported.adata.obs["donor"][:1]):
        assert name not in reported.text.replace("$\\frac{1}$ &amp; {{ 7 * 7 }}", "")
    for name in reported.adata.obs["kind"].cat.categories:
        assert name in reported.page.text
        alts = " ".join(a["alt"] for a in attributes(reported.page, "img"))
        assert name in alts
    assert "{{ 7 * 7 }}" in reported.page.text
    assert reported.adata.var["gene_name"].iloc[0].endswith("<u>")
    assert "<u>" not in reported.text


def test_nothing_is_loaded_and_no_other_script_may_run(reported):
    page, text = reported.page, reported.text
    (policy,) = (
        a["content"]
        for a in attributes(page, "meta")
        if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    for tag, own in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in own), tag
        for name in ("src", "srcset", "action", "data"):
            assert own.get(name, "data:").startswith("data:")
        if tag == "link":
            assert own["href"] == "data:,"
        if tag == "a":
            assert own["href"].startswith(("#", "https://doi.org/"))


def test_headings_are_in_order_and_the_contents_lead_to_the_sections(reported):
    page = reported.page
    levels = [level for level, _ in page.headings]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for a in attributes(page, "a") if a["href"].startswith("#")]
    assert links == ["content", *page.sections]
    assert set(links) <= set(ids)
    assert attributes(page, "html") == [{"lang": "en"}]
    for section in attributes(page, "section"):
        assert section["aria-labelledby"] in ids
    assert len(attributes(page, "main")) == len(attributes(page, "nav")) == 1


def test_tables_have_captions_headings_and_boxes_that_scroll(reported):
    page = reported.page
    assert all(table.caption for table in page.tables)
    cells = attributes(page, "th")
    assert cells
    assert all(a.get("scope") in ("col", "row") for a in cells)
    boxes = [a for a in attributes(page, "div") if a.get("class") == "box"]
    n_figures = len(attributes(page, "figure"))
    assert len(boxes) == len(page.tables) + n_figures
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in boxes)
    inputs = [a["id"] for a in [*attributes(page, "input"), *attributes(page, "select")]]
    assert inputs
    assert sorted(inputs) == sorted(a["for"] for a in attributes(page, "label"))
    assert all(a["role"] == "status" for a in attributes(page, "p") if a.get("class") == "count")


def test_figures_say_in_numbers_what_they_show(reported):
    images = attributes(reported.page, "img")
    assert len(images) >= 9
    for image in images:
        assert re.search(r"\d", image["alt"])
        assert image["src"].startswith(("data:image/png;base64,", "data:image/svg+xml;base64,"))
        kind, data = image["src"].split(";base64,")
        start = base64.b64decode(data)[:5]
        assert start == (b"<?xml" if kind.endswith("xml") else b"\x89PNG\r")
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0


def test_rows_that_can_be_sorted_have_numbers_as_keys(reported):
    for table in reported.page.tables:
        for row in table.keys:
            assert len(row) == len(table.header or row)
            for key in row:
                assert key is None or key == "" or float(key) == float(key)
