from __future__ import annotations

from leafletfa_scvi._similar import did_you_mean, similar_names

GENES = ["Snap25", "SNAP23", "Rps24", "Rps24-ps", "Tpm1"]


def test_names_that_are_alike_come_first_then_longer_ones():
    assert similar_names("snap25", GENES) == ["Snap25", "SNAP23"]
    assert similar_names("Rps2", GENES) == ["Rps24", "Rps24-ps"]
    assert similar_names("", GENES) == []


def test_did_you_mean_is_empty_without_likely_names():
    assert did_you_mean("Tpm", GENES) == " Did you mean 'Tpm1'?"
    assert did_you_mean("Snap2", GENES) == " Did you mean 'Snap25' or 'SNAP23'?"
    assert did_you_mean("zzz", GENES) == ""
