"""Columns of any nested type pass through a prediction as they came, whatever stands above their nulls."""

import copy
import datetime as dt
import decimal
import re

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparktorch_assets.lake.parquet.types import storage_schema
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.predict.rows.convert import column_of_values, conform_rows
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.tasks import BatchPolicy, MlTask, ModelSpec, NumericFeature, RowFilter

LEAVES = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.string(): st.text(max_size=3),
    pa.bool_(): st.booleans(),
    pa.binary(): st.binary(max_size=3),
    pa.date32(): st.dates(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(dt.UTC)),
    pa.decimal128(9, 2): st.integers(-999_999_999, 999_999_999).map(lambda cents: decimal.Decimal(cents) / 100),
}


def fields(name, kinds):
    return st.builds(lambda kind, nullable: pa.field(name, kind, nullable), kinds, st.booleans())


def nested(kinds):
    """One level more: structs of one to three fields, lists, and maps; with parts that may be null, or may not."""
    return st.one_of(
        st.tuples(*(fields(name, kinds) for name in ("n", "Ä b", "c"))).flatmap(
            lambda three: st.integers(1, 3).map(lambda count: pa.struct(three[:count]))
        ),
        fields("element", kinds).map(pa.list_),
        fields("value", kinds).map(lambda item: pa.map_(pa.string(), item)),
    )


KINDS = nested(st.recursive(st.sampled_from(list(LEAVES)), nested, max_leaves=4))


def values(kind, *, nullable=True):
    """Values that a column of the type can hold."""
    if pa.types.is_struct(kind):
        found = st.fixed_dictionaries({part.name: values(part.type, nullable=part.nullable) for part in kind})
    elif pa.types.is_list(kind):
        found = st.lists(values(kind.value_type, nullable=kind.value_field.nullable), max_size=3)
    elif pa.types.is_map(kind):
        items = values(kind.item_type, nullable=kind.item_field.nullable)
        found = st.dictionaries(st.text(max_size=2), items, max_size=2).map(lambda given: list(given.items()))
    else:
        found = LEAVES[kind]
    return st.none() | found if nullable else found


COLUMNS = KINDS.flatmap(
    lambda kind: st.lists(values(kind), min_size=1, max_size=9).map(lambda rows: pa.array(rows, kind))
)


def same_row(row):
    """The same values in new objects."""
    return copy.deepcopy(row)


def same_frame(frame):
    return frame.copy()


HOOKS = [
    {},
    {"row_preprocessor": same_row},
    {"batch_preprocessor": same_frame},
    {"row_postprocessor": same_row},
    {"batch_postprocessor": same_frame},
    {"row_preprocessor": same_row, "batch_preprocessor": same_frame, "batch_postprocessor": same_frame},
]


def task(**more):
    return MlTask(
        name="echo",
        input="i",
        model=ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
        features=[NumericFeature(columns=["x"])],
        labels=["no", "yes"],
        **more,
    )


def predicted(rows, hooks, **more):
    found = list(predict_map(0, iter(rows), task(**more), 4, model_loader=ModelLoader("."), **hooks))
    return pa.Table.from_batches(found, found[0].schema if found else output_schema(task(**more), rows[0].schema))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    column=COLUMNS,
    hooks=st.sampled_from(HOOKS),
    cut=st.integers(1, 9),
    deduplicate=st.booleans(),
    first=st.integers(0, 1),
)
def test_nested_columns_come_out_as_they_went_in(column, hooks, cut, deduplicate, first):
    """Values and types, required parts and nulls above them included; also of record batches that are slices, of rows that
    a filter leaves, and with hooks that change nothing."""
    numbers = pa.array(range(1, len(column) + 1), pa.int64())
    batch = pa.record_batch({"x": numbers, "nested": column})
    options = {"batch": BatchPolicy(deduplicate=deduplicate), "where": [RowFilter(column="x", op=">", value=first)]}
    found = predicted([batch.slice(start, cut) for start in range(0, len(column), cut)], hooks, **options)
    wanted = column.slice(first)
    assert found["prediction_error"].to_pylist() == [None] * len(wanted)
    assert found["nested"].type == column.type
    assert found["nested"].to_pylist() == wanted.to_pylist()
    found.validate(full=True)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(column=COLUMNS)
def test_nested_values_that_a_hook_returns_become_the_column_again(column):
    """As Python objects, whatever lists, maps and structs they are made of."""
    found, failures = column_of_values("nested", column.to_pylist(), "hook", kind=column.type)
    assert failures == {}
    assert found.type == column.type
    assert found.to_pylist() == column.to_pylist()


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(column=COLUMNS)
def test_nested_columns_change_between_a_tables_type_and_their_own(column):
    """A Delta table has no required parts; a DataFrame may."""
    stored = storage_schema(pa.schema([("nested", column.type)])).field("nested").type
    kept, failures = conform_rows(column, stored, "nested", "hooks")
    back, more = conform_rows(kept, column.type, "nested", "hooks")
    assert (failures, more) == ({}, {})
    assert kept.to_pylist() == back.to_pylist() == column.to_pylist()
    assert (kept.type, back.type) == (stored, column.type)


def required(kind):
    return pa.field("n", kind, nullable=False)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (pa.struct([required(pa.int32())]), {"n": 1}, {"n": None}),
        (pa.struct([required(pa.int32())]), {"n": 1}, {}),
        (pa.struct([pa.field("s", pa.struct([required(pa.int32())]))]), {"s": None}, {"s": {"n": None}}),
        (pa.list_(required(pa.int32())), [1], [1, None]),
        (pa.list_(pa.struct([required(pa.string())])), [None, {"n": "x"}], [{"n": None}]),
        (pa.map_(pa.string(), required(pa.int32())), [("a", 1)], [("a", 1), ("b", None)]),
    ],
)
def test_a_null_that_a_hook_puts_into_a_required_part_fails_its_row(kind, good, bad):
    """Spark would read some other value there."""
    given = [good, bad, None, good]
    column, failures = column_of_values("nested", given, "hook", kind=kind)
    assert column.to_pylist() == [good, None, None, good]
    assert list(failures) == [1]
    assert re.match(
        r"column 'nested': ('\w+' of .* is null, which it must not be|a \w+<.*> does not fit )", failures[1].message
    )
