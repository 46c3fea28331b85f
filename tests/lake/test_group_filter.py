"""Row groups in which no row passes are left unread, and their rows are counted. That no row which passes is lost is held by
tests/test_filter_meaning.py."""

import pyarrow as pa
import pyarrow.parquet as pq
from lake_scorer import INPUT, conditions, plan_of, write_file

from sparktorch_assets.lake.parquet.group_filter import FileBounds, GroupFilter
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.tasks import RowFilter


def test_groups_out_of_bounds_are_skipped_and_counted(tmp_path):
    write_file(tmp_path / "source", "a", [1, 2, 3, 11, 12, 13, 21, 22, 23])  # three row groups
    (shard,) = plan_of(tmp_path / "source", tmp_path / "table", 1, target_rows=100).new
    where = conditions(INPUT, [RowFilter(column="x", op=">", value=10), RowFilter(column="x", op="<=", value=20)])
    with PieceReader(shard.pieces[0], INPUT, where) as reader:
        assert [row for batch in reader.batches() for row in batch["x"].to_pylist()] == [11, 12, 13]
        assert reader.filtered_rows == 6
    with PieceReader(shard.pieces[0], INPUT, conditions(INPUT, [RowFilter(column="x", value=99)])) as reader:
        assert (list(reader.batches()), reader.filtered_rows) == ([], 9)
        (elsewhere,) = conditions(pa.schema([("y", pa.int64())]), [RowFilter(column="y", value=1)])
        assert GroupFilter(FileBounds(reader.footer), [elsewhere]).may_match(
            0
        )  # a column that the file lacks settles nothing


def test_a_dotted_column_is_told_from_a_struct_s_field():
    """`a.b` is the path of both in a file; only the first is what a condition on `a.b` means."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a.b": [100], "b": [200], "a": [{"b": 1}], "c": [{"d": 1}]}), sink)
    footer = pq.read_metadata(pa.BufferReader(sink.getvalue()))
    columns = pa.schema([("a.b", pa.int64()), ("b", pa.int64()), ("c.d", pa.int64())])

    def may_match(column, value):
        return GroupFilter(FileBounds(footer), conditions(columns, [RowFilter(column=column, value=value)])).may_match(
            0
        )

    assert (may_match("a.b", 100), may_match("a.b", 1)) == (True, False)
    assert (may_match("b", 200), may_match("b", 1)) == (True, False)  # nor does the field's own name mislead
    assert may_match("c.d", 100)  # there is no such column: nothing is settled


def test_a_group_of_nothing_but_nulls_is_left_unread():
    """No condition holds for a null."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"c": pa.array([None, None], pa.float64())}), sink)
    footer = pq.read_metadata(pa.BufferReader(sink.getvalue()))
    where = [RowFilter(column="c", op="!=", value=1)]
    assert not GroupFilter(FileBounds(footer), conditions(pa.schema([("c", pa.float64())]), where)).may_match(0)
