"""The order of lines and files does not change a splicing data set."""

from __future__ import annotations

from helpers.equality import assert_same
from helpers.splicing_data import LENIENT, assert_contract, star_line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import leafletfa_scvi as lfa

JUNCTIONS = st.lists(
    st.tuples(
        st.sampled_from([100, 200, 300, 400]), st.sampled_from([500, 600, 700]),
        st.sampled_from("12"), st.sampled_from(["chr2", "chr10"]),
    ),
    min_size=2, max_size=12, unique=True,
)  # fmt: skip


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), rows=JUNCTIONS, n_cells=st.integers(1, 3))
def test_any_order_of_lines_and_files_gives_the_same(tmp_path_factory, data, rows, n_cells):
    counts = st.lists(st.integers(0, 20), min_size=len(rows), max_size=len(rows))
    cells = [data.draw(counts) for _ in range(n_cells)]
    made = []
    for _ in range(2):
        folder = tmp_path_factory.mktemp("cells")
        for i, of_cell in enumerate(cells):
            lines = [
                star_line(start, end, count, strand, chrom)
                for (start, end, strand, chrom), count in zip(rows, of_cell, strict=True)
            ]
            order = data.draw(st.permutations(lines))
            (folder / f"c{i}.SJ.out.tab").write_text("".join(order))
        files = data.draw(st.permutations(sorted(folder.iterdir())))
        try:
            made.append(lfa.pp.make_splicing_dataset(files, **LENIENT))
        except ValueError as error:
            made.append(str(error))
    first, second = made
    if isinstance(first, str) or isinstance(second, str):
        assert first == second
        return
    assert_contract(first)
    assert_same(first, second[first.obs_names].copy())
