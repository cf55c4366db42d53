"""Pictures of the gallery and its page, from the examples in the docstrings of ``lfa.pl``.

``nox -s gallery`` draws all pictures into ``docs/_static/gallery`` and writes ``docs/gallery.md``;
``nox -s gallery -- psi query`` draws those of some functions; ``-- --page`` writes the page alone.
An example is a sentence, a call and an image; the call is what draws the image.
"""

from __future__ import annotations

import argparse
import inspect
import io
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import leafletfa_scvi as lfa

DOCS = Path(__file__).parent
PICTURES = DOCS / "_static" / "gallery"
PAGE = DOCS / "gallery.md"
_DPI = 110
_COLORS = 256
"""Number of colors of a picture: a third of the size, and no color visibly changed."""
_DATA = {
    "activity_samples": "donors",
    "batch_effects": "batches",
    "differential_activity": "donors",
    "history_held_out": "stochastic",
    "program_match": "five_programs",
    "program_selection": "five_programs",
    "program_stability": "five_programs",
    "psi_samples": "donors",
    "query": "query",
    "splice_graph_annotation": "neurons",
}
"""Data of pictures, by the names of ``gallery_data``; those of all others are the mouse cells."""
_ABOUT = {
    "query": "The same mouse cells, and six programs of a reference without motor neurons.",
    "neurons": "Neurons of mouse visual cortex (Smart-seq, Tasic et al. 2016).",
    "donors": "Simulated, two groups of six donors (`lfa.datasets.simulate_cohort`).",
    "batches": "Simulated, three batches (`lfa.datasets.simulate_splicing`).",
    "five_programs": "Simulated, five programs (`lfa.datasets.simulate_splicing`).",
    "stochastic": "Simulated, five programs (`lfa.datasets.simulate_splicing`).",
}
"""What the page says of other data than the mouse cells."""
_EXAMPLE = re.compile(
    r"(?P<text>(?:^(?!>>>)\S.*\n)+)\n"
    r"(?P<code>(?:^(?:>>>|\.\.\.).*\n)+)\n"
    r"^\.\. image:: /_static/gallery/(?P<name>\w+)\.png\n"
    r"^   :alt: (?P<alt>.*\n(?:^ {4,}.*\n)*)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Picture:
    """An example of a docstring.

    Attributes
    ----------
    function
        Name in ``lfa.pl``.
    name
        Name of the file, without its ending.
    text, alt
        What is seen, and the text instead of the picture.
    code
        Lines that draw it, the last of which is the call.
    """

    function: str
    name: str
    text: str
    code: str
    alt: str

    @property
    def data(self) -> str:
        """Name of the data."""
        return _DATA.get(self.name, "mouse_cells")


def pictures() -> list[Picture]:
    """Read the examples of all functions, in the order of the API page."""
    api = (DOCS / "api.md").read_text(encoding="utf-8")
    return [
        Picture(
            function,
            match["name"],
            " ".join(match["text"].split()),
            "\n".join(line[4:] for line in match["code"].splitlines()),
            " ".join(match["alt"].split()),
        )
        for function in re.findall(r"^   pl\.(\w+)$", api, re.MULTILINE)
        for match in _EXAMPLE.finditer(_section(getattr(lfa.pl, function), "Examples"))
    ]


def _section(function: Any, name: str) -> str:
    """Return the last section of a docstring, which must be of this name."""
    _, _, section = inspect.getdoc(function).partition(f"\n{name}\n{'-' * len(name)}\n")
    return section + "\n"


def page() -> str:
    """Return the text of the page."""
    introduction = (
        "Every figure of `lfa.pl`, with the call that drew it. Unless something else is said, "
        "`adata` are 488 mouse cells (Smart-seq2, Chen et al. 2016), embryonic stem cells, "
        "epiblast stem cells and motor neurons, to which `model.export_posterior` wrote eight "
        "programs. All functions take the arguments of scanpy's figures: `title`, `figsize`, "
        "`show`, `save` and `return_fig`, and where it applies `ax`, `palette` and `cmap`."
    )
    parts = ["# Gallery\n", _paragraph(introduction)]
    function = None
    for picture in pictures():
        if picture.function != function:
            function = picture.function
            summary = inspect.getdoc(getattr(lfa.pl, function)).split("\n\n")[0]
            parts.append(f"## {function}\n")
            link = f"[`lfa.pl.{function}`](generated/api/leafletfa_scvi.pl.{function}.rst)"
            parts.append(_paragraph(f"{summary} {link}"))
        parts.append(_paragraph(picture.text))
        parts.append(f"```python\n{picture.code}\n```\n")
        parts.append(f"![{picture.alt}](_static/gallery/{picture.name}.png)\n")
        if picture.data in _ABOUT:
            parts.append(_paragraph(f"*{_ABOUT[picture.data]}*"))
    return "\n".join(parts)


def _paragraph(text: str) -> str:
    """Return a paragraph of Markdown from one of reStructuredText, in lines of some length."""
    text = re.sub(r":\w+:`~?(?:leafletfa_scvi\.)?([^`]+)`", r"`lfa.\1`", " ".join(text.split()))
    text = text.replace("``", "`")
    return textwrap.fill(text, 125, break_long_words=False, break_on_hyphens=False) + "\n"


def draw(picture: Picture, names: dict[str, Any]) -> Any:
    """Run the code of a picture with the names that its data give; return its figure."""
    import matplotlib.pyplot as plt

    plt.close("all")
    exec(picture.code, {"lfa": lfa, **names})
    return plt.gcf()


def write_png(figure: Any, path: Path) -> None:
    """Write a figure as a small PNG of a limited number of colors."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.08)
    image = Image.open(buffer).convert("RGB")
    image = image.quantize(_COLORS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(path, optimize=True)


def main(arguments: list[str] | None = None) -> None:
    """Draw the pictures that are asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("functions", nargs="*", help="functions to draw; all by default")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument(
        "--fit", nargs=2, type=Path, metavar=("H5AD", "MODEL"), help="fit of the mouse cells"
    )
    options = parser.parse_args(arguments)
    PAGE.write_text(page(), encoding="utf-8")
    if options.page:
        return
    import gallery_data
    import matplotlib as mpl

    mpl.use("agg")
    gallery_data.FITTED = options.fit
    PICTURES.mkdir(parents=True, exist_ok=True)
    for picture in pictures():
        if not options.functions or picture.function in options.functions:
            figure = draw(picture, getattr(gallery_data, picture.data)())
            write_png(figure, PICTURES / f"{picture.name}.png")
            print(picture.name)


if __name__ == "__main__":
    main()
