"""What the checks before a publication found, as asset checks and as entries of the asset's page.

They are made before the commit (see `audit/`), so that a red one means: this was not published.
"""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.errors import AuditFailedError, AuditOutcome
from sparktorch_assets.orchestration.keys import op_name, prediction_key
from sparktorch_assets.tasks import MlTask
from sparktorch_assets.tasks.code.import_path import import_path_code

if TYPE_CHECKING:
    from sparktorch_assets.spark.score.report.report import ScoreReport

_DESCRIPTIONS = {
    "class_share_psi": "The shares of the classes are those of earlier publications (population stability index)",
    "class_share_distance": "The shares of the classes are those of earlier publications (total variation distance)",
    "confidence_psi": "The confidences are those of earlier publications (population stability index)",
    "confidence_distance": "The confidences are those of earlier publications (total variation distance)",
    "number_psi": "The numbers are those of earlier publications (population stability index)",
    "number_distance": "The numbers are those of earlier publications (total variation distance)",
    "null_share": "No more rows without a prediction than the task allows",
    "min_rows": "At least as many rows as the task demands",
    "canaries": "The model gives the known answers of the canary rows",
    "allowed_models": "The model is one that the task allows",
}
_NOT_YET = "nothing was published since this check was declared"


def audit_check_specs(task: MlTask) -> list[dg.AssetCheckSpec]:
    """The checks that the task's `audit` declares. They block downstream assets.

    Raises:
        TaskError: the module of one of the task's own checks cannot be found. It is not imported.
    """
    for path in task.audit.checks:
        import_path_code(path, f"MlTask {task.name!r}: audit.checks")
    return [
        dg.AssetCheckSpec(
            name,
            asset=prediction_key(task),
            blocking=True,
            description=f"{_DESCRIPTIONS.get(name, 'A check of your own')}; made before anything is published",
        )
        for name in task.audit.names
    ]


def audit_checks(task: MlTask, outcomes: Sequence[AuditOutcome]) -> Iterator[dg.AssetCheckResult]:
    """The results of the checks that the task's `audit` declares, after a publication, or in a run with nothing to
    publish."""
    found = {outcome.check: outcome for outcome in outcomes}
    for name in task.audit.names:
        yield published_check(found.get(name, AuditOutcome(check=name, details={"compared with": _NOT_YET})))


def refused_audit_checks(task: MlTask, error: AuditFailedError) -> Iterator[dg.AssetCheckResult]:
    """The results of all checks that were made before a publication was refused, those that passed included."""
    failed = ", ".join(_failed(error))
    config = f"{{ops: {{{op_name(task)}: {{config: {{publish_despite: [{failed}]}}}}}}}}"
    for outcome in error.outcomes:
        text = f"{outcome.problem}. Nothing was published. If it is right, run once with this config: {config}"
        yield dg.AssetCheckResult(
            check_name=outcome.check,
            asset_key=prediction_key(task),
            passed=outcome.passed,
            description=None if outcome.passed else text,
            metadata=dict(outcome.details),
        )


def publish_command(task: MlTask, error: AuditFailedError, retry: str) -> str:
    """The command that publishes what the task's checks have refused.

    Args:
        task: the task.
        error: the refusal.
        retry: the command that materializes the same asset and partition again.
    """
    config = {"ops": {op_name(task): {"config": {"publish_despite": _failed(error)}}}}
    return f"{retry} --config-json '{json.dumps(config)}'"


def _failed(error: AuditFailedError) -> list[str]:
    return [outcome.check for outcome in error.outcomes if not outcome.passed]


def published_check(outcome: AuditOutcome) -> dg.AssetCheckResult:
    """The result of a check after the publication. One that failed and was overruled is a warning, which blocks nothing."""
    text = f"{outcome.problem}. Published all the same: the run's config had publish_despite: [{outcome.check}]"
    return dg.AssetCheckResult(
        check_name=outcome.check,
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity.WARN if outcome.overruled else dg.AssetCheckSeverity.ERROR,
        description=None if outcome.passed else text,
        metadata=dict(outcome.details),
    )


def audit_metadata(report: "ScoreReport") -> dict[str, Any]:
    """Entries of the asset's page: how far the table has drifted, which Dagster plots over time, and what was published
    although a check had failed."""
    drifts = {
        outcome.check: outcome.details[outcome.check]
        for outcome in report.audits
        if isinstance(outcome.details.get(outcome.check), float)
    }
    overruled = [f"{outcome.check}: {outcome.problem}" for outcome in report.audits if outcome.overruled]
    return {**drifts, **({"published_despite": "; ".join(overruled)} if overruled else {})}
