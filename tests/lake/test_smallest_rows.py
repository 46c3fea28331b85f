"""The rows with the smallest values, against sorting all of them; and how little of a table is read for them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.rows import smallest_rows as module
from sparktorch_assets.lake.rows.smallest_rows import smallest_rows
from sparktorch_assets.lake.table import Table

NUMBERS = st.none() | st.floats(0, 1, width=32)


def write(folder, parts, row_group_size=3):
    for place, values in enumerate(parts):
        rows = pa.table({"id": [f"{place}-{row}" for row in range(len(values))], "p": pa.array(values, pa.float32())})
        pq.write_table(rows, folder / f"{place:03}.parquet", row_group_size=row_group_size)
    return Table(str(folder)).files


@given(st.lists(st.lists(NUMBERS, max_size=12), min_size=1, max_size=4), st.integers(1, 6))
def test_the_rows_are_those_with_the_smallest_values(tmp_path_factory, parts, rows):
    files = write(tmp_path_factory.mktemp("t"), parts)
    found = smallest_rows(files, "p", ["id"], rows)
    everything = sorted(value for values in parts for value in values if value is not None)
    assert [row["p"] for row in found.rows] == everything[:rows]
    assert all(row.keys() == {"p", "id"} for row in found.rows)
    for row in found.rows:
        part, place = map(int, row["id"].split("-"))
        assert parts[part][place] == row["p"]
    assert (found.parts, found.of_parts) == (len(parts), len(parts))


def test_row_groups_that_hold_no_smaller_value_are_not_read(tmp_path, monkeypatch):
    files = write(tmp_path, [[0.5, 0.6, 0.7, 0.1, 0.2, 0.3, 0.8, 0.9, 1.0]])
    read, real = [], module._read
    monkeypatch.setattr(module, "_read", lambda file, group, *given: read.append(group) or real(file, group, *given))
    assert [row["id"] for row in smallest_rows(files, "p", ["id"], 3).rows] == ["0-3", "0-4", "0-5"]
    assert read == [1]


def test_a_large_table_is_read_in_part(tmp_path, monkeypatch):
    """Of many parts the newest, and of large row groups none."""
    files = write(tmp_path, [[0.5], [0.4], [0.3]])
    monkeypatch.setattr(module, "_PARTS", 2)
    found = smallest_rows(files, "p", ["id"], 5)
    assert (len(found.rows), found.parts, found.of_parts) == (2, 2, 3)
    monkeypatch.setattr(module, "_BYTES", 1)
    assert smallest_rows(files, "p", ["id"], 5).rows == []


def test_a_damaged_part_is_named(tmp_path):
    files = write(tmp_path, [[0.5] * 2000], row_group_size=2000)
    path = tmp_path / "000.parquet"
    data = bytearray(path.read_bytes())
    data[40:60] = b"x" * 20
    path.write_bytes(data)
    with pytest.raises(TableError, match="000.parquet"):
        smallest_rows(files, "p", ["id"], 5)
