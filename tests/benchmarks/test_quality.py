"""Cases, baselines and scores of the quality benchmark against known values."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from benchmarks import _report
from benchmarks.quality import _baselines, _cases, _scores, quality
from scipy.stats import betabinom


@pytest.fixture(scope="module")
def tiny() -> Any:
    return _cases.tiny()


def test_training_and_hidden_entries_make_up_the_data(tiny) -> None:
    adata = _cases.datasets.simulate_splicing(200, 60, 3, coverage=0.4, seed=0)
    hidden = tiny.hidden.csr(tiny.hidden.count, tiny.shape)
    together = tiny.adata.layers["cell_by_junction_matrix"] + hidden
    assert (together != adata.layers["cell_by_junction_matrix"]).nnz == 0
    atse = adata.var["atse_id"].to_numpy()

    def pairs(entries: Any) -> set:
        return set(zip(entries.row, atse[entries.column], strict=True))

    assert not pairs(tiny.hidden) & pairs(tiny.training)
    assert 0.07 < len(tiny.hidden) / (len(tiny.hidden) + len(tiny.training)) < 0.13


@pytest.mark.parametrize("kappa", [0.3, 5.0, 1e4, np.inf])
def test_likelihood_is_the_one_of_scipy(tiny, kappa) -> None:
    hidden = tiny.hidden
    p = np.random.default_rng(0).uniform(0.01, 0.99, len(hidden))
    value = _scores.log_likelihood(hidden, p, kappa)
    strength = min(kappa, 1e7)
    expected = betabinom.logpmf(hidden.count, hidden.total, strength * p, strength * (1 - p))
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


def test_concentration_is_found() -> None:
    rng = np.random.default_rng(0)
    p, total = rng.uniform(0.1, 0.9, 20_000), rng.integers(1, 30, 20_000)
    count = rng.binomial(total, rng.beta(7 * p, 7 * (1 - p)))
    place = np.zeros(len(p), int)
    entries = _cases.Entries(place, place, count.astype(float), total.astype(float))
    assert _scores.fit_concentration(entries, p) == pytest.approx(7, rel=0.05)


def test_truth_and_junction_means_span_the_scale(tiny) -> None:
    of_truth = _scores.score(tiny, _baselines.truth(tiny))
    assert of_truth["share"] == pytest.approx(1)
    assert of_truth["phi r min"] == pytest.approx(1)
    assert of_truth["found"] == 3
    of_mean = _scores.score(tiny, _baselines.junction_mean(tiny))
    assert of_mean["gain"] == pytest.approx(0)
    given = _scores.score(tiny, _baselines.true_activities(tiny))
    assert 0.6 < given["share"] < 1


def test_intervals_are_matched_to_the_truth(tiny) -> None:
    t, order = tiny.truth, [2, 0, 1]
    phi, psi = t.activities[:, order], t.programs[:, order]
    low = psi.copy()
    low[::2] += 0.01
    ends = {"psi": (low, psi + 0.01), "phi": (phi, phi)}
    found = _scores.Prediction(lambda entries: entries.product(phi, psi), phi, psi, 20.0, ends)
    row = _scores.score(tiny, found)
    assert row["cover phi"] == 1
    assert row["cover phi mid"] == 1
    assert row["cover psi"] == pytest.approx(np.mean(np.arange(len(psi)) % 2), abs=1e-6)


def test_admixture_em_never_falls_and_finds_its_optimum(tiny) -> None:
    rng = np.random.default_rng(0)
    phi, psi = rng.dirichlet(np.ones(3), 200), rng.uniform(0.1, 0.9, (tiny.shape[1], 3))
    _, _, history = _baselines.admixture_em(tiny.training, phi, psi)
    assert len(history) > 20
    assert np.diff(history).min() > -1e-6 * abs(history[-1])
    whole = np.ones((200, 1))
    _, psi, _ = _baselines.admixture_em(
        tiny.training, whole, psi[:, :1], n_iterations=3, tolerance=0
    )
    t = tiny.training
    reads = np.bincount(t.column, t.total, tiny.shape[1])
    share = np.bincount(t.column, t.count, tiny.shape[1])[reads > 0] / reads[reads > 0]
    np.testing.assert_allclose(psi[reads > 0, 0], np.clip(share, 1e-5, 1 - 1e-5))


def test_pca_is_the_one_of_the_dense_matrix(tiny) -> None:
    t = tiny.training
    dense = np.full(tiny.shape, np.nan)
    dense[t.row, t.column] = t.count / t.total
    mean = np.nanmean(dense, axis=0)
    left, scale, right = np.linalg.svd(np.nan_to_num(dense - mean), full_matrices=False)
    rebuilt = mean + (left[:, :3] * scale[:3]) @ right[:3]
    expected = np.clip(rebuilt, 0.005, 0.995)[tiny.hidden.row, tiny.hidden.column]
    found = _baselines.pca(tiny).predict(tiny.hidden)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_separate_types_are_distinguished() -> None:
    labels = np.repeat(["a", "b", "c"], 30)
    activities = np.eye(3)[np.repeat([0, 1, 2], 30)]
    activities = activities + np.random.default_rng(0).normal(0, 0.05, activities.shape)
    assert _scores.cell_type_scores(activities, labels) == {"accuracy": 1.0, "ARI": 1.0}


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch) -> None:
    for module in (quality, _report):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    calls: list[str] = []

    def one(case: Any, method: str, seed: int) -> dict[str, Any]:
        calls.append(method)
        if method == "PCA" and calls.count("PCA") == 1:
            raise KeyboardInterrupt
        return {"s": 1.0, "gain": 0.1 * len(calls)}

    monkeypatch.setattr(quality, "one", one)
    command = ["quality.py", "--cases", "tiny", "--methods", "junction mean", "PCA", "NMF"]
    monkeypatch.setattr(sys, "argv", [*command, "--output", "test"])
    with pytest.raises(KeyboardInterrupt):
        quality.main()
    with pytest.raises(SystemExit, match="--resume"):
        quality.main()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--resume"])
    quality.main()
    assert calls == ["junction mean", "PCA", "PCA", "NMF"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["quality-test.json", "quality-test.md"]
    text = (tmp_path / "quality-test.md").read_text()
    assert all(f"| {m} |" in " ".join(text.split()) for m in ("junction mean", "PCA", "NMF"))
