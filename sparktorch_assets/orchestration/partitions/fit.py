"""Whether the partitions of a task fit those of its input: Dagster has to know which of them belong together."""

from collections.abc import Mapping

from sparktorch_assets.errors import TaskError
from sparktorch_assets.orchestration.partitions.definition import dynamic_name
from sparktorch_assets.tasks import (
    DynamicPartitions,
    InputTable,
    MlTask,
    Partitions,
    StaticPartitions,
    TimePartitions,
)


def check_fit(task: MlTask, upstream: InputTable | MlTask | None, tables: Mapping[str, InputTable]) -> None:
    """Check that Dagster can map the task's partitions to those of its input.

    An asset without partitions depends on all partitions of another, and each partition of one on all of an asset
    without: that always fits.

    Args:
        task: the task.
        upstream: the declaration of its input; `None` if it is not known.
        tables: the known input tables, by name.

    Raises:
        TaskError: the partitions are of different kinds, in different time zones, or of other values or times; or no
            asset registers the values of dynamic partitions.
    """
    if isinstance(task.partitions, DynamicPartitions):
        _check_registered(task, task.partitions, upstream, tables)
    theirs = None if upstream is None else upstream.partitions
    if isinstance(upstream, InputTable) and isinstance(theirs, DynamicPartitions):
        theirs = None  # the asset that registers partitions has none
    if task.partitions is None or theirs is None or task.partitions == theirs:
        return
    source = upstream.input if isinstance(upstream, MlTask) else None
    problem = _problem(task.partitions, task.input, theirs, source)
    if problem:
        raise TaskError(f"MlTask {task.name!r}: partitions do not fit those of its input {task.input!r}: {problem}")


def _problem(ours: Partitions, our_input: str | None, theirs: Partitions, their_input: str | None) -> str | None:
    if isinstance(ours, TimePartitions) and isinstance(theirs, TimePartitions):
        return _problem_of_times(ours, theirs)
    if isinstance(ours, StaticPartitions) and isinstance(theirs, StaticPartitions):
        missing = [key for key in ours.keys if key not in theirs.keys]
        if ours.column != theirs.column:
            return (
                f"these are values of column {theirs.column!r}, and the task's of {ours.column!r}; use the same column"
            )
        return f"the input has no partition {missing[0]!r}; drop it, or add it there" if missing else None
    if isinstance(ours, DynamicPartitions) and isinstance(theirs, DynamicPartitions):
        own, other = dynamic_name(ours, our_input), dynamic_name(theirs, their_input)
        return None if own == other else f"its values are registered as {own!r}, those of the input as {other!r}"
    return (
        f"these are by: {theirs.by}, and the task's by: {ours.by}, so that nothing tells which of them belong together. Divide "
        f"both in the same way, or leave partitions out of one: each partition then depends on all of the other"
    )


def _problem_of_times(ours: TimePartitions, theirs: TimePartitions) -> str | None:
    if ours.timezone != theirs.timezone:
        return f"these begin in time zone {theirs.timezone!r}, and the task's in {ours.timezone!r}; use the same one"
    if ours.beginning < theirs.beginning:
        return f"the task begins at {ours.start}, before its input at {theirs.start}; let it begin no earlier"
    if theirs.ending is not None and (ours.ending is None or ours.ending > theirs.ending):
        return (
            f"the input ends at {theirs.end}, and the task {'never' if ours.end is None else ours.end}; set end to that"
        )
    return None


def _check_registered(
    task: MlTask,
    partitions: DynamicPartitions,
    upstream: InputTable | MlTask | None,
    tables: Mapping[str, InputTable],
) -> None:
    """Raise TaskError unless the input table that should register the values does, as far as it is known."""
    dynamic_name(partitions, task.input)
    registered_by = partitions.registered_by or str(task.input)
    table = tables.get(registered_by)
    found = None if table is None else table.partitions
    if isinstance(found, DynamicPartitions) and found.column == partitions.column:
        return
    if table is not None or upstream is not None:
        raise TaskError(
            f"MlTask {task.name!r}: partitions by: dynamic of column {partitions.column!r}: no asset registers its values, since "
            f"input table {registered_by!r} does not declare partitions: {{by: dynamic, column: {partitions.column}}}; declare "
            f"them there as well"
        )
