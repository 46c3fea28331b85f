"""What every commit of predictions has: limits that are checked before it, and metadata that go with it."""

import importlib.metadata

from sparktorch_assets.errors import TooManyDroppedRowsError, TooManyFailedRowsError
from sparktorch_assets.spark.score.scoring import SCORING_KEY, Scoring
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import MlTask


def check_limits(task: MlTask, tally: Tally) -> None:
    """Raise `TooManyFailedRowsError` or `TooManyDroppedRowsError` if more rows failed or were dropped than the task
    allows."""
    too_many = task.check_failures(tally.failed, tally.rows, tally.reasons)
    if too_many:
        raise TooManyFailedRowsError(too_many)
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
