"""The library's functions as the shapes call them: the only file that knows what older versions named differently."""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from sparktorch_assets import LocalPredictor, MlTask, ModelLoader, SlotPolicy, plan_table, score_table
from sparktorch_assets.predict.partition import predict_batches
from sparktorch_assets.predict.schema import output_schema

BATCH_ROWS = 8192


def _named(function: Any, task: MlTask) -> dict[str, Any]:
    return {"ml_task" if "ml_task" in inspect.signature(function).parameters else "task": task}


def score(
    spark: Any,
    source: str | Path,
    task: MlTask,
    target: str | Path,
    *,
    slots: int = 2,
    batch_size: int | None = BATCH_ROWS,
    **options: Any,
) -> Any:
    """Score a table on the CPU, and return the report. The models root is the folder of the source."""
    return score_table(
        spark,
        **_named(score_table, task),
        input_table=str(source),
        output_table=str(target),
        model_loader=loader(Path(target).parent),
        slots=SlotPolicy(slots=slots, device="cpu"),
        batch_size=batch_size,
        **options,
    )


def plan(source: str, task: MlTask, target: str | Path, **options: Any) -> Any:
    """Plan a refresh."""
    return plan_table(
        **_named(plan_table, task),
        input_table=source,
        output_table=str(target),
        model_loader=loader(Path(target).parent),
        **options,
    )


def loader(root: Path) -> ModelLoader:
    """A loader of models in a folder, for the CPU."""
    return ModelLoader(root, device="cpu")


def predict(
    task: MlTask, batches: list[pa.RecordBatch], root: Path, *, batch_size: int | None = BATCH_ROWS, slots: int = 1
) -> pa.Table:
    """Predict record batches in this process, in which `slots` models work at once."""
    predictor = LocalPredictor(task, batch_size, model_loader=loader(root), concurrent_slots=slots)
    schema = output_schema(task, batches[0].schema)
    found: Iterable[pa.RecordBatch] = predict_batches(batches, predictor=predictor, schema=schema)
    return pa.Table.from_batches(found, schema)
