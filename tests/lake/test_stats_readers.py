"""Statistics change no reader's answer: every reader finds the rows that it finds in the same files without statistics."""

import datetime as dt
import json
import math
import operator
import warnings
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable, QueryBuilder

from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.tally import Tally

LAST = "\U0010ffff"
VALUES = {
    pa.bool_(): [True, False],
    pa.int8(): [-128, 127],
    pa.int64(): [2**63 - 1, -(2**63), 2**53 + 1],
    pa.float32(): [0.5, math.nan, math.inf, -0.0, 1e-45],
    pa.float64(): [0.1, math.nan, -math.inf, 5e-324, 1e22],
    pa.string(): [
        "",
        "a\0b",
        "a" * 64 + "\0",
        "a" * 63 + LAST * 2,
        LAST * 65,
        "a" * 63 + "\ud7ffb",
        "\u2028",
        "ä" * 65,
    ],
    pa.date32(): [dt.date(1, 1, 1), dt.date(9999, 12, 31)],
    pa.timestamp("us"): [
        dt.datetime.fromisoformat(f"{text}.999999") for text in ("9999-12-31T23:59:59", "0001-01-01T00:00:00")
    ],
    pa.timestamp("us", "UTC"): [dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(1969, 12, 31, 23, 59, 59, 1, dt.UTC)],
    pa.decimal128(12, 4): [Decimal("0.1"), Decimal("-99999999.9999")],
    pa.decimal128(38, 0): [Decimal(10**37 + 1), Decimal(3)],
    pa.binary(): [b"", b"\xff"],
}
COMPARED = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, ">=": operator.ge}


def write_table(root, commits, *, bare):
    """A table of some commits, each a list of files in one schema: (schema, rows of each file, partition)."""
    number = 0
    for version, (schema, files, day) in enumerate(commits):
        partition = (("ds", day),) if day else ()
        parts = []
        for rows in files:
            number += 1
            with PartWriter(Folder(str(root)), f"{number:032x}", schema, partition=partition) as writer:
                for row in rows:
                    writer.write(pa.RecordBatch.from_pylist([row], schema=schema))
                part, _ = writer.finish(Tally())
            parts.append(replace(part, stats=json.dumps({"numRecords": part.rows})) if bare else part)
        commit_parts(
            str(root),
            schema.append(pa.field("ds", pa.string())) if day else schema,
            add=parts,
            remove=[],
            metadata={},
            read_version=version - 1 if version else None,
            partitions=[partition],
        )


def answers(root, path, kind, literals):
    """Question -> number of rows. `path` is a column's name and, inside of a struct, a field's."""
    delta = DeltaTable(str(root))
    dataset = delta.to_pyarrow_dataset()
    arrow = ds.field(*path)
    polar = pl.col(path[0]).struct.field(path[1]) if len(path) > 1 else pl.col(path[0])
    quoted = ['"' + name + '"' for name in path]
    sql = f"{quoted[0]}['{path[1]}']" if len(path) > 1 else quoted[0]
    ours = QueryBuilder().register("t", delta)
    duck = duckdb.connect()
    duck.register("t", dataset)
    polars = {"polars": pl.scan_delta(str(root)), "polars with pyarrow": pl.scan_delta(str(root), use_pyarrow=True)}

    found = {
        ("pyarrow", "null"): dataset.to_table(filter=arrow.is_null()).num_rows,
        ("pyarrow", "not null"): dataset.to_table(filter=arrow.is_valid()).num_rows,
    }
    for what in ("null", "not null"):
        found["DataFusion", what] = len(pa.table(ours.execute(f"select * from t where {sql} is {what}").read_all()))
        found["DuckDB", what] = len(duck.execute(f"select * from t where {'.'.join(quoted)} is {what}").fetchall())
    for reader, frame in polars.items():
        found[reader, "null"] = frame.filter(polar.is_null()).collect().height
        found[reader, "not null"] = frame.filter(polar.is_not_null()).collect().height
    for literal in literals:
        scalar = pa.scalar(literal, kind)
        typed = pl.lit(literal, dtype=pl.from_arrow(pa.array([literal], kind)).dtype)
        odd = isinstance(literal, float) and not math.isfinite(literal)
        for sign, compare in COMPARED.items():
            if pa.types.is_binary(kind) and sign in ("<", ">="):
                continue
            if odd and sign == "<":
                continue  # pyarrow's own datasets take `< NaN` for true of files whose bounds they know
            for word, test in (("", compare(arrow, scalar)), ("not ", ~compare(arrow, scalar))):
                if not (odd and word):
                    found["pyarrow", word + sign, literal] = dataset.to_table(filter=test).num_rows
            for reader, frame in polars.items():
                if not (odd and "pyarrow" in reader):  # polars writes the filter as Python text, which knows no NaN
                    found[reader, sign, literal] = frame.filter(compare(polar, typed)).collect().height
            question = f"select * from t where {'.'.join(quoted)} {sign} ?"
            found["DuckDB", sign, literal] = len(duck.execute(question, [literal]).fetchall())
            if len(path) == 1:
                found["pandas", sign, literal] = len(delta.to_pandas(filters=[(path[0], sign, literal)]))
            if (
                pa.types.is_integer(kind)
                or pa.types.is_boolean(kind)
                or (pa.types.is_string(kind) and "\0" not in literal)
            ):
                text = f"'{literal}'" if isinstance(literal, str) else str(literal).lower()
                question = f"select * from t where {sql} {sign} {text}"
                found["DataFusion", sign, literal] = len(pa.table(ours.execute(question).read_all()))
    return found


def check(tmp_path, commits, paths=None):
    """Compare the answers with and without statistics, about every column or about some."""
    for name in ("with", "without"):
        Path(tmp_path, name).mkdir()
        write_table(tmp_path / name, commits, bare=name == "without")
    newest = commits[-1][0]
    if paths is None:
        paths = [(field.name,) for field in newest if not pa.types.is_nested(field.type)]
        paths += [(field.name, part.name) for field in newest if pa.types.is_struct(field.type) for part in field.type]
    for path in paths:
        kind = newest.field(path[0]).type
        kind = kind.field(path[1]).type if len(path) > 1 else kind
        rows = [row.get(path[0]) for _, files, _ in commits for file in files for row in file]
        values = rows if len(path) == 1 else [row and row[path[1]] for row in rows]
        literals = list(dict.fromkeys(value for value in values if value is not None))[:8]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            due = answers(tmp_path / "without", path, kind, literals)
            assert answers(tmp_path / "with", path, kind, literals) == due, path
        assert due["pyarrow", "null"] == values.count(None)


@pytest.mark.parametrize("kind", VALUES, ids=str)
def test_values_of_every_type(kind, tmp_path):
    """One value a file, with a null beside it or alone, and a file of nulls only."""
    schema = pa.schema([("c", kind), ("z", pa.int64())])
    several = [[{"c": value}] if number % 2 else [{"c": value}, {"z": 1}] for number, value in enumerate(VALUES[kind])]
    check(tmp_path, [(schema, [*several, [{"z": 1}], []], "")])


@pytest.mark.parametrize("flat_first", [True, False])
def test_a_dotted_name_next_to_a_struct_of_the_same_path(flat_first, tmp_path):
    """The Parquet path of the struct's field is the column's name."""
    fields = [("a.b", pa.int64()), ("a", pa.struct([("b", pa.int64())]))]
    files = [[{"a.b": 1, "a": {"b": 100}}], [{"a.b": 2, "a": {"b": None}}], [{"a.b": None, "a": {"b": 7}}]]
    check(tmp_path, [(pa.schema(fields if flat_first else fields[::-1]), files, "")])


def test_fields_of_a_struct(tmp_path):
    kind = pa.struct([("i", pa.int64()), ("b", pa.bool_()), ("t", pa.string())])
    files = [[{"s": {"i": 1, "b": True, "t": "a" * 80}}, {"s": None}], [{"s": {"i": None, "b": None, "t": None}}]]
    check(tmp_path, [(pa.schema([("s", kind)]), files, "")])


@pytest.mark.slow
def test_tables_of_many_columns(tmp_path):
    """More columns than readers look at, with a struct of many fields before them."""
    wide = pa.struct([(f"k{number}", pa.int64()) for number in range(40)])
    names = [f"c{number}" for number in range(50)]
    schema = pa.schema(
        [("s", wide), *((name, pa.bool_() if number % 3 else pa.int64()) for number, name in enumerate(names))]
    )
    files = [[{name: number for number, name in enumerate(names) if number % 3 == 0}], [{"c1": True, "c49": False}]]
    check(tmp_path, [(schema, files, "")], [(names[number],) for number in (0, 1, 30, 31, 32, 33, 41, 42, 48, 49)])


@pytest.mark.parametrize("place", ["last", "first"])
def test_a_partitioned_table_that_gains_columns(place, tmp_path):
    """The parts of partitions that were not refreshed since lack them: there they are null."""
    old = pa.schema([("x", pa.int64())])
    added = [pa.field("y", pa.int64()), pa.field("b", pa.bool_())]
    new = pa.schema([*old, *added] if place == "last" else [*added, *old])
    check(tmp_path, [(old, [[{"x": 1}]], "one"), (new, [[{"x": 2, "y": 3, "b": True}]], "two")])


def test_a_wide_partitioned_table_whose_columns_change_places(tmp_path):
    """The columns that readers look at are not those that they looked at when the older part was written."""
    old = pa.schema([(f"c{number}", pa.int64()) for number in range(50)])
    new = pa.schema([*reversed(list(old)), pa.field("new", pa.int64())])
    first, second = ({f"c{number}": number + more for number in range(50)} for more in (0, 100))
    check(tmp_path, [(old, [[first]], "one"), (new, [[second]], "two")], [("c0",), ("c33",), ("c41",), ("c49",)])


@pytest.mark.parametrize("limit", ["_BUFFER_ROWS", "_GROUP_ROWS"])
@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
@pytest.mark.parametrize("values", [[0.5, math.nan], [math.nan, 0.5, None], [math.nan], [0.5, 0.25, 0.5, math.nan]])
def test_no_bounds_in_a_footer_hide_a_nan(tmp_path, kind, values, limit, monkeypatch):
    """DataFusion and DuckDB sort it above every number, and skip groups of rows by the bounds in the footers. It may come in a
    later group than the first, whether the file has been begun before or not."""
    monkeypatch.setattr(f"sparktorch_assets.lake.parts.writer.{limit}", 3)
    write_table(tmp_path, [(pa.schema([("x", kind)]), [[{"x": value} for value in values]], "")], bare=False)
    query = QueryBuilder().register("t", DeltaTable(str(tmp_path))).execute("select x from t where x > 1.0")
    (file,) = tmp_path.glob("part-*.parquet")
    for found in (
        pa.table(query.read_all()),
        duckdb.connect().read_parquet(str(file)).filter("x > 1.0").to_arrow_table(),
    ):
        assert [math.isnan(value) for value in found["x"].to_pylist()] == [True]
