"""An export replaces what an earlier one wrote, and nothing of the user's."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def model(small, fit):
    return fit(small, 2, max_epochs=1)


@pytest.mark.parametrize(
    ("slot", "key", "value"),
    [
        ("obs", "SP_2", lambda adata: np.arange(adata.n_obs)),
        ("obsm", "X_PHI", lambda adata: np.ones((adata.n_obs, 3))),
        ("varm", "psi_learned", lambda adata: np.ones((adata.n_vars, 3))),
        ("uns", "leafletfa", lambda adata: {"mine": 1}),
    ],
)
def test_slots_of_the_user_are_not_replaced(model, small, slot, key, value):
    getattr(small, slot)[key] = value(small)
    kept = getattr(small, slot)[key]
    with pytest.raises(ValueError, match=rf"would replace {slot}\['{key}'\].*overwrite=True"):
        model.export_posterior(small)
    assert getattr(small, slot)[key] is kept or np.array_equal(getattr(small, slot)[key], kept)
    assert "SP_1" not in small.obs
    model.export_posterior(small, overwrite=True)
    assert small.obsm["X_PHI"].shape == (small.n_obs, 2)
    model.export_posterior(small)  # what it wrote itself


def test_a_model_of_fewer_programs_removes_columns_of_the_earlier(small, fit):
    fit(small, 3, max_epochs=1).export_posterior()
    small.obs["SP_9"] = 1.0
    fit(small, 2, max_epochs=1).export_posterior()
    assert [name for name in small.obs if name.startswith("SP_")] == ["SP_9", "SP_1", "SP_2"]
