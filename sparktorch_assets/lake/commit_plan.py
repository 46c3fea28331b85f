"""Commits a plan once its parts are in place, and resolves conflicts with commits that other writers made meanwhile."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sparktorch_assets.errors import CommitConflictError, TableError
from sparktorch_assets.lake.files.partition_values import partition_folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.log.snapshot import Snapshot, data_version_of, same_columns
from sparktorch_assets.lake.parts.file import PartFile
from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.lake.plan import Plan, check_partitioning
from sparktorch_assets.lake.publication import Audit, Publication, published_metadata
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import DATA_VERSION_KEY, TALLY_KEY, parts_tally, table_tally, tally_after
from sparktorch_assets.tally import Tally

_ATTEMPTS = 20
"""Maximum number of commit attempts. Each lost race means that another writer's commit succeeded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """The outcome of a refresh."""

    version: int
    changed: bool
    """Whether this run committed; false if the table already had the planned content."""
    removed: int
    """Number of parts removed."""
    tally: Tally
    """The tally of the table, or of the partition if the plan covers only one."""


def keep_resumed(plan: Plan) -> None:
    """Touch the parts that a run resumes from an earlier one, so that no vacuum deletes them as abandoned meanwhile."""
    for path in plan.resumed:
        plan.table.folder.touch(path)


def commit_plan(
    plan: Plan,
    parts: Mapping[str, tuple[PartFile, Receipt]],
    check: Audit,
    metadata: Mapping[str, str],
    *,
    description: str = "",
) -> Committed:
    """Make the table, or its partition, consist of exactly the plan's parts.

    After a lost race, the commit is recomputed for the new version. It succeeds if the other writer's commit does not
    conflict with this plan: it changed another partition, or it added only parts that are planned here as well and
    removed none of them.

    Args:
        plan: the plan to commit.
        parts: path -> part and receipt, for all new and resumable parts.
        check: called before the commit with what it would publish; what it raises prevents the commit.
        metadata: kept with the commit, together with the table's tally and data version.
        description: the table's description, used if the table is created.

    Raises:
        CommitConflictError: another writer's commit conflicts with this plan. Nothing was committed.
        TableError: a planned part is missing, or the parts do not account for every row of the input. Nothing was
            committed.
    """
    target = plan.target
    table = plan.table
    scope = {"partition": partition_folder(plan.partition)} if plan.partition else {}
    for _ in range(_ATTEMPTS):
        current = table.snapshot
        check_partitioning(table, plan.partition)
        _check_compatible(plan, current, target)
        new = target - current.parts.keys()
        missing = new | (plan.lost & parts.keys())
        unknown = missing - parts.keys()
        if unknown:
            raise TableError(
                f"{len(unknown):,} planned parts of {table.uri!r} were not written (first: {min(unknown)!r})"
            )
        remove = tuple(sorted(current.within(plan.partition).keys() - target))
        if current.version is not None and not missing and not remove and same_columns(current.schema, plan.schema):
            return Committed(version=current.version, changed=False, removed=0, tally=tally_now(plan, table))
        added = [parts[path][1].tally for path in new]
        whole = tally_after(table, remove, added)
        tally = Tally.total([parts_tally(table, target - new), *added]) if plan.partition else whole
        if not tally.balanced or tally.rows + tally.filtered != plan.rows:
            raise TableError(
                f"the parts of {table.uri!r} account for {tally.rows + tally.filtered:,} rows ({tally.predicted:,} "
                f"predicted, {tally.failed:,} failed, {tally.dropped:,} dropped, {tally.filtered:,} left out), the input "
                f"has {plan.rows:,}. Nothing was committed; was a part's file deleted by hand?"
            )
        check(
            Publication(
                table=table,
                partition=plan.partition,
                schema=plan.schema,
                tally=tally,
                rows_in=plan.rows,
                parts={path: parts[path][1].tally for path in missing},
            )
        )
        try:
            version = commit_parts(
                table.uri,
                plan.schema,
                add=[parts[path][0] for path in sorted(missing)],
                remove=remove,
                metadata={
                    **metadata,
                    **scope,
                    **published_metadata({partition_folder(plan.partition): tally}),
                    TALLY_KEY: json.dumps(whole.to_plain()),
                    DATA_VERSION_KEY: data_version_of((current.parts.keys() - set(remove)) | target, plan.schema),
                },
                read_version=current.version,
                description=description,
                partition=plan.partition,
            )
        except CommitConflictError:
            table = Table(table.uri)
            continue
        return Committed(version=version, changed=True, removed=len(remove), tally=tally)
    raise CommitConflictError(
        f"{table.uri!r} was changed by others {_ATTEMPTS} times in a row while this run tried to commit; run it again"
    )


def tally_now(plan: Plan, table: Table) -> Tally:
    """The tally of the table, or of the partition if the plan covers only one."""
    return parts_tally(table, table.snapshot.within(plan.partition)) if plan.partition else table_tally(table)


def _check_compatible(plan: Plan, current: Snapshot, target: set[str]) -> None:
    if current.version == plan.snapshot.version:
        return
    now, before = current.within(plan.partition).keys(), plan.snapshot.within(plan.partition).keys()
    added, removed = now - before - target, (before - now) & target
    other_columns = (
        current.schema is not None
        and not same_columns(current.schema, plan.schema)
        and not (plan.snapshot.schema is not None and same_columns(current.schema, plan.snapshot.schema))
    )
    if added or removed or other_columns:
        raise CommitConflictError(
            f"another run changed {plan.table.uri!r} in conflict with this plan ({len(added):,} parts added and "
            f"{len(removed):,} removed, which this plan would undo): version {plan.snapshot.version} became "
            f"{current.version}. Nothing of this run was committed. If its input and model are the right ones, run it "
            f"again; what it computed will be found and used"
        )
