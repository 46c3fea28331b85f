"""The user's own checks: functions of the statistics now and before, named by import path."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from sparktorch_assets.audit.statistics import Statistics
from sparktorch_assets.errors import AuditOutcome, TaskError
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.audit_policy import check_name
from sparktorch_assets.tasks.code.import_path import load_import_path

OwnCheck = Callable[[Statistics, Sequence[Statistics]], str | None]


def load_own_checks(task: MlTask) -> dict[str, OwnCheck]:
    """The functions that the task names, by the names of their checks. A run calls this before it scores anything, so that
    a misspelt name costs no time.

    Raises:
        TaskError: a module cannot be found, has no such attribute, or the attribute is no function.
    """
    found: dict[str, OwnCheck] = {}
    for path in task.audit.checks:
        function = load_import_path(path, f"MlTask {task.name!r}: audit.checks")
        if not callable(function):
            raise TaskError(
                f"MlTask {task.name!r}: audit.checks={path!r} is a {type(function).__name__}, not a function"
            )
        found[check_name(path)] = function
    return found


def own_outcomes(
    task: MlTask, functions: Mapping[str, OwnCheck], now: Statistics, before: Sequence[Statistics]
) -> Iterable[AuditOutcome]:
    """The outcome of each function.

    A function that raises, or that returns anything but text or `None`, has not found that all is well: its check fails,
    and its problem names the function and the error.
    """
    paths = {check_name(path): path for path in task.audit.checks}
    for name, function in functions.items():
        yield AuditOutcome(check=name, problem=_problem(paths[name], function, now, before))


def _problem(path: str, function: OwnCheck, now: Statistics, before: Sequence[Statistics]) -> str:
    try:
        found = function(now, list(before))
    except Exception as error:  # noqa: BLE001  (whatever the user's code raises)
        return f"the function {path} raised {type(error).__name__}: {error}; mend it, and run again"
    if found is None:
        return ""
    if not isinstance(found, str) or not found.strip():
        return (
            f"the function {path} returned {type(found).__name__} {found!r:.100}; it has to return what is wrong as text, or "
            f"None if nothing is"
        )
    return found.strip()
