"""A filter means the same wherever it is applied: to rows, to the bounds of row groups, and (tests/spark) in Spark."""

import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filter_reference import CASES, NUMBERS, OPERATORS, array, holds
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sparktorch_assets.errors import InputSchemaError
from sparktorch_assets.lake.parquet.group_filter import FileBounds, GroupFilter
from sparktorch_assets.lake.parquet.types import cast_column, storage_schema
from sparktorch_assets.predict.rows.filter import BatchFilter
from sparktorch_assets.tasks import RowFilter
from sparktorch_assets.tasks.row_test import row_tests

SENTINEL = {pa.float32(): 1.2345678806304932e30, pa.float64(): 1.23456789e300}
"""Stands for NaN until the file is written."""


def conform(batch, schema):
    arrays = [cast_column(batch.column(column.name), column.type) for column in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@st.composite
def filters(draw):
    """A column, and a filter on it."""
    kind = draw(st.sampled_from(list(CASES)))
    values, literals = CASES[kind]
    column = draw(st.lists(st.none() | st.sampled_from(values), max_size=9))
    op = draw(st.sampled_from([*OPERATORS, "in", "not in"]))
    literal = st.sampled_from(literals)
    return kind, column, op, draw(st.lists(literal, max_size=4) if "in" in op else literal)


@st.composite
def writers(draw):
    """Ways to write Parquet files, statistics included."""
    return {
        "row_group_size": draw(st.integers(1, 4)),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
        "use_dictionary": draw(st.booleans()),
        "write_statistics": draw(st.sampled_from([True, True, True, False])),
        "store_decimal_as_integer": draw(st.booleans()),
        "use_deprecated_int96_timestamps": draw(st.sampled_from([False, False, True])),
    }


def rows_after(filter_, batch):
    return filter_.rows(batch)["row"].to_pylist()


@pytest.mark.promise("T70", "T72", "T73")
@settings(max_examples=400)
@given(filters())
def test_rows_pass_as_in_plain_python(given_filter):
    """The row filter agrees with exact comparisons, whatever the type, the extremes, nulls, NaN and signed zeros."""
    kind, column, op, literal = given_filter
    batch = pa.record_batch({"row": pa.array(range(len(column)), pa.int64()), "c": array(column, kind)})
    passing = rows_after(BatchFilter([RowFilter(column="c", op=op, value=literal)], "task 't'"), batch)
    assert passing == [row for row, value in enumerate(column) if holds(value, op, literal, kind)]


@pytest.mark.promise("T70")
@settings(max_examples=400)
@given(filters(), writers(), st.booleans())
def test_row_groups_left_unread_hold_no_row_that_passes(given_filter, options, nan_bounds):
    """Pruning and the row filter together give what the row filter alone gives, for files of any writer.

    Spark writes NaN as the bound of a column that holds one; with `nan_bounds`, so do these files.
    """
    kind, column, op, literal = given_filter
    assume(kind != pa.null())  # a table shows it as text, which numbers are not compared with
    shown, shown_kind = column, kind
    if options["use_deprecated_int96_timestamps"] and pa.types.is_timestamp(kind) and kind.unit == "ns":
        # INT96 is read in microseconds, as Spark reads it: downwards, where Arrow's cast of nanoseconds cuts towards 1970.
        shown, shown_kind = [None if value is None else value // 1000 for value in column], pa.timestamp("us", kind.tz)
    expected = [row for row, value in enumerate(shown) if holds(value, op, literal, shown_kind)]
    file, table = written(kind, column, options, nan_bounds=nan_bounds)
    condition = RowFilter(column="c", op=op, value=literal)
    groups = GroupFilter(FileBounds(file.metadata), row_tests([condition], types(table), "task 't'"))
    rows = BatchFilter([condition], "task 't'")
    found = []
    for group in filter(groups.may_match, range(file.num_row_groups)):
        passing = []
        for batch in file.read_row_group(group).to_batches():
            passing += rows_after(rows, conform(batch, table))
        if groups.all_match(group):
            assert len(passing) == file.metadata.row_group(group).num_rows
        found += passing
    assert found == expected
    assert groups.may_match_any() >= bool(expected)


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind != pa.null()], ids=str)
def test_every_value_meets_every_literal(kind):
    """What drawing meets too rarely: each value in a row group of its own, next to NaN or null, against each literal, alone
    and in a list."""
    values, literals = CASES[kind]
    beside = float("nan") if pa.types.is_floating(kind) else None
    column = [one for value in values for one in (value, beside)]
    file, table = written(
        kind, column, {"row_group_size": 2, "use_deprecated_int96_timestamps": False}, nan_bounds=False
    )
    groups = [conform(file.read_row_group(group).to_batches()[0], table) for group in range(file.num_row_groups)]
    where = [RowFilter(column="c", op=op, value=literal) for op in OPERATORS for literal in literals]
    where += [RowFilter(column="c", op=op, value=[literals[0], one]) for op in ("in", "not in") for one in literals]
    for condition in where:
        expected = [row for row, value in enumerate(column) if holds(value, condition.op, condition.value, kind)]
        bounds = GroupFilter(FileBounds(file.metadata), row_tests([condition], types(table), ""))
        rows = BatchFilter([condition], "")
        passing = {group: rows_after(rows, batch) for group, batch in enumerate(groups) if bounds.may_match(group)}
        assert [row for found in passing.values() for row in found] == expected, condition
        assert bounds.may_match_any() >= bool(expected), condition
        for group, batch in enumerate(groups):
            assert not bounds.all_match(group) or len(passing[group]) == batch.num_rows, condition


def written(kind, column, options, *, nan_bounds):
    """The file, and the columns that a table of such files has."""
    sentinel = SENTINEL.get(kind) if nan_bounds else None
    if sentinel is not None:
        column = [sentinel if value != value else value for value in column]  # noqa: PLR0124  (NaN)
        options = options | {"use_dictionary": False, "compression": "none"}
    sink = pa.BufferOutputStream()
    data = pa.table({"row": pa.array(range(len(column)), pa.int64()), "c": array(column, kind)})
    pq.write_table(data, sink, **options)
    content = sink.getvalue().to_pybytes()
    if sentinel is not None:
        code = "<f" if kind == pa.float32() else "<d"
        content = content.replace(struct.pack(code, sentinel), struct.pack(code, float("nan")))
    file = pq.ParquetFile(pa.BufferReader(content), coerce_int96_timestamp_unit="us")
    schema = file.schema_arrow
    if options["use_deprecated_int96_timestamps"] and pa.types.is_timestamp(kind):  # instants, as `footers` reads them
        schema = schema.set(1, pa.field("c", pa.timestamp("us", kind.tz)))
    return file, storage_schema(schema)


def types(schema):
    return {field.name: str(field.type) for field in schema}


def test_the_files_that_stand_for_spark_s_have_nan_bounds():
    file, _ = written(
        pa.float64(), [1.0, float("nan"), 9.0], {"use_deprecated_int96_timestamps": False}, nan_bounds=True
    )
    assert np.isnan(file.metadata.row_group(0).column(1).statistics.max)
    assert file.read()["c"].to_pylist()[::2] == [1.0, 9.0]
    assert GroupFilter(
        FileBounds(file.metadata), row_tests([RowFilter(column="c", op=">", value=5)], {"c": "double"}, "")
    ).may_match(0)


@pytest.mark.parametrize(
    ("file_type", "table_type"),
    [
        (pa.int64(), pa.float64()),
        (pa.int32(), pa.int64()),
        (pa.uint64(), pa.decimal128(20, 0)),
        (pa.float32(), pa.float64()),
    ],
)
@pytest.mark.parametrize("op", OPERATORS)
def test_bounds_of_a_narrower_file_are_compared_as_the_table_shows_them(file_type, table_type, op):
    """A column that the table widens is pruned by what its values become."""
    for value in (value for value in CASES[file_type][0] if value == value and abs(value) <= 2**53):  # noqa: PLR0124
        file, _ = written(file_type, [value], {"use_deprecated_int96_timestamps": False}, nan_bounds=False)
        (batch,) = file.read().to_batches()
        shown = conform(batch, pa.schema([("row", pa.int64()), ("c", table_type)]))
        for literal in NUMBERS:
            condition = RowFilter(column="c", op=op, value=literal)
            passes = BatchFilter([condition], "").rows(shown).num_rows
            assert (
                GroupFilter(FileBounds(file.metadata), row_tests([condition], types(shown.schema), "")).may_match(0)
                >= passes
            )


def test_the_types_of_each_record_batch_count():
    """A stream whose columns change their type is filtered by what comes, not by what came first."""
    rows = BatchFilter([RowFilter(column="c", op="<", value=2.5)], "task 't'")
    for kind in (pa.int64(), pa.float32(), pa.int64()):
        batch = pa.record_batch({"c": pa.array([2, 3, None], kind)})
        assert rows.rows(batch).num_rows == 1
    with pytest.raises(InputSchemaError, match="task 't': where: column 'c' has type string, .* 2.5"):
        rows.rows(pa.record_batch({"c": ["a"]}))
    with pytest.raises(InputSchemaError, match="where needs column 'c'"):
        BatchFilter([RowFilter(column="c", value=1)], "").rows(pa.record_batch({"x": [1]}))
