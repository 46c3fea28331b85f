"""Statistics that our parts carry never make a reader lose a row, whatever the values."""

import datetime as dt
import decimal
import json
import math
import tempfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.parquet.stats import delta_stats
from sparktorch_assets.lake.parts.file import describe_part
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.tally import Tally

LAST = "\U0010ffff"
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.sampled_from(["", "a" * 70, "a" * 63 + LAST * 9, LAST * 70, "a" * 63 + "\ud7ff" + "b", "ä" * 200, "'\"\\%"]),
)
LAST_MOMENT = dt.datetime.fromisoformat("9999-12-31T23:59:59.999999")
EXTREME_TIMES = [
    dt.datetime.fromisoformat("0001-01-01T00:00:00"),
    LAST_MOMENT,
    dt.datetime.fromisoformat("1969-12-31T23:59:59.999999"),
    dt.datetime.fromisoformat("2024-02-29T12:00:00.000001"),
]
TIMES = st.one_of(st.datetimes(), st.sampled_from(EXTREME_TIMES))
KINDS = {
    pa.bool_(): st.booleans(),
    pa.int8(): st.integers(-(2**7), 2**7 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**53 + 1, 2**63 - 1, -(2**63)])),
    pa.float32(): st.one_of(st.floats(width=32), st.sampled_from([math.nan, math.inf, -math.inf, -0.0])),
    pa.float64(): st.one_of(st.floats(), st.sampled_from([math.nan, math.inf, 5e-324, 1.7976931348623157e308])),
    pa.string(): TEXTS,
    pa.date32(): st.one_of(st.dates(), st.sampled_from([dt.date(1, 1, 1), dt.date(9999, 12, 31)])),
    pa.timestamp("us", "UTC"): TIMES.map(lambda value: value.replace(tzinfo=dt.UTC)),
    pa.timestamp("us"): TIMES,
    pa.decimal128(12, 4): st.decimals(-99999999, 99999999, places=4),
    pa.decimal128(38, 0): st.integers(-(10**38) + 1, 10**38 - 1).map(decimal.Decimal),
    pa.binary(): st.binary(max_size=5),
    pa.list_(pa.int64()): st.lists(st.integers(-5, 5), max_size=3),
    pa.struct([("k", pa.int64())]): st.fixed_dictionaries({"k": st.none() | st.integers(-5, 5)}),
}


@st.composite
def files(draw):
    """A few files of one schema, each a list of columns' values, and the name of the column that is asked for."""
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4))
    names = [f"{draw(st.sampled_from(['c', 'a.b', 'x y', 'ü']))}{number}" for number in range(len(kinds))]
    columns = []
    for _ in range(draw(st.integers(1, 3))):
        rows = draw(st.integers(0, 4))
        columns.append([[draw(st.none() | KINDS[kind]) for _ in range(rows)] for kind in kinds])
    return pa.schema(zip(names, kinds, strict=True)), columns


def commit_files(root, schema, columns):
    parts = []
    for number, values in enumerate(columns):
        arrays = [pa.array(column, kind) for column, kind in zip(values, schema.types, strict=True)]
        with PartWriter(Folder(str(root)), f"{number:032x}", schema) as writer:
            writer.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
            part, _ = writer.finish(Tally())
        assert describe_part(Folder(str(root)), part.path).stats == part.stats  # as resuming finds it
        parts.append(part)
    commit_parts(str(root), schema, add=parts, remove=[], metadata={}, read_version=None)


def rows_by_reader(root, name, literal, kind):
    """Reader -> rows of which column `name` equals `literal`, and rows in which it is not null.

    DuckDB over delta-rs' dataset filters through pyarrow, as the first reader does.
    """
    table = DeltaTable(str(root))
    dataset = table.to_pyarrow_dataset()
    equals = ds.field(name) == pa.scalar(literal, kind)
    found = {
        "pyarrow": (
            dataset.to_table(filter=equals).num_rows,
            dataset.to_table(filter=ds.field(name).is_valid()).num_rows,
        )
    }
    lazy = pl.scan_delta(str(root)), pl.scan_delta(str(root), use_pyarrow=True)
    for reader, frame in zip(("polars", "polars with pyarrow"), lazy, strict=True):
        column = pl.col(name)
        wanted = pl.lit(literal, dtype=pl.from_arrow(pa.array([literal], kind)).dtype)
        # polars writes a filter for pyarrow as Python text, which knows neither NaN nor infinity.
        asked = "pyarrow" not in reader or not isinstance(literal, float) or math.isfinite(literal)
        found[reader] = (
            frame.filter(column == wanted).collect().height if asked else None,
            frame.filter(column.is_not_null()).collect().height,
        )
    quoted = '"' + name.replace('"', '""') + '"'
    ours = QueryBuilder().register("t", table)
    found["datafusion"] = (
        None,
        pa.table(ours.execute(f"select * from t where {quoted} is not null").read_all()).num_rows,
    )
    return found


@settings(max_examples=60)
@given(files(), st.data())
def test_no_reader_loses_a_row(drawn, data):
    """Every value that is in the table is found by asking for it, and no row with a value is taken for null."""
    schema, columns = drawn
    with tempfile.TemporaryDirectory() as folder:
        commit_files(Path(folder), schema, columns)
        for position, field in enumerate(schema):
            values = [value for part in columns for value in part[position] if value is not None]
            if not values or pa.types.is_nested(field.type):
                continue
            literal = data.draw(st.sampled_from(values))
            typed = pa.array(values, field.type)
            is_nan = isinstance(literal, float) and math.isnan(literal)
            equal = None if is_nan else pc.sum(pc.equal(typed, pa.scalar(literal, field.type))).as_py()
            for reader, (same, valid) in rows_by_reader(folder, field.name, literal, field.type).items():
                assert valid == len(values), (reader, field, columns)
                assert same is None or equal is None or same == equal, (reader, field, literal, columns)


@pytest.mark.slow
@given(TEXTS.filter(lambda text: len(text) > 64))
def test_a_cut_text_lies_below_and_above(text):
    """The lower bound is at or below the text, the upper one above all texts that begin like it."""
    schema = pa.schema([("t", pa.string())])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"t": [text]}, schema=schema), sink)
    stats = json.loads(delta_stats(pq.read_metadata(pa.BufferReader(sink.getvalue())), schema))
    if "minValues" in stats:
        assert stats["minValues"]["t"].encode() <= text.encode() < stats["maxValues"]["t"].encode()
        assert (text[:64] + LAST * 10).encode() < stats["maxValues"]["t"].encode() or text[63] == LAST
    else:
        assert text[:64] == LAST * 64


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.float64(), [1.0, math.nan]),
        (pa.float64(), [1.0, math.inf]),
        (pa.timestamp("us"), [LAST_MOMENT]),
        (pa.decimal128(38, 0), [decimal.Decimal(10**37 + 1)]),
        (pa.string(), [LAST * 70]),
        (pa.string(), ["x" * 5000]),
        (pa.date32(), pa.array([-1_000_000], pa.int32()).cast(pa.date32())),
        (pa.timestamp("us"), pa.array([2**62], pa.int64()).cast(pa.timestamp("us"))),
    ],
)
def test_where_one_bound_cannot_be_written_the_file_says_its_rows_alone(kind, values):
    schema = pa.schema([("a", kind), ("b", pa.int64())])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": values, "b": [1] * len(values)}, schema=schema), sink)
    footer = pq.read_metadata(pa.BufferReader(sink.getvalue()))
    nans = ["a"] if any(isinstance(value, float) and math.isnan(value) for value in values) else []
    assert json.loads(delta_stats(footer, schema, nans)) == {"numRecords": len(values)}


def test_floats_of_an_unknown_writer_have_no_bounds():
    """Parquet's bounds leave NaN out, so only a receipt, or a writer that shows NaN, tells that there is none."""
    schema = pa.schema([("a", pa.float64())])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1.0]}, schema=schema), sink)
    footer = pq.read_metadata(pa.BufferReader(sink.getvalue()))
    assert json.loads(delta_stats(footer, schema)) == {"numRecords": 1}
    assert json.loads(delta_stats(footer, schema, []))["maxValues"] == {"a": 1.0}
