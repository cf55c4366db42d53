"""A pair of genomes of which every pair of partners is known."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.query._genome_pair import make_genome_pair


@pytest.fixture(scope="session")
def genomes():
    """60 genes with every edit at least once; for reading only."""
    rng = np.random.default_rng(5)
    return make_genome_pair([tuple(rng.integers(2, 6, 2)) for _ in range(60)], seed=5)


@pytest.fixture(scope="session")
def chains(genomes, tmp_path_factory):
    """Chain files from the source to the target and back."""
    return genomes.write_chains(tmp_path_factory.mktemp("chains"))
