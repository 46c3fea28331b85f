"""Metadata of assets: numbers that Dagster plots over time, the table's columns and lineage, and a preview.

An asset's page shows the entries in the order in which they are given here: first what people look for (rows,
failures, classes, confidences, speed), last the digests.

Dagster refuses numpy scalars, hence the plain `int` and `float` everywhere. Row contents appear only in the preview; a
task with `preview_rows: 0` shows none.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from sparktorch_assets.orchestration.assets.audit_checks import audit_metadata
from sparktorch_assets.orchestration.assets.page.charts import CHARTS
from sparktorch_assets.orchestration.assets.text.markdown import markdown_table, preview_table
from sparktorch_assets.tally import Tally
from sparktorch_assets.tasks import InputTable, MlTask
from sparktorch_assets.tasks.outputs.report import Shown, ShownTable

if TYPE_CHECKING:
    import pyarrow as pa

    from sparktorch_assets.spark.inputs.materialize import InputReport
    from sparktorch_assets.spark.score.report.report import ScoreReport

Metadata = dict[str, Any]

WHERE_TIME_WENT = "where_time_went"
_TOP_CLASSES = 20


def prediction_metadata(
    task: MlTask,
    report: "ScoreReport",
    *,
    schema: "pa.Schema",
    table_rows: int,
    preview: Sequence[Mapping[str, Any]],
    sources: Mapping[str, str | None] | None = None,
    lineage: Mapping[str, Any] | None = None,
    samples: Mapping[str, Any] | None = None,
) -> Metadata:
    """The metadata of a prediction asset after a run, including one that found nothing to do.

    Args:
        task: the task.
        report: what the run did.
        schema: the table's columns.
        table_rows: the table's rows.
        preview: the first of them.
        sources: the input's columns, each with its description, if they are known; see `source_columns`.
        lineage: the entries of `lineage_metadata`.
        samples: entries with further rows; see `sampled_rows`.
    """
    described = {name: text for name, text in (sources or {}).items() if text}
    described |= {f"{task.output_prefix}{name}": text for name, text in task.output.described.items()}
    described |= {task.error_column: "Why the row failed; null where it did not"}
    return {
        "dagster/row_count": int(table_rows),
        **row_metadata(report.tally),
        **{name: _rendered(shown) for name, shown in task.output.page(report.tally).items()},
        **audit_metadata(report),
        **({"preview": dg.MetadataValue.md(preview_table(preview))} if preview else {}),
        **(samples or {}),
        **scoring_metadata(report),
        **time_metadata(task, report),
        **batch_metadata(report.tally),
        **refresh_metadata(report),
        **{name: dg.MetadataValue.json(json.loads(text)) for name, text in task.output.figures(report.tally).items()},
        **(lineage or {}),
        **table_metadata(report.table, table_rows, schema, report.version, described),
        "model_digest": report.model_digest,
    }


def row_metadata(tally: Tally) -> Metadata:
    """What became of the rows that have no prediction, and of those that the model saw only in part."""
    shown: Metadata = {"failed_rows": int(tally.failed)}
    if tally.reasons:
        shown["failure_reasons"] = dg.MetadataValue.md(markdown_table(("reason", "rows"), _most(tally.reasons)))
    shown |= {"dropped_rows": int(tally.dropped), "filtered_rows": int(tally.filtered)}
    return shown | ({"truncated_rows": int(tally.truncated)} if tally.truncated else {})


def scoring_metadata(report: "ScoreReport") -> Metadata:
    """Speed, slots and seconds of the run that last scored rows: this one, or an earlier one if nothing changed."""
    rows: Metadata = {"rows_scored_this_run": int(report.rows_new)}
    seconds: Metadata = {"seconds_total": float(report.seconds.get("total", 0.0))}
    device: Metadata = {"device": ", ".join(sorted(report.tally.devices)) or "none"}
    scoring = report.scoring
    if scoring is None:
        return rows | seconds | device
    shown: Metadata = {
        "rows_per_second": float(scoring.rows_per_s),
        **rows,
        **seconds,
        "seconds_by_phase": dg.MetadataValue.md(
            seconds_table(report.seconds if report.rows_new else scoring.seconds, scoring.worker_seconds)
        ),
        **device,
        "slots": int(scoring.slots),
    }
    if scoring.balance is not None:
        shown["balance"] = float(scoring.balance)
    shown["last_scored"] = dg.MetadataValue.timestamp(float(scoring.at))
    shown["last_scored_rows"] = int(scoring.rows)
    if scoring.run_id:
        shown["last_scored_by"] = dg.MetadataValue.dagster_run(scoring.run_id)
    return shown


def time_metadata(task: MlTask, report: "ScoreReport") -> Metadata:
    """The sentence about where this run's time went; empty if it scored nothing."""
    from sparktorch_assets.spark.score.report.time_spent import time_spent

    said = time_spent(task, report)
    return {} if said is None else {WHERE_TIME_WENT: dg.MetadataValue.text(said)}


def batch_metadata(tally: Tally) -> Metadata:
    """What was learnt about batch sizes and precision; empty if nothing was."""
    shown: Metadata = {}
    if tally.agreement is not None and tally.confidence_difference is not None:
        shown["agreement_with_fp32"] = float(tally.agreement)
        shown["confidence_difference_to_fp32"] = float(tally.confidence_difference)
    if tally.batch_sizes:
        shown["batch_sizes"] = dg.MetadataValue.md(
            markdown_table(("rows per batch", "batches"), _most(tally.batch_sizes))
        )
    if tally.splits:
        shown["out_of_memory_splits"] = int(tally.splits)
    return shown


def refresh_metadata(report: "ScoreReport") -> Metadata:
    """What the refresh did."""
    shown: Metadata = {
        "changed": bool(report.changed),
        "shards": dg.MetadataValue.json(
            {
                "new": int(report.shards_new),
                "unchanged": int(report.shards_unchanged),
                "removed": int(report.shards_removed),
                "resumed": int(report.shards_resumed),
            }
        ),
        "path": report.path,
    }
    return shown


def input_metadata(
    table: InputTable, report: "InputReport", schema: "pa.Schema", preview: Sequence[Mapping[str, Any]]
) -> Metadata:
    """The metadata of an input asset."""
    shown: Metadata = {"dagster/row_count": int(report.rows), "rejected_rows": int(report.rejected_rows)}
    if report.rejected_table and report.rejected_rows:
        shown["rejected_table"] = dg.MetadataValue.path(report.rejected_table)
    if preview:
        shown["preview"] = dg.MetadataValue.md(preview_table(preview))
    return {
        **shown,
        "files_new": int(report.files_new),
        "files_unchanged": int(report.files_unchanged),
        "files_removed": int(report.files_removed),
        "changed": bool(report.changed),
        "seconds_total": float(report.seconds),
        "source": ", ".join(table.patterns),
        **table_metadata(report.uri, report.rows, schema, report.version, table.described_columns),
    }


def table_metadata(
    uri: str, rows: int, schema: "pa.Schema", version: int | None, described: Mapping[str, str]
) -> Metadata:
    """The metadata that Dagster can show for any table: its row count, columns and location."""
    columns = [dg.TableColumn(field.name, str(field.type), description=described.get(field.name)) for field in schema]
    shown: Metadata = {
        "dagster/row_count": int(rows),
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/uri": uri,
        "dagster/table_name": "/".join(uri.rstrip("/").split("/")[-2:]),
    }
    return shown if version is None else {**shown, "delta_version": int(version)}


def _rendered(shown: Shown) -> Any:
    """An entry of an output's page as Dagster's metadata."""
    if isinstance(shown, ShownTable):
        return dg.MetadataValue.md(markdown_table(shown.columns, shown.rows))
    chart = CHARTS.get(type(shown))
    return shown if chart is None else dg.MetadataValue.md(chart(shown))


def seconds_table(run: Mapping[str, float], workers: Mapping[str, float]) -> str:
    """Wall seconds of the run's phases, and the workers' seconds, which add up over slots."""
    rows = [(phase, f"{seconds:.2f}", "run, wall clock") for phase, seconds in run.items()]
    rows += [(phase, f"{seconds:.2f}", "workers, summed over slots") for phase, seconds in workers.items()]
    return markdown_table(("phase", "seconds", "of"), rows)


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_TOP_CLASSES]
