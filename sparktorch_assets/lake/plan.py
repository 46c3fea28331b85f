"""Plans a refresh: all shards, minus those whose parts are in the table, minus those whose parts only need a commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.folder import FolderEntry
from sparktorch_assets.lake.files.partition_entries import partition_entries
from sparktorch_assets.lake.files.partition_values import Partition, partition_folder
from sparktorch_assets.lake.log.snapshot import Snapshot, check_writable, same_columns
from sparktorch_assets.lake.parquet.footers import read_footers
from sparktorch_assets.lake.partitioning import check_partitioning
from sparktorch_assets.lake.parts.file import PART_NAME, PartFile, verify_parts
from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.lake.scope import Scope, ScopeIndex
from sparktorch_assets.lake.shards import TARGET_BYTES, TARGET_ROWS, Shard, make_shards
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import TALLY_KEY
from sparktorch_assets.tasks.row_test import RowTest


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A refresh that has been planned but not started. Printing it shows the totals."""

    table: Table
    """The output, as it was when the refresh was planned."""
    schema: pa.Schema
    """The output's columns."""
    new: tuple[Shard, ...]
    """Shards to score."""
    unchanged: tuple[Shard, ...]
    """Shards whose parts are in the table, with their files in its folder."""
    resumable: tuple[Shard, ...]
    """Shards whose finished parts are in the table's folder but uncommitted, left by an earlier run."""
    resumed: Mapping[str, tuple[PartFile, Receipt]]
    """Path -> part and receipt, for the parts of the resumable shards."""
    obsolete: tuple[DataFile, ...]
    """Parts of the table, or of the partition if the plan covers one only, that are no longer planned."""
    partition: Partition = ()
    """The partition that the refresh covers; empty for the whole table."""

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot of the output on which the plan is based."""
        return self.table.snapshot

    @property
    def part_schema(self) -> pa.Schema:
        """The columns of the parts, without those whose values are in the path."""
        return pa.schema([column for column in self.schema if column.name not in dict(self.partition)])

    @property
    def target(self) -> set[str]:
        """The paths of all parts of the table, or of the partition, after the refresh."""
        return {shard.part_path for shards in (self.new, self.unchanged, self.resumable) for shard in shards}

    @property
    def lost(self) -> set[str]:
        """The paths of parts that the snapshot lists but whose files are missing or damaged; they are planned again."""
        return {
            shard.part_path for shards in (self.new, self.resumable) for shard in shards
        } & self.snapshot.parts.keys()

    @property
    def rows(self) -> int:
        """Number of rows of the whole input; for a partition, of the shards that may hold some of its rows."""
        return sum(shard.rows for shards in (self.new, self.unchanged, self.resumable) for shard in shards)

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.new or self.resumable or self.obsolete or not same_columns(self.snapshot.schema, self.schema))

    def __str__(self) -> str:
        where = f"{self.table.uri} {partition_folder(self.partition)}".rstrip()
        lines = [f"{where}: " + ("to be refreshed" if self.changes else "up to date")]
        for name in ("new", "resumable", "unchanged"):
            shards: tuple[Shard, ...] = getattr(self, name)
            rows, size = sum(shard.rows for shard in shards), sum(shard.bytes for shard in shards)
            lines.append(f"  {name:<10}{len(shards):>9,} shards {rows:>15,} rows {size / 1e6:>12,.1f} MB to read")
        rows = sum(part.rows or 0 for part in self.obsolete)
        lines.append(f"  {'obsolete':<10}{len(self.obsolete):>9,} parts  {rows:>15,} rows")
        return "\n".join(lines)


def make_plan(
    input_table: Table,
    output_table: Table,
    *,
    schema: pa.Schema,
    digest: str,
    target_rows: int = TARGET_ROWS,
    target_bytes: int = TARGET_BYTES,
    shard_rows: int | None = None,
    partition: Partition = (),
    tests: Sequence[RowTest] = (),
) -> Plan:
    """Plan a refresh of the whole output, or of one partition of it; see `make_plans`."""
    scope = Scope(digest=digest, partition=partition, tests=tuple(tests))
    (plan,) = make_plans(
        input_table,
        output_table,
        [scope],
        schema=schema,
        target_rows=target_rows,
        target_bytes=target_bytes,
        shard_rows=shard_rows,
    )
    return plan


def make_plans(
    input_table: Table,
    output_table: Table,
    scopes: Sequence[Scope],
    *,
    schema: pa.Schema,
    target_rows: int = TARGET_ROWS,
    target_bytes: int = TARGET_BYTES,
    shard_rows: int | None = None,
) -> list[Plan]:
    """Plan a refresh of the whole output, or of some of its partitions. Writes nothing, and reads each thing once: the
    input's log or folder and footers, the output's log and folder.

    Args:
        input_table: a Delta table, a folder of Parquet files, or a single file.
        output_table: the output, which need not exist.
        scopes: what the refresh covers: different partitions by the same columns, or only the whole table. Files and
            row groups that cannot hold any of their rows are left out of the plans.
        schema: the output's columns, in Delta's types.
        target_rows: see `shards.TARGET_ROWS`.
        target_bytes: see `shards.TARGET_BYTES`.
        shard_rows: see `shards.make_shards`. A table must always be planned with the same number: with another, other
            parts are planned.

    Returns:
        One plan per scope, in the same order.

    Raises:
        TableError: the input cannot be read, or the output is a table that this library did not write, or one with
            other partition columns.
    """
    index = ScopeIndex(scopes, schema)
    files = [file for file in input_table.files if index.scopes_of(file)]
    shards = make_shards(
        files,
        read_footers(files, bounds=index.need_bounds(files)),
        index,
        target_rows=target_rows,
        target_bytes=target_bytes,
        shard_rows=shard_rows,
    )
    check_ours(output_table)
    check_partitioning(output_table, scopes[0].partition)
    return plan_shards({scope.partition: shards.get(scope.partition, ()) for scope in scopes}, output_table, schema)


def plan_shards(shards: Mapping[Partition, Sequence[Shard]], table: Table, schema: pa.Schema) -> list[Plan]:
    """Plan the shards whose parts are missing from the table.

    A part is present if the snapshot lists it and the folder holds its file with the size that the log records. A part
    whose file was deleted or truncated is planned again, so the next refresh repairs any loss.

    Args:
        shards: partition -> all of its shards; `()` stands for the whole table.
        table: the output.
        schema: the output's columns.

    Returns:
        One plan per partition, in the same order.
    """
    snapshot = table.snapshot
    listed = snapshot.by_partition()
    entries = {entry.path: entry for entry in partition_entries(table.folder, shards.keys())}
    missing = {
        shard.part_path: shard
        for planned in shards.values()
        for shard in planned
        if not _is_intact(shard.part_path, snapshot, entries)
    }
    resumed = verify_parts(table.folder, [entries[path] for path in missing if path in entries])
    schema = _in_order_of(snapshot.schema, schema)
    plans = []
    for partition, planned in shards.items():
        target = {shard.part_path for shard in planned}
        lacking = [shard for shard in planned if shard.part_path in missing]
        resumable = tuple(shard for shard in lacking if shard.part_path in resumed)
        plans.append(
            Plan(
                table=table,
                schema=schema,
                new=tuple(shard for shard in lacking if shard.part_path not in resumed),
                unchanged=tuple(shard for shard in planned if shard.part_path not in missing),
                resumable=resumable,
                resumed={shard.part_path: resumed[shard.part_path] for shard in resumable},
                obsolete=tuple(part for path, part in listed.get(partition, {}).items() if path not in target),
                partition=partition,
            )
        )
    return plans


def _in_order_of(table: pa.Schema | None, schema: pa.Schema) -> pa.Schema:
    """`schema` in the table's column order, if both have the same columns. Another order would count as a new schema,
    for which every part must be replaced, and even then delta-rs keeps the old order."""
    if table is None or sorted(table.names) != sorted(schema.names):
        return schema
    return pa.schema([schema.field(name) for name in table.names])


def _is_intact(path: str, snapshot: Snapshot, entries: Mapping[str, FolderEntry]) -> bool:
    listed, lying = snapshot.parts.get(path), entries.get(path)
    return listed is not None and lying is not None and lying.size_bytes == listed.size_bytes


def check_ours(table: Table) -> None:
    """Raise `TableError` if the table holds another writer's files (a user's, or those of an input table), or has rules
    that a refresh could break."""
    check_writable(table.uri, table.snapshot.write_obstacles)
    foreign = [path for path in table.snapshot.parts if not PART_NAME.fullmatch(path)]
    if foreign and TALLY_KEY not in table.metadata:
        raise TableError(
            f"{table.uri!r} is a Delta table that holds files of another writer (first: {foreign[0]!r}); a refresh "
            f"would replace its rows. Give the predictions a table of their own"
        )
