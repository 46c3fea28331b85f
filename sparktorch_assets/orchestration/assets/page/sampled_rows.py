"""Rows of a prediction table that deserve a look: some that failed, and the images of which the model is least sure.

Both are read from few parts, and neither is shown for a task that keeps row contents out of Dagster (`preview_rows: 0`).
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.orchestration.assets.page.charts.contact_sheet import contact_sheet
from sparktorch_assets.orchestration.assets.text.markdown import preview_table
from sparktorch_assets.orchestration.assets.text.plain_text import one_line
from sparktorch_assets.tasks import MlTask

if TYPE_CHECKING:
    from sparktorch_assets.lake.table import Table
    from sparktorch_assets.spark.score.report.report import ScoreReport

_IMAGES = 12


def sampled_rows(task: MlTask, table: "Table", report: "ScoreReport") -> dict[str, Any]:
    """The metadata entries `failed_rows_sample` and `least_confident_images`, each if there is something to show."""
    from sparktorch_assets.spark.score.failures.failed_sample import failed_sample

    shown: dict[str, Any] = {}
    failed = failed_sample(task, table, report.tally, report.partition)
    if failed:
        shown["failed_rows_sample"] = dg.MetadataValue.md(preview_table(failed))
    return shown | _least_confident(task, table, report)


def _least_confident(task: MlTask, table: "Table", report: "ScoreReport") -> dict[str, Any]:
    from sparktorch_assets.lake.rows.smallest_rows import smallest_rows

    column = _image_column(task, table.schema.names)
    if column is None or not task.preview_rows or not report.tally.predicted:
        return {}
    confidence, predicted = f"{task.output_prefix}confidence", f"{task.output_prefix}predicted_class"
    truth = task.truth if task.truth in table.schema.names else None
    wanted = [column, predicted, *([truth] if truth else [])]
    found = smallest_rows(list(table.snapshot.parts_of(report.partition).values()), confidence, wanted, _IMAGES)
    images = [
        (row[column], f"{row[predicted]} {row[confidence]:.2f}" + (f" ({row[truth]})" if truth else ""))
        for row in found.rows
        if row[column] is not None
    ]
    sheet = contact_sheet(images, f"The {len(images)} images of which the model is least sure")
    if not sheet:
        return {}
    said = "predicted class and confidence" + (f", and in parentheses {one_line(str(truth))}" if truth else "")
    legend = f"Below each: {said}. From {found.parts:,} of {found.of_parts:,} parts."
    return {"least_confident_images": dg.MetadataValue.md(f"{sheet}\n\n{legend}")}


def _image_column(task: MlTask, columns: list[str]) -> str | None:
    """The first column of images that the table keeps, for a classification."""
    if task.output.kind != "classification":
        return None
    images = (feature.column for feature in task.features if feature.kind == "image" and feature.read == "bytes")
    return next((column for column in images if column in columns), None)
