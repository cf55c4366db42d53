"""The benchmark of kills, at a few of its kills."""

from __future__ import annotations


def test_a_model_that_is_saved_again_is_old_or_new(benchmark_module):
    bench = benchmark_module("kills")
    counts, n_operations = bench.try_kind(bench.Save, 2, seed=0)
    assert counts["old"] + counts["new"] == counts.total() == 2
    assert n_operations > 10
