"""Tags of a run that say how much it scored, so that runs can be compared and searched in the list of runs.

Dagster fixes the tags of a step when the asset is declared. Only those of a run can be added while it runs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from sparktorch_assets.tasks import MlTask

if TYPE_CHECKING:
    from sparktorch_assets.spark.score.report.report import ScoreReport


def tag_run(context: dg.AssetExecutionContext, task: MlTask, reports: Sequence["ScoreReport"]) -> None:
    """Add `sparktorch/<task>.rows_scored` to the run and, if it scored any, `sparktorch/<task>.rows_per_second`.

    Args:
        context: the context of the run.
        task: the asset's task.
        reports: one per partition, or one for the table.
    """
    rows = sum(report.rows_new for report in reports)
    tags = {f"sparktorch/{task.name}.rows_scored": str(rows)}
    scoring = reports[0].scoring if reports else None  # the same in all: there was one job
    if rows and scoring is not None:
        tags[f"sparktorch/{task.name}.rows_per_second"] = f"{scoring.rows_per_s:.0f}"
    context.instance.add_run_tags(context.run.run_id, tags)
