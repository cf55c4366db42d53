"""Configuration of Sphinx."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent

# The tutorials live beside the package; Sphinx reads only what is below its source folder.
shutil.copytree(HERE.parent / "tutorials", HERE / "generated" / "tutorials", dirs_exist_ok=True)

project = "leafletfa-scvi"
author = "The leafletfa-scvi developers"
copyright = f"2026, {author}"
try:
    release = version("leafletfa-scvi")
except PackageNotFoundError:
    release = "unreleased"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
]

root_doc = "index"
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
templates_path = ["_templates"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False
typehints_defaults = "comma"
always_use_bars_union = True

# Inventories of other projects are optional: without a network the build must not fail.
intersphinx_mapping = {}
suppress_warnings = ["myst.header"]

html_theme = "sphinx_book_theme"
html_title = "leafletfa-scvi"
html_theme_options = {"show_navbar_depth": 2, "use_download_button": False}
