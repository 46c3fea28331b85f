"""A file's columns become the table's value by value, or the file is refused; nulls never stand in for what is there."""

import datetime as dt
import decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_log import column, put_file, write_log
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_scorer import pieces_of, plan_of

from sparktorch_assets.errors import InputSchemaError, TableError
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.parquet.file_columns import FileColumns
from sparktorch_assets.lake.parquet.types import readable_schema, storage_schema
from sparktorch_assets.lake.plan import make_plan
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.lake.table import Table

UTC = dt.UTC
MOMENT = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))  # noqa: DTZ001
INSTANT = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
LATELY = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2200, 1, 1))  # noqa: DTZ001
WHOLE = {kind: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for kind, bits in ((pa.int8(), 8), (pa.int16(), 16), (pa.int32(), 32), (pa.int64(), 64))}  # fmt: skip
POSITIVE = {kind: st.integers(0, 2**bits - 1) for kind, bits in ((pa.uint8(), 8), (pa.uint32(), 32), (pa.uint64(), 64))}
TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
LEAVES = {
    **WHOLE,
    **POSITIVE,
    pa.float16(): st.floats(width=16, allow_nan=False),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.string_view(): TEXT,
    pa.dictionary(pa.int8(), pa.string()): TEXT,
    pa.dictionary(pa.int32(), pa.string()): TEXT,
    pa.binary(): st.binary(max_size=5),
    pa.large_binary(): st.binary(max_size=5),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.date32(): st.dates(dt.date(1, 1, 2)),
    pa.date64(): st.dates(dt.date(1, 1, 2)),
    pa.timestamp("s"): MOMENT.map(lambda value: value.replace(microsecond=0)),
    pa.timestamp("ms"): MOMENT.map(lambda value: value.replace(microsecond=value.microsecond // 1000 * 1000)),
    pa.timestamp("us"): MOMENT,
    pa.timestamp("ns"): LATELY,
    pa.timestamp("us", "UTC"): INSTANT,
    pa.timestamp("ms", "Europe/Berlin"): INSTANT.map(lambda value: value.replace(microsecond=0)),
    pa.decimal128(9, 2): st.decimals(-1000, 1000, places=2),
    pa.decimal128(38, 0): st.integers(-(10**38) + 1, 10**38 - 1).map(decimal.Decimal),
    pa.decimal256(20, 4): st.decimals(-1000, 1000, places=4),
    pa.null(): st.none(),
}


@st.composite
def typed(draw, depth=2):
    """A type, and a strategy for its values."""
    kind = draw(st.sampled_from(["leaf", "leaf", "list", "struct", "map"] if depth else ["leaf"]))
    if kind == "leaf":
        leaf = draw(st.sampled_from(list(LEAVES)))
        return leaf, st.none() | LEAVES[leaf]
    if kind == "struct":
        names = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
        fields = {name: draw(typed(depth - 1)) for name in names}
        values = st.fixed_dictionaries({name: strategy for name, (_, strategy) in fields.items()})
        return pa.struct([(name, inner) for name, (inner, _) in fields.items()]), st.none() | values
    inner, values = draw(typed(depth - 1))
    if kind == "map":
        pairs = st.lists(st.tuples(TEXT, values), max_size=2, unique_by=lambda pair: pair[0])
        return pa.map_(pa.string(), inner), st.none() | pairs
    made = draw(st.sampled_from([pa.list_, pa.large_list, lambda inner: pa.list_(inner, 2)]))(inner)
    size = 2 if pa.types.is_fixed_size_list(made) else None
    return made, st.none() | st.lists(values, min_size=size or 0, max_size=size or 3)


def shown(value, kind):  # noqa: PLR0911
    """The reference: one value as a table of `kind` shows it. Exact, or an ArithmeticError."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: shown(value.get(field.name), field.type) for field in kind}
    if pa.types.is_map(kind):
        return [(key, shown(item, kind.item_type)) for key, item in value]
    if pa.types.is_list(kind):
        return [shown(item, kind.value_type) for item in value]
    if pa.types.is_decimal(kind):
        return decimal.Decimal(value)
    if pa.types.is_floating(kind):
        if isinstance(value, decimal.Decimal) or float(value) != value:
            raise ArithmeticError
        return float(value)
    if pa.types.is_binary(kind) and isinstance(value, str):
        return value.encode()
    if pa.types.is_timestamp(kind) and kind.tz:
        return value.astimezone(UTC)
    return value


def read(table, schema):
    plan = make_plan(Table(str(table)), Table(str(table / "out")), schema=schema, digest="d")
    return [row for piece in pieces_of(plan.new) for row in _rows(piece, schema)]


def _rows(piece, schema):
    with PieceReader(piece, schema) as reader:
        return [row["c"] for batch in reader.batches() for row in batch.to_pylist()]


@pytest.mark.slow
@pytest.mark.promise("T38")
@settings(max_examples=150, deadline=None)
@given(data=st.data(), kinds=st.lists(typed(), min_size=1, max_size=2))
def test_a_folder_shows_every_files_values_as_they_are_or_is_refused(tmp_path_factory, data, kinds):
    """Files of other types for one column: the folder's type shows the values of both exactly, or planning or reading
    ends with an error that names the column."""
    folder, wanted = tmp_path_factory.mktemp("kinds"), []
    for number, (kind, strategy) in enumerate(kinds):
        values = data.draw(st.lists(strategy, max_size=4), label=str(kind))
        try:
            pq.write_table(
                pa.table({"c": pa.array(values, kind), "n": [number] * len(values)}), folder / f"{number}.parquet"
            )
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            return  # not a type of Parquet's, or no such value
        wanted += values
    try:
        schema = storage_schema(Table(str(folder)).schema)
        found = read(folder, schema)
    except (InputSchemaError, TableError) as error:
        refused = str(error)
    else:
        refused = None
    if refused is not None:
        assert "'c'" in refused
        assert len(kinds) > 1  # one type is always shown
        return
    assert found == [shown(value, schema.field("c").type) for value in wanted]


def folder(tmp_path, *columns):
    for number, rows in enumerate(columns):
        pq.write_table(pa.table(rows), tmp_path / f"{number}.parquet")
    return str(tmp_path)


WIDENED = {
    "integers": ([pa.int32(), pa.int64()], pa.int64()),
    "unsigned": ([pa.int64(), pa.uint64()], pa.decimal128(20, 0)),
    "floats": ([pa.float32(), pa.float64()], pa.float64()),
    "whole and fraction": ([pa.int32(), pa.float64()], pa.float64()),
    "texts": ([pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], pa.string()),
    "zones": ([pa.timestamp("us", "UTC"), pa.timestamp("ns", "Europe/Berlin")], pa.timestamp("us", "UTC")),
    "units": ([pa.timestamp("ms"), pa.timestamp("ns")], pa.timestamp("us")),
    "nulls alone": ([pa.null(), pa.list_(pa.null()), pa.list_(pa.int8())], pa.list_(pa.int8())),
    "dates": ([pa.date32(), pa.date64()], pa.date32()),
    "decimals": ([pa.decimal128(5, 2), pa.decimal128(9, 4)], pa.decimal128(9, 4)),
    "structs in another order": (
        [pa.struct([("a", pa.int8()), ("b", pa.string())]), pa.struct([("b", pa.string()), ("a", pa.int64())])],
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
    ),
}
NOT_ONE = {
    "text and number": [pa.string(), pa.int64()],
    "boolean and number": [pa.bool_(), pa.int8()],
    "local time and instant": [pa.timestamp("us"), pa.timestamp("us", "UTC")],
    "decimal and fraction": [pa.decimal128(9, 2), pa.float64()],
    "date and time": [pa.date32(), pa.timestamp("us")],
    "list and value": [pa.list_(pa.int8()), pa.int8()],
    "structs of another case": [pa.struct([("a", pa.int8())]), pa.struct([("A", pa.int8())])],
}


@pytest.mark.promise("T38")
@pytest.mark.parametrize("name", WIDENED)
def test_types_that_fit_into_one_are_one(tmp_path, name):
    kinds, wanted = WIDENED[name]
    schema = storage_schema(Table(folder(tmp_path, *[{"c": pa.nulls(1, kind)} for kind in kinds])).schema)
    assert str(schema.field("c").type).replace("item", "element") == str(wanted).replace("item", "element")
    assert read(tmp_path, schema) == [None] * len(kinds)


@pytest.mark.promise("T32", "T39")
@pytest.mark.parametrize("name", NOT_ONE)
@pytest.mark.parametrize("turned", [1, -1])
def test_types_that_do_not_are_refused_in_planning(tmp_path, name, turned):
    path = folder(tmp_path, *[{"n": [1], "c": pa.nulls(1, kind)} for kind in NOT_ONE[name][::turned]])
    with pytest.raises(InputSchemaError, match=r"column 'c' is .* in '0.parquet' and .* in '1.parquet'"):
        Table(path).schema


@pytest.mark.promise("T39")
def test_a_value_that_the_common_type_cannot_show_is_refused(tmp_path):
    path = folder(tmp_path, {"c": [0.5]}, {"c": [2**53 + 1]})
    assert Table(path).schema.field("c").type == pa.float64()
    with pytest.raises(TableError, match=r"1.parquet': column 'c' is int64 there and double in the table") as refused:
        read(tmp_path, Table(path).schema)
    assert str(2**53 + 1) not in str(refused.value)


def test_nanoseconds_are_cut_wherever_they_stand(tmp_path):
    """And nothing else is: seconds that microseconds cannot hold are refused."""
    nanos, kind = pa.array([1_999, -1_999, None], pa.timestamp("ns")), pa.timestamp("us")
    cut = nanos.cast(kind, safe=False).to_pylist()
    lists = pa.ListArray.from_arrays([0, 1, 2, 3], nanos)
    path = folder(tmp_path, {"c": nanos, "l": lists, "s": pa.StructArray.from_arrays([nanos], ["t"])})
    shown = readable_schema(Table(path).schema)
    rows = [{"c": at, "l": [at], "s": {"t": at}} for at in cut]
    plan = make_plan(Table(path), Table(str(tmp_path / "out")), schema=shown, digest="d")
    with PieceReader(plan.new[0].pieces[0], shown) as reader:
        assert [row for batch in reader.batches() for row in batch.to_pylist()] == rows
    far = put_file(tmp_path / "far", "a.parquet", pa.table({"c": pa.array([2**60], pa.timestamp("ms"))}))
    write_log(tmp_path / "far", [column("c", "timestamp_ntz")], [far], features=["timestampNtz"])
    with pytest.raises(TableError, match=r"column 'c' is timestamp\[ms\] there .* holds a value that does not fit"):
        Table(str(tmp_path / "far")).preview(1)


def test_old_timestamps_of_spark_reach_beyond_nanoseconds(tmp_path):
    """INT96 holds instants of any year; within structs and lists, too."""
    instants = [dt.datetime(1, 1, 2, tzinfo=UTC), dt.datetime(9999, 12, 30, 1, 2, 3, 4, tzinfo=UTC), None]
    kind = pa.timestamp("us", "UTC")
    rows = pa.table(
        {
            "c": pa.array(instants, kind),
            "s": pa.array([{"t": at, "n": 1} for at in instants], pa.struct([("t", kind), ("n", pa.int64())])),
            "l": pa.array([[at] for at in instants], pa.list_(kind)),
        }
    )
    pq.write_table(rows, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True, store_schema=False)
    assert Table(str(tmp_path)).preview(9) == rows.to_pylist()
    assert read(tmp_path, Table(str(tmp_path)).schema) == instants


ID, X = pa.array([1, 2]), pa.array([0.5, 1.5])
NAIVE = pa.array([1, 2], pa.timestamp("us"))
DELTA = [column("id", "long"), column("x", "double")]


@pytest.mark.promise("T40")
def test_a_file_of_none_of_the_wanted_columns_is_refused(tmp_path):
    """A file that was written before a column was added has the others; one that has none is of another table."""
    good, late, stray = ({"id": ID, "x": X}, {"id": ID}, {"other": ID})
    adds = [put_file(tmp_path, f"{number}.parquet", pa.table(rows)) for number, rows in enumerate([good, late])]
    write_log(tmp_path, DELTA, adds, reader=1)
    assert [row["x"] for row in Table(str(tmp_path)).preview(9)] == [0.5, 1.5, None, None]
    write_log(tmp_path, DELTA, [*adds, put_file(tmp_path, "2.parquet", pa.table(stray))], reader=1)
    message = r"2.parquet' has none of the columns that are read from the table \('id', 'x'\); it has 'other'"
    with pytest.raises(TableError, match=message):
        Table(str(tmp_path)).preview(9)
    shard = plan_of(tmp_path, tmp_path / "out", 1).new[-1]
    with pytest.raises(TableError, match=message):
        PieceReader(shard.pieces[0], Table(str(tmp_path)).schema)
    PieceReader(shard.pieces[0], pa.schema([("other", pa.int64())]))


def test_partition_columns_need_no_file(tmp_path):
    write_deltalake(str(tmp_path), pa.table({"id": ID, "c": pa.array(["a", "b"])}), partition_by=["c"])
    assert sorted(read(tmp_path, pa.schema([("c", pa.string())]))) == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"ID": ID, "x": X}, r"has the column 'ID' where the table has 'id'"),
        ({"id": ID, "x": X.cast(pa.string())}, r"column 'x' is string there and double in the table"),
        ({"id": X, "x": X}, r"column 'id' is double there and int64 in the table"),
        ({"id": ID, "f": X}, r"column 'f' is double there and float in the table"),
        ({"id": ID, "at": NAIVE}, r"column 'at' is timestamp\[us\] there and timestamp\[us, tz=UTC\] in the table"),
        (
            {"id": ID, "local": NAIVE.cast(pa.timestamp("us", "UTC"))},
            r"column 'local' is timestamp\[us, tz=UTC\] there",
        ),
    ],
)
def test_a_file_that_is_not_what_the_log_says_is_refused(tmp_path, rows, message):
    columns = [*DELTA, column("f", "float"), column("at", "timestamp"), column("local", "timestamp_ntz")]
    write_log(tmp_path, columns, [put_file(tmp_path, "a.parquet", pa.table(rows))], features=["timestampNtz"])
    with pytest.raises(TableError, match=message):
        Table(str(tmp_path)).preview(1)


NAMES = {
    "twice": ["a", "b", "a"],
    "in another case": ["a", "b", "A"],
    "in another case, beyond ASCII": ["ä", "b", "Ä"],
}


def named(names):
    return pa.Table.from_arrays([ID] * len(names), names=names)


@pytest.mark.promise("T43")
@pytest.mark.parametrize("kind", NAMES)
def test_names_that_are_not_distinct_are_refused_in_planning(tmp_path, kind):
    """In one file, across files, in Delta's log, within structs, and between a file and its folder."""
    names = NAMES[kind]
    doubled = set(names) - {"b"}
    one, two, three, four, five = (tmp_path / name for name in ("one", "two", "three", "four", "five"))
    put_file(one, "a.parquet", named(names))
    put_file(two, "a.parquet", named(["b"]))
    put_file(two, "b.parquet", named(names))
    write_log(three, [column(name, "long") for name in names], [put_file(three, "a.parquet", named(names))], reader=1)
    struct = pa.StructArray.from_arrays([ID] * 3, names=names)
    put_file(four, "a.parquet", pa.table({"s": struct}))
    put_file(five, f"{names[0]}=1/a.parquet", named(["b", names[2]]))
    for table in (one, two, three, four, *[five] * (kind != "twice")):
        with pytest.raises((InputSchemaError, TableError)) as refused:
            storage_schema(Table(str(table)).schema)
        if table is not three:  # there, delta-rs may say it first
            assert isinstance(refused.value, InputSchemaError)
            assert all(name in str(refused.value) for name in doubled)
            assert "rename one in the input" in str(refused.value)


@pytest.mark.promise("T38")
def test_files_without_rows_count_for_columns_alone(tmp_path):
    path = folder(tmp_path, {"c": pa.array([], pa.int64()), "late": pa.array([], pa.string())}, {"c": [1]})
    assert Table(path).schema.names == ["c", "late"]
    assert (Table(path).row_count(), Table(path).preview(9)) == (1, [{"c": 1, "late": None}])
    assert read(tmp_path, Table(path).schema) == [1]


@pytest.mark.parametrize("changed", ["type", "name", "partition"])
def test_columns_of_the_file_before_are_taken_over_only_if_they_are_equal(tmp_path, changed):
    """A file after one with equal columns takes over what was found for it; after any other, it finds its own."""
    tables = [pa.table({"a": pa.array([1], pa.int64())})] * 2 + [
        pa.table({"b" if changed == "name" else "a": pa.array([1], pa.int32() if changed == "type" else pa.int64())})
    ]
    keys = ["1", "1", "2" if changed == "partition" else "1"]
    wanted = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("key", pa.int64())])
    before = None
    found = []
    for number, (table, key) in enumerate(zip(tables, keys, strict=True)):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(table, path)
        file = DataFile(uri=str(path), path=path.name, size_bytes=1, modified_ms=1, partition=(("key", key),))
        columns = FileColumns(file, pq.read_metadata(path), wanted, before=before)
        alone = FileColumns(file, pq.read_metadata(path), wanted)
        assert columns.found == alone.found
        batch = table.to_batches()[0].select(columns.names)
        assert columns.conform(batch).equals(alone.conform(batch))
        found.append(columns)
        before = columns
    assert found[1].names is found[0].names
    assert found[2].names is not found[1].names
