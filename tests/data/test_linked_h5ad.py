"""Files of data that show more than they hold."""

from __future__ import annotations

import os
import re

import anndata
import h5py
import numpy as np
import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi.data._h5ad import read_h5ad
from leafletfa_scvi.model import _persistence

LAYER = "layers/cell_by_junction_matrix"


@pytest.fixture
def file(tmp_path):
    adata = lfa.datasets.simulate_splicing(20, 10, 2, seed=0)
    adata.layers["dense"] = adata.layers["cell_by_junction_matrix"].toarray()
    adata.write_h5ad(tmp_path / "adata.h5ad", compression="gzip")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.arange(20.0)
    (tmp_path / "text").write_bytes(bytes(200))
    return tmp_path / "adata.h5ad"


def external_link(file):
    file["obs/secret"] = h5py.ExternalLink("other.h5", "secret")


def soft_link(file):
    file["obsm/again"] = h5py.SoftLink("/layers/dense")


def link_to_nothing(file):
    file["obsm/again"] = h5py.SoftLink("/nowhere")


def circle(file):
    file["uns/circle"] = file["uns"]


def soft_circle(file):
    file["uns/circle"] = h5py.SoftLink("/uns")


def twice(file):
    file["layers/again"] = file["layers/dense"]


def virtual(file):
    layout = h5py.VirtualLayout((20,), np.float64)
    layout[:] = h5py.VirtualSource("other.h5", "secret", (20,))
    file.create_virtual_dataset("obs/secret", layout)


def raw_bytes(file):
    file.create_dataset("obs/secret", (20,), np.float64, external=[("text", 0, 160)])


def never_written(file):
    file.create_dataset("uns/large", (2**36,), np.float64, chunks=(2**20,))


def contiguous(file):
    file.create_dataset("uns/large", (2**36,), np.float64)


KINDS = [
    external_link,
    soft_link,
    link_to_nothing,
    circle,
    soft_circle,
    twice,
    virtual,
    raw_bytes,
    never_written,
    contiguous,
]


@pytest.mark.parametrize("change", KINDS)
def test_unsafe_parts_are_refused(file, change):
    with h5py.File(file, "a") as h5:
        change(h5)
    with pytest.raises(
        ValueError, match=r"(?s)/(obs|obsm|uns|layers)/(secret|again|circle|large|dense)"
    ):
        read_h5ad(file)
    with pytest.raises(ValueError, match=re.escape(f"{file} cannot be read as an .h5ad file")):
        _persistence._saved_data(file)


def test_pipes_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "adata.h5ad")
    with pytest.raises(ValueError, match=r"adata\.h5ad is a named pipe"):
        _persistence._saved_data(tmp_path / "adata.h5ad")


def test_a_broken_link_is_reported(tmp_path):
    (tmp_path / "adata.h5ad").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"There is no file .*adata\.h5ad"):
        _persistence._saved_data(tmp_path / "adata.h5ad")


def test_files_written_by_anndata_are_read(tmp_path):
    adata = lfa.datasets.simulate_splicing(20, 10, 2, seed=0)
    adata.obs["kind"] = ["a", "b"] * 10
    adata.raw = adata.copy()
    adata.obsp["near"] = adata.layers["cell_by_junction_matrix"] @ (
        adata.layers["cell_by_junction_matrix"].T
    )
    adata.uns["nested"] = {"a": {"b": np.zeros((0, 3)), "c": "text"}, "empty": {}}
    adata.layers["zeros"] = np.zeros(adata.shape)
    for options in ({}, {"compression": "gzip"}, {"compression": "lzf"}):
        adata.write_h5ad(tmp_path / "a.h5ad", **options)
        found, want = read_h5ad(tmp_path / "a.h5ad"), anndata.read_h5ad(tmp_path / "a.h5ad")
        assert str(found) == str(want)
        assert found.obs["kind"].tolist() == want.obs["kind"].tolist()
