"""What holds between tasks: a challenger and its champion, and the task that takes the champion's place."""

from collections.abc import Iterable
from dataclasses import replace

from sparktorch_assets.errors import TaskError, nearest
from sparktorch_assets.tasks.ml_task import MlTask

OWN = frozenset(
    [
        "audit",
        "challenger_of",
        "cron",
        "description",
        "max_dropped_share",
        "max_failed_rows",
        "max_failed_share",
        "name",
        "preview_rows",
        "timezone",
    ]
)
"""The fields that a champion keeps when a challenger is promoted: its name, what is said about it, when it is refreshed,
and what is required of its table."""


def promote(champion: MlTask, challenger: MlTask) -> MlTask:
    """The champion with everything that determines predictions (model, features, labels, output, filters, hooks, kept
    columns) taken from the challenger.

    Its predictions are the challenger's, and so are the names of their parts: a refresh with
    `score_table(..., adopt_from=[challenger's table])` copies the parts, and scores nothing.

    Raises:
        TaskError: the challenger is promoted from another task itself, or `check_rivals` refuses the pair.
    """
    check_rivals(champion, challenger)
    if challenger.promoted is not None:
        raise TaskError(
            f"MlTask {champion.name!r}: promoted={challenger.name!r}, which has promoted={challenger.promoted!r} itself; "
            f"name {challenger.promoted!r} here"
        )
    if champion.partitions != challenger.partitions:
        raise TaskError(
            f"MlTask {champion.name!r}: promoted={challenger.name!r}, whose partitions are declared differently, so that its "
            f"parts do not fit into this table; give both tasks the same partitions"
        )
    return replace(challenger, **{name: getattr(champion, name) for name in OWN}, promoted=None)


def settle_promotion(task: MlTask, tasks: Iterable[MlTask]) -> MlTask:
    """The task that runs under the task's name: the task itself, or the challenger among `tasks` that it has promoted.

    Raises:
        TaskError: there is no such challenger, or `promote` refuses it.
    """
    if task.promoted is None:
        return task
    return promote(task, _named(task.promoted, tasks, f"MlTask {task.name!r}: promoted"))


def champion_of(challenger: MlTask, tasks: Iterable[MlTask]) -> MlTask | None:
    """The champion among `tasks`, as it is declared; `None` if the task challenges nobody.

    Raises:
        TaskError: there is no such task.
    """
    if challenger.challenger_of is None:
        return None
    return _named(challenger.challenger_of.task, tasks, f"MlTask {challenger.name!r}: challenger_of")


def truth_of(champion: MlTask, challenger: MlTask) -> str | None:
    """The column with the truth that both are held against where one of their tables keeps it; `None` if neither has one."""
    return challenger.truth or champion.truth


def rivals_of(task: MlTask, tasks: Iterable[MlTask]) -> tuple[str, ...]:
    """The names of the tasks whose tables may hold finished parts for this task's: its champion, its challengers, and the
    task that it has promoted."""
    named = [task.promoted, None if task.challenger_of is None else task.challenger_of.task]
    challengers = [other.name for other in tasks if other.challenger_of and other.challenger_of.task == task.name]
    return tuple(dict.fromkeys(name for name in (*named, *challengers) if name is not None and name != task.name))


def check_rivals(champion: MlTask, challenger: MlTask) -> None:
    """Raise TaskError unless both tasks predict the same for the rows of the same input."""
    pair = f"MlTask {challenger.name!r} and its champion {champion.name!r}"
    if champion.input != challenger.input:
        raise TaskError(
            f"{pair} read different tables, {challenger.input!r} and {champion.input!r}; a challenger has to see the same rows: "
            f"give both the same input"
        )
    if champion.output.kind != challenger.output.kind:
        raise TaskError(
            f"{pair} have outputs of different kinds, {challenger.output.kind!r} and {champion.output.kind!r}; only equal kinds "
            f"can be compared, or take each other's place"
        )
    mine, theirs = ([column.name for column in task.output.main_columns] for task in (challenger, champion))
    if mine != theirs:
        raise TaskError(
            f"{pair} predict different columns: {', '.join(mine)} and {', '.join(theirs)}; give them one name"
        )
    if challenger.challenger_of is not None and champion.keep_columns is not None:
        for column in challenger.challenger_of.join_on:
            if column not in champion.keep_columns:
                raise TaskError(
                    f"{pair}: challenger_of joins both tables on {column!r}, which the champion's keep_columns leaves out; add "
                    f"it there"
                )


def _named(name: str, tasks: Iterable[MlTask], field: str) -> MlTask:
    known = {task.name: task for task in tasks}
    if name not in known:
        raise TaskError(f"{field} names {name!r}, and there is no such task; {nearest(name, known)}")
    return known[name]
