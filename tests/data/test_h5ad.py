"""Files of data are as anndata writes them, and a disk that is full is an error."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import leafletfa_scvi as lfa
from leafletfa_scvi.data._h5ad import write_h5ad

FULL = textwrap.dedent("""
    import pathlib, resource, signal, sys
    import leafletfa_scvi as lfa
    from leafletfa_scvi.data._h5ad import write_h5ad

    adata = lfa.datasets.simulate_splicing(n_cells=500, n_atses=50, n_programs=2, seed=0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for size in map(int, sys.argv[2:]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            write_h5ad(adata, pathlib.Path(sys.argv[1]))
        except OSError as error:
            print(f"{error.strerror}: {error.filename}")
    del adata
""")


@pytest.fixture
def adata():
    adata = lfa.datasets.simulate_splicing(n_cells=20, n_atses=5, n_programs=2, seed=0)
    adata.obs["text"] = ["a", "b"] * 10
    adata.obs["gaps"] = pd.Series(["a", None] * 10, dtype=object).to_numpy()
    adata.raw = adata.copy()
    return adata


def test_the_file_equals_that_of_anndata(adata, tmp_path):
    before = adata.obs.copy()
    write_h5ad(adata, tmp_path / "ours.h5ad", compression="gzip")
    pd.testing.assert_frame_equal(adata.obs, before)
    adata.write_h5ad(tmp_path / "theirs.h5ad")
    ours, theirs = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("ours", "theirs"))
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    pd.testing.assert_frame_equal(ours.var, theirs.var)
    assert ours.uns.keys() == theirs.uns.keys()
    for name in theirs.layers:
        assert (ours.layers[name] != theirs.layers[name]).nnz == 0
    assert ours.raw.shape == theirs.raw.shape
    np.testing.assert_array_equal(ours.obsm["phi_true"], theirs.obsm["phi_true"])


def test_an_empty_sparse_x(tmp_path):
    adata = anndata.AnnData(sp.csr_matrix((3, 2), dtype=np.float32))
    write_h5ad(adata, tmp_path / "data.h5ad")
    assert anndata.read_h5ad(tmp_path / "data.h5ad").X.nnz == 0


@pytest.mark.parametrize("raw", [True, False])
def test_files_can_be_read_in_backed_mode(adata, tmp_path, raw):
    if not raw:
        adata.raw = None
    write_h5ad(adata, tmp_path / "data.h5ad")
    backed = anndata.read_h5ad(tmp_path / "data.h5ad", backed="r+")
    assert (backed.raw is not None) == raw
    write_h5ad(backed, tmp_path / "again.h5ad")
    again = anndata.read_h5ad(tmp_path / "again.h5ad")
    assert (again.X != adata.X).nnz == 0
    assert (again.raw is not None) == raw


def test_a_full_disk_raises_an_os_error(tmp_path):
    path, sizes = tmp_path / "data.h5ad", ["0", "100", "5000", "40000"]
    args = [sys.executable, "-W", "ignore", "-c", FULL, str(path), *sizes]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"File too large: {path}\n" * len(sizes)
    assert done.stderr == ""


def test_unknown_options_are_refused(adata, tmp_path):
    with pytest.raises(TypeError, match="as_dense"):
        write_h5ad(adata, tmp_path / "data.h5ad", as_dense="X")
