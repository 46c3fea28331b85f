"""What every commit of predictions has: limits that are checked before it, and metadata that go with it."""

import importlib.metadata

from sparktorch_assets.audit.task_audit import TaskAudit
from sparktorch_assets.errors import TooManyDroppedRowsError
from sparktorch_assets.lake.publication import Audit, Publication
from sparktorch_assets.spark.score.failures.failure_reasons import too_many_failed_rows
from sparktorch_assets.spark.score.report.scoring import SCORING_KEY, Scoring
from sparktorch_assets.tasks import MlTask


def check_publication(
    task: MlTask, publication: Publication, task_audit: TaskAudit, audit: Audit | None, *, kept: bool
) -> None:
    """Raise `TooManyFailedRowsError` or `TooManyDroppedRowsError` if more rows failed or were dropped than the task
    allows, and `AuditFailedError` if a check of the task fails; then let `audit` look at the publication.

    Args:
        task: the task that was run.
        publication: what would be committed. The error quotes failed rows from its parts.
        task_audit: the checks of the task.
        audit: raises an error to refuse the publication; `None` refuses none.
        kept: whether the parts stay in the table's folder after an error.
    """
    tally, folder = publication.tally, publication.table.folder
    too_many = task.check_failures(tally.failed, tally.rows, tally.reasons)
    if too_many:
        raise too_many_failed_rows(task, too_many, tally, folder, publication.parts, kept=kept)
    too_many = task.check_drops(tally.dropped, tally.rows)
    if too_many:
        raise TooManyDroppedRowsError(too_many)
    task_audit(publication)
    if audit is not None:
        try:
            audit(publication)
        except BaseException:
            task_audit.withdraw(publication)
            raise


def commit_metadata(task: MlTask, digest: str, run_id: str, scoring: Scoring | None) -> dict[str, str]:
    """The metadata of each commit of predictions, besides the table's tally and data version."""
    return {
        **({SCORING_KEY: scoring.to_json()} if scoring else {}),
        "run_id": run_id,
        "task": task.name,
        "model_digest": digest,
        "code_version": task.code_version,
        "package_version": _package_version(),
    }


def _package_version() -> str:
    try:
        return importlib.metadata.version("sparktorch-assets")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "unknown"
