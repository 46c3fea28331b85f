"""Commits plans once their parts are in place, and resolves conflicts with commits that other writers made meanwhile."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparktorch_assets.errors import CommitConflictError, SparktorchError, TableError
from sparktorch_assets.lake.files.data_file import DataFile
from sparktorch_assets.lake.files.partition_values import Partition, partition_folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.log.snapshot import data_version_of, same_columns
from sparktorch_assets.lake.partitioning import check_partitioning
from sparktorch_assets.lake.parts.file import PartFile
from sparktorch_assets.lake.parts.receipt import Receipt
from sparktorch_assets.lake.plan import Plan
from sparktorch_assets.lake.publication import Audit, PartTallies, Publication, Published, published_metadata
from sparktorch_assets.lake.table import Table
from sparktorch_assets.lake.table_tally import DATA_VERSION_KEY, TALLY_KEY, receipts, table_tally, tally_after
from sparktorch_assets.tally import Tally

Parts = Mapping[str, tuple[PartFile, Receipt]]
"""Path -> part and receipt."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Commits:
    """The outcome of a refresh of several partitions."""

    committed: Mapping[Partition, Committed]
    refused: Mapping[Partition, SparktorchError]
    """The partitions of which nothing was committed, each with its reason."""


def keep_resumed(plan: Plan) -> None:
    """Keep the parts that a run resumes from an earlier one from being deleted as abandoned by a vacuum meanwhile."""
    for path in plan.resumed:
        plan.table.folder.keep_young(path)


def commit_plan(
    plan: Plan, parts: Parts, check: Audit, metadata: Mapping[str, str], *, description: str = ""
) -> Committed:
    """Make the table, or its partition, consist of exactly the plan's parts; see `commit_plans`.

    Raises:
        CommitConflictError: another writer's commit conflicts with this plan. Nothing was committed.
        TableError: a planned part is missing, or the parts do not account for every row of the input. Nothing was
            committed.
    """
    done = commit_plans([plan], parts, check, metadata, description=description)
    for refused in done.refused.values():
        raise refused
    return done.committed[plan.partition]


def commit_plans(
    plans: Sequence[Plan], parts: Parts, check: Audit, metadata: Mapping[str, str], *, description: str = ""
) -> Commits:
    """Make the table, or each of its planned partitions, consist of exactly the parts of its plan, in one commit.

    A partition that cannot be committed holds back no other one: it is refused, and stays as it was.

    After a lost race, the commit is recomputed for the new version. A plan stays in it if the other writer's commit does
    not conflict with it: it changed another partition, or it added only parts that are planned here as well and removed
    none of them.

    Args:
        plans: the plans to commit: of different partitions of one table, or of the whole table.
        parts: for all new and resumable parts.
        check: called before the commit, once for each plan, with what would be published; what it raises refuses the
            partition.
        metadata: kept with the commit, together with the table's tally and data version and what is published.
        description: the table's description, used if the table is created.

    Raises:
        CommitConflictError: all attempts to commit were lost to others. Nothing was committed.
        TableError: the table has other partitions now. Nothing was committed.
    """
    table, before = plans[0].table, plans[0].snapshot.by_partition()
    refused: dict[Partition, SparktorchError] = {}
    for _ in range(_ATTEMPTS):
        check_partitioning(table, plans[0].partition)
        attempt = _Attempt(table, before, parts, check)
        for plan in plans:
            if plan.partition not in refused:
                try:
                    attempt.take_in(plan)
                except SparktorchError as error:
                    refused[plan.partition] = error
        try:
            committed = attempt.commit(metadata, description)
        except CommitConflictError:
            table = Table(table.uri)
            continue
        return Commits(committed=committed, refused=refused)
    raise CommitConflictError(
        f"{table.uri!r} was changed by others {_ATTEMPTS} times in a row while this run tried to commit; run it again"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    """What a commit changes in a table, or in a partition of it."""

    plan: Plan
    add: tuple[PartFile, ...]
    remove: tuple[str, ...]
    new: Tally
    """The sum of the parts that the table did not list before."""
    tally: Tally
    """The tally of the table, or of the partition, after the commit."""


class _Attempt:
    """One attempt to commit plans to one version of the table."""

    def __init__(
        self, table: Table, before: Mapping[Partition, Mapping[str, DataFile]], parts: Parts, check: Audit
    ) -> None:
        self._table, self._before, self._parts, self._check = table, before, parts, check
        self._listed = table.snapshot.by_partition()
        self._changes: list[_Change] = []
        self._unchanged: dict[Partition, Committed] = {}

    def take_in(self, plan: Plan) -> None:
        """Add a plan to the commit.

        Raises:
            SparktorchError: it cannot be committed; the attempt goes on without it.
        """
        table, snapshot, target = self._table, self._table.snapshot, plan.target
        here = self._listed.get(plan.partition, {})
        self._check_compatible(plan, set(here), target)
        new = target - here.keys()
        missing = new | (plan.lost & self._parts.keys())
        unknown = missing - self._parts.keys()
        if unknown:
            raise TableError(
                f"{len(unknown):,} planned parts of {table.uri!r} were not written (first: {min(unknown)!r})"
            )
        remove = tuple(sorted(here.keys() - target))
        add, added = [], Tally()
        for path in sorted(missing):  # once, since a million parts take a minute to decode
            part, receipt = self._parts[path]
            add.append(part)
            if path in new:
                added.add(receipt.tally)
        if plan.partition:
            tally = Tally.total([*receipts(table, target - new).values(), added])
        elif missing or remove:
            tally = tally_after(table, remove, [added])
        else:
            tally = table_tally(table)
        if snapshot.version is not None and not missing and not remove and same_columns(snapshot.schema, plan.schema):
            self._unchanged[plan.partition] = Committed(version=snapshot.version, changed=False, removed=0, tally=tally)
            return
        if not tally.balanced or tally.all_rows != plan.rows:
            raise TableError(
                f"the parts of {_place(plan)} account for {tally.all_rows:,} rows ({tally.predicted:,} predicted, "
                f"{tally.failed:,} failed, {tally.dropped:,} dropped, {tally.filtered:,} left out, {tally.outside:,} of "
                f"other partitions), the input has {plan.rows:,}. Nothing was committed; was a part's file deleted by "
                f"hand?"
            )
        self._check(
            Publication(
                table=table,
                partition=plan.partition,
                schema=plan.schema,
                tally=tally,
                rows_in=plan.rows - tally.outside,
                parts=PartTallies(self._parts, [part.path for part in add]),
            )
        )
        self._changes.append(_Change(plan=plan, add=tuple(add), remove=remove, new=added, tally=tally))

    def commit(self, metadata: Mapping[str, str], description: str) -> dict[Partition, Committed]:
        """Commit what was taken in.

        Raises:
            CommitConflictError: another writer was faster. Nothing was committed.
        """
        if not self._changes:
            return self._unchanged
        table, snapshot, first = self._table, self._table.snapshot, self._changes[0]
        schema = first.plan.schema
        remove = tuple(path for change in self._changes for path in change.remove)
        added = [change.new for change in self._changes]
        whole = tally_after(table, remove, added) if first.plan.partition else first.tally
        targets = {change.plan.partition: change.plan.target for change in self._changes}
        left = snapshot.parts.keys() - set(remove)
        version = commit_parts(
            table.uri,
            schema,
            add=[part for change in self._changes for part in change.add],
            remove=remove,
            metadata={
                **metadata,
                **published_metadata(
                    Published(
                        partition=change.plan.partition,
                        tally=change.tally,
                        data_version=data_version_of(targets[change.plan.partition], schema),
                    )
                    for change in self._changes
                ),
                TALLY_KEY: json.dumps(whole.to_plain()),
                DATA_VERSION_KEY: data_version_of(left.union(*targets.values()), schema),
            },
            read_version=snapshot.version,
            description=description,
            partitions=[*targets],
        )
        return self._unchanged | {
            change.plan.partition: Committed(
                version=version, changed=True, removed=len(change.remove), tally=change.tally
            )
            for change in self._changes
        }

    def _check_compatible(self, plan: Plan, now: set[str], target: set[str]) -> None:
        current = self._table.snapshot
        if current.version == plan.snapshot.version:
            return
        before = self._before.get(plan.partition, {}).keys()
        added, removed = now - before - target, (before - now) & target
        other_columns = (
            current.schema is not None
            and not same_columns(current.schema, plan.schema)
            and not (plan.snapshot.schema is not None and same_columns(current.schema, plan.snapshot.schema))
        )
        if added or removed or other_columns:
            raise CommitConflictError(
                f"another run changed {_place(plan)} in conflict with this plan ({len(added):,} parts added and "
                f"{len(removed):,} removed, which this plan would undo): version {plan.snapshot.version} became "
                f"{current.version}. Nothing of this {'partition' if plan.partition else 'run'} was committed. If the run's "
                f"input and model are the right ones, run it again; what it computed will be found and used"
            )


def _place(plan: Plan) -> str:
    return " of ".join(filter(None, [partition_folder(plan.partition), repr(plan.table.uri)]))
