"""Asset checks, computed during the run from its receipts and the table's own log, without a second pass over the rows.

Each compares two independent counts, or a count with a declared limit, so that it can fail.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from sparktorch_assets.errors import AuditFailedError, SparktorchError, TooManyFailedRowsError
from sparktorch_assets.orchestration.assets.audit_checks import (
    audit_check_specs,
    audit_checks,
    published_check,
    refused_audit_checks,
)
from sparktorch_assets.orchestration.assets.text.markdown import markdown_table
from sparktorch_assets.orchestration.keys import prediction_key
from sparktorch_assets.tasks import InputTable, MlTask

if TYPE_CHECKING:
    from sparktorch_assets.spark.inputs.materialize import InputReport
    from sparktorch_assets.spark.score.report.report import ScoreReport

NO_ROW_LOST = "no_row_lost"
FAILED_SHARE = "failed_share"
REJECTED_SHARE = "rejected_share"
ROWS_VANISHED = "rows_vanished"


def prediction_check_specs(task: MlTask) -> list[dg.AssetCheckSpec]:
    """The checks of a prediction asset: those of every table, those of the task's output, and those that its `audit`
    declares. `failed_share` and the last ones block downstream assets."""
    asset = prediction_key(task)
    return [
        dg.AssetCheckSpec(NO_ROW_LOST, asset=asset, description="in = filtered out + predicted + dropped + failed"),
        *(
            dg.AssetCheckSpec(check.name, asset=asset, description=check.description)
            for check in task.output.check_specs
        ),
        dg.AssetCheckSpec(
            FAILED_SHARE, asset=asset, blocking=True, description="No more failed rows than the task allows"
        ),
        *audit_check_specs(task),
    ]


def prediction_checks(task: MlTask, report: "ScoreReport", table_rows: int) -> Iterator[dg.AssetCheckResult]:
    """The checks' results for one run.

    Args:
        task: the task that was scored.
        report: the report of `score_table`, with the input's rows and the sum of the receipts of the whole table.
        table_rows: rows in the table according to its Delta log, counted independently of the report.
    """
    tally = report.tally
    accounted = tally.filtered + tally.predicted + tally.dropped + tally.failed
    yield dg.AssetCheckResult(
        check_name=NO_ROW_LOST,
        passed=report.rows_in == accounted and table_rows == tally.predicted + tally.failed,
        metadata={
            "rows in": report.rows_in,
            "filtered out": tally.filtered,
            "predicted": tally.predicted,
            "dropped": tally.dropped,
            "failed": tally.failed,
            "rows in the table": table_rows,
        },
    )
    overruled = {outcome.check: outcome for outcome in report.audits if outcome.overruled}
    for outcome in task.output.checks(tally, task.labels):
        if outcome.name in overruled and not outcome.passed:
            yield published_check(overruled[outcome.name])
        else:
            yield dg.AssetCheckResult(check_name=outcome.name, passed=outcome.passed, metadata=dict(outcome.details))
    problem = task.check_failures(tally.failed, tally.rows, tally.reasons)
    yield dg.AssetCheckResult(
        check_name=FAILED_SHARE,
        passed=problem is None,
        description=problem and f"{problem}. sparktorch_assets.failed_rows({report.table!r}) returns these rows",
        metadata={"failed rows": tally.failed, "limit (share)": float(task.max_failed_share)},
    )
    yield from audit_checks(task, report.audits)


def refused_prediction_checks(task: MlTask, error: SparktorchError) -> Iterator[dg.AssetCheckResult]:
    """What the checks found of predictions that were refused before their commit; nothing for other errors."""
    if isinstance(error, TooManyFailedRowsError):
        yield refused_prediction_check(task, error)
    elif isinstance(error, AuditFailedError):
        yield from refused_audit_checks(task, error)


def refused_prediction_check(task: MlTask, error: TooManyFailedRowsError) -> dg.AssetCheckResult:
    """The failed check of a refresh that was refused before its commit. If checks were only evaluated after a commit,
    this one would stay green."""
    reasons = [(found.reason, f"{found.rows:,}", found.message, "; ".join(found.rows_shown)) for found in error.reasons]
    return dg.AssetCheckResult(
        check_name=FAILED_SHARE,
        asset_key=prediction_key(task),
        passed=False,
        description=str(error),
        metadata={
            "limit (share)": float(task.max_failed_share),
            "reasons": dg.MetadataValue.md(markdown_table(("reason", "rows", "message", "in the rows"), reasons)),
        },
    )


def input_check_specs(asset: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The checks of an input asset. Both block downstream assets."""
    return [
        dg.AssetCheckSpec(
            REJECTED_SHARE, asset=asset, blocking=True, description="No more malformed rows than the table allows"
        ),
        dg.AssetCheckSpec(
            ROWS_VANISHED,
            asset=asset,
            blocking=True,
            description="No more rows disappeared since the previous version than the table allows",
        ),
    ]


def rejected_check(table: InputTable, report: "InputReport") -> dg.AssetCheckResult:
    """Whether the share of malformed source rows is within the table's limit."""
    read = report.rows + report.rejected_rows
    share = report.rejected_rows / read if read else 0.0
    return dg.AssetCheckResult(
        check_name=REJECTED_SHARE,
        passed=share <= table.max_rejected_share,
        metadata={
            "rejected rows": report.rejected_rows,
            "rejected share": float(share),
            "limit (share)": float(table.max_rejected_share),
        },
    )


def vanished_check(table: InputTable, report: "InputReport") -> dg.AssetCheckResult:
    """Whether the share of rows that left the table is within its limit."""
    vanished = max(0, report.rows_before - report.rows)
    share = vanished / report.rows_before if report.rows_before else 0.0
    return dg.AssetCheckResult(
        check_name=ROWS_VANISHED,
        passed=share <= table.max_vanished_share,
        metadata={
            "rows before": report.rows_before,
            "rows now": report.rows,
            "vanished share": float(share),
            "limit (share)": float(table.max_vanished_share),
        },
    )


def refused_check(asset: dg.AssetKey, check_name: str, limit: float, problem: str) -> dg.AssetCheckResult:
    """The failed check of an input refresh that was refused before its commit. If checks were only evaluated after a
    commit, this one would stay green.

    Args:
        asset: the input.
        check_name: the check that failed.
        limit: the share that was exceeded.
        problem: why the refresh was refused.
    """
    return dg.AssetCheckResult(
        check_name=check_name,
        asset_key=asset,
        passed=False,
        description=problem,
        metadata={"limit (share)": float(limit)},
    )
