"""A stand-in for a model: predictions are `x * weight`, made with pyarrow alone, through the lake's real pieces."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from sparktorch_assets.lake.commit_plan import Committed, commit_plan, commit_plans, keep_resumed
from sparktorch_assets.lake.cut.piece import Piece
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.partition_values import parse_partition
from sparktorch_assets.lake.parts.writer import PartWriter
from sparktorch_assets.lake.plan import Plan, make_plan, make_plans
from sparktorch_assets.lake.rows.piece_reader import PieceReader
from sparktorch_assets.lake.scope import Scope
from sparktorch_assets.lake.shards import Shard
from sparktorch_assets.lake.table import Table
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks.row_test import row_tests

INPUT = pa.schema([("id", pa.string()), ("x", pa.int64())])
OUTPUT = pa.schema([*INPUT, ("y", pa.int64())])


def conditions(schema, where):
    """Conditions as tests of a table's columns."""
    return row_tests(where, {column.name: str(column.type) for column in schema}, "task 't'")


def write_file(folder: Path, name: str, values: list[int], group_rows: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": [f"{name}-{row}" for row in range(len(values))], "x": values}, schema=INPUT)
    pq.write_table(table, folder / f"{name}.parquet", row_group_size=group_rows)


def plan_of(
    source: Path,
    table: Path,
    weight: int,
    schema: pa.Schema = OUTPUT,
    target_rows: int = 3,
    shard_rows: int | None = None,
) -> Plan:
    return make_plan(
        Table(str(source)),
        Table(str(table)),
        schema=schema,
        digest=f"weight {weight} {schema.names}",
        target_rows=target_rows,
        shard_rows=shard_rows,
    )


def pieces_of(shards: Iterable[Shard]) -> list[Piece]:
    """What the shards consist of, in order."""
    return [piece for shard in shards for piece in shard.pieces]


def batches_of(piece: Piece, schema: pa.Schema = INPUT) -> Iterator[pa.RecordBatch]:
    with PieceReader(piece, schema) as reader:
        yield from reader.batches()


def score_shard(shard: Shard, table: Path, weight: int, step: Callable[[str], None], schema: pa.Schema = OUTPUT):
    writer = PartWriter(Folder(str(table)), shard.fingerprint, schema)  # no context: a killed process cleans nothing
    for piece in shard.pieces:
        for batch in batches_of(piece):
            arrays = [*batch.columns, *[pc.multiply(batch["x"], weight)] * (len(schema) - 2)]
            writer.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
    step("writing")
    return writer.finish(Tally(rows=shard.rows, predicted=shard.rows, classes={str(weight): shard.rows}))


def carry_out(
    plan: Plan, table: Path, weight: int, step: Callable[[str], None] = lambda _: None
) -> tuple[Committed, list[str]]:
    """Score and commit a plan; the second result is what was computed."""
    step("planned")
    Folder(str(table)).create()
    parts = dict(plan.resumed)
    computed = []
    for shard in plan.new:
        parts[shard.part_path] = score_shard(shard, table, weight, step, plan.schema)
        computed.append(shard.part_path)
        step("part")
    step("before commit")

    committed = commit_plan(plan, parts, lambda _: None, {})
    step("after commit")
    return committed, computed


def refresh(source: Path, table: Path, weight: int, step: Callable[[str], None] = lambda _: None, **cut: int):
    plan = plan_of(source, table, weight, **cut)
    if not plan.changes:
        return None, []
    return carry_out(plan, table, weight, step)


CUTS = {"row groups": {}, "row ranges": {"shard_rows": 1}, "small files": {"target_rows": 1_000}}
"""Shards of whole row groups; of some rows of a row group; of several small files."""


def refresh_partitions(source: Path, table: Path, weight: int, values: tuple[int, ...], **cut: int) -> None:
    """Refresh the partitions by `x` with these values, all in one commit."""
    scopes = []
    for value in values:
        partition, where = parse_partition({"x": str(value)}, INPUT)
        tests = conditions(INPUT, where)
        scopes.append(Scope(digest=f"weight {weight} of {value}", partition=partition, tests=tests))
    plans = make_plans(Table(str(source)), Table(str(table)), scopes, schema=OUTPUT, **({"target_rows": 3} | cut))
    tests_of, parts = {scope.partition: scope.tests for scope in scopes}, {}
    for plan in plans:
        keep_resumed(plan)
        parts |= plan.resumed
        for shard in plan.new:
            writer = PartWriter(Folder(str(table)), shard.fingerprint, plan.part_schema, partition=shard.partition)
            tally = Tally()
            for piece in shard.pieces:
                with PieceReader(piece, INPUT, (), tests_of[shard.partition]) as reader:
                    tally.outside += reader.outside_rows
                    for batch in reader.batches():
                        mine = batch.filter(pc.equal(batch["x"], int(dict(shard.partition)["x"])))
                        tally.outside += batch.num_rows - mine.num_rows
                        tally.rows += mine.num_rows
                        columns = [mine["id"], pc.multiply(mine["x"], weight)]
                        writer.write(pa.RecordBatch.from_arrays(columns, schema=plan.part_schema))
            tally.predicted = tally.rows
            parts[shard.part_path] = writer.finish(tally)
    changing = [plan for plan in plans if plan.changes]
    if changing:
        assert not commit_plans(changing, parts, lambda _: None, {}).refused


def rows_of(table: Path, version: int | None = None) -> list[tuple]:
    found = DeltaTable(str(table), version=version).to_pyarrow_table()
    return sorted(tuple(row.values()) for row in found.to_pylist())


def expected_rows(source: Path, weight: int) -> list[tuple]:
    tables = [pq.read_table(path) for path in sorted(source.glob("*.parquet"))]
    return sorted((row["id"], row["x"], row["x"] * weight) for table in tables for row in table.to_pylist())
