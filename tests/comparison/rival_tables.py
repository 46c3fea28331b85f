"""Small prediction tables of two tasks, and the tasks."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from sparktorch_assets.comparison.compare import Comparison, compare_predictions
from sparktorch_assets.tasks import ChallengerOf, MlTask, ModelSpec, NumericFeature

OUTPUT_TYPES = {
    "predicted_class": pa.string(),
    "confidence": pa.float32(),
    "predicted_value": pa.float64(),
    "predicted_labels": pa.list_(pa.string()),
    "scores": pa.list_(pa.float32()),
    "prediction_error": pa.string(),
}


def rivals(truth: str | None = None, join_on: tuple[str, ...] = ("id",), **fields: Any) -> tuple[MlTask, MlTask]:
    """A champion, and its challenger with other settings in common."""
    common = {
        "input": "events",
        "model": ModelSpec(factory="sparktorch_assets.testing:build", arguments={"network": "Echo"}),
        "features": [NumericFeature(columns=["x"])],
        "labels": ["a", "b", "c"],
        **fields,
    }
    challenge = ChallengerOf(task="champion", join_on=join_on)
    champion = MlTask(name="champion", **common)
    return champion, MlTask(name="challenger", truth=truth, challenger_of=challenge, **common)


def table(**columns: Any) -> pa.Table:
    """A prediction table with these columns."""
    made = {name: pa.array(values, OUTPUT_TYPES.get(name)) for name, values in columns.items()}
    rows = len(next(iter(made.values())))
    return pa.table({**made, "prediction_error": pa.array(columns.get("prediction_error", [None] * rows), pa.string())})


def classes(ids: list[Any], found: list[str | None], sure: list[float | None] | None = None, **more: Any) -> pa.Table:
    """A table of a classification."""
    return table(
        id=ids, **more, predicted_class=found, confidence=sure or [None if one is None else 0.5 for one in found]
    )


def compared(
    folder: Path, champion: pa.Table, challenger: pa.Table, tasks: tuple[MlTask, MlTask], files: int = 1
) -> Comparison:
    """Write both tables, the challenger's in reverse order and in several files, and compare them."""
    places = [str(folder / "champion"), str(folder / "challenger")]
    write_deltalake(places[0], champion)
    turned = challenger.take(pa.array(range(challenger.num_rows)[::-1], pa.int64()))
    step = -(-max(turned.num_rows, 1) // files)
    for start in range(0, max(turned.num_rows, 1), step):
        write_deltalake(places[1], turned.slice(start, step), mode="append")
    return compare_predictions(*tasks, *places)
