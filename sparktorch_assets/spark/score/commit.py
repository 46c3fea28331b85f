"""What every commit of predictions has: limits that are checked before it, and metadata that go with it."""

import importlib.metadata
from collections.abc import Mapping

from sparktorch_assets.errors import TooManyDroppedRowsError
from sparktorch_assets.lake.files.folder import Folder
from sparktorch_assets.spark.score.failure_reasons import too_many_failed_rows
from sparktorch_assets.spark.score.scoring import SCORING_KEY, Scoring
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask


def check_limits(task: MlTask, tally: Tally, folder: Folder, written: Mapping[str, Tally], *, kept: bool) -> None:
    """Raise `TooManyFailedRowsError` or `TooManyDroppedRowsError` if more rows failed or were dropped than the task
    allows.

    Args:
        task: the task that was run.
        tally: the tally of the table, or of the partition.
        folder: the table's folder.
        written: path -> tally, for the finished files in the folder, from which the error quotes failed rows.
        kept: whether these files stay in the folder after the error.
    """
    too_many = task.check_failures(tally.failed, tally.rows, tally.reasons)
    if too_many:
        raise too_many_failed_rows(task, too_many, tally, folder, written, kept=kept)
    too_many = task.check_drops(tally.dropped, tally.rows)
    if too_many:
        raise TooManyDroppedRowsError(too_many)


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
