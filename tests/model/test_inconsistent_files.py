"""Model files that claim more than they hold, or what does not fit together."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import torch

import leafletfa_scvi as lfa

Model = lfa.LeafletFAModel
HUGE = 10**12


@pytest.fixture(scope="module")
def saved(tmp_path_factory, fit):
    """Content of a saved model."""
    folder = tmp_path_factory.mktemp("saved")
    model = fit(lfa.datasets.simulate_splicing(30, 20, 2, seed=3), 2, max_epochs=1)
    model.save(folder / "model")
    return folder / "model" / "model.pt"


@pytest.fixture
def content(saved):
    return torch.load(saved, weights_only=True)


def parts(content):
    registry = content["attr_dict"]["registry_"]
    return {
        "state": content["model_state_dict"],
        "attributes": content["attr_dict"],
        "registry": registry,
        "counts": registry["field_registries"]["X"],
        "arguments": content["attr_dict"]["init_params_"]["non_kwargs"],
    }


def laughs(depth, width):
    value = ["ha"] * width
    for _ in range(depth):
        value = [value] * width
    return value


def text(dtype, values):
    return {"__leafletfa__": "array", "dtype": dtype, "shape": (len(values),), "values": values}


class Call:
    def __init__(self, what, *args):
        self.what, self.args = what, args

    def __reduce__(self):
        return self.what, self.args


PHI, PSI = "_guide.phi_log", "_guide.psi_log_inclusion"
BOMBS = {
    "shape": lambda c: parts(c)["state"].update({PSI: torch.zeros(1).expand(10**6, 10**6)}),
    "shape of the cells": lambda c: (
        parts(c)["state"].update({PHI: torch.zeros(1).expand(HUGE, 2)}),
        parts(c)["counts"]["summary_stats"].update(n_cells=HUGE),
    ),
    "cells": lambda c: parts(c)["counts"]["summary_stats"].update(n_cells=HUGE),
    "junctions": lambda c: parts(c)["counts"]["summary_stats"].update(n_vars=HUGE),
    "programs": lambda c: parts(c)["arguments"].update(n_programs=HUGE),
    "columns": lambda c: parts(c)["arguments"]["columns"].update(
        values=torch.full_like(parts(c)["arguments"]["columns"]["values"], 60)
    ),
    "tensors that share": lambda c: parts(c)["attributes"].update(
        big_=[torch.zeros(10**6).view(1, -1)[0] for _ in range(2)]
        + [torch.zeros(10**6).expand(1000, -1)]
    ),
    "names": lambda c: c.update(var_names=laughs(8, 12)),
    "names of any kind": lambda c: c.update(var_names=[1, 2]),
    "one long name": lambda c: parts(c)["attributes"].update(
        cell_names_=text("<U1000000", ["a"] * 100_000)
    ),
    "lists of lists": lambda c: parts(c)["attributes"].update(more_=laughs(8, 12)),
    "bytes": lambda c: parts(c)["attributes"].update(more_=Call(bytearray, 10**11)),
}


def raw(folder, saved, change):
    """Change the parts of an archive, given as name and bytes."""
    with zipfile.ZipFile(saved) as archive:
        found = {part.filename: archive.read(part) for part in archive.infolist()}
    name = next(name for name in found if name.endswith("data.pkl"))
    found[name] = change(found[name])
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        for part, data in found.items():
            archive.writestr(part, data)


def lists(depth):
    """A pickle of lists within lists, as deep as no function that calls itself can go."""
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


PICKLES = {
    "depth of lists": lambda data: lists(10**5),
    "a list in itself": lambda data: b"\x80\x02]q\x00h\x00a.",
    "tuples as keys": lambda data: b"\x80\x02}" + b")" + b"\x85" * 10**5 + b"K\x01s.",
    "a high memo": lambda data: b"\x80\x02]r\xff\xff\xff\xff.",
    "takes more than there is": lambda data: b"\x80\x02a.",
    "no end": lambda data: data[:-1],
    "more numbers than stored": lambda data: data.replace(b"K\x3dt", b"M\xff\xfft"),
    "long bytes": lambda data: b"\x80\x05\x96" + (10**11).to_bytes(8, "little") + b".",
    "a persistent id of text": lambda data: b"\x80\x02X\x01\x00\x00\x00aQ.",
}

CHILD = textwrap.dedent("""
    import json, pathlib, resource, sys
    import leafletfa_scvi as lfa

    adata = lfa.datasets.simulate_splicing(30, 20, 2, seed=3)
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30,) * 2)
    found = {}
    for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        found[folder.name] = []
        for data in (False, adata.copy()):
            try:
                lfa.LeafletFAModel.load(folder, data)
            except Exception as error:
                found[folder.name].append(f"{type(error).__name__}: {error}")
            else:
                found[folder.name].append("loaded")
    # Not ru_maxrss, in which the kernel counts the process that started this one.
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    found["memory"] = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(json.dumps(found))
""")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_memory_is_not_filled(saved, tmp_path):
    for name, change in BOMBS.items():
        (tmp_path / name).mkdir()
        content = torch.load(saved, weights_only=True)
        change(content)
        torch.save(content, tmp_path / name / "model.pt")
    for name, change in PICKLES.items():
        (tmp_path / name).mkdir()
        raw(tmp_path / name, saved, change)
    (tmp_path / "compressed").mkdir()
    with zipfile.ZipFile(
        tmp_path / "compressed" / "model.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1
    ) as new:
        with zipfile.ZipFile(saved) as old:
            for part in old.infolist():
                new.writestr(part.filename, old.read(part))
        with new.open("archive/data/99", "w", force_zip64=True) as part:
            for _ in range(32):
                part.write(bytes(2**26))
    (tmp_path / "overlap").mkdir()
    overlapping(tmp_path / "overlap" / "model.pt", saved)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("memory") < 2**20 * 1.5  # KiB
    assert len(found) == len(BOMBS) + len(PICKLES) + 2
    for name, messages in found.items():
        print(name, messages[0].replace(str(tmp_path), ""))
        for message in messages:
            assert message.startswith("ValueError: "), (name, message)
            assert str(tmp_path / name / "model.pt") in message, (name, message)
            assert len(message) < 1000, name


def test_names_that_are_not_those_of_the_data(content, tmp_path):
    content["var_names"] = content["var_names"][:-1]
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="60 names for 61 junctions"):
        Model.load(tmp_path, adata=False)


def overlapping(file, saved):
    """An archive many parts of which are the same bytes."""
    with zipfile.ZipFile(saved) as old:
        found = {part.filename: old.read(part) for part in old.infolist()}
    with zipfile.ZipFile(file, "w") as new:
        for name, data in found.items():
            new.writestr(name, data)
        big = zipfile.ZipInfo("archive/data/100")
        new.writestr(big, bytes(2**22))
        for _ in range(500):
            new.filelist.append(big)
        new._didModify = True


WRONG = {
    "missing values": lambda p: p["state"][PSI].view(-1)[:1].fill_(np.nan),
    "infinite or missing": lambda p: p["state"]["_guide.pi_log"].fill_(np.inf),
    "negative values": lambda p: p["state"]["_guide.phi_variance"].fill_(-1.0),
    "values above 1": lambda p: p["state"]["_model.program_mean"].fill_(2.0),
    "torch.int64": lambda p: p["state"].update({PHI: p["state"][PHI].long()}),
    "torch.float64": lambda p: p["state"].update({PHI: p["state"][PHI].double()}),
    "only in the file": lambda p: p["state"].update(more=torch.zeros(2)),
    "is missing, expected": lambda p: p["state"].pop(PHI),
    "fields of its": lambda p: p["counts"]["summary_stats"].update(n_vars=60),
    "fields of its data": lambda p: p["registry"].update(field_registries={}),
    "its data are incomplete": lambda p: p["counts"].pop("data_registry"),
    "no arguments of its setup": lambda p: p["registry"].update(setup_args=3),
    "'labels'": lambda p: p["registry"]["setup_args"].update(labels="a"),
    "'atse_key'": lambda p: p["registry"]["setup_args"].update(atse_key=["a"]),
    "no arguments of the model": lambda p: p["attributes"]["init_params_"].clear(),
    "do not build one": lambda p: p["arguments"].update(likelihood="normal"),
    "do not build": lambda p: p["arguments"].update(concentration="a"),
    "not build one": lambda p: p["arguments"].update(adata=None),
    "'cell_names_'": lambda p: p["attributes"].update(cell_names_=text("|O", ["a"])),
    "'cell_fingerprints_'": lambda p: p["attributes"].update(cell_fingerprints_="a"),
    "'is_trained_'": lambda p: p["attributes"].update(is_trained_="yes"),
    "'history_'": lambda p: p["attributes"].update(history_=[1]),
    "'waypoints_'": lambda p: p["attributes"].update(waypoints_={"cells": "a"}),
    "'atse_codes_'": lambda p: p["attributes"].update(atse_codes_=[0, 1]),
    "'validation_seed_'": lambda p: p["attributes"].update(validation_seed_="a"),
}


@pytest.mark.parametrize("message", WRONG)
def test_parts_that_do_not_fit(content, tmp_path, message):
    WRONG[message](parts(content))
    torch.save(content, tmp_path / "model.pt")
    for adata in (False, lfa.datasets.simulate_splicing(30, 20, 2, seed=3)):
        with pytest.raises(ValueError, match=rf"model\.pt is not a saved LeafletFA.*{message}"):
            Model.load(tmp_path, adata)


@pytest.mark.parametrize("message", ["fields of its data", "no arguments of its setup"])
def test_readers_of_the_registry_alone(content, tmp_path, message):
    WRONG[message](parts(content))
    torch.save(content, tmp_path / "model.pt")
    for read in (Model.load_registry, Model.view_setup_args):
        with pytest.raises(ValueError, match=rf"model\.pt is not a saved LeafletFA.*{message}"):
            read(tmp_path)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_pickle_is_read(fit, tmp_path, protocol):
    model = fit(lfa.datasets.simulate_splicing(30, 20, 2, seed=3), 2, max_epochs=1)
    model.more_ = {"float": 0.5, "long": 2**40, "negative": -3, "none": None, "yes": True}
    model.save(tmp_path / "model", save_kwargs={"pickle_protocol": protocol})
    loaded = Model.load(tmp_path / "model", adata=False)
    assert loaded.more_ == model.more_
    for name, value in model.module.state_dict().items():
        assert torch.equal(loaded.module.state_dict()[name], value)
    with pytest.raises(TypeError, match="_use_new_zipfile_serialization"):
        model.save(tmp_path / "x", save_kwargs={"_use_new_zipfile_serialization": False})
    assert not (tmp_path / "x").exists()


def test_safe_globals_of_other_code_are_refused(content, tmp_path):
    """``torch.serialization.add_safe_globals`` is for all of a process."""
    buffer = io.BytesIO()
    torch.save({**content, "more": Call(print, "ran")}, buffer)
    (tmp_path / "model.pt").write_bytes(buffer.getvalue())
    with torch.serialization.safe_globals([print]):
        with pytest.raises(ValueError, match=r"pickled Python objects \('__builtin__ print'\)"):
            Model.load(tmp_path, adata=False)
