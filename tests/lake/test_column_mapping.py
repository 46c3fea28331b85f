"""Tables whose files have other column names than the table, as after RENAME COLUMN or DROP COLUMN."""

import datetime as dt

import pyarrow as pa
import pytest
from delta_log import column, put_file, write_log
from deltalake import DeltaTable, QueryBuilder
from lake_scorer import conditions, pieces_of, plan_of

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.column_mapping import ColumnMapping
from sparktorch_assets.lake.plan import make_plan
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.lake.table import Table
from sparktorch_assets.tasks.row_filter import RowFilter

PROTOCOLS = {"legacy": {"reader": 2}, "feature": {"features": ["columnMapping"]}}


def mapped(name, kind, physical, number):
    return column(name, kind, **{"delta.columnMapping.physicalName": physical, "delta.columnMapping.id": number})


def stored(name, kind, number):
    return pa.field(name, kind, metadata={"PARQUET:field_id": str(number)})


def struct(first):
    return {"type": "struct", "fields": [mapped("u", "long", "p-u", first), mapped("v", "string", "p-v", first + 1)]}


def stored_struct(first):
    """With a field that the table dropped, whose name is that of a column of today."""
    fields = [stored("v", pa.int64(), 99), stored("p-v", pa.string(), first + 1), stored("p-u", pa.int32(), first)]
    return pa.struct(fields)


COLUMNS = [
    mapped("id", "long", "col-1", 1),
    mapped("x", "double", "col-2", 2),
    mapped("ds", "date", "col-3", 3),
    mapped("s", struct(10), "col-4", 4),
    mapped("l", {"type": "array", "elementType": struct(20), "containsNull": True}, "col-5", 5),
    mapped(
        "m",
        {"type": "map", "keyType": "string", "valueType": struct(30), "valueContainsNull": True},
        "col-6",
        6,
    ),
    mapped("late", "string", "col-7", 7),
]
INNER = {"v": 5, "p-v": "a", "p-u": 1}
STORED = pa.table(
    {
        "x": [9, 9, 9],  # dropped; a column of today has its name
        "col-2": [0.5, None, 1.5],
        "col-1": [1, 2, 3],
        "col-4": [INNER, None, {"p-v": None, "p-u": 3, "v": 1}],
        "col-5": [[INNER], [], None],
        "col-6": [[("k", INNER)], None, []],
    },
    schema=pa.schema(
        [
            stored("x", pa.int64(), 98),
            stored("col-2", pa.float32(), 2),
            stored("col-1", pa.int64(), 1),
            stored("col-4", stored_struct(10), 4),
            stored("col-5", pa.list_(pa.field("element", stored_struct(20))), 5),
            stored("col-6", pa.map_(pa.string(), stored_struct(30)), 6),
        ]
    ),
)
SHOWN = {"u": 1, "v": "a"}
ROWS = [
    {"id": 1, "x": 0.5, "s": SHOWN, "l": [SHOWN], "m": [("k", SHOWN)]},
    {"id": 2, "x": None, "s": None, "l": [], "m": None},
    {"id": 3, "x": 1.5, "s": {"u": 3, "v": None}, "l": None, "m": []},
]
ROWS = [{**row, "ds": dt.date(2013, 1, 2), "late": None} for row in ROWS]


def make(table, mode, protocol, names=None):
    rows = STORED if names is None else STORED.rename_columns(names)
    action = put_file(table, "a.parquet", rows, row_group_size=1)
    action |= {"partitionValues": {"col-3": "2013-01-02"}}
    properties = {"delta.columnMapping.mode": mode}
    write_log(table, COLUMNS, [action], properties=properties, partition_by=["ds"], **PROTOCOLS[protocol])


def read(table, schema, where=()):
    tests = conditions(Table(str(table)).schema, where)
    plan = make_plan(
        Table(str(table)), Table(str(table / "out")), schema=Table(str(table)).schema, digest="d", tests=tests
    )
    found = []
    for piece in pieces_of(plan.new):
        with PieceReader(piece, schema, tests) as reader:
            found += [row for batch in reader.batches() for row in batch.to_pylist()]
    return found


@pytest.mark.promise("T34")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", ["name", "id"])
def test_columns_are_found_by_what_files_call_them(tmp_path, mode, protocol):
    """Nested fields, too; never by the table's own name, which another column of the file may have."""
    make(tmp_path, mode, protocol)
    schema = Table(str(tmp_path)).schema
    assert (
        Table(str(tmp_path)).preview(9)
        == read(tmp_path, schema)
        == [{name: row[name] for name in schema.names} for row in ROWS]
    )
    assert read(tmp_path, schema.empty_table().select(["x", "ds"]).schema) == [
        {"x": row["x"], "ds": row["ds"]} for row in ROWS
    ]
    assert Table(str(tmp_path)).row_count() == 3
    others = QueryBuilder().register("t", DeltaTable(str(tmp_path))).execute("select id, x from t order by id")
    assert pa.table(others).to_pylist() == [{"id": row["id"], "x": row["x"]} for row in ROWS]


@pytest.mark.parametrize("mode", ["name", "id"])
def test_conditions_look_at_the_right_bounds(tmp_path, mode):
    """The file's own column `x`, which the table dropped, is 9 everywhere."""
    make(tmp_path, mode, "legacy")
    schema, day = Table(str(tmp_path)).schema, RowFilter(column="ds", op="<", value=dt.date(2014, 1, 1))
    for op, value in (("<", 5.0), ("==", 1.5), (">", -1.0)):
        assert 3 in {row["id"] for row in read(tmp_path, schema, (RowFilter(column="x", op=op, value=value), day))}
    left_out = read(tmp_path, schema, (RowFilter(column="id", op=">", value=5),))
    assert [row["id"] for row in left_out] == ([] if mode == "name" else [1, 2, 3])


@pytest.mark.parametrize("mode", ["name", "id"])
def test_what_the_files_call_the_columns(tmp_path, mode):
    make(tmp_path, mode, "legacy")
    (file,) = Table(str(tmp_path)).files
    assert file.mapping.stored_names(["id"]) == [("id", {"name": "col-1", "id": "1"}[mode])]
    fields = {path for path, _ in file.mapping.stored_names(["s", "l", "m"])}
    assert fields == {"s", "s.u", "s.v", "l", "l.element.u", "l.element.v", "m", "m.value.u", "m.value.v"}
    unchanged = ColumnMapping(
        mode="name", schema=pa.schema([("id", pa.int64()), ("s", pa.struct([("u", pa.int64())]))])
    )
    assert unchanged.stored_names(["id", "s"]) == []


def test_files_without_numbers_are_refused(tmp_path):
    """In id mode the names of a file's columns say nothing."""
    action = put_file(tmp_path, "a.parquet", pa.table({"id": [1], "x": [0.5]}))
    write_log(tmp_path, COLUMNS, [action], properties={"delta.columnMapping.mode": "id"}, reader=2)
    with pytest.raises(
        TableError, match=r"a.parquet' has none of the columns that are read from the table \('id', 'x'"
    ):
        Table(str(tmp_path)).preview(1)


def test_a_mapping_that_the_protocol_does_not_allow_is_refused(tmp_path):
    action = put_file(tmp_path, "a.parquet", pa.table({"id": [1]}))
    write_log(tmp_path, COLUMNS, [action], properties={"delta.columnMapping.mode": "name"}, reader=1)
    with pytest.raises(TableError, match=r"columnMapping.mode='name', which its protocol \(reader version 1\)"):
        plan_of(tmp_path, tmp_path / "out", 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_output_with_a_mapping_is_refused(tmp_path, protocol):
    make(tmp_path / "table", "name", protocol)
    source = tmp_path / "in"
    put_file(source, "a.parquet", pa.table({"id": ["a"], "x": [1]}))
    with pytest.raises(TableError, match="column mapping, under which files have other column names"):
        plan_of(source, tmp_path / "table", 1)
