"""Fixtures shared by all tests: a tiny simulated data set and the real data, where present."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before NumPy and torch start their threads: the workers share the cores.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import anndata
import pytest
import torch

from leafletfa_scvi.datasets import simulate_splicing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leafletfa_scvi import LeafletFAModel

if not torch.cuda.is_available():
    # Triton reads this when it is imported, and from then on interprets its kernels.
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_finish() -> None:
    """Leave imported modules out of the garbage collections that making data sets asks for."""
    gc.freeze()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real data; see ``LEAFLETFA_TEST_DATA`` and ``LEAFLETFA_REQUIRE_DATA``."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LEAFLETFA_TEST_DATA", default))
    if not folder.is_dir():
        reason = f"real data are not at {folder}; set LEAFLETFA_TEST_DATA"
        if os.environ.get("LEAFLETFA_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads of torch and the kernels until the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def _chen(data_dir: Path) -> anndata.AnnData:
    return anndata.read_h5ad(data_dir / "chen_mesc.h5ad")


@pytest.fixture
def chen(_chen: anndata.AnnData) -> anndata.AnnData:
    """488 Smart-seq2 mouse cells, 6,187 cassette exons; a mutable copy."""
    return _chen.copy()


@pytest.fixture(scope="session")
def _small() -> anndata.AnnData:
    return simulate_splicing(80, 40, 3, coverage=0.4, seed=1)


@pytest.fixture
def small(_small: anndata.AnnData) -> anndata.AnnData:
    """80 simulated cells, 40 ATSEs, 3 programs, with the truth inside; a mutable copy."""
    return _small.copy()


@pytest.fixture(scope="session")
def fit() -> Callable[..., LeafletFAModel]:
    """Quick fit of a data set: ``fit(adata, n_programs, seed=0, options={...}, **train)``."""
    import scvi

    from leafletfa_scvi import LeafletFAModel

    def fitted(
        adata: anndata.AnnData,
        n_programs: int = 3,
        *,
        seed: int = 0,
        options: dict[str, Any] | None = None,
        **train: Any,
    ) -> LeafletFAModel:
        scvi.settings.seed = seed
        LeafletFAModel.setup_anndata(adata)
        model = LeafletFAModel(adata, n_programs, **(options or {}))
        quick = {"max_epochs": 12, "em_iterations": 30, "accelerator": "cpu"}
        model.train(**{**quick, "enable_progress_bar": False, **train})
        return model

    return fitted
