"""The sample models' answers do not depend on how rows were batched, up to floating point."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import TypeAdapter

from sparktorch_assets.predict.loader import ModelLoader
from sparktorch_assets.predict.partition import predict_map
from sparktorch_assets.tasks import BatchPolicy, MlTask
from sparktorch_assets.tasks.files.completed_task import completed_task

ROOT = Path(__file__).parents[2]
ROWS = 300


def sample_task(name, **changes):
    """The task as its defs.yaml declares it and its folder completes it, without a filter on other predictions."""
    declared = yaml.safe_load((ROOT / f"sparktorch_assets/defs/{name}/defs.yaml").read_text())["attributes"]
    declared.pop("where", None)
    task = TypeAdapter(MlTask).validate_python({"name": name, **declared, **changes})
    return completed_task(task, ROOT / "data/models")


@pytest.fixture(scope="module")
def inputs():
    flights = pa.csv.read_csv(ROOT / "data/flights/2013-02.csv.gz").slice(0, ROWS)
    messages = pa.json.read_json(ROOT / "data/messages/messages.jsonl.gz")
    spread = messages.take(pa.array(np.arange(0, messages.num_rows, messages.num_rows // ROWS)[:ROWS]))
    return {
        "flights": flights,
        "digits": pq.read_table(ROOT / "data/digits/digits.parquet").slice(0, ROWS),
        "messages": spread,
        "predictions/language": spread,
    }


@pytest.mark.promise("M48")
@pytest.mark.parametrize(
    "name",
    [
        "late_arrival",
        "cancellation",
        "arrival_delay",
        "digit",
        "digit_challenger",
        "language",
        "component",
        "language_bert",
        "message_embedding",
        "message_topics",
    ],
)
def test_answers_do_not_depend_on_batches(name, inputs):
    """One row at a time, odd sizes, a token budget, found sizes, duplicates merged: same class, confidence within
    1e-4."""
    found = []
    for policy in (
        BatchPolicy(batch_size=1),
        BatchPolicy(batch_size=7),
        BatchPolicy(max_tokens=300),
        BatchPolicy(deduplicate=True),
        BatchPolicy(),
    ):
        task = sample_task(name, batch=policy)
        batches = inputs[task.input].to_batches(max_chunksize=50)
        rows = pa.Table.from_batches(predict_map(0, batches, task, model_loader=ModelLoader(ROOT / "data/models")))
        assert rows.column(task.error_column).null_count == ROWS
        *classes, numbers = (rows.column(name) for name in task.main_columns)
        found.append(([column.to_pylist() for column in classes], np.array(numbers.to_pylist())))
    for classes, confidence in found[1:]:
        assert classes == found[0][0]
        assert np.allclose(confidence, found[0][1], rtol=1e-4, atol=1e-4)
