"""Carries a plan out, once its parts lie in place: commits it, and settles with whoever committed meanwhile."""

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
"""Every lost race means that another writer's commit went through, so this bounds patience, not progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """How a refresh ended."""

    version: int
    changed: bool
    """False: another run had done the very same."""
    removed: int
    """Parts that went."""


def keep_resumed(plan: Plan) -> None:
    """Make the parts that a run takes up from an earlier one as young as the run itself, so that no vacuum takes them for
    abandoned while the run works."""
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

    A commit that lost a race is decided again on the new version, and goes through where the other writer did nothing
    against this plan: it worked on another partition, or added only parts that are planned here, too, and removed none of
    them.

    Args:
        plan: what was planned.
        parts: path -> part, of all new and resumable ones.
        metadata: given the version to build on and the paths to remove, what to keep with the commit.
        description: the table's description, where it is created.

    Raises:
        CommitConflictError: the other writer's commit and this plan exclude each other. Nothing was committed.
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
                f"{len(unknown):,} planned parts of {plan.output_table!r} were not made (first: {min(unknown)!r})"
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
            f"another run changed {plan.output_table!r} against what this one planned ({len(added):,} parts added and "
            f"{len(removed):,} removed that this plan would undo): version {plan.snapshot.version} became "
            f"{current.version}. Nothing of this run was committed. Run it again if its input and model are the ones that "
            f"count; what it computed will be found and used"
        )
