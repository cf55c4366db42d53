"""Results do not depend on the state of the process: torch's defaults, other threads, devices."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback

import leafletfa_scvi as lfa


@contextlib.contextmanager
def changed(default):
    """Within, torch makes tensors of float64, or where nothing can be computed."""
    if default == "device":
        with torch.device("meta"):  # as set_default_device does
            yield
        return
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)


def results(fit, adata, folder, **options):
    """Numbers of every kind: trained, looked up, fitted to new cells, loaded, of a query."""
    new = adata[:20].copy()
    new.obs_names = [f"new {name}" for name in new.obs_names]
    model = fit(adata, 3, max_epochs=3, em_iterations=5, **options)
    model.save(folder, overwrite=True)
    loaded = lfa.LeafletFAModel.load(folder, adata=adata, accelerator="cpu")
    query = lfa.LeafletFAModel.load_query_data(new, folder, accelerator="cpu")
    torch.manual_seed(0)
    query.train(max_epochs=2, enable_progress_bar=False, accelerator="cpu")
    assert {v.dtype for v in model.module.state_dict().values()} == {torch.float32}
    return [
        model.get_splicing_programs(),
        model.get_cell_activities(),
        model.get_cell_activities(new),
        model.get_credible_intervals("phi", adata=new).upper,
        model.get_credible_intervals("psi").lower,
        model.get_normalized_splicing(new, shrink=True),
        model.get_log_likelihood(),
        model.get_concentrations(),
        model.posterior_summary(),
        model.differential_splicing(idx1=list(range(20)), idx2=list(range(20, 60))),
        loaded.get_cell_activities(),
        query.get_cell_activities(),
        pd.Series([model.get_elbo()]),
    ]


@pytest.mark.parametrize("default", ["dtype", "device"])
@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 30, "validation_size": 0.1},
        {"options": {"likelihood": "dirichlet-multinomial", "junction_prior": "junction"}},
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_torchs_defaults_change_nothing(fit, small, tmp_path, default, options):
    want = results(fit, small, tmp_path / "model", **options)
    with changed(default):
        got = results(fit, small, tmp_path / "model", **options)
    for one, other in zip(got, want, strict=True):
        (pd.testing.assert_frame_equal if one.ndim == 2 else pd.testing.assert_series_equal)(
            one, other, check_exact=True
        )


@pytest.mark.filterwarnings("ignore")
def test_threads_train_one_at_a_time(small, clear):
    models, errors = [], []
    for adata in (small, clear):
        lfa.LeafletFAModel.setup_anndata(adata)
        models.append(lfa.LeafletFAModel(adata, 2))

    class Inside(Callback):
        """Uses the model in the thread that trains it."""

        def on_train_epoch_end(self, trainer, pl_module):
            pl_module.module.guide.pi().sample()
            entered.append(threading.get_ident())

    entered = []

    def train(model):
        try:
            model.train(
                max_epochs=20,
                em_iterations=2,
                callbacks=[Inside()],
                accelerator="cpu",
                enable_progress_bar=False,
            )
            model.get_elbo()
        except (RuntimeError, ValueError) as error:
            errors.append(error)

    threads = [threading.Thread(target=train, args=(model,), daemon=True) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert errors == []
    assert sum(a != b for a, b in zip(entered, entered[1:], strict=False)) == 1


@pytest.mark.filterwarnings("ignore")
def test_a_callback_may_use_the_model_and_a_failure_releases_other_threads(fit, small):
    model = fit(small, 2, max_epochs=2)

    class Fails(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            assert np.isfinite(model.get_elbo())
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        model.train(
            max_epochs=2, callbacks=[Fails()], accelerator="cpu", enable_progress_bar=False
        )
    found = []
    thread = threading.Thread(target=lambda: found.append(model.get_elbo()), daemon=True)
    thread.start()
    thread.join(30)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("accelerator", "device", "match"),
    [
        ("cuda", "auto", "no CUDA device"),
        ("gpu", 0, "no GPU"),
        ("mps", "auto", "no Apple GPU"),
        ("quantum", "auto", "'gpu', 'cuda' or 'mps', found 'quantum'"),
        (None, "auto", "'gpu', 'cuda' or 'mps', found None"),
        ("cpu", 0, "no device 0"),
        ("cpu", -1, "no device -1"),
        ("cpu", "first", "no device 'first'"),
    ],
)
def test_a_missing_device_is_named_before_work_begins(
    trained, gaps, tmp_path, monkeypatch, accelerator, device, match
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    where = {"accelerator": accelerator, "device": device}
    with pytest.raises(ValueError, match=match):
        trained.train(accelerator=accelerator, devices=device)
    with pytest.raises(ValueError, match=match):
        lfa.LeafletFAModel.load(tmp_path / "nothing", **where)
    with pytest.raises(ValueError, match=match):
        lfa.LeafletFAModel.load_query_data(gaps, trained, **where)


@pytest.mark.filterwarnings("ignore")
def test_the_settings_of_the_process_are_as_before(fit, small, tmp_path):
    root, signals = logging.getLogger(), list(warnings.filters)

    def state():
        return (
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            np.geterr(),
            dict(matplotlib.rcParams),
            pd.get_option("display.max_rows"),
            list(root.handlers),
            root.level,
            logging.getLogger("leafletfa_scvi").level,
        )

    before = state()
    drawn = np.random.get_state()[1].tolist()  # noqa: NPY002
    lfa.LeafletFAModel.setup_anndata(small)
    model = lfa.LeafletFAModel(small, 2)
    model.train(max_epochs=2, em_iterations=2, accelerator="cpu", enable_progress_bar=False)
    model.export_posterior(small)
    lfa.pl.structure(small)
    lfa.tl.select_n_programs(small, [2], n_seeds=1, progress=False)
    assert np.random.get_state()[1].tolist() == drawn  # noqa: NPY002
    assert list(warnings.filters) == signals
    assert state() == before
