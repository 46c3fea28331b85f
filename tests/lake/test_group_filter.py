"""A row group is left unread only where no row of it passes."""

import operator

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_scorer import INPUT, plan_of, write_file

from sparktorch_assets.lake.group_filter import may_match
from sparktorch_assets.lake.shard_reader import ShardReader
from sparktorch_assets.tasks import RowFilter

OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda row, values: row in values,
    "not in": lambda row, values: row not in values,
}
KINDS = {
    pa.int64(): st.integers(-3, 3),
    pa.string(): st.sampled_from(["", "a", "b", "é"]),
    pa.float64(): st.sampled_from([-1.5, 0.0, -0.0, 2.5, float("nan"), float("inf")]),
    pa.float32(): st.sampled_from([0.5, 1.5]),
}


@settings(deadline=None)
@given(st.data())
def test_no_row_that_passes_is_left_unread(data):
    kind = data.draw(st.sampled_from(list(KINDS)))
    column = data.draw(st.lists(st.none() | KINDS[kind], min_size=1, max_size=6))
    op = data.draw(st.sampled_from(sorted(OPERATORS)))
    value = data.draw(st.lists(KINDS[kind], max_size=3) if "in" in op else KINDS[kind])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"c": pa.array(column, kind)}), sink)
    group = pq.read_metadata(pa.BufferReader(sink.getvalue())).row_group(0)
    passes = any(row is not None and OPERATORS[op](row, value) for row in column)
    assert may_match(group, [RowFilter(column="c", op=op, value=value)]) >= passes


def test_groups_out_of_bounds_are_skipped_and_counted(tmp_path):
    write_file(tmp_path / "source", "a", [1, 2, 3, 11, 12, 13, 21, 22, 23])  # three row groups
    (shard,) = plan_of(tmp_path / "source", tmp_path / "table", 1, target_rows=100).new
    where = [RowFilter(column="x", op=">", value=10), RowFilter(column="x", op="<=", value=20)]
    with ShardReader(shard, INPUT, where) as reader:
        assert [row for batch in reader.batches() for row in batch["x"].to_pylist()] == [11, 12, 13]
        assert reader.skipped_rows == 6
    with ShardReader(shard, INPUT, [RowFilter(column="x", value=99)]) as reader:
        assert (list(reader.batches()), reader.skipped_rows) == ([], 9)
    assert may_match(
        reader.footer.row_group(0), [RowFilter(column="x", op="<", value="a")]
    )  # types differ: not settled
    assert may_match(reader.footer.row_group(0), [RowFilter(column="elsewhere", value=1)])
