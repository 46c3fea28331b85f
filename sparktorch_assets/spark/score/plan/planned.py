"""Plans a refresh of a prediction table: finds the model and the code, and what has to be scored."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from sparktorch_assets.errors import SparktorchError, TaskError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.lake.files.partition_values import Partition, parse_partition
from sparktorch_assets.lake.parquet.kept.kept_footers import KeptFooters
from sparktorch_assets.lake.parquet.types import readable_schema, storage_schema
from sparktorch_assets.lake.plan import Plan, make_plans
from sparktorch_assets.lake.scope import Scope, ScopeIndex
from sparktorch_assets.lake.shard_rows import SHARD_ROWS_KEY, ShardRows
from sparktorch_assets.lake.table import Table
from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.schema import output_schema
from sparktorch_assets.spark.score.plan.rescoring import Rescoring
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.code.imported_code import DECLARED
from sparktorch_assets.tasks.digest import digest_of, files_digest, model_digest, task_digest
from sparktorch_assets.tasks.row_filter import RowFilter
from sparktorch_assets.tasks.row_test import row_tests

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The rows that a refresh covers: those of the whole table, or of one partition of it."""

    partition: Partition = ()
    """The partition of the output; empty for the whole table."""
    where: tuple[RowFilter, ...] = ()
    """The conditions that select its rows of the input."""
    added: bool = False
    """Whether the partition column is added to the predictions, because the input has no such column."""

    @property
    def digest_parts(self) -> Mapping[str, object]:
        """What the fingerprints of the partition's parts depend on, besides what they all depend on."""
        if not self.partition:
            return {}
        # A value of a column of the input says which rows it selects; the name of a month does not.
        rows = {"rows": [condition.plain for condition in self.where]} if self.added else {}
        return {"partition": self.partition, **rows}


def selections(given: Sequence[Mapping[str, str]], columns: pa.Schema) -> list[Selection]:
    """The partitions of the given values of the input's columns; the whole table for an empty mapping.

    Raises:
        InputSchemaError, TaskError: see `parse_partition`.
    """
    parsed = (parse_partition(values, columns) for values in given)
    return [Selection(partition=partition, where=where) for partition, where in parsed]


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A planned refresh, with everything that the plans depend on."""

    source: Table
    """The input, as it was when the refresh was planned."""
    kept_footers: KeptFooters = field(repr=False)
    """What the runs of this table keep of the input's footers."""
    plans: tuple[Plan, ...]
    """One per selection, in the same order; all of one table and with the same columns."""
    rows_of: Mapping[Partition, tuple[RowFilter, ...]]
    """Partition -> the conditions that select its rows of the input."""
    task: MlTask
    model_loader: ModelLoader = field(repr=False)
    rescoring: Rescoring
    shard_rows: ShardRows
    cut_at: Callable[[int | None], Sequence[Plan]] = field(repr=False)
    """Plans the same refresh, of the same versions of input and output, with this number of rows per shard."""
    model_digest: str
    files_digest: str
    """Digest of the model's files."""
    code: Mapping[str, str]
    """The user's code: piece -> digest."""
    read_schema: pa.Schema
    """The columns to read."""

    @property
    def table(self) -> Table:
        """The output, as it was when the refresh was planned."""
        return self.plans[0].table

    @property
    def may_measure(self) -> bool:
        """Whether the run may find out what a row costs, and cut the table accordingly: only if no run has decided that
        for this model and task yet, and if no part of theirs is there that another cut would make useless."""
        if self.shard_rows.settled or any(plan.unchanged or plan.resumable for plan in self.plans):
            return False
        if sum(len(plan.obsolete) for plan in self.plans) == len(self.table.snapshot.parts):
            return True
        # Other partitions stay. Commits that list all models and tasks show that they have no part of this one.
        return SHARD_ROWS_KEY in self.table.metadata and not self.shard_rows.before_request

    def cut(self, shard_rows: ShardRows) -> "Planned":
        """The same refresh, with another cut."""
        return replace(self, plans=tuple(self.cut_at(shard_rows.rows)), shard_rows=shard_rows)


def plan_refresh(
    input_table: str,
    ml_task: MlTask | str,
    select: Callable[[pa.Schema], Sequence[Selection]],
    *,
    output_table: str,
    model_loader: ModelLoader,
    rescore: str = "",
    adopt_from: Sequence[str] = (),
) -> Planned:
    """Plan a refresh; nothing is computed or written.

    Args:
        input_table: see `score_table`.
        ml_task: see `score_table`.
        select: what the refresh covers, given the input's columns: the whole table, or partitions by the same columns.
        output_table: see `score_table`.
        model_loader: see `score_table`.
        rescore: see `score_table`.
        adopt_from: see `score_table`.
    """
    loader, task = model_loader.settled(ml_task)
    source, output = Table(input_table), Table(output_table)
    _check_places(task, source, output)
    KeptFooters(output.folder, bounds=False).recall(source.files)
    columns = readable_schema(source.schema)
    selected = select(columns)
    schema = storage_schema(output_schema(task, columns))
    if selected[0].added:
        _check_added(task, [name for name, _ in selected[0].partition], [*schema.names, *columns.names])
    for name, _ in selected[0].partition:
        if name not in schema.names:  # readers take it from the parts' paths, whatever columns the task keeps
            schema = schema.append(pa.field(name, pa.string()) if selected[0].added else columns.field(name))
    tested = replace(task, where=(*task.where, *selected[0].where))  # the same columns in every selection
    read = tested.read_columns(columns.names)
    digest, files = model_digest(task, loader.models_root), files_digest(task, loader.models_root)
    # Workers must use exactly these files and pieces of code, so the fingerprints contain both as they were read here.
    code = loader.code(task)
    common = {
        "model": digest,
        "task": task_digest(task),
        "loader": loader.digest(task),
        "files": files,
        "code": {piece: found for piece, found in code.items() if not piece.endswith(DECLARED)},
        # Sorted: the order of columns depends on which of the input's files comes first, and affects no row.
        "schema": sorted([column.name, str(column.type)] for column in schema),
        **_stored_names(source, read),
    }
    types = {column.name: str(column.type) for column in columns}
    others = [_last_metadata(table) for table in adopt_from]
    rescoring = Rescoring.of(output.metadata, rescore, others)
    plain = digest_of(common)
    shard_rows = ShardRows.find(output, rescoring.digest(plain), plain_digest=plain, others=others)
    scopes = [
        Scope(
            digest=rescoring.digest(digest_of({**common, **selection.digest_parts})),
            partition=selection.partition,
            tests=row_tests(selection.where, types, f"task {task.name!r}"),
        )
        for selection in selected
    ]
    bounds = ScopeIndex(scopes, schema).need_bounds(source.files)

    def cut_at(shard_rows: int | None) -> list[Plan]:
        return make_plans(source, output, scopes, schema=schema, shard_rows=shard_rows)

    return Planned(
        source=source,
        kept_footers=KeptFooters(output.folder, bounds=bounds),
        plans=_cut_as_scored(cut_at, shard_rows),
        rows_of={selection.partition: selection.where for selection in selected if selection.where},
        task=task,
        model_loader=loader,
        rescoring=rescoring,
        shard_rows=shard_rows,
        cut_at=cut_at,
        model_digest=digest,
        files_digest=files,
        code=code,
        read_schema=pa.schema([columns.field(name) for name in read]),
    )


def _stored_names(source: Table, columns: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """The names of the columns in the files, where they differ: after `RENAME COLUMN` or `DROP COLUMN`, a name may stand
    for other values in the same files."""
    mapping = next((file.mapping for file in source.files if file.mapping is not None), None)
    names = [] if mapping is None else sorted(mapping.stored_names(columns))
    return {"stored_names": names} if names else {}


def _cut_as_scored(cut_at: Callable[[int | None], Sequence[Plan]], shard_rows: ShardRows) -> tuple[Plan, ...]:
    """The plans, each of them with that of the numbers with which most of its rows have been scored."""
    plans = tuple(cut_at(shard_rows.rows))
    for rows in shard_rows.others:
        plans = tuple(max(pair, key=_scored_rows) for pair in zip(plans, cut_at(rows), strict=True))
    return plans


def _scored_rows(plan: Plan) -> int:
    return sum(shard.rows for shards in (plan.unchanged, plan.resumable) for shard in shards)


def _check_added(task: MlTask, added: Sequence[str], names: Sequence[str]) -> None:
    """Raise `TaskError` if the table has a column with the name of the partition column that is added: readers would see
    the partition's key in its place. Names that differ in case alone are the same to Spark and Delta."""
    taken = {name.lower(): name for name in names}
    for column in added:
        if column.lower() in taken:
            raise TaskError(
                f"task {task.name!r}: partitions add the column {column!r} to the predictions, and the input or the "
                f"predictions have {taken[column.lower()]!r} already; rename that column, or set the task's output_prefix"
            )


def _last_metadata(table: str) -> Mapping[str, str]:
    """The metadata of the last commit of another table, which holds nothing up if it cannot be read."""
    try:
        return Table(table).metadata
    except SparktorchError as error:
        _LOG.warning("%s has nothing to give: %s", table, error)
        return {}


def _check_places(task: MlTask, source: Table, output: Table) -> None:
    """Raise `TaskError` if the output is the input, or lies in it."""
    if source.folder.absolute == output.folder.absolute:
        raise TaskError(
            f"task {task.name!r}: input and output are the same table, {output.uri!r}; give it another output"
        )
    if source.version is None and _lies_in(output.folder, source.folder):
        raise TaskError(
            f"task {task.name!r}: the output {output.uri!r} lies in the folder of files {source.uri!r} that is the input, "
            f"so that the next refresh would find predictions among its rows; give it a folder elsewhere"
        )


def _lies_in(one: Folder, other: Folder) -> bool:
    paths = [os.path.realpath(folder.root) if folder.is_local else folder.absolute for folder in (one, other)]
    return one.is_local == other.is_local and paths[0].startswith(paths[1].rstrip("/") + "/")
