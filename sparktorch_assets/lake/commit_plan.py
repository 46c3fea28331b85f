"""Commits a plan once its parts are in place, and resolves conflicts with commits that other writers made meanwhile."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sparktorch_assets.errors import CommitConflictError, TableError
from sparktorch_assets.lake.folder import Folder
from sparktorch_assets.lake.log.commit import commit_parts
from sparktorch_assets.lake.log.snapshot import Snapshot, data_version_of, read_snapshot, same_columns
from sparktorch_assets.lake.log.table_tally import DATA_VERSION_KEY
from sparktorch_assets.lake.parts.file import PartFile
from sparktorch_assets.lake.plan import Plan, check_partitioning

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


def keep_resumed(plan: Plan) -> None:
    """Touch the parts that a run resumes from an earlier one, so that no vacuum deletes them as abandoned meanwhile."""
    folder = Folder(plan.output_table)
    for path in plan.resumed:
        folder.touch(path)


def commit_plan(
    plan: Plan,
    parts: Mapping[str, PartFile],
    metadata: Callable[[Snapshot, tuple[str, ...]], Mapping[str, str]],
    *,
    description: str = "",
) -> Committed:
    """Make the table, or its partition, consist of exactly the plan's parts.

    After a lost race, the commit is recomputed for the new version. It succeeds if the other writer's commit does not
    conflict with this plan: it changed another partition, or it added only parts that are planned here as well and
    removed none of them.

    Args:
        plan: the plan to commit.
        parts: path -> part, for all new and resumable parts.
        metadata: returns the metadata to keep with the commit, given the snapshot to build on and the paths to remove.
        description: the table's description, used if the table is created.

    Raises:
        CommitConflictError: another writer's commit conflicts with this plan. Nothing was committed.
        TableError: a planned part is missing.
    """
    target = plan.target
    current = plan.snapshot
    for _ in range(_ATTEMPTS):
        check_partitioning(plan.output_table, current, plan.partition)
        _check_compatible(plan, current, target)
        missing = (target - current.parts.keys()) | (plan.lost & parts.keys())
        unknown = missing - parts.keys()
        if unknown:
            raise TableError(
                f"{len(unknown):,} planned parts of {plan.output_table!r} were not written (first: {min(unknown)!r})"
            )
        remove = tuple(sorted(current.within(plan.partition).keys() - target))
        if current.version is not None and not missing and not remove and same_columns(current.schema, plan.schema):
            return Committed(version=current.version, changed=False, removed=0)
        kept = {
            DATA_VERSION_KEY: data_version_of((current.parts.keys() - set(remove)) | target, plan.schema),
            **metadata(current, remove),
        }
        try:
            version = commit_parts(
                plan.output_table,
                plan.schema,
                add=[parts[path] for path in sorted(missing)],
                remove=remove,
                metadata=kept,
                read_version=current.version,
                description=description,
                partition=plan.partition,
            )
        except CommitConflictError:
            current = read_snapshot(plan.output_table)
            continue
        return Committed(version=version, changed=True, removed=len(remove))
    raise CommitConflictError(
        f"{plan.output_table!r} was changed by others {_ATTEMPTS} times in a row while this run tried to commit; run it again"
    )


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
            f"another run changed {plan.output_table!r} in conflict with this plan ({len(added):,} parts added and "
            f"{len(removed):,} removed, which this plan would undo): version {plan.snapshot.version} became "
            f"{current.version}. Nothing of this run was committed. If its input and model are the right ones, run it "
            f"again; what it computed will be found and used"
        )
