"""Pages in Chromium: tables that sort and search, by mouse and keyboard; what is read aloud,
printed, seen on a phone or without scripts; and that nothing is loaded or executed."""

from __future__ import annotations

import io
import math
import unicodedata
from typing import TYPE_CHECKING

import pytest
from helpers.known_dataset import known_dataset
from pypdf import PdfReader
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from leafletfa_scvi._report._blocks import (
    Facts,
    Figure,
    Heading,
    Listing,
    Missing,
    Notice,
    Page,
    Section,
    Table,
    Text,
    number_column,
    text_column,
)
from leafletfa_scvi._report._qc_page import write_qc_report
from leafletfa_scvi._report._render import rendered

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.browser import Browser

PAGES = ["blocks", "qc", "report"]
SCRIPT, TAG = "<script>alert(1)</script>", "</script><b>x"
EVENT = '"><img src=x onerror=alert(2)>'
LONG = "ENSMUSG00000000000001234567890_a_name_of_sixty_characters_xx"
GENES = [SCRIPT, EVENT, LONG, *(f"Gene{i}" for i in range(45))]
NUMBERS = [9.0, 100.0, math.nan, -1.0, 1e-30, 2.5e6, math.nan, -10.0, 10.0, *range(20, 59)]
GROUPS = [TAG if i % 3 else "Größe" for i in range(48)]
DOT = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
DOT += "DwADhgGAWjR9awAAAABJRU5ErkJggg=="


def every_block() -> Page:
    """A page with every kind of block, and names that would be tags and scripts."""
    table = Table(
        f"Junctions of {TAG}",
        [
            text_column("Gene", GENES),
            text_column("Group", GROUPS),
            number_column("Effect", NUMBERS, "{:.3g}".format),
            *(number_column(f"Wide column {i}", NUMBERS, "{:,.4f}".format) for i in range(6)),
        ],
        note="Some are left out.",
        filter_by="Group",
    )
    small = Table("Few rows", [text_column("Name", ["b", "a"]), number_column("n", [1, 2], str)])
    blocks = [
        Text(f"Text with {SCRIPT}"),
        Text("Pass the option --of-the-command, or --no-report; " * 9 + f"--{LONG * 3}"),
        Notice(f"Notice {TAG}"),
        Missing(f"What {EVENT}", "because."),
        Heading(f"Heading {SCRIPT}"),
        Listing([(f"Item {TAG}", "https://example.org/a?b=1&c=2"), (LONG * 3, "")]),
        Figure(DOT, f"Alt {EVENT}", f"Caption {TAG}", 1600, 300),
        table,
    ]
    return Page(
        f"Title {SCRIPT}",
        f"Lead {LONG * 3}",
        [
            Section("all", f"All {TAG}", blocks),
            Section("few", "Few", [Facts(f"Facts {EVENT}", {SCRIPT: LONG * 3}), small]),
        ],
        tiles={f"Tile {TAG}": LONG},
        notices=[f"Know {SCRIPT}"],
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory, reported) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    paths = {name: folder / f"{name}.html" for name in PAGES}
    paths["blocks"].write_text(rendered(every_block()), encoding="utf-8")
    adata = known_dataset()
    adata.uns["splicing"]["failed_files"] = [SCRIPT, EVENT, LONG * 3]
    write_qc_report(adata, paths["qc"])
    paths["report"].write_text(reported.text, encoding="utf-8")
    return paths


@pytest.fixture(params=PAGES)
def page(request, pages: dict[str, Path]) -> Path:
    return pages[request.param]


@pytest.fixture
def table(browser: Browser, pages: dict[str, Path]) -> BigTable:
    browser.open(pages["blocks"])
    return BigTable(browser)


class BigTable:
    """The table of all columns on the open page."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.data = browser.driver.find_element(By.CSS_SELECTOR, "#all .data")

    def shown(self, column: int) -> list[str]:
        """Text of a column in the rows that are shown, from top to bottom."""
        script = """return Array.from(arguments[0].querySelectorAll("tbody tr"))
            .filter((row) => row.getClientRects().length)
            .map((row) => row.cells[arguments[1]].textContent)"""
        return self.browser.run(script, self.data, column)

    def head(self, column: int):
        return self.data.find_elements(By.CSS_SELECTOR, "thead th")[column]

    def sorts(self) -> list[str | None]:
        """The order that is announced, of each column."""
        heads = self.data.find_elements(By.CSS_SELECTOR, "thead th")
        return [head.get_attribute("aria-sort") for head in heads]

    def count(self) -> str:
        return self.data.find_element(By.CSS_SELECTOR, "[role=status]").text


def in_order(descending: bool) -> list[str]:
    """Genes by their numbers, those without in the order they had."""
    known = [i for i in range(48) if not math.isnan(NUMBERS[i])]
    known.sort(key=lambda i: NUMBERS[i], reverse=descending)
    return [GENES[i] for i in (*known, *(i for i in range(48) if math.isnan(NUMBERS[i])))]


@pytest.mark.parametrize("key", [None, Keys.ENTER, Keys.SPACE])
def test_tables_sort_by_mouse_and_keyboard(table: BigTable, key: str | None) -> None:
    assert table.shown(0) == GENES
    assert set(table.sorts()) == {None}
    button = table.head(2).find_element(By.TAG_NAME, "button")
    orders = []
    for _ in range(2):
        button.click() if key is None else button.send_keys(key)
        order = table.sorts()[2]
        assert table.sorts() == [None, None, order, *[None] * 6]
        assert table.shown(0) == in_order(order == "descending")
        orders.append(order)
    assert set(orders) == {"ascending", "descending"}


def test_text_sorts_by_the_numbers_in_it(table: BigTable) -> None:
    table.head(0).find_element(By.TAG_NAME, "button").click()
    assert table.sorts()[0] == "ascending"
    genes = [gene for gene in table.shown(0) if gene.startswith("Gene")]
    assert genes == [f"Gene{i}" for i in range(45)]
    assert sorted(table.shown(0)) == sorted(GENES)


def test_the_headings_are_reached_by_tab(table: BigTable) -> None:
    table.data.find_element(By.TAG_NAME, "select").send_keys(Keys.TAB)
    reached = []
    for _ in range(4):
        active = table.browser.driver.switch_to.active_element
        reached.append((active.tag_name, active.text.strip()))
        active.send_keys(Keys.TAB)
    names = [name for tag, name in reached if tag == "button"]
    assert names == ["Gene", "Group", "Effect"]


def test_searching_and_choosing_narrow_the_rows(table: BigTable) -> None:
    assert table.count() == "48 rows"
    search = table.data.find_element(By.CSS_SELECTOR, "input[type=search]")
    search.send_keys("GENE1")
    expected = [gene for gene in GENES if gene.startswith("Gene1")]
    assert table.shown(0) == expected
    assert table.count() == f"{len(expected)} of 48 rows"
    option = table.data.find_elements(By.TAG_NAME, "option")[1]
    assert option.text == GROUPS[0] == "Größe"
    option.click()
    rows = [gene for gene, group in zip(GENES, GROUPS, strict=True) if group == "Größe"]
    both = [gene for gene in rows if gene.startswith("Gene1")]
    assert table.shown(0) == both
    assert table.count() == f"{len(both)} of 48 rows"
    search.send_keys(Keys.CONTROL, "a")
    search.send_keys(Keys.BACKSPACE)
    assert table.shown(0) == rows
    search.send_keys("no such gene")
    assert table.shown(0) == []
    assert table.count() == "0 of 48 rows"
    search.clear()
    table.data.find_elements(By.TAG_NAME, "option")[0].click()
    search.send_keys(".*")  # text, not a pattern
    assert table.shown(0) == []
    search.clear()
    search.send_keys("<script>")
    assert table.shown(0) == [SCRIPT]


def test_names_are_shown_as_text_and_execute_nothing(
    browser: Browser, pages: dict[str, Path], reported
) -> None:
    names = {"blocks": [SCRIPT, EVENT, TAG], "qc": [SCRIPT, EVENT]}
    names["report"] = list(reported.adata.obs["kind"].cat.categories)
    for page, expected in names.items():
        browser.open(pages[page])
        for button in browser.driver.find_elements(By.CSS_SELECTOR, "thead button")[:3]:
            button.click()
        text = browser.run("return document.body.innerText")
        assert [name for name in expected if name not in text] == []
        assert browser.run("return window.alerts") == []
        made = "b, i, u, img[src=x], img:not([alt]), [onclick], [onerror]"
        assert browser.driver.find_elements(By.CSS_SELECTOR, made) == []
        assert len(browser.driver.find_elements(By.TAG_NAME, "script")) == 1
    browser.open(pages["blocks"])
    assert browser.driver.title == f"Title {SCRIPT}"
    assert browser.run("return document.body.innerText").count(TAG) >= 35


def test_nothing_is_loaded_and_the_console_is_empty(browser: Browser, page: Path) -> None:
    browser.open(page)
    for control in browser.driver.find_elements(By.CSS_SELECTOR, "thead button, input")[:12]:
        control.send_keys("a")
    asked = browser.requested()
    assert page.as_uri()[:80] in asked
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []
    assert sum(address.startswith("file:") for address in asked) == 1
    assert browser.logged() == []


@pytest.mark.parametrize("width", [1280, 400, 320])
def test_pages_do_not_scroll_sideways(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    assert browser.run("return window.innerWidth") == width
    wide, room = browser.run(
        "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    )
    assert wide <= room
    assert room > width - 40
    # What is wider scrolls in a box of its own, which the keyboard reaches.
    out = browser.run(
        """return Array.from(document.querySelectorAll("body *")).filter((e) => {
            const box = e.closest("[tabindex='0']");
            return !box && !e.matches(".skip")
                && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
        }).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert out == []


@pytest.mark.parametrize("width", [1280, 400])
def test_options_stay_on_one_line(browser: Browser, pages: dict[str, Path], width: int) -> None:
    browser.open(pages["blocks"], width=width)
    options = browser.run(
        """const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walk.nextNode()) {
            for (const match of walk.currentNode.data.matchAll(/--[a-z]+(-[a-z]+)*/g)) {
                const range = document.createRange();
                range.setStart(walk.currentNode, match.index);
                range.setEnd(walk.currentNode, match.index + match[0].length);
                const lines = new Set(Array.from(range.getClientRects(), (box) => box.top));
                found.push([match[0], lines.size]);
            }
        }
        return found"""
    )
    assert options == [["--of-the-command", 1], ["--no-report", 1]] * 9


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(browser: Browser, page: Path, scheme: str) -> None:
    """By the rules of axe-core: contrast, names of controls, headings, landmarks, tables."""
    browser.open(page, scheme=scheme)
    rules = "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"
    assert browser.violations(*rules) == []
    is_dark = browser.run("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert is_dark == (scheme == "dark")


def test_headings_tables_images_and_controls_have_names(browser: Browser, page: Path) -> None:
    browser.open(page)
    levels = browser.run(
        """return Array.from(document.querySelectorAll("h1, h2, h3, h4, h5, h6"))
            .map((heading) => Number(heading.tagName[1]))"""
    )
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    without = browser.run(
        """const bad = [];
        for (const table of document.querySelectorAll("table")) {
            if (!table.caption || !table.caption.textContent.trim()) bad.push(table);
        }
        for (const head of document.querySelectorAll("th")) {
            if (!["col", "row"].includes(head.scope)) bad.push(head);
        }
        for (const image of document.querySelectorAll("img")) {
            if (!image.alt.trim()) bad.push(image);
        }
        for (const control of document.querySelectorAll("input, select")) {
            const names = Array.from(control.labels, (label) => label.textContent.trim());
            if (!names.some(Boolean)) bad.push(control);
        }
        return bad.map((element) => element.outerHTML.slice(0, 80))"""
    )
    assert without == []
    assert browser.run("return document.querySelectorAll('table, img, th').length") > 3


def joined(text: str) -> str:
    """Text without spaces and ligatures."""
    return unicodedata.normalize("NFKC", "".join(text.split()))


def test_pages_print(browser: Browser, page: Path) -> None:
    browser.open(page)
    titles = browser.run(
        """return Array.from(document.querySelectorAll("h1, main h2, h3, caption"))
            .map((heading) => heading.textContent)"""
    )
    cells = browser.run(
        """return Array.from(document.querySelectorAll("tbody th"))
            .map((cell) => cell.textContent)"""
    )
    read = PdfReader(io.BytesIO(browser.printed()))
    text = joined("".join(sheet.extract_text() for sheet in read.pages))
    assert len(read.pages) >= 1
    assert len(titles) >= 4
    for title in titles:
        assert joined(title) in text
    if page.name == "qc.html":
        assert [cell for cell in cells if joined(cell) not in text] == []
    if page.name == "blocks.html":  # with the long table
        rows = [joined(gene + group) for gene, group in zip(GENES, GROUPS, strict=True)]
        assert [row for row in rows if row in text] == rows[:40]
        assert "Thefirst40rowsareprinted" in text


def test_what_was_searched_is_printed(browser: Browser, table: BigTable) -> None:
    table.data.find_element(By.TAG_NAME, "input").send_keys("Gene44")  # behind the first 40
    read = PdfReader(io.BytesIO(browser.printed()))
    text = joined("".join(sheet.extract_text() for sheet in read.pages))
    row = joined(GENES[-1] + GROUPS[-1])
    assert [gene for gene in GENES[3:] if joined(gene) in text] == ["Gene4", "Gene44"]
    assert row in text
    assert "1of48rows" in text
    assert "rowsareprinted" not in text


def test_headings_are_repeated_on_each_sheet(browser: Browser, table: BigTable) -> None:
    browser.run("arguments[0].style.breakBefore = 'page'", table.data)
    script = "document.querySelectorAll('#all tbody tr').forEach((tr) => tr.style.height = '2cm')"
    browser.run(script)
    sheets = [joined(s.extract_text()) for s in PdfReader(io.BytesIO(browser.printed())).pages]
    rows = [sheet for sheet in sheets if "Gene1" in sheet or "Gene30" in sheet]
    assert len(rows) >= 2
    assert [sheet for sheet in rows if "Widecolumn0" not in sheet] == []


def test_pages_work_without_scripts(browser: Browser, page: Path) -> None:
    browser.open(page)
    script = "return Array.from(document.querySelectorAll('td, th'), (cell) => cell.textContent)"
    cells = browser.run(script)
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    browser.driver.refresh()
    assert browser.driver.find_elements(By.CSS_SELECTOR, "thead button") == []
    assert browser.run(script) == cells
    for tools in browser.driver.find_elements(By.CSS_SELECTOR, "input, select, [role=status]"):
        assert not tools.is_displayed()
    for shown in browser.driver.find_elements(By.CSS_SELECTOR, "h1, h2, caption, img"):
        assert shown.is_displayed()
    assert browser.logged() == []
