"""Activity of splicing factors: planted factors, values by hand, blocks, what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit

import leafletfa_scvi as lfa
from leafletfa_scvi.tl import _factor_activity

N_CELLS, N_ATSES = 160, 90


@pytest.fixture(scope="module")
def planted(fit):
    """Two factors of 20 ATSEs each, active in their own cells; model, activities and networks.

    ATSEs have an inclusion and an exclusion junction. A factor raises inclusion of half of its
    targets and lowers that of the others.
    """
    rng = np.random.default_rng(0)
    activity = pd.DataFrame(
        {"A": (np.arange(N_CELLS) % 2).astype(float), "B": (np.arange(N_CELLS) < 80).astype(float)}
    )
    sign = np.zeros((2, N_ATSES))
    sign[0, :20], sign[1, 20:40] = np.tile([1, -1], 10), np.tile([-1, 1], 10)
    psi = expit(rng.normal(0, 0.7, N_ATSES) + 2.0 * (activity.to_numpy() - 0.5) @ sign)
    total = rng.poisson(5, (N_CELLS, N_ATSES))
    inclusion = rng.binomial(total, psi)
    counts = np.stack([inclusion, total - inclusion], 2).reshape(N_CELLS, -1)
    var = pd.DataFrame(
        {"atse_id": np.repeat([f"ATSE_{i}" for i in range(N_ATSES)], 2)},
        index=[f"E{i}:{form}" for i in range(N_ATSES) for form in ("inclusion", "exclusion")],
    )
    obs = pd.DataFrame(index=[f"cell_{c}" for c in range(N_CELLS)])
    adata = lfa.pp.splicing_from_counts(counts, var.pop("atse_id"), obs=obs, var=var)
    model = fit(adata, 4, max_epochs=40)
    rows = [
        (name, f"E{i}:inclusion", sign[k, i])
        for k, name in enumerate("AB")
        for i in np.flatnonzero(sign[k])
    ]
    rows += [("decoy", f"E{i}:inclusion", (-1.0) ** i) for i in range(40, 60)]
    net = pd.DataFrame(rows, columns=["source", "target", "weight"])
    return model, activity.set_axis(obs.index), net


@pytest.mark.parametrize("method", ["ulm", "mlm", "zscore"])
def test_planted_factors_are_active_in_their_cells(planted, method):
    model, activity, net = planted
    scores = lfa.tl.factor_activity(model, net, method)
    assert list(scores.columns) == ["A", "B", "decoy"]
    assert list(scores.index) == list(model.cell_names_)
    shift = {}
    for factor in scores:
        for other in activity:
            active, rest = (scores[factor][activity[other] == x] for x in (1, 0))
            shift[factor, other] = active.mean() - rest.mean()
            if factor == other:
                area = stats.mannwhitneyu(active, rest).statistic / (N_CELLS / 2) ** 2
                assert area > 0.95
                assert active.mean() > 0 > rest.mean()
    for factor, other in (("A", "B"), ("B", "A"), ("decoy", "A"), ("decoy", "B")):
        assert abs(shift[factor, other]) < 0.1 * shift[other, other]


def test_scores_by_hand(planted):
    model, _, net = planted
    for shrink in (True, False):
        scores = lfa.tl.factor_activity(model, net, shrink=shrink)
        value = logit(model.get_normalized_splicing(shrink=shrink).clip(0.01, 0.99).astype(float))
        value -= value.mean()
        weights = net.pivot(index="target", columns="source", values="weight")
        weights = weights.reindex(value.columns).fillna(0)
        for cell in ("cell_3", "cell_158"):
            for factor in scores:
                fit = stats.linregress(weights[factor], value.loc[cell])
                np.testing.assert_allclose(scores[factor][cell], fit.slope / fit.stderr, rtol=1e-4)


def test_signs_of_weights_and_of_the_junction(planted):
    model, _, net = planted
    scores = lfa.tl.factor_activity(model, net)
    reverse = lfa.tl.factor_activity(model, net.assign(weight=-net["weight"]))
    np.testing.assert_allclose(scores, -reverse)
    excluded = net.assign(target=net["target"].str.replace("inclusion", "exclusion"))
    other = lfa.tl.factor_activity(model, excluded)
    assert np.corrcoef(scores["A"], other["A"])[0, 1] < -0.99


@pytest.mark.parametrize("method", ["ulm", "mlm", "zscore"])
def test_blocks_of_cells_give_the_same_scores(planted, monkeypatch, method):
    model, _, net = planted
    want = lfa.tl.factor_activity(model, net, method)
    monkeypatch.setattr(_factor_activity, "_BLOCK", 7 * 2 * N_ATSES)
    pd.testing.assert_frame_equal(lfa.tl.factor_activity(model, net, method), want, rtol=1e-5)


def test_events(planted):
    """An event with one junction for each form has its own logit PSI."""
    model, activity, net = planted
    names = [f"E{i}" for i in range(N_ATSES)]
    events = pd.DataFrame(
        {
            "inclusion_junctions": [f"{n}:inclusion" for n in names],
            "exclusion_junctions": [f"{n}:exclusion" for n in names],
        },
        index=names,
    )
    events.loc["E0", "exclusion_junctions"] = "E0:exclusion,E1:exclusion"
    by_event = net.assign(target=net["target"].str.split(":").str[0])
    scores = lfa.tl.factor_activity(model, by_event, events=events)
    assert np.corrcoef(scores["A"], activity["A"])[0, 1] > 0.8
    psi = logit(model.get_normalized_splicing(shrink=True).clip(0.01, 0.99).astype(float))
    psi -= psi.mean()
    value = pd.DataFrame({n: (psi[f"{n}:inclusion"] - psi[f"{n}:exclusion"]) / 2 for n in names})
    both = (psi["E0:exclusion"] + psi["E1:exclusion"]) / 2
    value["E0"] = (psi["E0:inclusion"] - both) / 2
    weights = by_event.pivot(index="target", columns="source", values="weight")
    weights = weights.reindex(names).fillna(0)
    for cell in ("cell_0", "cell_77"):
        fit = stats.linregress(weights["A"], value.loc[cell])
        np.testing.assert_allclose(scores["A"][cell], fit.slope / fit.stderr, rtol=1e-4)


def test_other_cells_and_obsm(planted):
    model, _, net = planted
    some = model.adata[10:60].copy()
    scores = lfa.tl.factor_activity(model, net, adata=some)
    some.obsm["factors"] = scores
    assert list(some.obsm["factors"].columns) == ["A", "B", "decoy"]
    with pytest.raises(ValueError, match="at least two cells.*found 1"):
        lfa.tl.factor_activity(model, net, adata=some[:1].copy())


class TestErrors:
    def test_without_decoupler(self, planted, monkeypatch):
        monkeypatch.setitem(sys.modules, "decoupler", None)
        with pytest.raises(ImportError, match=r'pip install "leafletfa-scvi\[enrichment\]"'):
            lfa.tl.factor_activity(planted[0], planted[2])

    def test_targets(self, planted):
        model, _, net = planted
        with pytest.raises(ValueError, match="ATSE ids, which have no direction"):
            lfa.tl.factor_activity(model, net.assign(target=[f"ATSE_{i}" for i in range(60)]))
        with pytest.raises(ValueError, match="among the 180 junctions of the model"):
            lfa.tl.factor_activity(model, net.assign(target=[f"gene_{i}" for i in range(60)]))
        with pytest.raises(ValueError, match="Upper and lower case"):
            lfa.tl.factor_activity(model, net.assign(target=net["target"].str.lower()))
        with pytest.raises(ValueError, match="method to be"):
            lfa.tl.factor_activity(model, net, "ora")

    def test_events(self, planted):
        model, _, net = planted
        events = pd.DataFrame(
            {"inclusion_junctions": ["E0:inclusion"], "exclusion_junctions": ["nowhere"]}, ["E0"]
        )
        with pytest.raises(KeyError, match="found 'nowhere' of event 'E0'"):
            lfa.tl.factor_activity(model, net, events=events)
        with pytest.raises(KeyError, match="column 'exclusion_junctions'"):
            lfa.tl.factor_activity(model, net, events=events.iloc[:, :1])
        with pytest.raises(ValueError, match="unique names in events.index"):
            lfa.tl.factor_activity(model, net, events=pd.concat([events, events]))
        events["exclusion_junctions"] = "E0:exclusion"
        with pytest.raises(ValueError, match="leave out events"):
            lfa.tl.factor_activity(model, net, events=events)
