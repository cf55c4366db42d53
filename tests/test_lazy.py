"""Public names are listed once, in stubs, and imported on first use."""

from __future__ import annotations

import pytest

import leafletfa_scvi as lfa


@pytest.mark.parametrize("package", [lfa, lfa.pp, lfa.tl])
def test_every_listed_name_is_imported_on_first_use(package):
    assert package.__all__ == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        thing = getattr(package, name)
        assert thing.__name__.rsplit(".", 1)[-1] == name


@pytest.mark.parametrize("package", [lfa, lfa.pp, lfa.tl])
def test_other_names_are_refused(package):
    with pytest.raises(AttributeError, match=rf"{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_readers_show_every_argument_in_their_help():
    import pydoc

    text = pydoc.render_doc(lfa.pp.read_star)
    for name in ("reads", "n_jobs", "client", "work_dir", "on_error", "progress"):
        assert name in text
    assert "**" not in text
