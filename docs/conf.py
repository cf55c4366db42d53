"""Configuration of Sphinx."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent

# The tutorials live beside the package; Sphinx reads only what is below its source folder.
shutil.copytree(HERE.parent / "tutorials", HERE / "generated" / "tutorials", dirs_exist_ok=True)

project = "leafletfa-scvi"
author = "The leafletfa-scvi developers"
copyright = f"2026, {author}"
try:
    version = release = metadata.version("leafletfa-scvi")
except metadata.PackageNotFoundError:
    version = release = "unreleased"

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
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
templates_path = ["_templates"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_ivar = True
napoleon_use_rtype = False
typehints_document_rtype_none = False
typehints_defaults = "comma"
always_use_bars_union = True

# Inventories of other projects are optional: without a network the build must not fail.
intersphinx_mapping = {}
suppress_warnings = ["myst.header"]

html_theme = "sphinx_book_theme"
html_title = "leafletfa-scvi"
html_theme_options = {"show_navbar_depth": 2, "use_download_button": False}


def skip_foreign(app, what, name, obj, skip, options):
    """Document what this package defines, mixins included, not what frameworks add to it."""
    function = getattr(obj, "fget", None) or getattr(obj, "__func__", obj)
    module = getattr(function, "__module__", None) or ""
    if not module.startswith("leafletfa_scvi"):
        return True
    return skip


def setup(app):
    app.connect("autodoc-skip-member", skip_foreign)
