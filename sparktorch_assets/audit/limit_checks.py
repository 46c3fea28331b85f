"""The checks that need no earlier publication: the limits of the task's audit, and those of its output's kind."""

from collections.abc import Iterable

from sparktorch_assets.audit.statistics import Statistics
from sparktorch_assets.errors import AuditOutcome
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask


def limit_outcomes(task: MlTask, now: Statistics) -> Iterable[AuditOutcome]:
    """The outcomes of the limits that are set."""
    share, least = task.audit.max_null_share, task.audit.min_rows
    if share is not None:
        missing = now.failed + now.rows_without_value
        over = now.null_share > share
        yield AuditOutcome(
            check="null_share",
            problem=f"{missing:,} of {now.rows:,} rows have no prediction ({now.null_share:.2%}), over max_null_share={share:g}"
            if over
            else "",
            details={"rows without a prediction": missing, "rows": now.rows, "limit (share)": float(share)},
        )
    if least is not None:
        yield AuditOutcome(
            check="min_rows",
            problem=f"{now.rows:,} rows are fewer than min_rows={least:,}" if now.rows < least else "",
            details={"rows": now.rows, "limit": least},
        )


def output_outcomes(task: MlTask, tally: Tally) -> Iterable[AuditOutcome]:
    """The outcomes of the checks that every table of the task's output has."""
    described = {spec.name: spec.description for spec in task.output.check_specs}
    for outcome in task.output.checks(tally, task.labels):
        counted = ", ".join(f"{name}: {value}" for name, value in outcome.details.items())
        problem = "" if outcome.passed else f"{described[outcome.name]}: that does not hold ({counted})"
        yield AuditOutcome(check=outcome.name, problem=problem, details=dict(outcome.details))
