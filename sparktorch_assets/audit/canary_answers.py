"""Whether a model gives the canaries' expected values."""

import math
from typing import Any

import pyarrow as pa

from sparktorch_assets.errors import AuditOutcome
from sparktorch_assets.tasks import MlTask

_SHOWN = 5


def compare_answers(task: MlTask, expected: pa.Table, found: pa.Table) -> AuditOutcome:
    """Compare the predictions of the canaries with what is expected.

    Args:
        task: the task. If it shows no contents of rows (`preview_rows: 0`), the problem names rows and columns only.
        expected: the expected values, in columns with the names of output columns.
        found: the predictions, one row for each canary.
    """
    details: dict[str, int | float | str] = {"canaries": expected.num_rows, "columns": ", ".join(expected.column_names)}
    if found.num_rows != expected.num_rows:
        lost = expected.num_rows - found.num_rows
        return AuditOutcome(
            check="canaries", problem=f"hooks dropped {lost:,} of the {expected.num_rows:,} canaries", details=details
        )
    wrong: dict[int, str] = {}
    for name in expected.column_names:
        pairs = zip(expected[name].to_pylist(), found[name].to_pylist(), strict=True)
        for row, (wanted, answered) in enumerate(pairs):
            if row not in wrong and not _same(wanted, answered, task.audit.canary_tolerance):
                values = f" is {answered!r:.80}, expected {wanted!r:.80}" if task.preview_rows else ""
                wrong[row] = f"row {row}: {name}{values}"
    details["wrong"] = len(wrong)
    if not wrong:
        return AuditOutcome(check="canaries", details=details)
    listed = ", ".join(wrong[row] for row in sorted(wrong)[:_SHOWN])
    more = f" and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
    problem = f"the model answers {len(wrong):,} of {expected.num_rows:,} canaries otherwise than {task.audit.canaries} says ({listed}{more})"
    return AuditOutcome(check="canaries", problem=problem, details=details)


def _same(wanted: Any, found: Any, tolerance: float) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(_same(wanted[key], found[key], tolerance) for key in wanted)
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(_same(a, b, tolerance) for a, b in zip(wanted, found, strict=True))
    if isinstance(wanted, float) and isinstance(found, float | int):
        both_nan = math.isnan(wanted) and math.isnan(found)
        return both_nan or abs(wanted - found) <= tolerance * max(1.0, abs(wanted))
    return bool(wanted == found)
