"""What can be set for a single run of a prediction asset, in the Launchpad: never a path, never code."""

from dataclasses import replace

import dagster as dg
from pydantic import Field

from sparktorch_assets.tasks import MlTask

MOST_ROWS = 1000


class RunSettings(dg.Config):
    """The config of a prediction asset."""

    dry_run: bool = Field(
        default=False,
        description=(
            "Only plan: report how many rows and shards would be scored. Nothing is computed, written or materialized."
        ),
    )
    limit_rows: int | None = Field(
        default=None,
        ge=1,
        le=MOST_ROWS,
        description=(
            f"Try the model: score this many rows at most (1 to {MOST_ROWS:,}), show them, and publish nothing. The table "
            "stays as it is, and the asset is not materialized."
        ),
    )
    full_rescore: bool = Field(
        default=False,
        description=(
            "Score every row again (of the run's partitions), although nothing has changed that this library knows of. The "
            "old predictions stay in the table's history. To score again after a change of code, set the task's code_version."
        ),
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        description="Rows per forward pass in this run, instead of the task's own size. Predictions do not depend on it.",
    )
    allow_failed_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description=(
            "Publish although more rows fail than the task allows: up to this share (0 to 1), in this run only. Finished "
            "parts of a refused run are published as they are."
        ),
    )
    publish_despite: list[str] = Field(
        default_factory=list,
        description=(
            "Names of checks that may fail this time, such as class_share_psi: predictions that they refused are published "
            "as they are, and the asset's page says so. Nothing is scored again."
        ),
    )

    @property
    def is_trial(self) -> bool:
        """Whether the run publishes nothing."""
        return self.dry_run or self.limit_rows is not None

    def applied_to(self, task: MlTask) -> MlTask:
        """The task with the limits of this run. They are no part of its predictions' fingerprints."""
        if self.allow_failed_share is None:
            return task
        return replace(task, max_failed_share=self.allow_failed_share, max_failed_rows=None)
