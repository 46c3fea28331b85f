"""What a refresh has to do: planned shards minus the parts that readers already see, minus those that lie finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sparktorch_assets.errors import TableError
from sparktorch_assets.lake.data_files import list_data_files
from sparktorch_assets.lake.folder import Folder, FolderEntry
from sparktorch_assets.lake.log.commit import last_commit_metadata
from sparktorch_assets.lake.log.snapshot import Snapshot, SnapshotPart, check_writable, read_snapshot, same_columns
from sparktorch_assets.lake.log.table_tally import TALLY_KEY
from sparktorch_assets.lake.parquet.footers import read_footers
from sparktorch_assets.lake.partition_values import Partition, in_partition, partition_folder
from sparktorch_assets.lake.parts.file import PART_NAME, PartFile, verify_parts
from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.lake.shards import TARGET_BYTES, TARGET_ROWS, Shard, make_shards
from sparktorch_assets.tasks.row_test import RowTest


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One refresh, decided and not begun. Printing it shows the sums."""

    output_table: str
    schema: pa.Schema
    """The output's columns."""
    snapshot: Snapshot
    """The output as it was when this was decided."""
    new: tuple[Shard, ...]
    """To be scored."""
    unchanged: tuple[Shard, ...]
    """Their parts are in the table, and their files in its folder."""
    resumable: tuple[Shard, ...]
    """Their parts lie finished in the table's folder, uncommitted: an earlier run got that far."""
    resumed: Mapping[str, tuple[PartFile, Receipt]]
    """Path -> part and receipt of the resumable ones."""
    obsolete: tuple[SnapshotPart, ...]
    """In the table (within the partition, where there is one), and no longer planned."""
    partition: Partition = ()
    """What the refresh is confined to; empty for the whole table."""

    @property
    def part_schema(self) -> pa.Schema:
        """The columns of the parts: those that stand in their path are left out."""
        return pa.schema([column for column in self.schema if column.name not in dict(self.partition)])

    @property
    def target(self) -> set[str]:
        """The paths of the parts that the table, or its partition, will consist of."""
        return {shard.part_path for shards in (self.new, self.unchanged, self.resumable) for shard in shards}

    @property
    def lost(self) -> set[str]:
        """The paths of parts that the snapshot lists, and whose files are gone or damaged: they are planned again."""
        return {
            shard.part_path for shards in (self.new, self.resumable) for shard in shards
        } & self.snapshot.parts.keys()

    @property
    def rows(self) -> int:
        """Rows of the whole input; for a partition, of the shards that may hold some of its rows."""
        return sum(shard.rows for shards in (self.new, self.unchanged, self.resumable) for shard in shards)

    @property
    def changes(self) -> bool:
        """Whether anything at all is to be done."""
        return bool(self.new or self.resumable or self.obsolete or not same_columns(self.snapshot.schema, self.schema))

    def __str__(self) -> str:
        where = f"{self.output_table} {partition_folder(self.partition)}".rstrip()
        lines = [f"{where}: " + ("to be refreshed" if self.changes else "up to date")]
        for name in ("new", "resumable", "unchanged"):
            shards: tuple[Shard, ...] = getattr(self, name)
            rows, size = sum(shard.rows for shard in shards), sum(shard.bytes for shard in shards)
            lines.append(f"  {name:<10}{len(shards):>9,} shards {rows:>15,} rows {size / 1e6:>12,.1f} MB to read")
        rows = sum(part.rows for part in self.obsolete)
        lines.append(f"  {'obsolete':<10}{len(self.obsolete):>9,} parts  {rows:>15,} rows")
        return "\n".join(lines)


def make_plan(
    input_table: str,
    output_table: str,
    *,
    schema: pa.Schema,
    digest: str,
    target_rows: int = TARGET_ROWS,
    target_bytes: int = TARGET_BYTES,
    partition: Partition = (),
    tests: Sequence[RowTest] = (),
) -> Plan:
    """Decide a refresh. Reads the input's log or folder and footers and the output's log and folder; writes nothing.

    Args:
        input_table: path or URI of a Delta table, a folder of Parquet files, or one file.
        output_table: path or URI of the output's folder; it need not exist.
        schema: the output's columns, in Delta's types.
        digest: a hash of everything but the rows that the output depends on.
        target_rows: see `shards.TARGET_ROWS`.
        target_bytes: see `shards.TARGET_BYTES`.
        partition: confine the refresh to this partition of the output; `digest` has to tell it, too.
        tests: the rows that belong to it. Files and row groups that cannot hold any are left out of the plan.

    Raises:
        TableError: the input cannot be read, or the output is a table that this library did not make, or one with other
            partitions.
    """
    files = [file for file in list_data_files(input_table) if in_partition(file.partition, partition, schema)]
    shards = make_shards(
        files,
        read_footers(files),
        digest,
        target_rows=target_rows,
        target_bytes=target_bytes,
        partition=partition,
        tests=tests,
    )
    snapshot = read_snapshot(output_table)
    check_ours(output_table, snapshot)
    check_partitioning(output_table, snapshot, partition)
    return plan_shards(shards, output_table, snapshot, schema, partition)


def check_partitioning(output_table: str, snapshot: Snapshot, partition: Partition) -> None:
    """Raise TableError where the table has other partition columns than the refresh, or none, or some where it has none."""
    wanted, found = [name for name, _ in partition], sorted(snapshot.partition_by)
    if snapshot.version is not None and wanted != found:
        has = f"is partitioned by {', '.join(found)}" if found else "has no partitions"
        asked = f"partition by {', '.join(wanted)}" if wanted else "the whole table at once"
        raise TableError(
            f"{output_table!r} {has}, and this refresh is of {asked}; mixed, rows would be lost or doubled. Refresh it as "
            f"it was begun, or give these predictions a table of their own"
        )


def plan_shards(
    shards: Sequence[Shard], output_table: str, snapshot: Snapshot, schema: pa.Schema, partition: Partition = ()
) -> Plan:
    """Subtract what is there from what is wanted.

    A part counts as there when the snapshot lists it and its file lies in the folder with the size that the log says: a
    part whose file somebody deleted or cut is planned again, so that any loss is healed by the next refresh.
    """
    folder = Folder(output_table)
    entries = {entry.path: entry for entry in folder.files(partition_folder(partition), recursive=False)}
    missing = [shard for shard in shards if not _is_intact(shard.part_path, snapshot, entries)]
    resumed = verify_parts(folder, [entries[shard.part_path] for shard in missing if shard.part_path in entries])
    unfinished = {shard.part_path for shard in missing}
    target = {shard.part_path for shard in shards}
    unchanged = tuple(shard for shard in shards if shard.part_path not in unfinished)
    return Plan(
        output_table=output_table,
        schema=_in_order_of(snapshot.schema, schema),
        snapshot=snapshot,
        new=tuple(shard for shard in missing if shard.part_path not in resumed),
        unchanged=unchanged,
        resumable=tuple(shard for shard in missing if shard.part_path in resumed),
        resumed=resumed,
        obsolete=tuple(part for path, part in snapshot.within(partition).items() if path not in target),
        partition=partition,
    )


def _in_order_of(table: pa.Schema | None, schema: pa.Schema) -> pa.Schema:
    """`schema` in the table's order, where both have the same columns: a new file whose columns stand in another order must
    not replace a table of which parts stay, and where none stays, delta-rs keeps the old order all the same."""
    if table is None or sorted(table.names) != sorted(schema.names):
        return schema
    return pa.schema([schema.field(name) for name in table.names])


def _is_intact(path: str, snapshot: Snapshot, entries: Mapping[str, FolderEntry]) -> bool:
    listed, lying = snapshot.parts.get(path), entries.get(path)
    return listed is not None and lying is not None and lying.size_bytes == listed.size_bytes


def check_ours(output_table: str, snapshot: Snapshot) -> None:
    """Raise TableError where the table holds another writer's files (a user's, or those of an input table), or has rules
    that a refresh could break."""
    check_writable(output_table, snapshot.write_obstacles)
    foreign = [path for path in snapshot.parts if not PART_NAME.fullmatch(path)]
    if foreign and TALLY_KEY not in last_commit_metadata(output_table):
        raise TableError(
            f"{output_table!r} is a Delta table that holds files of another writer (first: {foreign[0]!r}); a refresh "
            f"would replace its rows. Give the predictions a table of their own"
        )
