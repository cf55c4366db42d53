"""A small cohort, its fit, the page about it, and a browser, made once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from helpers.browser import Browser, installed
from helpers.pages import read_page

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData
    from helpers.pages import ReadPage

HOSTILE = ("<script>alert(1)</script>", '</script><b onclick="x">', "$\\frac{1}$ & {{ 7 * 7 }}")
"""Names that would be markup, attributes, formulas or templates if they were not escaped."""


@dataclass(frozen=True)
class Reported:
    """A fit, and the page about it."""

    adata: AnnData
    model: lfa.LeafletFAModel
    text: str
    page: ReadPage
    progress: list[tuple[str, int, int | None]]


@pytest.fixture(scope="session")
def fitted() -> tuple[AnnData, lfa.LeafletFAModel]:
    """6 donors, three groups with hostile names, and a fit of 2 programs."""
    adata = lfa.datasets.simulate_cohort(
        (3, 3), n_cells=150, n_atses=60, n_programs=3, coverage=0.6, shift=0.6, seed=1
    )
    codes = adata.obsm["phi_true"].argmax(1)
    adata.obs["kind"] = pd.Categorical.from_codes(codes, list(HOSTILE))
    adata.obs["donor"] = adata.obs["donor"].astype(str) + "<i>"
    adata.var["gene_name"] = adata.var["gene_id"].astype(str) + "<u>"
    adata.obsm["X_umap"] = adata.obsm["phi_true"][:, :2].copy()
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=2)
    model.train(method="em", accelerator="cpu")
    model.export_posterior(adata)
    return adata, model


@pytest.fixture(scope="session")
def reported(fitted, tmp_path_factory) -> Reported:
    adata, model = fitted
    seen: list[tuple[str, int, int | None]] = []
    path: Path = lfa.report(
        adata,
        tmp_path_factory.mktemp("report") / "page.html",
        model=model,
        groupby="kind",
        sample_key="donor",
        n_graphs=2,
        max_rows=40,
        progress=lambda *step: seen.append(step),
    )
    text = path.read_text(encoding="utf-8")
    return Reported(adata, model, text, read_page(text), seen)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; see ``LEAFLETFA_REQUIRE_BROWSER``."""
    found = installed()
    if found is None:
        reason = "chromium and chromedriver are not both on PATH"
        if os.environ.get("LEAFLETFA_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    browser = Browser(*found)
    yield browser
    browser.driver.quit()
