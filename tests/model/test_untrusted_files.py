"""Model files hold no code, and files that do are not run."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from scvi.model.base import BaseModelClass

import leafletfa_scvi as lfa
from leafletfa_scvi.data._model_file import (
    ModelContent,
    from_plain,
    read_model_file,
    to_plain,
    write_model_file,
)

Model = lfa.LeafletFAModel


@pytest.fixture(scope="module")
def model(small_module, fit):
    return fit(small_module, 2, max_epochs=1)


@pytest.fixture(scope="module")
def small_module():
    return lfa.datasets.simulate_splicing(30, 20, 2, seed=3)


class Code:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.write_text, (self.mark, "ran")


class Reduced(Code):
    """The same by ``exec``."""

    def __reduce__(self):
        return exec, (f"open({str(self.mark)!r}, 'w').write('ran')",)


class WithState(Code):
    """The same by the state of an object."""

    def __reduce__(self):
        return list, (), None, iter([Reduced(self.mark)])


def content(model) -> dict:
    """Content of a file saved by scvi-tools."""
    attributes = {k: v for k, v in vars(model).items() if k.endswith("_")}
    return {
        "model_state_dict": dict(model.module.state_dict()),
        "var_names": model.junction_names,
        "attr_dict": attributes,
    }


def pickled(model, file, **parts):
    torch.save({**content(model), **parts}, file)


def in_top(model, file, mark):
    pickled(model, file, optimizer=Reduced(mark))


def in_state(model, file, mark):
    state = {**model.module.state_dict(), "pyro_param_store": {"params": Code(mark)}}
    pickled(model, file, model_state_dict=state)


def in_attributes(model, file, mark):
    pickled(model, file, attr_dict={**content(model)["attr_dict"], "history_": Reduced(mark)})


def in_registry(model, file, mark):
    attributes = content(model)["attr_dict"]
    registry = {**attributes["registry_"], "setup_args": {"atse_key": Code(mark)}}
    pickled(model, file, attr_dict={**attributes, "registry_": registry})


def in_object_array(model, file, mark):
    names = np.empty(1, object)
    names[0] = WithState(mark)
    pickled(model, file, var_names=names)


def in_new_format(model, file, mark):
    parts = {"leafletfa_format": 1, "attr_dict": {"registry_": {}, "init_params_": Code(mark)}}
    pickled(model, file, **parts)


def in_old_torch_format(model, file, mark):
    torch.save({**content(model), "x": Code(mark)}, file, _use_new_zipfile_serialization=False)


def in_plain_pickle(model, file, mark):
    file.write_bytes(pickle.dumps({**content(model), "x": Reduced(mark)}, protocol=4))


def in_tar(model, file, mark):
    with tarfile.open(file, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(Code(mark), protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def in_a_second_part(model, file, mark):
    model.save(file.parent / "good")
    file.write_bytes((file.parent / "good" / "model.pt").read_bytes())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(Code(mark), protocol=2))


def in_torchscript(model, file, mark):
    torch.jit.script(torch.nn.Linear(2, 2)).save(file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("model/extra.pkl", pickle.dumps(Code(mark), protocol=2))


def in_compressed_parts(model, file, mark):
    buffer = io.BytesIO()
    torch.save({**content(model), "x": Code(mark)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(file, "w") as new:
        for part in old.infolist():
            new.writestr(part.filename, old.read(part), zipfile.ZIP_DEFLATED)


def behind_a_link(model, file, mark):
    target = file.with_name("elsewhere.pt")
    in_top(model, target, mark)
    file.symlink_to(target)


HOSTILE = [
    in_top,
    in_state,
    in_attributes,
    in_registry,
    in_object_array,
    in_new_format,
    in_old_torch_format,
    in_plain_pickle,
    in_tar,
    in_a_second_part,
    in_torchscript,
    in_compressed_parts,
    behind_a_link,
]
ENTRIES = {
    "load": lambda folder, adata: Model.load(folder, adata),
    "load without data": lambda folder, adata: Model.load(folder, adata=False),
    "load_query_data": lambda folder, adata: Model.load_query_data(adata, str(folder)),
    "prepare_query_anndata": lambda folder, adata: Model.prepare_query_anndata(adata, folder),
    "load_registry": lambda folder, adata: Model.load_registry(folder),
    "view_setup_args": lambda folder, adata: Model.view_setup_args(folder),
}


@pytest.mark.parametrize("hide", HOSTILE)
def test_code_in_a_file_is_not_run(model, small_module, tmp_path, hide):
    mark = tmp_path / "mark"
    hide(model, tmp_path / "model.pt", mark)
    for name, enter in ENTRIES.items():
        with pytest.raises(ValueError, match=r"model\.pt"):
            enter(tmp_path, small_module.copy())
        assert not mark.exists(), name


@pytest.mark.parametrize("hide", [in_top, in_old_torch_format])
def test_trusted_files_do_run_code(model, tmp_path, hide):
    """Otherwise the test above would show nothing."""
    mark = tmp_path / "mark"
    hide(model, tmp_path / "model.pt", mark)
    Model.load(tmp_path, adata=False, trust=True)
    assert mark.exists()


def test_converting_old_saves_is_refused(model, tmp_path):
    with pytest.raises(NotImplementedError, match="nothing to convert"):
        model.convert_legacy_save(tmp_path, tmp_path / "out")


def test_data_beside_a_model_run_no_code(model, tmp_path):
    model.save(tmp_path / "model")
    mark = tmp_path / "mark"
    data = tmp_path / "model" / "adata.h5ad"
    data.write_bytes(pickle.dumps(Code(mark)))
    with pytest.raises(ValueError, match=r"adata\.h5ad cannot be read"):
        Model.load(tmp_path / "model")
    model.adata.write_h5ad(data)
    with h5py.File(data, "a") as file:
        file["uns/pickle"] = np.void(pickle.dumps(Code(mark)))
    Model.load(tmp_path / "model")
    assert not mark.exists()


class TestEarlierSaves:
    @pytest.fixture
    def folder(self, model, tmp_path):
        BaseModelClass.save(model, tmp_path / "old", save_anndata=True)
        return tmp_path / "old"

    def test_they_are_refused(self, folder):
        with pytest.raises(ValueError, match=r"can run any code.*trust=True"):
            Model.load(folder)

    def test_they_are_read_if_trusted(self, model, folder, small_module):
        loaded = Model.load(folder, trust=True)
        pd.testing.assert_frame_equal(
            loaded.get_splicing_programs(), model.get_splicing_programs()
        )
        pd.testing.assert_frame_equal(loaded.get_cell_activities(), model.get_cell_activities())
        Model.load_query_data(small_module.copy(), str(folder), trust=True)
        Model.prepare_query_anndata(small_module.copy(), str(folder), trust=True)
        assert Model.load_registry(folder, trust=True)["model_name"] == "LeafletFAModel"
        Model.view_setup_args(folder, trust=True)
        loaded.save(folder, overwrite=True)
        Model.load(folder, adata=False)


class TestDamaged:
    @pytest.fixture
    def file(self, model, tmp_path):
        model.save(tmp_path / "model")
        return tmp_path / "model" / "model.pt"

    @pytest.mark.parametrize("seed", range(20))
    def test_a_damaged_file_is_named(self, file, seed):
        rng = np.random.default_rng(seed)
        data = bytearray(file.read_bytes())
        if seed % 2:
            data = data[: rng.integers(len(data))]
        else:
            # Within the pickle or a tensor; bytes of padding between the parts mean nothing.
            with zipfile.ZipFile(file) as archive:
                part = rng.choice([one for one in archive.infolist() if one.file_size > 8])
            start = part.header_offset + 30
            start += sum(struct.unpack("<HH", data[start - 4 : start]))
            data[start + rng.integers(part.file_size)] ^= 1 << rng.integers(8)
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r"model\.pt is (damaged|not a saved model)"):
            Model.load(file.parent, adata=False)

    @pytest.mark.parametrize("text", [b"", b"a text", b"\x80\x02}q\x00."])
    def test_another_file(self, file, text):
        file.write_bytes(text)
        for trust in (False, True):
            with pytest.raises(ValueError, match=r"model\.pt is (damaged|not a saved model)"):
                Model.load(file.parent, adata=False, trust=trust)

    def altered(self, file, change):
        content = torch.load(file, weights_only=True)
        change(content)
        torch.save(content, file)

    def test_a_newer_format(self, file):
        self.altered(file, lambda content: content.update(leafletfa_format=2))
        with pytest.raises(ValueError, match=r"format 2.*reads up to 1: update"):
            Model.load(file.parent, adata=False)

    @pytest.mark.parametrize("key", ["model_state_dict", "var_names", "attr_dict"])
    def test_a_part_is_missing(self, file, key):
        self.altered(file, lambda content: content.pop(key))
        with pytest.raises(ValueError, match=r"not a saved model: it lacks"):
            Model.load(file.parent, adata=False)

    def test_a_parameter_is_missing_or_of_another_shape(self, file):
        name = "_guide.pi_log"
        self.altered(file, lambda c: c["model_state_dict"].update({name: torch.zeros(7)}))
        with pytest.raises(ValueError, match=r"'_guide.pi_log' has the shape \(7,\)"):
            Model.load(file.parent, adata=False)
        self.altered(file, lambda c: c["model_state_dict"].pop(name))
        with pytest.raises(ValueError, match=r"parameter '_guide.pi_log'"):
            Model.load(file.parent, adata=False)

    def test_attributes_that_would_replace_methods(self, file):
        self.altered(file, lambda content: content["attr_dict"].update(train="x"))
        with pytest.raises(ValueError, match="attribute 'train'"):
            Model.load(file.parent, adata=False)

    def test_another_class(self, file):
        self.altered(file, lambda c: c["attr_dict"]["registry_"].update(model_name="SCVI"))
        with pytest.raises(ValueError, match="names the model 'SCVI'"):
            Model.load(file.parent, adata=False)


class TestContent:
    def test_new_files_are_read_with_weights_only(self, model, tmp_path):
        model.save(tmp_path / "model")
        content = torch.load(tmp_path / "model" / "model.pt", weights_only=True)
        assert content["leafletfa_format"] == 1
        assert list(content["var_names"]) == list(model.junction_names)

    def test_scvi_tools_can_read_the_file(self, model, tmp_path):
        """By the reader that its hub uses for the metadata of a model."""
        model.save(tmp_path / "model")
        found = BaseModelClass.load_registry(str(tmp_path / "model"))
        assert found["model_name"] == "LeafletFAModel"
        assert found["scvi_version"] == scvi.__version__

    @pytest.mark.parametrize(
        "value",
        [
            np.arange(6, dtype=np.uint64).reshape(2, 3),
            np.array(2.5),
            np.array([True, False]),
            np.zeros((0, 3), np.int32),
            np.array(["a", "bc"]),
            np.array(["a", "bc"], dtype=object),
            np.array(["a", None, 1.5], dtype=object),
            np.array([1, 2], dtype=">i4"),
            np.array([0.1, np.nan], dtype=np.float16),
        ],
    )
    def test_arrays_come_back_as_they_were(self, value, tmp_path):
        found = self.through(value, tmp_path)
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)

    def test_tables_come_back_as_they_were(self, tmp_path):
        index = pd.RangeIndex(2, name="epoch")
        table = pd.DataFrame({"loss": [1.5, 2.5], "n": [1, 2], "name": ["a", "b"]}, index)
        found = self.through({"history": table, "one": table["loss"]}, tmp_path)
        pd.testing.assert_frame_equal(found["history"], table, check_index_type=False)
        pd.testing.assert_series_equal(found["one"], table["loss"], check_index_type=False)

    def test_nested_values_come_back_as_they_were(self, tmp_path):
        value = {"a": [1, 2.5, None], "b": ("x", True), 3: {"c": np.int64(4)}}
        assert self.through(value, tmp_path) == value

    @pytest.mark.parametrize(
        "value", [object(), {1.5: 1}, np.array([object()]), np.array([1j]), print, {"a": {1, 2}}]
    )
    def test_other_values_are_refused_by_name(self, value):
        with pytest.raises(TypeError, match="some_"):
            to_plain(value, "some_")

    def through(self, value, folder):
        content = ModelContent({}, np.array(["j"]), {"x_": value, "registry_": {}})
        content.attributes["init_params_"] = {}
        write_model_file(folder / "model.pt", content)
        return read_model_file(folder / "model.pt").attributes["x_"]

    def test_an_unknown_tag_is_refused(self):
        with pytest.raises(ValueError, match="'code'"):
            from_plain({"__leafletfa__": "code"})


def test_the_users_data_do_not_change(model, tmp_path):
    model.adata.obs["text"] = "x"
    model.save(tmp_path / "model", save_anndata=True)
    assert not isinstance(model.adata.obs["text"].dtype, pd.CategoricalDtype)
    assert anndata.read_h5ad(tmp_path / "model" / "adata.h5ad").obs["text"].dtype == "category"
    del model.adata.obs["text"]
