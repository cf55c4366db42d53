"""Markdown that renders as intended."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("benchmarks/**/*.md")]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_tables_stand_between_blank_lines(page):
    """A line below the last row would be taken for another row."""
    in_code = False
    for above, below in pairwise(page.read_text(encoding="utf-8").splitlines()):
        in_code ^= above.startswith("```")
        if not in_code and above.strip() and below.strip():
            assert above.startswith("|") == below.startswith("|"), f"{above}\n{below}"
