from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

import leafletfa_scvi as lfa


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def record(values, name) -> pd.DataFrame:
    index = pd.Index(range(len(values)), name="epoch")
    return pd.DataFrame({name: pd.Series(values, index=index, dtype=object)})


def em_record(values) -> pd.DataFrame:
    return pd.DataFrame({"em_objective": values}).rename_axis("cycle")


def percent(ax) -> dict[str, float]:
    """Labels of the axis on the right, and where they are on the left one."""
    ax.figure.canvas.draw()
    (right,) = ax.child_axes
    transform = right.transData + ax.transData.inverted()
    places = right.get_yticks()
    at = transform.transform(np.column_stack([np.zeros(len(places)), places]))[:, 1]
    texts = [t.get_text().replace("\N{MINUS SIGN}", "-") for t in right.get_yticklabels()]
    return dict(zip(texts, at, strict=True))


def test_losses_have_a_panel_each_and_the_lowest_held_out_loss_a_mark():
    train, held_out = [9.0, 5.0, 4.0, 3.5], [3.0, 2.0, 2.5, np.nan]
    model = SimpleNamespace(
        history={
            "elbo_train": record(train, "elbo_train"),
            "reconstruction_loss_validation": record(held_out, "reconstruction_loss_validation"),
        }
    )
    panels = lfa.pl.history(model, title="Fit")
    assert list(panels) == ["training", "held_out"]
    above, below = panels.values()
    assert above.figure.get_suptitle() == "Fit"
    assert above.lines[0].get_ydata().tolist() == train
    assert below.lines[0].get_ydata().tolist() == held_out[:3]
    assert below.lines[1].get_xydata().tolist() == [[1, 2.0]]
    assert [t.get_text() for t in below.get_legend().get_texts()] == ["lowest, 2 at epoch 1"]
    assert above.get_ylabel() == "training loss:\nnegative ELBO (nats)"
    assert below.get_ylabel() == "held-out loss\n(nats per entry)"
    assert (above.get_xlabel(), below.get_xlabel()) == ("", "epoch")
    assert above.get_xlim() == below.get_xlim()

    alone = lfa.pl.history(model, validation_key=None)
    assert len(alone.figure.axes) == 1
    assert alone.get_xlabel() == "epoch"


def test_a_small_change_does_not_fill_the_axes():
    ax = lfa.pl.history({"elbo_train": record([1003.0, 1001.0, 1000.0], "elbo_train")})
    low, high = ax.get_ylim()
    assert 0.2 < 3 / (high - low) < 0.3  # 0.3 of 1 %, and margins
    large = lfa.pl.history({"elbo_train": record([1500.0, 1000.0], "elbo_train")})
    low, high = large.get_ylim()
    assert 500 / (high - low) > 0.85


def test_the_axis_on_the_right_is_the_difference_from_the_end_in_percent():
    ax = lfa.pl.history({"elbo_train": record([220.0, 210.0, 200.0], "elbo_train")})
    ticks = percent(ax)
    assert len(ticks) > 2
    assert {text[0] for text in ticks} == {"0", "+", "-"}
    assert [*ticks.values()] == pytest.approx([200 + 2 * float(text) for text in ticks])
    assert ax.child_axes[0].get_ylabel() == "difference\nfrom the end (%)"
    rising = percent(lfa.pl.history({"em_objective": em_record([-300.0, -200.0])}))
    assert [*rising.values()] == pytest.approx([-200 + 2 * float(text) for text in rising])


def test_an_anndata_has_the_history_of_the_model(small, fit):
    model = fit(small, 2)
    model.export_posterior(small)
    expected = model.history["elbo_train"].iloc[:, 0].to_numpy(float)
    for source in (small, model):
        line = lfa.pl.history(source).lines[0]
        np.testing.assert_allclose(line.get_ydata(), expected)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(12))
    (line,) = lfa.pl.history(small, train_key="em_objective").lines
    np.testing.assert_array_equal(
        line.get_ydata(), model.history["em_objective"]["em_objective"].astype(float)
    )
    with pytest.raises(KeyError, match=r"'em_objective'\], found 'loss'"):
        lfa.pl.history(small, train_key="loss")


def test_an_anndata_without_a_history():
    adata = ad.AnnData(np.zeros((2, 2)))
    with pytest.raises(KeyError, match=r"found no keys in adata.uns. Call model.export_posterior"):
        lfa.pl.history(adata)
    adata.uns["leafletfa"] = {"elbo_history": np.zeros(0)}
    with pytest.raises(ValueError, match=r"empty one\. Pass the model"):
        lfa.pl.history(adata)


def test_an_anndata_of_em_alone():
    adata = ad.AnnData(np.zeros((2, 2)))
    adata.uns["leafletfa"] = {"elbo_history": np.zeros(0), "em_objective": [-9.0, -5.0, -4.0]}
    ax = lfa.pl.history(adata)
    assert ax.lines[0].get_xydata().tolist() == [[0, -9], [1, -5], [2, -4]]
    assert ax.get_xlabel() == "cycle of EM"


def test_a_mapping_and_axes(tmp_path):
    _, ax = plt.subplots()
    assert lfa.pl.history({"loss": record([2e5], "loss")}, train_key="loss", ax=ax) is ax
    assert ax.lines[0].get_xydata().tolist() == [[0, 2e5]]
    assert ax.lines[0].get_marker() == "o"
    both = {
        "elbo_train": record([2.0, 1.0], "elbo_train"),
        "reconstruction_loss_validation": record([4.0, 3.0], "reconstruction_loss_validation"),
    }
    _, ax = plt.subplots()
    assert lfa.pl.history(both, ax=ax) is ax
    _, pair = plt.subplots(2)
    panels = lfa.pl.history(both, ax=pair)
    assert [panels["training"], panels["held_out"]] == list(pair)
    with pytest.raises(ValueError, match=r"one Axes, or 2 \(training, held_out\), found 3"):
        lfa.pl.history(both, ax=plt.subplots(3)[1])
    figure = lfa.pl.history(both, figsize=(4, 5), return_fig=True, save=tmp_path / "a.svg")
    np.testing.assert_array_equal(figure.get_size_inches(), [4, 5])
    assert "held-out loss</text>" in (tmp_path / "a.svg").read_text()


def test_an_untrained_model_is_refused():
    with pytest.raises(ValueError, match=r"found no history. Call model.train"):
        lfa.pl.history(SimpleNamespace(history=None))
    with pytest.raises(KeyError, match=r"one of \['other'\], found 'elbo_train'"):
        lfa.pl.history({"other": record([1.0], "other")})


def test_the_objective_of_em_rises_by_cycle():
    objective = [-3e4, -2e4, -1.9e4]
    ax = lfa.pl.history(SimpleNamespace(history={"em_objective": em_record(objective)}))
    assert ax.lines[0].get_ydata().tolist() == objective
    assert ax.get_xlabel() == "cycle of EM"
    assert ax.get_ylabel() == "EM objective:\nlog posterior (nats)"
    with pytest.raises(KeyError, match=r"one of \['em_objective'\], found 'elbo_train'"):
        lfa.pl.history({"em_objective": em_record(objective)}, train_key="elbo_train")


def test_of_both_the_loss_is_drawn_or_em_on_request():
    both = {
        "elbo_train": record([9.0, 5.0], "elbo_train"),
        "em_objective": em_record([-7.0, -6.0, -5.5]),
        "reconstruction_loss_validation": record([3.0, 2.0], "reconstruction_loss_validation"),
    }
    assert lfa.pl.history(both)["training"].lines[0].get_ydata().tolist() == [9.0, 5.0]
    ax = lfa.pl.history(both, train_key="em_objective")  # held-out losses go by epoch
    assert ax.lines[0].get_ydata().tolist() == [-7.0, -6.0, -5.5]
