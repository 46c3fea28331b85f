"""Reads a prediction table with everything that people read Delta tables with, and compares."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder
from pyarrow import fs

from sparktorch_assets.tasks import MlTask

TOLERANCE = 1e-6


def plain_value(value: Any, kind: pa.DataType) -> Any:
    """A value in one form for all readers; NaN equals itself, and -0.0 is not 0.0."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return tuple(plain_value(value[field.name], field.type) for field in kind)
    if pa.types.is_map(kind):
        pairs = [tuple(pair.values()) if isinstance(pair, dict) else pair for pair in value]
        return tuple((plain_value(key, kind.key_type), plain_value(item, kind.item_type)) for key, item in pairs)
    if pa.types.is_list(kind):
        return tuple(plain_value(item, kind.value_type) for item in value)
    return repr(float(value)) if pa.types.is_floating(kind) else value


def plain_columns(table: pa.Table, schema: pa.Schema) -> dict[str, list[Any]]:
    """Column -> values; times as numbers."""
    found = {}
    for field in schema:
        column = table.column(field.name)
        if pa.types.is_timestamp(field.type):
            column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
        elif pa.types.is_date(field.type):
            column = column.cast(pa.date32()).cast(pa.int32())
        found[field.name] = [plain_value(value, field.type) for value in column.to_pylist()]
    return found


def compare(mine: dict[str, list[Any]], theirs: dict[str, list[Any]], close: Sequence[str], what: str) -> None:
    """Assert that two sets of columns hold the same rows, in any order; the columns in `close` within TOLERANCE."""
    assert sorted(mine) == sorted(theirs), what
    exact = [name for name in theirs if name not in close]
    left = _by_exact(theirs, exact, close)
    for key, numbers in ((key, one) for key, several in _by_exact(mine, exact, close).items() for one in several):
        near = [place for place, other in enumerate(left.get(key, [])) if all(map(_near, numbers, other))]
        assert near, f"{what}: {key} {numbers} is there; due of the like: {left.get(key, [])}; all others: {left}"
        left[key].pop(near[0])
    assert not any(left.values()), f"{what}: missing {left}"


def compare_table(found: pa.Table, due: Sequence[dict[str, Any]], schema: pa.Schema, task: MlTask, what: str) -> None:
    """Assert that a prediction table holds the rows that the reference gives."""
    assert set(found.column_names) == set(schema.names), what
    mine = plain_columns(found, schema)
    theirs = {field.name: [plain_value(row[field.name], field.type) for row in due] for field in schema}
    stages = [None if text is None else text.partition(":")[0] for text in mine[task.error_column]]
    mine[task.error_column] = stages
    # A failed row may hold what a hook added before it failed.
    for name, _ in task.typed_hook_columns:
        for side in (mine, theirs):
            stages = side[task.error_column]
            side[name] = [None if stage else value for value, stage in zip(side[name], stages, strict=True)]
    extras = [f"{task.output_prefix}{extra.name}" for extra in task.output.optional_columns]
    compare(mine, theirs, [f"{task.output_prefix}confidence", *extras], what)


def _by_exact(
    columns: dict[str, list[Any]], exact: Sequence[str], close: Sequence[str]
) -> dict[str, list[list[list[float]]]]:
    """What must be equal -> for each row that has it, what must be close."""
    found: dict[str, list[list[list[float]]]] = {}
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        found.setdefault(repr([row[name] for name in exact]), []).append([_numbers(row[name]) for name in close])
    return found


def _numbers(value: Any) -> list[float]:
    return [] if value is None else [float(item) for item in (value if isinstance(value, tuple) else (value,))]


def _near(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in zip(one, other, strict=True)
    )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def live_files(table: Path) -> list[str]:
    """The files of the table's latest version, not quoted as `file_uris` quotes those in odd folders."""
    paths = pa.table(DeltaTable(str(table)).get_add_actions())["path"].to_pylist()
    return [str(table / path) for path in paths]


def read_all(table: Path, spark: Any = None) -> dict[str, pa.Table]:
    """Reader -> all rows."""
    delta = DeltaTable(str(table))
    files = live_files(table)
    found = {
        "delta-rs": delta.to_pyarrow_table(),
        "DataFusion": pa.table(QueryBuilder().register("t", delta).execute("select * from t").read_all()),
    }
    if _polars_opens(table):
        found["polars"] = pl.read_delta(str(table)).to_arrow()
    if files and not delta.metadata().partition_columns:  # the files alone do not hold the partition column
        found["DuckDB"] = duckdb.connect().read_parquet(files).to_arrow_table()
    if files and spark is not None:
        frame = spark.read.option("basePath", str(table)).parquet(*files)
        found["Spark"] = frame.toArrow()
    return found


def _native_dataset(delta: DeltaTable, table: Path) -> Any:
    """The table's dataset, with files that pyarrow opens by itself. Those of delta-rs are Python objects: pyarrow 26 frees one
    under a lock of its own and waits for the interpreter's there, while DuckDB 2.0's thread, which has that one, waits for the
    other (seen twice, after 24 and 30 minutes)."""
    return delta.to_pyarrow_dataset(filesystem=fs.SubTreeFileSystem(str(table), fs.LocalFileSystem()))


def _polars_opens(table: Path) -> bool:
    """polars 2.1 takes the quoted form of a table's path for the path itself."""
    return quote(str(table)) == str(table)


def check_filter(table: Path, column: str, op: str, value: Any) -> None:
    """Every reader gives as many rows with a pushed-down filter as its own rows pass the test."""
    delta = DeltaTable(str(table))
    whole = delta.to_pyarrow_table()
    kind = whole.schema.field(column).type
    scalar = _scalar(value, kind)
    expression = _OPS[op](pc.field(column), scalar)
    due = whole.filter(expression).num_rows
    what = f"{column!r} {op} {value!r}"
    assert delta.to_pyarrow_dataset().to_table(filter=expression).num_rows == due, f"pyarrow dataset, {what}"
    test = f"{quoted(column)} {op} {_literal(value, kind)}"
    if not pa.types.is_timestamp(kind):  # DataFusion's literals are nanoseconds, and end in 2262
        query = QueryBuilder().register("t", delta)
        hits = pa.table(query.execute(f"select {test} as hit from t").read_all()).column("hit").to_pylist()
        rows = pa.table(query.execute(f"select * from t where {test}").read_all()).num_rows
        assert rows == hits.count(True), f"DataFusion, {what}: {rows} rows, {hits.count(True)} pass"
    if live_files(table) and not delta.metadata().partition_columns:
        files = duckdb.connect().read_parquet(live_files(table))
        due = sum(row[0] is True for row in files.project(f"{test} as hit").fetchall())
        assert files.filter(test).shape[0] == due, f"DuckDB, {what}"
    holds_nan = pa.types.is_floating(kind) and pc.any(pc.is_nan(whole.column(column))).as_py()
    if not holds_nan:  # pyarrow's comparisons are false for NaN, the others' are not
        connection = duckdb.connect().register("dataset", _native_dataset(delta, table))
        due = sum(row[0] is True for row in connection.sql(f"select {test} as hit from dataset").fetchall())
        assert connection.sql(f"select * from dataset where {test}").shape[0] == due, f"DuckDB over pyarrow, {what}"
    if not _polars_opens(table):
        return
    expression = _OPS[op](pl.col(column), pl.lit(scalar.as_py()))
    due = pl.read_delta(str(table)).filter(expression).height
    assert pl.scan_delta(str(table)).filter(expression).collect().height == due, f"polars, {what}"
    if not holds_nan:
        frame = pl.scan_delta(str(table), use_pyarrow=True)
        assert frame.filter(expression).collect().height == due, f"polars over pyarrow, {what}"


_OPS: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_timestamp(kind):
        return pa.scalar(value, pa.int64()).cast(kind)
    return pa.scalar(value, pa.int32()).cast(kind) if kind == pa.date32() else pa.scalar(value, kind)


def _literal(value: Any, kind: pa.DataType) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if pa.types.is_decimal(kind):
        return f"cast('{value:f}' as decimal({kind.precision}, {kind.scale}))"
    if kind == pa.date32():
        return f"date '{_scalar(value, kind).as_py().isoformat()}'"
    if pa.types.is_timestamp(kind):
        text = _scalar(value, kind).as_py().isoformat(sep=" ", timespec="microseconds")
        return f"{'timestamptz' if kind.tz else 'timestamp'} '{text}'"
    return str(value).lower() if isinstance(value, bool) else repr(value)
