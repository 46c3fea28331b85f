"""What a run materialized, as a table for the terminal."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from sparktorch_assets.orchestration.assets.page.metadata import WHERE_TIME_WENT
from sparktorch_assets.orchestration.assets.text.plain_text import one_line, plain_lines

_SHOWN_CLASSES = 3
_LONGEST = 3
_HEADER = ("asset", "rows", "failed", "predicted", "seconds", "rows/s", "table")
_AROUND = ("DagsterExecutionStepExecutionError", "RetryRequestedFromPolicy")
"""Dagster's exceptions around that of the asset. Further causes explain it, and may be long."""
_AVERAGES = ("class_shares", "label_shares", "number_means")
_RIGHT = (False, True, True, False, True, True, False)


def summary_table(results: Sequence[dg.ExecuteInProcessResult]) -> str:
    """One line per asset: rows, failed rows, the three most frequent classes or the means of numbers, seconds, rows per second, the table's
    path. The partitions of an asset are counted together."""
    seconds = {
        event.step_key: event.step_success_data.duration_ms / 1000
        for result in results
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.STEP_SUCCESS
    }
    made: dict[dg.AssetKey, list[Mapping[str, Any]]] = {}
    steps: dict[dg.AssetKey, str | None] = {}
    for result in results:
        for event in result.get_asset_materialization_events():
            if event.asset_key is not None:
                values = {name: getattr(entry, "value", None) for name, entry in event.materialization.metadata.items()}
                made.setdefault(event.asset_key, []).append(values)
                steps[event.asset_key] = event.step_key
    lines = [_line(key, together(found), seconds.get(steps[key])) for key, found in made.items()]
    return render([_HEADER, *sorted(lines)])


def time_lines(results: Sequence[dg.ExecuteInProcessResult]) -> list[str]:
    """Where the time of the longest predictions went, the longest first."""
    found: dict[dg.AssetKey, tuple[float, str]] = {}
    for event in (event for result in results for event in result.get_asset_materialization_events()):
        metadata = event.materialization.metadata
        if event.asset_key is not None and WHERE_TIME_WENT in metadata:  # the partitions of a run have one sentence
            seconds = getattr(metadata.get("seconds_total"), "value", 0.0)
            line = f"{event.asset_key.to_user_string()}: {getattr(metadata[WHERE_TIME_WENT], 'value', '')}"
            found[event.asset_key] = (seconds, one_line(line))
    return [line for _, line in sorted(found.values(), reverse=True)[:_LONGEST]]


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """The steps that failed, each with the message of the exception that the asset raised."""
    return {
        str(event.step_key): _raised(event.step_failure_data.error)
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.STEP_FAILURE
    }


def failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    """The checks that failed (not those that only warn), each with its asset, what it checks, and what it found. Those
    of a step that failed are left out: they repeat its message."""
    lines = []
    failed_steps = failures(result).keys()
    for event in result.all_events:
        if event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION or event.step_key in failed_steps:
            continue
        evaluation = event.asset_check_evaluation_data
        if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
            found = ", ".join(f"{name}: {getattr(entry, 'value', '')}" for name, entry in evaluation.metadata.items())
            text = ". ".join(part for part in (evaluation.description, found) if part)
            lines.append(one_line(f"{evaluation.asset_key.to_user_string()} {evaluation.check_name}: {text}"))
    return lines


def render(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text in aligned columns, with numbers right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, _RIGHT, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def together(partitions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metadata of an asset's partitions as that of the asset: failed rows add up, and shares and means are those of
    all rows.

    Args:
        partitions: the metadata of each; the only one's of an asset without partitions.
    """
    whole = dict(partitions[-1])
    if "failed_rows" not in whole or len(partitions) == 1:
        return whole
    rows = [found["dagster/partition_row_count"] - found["failed_rows"] for found in partitions]
    whole["failed_rows"] = sum(found["failed_rows"] for found in partitions)
    for name in _AVERAGES:
        sums: dict[str, float] = {}
        for found, count in zip(partitions, rows, strict=True):
            for key, value in (found.get(name) or {}).items():
                sums[key] = sums.get(key, 0.0) + value * count
        if sums:
            whole[name] = {key: value / max(sum(rows), 1) for key, value in sums.items()}
    return whole


def _line(key: dg.AssetKey, value: Mapping[str, Any], seconds: float | None) -> tuple[str, ...]:
    shares: dict[str, float] = value.get("class_shares") or value.get("label_shares") or {}
    top = sorted(shares.items(), key=lambda item: -item[1])[:_SHOWN_CLASSES]
    predicted = [f"{one_line(name)} {share:.1%}" for name, share in top]
    means: dict[str, float] = value.get("number_means") or {}
    predicted += [f"{one_line(name)} {mean:,.4g} on average" for name, mean in list(means.items())[:_SHOWN_CLASSES]]
    failed = value.get("failed_rows", value.get("rejected_rows"))
    rate = value.get("rows_per_second")
    return (
        key.to_user_string(),
        _count(value.get("dagster/row_count")),
        _count(failed),
        ", ".join(predicted),
        "" if seconds is None else f"{seconds:.1f}",
        f"{rate:,.0f}" if rate else "",
        _short_path(value.get("dagster/uri") or ""),
    )


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _short_path(uri: str) -> str:
    if "://" in uri or not uri:
        return uri
    relative = os.path.relpath(uri)
    return uri if relative.startswith("..") else relative


def _raised(error: SerializableErrorInfo | None) -> str:
    while error is not None and error.cause is not None and (error.cls_name or "").startswith(_AROUND):
        error = error.cause
    return "unknown reason" if error is None else plain_lines(error.message).strip()
