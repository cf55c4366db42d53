"""Markdown that renders as intended, docstrings of figures and their gallery."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi.pl._docs import shared_docs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
IMAGE = re.compile(r"^\.\. image:: /_static/gallery/(\w+)\.png$", re.MULTILINE)
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("benchmarks/**/*.md")]
)


def docstrings() -> dict[str, str]:
    return {name: inspect.getdoc(getattr(lfa.pl, name)) for name in lfa.pl.__all__}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_tables_stand_between_blank_lines(page):
    """A line below the last row would be taken for another row."""
    in_code = False
    for above, below in pairwise(page.read_text(encoding="utf-8").splitlines()):
        in_code ^= above.startswith("```")
        if not in_code and above.strip() and below.strip():
            assert above.startswith("|") == below.startswith("|"), f"{above}\n{below}"


@pytest.fixture(scope="module")
def gallery():
    """Return the script that makes the gallery."""
    spec = importlib.util.spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_every_figure_is_in_the_gallery(gallery):
    """Each function of ``lfa.pl`` shows a picture that is there, drawn by a call of it."""
    pictures = gallery.pictures()
    assert {picture.function for picture in pictures} == set(lfa.pl.__all__)
    assert len({picture.name for picture in pictures}) == len(pictures)
    for picture in pictures:
        assert picture.code.splitlines()[-1].startswith(f"lfa.pl.{picture.function}(")
        assert len(picture.alt) > 20


def test_every_image_of_a_docstring_is_an_example_of_the_gallery(gallery):
    """An image that lacks its sentence, call or alternative text would not be on the page."""
    shown = {name for text in docstrings().values() for name in IMAGE.findall(text)}
    assert shown == {picture.name for picture in gallery.pictures()}


def test_pictures_are_there_small_and_used(gallery):
    files = {path.stem: path for path in gallery.PICTURES.iterdir()}
    assert set(files) == {picture.name for picture in gallery.pictures()}
    for path in files.values():
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sum(path.stat().st_size for path in files.values()) < 1.5e6


def test_the_page_of_the_gallery_is_that_of_the_docstrings(gallery):
    remedy = "Write it again: nox -s gallery -- --page"
    assert gallery.PAGE.read_text(encoding="utf-8") == gallery.page(), remedy


@pytest.mark.parametrize("name", sorted(lfa.pl.__all__))
def test_every_parameter_of_a_figure_is_described(name):
    """Also where the text is one that several functions share."""
    text = docstrings()[name]
    section = text.split("\nParameters\n----------\n")[1].split("\n\nReturns\n")[0]
    described = re.findall(r"^(\w[\w, ]*)$", section, re.MULTILINE)
    described = [name for names in described for name in names.split(", ")]
    assert described == list(inspect.signature(getattr(lfa.pl, name)).parameters)
    assert "$" not in text


def test_python_without_docstrings_has_figures():
    """``python -OO`` removes them."""
    code = "import leafletfa_scvi as lfa; print(lfa.pl.psi.__name__, lfa.pl.psi.__doc__)"
    found = subprocess.check_output([sys.executable, "-OO", "-c", code], text=True)
    assert found.split() == ["psi", "None"]


def test_an_unknown_description_is_an_error():
    def function():
        """Draw $nothing."""

    with pytest.raises(KeyError, match="nothing"):
        shared_docs(function)
