from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi.data import _blocks, check_splicing, observed_entries, splicing_data
from leafletfa_scvi.data._layers import get_layer
from leafletfa_scvi.datasets import simulate_splicing

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"

# ATSEs: A = j0, j2 and j4; B = j1 and j3; C = j5 alone
ATSE = ["A", "B", "A", "B", "A", "C"]
Y = np.array([[1, 2, 0, 3, 4, 0], [0, 0, 0, 0, 0, 7], [2, 0, 2, 1, 1, 2]])
N = np.array([[5, 5, 5, 5, 5, 0], [3, 0, 3, 0, 3, 7], [5, 1, 5, 1, 5, 2]])


def data_set(y=Y, n=N, layout=sp.csr_matrix):
    adata = AnnData(layers={JUNCTION: layout(y), CLUSTER: layout(n)}, shape=(3, 6))
    adata.obs_names = ["c0", "c1", "c2"]
    adata.var_names = [f"j{i}" for i in range(6)]
    adata.var["atse_id"] = ATSE
    return adata


def changed(matrix, *cells, dtype=None):
    out = matrix.astype(dtype or matrix.dtype)
    for cell, junction, value in cells:
        out[cell, junction] = value
    return out


def frozen(adata):
    def dense(x):
        return x.toarray() if sp.issparse(x) else np.array(x)

    return {
        "layers": {k: (type(v), dense(v)) for k, v in adata.layers.items()},
        "obs": adata.obs.copy(),
        "var": adata.var.copy(),
        "uns": dict(adata.uns),
        "slots": [list(getattr(adata, s)) for s in ("obsm", "varm", "obsp", "varp")],
    }


def assert_unchanged(adata, before):
    after = frozen(adata)
    assert after["layers"].keys() == before["layers"].keys()
    for key, (kind, value) in before["layers"].items():
        assert after["layers"][key][0] is kind
        np.testing.assert_array_equal(after["layers"][key][1], value)
    assert after["obs"].equals(before["obs"])
    assert after["var"].equals(before["var"])
    assert after["uns"] == before["uns"]
    assert after["slots"] == before["slots"]


LAYOUTS = [sp.csr_matrix, sp.csc_matrix, sp.csr_array, np.array, np.asfortranarray]


@pytest.fixture(params=[None, 1])
def _block(request, monkeypatch):
    if request.param is not None:
        monkeypatch.setattr(_blocks, "BLOCK", request.param)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("_block")
def test_valid_data_pass_without_a_warning(layout):
    adata = data_set(layout=layout)
    before = frozen(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_splicing(adata) is None
        entries = splicing_data(adata)
    assert entries.n_entries == (N > 0).sum()
    assert_unchanged(adata, before)


FLOAT = np.float64
BAD_VALUES = {
    "nan": (changed(Y, (1, 5, np.nan), dtype=FLOAT), N, JUNCTION, "non-finite value nan", 1, 5),
    "inf": (Y, changed(N, (2, 0, np.inf), dtype=FLOAT), CLUSTER, "non-finite value inf", 2, 0),
    "negative y": (changed(Y, (2, 2, -1)), N, JUNCTION, "negative value -1", 2, 2),
    "negative n": (Y, changed(N, (0, 5, -3)), CLUSTER, "negative value -3", 0, 5),
    "fractional": (
        changed(Y, (0, 3, 2.5), (2, 0, 0.5), dtype=FLOAT), N, JUNCTION, "fractional value 2.5",
        0, 3,
    ),
    "y above n": (changed(Y, (1, 5, 8)), N, JUNCTION, "8, but the total .* is 7", 1, 5),
    "y without n": (changed(Y, (1, 3, 1)), N, JUNCTION, "1, but the total .* is 0", 1, 3),
    "uneven": (Y, changed(N, (2, 2, 6)), CLUSTER, "6, but 5 at junction 'j0'", 2, 2),
    "incomplete": (Y, changed(N, (1, 2, 0)), CLUSTER, "0, but 3 at junction 'j0'", 1, 2),
    "sum": (changed(Y, (2, 0, 5)), N, JUNCTION, "8 reads over all .* total of 5", 2, 0),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", BAD_VALUES)
@pytest.mark.usefixtures("_block")
def test_invalid_values_are_located(case, layout):
    y, n, layer, found, cell, junction = BAD_VALUES[case]
    adata = data_set(y, n, layout)
    before = frozen(adata)
    pattern = (
        rf"^Layer '{layer}' holds .*{found}.* cell 'c{cell}' and junction 'j{junction}'\. \w+"
    )
    with pytest.raises(ValueError, match=pattern):
        check_splicing(adata)
    assert_unchanged(adata, before)


@pytest.mark.parametrize("case", ["uneven", "incomplete", "sum"])
def test_checks_within_atses_can_be_skipped(case):
    y, n, *_ = BAD_VALUES[case]
    adata = data_set(y, n)
    check_splicing(adata, atse_key=None)
    del adata.var["atse_id"]
    check_splicing(adata)


def test_fewer_reads_than_the_total_are_allowed():
    check_splicing(data_set(np.zeros_like(Y)))


def test_labels_in_another_column():
    adata = data_set(*BAD_VALUES["sum"][:2])
    adata.var["event"] = adata.var.pop("atse_id").astype("category")
    check_splicing(adata)
    with pytest.raises(ValueError, match="j0"):
        check_splicing(adata, atse_key="event")
    with pytest.raises(KeyError, match=r"'events' is missing.*\['event'\]"):
        check_splicing(adata, atse_key="events")


@pytest.mark.parametrize("kind", ["object", "category"])
def test_missing_label(kind):
    adata = data_set()
    adata.var["atse_id"] = np.array(["A", "B", "A", None, "A", None], dtype=object)
    adata.var["atse_id"] = adata.var["atse_id"].astype(kind)
    with pytest.raises(
        ValueError, match=r"'atse_id'\] has no label for junction 'j3', in total for 2 of 6"
    ):
        check_splicing(adata)


def test_layer_problems():
    adata = data_set()
    with pytest.raises(KeyError, match=rf"'other' is missing.*'{CLUSTER}', '{JUNCTION}'"):
        check_splicing(adata, junction_layer="other")
    adata.layers["text"] = np.full((3, 6), "a", dtype=object)
    with pytest.raises(ValueError, match="'text' has dtype object"):
        check_splicing(adata, cluster_layer="text")
    adata.layers["complex"] = np.ones((3, 6), dtype=complex)
    with pytest.raises(ValueError, match="'complex' has dtype complex128"):
        check_splicing(adata, cluster_layer="complex")
    adata.layers["cube"] = np.ones((3, 6, 2))
    with pytest.raises(ValueError, match=r"'cube' has shape \(3, 6, 2\): expected \(3, 6\)"):
        check_splicing(adata, cluster_layer="cube")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (sp.csr_matrix((3, 5)), r"'x' has shape \(3, 5\): expected \(3, 6\)"),
        (sp.coo_array([1, 0, 2]), r"'x' has shape \((1, )?3,?\): expected \(3, 6\)"),
        ([[1] * 6] * 3, "'x' is a list: expected a scipy sparse matrix"),
    ],
)
def test_layers_that_anndata_refuses(layer, message):
    with pytest.raises(ValueError, match=message):
        get_layer(SimpleNamespace(layers={"x": layer}, shape=(3, 6)), "x")


def corrupted(layout, **arrays):
    matrix = layout(N)
    for name, change in arrays.items():
        values = getattr(matrix, name).copy()
        setattr(matrix, name, change(values))
    return matrix


def put(at, value):
    def change(values):
        values[at] = value
        return values

    return change


@pytest.mark.parametrize("layer", [JUNCTION, CLUSTER])
@pytest.mark.parametrize(
    ("layout", "arrays", "message"),
    [
        (sp.csr_matrix, {"indices": put(6, -1)}, "CSR .* 'c1' .* index -1, expected 0 to 5"),
        (sp.csr_matrix, {"indices": put(0, 6)}, "'c0' .* index 6, expected 0 to 5 for 6 junct"),
        (sp.csr_array, {"indices": put(-1, 2**30)}, "'c2' .* index 1073741824"),
        (sp.csr_matrix, {"indptr": put(1, 12)}, "indptr decreases at cell 'c1'"),
        (sp.csr_matrix, {"indptr": put(0, 1)}, "indptr begins at 1 at cell 'c0'"),
        (
            sp.csr_matrix,
            {"indptr": put(-1, 99)},
            "counts 99 .* 15 are stored, which end in cell 'c2'",
        ),
        (sp.csr_matrix, {"indptr": lambda x: x[:-1]}, "indptr has 3 values, expected 4"),
        (
            sp.csr_matrix,
            {"data": lambda x: x[:7]},
            "counts 15 .* 7 are stored, which end in cell 'c1'",
        ),
        (sp.csc_matrix, {"indices": put(0, -2)}, "CSC .* junction 'j0' .* index -2, .* 0 to 2"),
        (sp.csc_array, {"indices": put(-1, 3)}, "junction 'j5' .* index 3, .* for 3 cells"),
        (sp.csc_matrix, {"indptr": put(2, 0)}, "indptr decreases at junction 'j1'"),
    ],
)
def test_inconsistent_sparse_layers_are_refused(layer, layout, arrays, message):
    adata = data_set(N, N)
    adata.layers[layer] = corrupted(layout, **arrays)
    with pytest.raises(
        ValueError, match=rf"{layer}' is not a valid .*{message}.*Rebuild the matrix"
    ):
        check_splicing(adata)


def test_values_beyond_the_last_row_are_ignored():
    adata = data_set()
    matrix = adata.layers[CLUSTER]
    matrix.indices = np.r_[matrix.indices, -7].astype(np.int32)
    matrix.data = np.r_[matrix.data, -7]
    check_splicing(adata)


@pytest.mark.parametrize("mask", [False, True])
def test_masked_arrays_are_refused(mask):
    adata = data_set()
    layer = np.ma.MaskedArray(Y, mask=(Y == 7) & mask)
    at = SimpleNamespace(layers={"x": layer}, shape=(3, 6))
    with pytest.raises(ValueError, match=rf"'x' is a masked array, with {int(mask)} values"):
        get_layer(at, "x")
    adata.layers[JUNCTION] = layer
    if isinstance(adata.layers[JUNCTION], np.ma.MaskedArray):
        with pytest.raises(ValueError, match="masked array"):
            check_splicing(adata)


def test_a_label_per_junction_warns():
    adata = data_set(np.minimum(Y, 1), np.minimum(Y, 2))
    adata.var["atse_id"] = list("abcdef")
    with pytest.warns(UserWarning, match="Each of the 6 junctions has a different ATSE label"):
        check_splicing(adata)


def test_totals_equal_to_counts_warn():
    with pytest.warns(UserWarning, match="y equals the total n at all 10 observed entries"):
        check_splicing(data_set(Y, Y), atse_key=None)


CODES = np.array([0, 1, 0, 1, 0, 2])


def test_cells_counted_at_a_subset_of_junctions():
    """With the ATSEs of a model, junctions with total 0 in a cell are ignored."""
    some = N * np.array([1, 1, 0, 1, 1, 1])
    entries = splicing_data(
        data_set(np.minimum(Y, some), some), atse_key=None, fixed_atses=CODES, fixed_junctions=True
    )
    assert entries.n_entries == 12
    with pytest.raises(ValueError, match="holds 0, but 5 at junction"):
        check_splicing(data_set(np.minimum(Y, some), some))


@pytest.mark.parametrize(
    ("y", "n", "message"),
    [
        (
            Y,
            changed(N, (0, 4, 6)),
            "holds 6, but 5 at junction 'j0' .* cell 'c0' and junction 'j4'.*model was built on",
        ),
        (
            changed(Y, (2, 2, 4)),
            N,
            "7 reads .* total of 5 .* cell 'c2' .*model was built on",
        ),
    ],
)
def test_cells_counted_with_other_atses_are_refused(y, n, message):
    with pytest.raises(ValueError, match=message):
        splicing_data(data_set(y, n), atse_key=None, fixed_atses=CODES, fixed_junctions=True)


def test_nothing_observed():
    with pytest.raises(ValueError, match=f"'{CLUSTER}' holds only zeros"):
        check_splicing(data_set(0 * Y, 0 * N))


@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_names_and_axes():
    adata = data_set()
    adata.obs_names = ["c0", "c1", "c1"]
    with pytest.raises(ValueError, match=r"obs_names holds 'c1' more than once.*make_unique"):
        check_splicing(adata)
    check_splicing(adata[:2])
    adata = data_set()
    adata.var_names = ["j", "k", "l", "k", "m", "n"]
    with pytest.raises(ValueError, match=r"var_names holds 'k' more than once"):
        check_splicing(adata)
    adata.var_names = ["j", "1", "l", "k", 1, "n"]
    with pytest.raises(ValueError, match=r"var_names holds '1' more than once"):
        check_splicing(adata)
    with pytest.raises(ValueError, match="no cells"):
        check_splicing(data_set()[:0])
    with pytest.raises(ValueError, match="no junctions"):
        check_splicing(data_set()[:, :0])


@pytest.mark.filterwarnings("ignore::FutureWarning:mudata")
def test_other_objects():
    from mudata import MuData

    with pytest.raises(TypeError, match=r"found a MuData.*mdata\.mod"):
        check_splicing(MuData({"splicing": data_set()}))
    with pytest.raises(TypeError, match="found a ndarray"):
        check_splicing(N)


def test_views_are_checked_and_stay_views():
    y, n, *_ = BAD_VALUES["uneven"]
    view = data_set(y, n)[:2]
    check_splicing(view)
    assert view.is_view
    view = data_set(y, n)[1:]
    with pytest.raises(ValueError, match="cell 'c2' and junction 'j2'"):
        check_splicing(view)
    assert view.is_view


def test_empty_cells_and_junctions_are_counted():
    n, y = changed(N), changed(Y)
    n[1], y[1] = 0, 0
    n[:, 5], y[:, 5] = 0, 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_splicing(data_set(y, n))
    messages = [str(w.message) for w in caught]
    assert [w.category for w in caught] == [UserWarning] * 2
    assert messages[0].startswith("1 of 3 cells have no observed entry")
    assert messages[1].startswith("1 of 6 junctions have no observed entry")


def test_droplet_data_are_recognized():
    sparse = simulate_splicing(200, 100, 2, coverage=0.02, mean_depth=1.3)
    with (
        pytest.warns(UserWarning, match="cells have no observed"),
        pytest.warns(UserWarning, match="junctions have no observed"),
        pytest.warns(UserWarning, match=r"Only 2\.\d% .* total of 1 .*Smart-seq2"),
    ):
        check_splicing(sparse)
    for kind in ({"coverage": 0.2, "mean_depth": 1.3}, {"coverage": 0.02, "mean_depth": 15}):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Only")
            warnings.filterwarnings("ignore", message=".*no observed entry")
            check_splicing(simulate_splicing(200, 100, 2, **kind))


def test_real_data(chen):
    before = frozen(chen)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entries = splicing_data(chen)
    assert_unchanged(chen, before)
    plain = observed_entries(chen)
    for name in ("indptr", "column", "count", "total"):
        assert (getattr(entries, name) == getattr(plain, name)).all()
    layer = chen.layers[CLUSTER]
    layer.data[layer.indptr[100]] += 1
    j = layer.indices[layer.indptr[100]]
    with pytest.raises(ValueError, match=rf"cell '{chen.obs_names[100]}'") as error:
        check_splicing(chen)
    gene = chen.var_names[j].rsplit(":")[0]
    assert gene in str(error.value)
