"""Tables made whole from others: a new version where those changed, and only there."""

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from sparktorch_assets.lake.derived import write_if_changed


@pytest.fixture
def table(tmp_path):
    return str(tmp_path / "table")


def rows_of(table):
    return DeltaTable(table).to_pyarrow_table().to_pylist()


def test_a_new_version_where_what_it_was_made_from_changed(table):
    """The same sources leave the table alone, whatever the rows; others replace it, columns too."""
    assert write_if_changed(table, pa.table({"a": [1]}), "v1")
    assert not write_if_changed(table, pa.table({"a": [1]}), "v1")
    assert DeltaTable(table).version() == 0
    assert write_if_changed(table, pa.table({"b": ["x", "y"]}), "v2")
    assert write_if_changed(table, pa.table({"a": [1]}), "v1")  # back again
    assert DeltaTable(table).version() == 2
    assert rows_of(table) == [{"a": 1}]


def test_somebody_elses_commit_is_no_reason_to_keep_the_table(table):
    """A DELETE by hand leaves other rows under our old name: the next refresh brings the table back."""
    write_if_changed(table, pa.table({"a": [1, 2]}), "v1")
    DeltaTable(table).delete("a = 1")
    assert write_if_changed(table, pa.table({"a": [1, 2]}), "v1")
    assert len(rows_of(table)) == 2
