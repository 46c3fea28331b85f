"""Columns of predictions: values come to the rows that they belong to."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.arrow_types import arrow_type
from sparktorch_assets.predict.arrow_lists import scatter

VALUES = {
    "string": ["a", "b", None],
    "boolean": [True, False, None],
    "int": [1, 2, None],
    "long": [1, 1 << 40, None],
    "float": [0.5, 1.5, None],
    "double": [0.1, 0.2, None],
    "binary": [b"a", b"", None],
    "list<float>": [[0.5, 1.5], [], None],
    "list<string>": [["a", "b"], [], None],
    "list<list<double>>": [[[0.5], []], [], None],
    "list<struct<class: string, confidence: float>>": [[{"class": "a", "confidence": 0.5}], [], None],
}


@pytest.mark.parametrize("name", sorted(VALUES))
@given(st.data())
def test_values_are_scattered_to_their_rows(name, data):
    """In any order and division, for every type of a column; rows that no piece covers are null."""
    rows = data.draw(st.integers(0, 12))
    covered = data.draw(st.permutations(range(rows)))[: data.draw(st.integers(0, rows))]
    values = {row: data.draw(st.sampled_from(VALUES[name])) for row in covered}
    cut = data.draw(st.integers(0, len(covered)))
    kind = arrow_type(name)
    pieces = [
        (np.array(part, dtype=np.int64), pa.array([values[row] for row in part], kind))
        for part in (covered[:cut], covered[cut:])
        if part
    ]
    found = scatter(pieces, rows, kind)
    assert (found.type, found.to_pylist()) == (kind, [values.get(row) for row in range(rows)])
